"""Small faults put into the code that decides, one at a time: does a test of the fast tier see each of them?

    python bench/mutants.py [--count 300] [--seed 0] [--module modelbuild/plan/freshness.py …] [--list]
                            [--only modelbuild/plan/freshness.py:92:11:flip]

A mutant is a copy of the package with one expression or statement changed: a comparison flipped, a number
off by one, a negation or one side of an `and` taken away, True for False, a statement dropped, nothing
returned. Of all that can be made of MODULES the seed draws ``--count``, of each module its share by lines.
For each, the tests that belong to the changed module run until one fails; one that never ends is killed
as well. Only tests that are not ``slow`` count. Prints the share that was killed and each that survived,
with the name that ``--only`` makes it again by; exits with 1 if the tests fail without any change.

The tests run in forks of a process that has torch in memory, so a mutant costs its tests.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import os
import random
import select
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).parents[1]

# What is mutated, and the tests whose subject it is: functions, not whole commands.
LEDGER = ("tests/store/test_ledger.py", "tests/store/test_poisoning.py", "tests/store/test_planted.py")
RECORD = "tests/steps/test_record.py"
COMPARE = tuple(f"tests/steps/test_{of}.py" for of in ("compare", "figures", "slices", "proof"))
HALF = ("tests/graph/test_precision.py", "tests/graph/test_precision_any.py")
MODULES: dict[str, tuple[str, ...]] = {
    "modelbuild/plan/actions.py": ("tests/plan/test_planning.py",),
    "modelbuild/plan/freshness.py": ("tests/plan/test_freshness.py",),
    "modelbuild/plan/planning.py": ("tests/plan/test_planning.py",),
    "modelbuild/plan/precisions.py": ("tests/plan/test_planning.py",),
    "modelbuild/plan/rerouting.py": ("tests/plan/test_rerouting.py",),
    "modelbuild/steps/compare.py": (*COMPARE, RECORD),
    "modelbuild/steps/figures.py": (*COMPARE, RECORD),
    "modelbuild/steps/record.py": (RECORD,),
    "modelbuild/steps/slices.py": ("tests/steps/test_slices.py", "tests/steps/test_compare.py"),
    "modelbuild/graph/casts.py": ("tests/graph/test_casts.py",),
    "modelbuild/graph/edges.py": ("tests/graph/test_edges.py",),
    "modelbuild/graph/extents.py": ("tests/graph/test_extents.py",),
    "modelbuild/graph/naming.py": ("tests/graph/test_naming.py", "tests/graph/test_casts.py"),
    "modelbuild/graph/opset.py": ("tests/graph/test_opset.py",),
    "modelbuild/graph/precision.py": (*HALF, "tests/graph/mixed/test_switches.py"),
    "modelbuild/graph/rounding.py": (*HALF, "tests/graph/test_ranges.py"),
    "modelbuild/store/cache.py": (*LEDGER, "tests/store/test_sessions.py"),
    "modelbuild/store/checking.py": ("tests/store/test_checking.py",),
    "modelbuild/store/collecting.py": ("tests/store/test_collecting.py",),
    "modelbuild/store/counting.py": ("tests/store/test_counting.py",),
    "modelbuild/store/entries.py": LEDGER,
    "modelbuild/store/files.py": ("tests/store/test_files.py",),
    "modelbuild/store/ledger.py": LEDGER,
    "modelbuild/store/objects.py": ("tests/store/test_objects.py", "tests/store/test_planted.py"),
    "modelbuild/store/sessions.py": ("tests/store/test_sessions.py",),
}

# What a test process imports that is not under test.
LIBRARIES = ("torch", "onnx", "onnxsim", "onnxruntime", "numpy", "yaml", "pydantic", "hypothesis", "pytest",
             "rich.live", "safetensors.torch", "onnxscript", "onnxconverter_common")  # fmt: skip

FLIPS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr,
}  # fmt: skip
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}


# ---- mutants -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mutant:
    """``new`` in the place of what is at ``line`` and ``column``; they count as the parser does."""

    module: str
    line: int
    column: int
    kind: str
    old: str
    new: str

    @property
    def name(self) -> str:
        return f"{self.module}:{self.line}:{self.column}:{self.kind}"

    def applied(self, source: bytes) -> bytes:
        lines = source.splitlines(keepends=True)
        start = sum(map(len, lines[: self.line - 1])) + self.column
        old = self.old.encode()
        assert source[start : start + len(old)] == old
        return source[:start] + self.new.encode() + source[start + len(old) :]


def mutants(module: str, source: str) -> list[Mutant]:
    """All that can be made of a module, in the order of its text."""
    tree = ast.parse(source)
    made = {}
    for node in _under_test(tree):
        for kind, new in (*_expressions(node), *_statements(node)):
            old = ast.get_source_segment(source, node)
            assert old is not None
            mutant = Mutant(module, node.lineno, node.col_offset, kind, old, new)  # type: ignore[attr-defined]
            made.setdefault(mutant.name, mutant)
    return sorted(made.values(), key=lambda m: (m.line, m.column, m.kind))


def _under_test(node: ast.AST) -> Iterator[ast.AST]:
    """Every node below, but for annotations and what is inside of f-strings, which decide nothing."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_comment"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.JoinedStr) or not isinstance(child, ast.AST):
                continue
            yield child
            yield from _under_test(child)


