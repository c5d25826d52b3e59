"""Arguments in, exit code out. The one place that prints, and the one that catches."""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from modelbuild.errors import (
    EXIT_INTERRUPTED,
    EXIT_STEP_FAILED,
    EXIT_USAGE,
    Diagnostic,
    ModelbuildError,
    RecipeError,
    first_line,
)

if TYPE_CHECKING:
    from modelbuild.request import Request
    from modelbuild.results import BuildResult

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


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns its exit code; never raises for a user's mistake."""
    # A message may quote what this terminal's encoding does not have.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        options = _parser().parse_args(arguments)
    except _Misused as wrong:
        if _asks_for_json(arguments):
            _print_failure(Diagnostic("recipe-invalid", wrong.said, "`--help` shows what there is"))
        raise
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup ignores it
        signal.signal(signal.SIGHUP, _interrupt)
    try:
        return int(options.run(options))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        if _asks_for_json(arguments):
            _print_failure()
        return EXIT_INTERRUPTED
    except ModelbuildError as error:
        _complain(error.diagnostics, options)
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_STEP_FAILED
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        said = Diagnostic("system-error", f"{place}{error.strerror or error}", "check the path and the disk")
        _complain((said,), options)
        return EXIT_STEP_FAILED
    except Exception as error:
        # Nobody foresaw it: the traceback is for the report, and a program still gets its object.
        import traceback

        traceback.print_exc()
        said = Diagnostic("step-failed", f"modelbuild itself failed: {first_line(error)}",
                          "please report this with the traceback")  # fmt: skip
        _complain((said,), options)
        return EXIT_STEP_FAILED


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _complain(diagnostics: Sequence[Diagnostic], options: argparse.Namespace) -> None:
    for found in diagnostics:
        print(found.render(), file=sys.stderr)
    if getattr(options, "format", "text") == "json":
        _print_failure(*diagnostics)


def _print_failure(*diagnostics: Diagnostic) -> None:
    """The answer of a command that did not come as far as its recipes."""
    rows = [d.as_json() for d in diagnostics]
    recipe = {"recipe": "", "name": "", "status": "failed", "diagnostics": rows, "artifacts": []}
    _print_json({"schema": 1, "ok": False, "recipes": [recipe]})


def _asks_for_json(arguments: Sequence[str]) -> bool:
    """Whether a program reads the answer, also of a command line that cannot be parsed."""
    pairs = zip(arguments, [*arguments[1:], ""], strict=True)
    return any(a == "--format=json" or (a, b) == ("--format", "json") for a, b in pairs)


def _print_json(data: Any) -> None:
    print(json.dumps(data, indent=1))


# ---- commands ----------------------------------------------------------------------------------


def _build(options: argparse.Namespace) -> int:
    request = _request(
        options,
        keep_going=options.keep_going,
        dry_run=options.dry_run,
        force=options.force,
        require_engines=options.require_engines,
        write_back=options.write_back,
        lock=options.lock,
        locked=options.locked,
    )
    return _run(request, options.format)


def _request(options: argparse.Namespace, **more: Any) -> Request:
    from modelbuild.request import Request

    known = {name: getattr(options, name) for name in ("jobs", "only") if hasattr(options, name)}
    return Request(options.recipes, options.out, options.cache_dir, **known, **more)


def _verify(options: argparse.Namespace) -> int:
    return _run(_request(options, measure=True), options.format)


def _status(options: argparse.Namespace) -> int:
    from modelbuild import explaining
    from modelbuild.report import reasons
    from modelbuild.report.progress import Silent

    found = explaining.status(_request(options), Silent())
    if options.format == "json":
        _print_json(found.as_json())
    else:
        print(reasons.standing(found))
    return found.exit_code


def _why(options: argparse.Namespace) -> int:
    from modelbuild import explaining
    from modelbuild.report import reasons
    from modelbuild.report.progress import Silent

    found = explaining.why(options.artifact, _request(options), Silent())
    if options.format == "json":
        _print_json(found.as_json())
    else:
        print(reasons.render(found, options.facts))
    return 0


def _run(request: Request, how: str) -> int:
    from modelbuild import building
    from modelbuild.report import progress

    reporter = progress.reporter()
    try:
        result = building.build(request, reporter)
    finally:
        if isinstance(reporter, progress.Live):
            reporter.close()
    return _answer(result, how)


def _answer(result: BuildResult, how: str) -> int:
    from modelbuild.report import summary

    if how == "json":
        _print_json(result.as_json())
        for recipe in result.recipes:
            for found in recipe.diagnostics:
                if found.level == "error":
                    print(found.render(), file=sys.stderr)
    else:
        print(summary.render(result))
    return result.exit_code


def _audit(options: argparse.Namespace) -> int:
    from modelbuild import auditing

    return _answer(auditing.audit(options.recipes), options.format)


