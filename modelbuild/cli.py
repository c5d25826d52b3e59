"""Arguments in, exit code out. The one place that prints, and the one that catches."""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelbuild import arguments
from modelbuild.errors import (
    EXIT_INTERRUPTED,
    EXIT_STEP_FAILED,
    Diagnostic,
    ModelbuildError,
    RecipeError,
    first_line,
)

if TYPE_CHECKING:
    from modelbuild.request import Request
    from modelbuild.results import BuildResult


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns its exit code; never raises for a user's mistake."""
    # A message may quote what this terminal's encoding does not have.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    given = list(sys.argv[1:] if argv is None else argv)
    try:
        options = arguments.parser().parse_args(given)
    except arguments.Misused as wrong:
        if _asks_for_json(given):
            _print_failure(Diagnostic("recipe-invalid", wrong.said, "`--help` shows what there is"))
        raise
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup ignores it
        signal.signal(signal.SIGHUP, _interrupt)
    try:
        return _COMMANDS[options.command](options)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        if _asks_for_json(given):
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


def _asks_for_json(given: Sequence[str]) -> bool:
    """Whether a program reads the answer, also of a command line that cannot be parsed."""
    pairs = zip(given, [*given[1:], ""], strict=True)
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


_COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "build": _build,
    "verify": _verify,
    "status": _status,
    "why": _why,
    "check": _check,
    "audit": _audit,
    "cache": _cache,
    "inspect": _inspect,
    "init": _init,
    "schema": _schema,
}
