"""The lock file beside a recipe: what its build gives, to be reviewed and to be held to.

``configs/resnet50.lock.yaml`` is written by ``build --lock``, and ``build --locked`` publishes
nothing that differs from it. What it says holds on another machine and in another folder: digests
and versions are compared; errors and headroom, whose last digits depend on the CPU, are for people.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from modelbuild.errors import Diagnostic, RecipeError
from modelbuild.keys import digest
from modelbuild.recipe.excerpts import diagnostics
from modelbuild.recipe.finding import LOCKS
from modelbuild.recipe.problems import Mark, Problem, Route, clean, described, dotted
from modelbuild.recipe.reading import MOST_BYTES
from modelbuild.recipe.reading import read as read_yaml
from modelbuild.recipe.scalars import meaning
from modelbuild.results import ArtifactResult
from modelbuild.store import write_atomically

VERSION = 1
MOST_FILES = 1000
"""Files that are listed one by one; of more, each folder has a digest. 1 MiB can be read back."""

INVALID = "lock-invalid"

_HEAD = (
    "# Written by `modelbuild build --lock`; `modelbuild build --locked` holds to it. Not edited by hand.\n"
)
_HINT = "take the last good one from version control, or write it anew: `modelbuild build --lock`"
_STRICT = {"extra": "forbid"}
_OUTLINE, _CONTENT = "outline:", "sha256:"
_LONGEST_NAME = 500  # a key of YAML has 1024 characters at most, and a quote in it takes two
_PLAIN = re.compile(r"[\w./](?:[\w./+@=-]|:(?=\w)| (?=[\w./]))*", re.ASCII)


@dataclass(frozen=True)
class Worst:
    """The output that is nearest to its bound, to three digits: more of them is noise."""

    output: str
    relative_l2: float
    max_abs: float
    headroom: float | str  # tolerance / error; "exact" where there is no error

    __pydantic_config__: ClassVar[Any] = _STRICT


@dataclass(frozen=True)
class Onnx:
    """An ONNX artifact.

    ``data`` is the digest of the weights beside it, where they are; ``bytes`` counts both files.
    ``nodes`` are those that compute floats, by the type they compute in, and the others.
    """

    sha256: str
    bytes: int
    opset: int
    nodes: Mapping[str, int]
    tolerance: str | None = None
    worst: Worst | None = None
    data: str | None = None
    kept_fp32: int = 0

    __pydantic_config__: ClassVar[Any] = _STRICT


@dataclass(frozen=True)
class Engine:
    """An engine: no two builds of it have the same bytes, so its key stands for it."""

    key: str | None  # None: not built here


@dataclass(frozen=True)
class Lock:
    """What a build gave (``onnx``, ``engines``) and what decided it.

    ``facts`` is the digest of what the model's code read or looked for by itself; ``files`` and
    ``environment`` name the part of it that people ask for.
    """

    recipe: str
    onnx: Mapping[str, Onnx]
    engines: Mapping[str, str | None]
    toolchain: Mapping[str, str]
    environment: Mapping[str, str | None]
    files: Mapping[str, str]
    facts: str

    __pydantic_config__: ClassVar[Any] = _STRICT

    def only(self, names: Collection[str]) -> Lock:
        """The part about some of the artifacts, for a build of no others."""
        onnx = {name: row for name, row in self.onnx.items() if name in names}
        return replace(self, onnx=onnx, engines={n: k for n, k in self.engines.items() if n in names})


def place(recipe: Path) -> Path:
    """Where the lock file of a recipe is."""
    return recipe.with_suffix(LOCKS[0])


# ---- from a build ------------------------------------------------------------------------------


def row(result: ArtifactResult, path: Path, files: Mapping[str, str]) -> Onnx | Engine:
    """What the lock file says of an artifact that is built and proven.

    ``path`` is the file, in the store or published; ``files`` has the SHA-256 of each file that the
    artifact consists of, by name. The nodes of an ONNX file are counted; its weights are not loaded.
    """
    if result.kind == "engine":
        return Engine(result.key)
    opset, nodes = _counted(path)
    parity = result.parity or {}
    return Onnx(
        sha256=files[result.name],
        bytes=int(result.bytes or 0),
        opset=opset,
        nodes=nodes,
        tolerance=parity.get("tolerance"),
        worst=_worst(parity.get("outputs") or {}),
        data=files.get(result.name + ".data"),
        kept_fp32=len((result.conversion or {}).get("kept", ())),
    )


def _counted(path: Path) -> tuple[int, dict[str, int]]:
    from modelbuild.graph import files, interface
    from modelbuild.inspection.precisions import walk

    model = files.read(path)
    seen = walk(interface.inferred(model.proto).graph)
    return model.opset, dict(sorted(Counter(s.computes or "other" for s in seen).items()))


def _worst(outputs: Mapping[str, Mapping[str, float]]) -> Worst | None:
    for name, far in outputs.items():  # the worst is the first
        headroom = far["headroom"]
        exact = "exact" if headroom > 1e300 else _rounded(headroom)
        return Worst(_visible(name), _rounded(far["relative_l2"]), _rounded(far["max_abs"]), exact)
    return None


def _rounded(number: float) -> float:
    return float(f"{number:.3g}")


def compose(
    recipe: str,
    rows: Mapping[str, Onnx | Engine],
    toolchain: Mapping[str, str | None],
    facts: Mapping[str, str | None],
    outlines: Mapping[str, Mapping[str, str]],
) -> Lock:
    """The lock of a build.

    ``toolchain`` has versions by distribution (None: not installed), and ``python``; ``facts`` what
    the actions that make the model discovered; ``outlines`` those files whose definitions are
    known one by one, so that a comment makes no difference.
    """
    kinds: dict[str, dict[str, str | None]] = {"package": {}, "env": {}, "file": {}}
    for name, value in facts.items():
        kind, _, rest = name.partition(" ")
        kinds.setdefault(kind, {})[rest] = value
    versions = {_normal(name): value for name, value in [*kinds.pop("package").items(), *toolchain.items()]}
    if python := versions.get("python"):
        versions["python"] = ".".join(python.split(".")[:2])  # as in the keys
    environment = {_name(name): _setting(value) for name, value in sorted(kinds.pop("env").items())}
    files = _files(kinds.pop("file"), outlines)
    others = {
        f"{kind} {rest}": value
        for kind, found in kinds.items()
        for rest, value in found.items()
        if not rest.startswith(("/", ".."))  # where the rest of the machine lies is not of the project
    }
    return Lock(
        _visible(recipe),
        {n: r for n, r in rows.items() if isinstance(r, Onnx)},
        {n: r.key for n, r in rows.items() if isinstance(r, Engine)},
        {name: value for name, value in sorted(versions.items()) if value is not None},
        environment,
        files,
        digest({"files": sorted(files.values()), "environment": environment, "others": others}),
    )


def _setting(value: str | None) -> str | None:
    """A path says nothing of what is read there, and differs from one machine to the next."""
    if value is not None and value.startswith("/"):
        return "(a path)"
    return None if value is None else _visible(value)


def _files(facts: Mapping[str, str | None], outlines: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    named: dict[str, set[str]] = {}
    for path, content in facts.items():
        if content is not None:
            outline = outlines.get(path)
            value = content if outline is None else digest(dict(outline)).replace(_CONTENT, _OUTLINE)
            named.setdefault(_portable(path), set()).add(value)
    files = {
        f"{name} ({number})" if number else name: value
        for name, values in named.items()
        for number, value in enumerate(sorted(values))
    }
    if len(files) > MOST_FILES:
        files = _by_folder(files)
    return dict(sorted(files.items()))


def _portable(path: str) -> str:
    """The path as another machine has it: a folder outside the project may be anywhere."""
    return _name(".../" + path.rpartition("/")[2] if path.startswith("/") else path)


def _by_folder(files: Mapping[str, str]) -> dict[str, str]:
    folders: dict[str, dict[str, str]] = {}
    for name, value in files.items():
        folder, _, file = name.rpartition("/")
        folders.setdefault(f"{folder}/*" if folder else "*", {})[file] = value
    return {folder: digest(held) for folder, held in folders.items()}


def _normal(distribution: str) -> str:
    """PEP 503: ``onnx_ir`` is ``onnx-ir``."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _name(text: str) -> str:
    """A key of the file: what YAML can hold as it is, of at most ``_LONGEST_NAME`` characters."""
    name = _visible(text)
    if len(name) <= _LONGEST_NAME:
        return name
    mark = digest(name).removeprefix(_CONTENT)[:16]
    return f"{name[: _LONGEST_NAME - 20]}... {mark}"


