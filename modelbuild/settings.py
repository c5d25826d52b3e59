"""What holds where a command line says nothing: environment variables, and the project file.

The project file is the nearest pyproject.toml with a ``[tool.modelbuild]``, at or above the working folder
for where files go, and at or above a recipe's folder for what that recipe means (``recipe.defaults``).

Imported by every command: see ``state.format`` for what that asks of a module. tomllib takes 8 ms to import,
and is when there is such a table.
"""

import os
import stat

from modelbuild.machine import home

TYPE_CHECKING = False  # see ``state.format``
if TYPE_CHECKING:
    from typing import Any

FILE = "pyproject.toml"
MOST_BYTES = 1 << 20


# ---- the project file --------------------------------------------------------------------------


def candidates(folder: str) -> list[str]:
    """Where the project file of a folder may be, the nearest first.

    By way of ``..``, so that it is the file system that says what is above, also behind a link.
    """
    real = os.path.realpath(folder)
    above = real.count("/") if real != "/" else 0
    return [f"{folder}/{'../' * n}{FILE}" for n in range(above + 1)]


def content(path: str) -> bytes | None:
    """The bytes of a project file, at most one more than ``MOST_BYTES``; None if there is no such file.

    Raises:
        OSError: there is one, and it cannot be read.
    """
    try:
        # A pipe would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    with open(descriptor, "rb") as file:
        return file.read(MOST_BYTES + 1)


def may_speak(data: bytes) -> bool:
    """Whether a TOML text may have a ``[tool.modelbuild]``: to be sure, it has to be parsed."""
    if b"modelbuild" not in data:
        return False
    squeezed = data.translate(None, b" \t\"'")
    return any(sign in squeezed for sign in (b"tool.modelbuild", b"[tool]", b"tool={"))


def table(text: str) -> "dict[str, Any] | None":
    """``[tool.modelbuild]`` of a TOML text; None if it has none.

    Raises:
        ValueError, RecursionError: the text is no TOML.
    """
    import tomllib

    tools = tomllib.loads(text).get("tool")
    found = tools.get("modelbuild") if isinstance(tools, dict) else None
    return found if isinstance(found, dict) else None


def shown(path: str) -> str:
    """A project file's path for people: from the working folder if it is in it, else absolute."""
    real, here = os.path.realpath(path), os.path.realpath(os.getcwd())
    return real.removeprefix(f"{here}/")


class Unsound(ValueError):
    """A project file that is not understood: ``recipe.defaults`` says what is wrong with it."""

    def __init__(self, path: str, data: bytes) -> None:
        super().__init__(path)
        self.path = path
        self.data = data


def project(folder: str) -> "dict[str, Any]":
    """``out``, ``cache_dir``, ``jobs`` and ``recipes`` of a folder's project file; paths as seen from it.

    Raises:
        Unsound: one of them is wrong, or there is a key that nobody knows.
        OSError: the file cannot be read.
    """
    for path in candidates(folder):
        data = content(path)
        if data is None or not may_speak(data):
            continue
        if len(data) <= MOST_BYTES and (found := _simple(data)):
            return _seen(found, _above(path, folder))
        try:
            found = table(data.decode()) if len(data) <= MOST_BYTES else {"too": "large"}
        except (ValueError, RecursionError):
            raise Unsound(path, data) from None
        if found is None:
            continue
        if not _sound(found):
            raise Unsound(path, data)
        return _seen(found, _above(path, folder))
    return {}


def _above(path: str, folder: str) -> str:
    """The way from the folder to that of its project file: nothing, or ``../../``."""
    return path.removeprefix(f"{folder}/").removesuffix(FILE)


_TITLE = b"[tool.modelbuild]"
_BETWEEN = b'", "'  # two texts of a list
_PLAIN = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/~-"


def _simple(data: bytes) -> "dict[str, Any] | None":
    """The strings right under the table's own header; None where it takes a parser to be sure.

    A file as plain as most are is not worth the 8 ms of tomllib. What is written in another way, or may
    be wrong, is left to that: no text over several lines, no key but these, once each.
    """
    lines = data.split(b"\n")
    tables = [line for line in lines if b"modelbuild" in line and b"tool" in line]
    known = (
        _TITLE,
        b"[tool.modelbuild.precision",
        b"[tool.modelbuild.tolerance",
        b"[tool.modelbuild.remote]",
    )
    if tables.count(_TITLE) != 1 or not all(line.startswith(known) for line in tables):
        return None
    if b'"""' in data or b"'''" in data or any(t[26:27] not in (b"", b"]", b".") for t in tables):
        return None
    found: dict[str, Any] = {}
    for line in lines[lines.index(_TITLE) + 1 :]:
        if line.startswith(b"["):
            break
        key, _, value = line.partition(b" = ")
        name, text = key.decode("latin-1"), value[1:-1]
        if name in ("out", "cache") and name not in found and value == b'"%s"' % text:
            if not text or text.translate(None, _PLAIN):
                return None
            found[name] = text.decode()
        elif name == "recipes" and name not in found and value[:2] + value[-2:] == b'[""]':
            parts = value[2:-2].split(_BETWEEN)
            if any(not part or part.translate(None, _PLAIN) for part in parts):
                return None
            found[name] = [part.decode() for part in parts]
        elif (
            name == "jobs" and name not in found and value.isdigit() and value[:1] != b"0" and len(value) < 10
        ):
            found[name] = int(value)
        elif line and not line.startswith(b"#"):
            return None
    return found or None


