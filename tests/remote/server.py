"""A real S3 server on loopback (SeaweedFS), with two identities: CI reads and writes, a pull request reads.

moto and its like ask nobody for permission, so that a test of who may write would prove nothing on them.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

BUCKET = "models"
CI = ("CIKEY", "cisecret")
PULL_REQUEST = ("PRKEY", "prsecret")
_ADMIN = ("ADMINKEY", "adminsecret")
_ROLES = ("master", "volume", "filer", "s3")
_SECONDS = 60.0


@dataclass
class Server:
    """One that runs; ``url`` names a bucket of its own for whoever asks first with a prefix."""

    port: int
    process: subprocess.Popen[bytes]

    def url(self, prefix: str) -> str:
        return f"s3://{BUCKET}/{prefix}"

    def environment(self, who: tuple[str, str] | None) -> dict[str, str]:
        """The variables that a cloud's own tools read; without ``who``, of nobody."""
        found = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}", "AWS_REGION": "us-east-1"}
        if who is not None:
            found |= {"AWS_ACCESS_KEY_ID": who[0], "AWS_SECRET_ACCESS_KEY": who[1]}
        return found

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def program() -> str | None:
    """Where SeaweedFS is; None where it is not installed."""
    beside = Path(sys.executable).with_name("weed")
    return str(beside) if beside.exists() else shutil.which("weed")


@contextmanager
def running(folder: Path) -> Iterator[Server]:
    """A server with its data in ``folder``, up when this begins, gone when it ends."""
    found = program()
    assert found is not None
    (folder / "data").mkdir(parents=True)
    identities = folder / "identities.json"
    identities.write_text(json.dumps({"identities": [
        _identity("admin", _ADMIN, ["Admin"]),
        _identity("ci", CI, [f"{what}:{BUCKET}" for what in ("Read", "List", "Write")]),
        _identity("pr", PULL_REQUEST, [f"{what}:{BUCKET}" for what in ("Read", "List")]),
    ]}))  # fmt: skip
    ports = _free(2 * len(_ROLES))
    flags = [f"-{role}.port={ports[2 * n]}" for n, role in enumerate(_ROLES)]
    flags += [f"-{role}.port.grpc={ports[2 * n + 1]}" for n, role in enumerate(_ROLES)]
    command = [found, "server", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3",
               f"-s3.config={identities}", "-volume.max=20", "-master.volumeSizeLimitMB=64",
               "-s3.port.iceberg=0", "-s3.port.lance=0", *flags]  # fmt: skip
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, cwd=folder)
    server = Server(ports[-2], process)
    try:
        _await(server, folder / "log")
        yield server
    finally:
        if process.poll() is None:
            server.kill()


def _identity(name: str, key: tuple[str, str], actions: list[str]) -> dict[str, object]:
    return {"name": name, "credentials": [{"accessKey": key[0], "secretKey": key[1]}], "actions": actions}


def _await(server: Server, log: Path) -> None:
    """Until a bucket has been made there, which takes some seconds, and a file can be put into it."""
    program = (
        "import obstore, sys\n"
        "from obstore.store import S3Store\n"
        f"store = S3Store({BUCKET!r}, client_options={{'allow_http': True}})\n"
        "obstore.put(store, 'up', b'')\n"
    )
    make = [sys.executable, "-c", _MAKE_BUCKET, str(server.port), *_ADMIN]
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline and server.process.poll() is None:
        made = subprocess.run(make, capture_output=True, timeout=30)
        if made.returncode == 0:
            env = {**os.environ, **server.environment(_ADMIN)}
            if subprocess.run([sys.executable, "-c", program], env=env, capture_output=True).returncode == 0:
                return
        time.sleep(0.3)
    raise AssertionError(f"the server did not come up: {log.read_text(errors='replace')[-2000:]}")


# A bucket is made by a request that obstore does not have: signed by hand, by AWS's Signature Version 4.
_MAKE_BUCKET = """
import datetime, hashlib, hmac, sys, urllib.error, urllib.request
port, key, secret = sys.argv[1:]
now = datetime.datetime.now(datetime.UTC)
stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
empty = hashlib.sha256(b"").hexdigest()
host = f"127.0.0.1:{port}"
headers = {"host": host, "x-amz-content-sha256": empty, "x-amz-date": stamp}
names = ";".join(headers)
asked = "\\n".join(["PUT", "/models", "", *(f"{n}:{v}" for n, v in headers.items()), "", names, empty])
scope = f"{day}/us-east-1/s3/aws4_request"
text = "\\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(asked.encode()).hexdigest()])
signing = b"AWS4" + secret.encode()
for part in (day, "us-east-1", "s3", "aws4_request"):
    signing = hmac.new(signing, part.encode(), hashlib.sha256).digest()
signature = hmac.new(signing, text.encode(), hashlib.sha256).hexdigest()
said = f"AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders={names}, Signature={signature}"
headers["Authorization"] = said
request = urllib.request.Request(f"http://{host}/models", method="PUT", headers=headers)
try:
    urllib.request.urlopen(request, timeout=10)
except urllib.error.HTTPError as error:
    sys.exit(0 if error.code == 409 else 1)
"""


def _free(count: int) -> list[int]:
    held = [socket.socket() for _ in range(count)]
    try:
        for each in held:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in held]
    finally:
        for each in held:
            each.close()
