"""Jobs for the tests of the processes; the server imports them by this module's name."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Small:
    """Do one thing and say so."""

    does: str
    log: str = os.devnull
    needs: tuple[str, ...] = ()

    def run(self, state: Any, channel: socket.socket) -> Any:
        match self.does:
            case "die":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "exit":
                os._exit(3)
            case "sleep":
                time.sleep(60)
            case "look":
                return sorted(m for m in ("json", "torch") if m in sys.modules), threading.active_count()
        return self.does
