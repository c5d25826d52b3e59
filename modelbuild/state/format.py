"""What a recipe's last build saw, as one small text file: stat rows, facts, and what there is to say.

Nothing to do must cost nothing: while every row is what ``os.stat`` says now, the answer stands, and
neither yaml, pydantic, numpy, onnx nor torch is imported. ``quick`` reads these files and ``keeping``
writes them. They are safe to delete, and one that is damaged is as good as none.

This module is imported by every command, and an import costs more than a thousand rows: re 6 ms,
json 8, typing 10. So it has no dataclass, no Path and no annotation that would need one of them.
"""

import os
import site
import sys
import zlib

from modelbuild.base.stat_rows import row

_FORMAT = b"modelbuild state 2 "

# The wings above what builds, which no answer of a build is from: `.importlinter` has them there.
_ABOVE = ("cli", "setup", "views")
_MOST_BYTES = 1 << 26  # of a state file: a thousand rows have 100 kB
_CONTROL = bytes((*range(9), *range(11, 32), 127))

# (name, value, paths): the value is what it was while the rows of the paths are.
Fact = tuple[str, str | None, list[str]]


class State:
    """One recipe's last build."""

    __slots__ = (
        "answer",
        "counts",
        "environment",
        "facts",
        "given",
        "name",
        "program",
        "rows",
        "told",
        "whose",
    )

    def __init__(
        self,
        program: str,
        whose: tuple[str, str, str],
        given: str,
        name: str,
        rows: list[str],
        environment: list[tuple[str, str | None]],
        facts: bytes,
        told: str,
        counts: tuple[int, int, int],
        answer: str,
    ) -> None:
        self.program = program  # see ``program``
        self.whose = whose  # the recipe, the output folder, the folder of the command; absolute
        self.given = given  # the recipe as the command named it
        self.name = name
        self.rows = rows  # "size mtime ctime inode <tab> path", each path once
        self.environment = environment
        self.facts = facts  # packed: hardly ever looked at
        self.told = told  # the answer in a line, but for where the files are
        self.counts = counts  # artifacts that are cached, and that are skipped; warnings
        self.answer = answer  # the checksum of the JSON answer, in a file beside

    def packed(self) -> bytes:
        counts = " ".join(map(str, self.counts))
        head = "\n".join((self.program, *self.whose, self.given, self.name, self.told, counts, self.answer))
        environment = "\n".join(f"{name}\t{escape(value)}" for name, value in self.environment)
        parts = [_bytes(head), _bytes("\n".join(self.rows)), _bytes(environment)]
        body = b"\0".join([*parts, self.facts])
        return _FORMAT + b"%08x\n" % zlib.crc32(body) + body


def unpacked(data: bytes) -> State | None:
    """What ``State.packed`` packed; None if it is not that any more."""
    start = len(_FORMAT) + 9
    if data[:start] != _FORMAT + b"%08x\n" % zlib.crc32(data[start:]):
        return None
    parts = data[start:].split(b"\0")
    if len(parts) != 4 or not _plain(parts[0]):
        return None
    head, rows, environment, facts = parts
    try:
        program, recipe, out, cwd, given, name, told, counts, answer = _text(head).split("\n")
        cached, skipped, warnings = map(int, counts.split(" "))
    except ValueError:  # somebody else's, with a checksum that is right
        return None
    variables = []
    for line in _text(environment).split("\n") if environment else ():
        variable, _, value = line.partition("\t")
        variables.append((variable, unescape(value)))
    return State(
        program, (recipe, out, cwd), given, name, _text(rows).split("\n"), variables, facts,
        told, (cached, skipped, warnings), answer,
    )  # fmt: skip


def _plain(said: bytes) -> bool:
    """Whether a terminal shows these bytes as they are: what is printed is escaped when it is written."""
    if len(said.translate(None, _CONTROL)) != len(said):
        return False
    return b"\xc2" not in said or not any("\x80" <= c < "\xa0" for c in _text(said))


def packed_facts(facts: list[Fact]) -> bytes:
    return _bytes("\n".join("\t".join([escape(n), escape(v), *paths]) for n, v, paths in facts))


def unpacked_facts(data: bytes) -> list[Fact]:
    found: list[Fact] = []
    for line in _text(data).split("\n"):
        name, value, *paths = line.split("\t")
        found.append((unescape(name) or "", unescape(value), paths))
    return found


def place(cache: str, recipe: str, out: str, cwd: str) -> str:
    """The file for this recipe, built into this folder from that one; all paths are absolute.

    The name is made without hashing, and may be that of another recipe of this name in another
    folder: ``State.whose`` tells them apart, and the last one built stays.
    """
    folder, _, name = recipe.rpartition("/")
    where = "\0".join((folder, out, cwd))
    return f"{cache}/state/{name}.{zlib.crc32(_bytes(where)):08x}"


def load(path: str) -> bytes | None:
    """The bytes of a small file; None if there is none to read. No link is followed, no pipe waited for."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        data = part = os.read(descriptor, 65536)
        while len(part) == 65536:  # less is the end of a file
            data += (part := os.read(descriptor, 65536))
            if len(data) > _MOST_BYTES:
                return None
        return data
    except OSError:
        return None
    finally:
        os.close(descriptor)


def save(path: str, data: bytes) -> bool:
    """Write a small file in one piece; False if that cannot be, and what was there is there still."""
    draft = f"{path}.{os.getpid()}"
    folder = os.path.dirname(path)
    try:
        os.makedirs(folder, exist_ok=True)
        if os.path.islink(folder):
            return False
        if os.path.lexists(draft):  # of one that had this number and died, or a link that somebody planted
            os.unlink(draft)
        with open(draft, "xb") as file:
            file.write(data)
        os.replace(draft, path)
        return True
    except OSError:
        if os.path.exists(draft):  # the disk is full
            os.unlink(draft)
        return False


# ---- surroundings ------------------------------------------------------------------------------


def program_rows() -> list[str]:
    """Rows of modelbuild's own files that an answer is from, and of the folders in which a distribution
    leaves a trace when it comes or goes: 270 of them, 1 ms."""
    paths = []
    home = os.path.dirname(os.path.dirname(__file__))
    folders = [home]
    for folder in folders:
        others = ("__pycache__", *_ABOVE) if folder == home else ("__pycache__",)
        for name in os.listdir(folder):
            if name.endswith(".py"):
                paths.append(f"{folder}/{name}")
            elif "." not in name and name not in others:
                folders.append(f"{folder}/{name}")
    paths += site.getsitepackages()
    if site.ENABLE_USER_SITE:
        paths.append(site.getusersitepackages())
    return [f"{row(p)}\t{p}" for p in sorted(paths)]


def program(rows: list[str]) -> str:
    """Who gives the answer: Python, where it looks for modules, and ``program_rows``, as 64 bits.

    The first entry of ``sys.path`` is that of the script or of ``-m``, and decides nothing.
    """
    text = _bytes("\n".join([sys.version, sys.prefix, *sys.path[1:], *rows]))
    return f"{zlib.crc32(text):08x}{zlib.crc32(text[::-1]):08x}"


# ---- text --------------------------------------------------------------------------------------


def escape(value: str | None) -> str:
    """A value in one field of a line; nothing at all for None."""
    if value is None:
        return ""
    return "=" + value.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")


def unescape(text: str) -> str | None:
    if not text:
        return None
    if "\\" not in text:
        return text[1:]
    whole = text[1:].split("\\\\")
    return "\\".join(t.replace("\\n", "\n").replace("\\t", "\t") for t in whole)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