def _expressions(node: ast.AST) -> Iterator[tuple[str, str]]:
    match node:
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in FLIPS:
            yield "flip", f"({ast.unparse(ast.Compare(left, [FLIPS[type(op)]()], [right]))})"
        case ast.BoolOp(op=op, values=values):
            other = ast.Or() if isinstance(op, ast.And) else ast.And()
            yield "junction", f"({ast.unparse(ast.BoolOp(other, values))})"
            yield "first-only", f"({ast.unparse(values[0])})"
        case ast.UnaryOp(op=ast.Not(), operand=inner):
            yield "negation", f"({ast.unparse(inner)})"
        case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC and not _text(left, right):
            yield "arithmetic", f"({ast.unparse(ast.BinOp(left, ARITHMETIC[type(op)](), right))})"
        case ast.Constant(value=bool(value)):
            yield "constant", repr(not value)
        case ast.Constant(value=int(value)):
            yield "off-by-one", str(value + 1)
        case ast.Name(id=name, ctx=ast.Load()) if name in NAMES:
            yield "name", NAMES[name]


def _statements(node: ast.AST) -> Iterator[tuple[str, str]]:
    match node:
        case ast.Expr(value=ast.Call()) | ast.AugAssign() | ast.Raise():
            yield "dropped", "pass"
        case ast.Assign(targets=[ast.Subscript() | ast.Attribute()]):
            yield "dropped", "pass"
        case ast.Continue() | ast.Break():
            yield "dropped", "pass"
        case ast.Return(value=value) if value is not None and not _nothing(value):
            yield "nothing", "return None"


def _text(*nodes: ast.AST) -> bool:
    return any(isinstance(n, ast.JoinedStr) or (isinstance(n, ast.Constant) and isinstance(n.value, str))
               for n in nodes)  # fmt: skip


