"""The kinds of facts: one row each, with all that the rest of the program asks of a kind.

A fact is a name, ``kind rest``, and the value that it had for a run. Names and values are in keys and in
files on disks, so a kind that is there stays as it is. Adding one is adding a row; a row without one of
its columns is no call of ``Kind``, for mypy and for Python.

Paths are relative to the recipe's folder where they can be. Nothing here runs the user's code. Imported
by the fast path when there is something to look at: hence no dataclass (``inspect`` takes 6 ms), and what
only some kinds need is imported by them.
"""

from __future__ import annotations

import os

from modelbuild.trace import facts, words

TYPE_CHECKING = False  # typing costs 4 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import Literal, Protocol

    class Edited(Protocol):
        """What came, went or has other bytes in a repository: each answer are such files."""

        def hit(self, path: str) -> Iterator[str]: ...
        def appeared(self, path: str) -> Iterator[str]: ...
        def relisted(self, folder: str) -> Iterator[str]: ...
        def matching(self, pattern: str, base: str) -> Iterator[str]: ...
        def shadowing(self, modules: Sequence[str], folder: str) -> Iterator[str]: ...

    # How a fact travels to a clone in another folder of another machine. A "file" is known there by its
    # content, a "version" and a "setting" by their names; the "answer" to a question is the same there
    # while the clone is. What is of the place "stays": it says nothing of another clone.
    Travel = Literal["file", "version", "setting", "answer", "stays"]


class Kind:
    """A row. Each column is asked with what follows the kind in a fact's name (``rest``)."""

    __slots__ = ("content", "guards", "lies", "name", "now", "question", "touched", "travels", "variables",
                 "words")  # fmt: skip

    def __init__(
        self,
        name: str,
        *,
        now: Callable[[str, str | None, str], str | None],
        question: Callable[[str | None], str],
        lies: Callable[[str, str | None, str], Sequence[str] | None],
        guards: Callable[[str, str | None, str], Sequence[str] | None],
        variables: Callable[[str, str | None], Mapping[str, str | None]],
        content: bool,
        words: Callable[[str, str | None, str | None, words.Outlines], str],
        touched: Callable[[Edited, str, str | None, str], Iterator[str]],
        travels: Travel,
    ) -> None:
        self.name = name
        self.now = now  # (rest, value, base): what it is now where it was ``value``; None: nothing any more
        self.question = question  # (value): what was asked, where the name does not say all of it
        self.lies = lies  # (rest, value, base): the paths that it tells of, if any; None: nobody knows
        # (rest, value, base): paths whose stat rows cannot all stay the same when it moves; besides the
        # program's own rows. None: nothing that has a row stands for it.
        self.guards = guards
        self.variables = variables  # (rest, value): environment variables, likewise, with their values
        self.content = content  # a digest of all the bytes at its guards: dear, of large files
        self.words = words  # (rest, old, new, outlines): what is told when it moved
        self.touched = touched  # (edited, rest, value, base): the files by which a change can move it
        self.travels: Travel = travels

    def fact(self, rest: str = "") -> str:
        return f"{self.name} {rest}" if rest else self.name


# ---- columns that several rows share -----------------------------------------------------------


def _nothing_more(value: str | None) -> str:
    return ""


def _at(rest: str, value: str | None, base: str) -> list[str]:
    return [os.path.join(base, rest)]


def _nowhere(rest: str, value: str | None, base: str) -> list[str]:
    return []


def _no_idea(rest: str, value: str | None, base: str) -> None:
    return None


def _no_variable(rest: str, value: str | None) -> dict[str, str | None]:
    return {}


def _untouched(edited: Edited, rest: str, value: str | None, base: str) -> Iterator[str]:
    """The environment and what is installed are in no repository."""
    return iter(())


def _hit(edited: Edited, rest: str, value: str | None, base: str) -> Iterator[str]:
    return edited.hit(os.path.join(base, rest))


def _appeared(edited: Edited, rest: str, value: str | None, base: str) -> Iterator[str]:
    return edited.appeared(os.path.join(base, rest))


def _file(rest: str, value: str | None, base: str) -> str | None:
    return facts.file_digest(os.path.join(base, rest))


def _presence(rest: str, value: str | None, base: str) -> str | None:
    return facts.presence(os.path.join(base, rest))


# ---- what one row alone needs ------------------------------------------------------------------


def _made(rest: str, value: str | None, base: str) -> str | None:
    path = os.path.join(base, rest)
    return facts.file_digest(path) if os.path.lexists(path) else value


