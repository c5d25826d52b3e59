"""Messages between the command and its children: a length, a pickle, perhaps a file descriptor.

Both ends are this program and trust each other; nothing else can reach the sockets.
"""

from __future__ import annotations

import pickle
import socket
import struct
from dataclasses import dataclass
from typing import Any

_LENGTH = struct.Struct("!Q")


@dataclass(frozen=True)
class Exited:
    """The server's word that a child is gone. ``status`` is a wait status, ``peak`` is in bytes."""

    job: int
    status: int
    peak: int


@dataclass(frozen=True)
class Word:
    """What a job says on its way; its result is still to come."""

    text: str


def send(sock: socket.socket, message: Any, *, fd: int | None = None) -> None:
    data = pickle.dumps(message)
    head = _LENGTH.pack(len(data))
    if fd is None:
        sock.sendall(head)
    else:
        socket.send_fds(sock, [head], [fd])
    sock.sendall(data)


def receive(sock: socket.socket) -> tuple[Any, int | None]:
    """One message and the descriptor that came with it.

    Raises:
        EOFError: the other end is gone.
    """
    head, fds, _, _ = socket.recv_fds(sock, _LENGTH.size, 1)
    head += _exactly(sock, _LENGTH.size - len(head))
    data = _exactly(sock, _LENGTH.unpack(head)[0])
    return pickle.loads(data), (fds[0] if fds else None)


def _exactly(sock: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        part = sock.recv(min(count - len(data), 1 << 20))
        if not part:
            raise EOFError
        data += part
    return bytes(data)
