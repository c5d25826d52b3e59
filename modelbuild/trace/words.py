"""What is told of a fact that moved: a sentence per kind. Pure; no fact is looked at."""

from __future__ import annotations

TYPE_CHECKING = False  # see ``kinds``
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Outline = Mapping[str, str]  # of a Python file: its top-level definitions, each with a digest

    # A file's outline at the last build and now, if both are known; asked where it is told.
    Outlines = Callable[[], "tuple[Outline, Outline] | None"]

Value = str | None


def file(path: str, old: Value, new: Value, outlines: Outlines) -> str:
    """``net.py:Net changed``: which definition, where that can be said."""
    if new is None:
        return f"{path} is gone"
    known = outlines()
    if known is None:
        return f"{path} changed"
    from modelbuild.trace import outline
    from modelbuild.wording.phrases import few

    moved = outline.changed(*known)
    if not moved:
        return f"{path} changed (comments or layout)"
    named = [name for name in moved if name != outline.REST]
    if not named:
        return f"{path} changed"
    return few([f"{path}:{n}" for n in named], 2) + " changed"


def absent(path: str, old: Value, new: Value, outlines: Outlines) -> str:
    return f"new file {path}"


def present(path: str, old: Value, new: Value, outlines: Outlines) -> str:
    return f"{path} is gone"


def other(path: str, old: Value, new: Value, outlines: Outlines) -> str:
    return f"{path} changed"


def link(path: str, old: Value, new: Value, outlines: Outlines) -> str:
    return f"link {path} {_pair(old, new, 'no link')}"


def executable(path: str, old: Value, new: Value, outlines: Outlines) -> str:
    return f"{path} can{' no longer' if new == 'no' else ' now'} be run"


def order(rest: str, old: Value, new: Value, outlines: Outlines) -> str:
    return "which of the files is newer changed"


def which(program: str, old: Value, new: Value, outlines: Outlines) -> str:
    return f"the program {program} {_pair(old, new, 'not found')}"


def listing(folder: str, old: Value, new: Value, outlines: Outlines) -> str:
    return f"folder {folder} is gone" if new is None else f"the files in {folder} changed"


def modules(folder: str, old: Value, new: Value, outlines: Outlines) -> str:
    """How imports resolve in a folder: entries ``name`` or ``name:file``."""
    for name, before, found in _resolved_anew(old, new):
        where = "" if folder == "." else f"{folder}/"
        if not found:
            return f"{where}{before} is gone"
        shadowed = f"{where}{before}" if before else f"the module `{name}`"
        return f"new file shadows {shadowed}: {where}{found}"
    return f"the modules in {folder} changed"


def search(rest: str, old: Value, new: Value, outlines: Outlines) -> str:
    """How imports resolve in the command's folder and PYTHONPATH."""
    for name, before, found in _resolved_anew(old, new):
        return f"the module `{name}` {_pair(before or None, found or None, 'installed')}"
    return "the modules on PYTHONPATH changed"


def cwd(rest: str, old: Value, new: Value, outlines: Outlines) -> str:
    return f"the command's folder {_pair(old, new, 'gone')}"


def glob(pattern: str, old: Value, new: Value, outlines: Outlines) -> str:
    return f"the files that `{pattern}` matches changed"


def env(variable: str, old: Value, new: Value, outlines: Outlines) -> str:
    return f"environment variable {variable} {_pair(old, new, 'unset')}"


def package(module: str, old: Value, new: Value, outlines: Outlines) -> str:
    """Whose a module is: ``2.13.0``, or ``onnxruntime-gpu 1.27.0``, or several of these."""
    before, after = ({*(value or "").split(", ")} - {""} for value in (old, new))
    gone, come = (sorted(values) for values in (before - after, after - before))
    plain = len(gone) == len(come) == 1 and not any(s in f"{old} {new}" for s in ("from ", "sha256:"))
    if not plain:
        return distribution(module, old, new, outlines)
    (was, number), (now, another) = (v.rpartition(" ")[::2] for v in (gone[0], come[0]))
    named = "" if was == now else f"{now or module} "
    return f"{was or module} {number} -> {named}{another}"


def distribution(name: str, old: Value, new: Value, outlines: Outlines) -> str:
    return f"{name} {_pair(old, new, 'not installed')}"


def entry_points(group: str, old: Value, new: Value, outlines: Outlines) -> str:
    return f"the entry points of {group} changed"


def installed(rest: str, old: Value, new: Value, outlines: Outlines) -> str:
    return "the installed distributions changed"


def unknown(name: str, old: Value, new: Value, outlines: Outlines) -> str:
    return f"{name} changed"


def _resolved_anew(old: Value, new: Value) -> Iterator[tuple[str, str, str]]:
    """The names that resolve to another file than before, with both; empty is none."""
    before = dict(_entry(e) for e in (old or "").split())
    for entry in (new or "").split():
        name, found = _entry(entry)
        if found != before.get(name, ""):
            yield name, before.get(name, ""), found


def _entry(text: str) -> tuple[str, str]:
    name, _, found = text.partition(":")
    return name, found


def _pair(old: Value, new: Value, nothing: str) -> str:
    if any("sha256:" in str(v) for v in (old, new)):
        return "changed"
    return f"{nothing if old is None else old} -> {nothing if new is None else new}"