def _sound(found: "dict[str, Any]") -> bool:
    jobs = found.get("jobs", 1)
    recipes = found.get("recipes", ["."])
    if type(recipes) is not list or not recipes:
        return False
    paths = (found.get("out", "."), found.get("cache", "."), *recipes)
    return (
        found.keys() <= {"out", "cache", "jobs", "recipes", "precision", "tolerance", "remote"}
        and all(type(path) is str and path for path in paths)
        and type(jobs) is int
        and jobs > 0
    )


def _seen(found: "dict[str, Any]", above: str) -> "dict[str, Any]":
    values = {"jobs": found["jobs"]} if "jobs" in found else {}
    for key, option in (("out", "out"), ("cache", "cache_dir")):
        if key in found:
            values[option] = os.path.join(above, os.path.expanduser(found[key]))
    if "recipes" in found:
        values["recipes"] = [os.path.join(above, os.path.expanduser(path)) for path in found["recipes"]]
    return values


# ---- the environment ---------------------------------------------------------------------------


VARIABLES = {
    "MODELBUILD_OUT": "where artifacts go, as --out",
    "MODELBUILD_CACHE_DIR": "the store, as --cache-dir",
    "MODELBUILD_JOBS": "actions side by side, as --jobs",
    "MODELBUILD_FORMAT": "text or json, as --format",
    "MODELBUILD_QUIET": "1: print errors only, as --quiet",
    "MODELBUILD_VERBOSE": "1: print more, as --verbose",
    "MODELBUILD_SIGNING_KEY": "what `cache push` signs with: a key's file, or its text",
}
"""Each with its meaning. One that is empty counts as not set."""

QUIET, NORMAL, VERBOSE = -1, 0, 1


class Wrong(ValueError):
    """A variable with a value that means nothing."""

    def __init__(self, variable: str, expected: str) -> None:
        super().__init__(variable)
        self.variable = variable
        self.expected = expected


def environment(option: str) -> "Any":
    """What the environment says of an option (``out``, ``cache_dir``, ``jobs``, ``format``, ``volume``).

    Raises:
        Wrong: it has such a variable, with another value than it may have.
    """
    if option == "volume":
        quiet, verbose = _flag("MODELBUILD_QUIET"), _flag("MODELBUILD_VERBOSE")
        if quiet and verbose:
            raise Wrong("MODELBUILD_QUIET", "0 or not set beside MODELBUILD_VERBOSE")
        return (VERBOSE if verbose else QUIET) if quiet or verbose else None
    if option == "recipes":
        return None  # the project file alone names them
    name = f"MODELBUILD_{option.upper()}"
    value = os.environ.get(name) or None
    if value is None or option in ("out", "cache_dir"):
        return value
    if option == "format":
        if value not in ("text", "json"):
            raise Wrong(name, "`text` or `json`")
        return value
    if not (value.isdecimal() and value.isascii() and len(value) < 10 and int(value) > 0):
        raise Wrong(name, "a whole number of 1 or more")
    return int(value)


def _flag(name: str) -> bool:
    value = os.environ.get(name) or "0"
    if value not in ("0", "1"):
        raise Wrong(name, "1 or 0")
    return value == "1"


# ---- all of it ---------------------------------------------------------------------------------


def settled(asked: "dict[str, Any]", folder: str) -> "dict[str, Any]":
    """These options of a command in this folder, with a value for each that the command line leaves None.

    Raises:
        Wrong, Unsound, OSError: as ``environment`` and ``project``, where they are asked.
    """
    known = {option: environment(option) if value is None else value for option, value in asked.items()}
    if any(known.get(option, "") is None for option in ("out", "cache_dir", "jobs", "recipes")):
        for option, value in project(folder).items():
            if known.get(option, "") is None:
                known[option] = value
    builtin = {"out": "build", "jobs": 0, "format": "text", "volume": NORMAL, "recipes": []}
    if known.get("cache_dir", "") is None:
        known["cache_dir"] = home.cache_folder()
    return {option: builtin[option] if value is None else value for option, value in known.items()}