def _visible(text: str) -> str:
    """What YAML can hold as it is; a name on a disk may be any bytes."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


# ---- as text -----------------------------------------------------------------------------------


def render(lock: Lock) -> str:
    """The file's text: one spelling for one lock, in blocks that a diff shows line by line."""
    return _HEAD + f"lock: {VERSION}\n" + "".join(_block(dataclasses.asdict(lock), 0))


def _block(values: Mapping[str, Any], depth: int) -> Iterator[str]:
    for name, value in values.items():
        key = f"{'  ' * depth}{_word(name)}:"
        if isinstance(value, dict) and value and depth < 2:
            yield f"{key}\n"
            yield from _block(value, depth + 1)
        elif depth < 2 or not _is_default(name, value):
            yield f"{key} {_inline(value)}\n"


def _is_default(name: str, value: Any) -> bool:
    """Whether an artifact's entry goes without saying: no weights beside it, nothing kept."""
    return any(f.name == name and f.default == value for f in dataclasses.fields(Onnx))


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_word(k)}: {_inline(v)}" for k, v in value.items()) + "}"
    if value is None:
        return "null"
    return _word(value) if isinstance(value, str) else f"{value:.15g}"


def _word(text: str) -> str:
    """Text as a YAML scalar, in quotes if it would be read as something else without."""
    if _PLAIN.fullmatch(text) and len(text) < 200 and meaning(text) == text:
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