def _around_a_link(rest: str, value: str | None, base: str) -> list[str]:
    """The row is of what it leads to; making it anew moves its folder's."""
    path = os.path.join(base, rest)
    return [path, os.path.dirname(path)]


def _beside(rest: str, value: str | None, base: str) -> list[str]:
    return [os.path.join(base, rest) + facts.JOURNAL]


def _journal_touched(edited: Edited, rest: str, value: str | None, base: str) -> Iterator[str]:
    return edited.hit(os.path.join(base, rest) + facts.JOURNAL)


def _ordered(rest: str, value: str | None, base: str) -> list[str]:
    return [os.path.join(base, name) for name in facts.json_list(value)]


def _some_ordered(rest: str, value: str | None, base: str) -> list[str] | None:
    return _ordered(rest, value, base) or None


def _order_touched(edited: Edited, rest: str, value: str | None, base: str) -> Iterator[str]:
    """A checkout gives what it writes a new time."""
    return (path for place in _ordered(rest, value, base) for path in edited.hit(place))


def _on_path(rest: str, value: str | None, base: str) -> list[str]:
    return [p for p in os.environ.get("PATH", os.defpath).split(os.pathsep) if os.path.isabs(p)]


def _program_touched(edited: Edited, rest: str, value: str | None, base: str) -> Iterator[str]:
    """One of the repository, in a folder of PATH: a file there is one by its mode, too."""
    places = (os.path.join(folder, rest) for folder in _on_path(rest, value, base))
    return (path for place in places for path in edited.hit(place))


def _listing(rest: str, value: str | None, base: str) -> str | None:
    return facts.listing(os.path.join(base, rest), _without(value))


def _without(value: str | None) -> list[str]:
    """The names that do not count in a folder: a build writes them itself."""
    return (value or "").split("/")[1:]


def _relisted(edited: Edited, rest: str, value: str | None, base: str) -> Iterator[str]:
    return edited.relisted(os.path.join(base, rest))


def _names(value: str | None) -> list[str]:
    from modelbuild.trace.searching import names_in

    return names_in(value or "")


def _modules(rest: str, value: str | None, base: str) -> str | None:
    from modelbuild.trace import searching

    return searching.as_text(searching.resolved(os.path.join(base, rest), _names(value)))


def _search(rest: str, value: str | None, base: str) -> str | None:
    from modelbuild.trace import searching

    return searching.as_text(searching.on_the_way(facts.search_path(), _names(value), base))


def _search_folders(rest: str, value: str | None, base: str) -> list[str]:
    return facts.search_path()


def _inside(folders: Sequence[str], value: str | None) -> list[str]:
    """Folders of a search path, and those in them that may be one of the packages looked for."""
    inner = (os.path.join(folder, name) for folder in folders for name in _names(value))
    return [*folders, *filter(os.path.isdir, inner)]


def _modules_touched(edited: Edited, rest: str, value: str | None, base: str) -> Iterator[str]:
    return edited.shadowing(_names(value), os.path.join(base, rest))


def _search_touched(edited: Edited, rest: str, value: str | None, base: str) -> Iterator[str]:
    names = _names(value)
    return (path for folder in facts.search_path() for path in edited.shadowing(names, folder))


def _cwd(rest: str, value: str | None, base: str) -> str:
    return os.path.relpath(os.path.realpath(os.getcwd()), os.path.realpath(base))


def _matched(edited: Edited, rest: str, value: str | None, base: str) -> Iterator[str]:
    return edited.matching(rest, base)


def _package(rest: str, value: str | None, base: str) -> str | None:
    from modelbuild.trace import distributions

    return distributions.standing(rest, base)


def _catalogued(kind: str) -> Callable[[str, str | None, str], str | None]:
    def now(rest: str, value: str | None, base: str) -> str | None:
        from modelbuild.trace import distributions

        return distributions.catalogued(kind, rest, base)

    return now


# What is installed shows in the rows of the program's own folders, and of those on PYTHONPATH.
def _installed_near(rest: str, value: str | None, base: str) -> list[str]:
    more = os.environ.get("PYTHONPATH")
    return [os.path.abspath(folder) for folder in (more.split(os.pathsep) if more else ())]


def _catalogued_near(rest: str, value: str | None, base: str) -> list[str]:
    return [base, os.getcwd(), *_installed_near(rest, value, base)]


# ---- the table ---------------------------------------------------------------------------------

# models/net.py: digest of its bytes
FILE = Kind(
    "file", now=_file, question=_nothing_more, lies=_at, guards=_at, variables=_no_variable, content=True,
    words=words.file, touched=_hit, travels="file",
)  # fmt: skip

