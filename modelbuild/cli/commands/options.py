"""Every option of every command, in one table: the parser is made of it, and so is a request.

The Python functions and the fast path have the same options in words of their own, as both are to import
nothing: ``tests/test_options.py`` holds them to this table.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelbuild import settings

if TYPE_CHECKING:
    from modelbuild.building.request import Request


# ---- values, as they are typed -----------------------------------------------------------------


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def _seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, from 0 to 86400")
    return found


_SIZES = {"": 1, "B": 1, **{f"{p}{s}": 1024**n for n, p in enumerate("KMGT", 1) for s in ("", "B", "iB")}}
_AGES = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def _size(text: str) -> int:
    return int(_measure(text, _SIZES, "a size: 500MiB, 20GiB"))


def _age(text: str) -> float:
    return _measure(text, _AGES, "an age: 12h, 30d")


def _measure(text: str, units: dict[str, int], what: str) -> float:
    number = text.rstrip("BbiKMGTsmhdw")
    try:
        value = float(number) * units[text[len(number) :]]
    except (ValueError, KeyError):
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}") from None
    if not 0 <= value < 1e18:
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
    return value


# ---- the table ---------------------------------------------------------------------------------

_TYPED = object()


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option, or one word in its place, of some commands.

    ``name`` is its value's: when it is parsed, in a ``Request``, and in Python, unless ``python`` says what
    the function has instead. A ``value`` makes it one that takes none, and has this. Of the options of a
    ``group`` only one may be given.
    """

    name: str
    commands: tuple[str, ...]
    help: str | None = None
    flags: tuple[str, ...] = ()  # as typed; none of a word in its place
    metavar: str | None = None
    read: Callable[[str], Any] = str
    choices: tuple[str, ...] | None = None
    count: str | None = None  # of words: argparse's nargs
    repeated: bool = False  # given several times, each counts
    value: Any = _TYPED
    default: Any = None
    group: str | None = None
    python: tuple[str, ...] | None = None
    settled: bool = False  # left open, it is as the environment and the project file say
    fast: bool = False  # whether the fast path of a build understands it
    behind_dashes: bool = False  # words after ``--``

    @property
    def in_python(self) -> tuple[str, ...]:
        """What the Python function of a command calls it."""
        return (self.name,) if self.python is None else self.python


def _flag(name: str, commands: tuple[str, ...], help: str, **more: Any) -> Option:
    flag = f"--{name.replace('_', '-')}"
    return Option(name=name, commands=commands, help=help, flags=(flag,), value=True, default=False, **more)


_JUDGED = ("build", "status", "graph", "verify")  # whose recipes are planned, all of them or in part
_PUBLISHED = ("build", "status", "why", "graph", "report", "check", "verify")
_OF_RECIPES = ("build", "status", "why", "graph", "check", "verify", "audit")
_TOLD = ("build", "status", "report", "check", "verify")  # in as many words as somebody wants
_EITHER = ("build", "status", "why", "check", "verify", "audit", "cache", "inspect")  # text or JSON
_FORMAT = ("--format",)
_CHANGED = ("build", "status", "check")
_REMOTE = ("build", "status", "why", "graph", "report")  # whose results may be elsewhere
_REQUIRED_GROUPS = {"what"}

