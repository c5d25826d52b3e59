"""The command line: its commands, their options and what they take. Knows nothing of what they do."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, NoReturn

from modelbuild.errors import EXIT_USAGE

_BUILD_EXAMPLES = """\
examples:
  modelbuild build configs/resnet50.yaml          build what is not fresh, into build/resnet50/
  modelbuild build configs --out dist -j 4        every recipe of a folder
  modelbuild build configs/*.yaml --dry-run       what would be built, and why
  modelbuild build r.yaml --only '*.fp16*.onnx'   some artifacts, and what they need
  modelbuild build r.yaml --format json | jq .    for programs; progress goes to stderr

exit codes: 0 all right, 1 a step failed, 2 the recipe or the command line is wrong,
  3 built but not proven, 4 a toolchain that --require-engines asks for is missing, 130 interrupted
"""


class Misused(SystemExit):
    """The command line cannot be parsed. Ends the process as argparse would, if nobody catches it."""

    def __init__(self, said: str) -> None:
        super().__init__(EXIT_USAGE)
        self.said = said


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        print(f"{self.prog}: error: {message}", file=sys.stderr)
        raise Misused(message)


def parser() -> argparse.ArgumentParser:
    """Of the whole command line; what it parses says which ``command``."""
    parser = _Parser(
        prog="modelbuild",
        description="Build proven ONNX files and TensorRT engines from recipes.",
        epilog="Start with: modelbuild init transformers:BertModel -o bert.yaml",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    build = _command(commands, "build", "build what is not fresh", _BUILD_EXAMPLES)
    _recipes(build)
    _work(build)
    build.add_argument("--keep-going", action="store_true",
                       help="build the other recipes even if one is invalid")  # fmt: skip
    build.add_argument("--dry-run", action="store_true", help="say what would be built, and why")
    build.add_argument("--force", action="store_true", help="build even what is fresh")
    build.add_argument("--require-engines", action="store_true",
                       help="a missing engine backend is an error (exit code 4), not a skip")  # fmt: skip
    build.add_argument("--write-back", action="store_true",
                       help="put the nodes that a search kept in fp32 into the recipe")  # fmt: skip
    lock = build.add_mutually_exclusive_group()
    lock.add_argument("--lock", action="store_true",
                      help="write what was built into RECIPE's .lock.yaml, for review")  # fmt: skip
    lock.add_argument("--locked", action="store_true",
                      help="publish nothing that differs from the lock file, and say where")  # fmt: skip
    _format(build)

    verify = _command(commands, "verify", "measure the published artifacts against PyTorch again",
        "example:\n  modelbuild verify configs/resnet50.yaml --format json\n",
    )  # fmt: skip
    _recipes(verify)
    _work(verify)
    _format(verify)

    status = _command(commands, "status", "say what is fresh or stale, and why",
        "example:\n  modelbuild status configs     runs none of the models' code\n",
    )  # fmt: skip
    _recipes(status)
    _places(status)
    _only(status)
    _format(status)

    why = _command(commands, "why", "say what moved since an artifact was built",
        "examples:\n  modelbuild why resnet50.fp16.onnx configs/resnet50.yaml\n"
        "  modelbuild why resnet50.fp16.onnx configs --facts     every fact of the keys behind it\n",
    )  # fmt: skip
    why.add_argument("artifact", metavar="ARTIFACT", help="its file's name")
    _recipes(why)
    _places(why)
    why.add_argument("--facts", action="store_true", help="print every fact of the keys behind it")
    _format(why)

    check = _command(commands, "check", "find what is wrong without running the model's code",
        "example:\n  modelbuild check configs     safe on an untrusted pull request\n",
    )  # fmt: skip
    _recipes(check)
    _format(check)

    audit = _command(commands, "audit", "find files that a model reads and no fact names",
        "example:\n  modelbuild audit configs/resnet50.yaml     makes and exports it under strace\n",
    )  # fmt: skip
    _recipes(audit)
    _format(audit)

    cache = _command(commands, "cache", "look after the cache: stats, verify, gc",
        "examples:\n  modelbuild cache stats\n  modelbuild cache verify\n"
        "  modelbuild cache gc --max-size 20GiB --max-age 30d\n",
    )  # fmt: skip
    cache.add_argument("job", choices=("stats", "verify", "gc"),
                       help="what it holds and saved; hash it all again; delete the least used")  # fmt: skip
    cache.add_argument("--max-size", type=_size, metavar="SIZE",
                       help="gc: bytes to leave, least recently used first: 500MiB, 20GiB")  # fmt: skip
    cache.add_argument("--max-age", type=_age, metavar="AGE",
                       help="gc: delete what was not used for as long: 12h, 30d")  # fmt: skip
    _cache_folder(cache)
    _format(cache)

    inspect = _command(commands, "inspect", "say what is in an ONNX file or an engine",
        "example:\n  modelbuild inspect build/resnet50/resnet50.fp16.onnx\n",
    )  # fmt: skip
    inspect.add_argument("file", type=Path, metavar="FILE")
    _format(inspect)

    init = _command(commands, "init", "write a first recipe from a model's signature",
        "examples:\n  modelbuild init transformers:BertModel -o bert.yaml\n"
        "  modelbuild init my_package.net:Net\n",
    )  # fmt: skip
    init.add_argument("model", metavar="IMPORT", help="package.module:attribute")
    init.add_argument("-o", "--output", type=Path, help="write there; standard output otherwise")

    _command(commands, "schema", "print the recipe's JSON schema",
        "example:\n  modelbuild schema > schemas/recipe.schema.json\n",
    )  # fmt: skip
    return parser


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        from importlib.metadata import version

        print(f"modelbuild {version('modelbuild')}")
        parser.exit()


def _command(commands: Any, name: str, about: str, epilog: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=about, description=about[0].upper() + about[1:] + ".", epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.set_defaults(command=name)
    return parser


def _recipes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipes", nargs="+", metavar="RECIPE",
                        help="a recipe, a folder of recipes, or a glob")  # fmt: skip


def _work(parser: argparse.ArgumentParser) -> None:
    """Options of what runs steps, for all of a recipe's artifacts or some."""
    _places(parser)
    _only(parser)
    parser.add_argument("-j", "--jobs", type=_count, default=0, metavar="N",
                        help="actions side by side (as many as there are cores)")  # fmt: skip


def _only(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--only", metavar="GLOB", help="only artifacts whose names match")


def _places(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("build"), metavar="DIR",
                        help="where artifacts go, in a folder per recipe (build)")  # fmt: skip
    _cache_folder(parser)


def _cache_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cache-dir", type=Path, default=None, metavar="DIR",
                        help="the store ($MODELBUILD_CACHE_DIR, then the user's cache folder)")  # fmt: skip


def _format(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=("text", "json"), default="text",
                        help="json: one object on standard output, progress on standard error")  # fmt: skip


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


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
