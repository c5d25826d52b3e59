"""The fast path of ``modelbuild build``: when there is nothing to do, say so and end.

Every command starts here. What it asks for is answered from state files if all of it can be, and
else by the whole command line. A row that does not hold sends nobody down the slow path by itself: the
facts behind it are looked at again, and if they are what they were, only the row is new. So a
``touch`` and a fresh checkout cost one hash of what was touched, once.
"""

import os
import sys

from modelbuild import settings
from modelbuild.machine import home
from modelbuild.state import format as state
from modelbuild.state.recalling import Recall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_YAML = (".yaml", ".yml")
_LOCK = (".lock.yaml", ".lock.yml")


def main() -> int:
    """What the ``modelbuild`` script runs. Returns the exit code, or ends with it: see ``_leave``."""
    if sys.platform != "linux":
        return _elsewhere()
    if None in (sys.stdin, sys.stdout, sys.stderr):  # closed by the caller
        from modelbuild.machine import streams

        streams.complete()
    code = answer(sys.argv[1:])
    if code is None:
        from modelbuild.cli import main as cli

        return cli.main()
    _leave(code)
    return code


def _elsewhere() -> int:
    """On another system: say so, before anything is imported that only Linux has."""
    from modelbuild.base.errors import ModelbuildError
    from modelbuild.machine import system
    from modelbuild.wording import output

    try:
        system.required()
    except ModelbuildError as error:
        output.tell("\n".join(d.render() for d in error.diagnostics))
        return error.exit_code
    return 0


def _leave(code: int) -> None:
    """End at once where nobody waits for more: taking Python down would be a sixth of the whole command.

    Whoever has called the script (a debugger, a profiler, a test) goes on, and so does Python where
    something has asked to be told of the end.
    """
    script = sys._getframe(2)
    if script.f_back is None and "atexit" not in sys.modules:
        os._exit(code)  # what was said is flushed


def answer(arguments: "Sequence[str]") -> int | None:
    """Print what ``modelbuild build`` would say if it has nothing to do; None if that is not sure.

    Nothing is printed then. The exit code is 0, 1 if nobody reads, 130 after Ctrl-C.
    """
    try:
        asked = _understood(arguments)
        text = None if asked is None else _told(asked, os.getcwd())
        # What cannot be seen is escaped, and that takes more than is imported here.
        if text is None or not text.replace("\n", "").replace("\t", "").isprintable():
            return None
        if text:
            sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
            sys.stdout.write(f"{_coloured(text)}\n")
            sys.stdout.flush()
        return 0
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (OSError, ValueError, AttributeError, LookupError, TypeError, RecursionError):
        return None  # the slow path says what is wrong, with the recipe, the cache or standard output


# ---- what is asked -----------------------------------------------------------------------------


class CommandLine:
    """A command line that the fast path understands."""

    def __init__(self) -> None:
        self.recipes: list[str] = []
        self.engines = False  # none may be missing
        self.options: dict[str, str | int | None] = dict.fromkeys(
            ("out", "cache_dir", "jobs", "format", "volume")
        )

    def took(self, option: str, value: str) -> bool:
        """Take an option with its value, if this is one and that is right."""
        if option in ("-j", "--jobs"):
            self.options["jobs"] = value
            return value.isdecimal() and value.isascii() and int(value) > 0
        if option not in ("--out", "--cache-dir", "--format"):
            return False
        self.options[option[2:].replace("-", "_")] = value
        return value in ("json", "text") if option == "--format" else bool(value)


def _understood(arguments: "Sequence[str]") -> CommandLine | None:
    if not arguments or arguments[0] != "build" or os.environ.get("GITHUB_ACTIONS") == "true":
        return None  # there the runner reads along: ``terminal.github``
    asked = CommandLine()
    rest = list(arguments[:0:-1])
    while rest:
        argument = rest.pop()
        if not argument.startswith("-"):
            asked.recipes.append(argument)
        elif argument == "--require-engines":
            asked.engines = True
        elif argument == "--keep-going":
            pass  # a recipe that is wrong has no state
        elif argument in ("-q", "--quiet"):
            asked.options["volume"] = settings.QUIET
        else:
            option, given, value = argument.partition("=")
            if argument.startswith("-j") and len(argument) > 2:
                option, given, value = "-j", "=", argument[2:]
            if not given:
                if not rest or rest[-1].startswith("-"):
                    return None
                value = rest.pop()
            if not asked.took(option, value):
                return None
    return asked