# ---- from text ---------------------------------------------------------------------------------


def load(path: Path) -> Lock:
    """The lock file at ``path``.

    Raises:
        RecipeError: ``lock-missing``, or ``lock-invalid`` as ``read`` raises it.
    """
    try:
        with path.open("rb") as file:
            source = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        said = Diagnostic(
            "lock-missing", "there is no lock file", "`modelbuild build --lock` writes it", str(path)
        )
        raise RecipeError(said) from None
    except OSError as error:
        why = f"cannot read the lock file: {error.strerror}"
        raise RecipeError(Diagnostic(INVALID, why, _HINT, str(path))) from error
    return read(source, str(path))


def save(lock: Lock, path: Path) -> bool:
    """Write the lock file, whole or not at all; False, and nothing is touched, if it says so already."""
    text = render(lock)
    try:
        if path.read_text(encoding="utf-8") == text:
            return False
    except (OSError, ValueError):
        pass  # not there, or damaged: it is written
    write_atomically(path, text)
    return True


def read(source: str | bytes, where: str) -> Lock:
    """The lock in a text.

    Raises:
        RecipeError: ``lock-invalid``, with each place as ``where:line:column``.
    """
    document = read_yaml(source)
    problems = list(document.problems)
    lock: Lock | None = None
    conflict = next((i for i, line in enumerate(document.lines) if line.startswith("<<<<<<< ")), None)
    if conflict is not None:
        mark = Mark(conflict, 0, conflict, len(document.lines[conflict]))
        problems = [Problem((), "an unresolved merge conflict", _HINT, mark=mark)]
    elif document.root is not None and not problems:
        lock, problems = _validated(document.root.data)
    if lock is not None:
        return lock
    # The reader speaks of recipes.
    told = [
        replace(p, code=INVALID, message=p.message.replace("recipe is", "lock file is"), hint=_HINT)
        for p in problems
    ]
    raise RecipeError(diagnostics(document, told, where))


def _validated(data: Any) -> tuple[Lock | None, list[Problem]]:
    from pydantic import TypeAdapter, ValidationError

    if not isinstance(data, dict) or "lock" not in data:
        return None, [Problem((), f"a lock file begins with `lock: {VERSION}`", _HINT)]
    version = data["lock"]
    known = type(version) is int  # and not true, which equals 1
    if known and version > VERSION:
        message = f"the lock file has version {version}, and this modelbuild reads {VERSION}: it is too old"
        return None, [Problem(("lock",), message, _HINT)]
    if not known or version != VERSION:
        return None, [Problem(("lock",), f"`lock` must be {VERSION}, not {described(version)}", _HINT)]
    try:
        rest = {key: value for key, value in data.items() if key != "lock"}
        return TypeAdapter(Lock).validate_python(rest), []
    except ValidationError as error:
        # A value that may have two types is told once for each: the first will do.
        problems: dict[Route, Problem] = {}
        for wrong in error.errors(include_url=False):
            found = _worded(wrong["type"], wrong["loc"], wrong["msg"])
            problems.setdefault(found.route if wrong["type"] != "missing" else wrong["loc"], found)
        return None, list(problems.values())


def _worded(kind: str, loc: Route, said: str) -> Problem:
    route = tuple(step for step in loc if step not in ("float", "str"))  # the type that was tried
    if kind == "missing":
        return Problem(route[:-1], f"missing `{dotted(route)}`", _HINT)
    if kind == "unexpected_keyword_argument":
        return Problem(route, f"unknown key `{dotted(route)}`", _HINT, on_key=True)
    return Problem(route, f"`{dotted(route)}`: {said[:1].lower()}{clean(said[1:], 100)}", _HINT)


# ---- compared ----------------------------------------------------------------------------------


def mismatch(locked: Lock, name: str, files: Mapping[str, str]) -> str | None:
    """Why an ONNX artifact may not be published under ``locked``; None if it may.

    ``files`` has the SHA-256 of each of its files, by name.
    """
    if name not in locked.onnx:
        return f"{name} is not in the lock file"
    row = locked.onnx[name]
    return _other_bytes(name, (row.sha256, row.data), (files.get(name), files.get(name + ".data")))


