"""``python -I -S ask.py ARGUMENTS``: have the zygote run the command with our streams; end as it ends."""

import json
import os
import socket
import sys


def main() -> int:
    commands, servers = map(int, os.environ["ZYGOTE"].split(","))
    mine, theirs = socket.socketpair()
    environ = {name: value for name, value in os.environ.items() if name not in ("ZYGOTE", "PYTHON")}
    request = json.dumps(["Command", {"arguments": sys.argv[1:], "cwd": os.getcwd(), "environ": environ}])
    with theirs, socket.socket(fileno=commands) as zygote:
        socket.send_fds(zygote, [request.encode()], [theirs.fileno(), 0, 1, 2, servers])
    code = mine.recv(1)
    return code[0] if code else 1


sys.exit(main())