# models/net.json: nothing; it was looked for
ABSENT = Kind(
    "absent", now=_presence, question=_nothing_more, lies=_at, guards=_at, variables=_no_variable,
    content=False, words=words.absent, touched=_appeared, travels="answer",
)  # fmt: skip

# data: "file" or "folder"; it was looked for and not read
PRESENT = Kind(
    "present", now=_presence, question=_nothing_more, lies=_at, guards=_at, variables=_no_variable,
    content=False, words=words.present, touched=_appeared, travels="answer",
)  # fmt: skip

# cache.bin: digest of a file that the run has made and left; it may be gone
MADE = Kind(
    "made", now=_made, question=_nothing_more, lies=_at, guards=_at, variables=_no_variable, content=True,
    words=words.other, touched=_hit, travels="stays",
)  # fmt: skip

# current: where a symbolic link leads that was asked for it; nothing if it is none
LINK = Kind(
    "link", now=lambda rest, value, base: facts.target(os.path.join(base, rest)), question=_nothing_more,
    lies=_at, guards=_around_a_link, variables=_no_variable, content=False, words=words.link, touched=_hit,
    travels="stays",
)  # fmt: skip

# weights.bin: bytes of a file that was looked at for its size and not read
SIZE = Kind(
    "size", now=lambda rest, value, base: facts.size(os.path.join(base, rest)), question=_nothing_more,
    lies=_at, guards=_at, variables=_no_variable, content=False, words=words.other, touched=_hit,
    travels="answer",
)  # fmt: skip

# run.sh: "yes" or "no": whether a file that was asked for it can be run
EXECUTABLE = Kind(
    "executable", now=lambda rest, value, base: facts.executable(os.path.join(base, rest)),
    question=_nothing_more, lies=_at, guards=_at, variables=_no_variable, content=False,
    words=words.executable, touched=_hit, travels="answer",
)  # fmt: skip

# data.db: digest of what an SQLite database has in the file beside it
JOURNAL = Kind(
    "journal", now=lambda rest, value, base: facts.journal(os.path.join(base, rest)),
    question=_nothing_more, lies=_beside, guards=_beside, variables=_no_variable, content=False,
    words=words.other, touched=_journal_touched,
    travels="answer",
)  # fmt: skip

# of-times: the files that were asked for their times, the oldest first
ORDER = Kind(
    "order", now=lambda rest, value, base: facts.by_time(facts.json_list(value), base),
    question=lambda value: "\0".join(sorted(facts.json_list(value))), lies=_ordered, guards=_some_ordered,
    variables=_no_variable, content=False, words=words.order, touched=_order_touched, travels="stays",
)  # fmt: skip

# nvcc: where a program is that was looked for on PATH
WHICH = Kind(
    "which", now=lambda rest, value, base: facts.program(rest), question=_nothing_more, lies=_nowhere,
    guards=_on_path, variables=lambda rest, value: {"PATH": os.environ.get("PATH")}, content=False,
    words=words.which, touched=_program_touched, travels="stays",
)  # fmt: skip

# data: digest of the sorted names in a folder that was listed; after it, those that do not count
LISTING = Kind(
    "listing", now=_listing, question=lambda value: "/".join(_without(value)), lies=_at, guards=_at,
    variables=_no_variable, content=False, words=words.listing, touched=_relisted, travels="answer",
)  # fmt: skip

# models: how the imported names resolve in a folder of the search path
MODULES = Kind(
    "modules", now=_modules, question=lambda value: " ".join(_names(value)), lies=_at,
    guards=lambda rest, value, base: _inside(_at(rest, value, base), value), variables=_no_variable,
    content=False, words=words.modules, touched=_modules_touched, travels="answer",
)  # fmt: skip

# alone: how they resolve in the command's folder and those of PYTHONPATH
SEARCH = Kind(
    "search", now=_search, question=lambda value: " ".join(_names(value)), lies=_search_folders,
    guards=lambda rest, value, base: _inside(facts.search_path(), value), variables=_no_variable,
    content=False, words=words.search, touched=_search_touched, travels="stays",
)  # fmt: skip

# alone: the command's folder: a relative path was used
CWD = Kind(
    "cwd", now=_cwd, question=_nothing_more, lies=_nowhere, guards=lambda rest, value, base: [os.getcwd()],
    variables=_no_variable, content=False, words=words.cwd, touched=_untouched, travels="stays",
)  # fmt: skip