def differences(locked: Lock, now: Lock) -> list[str]:
    """Where a build differs from its lock file, in words, the most telling first.

    For a build of some artifacts compare with ``locked.only(...)``. What was measured is not
    compared, nor a distribution that only one side has: the bytes tell whether it matters.
    """
    both = [name for name in now.onnx if name in locked.onnx]
    said = [f"recipe {locked.recipe} -> {now.recipe}"] if locked.recipe != now.recipe else []
    said += _alike("opset", both, lambda name: (locked.onnx[name].opset, now.onnx[name].opset))
    said += _alike("tolerance", both, lambda name: (locked.onnx[name].tolerance, now.onnx[name].tolerance))
    files = list(_moved_files(locked, now))
    environment = list(_moved_environment(locked.environment, now.environment))
    said += [*files, *environment]
    versions = ((n, locked.toolchain[n], v) for n, v in now.toolchain.items() if n in locked.toolchain)
    said += [f"{name} {old} -> {new}" for name, old, new in versions if old != new]
    for name in both:
        old, new = locked.onnx[name], now.onnx[name]
        bytes_ = _other_bytes(name, (old.sha256, old.data), (new.sha256, new.data))
        said += [bytes_ + _recounted(old.nodes, new.nodes)] if bytes_ else []
    said += [
        f"{name}: another key ({_short(key)} -> {_short(now.engines[name])})"
        for name, key in locked.engines.items()
        if key and now.engines.get(name) and key != now.engines[name]
    ]
    for old_names, new_names in ((locked.onnx, now.onnx), (locked.engines, now.engines)):
        said += [f"{name} is not in the lock file" for name in new_names if name not in old_names]
        said += [f"{name} is in the lock file alone" for name in old_names if name not in new_names]
    if locked.facts != now.facts and not (files or environment) and _comparable(locked, now):
        said.append("the model's code finds other files, folders or modules than it did")
    return said


def _alike(what: str, names: list[str], pair: Callable[[str], tuple[Any, Any]]) -> list[str]:
    """A change of all artifacts is told once."""
    changes = {name: pair(name) for name in names if len(set(pair(name))) > 1}
    words = {name: f"{what} {old} -> {new}" for name, (old, new) in changes.items()}
    if len(words) == len(names) and len(set(words.values())) == 1:
        return [words[names[0]]]
    return [f"{name}: {told}" for name, told in words.items()]


def _moved_files(locked: Lock, now: Lock) -> Iterator[str]:
    """Files that changed, came or went. One that only lies elsewhere has not changed."""
    for name in sorted({*locked.files, *now.files}):
        old, new = locked.files.get(name), now.files.get(name)
        if old is None and new not in locked.files.values():
            yield f"{name} is read, and not in the lock file"
        elif new is None and old not in now.files.values():
            yield f"{name} is in the lock file, and not read"
        elif old and new and old != new and _same_kind(locked, now, old, new):
            yield f"{name} changed"


def _same_kind(locked: Lock, now: Lock, old: str, new: str) -> bool:
    """Whether two digests of a file can be compared; each Python outlines a source in its own way."""
    kinds = [value.startswith(_OUTLINE) for value in (old, new)]
    if all(kinds):
        return locked.toolchain.get("python") == now.toolchain.get("python")
    return not any(kinds)


def _comparable(locked: Lock, now: Lock) -> bool:
    pairs = [(old, now.files[name]) for name, old in locked.files.items() if name in now.files]
    return all(_same_kind(locked, now, old, new) for old, new in pairs)


def _moved_environment(old: Mapping[str, str | None], new: Mapping[str, str | None]) -> Iterator[str]:
    for name in sorted({*old, *new}):
        if name not in old:
            yield f"{name} is read from the environment, and not in the lock file"
        elif name not in new:
            yield f"{name} is in the lock file, and not read from the environment"
        elif old[name] != new[name]:
            words = [value if value is not None else "unset" for value in (old[name], new[name])]
            secret = any(word.startswith(_CONTENT) for word in words)
            yield f"{name} changed" if secret else f"{name} {words[0]} -> {words[1]}"


def _other_bytes(
    name: str, old: tuple[str | None, str | None], new: tuple[str | None, str | None]
) -> str | None:
    for file, before, after in zip((name, name + ".data"), old, new, strict=True):
        if before != after:
            return f"{file}: other bytes (sha256 {_short(before)} -> {_short(after)})"
    return None


def _recounted(old: Mapping[str, int], new: Mapping[str, int]) -> str:
    kinds: Iterable[str] = sorted({*old, *new})
    moved = [f"{k} {old.get(k, 0)} -> {new.get(k, 0)}" for k in kinds if old.get(k, 0) != new.get(k, 0)]
    return f"; nodes: {', '.join(moved)}" if moved else ""


def _short(value: str | None) -> str:
    return f"{value.removeprefix(_CONTENT)[:12]}…" if value else "none"