def _recipes(arguments: "Sequence[str]") -> list[str] | None:
    """The recipes that these name, as ``recipe.finding`` finds them; None where it has more to say."""
    found: list[str] = []
    for argument in arguments:
        path = plain(argument)
        if path.endswith(_LOCK):
            return None
        if path.endswith(_YAML):  # a folder of that name has no state
            found.append(path)
            continue
        try:
            names = sorted(os.listdir(path))
        except OSError:
            return None
        front = "" if path == "." else path if path == "/" else f"{path}/"
        names = [n for n in names if n.endswith(_YAML) and not n.endswith(_LOCK) and not n.startswith(".")]
        if not names:
            return None
        found += [front + name for name in names]
    return found


def plain(path: str) -> str:
    """A path as ``str(Path(path))`` gives it."""
    if "//" not in path and "./" not in path and not path.endswith(("/", ".")):
        return path
    parts = [p for p in path.split("/") if p not in ("", ".")]
    start = "/" if path.startswith("/") else ""
    return start + "/".join(parts) or "."


# ---- what is answered --------------------------------------------------------------------------


def _told(asked: CommandLine, cwd: str) -> str | None:
    """The text of the answer, if there is nothing to do for any of the recipes."""
    options = settings.settled({**asked.options, "recipes": asked.recipes or None}, cwd)
    recipes = _recipes(options["recipes"])
    if not recipes or options["volume"] == settings.VERBOSE:
        return None
    out = plain(options["out"])
    cache = _absolute(plain(options["cache_dir"]), cwd)
    if home.exposed(cache):
        return None
    recall = Recall(cache, _absolute(out, cwd), cwd)
    names: set[str] = set()
    rows: set[str] = set()
    said: list[object] = []  # an object each, or a line
    counts = [0, 0, 0]  # artifacts that are cached, that are skipped, and warnings
    for recipe in recipes:
        place = _absolute(recipe, cwd)
        known = recall.known(place)
        if known is None or (asked.engines and known.counts[1]):
            return None
        names.add(known.name)
        rows.add(recall.look.at(place))
        # What a thousand states hold is let go one by one: the pages for it would take 10 ms.
        if options["format"] == "json":
            said.append(recall.answer(known, recipe, out))
        elif len(recipes) == 1:
            said.append(_line(known, out))
        counts = [a + b for a, b in zip(counts, known.counts, strict=True)]
    if None in said or len(names) < len(recipes) or len(rows) < len(recipes):
        return None  # some text has another path; one recipe twice, or two that write into one folder
    if options["format"] == "json":
        import json

        return json.dumps({"schema": 1, "ok": True, "recipes": said}, indent=1)
    if options["volume"] == settings.QUIET:
        return ""
    if len(recipes) == 1:
        return str(said[0])
    from modelbuild.wording import totals

    statuses = {"cached": counts[0], "skipped": counts[1]}
    return totals.line(len(names), statuses, None, out if counts[0] else None, warnings=counts[2])


def _line(known: state.State, out: str) -> str:
    """As ``summary.summed`` says it of one recipe."""
    return f"{known.name}: {known.told}" + (f": {plain(f'{out}/{known.name}')}" if known.counts[0] else "")


def _absolute(path: str, cwd: str) -> str:
    """As ``Path.absolute``: ``..`` stays, since what it means depends on links."""
    if path.startswith("/"):
        return path
    return cwd if path == "." else f"{cwd}/{path}" if cwd != "/" else f"/{path}"


def _coloured(text: str) -> str:
    """As ``answers.say`` prints it; an object has no line that would be painted."""
    if not sys.stdout.isatty():
        return text
    from modelbuild.wording import colours

    return colours.painted(text, sys.stdout)