def _cache(options: argparse.Namespace) -> int:
    import time
    from dataclasses import asdict

    from modelbuild import state, store
    from modelbuild.report import caches

    found: Any
    limited = options.max_size is not None or options.max_age is not None
    if limited != (options.job == "gc"):
        said = f"`cache {options.job}` takes no limit" if limited else "gc needs a limit"
        raise RecipeError(
            Diagnostic("recipe-invalid", said, "modelbuild cache gc --max-size 20GiB --max-age 30d")
        )
    root = options.cache_dir or state.default_root()
    if root.exists() and not root.is_dir():
        raise RecipeError(Diagnostic("recipe-invalid", f"{root} is not a folder", "name the cache's folder"))
    cache = store.Store(root)
    if options.job == "gc":
        found = store.collect(cache, options.max_size, options.max_age, time.time())
    else:
        found = store.check(cache) if options.job == "verify" else store.stats(cache)
    damaged = options.job == "verify" and bool(found.damaged)
    if options.format == "json":
        _print_json({"schema": 1, "ok": not damaged, "cache": str(cache.root), **_plain(asdict(found))})
    else:
        print(caches.render(found, cache.root))
    return EXIT_STEP_FAILED if damaged else 0


def _plain(data: Any) -> Any:
    """As JSON has it: a path is text."""
    if isinstance(data, dict):
        return {k: _plain(v) for k, v in data.items()}
    if isinstance(data, list | tuple):
        return [_plain(v) for v in data]
    return str(data) if isinstance(data, Path) else data


def _check(options: argparse.Namespace) -> int:
    from modelbuild import building

    return _answer(building.check(options.recipes), options.format)


def _inspect(options: argparse.Namespace) -> int:
    from modelbuild import inspection

    found = inspection.inspect_file(options.file)
    if options.format == "json":
        _print_json(found)
    else:
        print(inspection.render(found))
    return 0


def _init(options: argparse.Namespace) -> int:
    from modelbuild import drafting

    text = drafting.draft(options.model)
    if options.output is None:
        print(text, end="")
    else:
        drafting.save(text, options.output)
        print(f"wrote {options.output}; edit it, then: modelbuild check {options.output}")
    return 0


def _schema(options: argparse.Namespace) -> int:
    from modelbuild.recipe.json_schema import schema_text

    print(schema_text(), end="")
    return 0


# ---- arguments ---------------------------------------------------------------------------------


class _Misused(SystemExit):
    """The command line cannot be parsed. Ends the process as argparse would, if nobody catches it."""

    def __init__(self, said: str) -> None:
        super().__init__(EXIT_USAGE)
        self.said = said


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        print(f"{self.prog}: error: {message}", file=sys.stderr)
        raise _Misused(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="modelbuild",
        description="Build proven ONNX files and TensorRT engines from recipes.",
        epilog="Start with: modelbuild init transformers:BertModel -o bert.yaml",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    build = _command(commands, "build", _build, "build what is not fresh", _BUILD_EXAMPLES)
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

    verify = _command(
        commands, "verify", _verify, "measure the published artifacts against PyTorch again",
        "example:\n  modelbuild verify configs/resnet50.yaml --format json\n",
    )  # fmt: skip
    _recipes(verify)
    _work(verify)
    _format(verify)

    status = _command(
        commands, "status", _status, "say what is fresh or stale, and why",
        "example:\n  modelbuild status configs     runs none of the models' code\n",
    )  # fmt: skip
    _recipes(status)
    _places(status)
    _only(status)
    _format(status)

    why = _command(
        commands, "why", _why, "say what moved since an artifact was built",
        "examples:\n  modelbuild why resnet50.fp16.onnx configs/resnet50.yaml\n"
        "  modelbuild why resnet50.fp16.onnx configs --facts     every fact of the keys behind it\n",
    )  # fmt: skip
    why.add_argument("artifact", metavar="ARTIFACT", help="its file's name")
    _recipes(why)
    _places(why)
    why.add_argument("--facts", action="store_true", help="print every fact of the keys behind it")
    _format(why)

    check = _command(
        commands, "check", _check, "find what is wrong without running the model's code",
        "example:\n  modelbuild check configs     safe on an untrusted pull request\n",
    )  # fmt: skip
    _recipes(check)
    _format(check)

    audit = _command(
        commands, "audit", _audit, "find files that a model reads and no fact names",
        "example:\n  modelbuild audit configs/resnet50.yaml     makes and exports it under strace\n",
    )  # fmt: skip
    _recipes(audit)
    _format(audit)

    cache = _command(
        commands, "cache", _cache, "look after the cache: stats, verify, gc",
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

    inspect = _command(
        commands, "inspect", _inspect, "say what is in an ONNX file or an engine",
        "example:\n  modelbuild inspect build/resnet50/resnet50.fp16.onnx\n",
    )  # fmt: skip
    inspect.add_argument("file", type=Path, metavar="FILE")
    _format(inspect)

    init = _command(
        commands, "init", _init, "write a first recipe from a model's signature",
        "examples:\n  modelbuild init transformers:BertModel -o bert.yaml\n"
        "  modelbuild init my_package.net:Net\n",
    )  # fmt: skip
    init.add_argument("model", metavar="IMPORT", help="package.module:attribute")
    init.add_argument("-o", "--output", type=Path, help="write there; standard output otherwise")

    _command(
        commands, "schema", _schema, "print the recipe's JSON schema",
        "example:\n  modelbuild schema > schemas/recipe.schema.json\n",
    )  # fmt: skip
    return parser


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        from importlib.metadata import version

        print(f"modelbuild {version('modelbuild')}")
        parser.exit()


def _command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], about: str, epilog: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=about, description=about[0].upper() + about[1:] + ".", epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.set_defaults(run=run)
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