def _nothing(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def drawn(modules: Sequence[str], count: int, seed: int) -> list[Mutant]:
    """``count`` of all, by chance that is the same each time: of each module its share."""
    every = [m for module in modules for m in mutants(module, (ROOT / module).read_text())]
    chosen = set(random.Random(seed).sample(range(len(every)), min(count, len(every))))
    return [m for n, m in enumerate(every) if n in chosen]


# ---- running tests -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Copy:
    """A copy of what the tests need, in which a module can be another one for a while."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> Copy:
        for name in ("modelbuild", "tests", "configs", "examples", "docs", "schemas", "bench"):
            skipped = shutil.ignore_patterns("__pycache__", "build", "node_modules")
            shutil.copytree(ROOT / name, folder / name, ignore=skipped)
        for path in ROOT.iterdir():
            if path.is_file():
                shutil.copy2(path, folder / path.name)
        return cls(folder)

    @contextlib.contextmanager
    def changed(self, mutant: Mutant) -> Iterator[None]:
        path = self.folder / mutant.module
        source = path.read_bytes()
        before = path.stat()
        path.write_bytes(mutant.applied(source))
        compile(path.read_bytes(), path, "exec")
        os.utime(path, (before.st_atime, before.st_mtime + mutant.line))  # or compiled code would be taken
        try:
            yield
        finally:
            path.write_bytes(source)
            os.utime(path, (before.st_atime, before.st_mtime))

    def passes(self, tests: Sequence[str], seconds: float, keep_compiled: bool = False) -> bool:
        """Whether these tests pass in this time."""
        pid = os.fork()
        if pid == 0:
            self._test(tests, keep_compiled)
        ended = os.pidfd_open(pid)
        try:
            if not select.select([ended], [], [], seconds)[0]:
                return False
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            os.close(ended)
            _, status = os.waitpid(pid, 0)
        return os.waitstatus_to_exitcode(status) == 0

    def _test(self, tests: Sequence[str], keep_compiled: bool) -> NoReturn:
        code = 99
        try:
            os.setsid()
            os.chdir(self.folder)
            sys.path.insert(0, str(self.folder))
            sys.dont_write_bytecode = not keep_compiled
            os.environ |= {"PYTHONPATH": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1",
                           "MODELBUILD_CACHE_DIR": str(self.folder / "cache")}  # fmt: skip
            nothing = os.open(os.devnull, os.O_RDWR)
            for number in (0, 1, 2):
                os.dup2(nothing, number)
            import pytest

            quiet = ["-x", "-q", "-p", "no:cacheprovider", "-m", "not slow", "--basetemp", "scratch"]
            code = int(pytest.main([*quiet, *tests]))
        finally:
            os._exit(code)


@dataclass(frozen=True)
class Suite:
    """The tests of a module and what they take when nothing is wrong."""

    tests: tuple[str, ...]
    seconds: float


def suites(copy: Copy, modules: Sequence[str]) -> dict[str, Suite]:
    """Raises SystemExit: tests fail with the code as it is."""
    measured: dict[tuple[str, ...], Suite] = {}
    for tests in dict.fromkeys(MODULES[m] for m in modules):
        copy.passes(tests, 600, keep_compiled=True)
        start = time.monotonic()
        if not copy.passes(tests, 600):
            raise SystemExit(f"without any change these fail: {' '.join(tests)}")
        measured[tests] = Suite(tests, time.monotonic() - start)
        print(f"{measured[tests].seconds:5.1f} s  {' '.join(tests)}", flush=True)
    return {m: measured[MODULES[m]] for m in modules}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--module", action="append", choices=sorted(MODULES), metavar="FILE")
    parser.add_argument("--only", action="append", metavar="NAME", help="these mutants, by name")
    parser.add_argument("--list", action="store_true", help="say what would be made, and make none")
    given = parser.parse_args()

    if given.only:
        modules = sorted({name.split(":")[0] for name in given.only})
        chosen = [m for m in drawn(modules, sys.maxsize, 0) if m.name in given.only]
    else:
        chosen = drawn(given.module or list(MODULES), given.count, given.seed)
    if given.list:
        for mutant in chosen:
            print(f"{mutant.name}  {' '.join(mutant.old.split())[:60]}  ->  {mutant.new[:60]}")
        return 0

    for module in LIBRARIES:
        with contextlib.suppress(ImportError):
            __import__(module)
    survived, count, killed = [], Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = Copy.make(Path(folder))
        known = suites(copy, sorted({m.module for m in chosen}))
        for mutant in chosen:
            suite = known[mutant.module]
            wing = mutant.module.split("/")[1]
            count[wing] += 1
            with copy.changed(mutant):
                alive = copy.passes(suite.tests, 3 * suite.seconds + 20)
            if alive:
                survived.append(mutant)
                print(f"survived  {mutant.name}\n    {mutant.old}\n    {mutant.new}", flush=True)
            else:
                killed[wing] += 1
    for wing, made in count.items():
        print(f"{wing:8} {killed[wing]:4} of {made:4} killed  {killed[wing] / made:.0%}")
    print(f"{'all':8} {killed.total():4} of {count.total():4} killed  {killed.total() / count.total():.0%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