TABLE: tuple[Option, ...] = (
    Option(name="artifact", commands=("why",), metavar="ARTIFACT", help="its file's name"),
    Option(name="recipes", commands=_OF_RECIPES, count="*", metavar="RECIPE", settled=True, fast=True,
           help="a recipe, a folder of recipes, or a glob (the project file's)"),
    Option(name="recipes", commands=("report",), count="*", metavar="RECIPE", settled=True,
           help="a recipe, a folder of recipes, or a glob (the project file's, or all that were built)"),
    Option(name="output", commands=("report",), flags=("-o", "--output"), read=Path, metavar="FILE",
           default=Path("report.html"), python=("path",), help="the file to write (report.html)"),
    Option(name="revisions", commands=("diff",), count="+", metavar="REV", python=("base", "head"),
           help="one git revision, to compare with the working tree, or two"),
    Option(name="paths", commands=("diff",), default=(), behind_dashes=True),
    Option(name="changed_since", commands=_CHANGED, flags=("--changed-since",), metavar="REV",
           help="only recipes that a change since this git revision can touch"),
    Option(name="out", commands=_PUBLISHED, flags=("--out",), read=Path, metavar="DIR", settled=True,
           fast=True, help="where artifacts go, in a folder per recipe (build)"),
    Option(name="cache_dir", commands=(*_PUBLISHED, "cache"), flags=("--cache-dir",), read=Path,
           metavar="DIR", settled=True, fast=True, help="the store (the user's cache folder)"),
    Option(name="only", commands=_JUDGED, flags=("--only",), metavar="GLOB",
           help="only artifacts whose names match"),
    Option(name="jobs", commands=("build", "verify"), flags=("-j", "--jobs"), read=_count, metavar="N",
           settled=True, fast=True, help="actions side by side (as many as there are cores)"),
    _flag("keep_going", ("build",), "build the other recipes even if one is invalid", fast=True),
    _flag("dry_run", ("build",), "say what would be built, and why"),
    _flag("force", ("build",), "build even what is fresh"),
    _flag("require_engines", ("build",), fast=True,
          help="a missing engine backend is an error (exit code 4), not a skip"),
    Option(name="remote", commands=_REMOTE, flags=("--remote",), choices=("off", "read"), default="read",
           help="whether the remote cache is asked that the project file names (read)"),
    _flag("require_remote", _REMOTE, "a remote cache that does not answer is an error (exit code 4)"),
    _flag("write_back", ("build",), "put the nodes that a search kept in fp32 into the recipe"),
    Option(name="in_process", commands=("build",), flags=("--in-process",), metavar="ACTION", python=(),
           help="run this one here, for pdb or a profiler (graph lists them)"),
    _flag("lock", ("build",), "write what was built into RECIPE's .lock.yaml, for review", group="locks"),
    _flag("locked", ("build",), "publish nothing that differs from the lock file, and say where",
          group="locks"),
    _flag("locked", ("check",), "also that each lock file is of its recipe and of today's files"),
    _flag("resolved", ("check",), "print each recipe with every default, and where it comes from",
          python=()),
    _flag("facts", ("why",), "print every fact of the keys behind it", python=()),
    Option(name="job", commands=("cache",), choices=("stats", "verify", "gc", "push", "keygen"),
           help="what it holds and saved; hash it all again; delete the least used; sign what was built and "
           "send it to the remote; make a key pair to sign with"),
    Option(name="recipes", commands=("cache",), count="*", metavar="RECIPE",
           help="push: a recipe, a folder of recipes, or a glob (the project file's)"),
    Option(name="max_size", commands=("cache",), flags=("--max-size",), read=_size, metavar="SIZE",
           help="gc: bytes to leave, least recently used first: 500MiB, 20GiB"),
    Option(name="max_age", commands=("cache",), flags=("--max-age",), read=_age, metavar="AGE",
           help="gc: delete what was not used for as long: 12h, 30d"),
    _flag("remote", ("cache",), "stats, verify, gc: of the remote, by its owners"),
    _flag("published_only", ("cache",),
          "push: without the files of what is neither published nor a proof"),
    Option(name="output", commands=("cache",), flags=("-o", "--output"), read=Path, metavar="FILE",
           help="keygen: where the secret key goes (signing-key.pem)"),
    Option(name="file", commands=("inspect",), read=Path, metavar="FILE", python=("path",)),
    _flag("nodes", ("inspect",), "every node of an ONNX file by name, with the model's line"),
    Option(name="code", commands=("explain",), count="?", metavar="CODE",
           help="as in error[CODE]: all of them if left out"),
    Option(name="shell", commands=("completion",), choices=("bash", "zsh", "fish"),
           help="the shell that will read it"),
    Option(name="model", commands=("init",), count="?", metavar="IMPORT", group="what",
           help="package.module:attribute: a model, its class, or what returns one"),
    Option(name="from_onnx", commands=("init",), flags=("--from-onnx",), read=Path, metavar="FILE",
           group="what", help="an ONNX file instead"),
    Option(name="begun", commands=("init",), flags=("--from",), read=Path, metavar="RECIPE", group="what",
           help="a recipe to go on from, which has its `model` at least"),
    _flag("ci", ("init",), "workflows for CI, into this folder", group="what"),
    Option(name="kwargs", commands=("init",), flags=("--kwargs",), metavar="YAML",
           help="what the model is made with: `{depth: 18}`; JSON is YAML, too"),
    Option(name="inputs", commands=("init",), flags=("--input",), metavar="NAME:SHAPE[:DTYPE]", repeated=True,
           help="an input, as `x:1x3x224x224` or `ids:batchx128:int64`: a named axis is dynamic; "
           "`x:[boxes,4]` where a name holds an x. May be repeated"),
    Option(name="patience", commands=("init",), flags=("--patience",), read=_seconds, metavar="SECONDS",
           help="how long to try the model, and its export (30); 0: only read it"),
    Option(name="output", commands=("init",), flags=("-o", "--output"), read=Path, metavar="FILE",
           help="write the recipe there; standard output otherwise"),
    Option(name="format", commands=_EITHER, flags=_FORMAT, choices=("text", "json"), settled=True,
           fast=True, python=(),
           help="json: one object on standard output, progress on standard error"),
    Option(name="format", commands=("graph",), flags=_FORMAT, choices=("text", "dot", "mermaid", "json"),
           settled=True, python=(), help="a tree, Graphviz, Mermaid for Markdown, or one object"),
    Option(name="format", commands=("diff",), flags=_FORMAT, choices=("text", "markdown", "json"),
           settled=True, python=(), help="markdown: to be posted on a pull request; json: one object"),
    _flag("strict", ("diff",), "exit code 1 if there is a warning", python=()),
    Option(name="out", commands=("diff",), flags=("--out",), read=Path, metavar="DIR",
           help="where artifacts were published: what rebuilds took last time"),
    Option(name="cache_dir", commands=("diff",), flags=("--cache-dir",), read=Path, metavar="DIR",
           help="the store: what rebuilds took last time"),
    Option(name="volume", commands=_TOLD, flags=("-q", "--quiet"), value=settings.QUIET, group="volume",
           settled=True, fast=True, python=(), help="print errors only, on standard error"),
    Option(name="volume", commands=_TOLD, flags=("-v", "--verbose"), value=settings.VERBOSE,
           group="volume", settled=True, python=(),
           help="print more: every table and reason in full, and where things are"),
)  # fmt: skip
"""In the order of the help."""


