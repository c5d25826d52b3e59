"""Who asks? Read off the call stack, so that what libraries do for themselves is no fact."""

from __future__ import annotations

import os
from types import FrameType
from typing import Literal

from modelbuild.trace import places

# "cataloguing" is importlib.metadata, which goes through every folder of the search path. "generated"
# is code without a file, as exec() makes it: whoever called it is meant. "recipe" is the one module of
# this program that does what a recipe says: it makes the model, and a library that it calls is called by
# the user.
Kind = Literal["user", "library", "standard", "importing", "cataloguing", "own", "recipe", "generated"]
_RECIPE = os.path.join(places.own()[0], "steps", "model.py")
# Where a step runs in the command's own process, what is below it on the stack has called the command.
_FLOOR = os.path.join(places.own()[0], "worker", "here.py")

# Standard modules through which a caller asks for itself; what others look up is their own business.
_PROBING = {"genericpath", "posixpath", "os", "pathlib", "glob", "gettext"}
_READING = {"os", "_collections_abc", "collections", "string", "gettext"}
# Pools and threads call what they were given: executor.map(os.path.exists, names).
_RUNNING = {"threading", "thread", "pool"}
# Functions that read a variable for their caller: HOME, say.
_EXPANDING = {"expandvars", "expanduser", "home"}
# Functions in them that look at a path without the answer being about it: makedirs() of its
# parents, realpath() of each part.
_NO_PROBE = {"realpath", "_joinrealpath", "resolve", "makedirs", "samefile"}
_MEASURING = {"getsize": ("size",), "getmtime": ("times",), "getctime": ("times",), "getatime": ("times",)}
_DYNAMO = "/torch/_dynamo/variables/"
_ON_THE_WAY = {"importlib", "runpy", "pkgutil"}


class Callers:
    """Kinds of code by their file, for one build's places."""

    def __init__(self, around: places.Places) -> None:
        self._places = around
        self._kinds: dict[str, tuple[Kind, str]] = {}

    def probes(self, frame: FrameType | None) -> bool:
        """Does the user's code look at a path, itself or through os.path and the like, or a library for it?

        A thread that was given os.path.exists itself has nobody's code on its stack.
        """
        ran = False
        while frame is not None:
            kind, module = self._kind(frame)
            if kind == "standard":
                ran = ran or module in _RUNNING
                if (not ran and module not in _PROBING) or frame.f_code.co_name in _NO_PROBE:
                    return False
            elif kind == "library":
                return self._asks_for(frame) == "user"
            elif kind != "generated":
                return kind == "user"
            frame = _back(frame)
        return ran

    def measures(self, frame: FrameType | None) -> tuple[str, ...]:
        """What a path is asked for besides whether it is there: its ``size``, ``times``, ``mode``."""
        if frame is None:
            return ()
        if frame.f_code.co_name in _MEASURING and self._kind(frame)[0] == "standard":
            return _MEASURING[frame.f_code.co_name]
        if frame.f_code.co_name in ("stat", "lstat") and self._kind(frame)[0] == "standard":
            frame = _back(frame)  # Path.stat(), but not Path.exists(), which calls it
        return ("size", "times", "mode") if self.is_user(frame) else ()

    def looks_for_links(self, frame: FrameType | None) -> bool:
        """Does it ask whether a path is a link, as by islink()?"""
        for _ in range(3):  # Path.is_symlink() calls lstat(), which calls stat()
            if frame is None:
                return False
            if frame.f_code.co_name in ("islink", "is_symlink"):
                return True
            frame = _back(frame)
        return False

    def is_user(self, frame: FrameType | None) -> bool:
        return frame is not None and self._kind(frame)[0] == "user"

    def reads_environment(self, frame: FrameType | None) -> Literal["user", "torch"] | None:
        """Does the user's code read a variable, itself or through what it calls? Or PyTorch, which it calls,
        a setting of its own?

        Not what a library reads while it is imported, or a standard module at any time.
        """
        while frame is not None:
            kind, module = self._kind(frame)
            passing = module in _READING or frame.f_code.co_name in _EXPANDING
            if kind != "generated" and not (kind == "standard" and passing):
                # Dynamo follows forward() without a frame for it.
                if kind == "library" and _DYNAMO in frame.f_code.co_filename:
                    return "user"
                if kind == "standard" or self._asks_for(frame) != "user":
                    return None
                return "torch" if kind == "library" and _is_torch(frame) else "user"
            frame = _back(frame)
        return None

    def looks_up(self, frame: FrameType | None) -> bool:
        """Is something asked on the user's behalf, and for no import that is going on?"""
        while frame is not None and self._kind(frame)[0] in ("standard", "generated", "cataloguing", "own"):
            frame = _back(frame)
        return self._asks_for(frame) == "user"

    def asks(self, frame: FrameType | None) -> tuple[Kind | None, Kind | None]:
        """The kind of the nearest code that is not the standard library's, and for whom it asks:
        for the user's code, or an import that is going on, whichever is nearer."""
        while frame is not None:
            kind, _ = self._kind(frame)
            if kind not in ("standard", "generated") and not self._gets_data(frame):
                return kind, self._asks_for(frame)
            frame = _back(frame)
        return None, None

    def imports(self, frame: FrameType | None) -> tuple[Kind | None, str]:
        """The kind and the module name of the code that imports."""
        while frame is not None:
            kind, module = self._kind(frame)
            # An entry point is loaded by importlib.metadata, for whoever asked for it.
            way = kind in ("importing", "cataloguing") or (kind == "standard" and module in _ON_THE_WAY)
            if not way and kind != "generated":
                return kind, str(frame.f_globals.get("__name__", ""))
            frame = _back(frame)
        return None, ""

    def _gets_data(self, frame: FrameType) -> bool:
        """Is it a loader that reads a file which somebody else, and no import, asks for?"""
        caller = _back(frame)
        return (
            frame.f_code.co_name == "get_data"
            and caller is not None
            and self._kind(frame)[0] == "importing" != self._kind(caller)[0]
        )

    def _asks_for(self, frame: FrameType | None) -> Kind | None:
        while frame is not None:
            kind, _ = self._kind(frame)
            if kind in ("user", "importing"):
                return kind
            if kind == "recipe":
                return "user"
            frame = _back(frame)
        return None

    def _kind(self, frame: FrameType) -> tuple[Kind, str]:
        file = frame.f_code.co_filename
        known = self._kinds.get(file)
        if known is None:
            known = self._kinds[file] = self._classified(file)
        return known

    def _classified(self, file: str) -> tuple[Kind, str]:
        if file.startswith("<frozen "):  # "<frozen posixpath>", "<frozen importlib._bootstrap>"
            module = file[len("<frozen ") : -1]
            return ("importing" if module.startswith("importlib.") else "standard"), module
        path = None if file.startswith("<") else self._places.absolute(file)
        if path is None:
            return "generated", ""
        module = os.path.basename(path).partition(".")[0]
        if path.startswith(places.own()):
            return "recipe" if path == _RECIPE else "own", module
        if places.is_standard(path):
            if "/importlib/metadata/" in path:
                return "cataloguing", module
            if "/importlib/" in path:
                return "standard", "importlib"
            if "/pathlib/" in path:  # a package since 3.13
                return "standard", "pathlib"
            return "standard", module
        return ("user" if self._places.counts(path) else "library"), module


def _is_torch(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] == "torch"


def _back(frame: FrameType) -> FrameType | None:
    return None if frame.f_code.co_filename == _FLOOR else frame.f_back