# data/*.npz: digest of the paths that a pattern of the recipe matches
GLOB = Kind(
    "glob", now=lambda rest, value, base: facts.matched(rest, base), question=_nothing_more, lies=_at,
    guards=lambda rest, value, base: facts.looked_into(rest, base), variables=_no_variable, content=False,
    words=words.glob, touched=_matched, travels="answer",
)  # fmt: skip

# WIDTH: an environment variable's value, or its digest
ENV = Kind(
    "env", now=lambda rest, value, base: facts.variable(rest, os.environ.get(rest)), question=_nothing_more,
    lies=_nowhere, guards=_nowhere, variables=lambda rest, value: {rest: value}, content=False,
    words=words.env, touched=_untouched, travels="setting",
)  # fmt: skip

# TORCH_COMPILE_DEBUG: one that PyTorch's own code reads, while the user's code calls it
TORCH_ENV = Kind(
    "torch-env", now=lambda rest, value, base: facts.variable(rest, os.environ.get(rest)),
    question=_nothing_more, lies=_nowhere, guards=_nowhere, variables=lambda rest, value: {rest: value},
    content=False, words=words.env, touched=_untouched, travels="stays",
)  # fmt: skip

# transformers: whose installed module it is, and its version
PACKAGE = Kind(
    "package", now=_package, question=_nothing_more, lies=_nowhere, guards=_installed_near,
    variables=_no_variable, content=False, words=words.package, touched=_untouched, travels="version",
)  # fmt: skip

# torchvision: a version that was asked of ``importlib.metadata``
DISTRIBUTION = Kind(
    "distribution", now=_catalogued("distribution"), question=_nothing_more, lies=_nowhere,
    guards=_catalogued_near, variables=_no_variable, content=False, words=words.distribution,
    touched=_untouched, travels="version",
)  # fmt: skip

# my.plugins: digest of a group of entry points, with the versions of who brings them
ENTRY_POINTS = Kind(
    "entry-points", now=_catalogued("entry-points"), question=_nothing_more, lies=_nowhere,
    guards=_catalogued_near, variables=_no_variable, content=False, words=words.entry_points,
    touched=_untouched, travels="stays",
)  # fmt: skip

# distributions: digest of all distributions and their versions
INSTALLED = Kind(
    "installed", now=_catalogued("installed"), question=_nothing_more, lies=_nowhere,
    guards=_catalogued_near, variables=_no_variable, content=False, words=words.installed,
    touched=_untouched, travels="stays",
)  # fmt: skip

KINDS = {row.name: row for row in list(globals().values()) if isinstance(row, Kind)}


# A newer version of this program, in the same cache, may have noted what this one does not know. It has
# never the value that it had; and nothing is known of what touches it.
_UNKNOWN = Kind(
    "", now=lambda rest, value, base: "unknown" if value is None else None, question=_nothing_more,
    lies=_no_idea, guards=_no_idea, variables=_no_variable, content=False, words=words.unknown,
    touched=_untouched, travels="stays",
)  # fmt: skip


# ---- what is asked of a fact -------------------------------------------------------------------


def parted(name: str) -> tuple[Kind, str]:
    """Its kind, and what follows it in the name."""
    kind, _, rest = name.partition(" ")
    return (KINDS[kind], rest) if kind in KINDS else (_UNKNOWN, name)


def of(kind: Kind, found: Mapping[str, str | None]) -> dict[str, str | None]:
    """The facts of one kind, by what follows it in their names."""
    start = kind.name + " "
    return {name[len(start) :]: value for name, value in found.items() if name.startswith(start)}


def current(name: str, value: str | None, base: Path) -> str | None:
    """What the fact is now; ``value`` is what it was. None where there is nothing any more."""
    kind, rest = parted(name)
    return kind.now(rest, value, str(base))


def question(name: str, value: str | None) -> str:
    """What was asked where the answer was ``value``: two runs may ask other names of one folder."""
    return parted(name)[0].question(value)


def guards(name: str, value: str | None, base: Path) -> list[str] | None:
    """Paths whose stat rows cannot all stay the same when the fact moves, besides the program's own rows
    and its variables; None if nothing that has a row stands for it."""
    kind, rest = parted(name)
    found = kind.guards(rest, value, str(base))
    return None if found is None else list(found)


def variables(name: str, value: str | None) -> dict[str, str | None]:
    """The environment variables that have to be what they are, likewise."""
    kind, rest = parted(name)
    return dict(kind.variables(rest, value))


def is_far(name: str) -> bool:
    """Whether it tells of a path outside the recipe's folder: another machine may have another one there."""
    return parted(name)[1].startswith(("/", ".."))