# ---- what is made of it ------------------------------------------------------------------------


def of(command: str) -> tuple[Option, ...]:
    """Those that a command takes."""
    return tuple(option for option in TABLE if command in option.commands)


def add(command: str, parser: argparse.ArgumentParser) -> None:
    """Have the parser of a command understand its options."""
    groups: dict[str, argparse._MutuallyExclusiveGroup] = {}
    for option in of(command):
        if option.behind_dashes:
            continue
        if option.group is not None and option.group not in groups:
            required = option.group in _REQUIRED_GROUPS
            groups[option.group] = parser.add_mutually_exclusive_group(required=required)
        to = parser if option.group is None else groups[option.group]
        to.add_argument(*(option.flags or (option.name,)), **_as_argparse_has_it(option))


def _as_argparse_has_it(option: Option) -> dict[str, Any]:
    known: dict[str, Any] = {"help": option.help, "default": option.default}
    if option.flags:
        known["dest"] = option.name
    if option.value is not _TYPED:
        return {**known, "action": "store_const", "const": option.value}
    action = "append" if option.repeated else "store"
    more = {"metavar": option.metavar, "choices": option.choices, "nargs": option.count}
    return {
        **known,
        "action": action,
        "type": option.read,
        **{name: value for name, value in more.items() if value is not None},
    }


def settled_by(command: str) -> tuple[str, ...]:
    """The names of those that the environment and the project file settle."""
    return tuple(dict.fromkeys(option.name for option in of(command) if option.settled))


def needs_recipes(command: str) -> bool:
    """Whether it has nothing to do where none is named anywhere."""
    return command in _OF_RECIPES


def request(options: argparse.Namespace) -> Request:
    """What a parsed command line asks for."""
    from modelbuild.building.request import Request

    names = [field.name for field in fields(Request)]
    return Request(**{name: getattr(options, name) for name in names if hasattr(options, name)})
