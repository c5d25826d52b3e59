"""What of this program a definition reaches, by the names in its source. Nothing is imported or run.

A definition is a class, function or variable at the top of a module. It reaches those that it names,
annotations included: a value that comes from elsewhere is of a class that is named where it arrives. Too
much is reached rather than too little; a method that is called by a name put together at run time would
be missed, and there is none.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "modelbuild"
REST = "top level"  # the statements of a module that define nothing and run when it is imported


@dataclass(frozen=True, order=True)
class Definition:
    module: str  # modelbuild.graph.rounding
    name: str

    def __str__(self) -> str:
        return f"{self.module.replace('.', '/')}.py:{self.name}"


@dataclass(frozen=True)
class _Module:
    parts: dict[str, list[ast.stmt]]  # definitions, and REST
    imports: dict[str, tuple[str, str]]  # what a name is bound to: a module, and a name in it or ""


class Code:
    """The modules below a folder, read when they are asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._modules: dict[str, _Module | None] = {}
        self._named: dict[Definition, tuple[set[Definition], set[str]]] = {}

    def reached(self, roots: Iterable[Definition], stops: Iterable[Definition] = ()) -> set[Definition]:
        """The roots and all that they reach; not what a stop, which is none of it, reaches."""
        found: set[Definition] = set()
        waiting = [self._home(root) for root in roots]
        while waiting:
            here = waiting.pop()
            if here is None or here in found or here in stops:
                continue
            found.add(here)
            waiting += self._names(here)[0]
            if self._module(here.module).parts.get(REST):
                waiting.append(Definition(here.module, REST))
        return found

    def digest(self, definition: Definition) -> str:
        """Of its code and what its names are bound to; not of comments, layout and docstrings."""
        ours, others = self._names(definition)
        shapes = [_shape(s) for s in self._module(definition.module).parts[definition.name]]
        text = "\n".join([*shapes, *map(str, sorted(ours)), *sorted(others)])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def packages(self, definition: Definition) -> set[str]:
        """The top-level modules of others that it uses."""
        return {name.partition(".")[0] for name in self._names(definition)[1]}

    def _module(self, name: str) -> _Module:
        found = self._find(name)
        assert found is not None, name
        return found

    def _find(self, name: str) -> _Module | None:
        if name not in self._modules:
            path = self._folder / Path(*name.split("."))
            files = [f for f in (path.with_suffix(".py"), path / "__init__.py") if f.is_file()]
            self._modules[name] = _read(files[0]) if files else None
        return self._modules[name]

    def _home(self, definition: Definition) -> Definition | None:
        """Where it is defined, if another module only passes it on."""
        module = self._find(definition.module)
        if module is None:
            return None
        if definition.name in module.parts:
            return definition
        source, name = module.imports.get(definition.name, ("", ""))
        return self._home(Definition(source, name)) if name and _is_ours(source) else None

    def _names(self, definition: Definition) -> tuple[set[Definition], set[str]]:
        """What it names itself: definitions of ours, and modules of others."""
        if definition not in self._named:
            self._named[definition] = self._looked_up(definition)
        return self._named[definition]

    def _looked_up(self, definition: Definition) -> tuple[set[Definition], set[str]]:
        module = self._module(definition.module)
        statements = module.parts[definition.name]
        bound = {**module.imports, **_imports(statements)}
        ours: set[Definition] = set()
        others: set[str] = set()
        for name, attribute in _uses(statements):
            if name not in bound:
                if name in module.parts and name != definition.name:
                    ours.add(Definition(definition.module, name))
                continue
            source, inner = bound[name]
            if not _is_ours(source):
                others.add(f"{source}.{inner}" if inner else source)
            elif inner and self._find(f"{source}.{inner}") is None:
                ours.add(Definition(source, inner))
            else:
                whole = f"{source}.{inner}" if inner else source
                names = [attribute] if attribute else self._module(whole).parts
                ours |= {Definition(whole, n) for n in names}
        homes = {self._home(d) for d in ours}
        return {d for d in homes if d is not None}, others


def _read(path: Path) -> _Module:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imports = _imports(tree.body, deep=False)
    parts: dict[str, list[ast.stmt]] = {}
    for node in _without_docstring(tree.body):
        if isinstance(node, ast.Import | ast.ImportFrom) or _is_for_types(node) or _is_main(node):
            continue
        for name in _defines(node) or [REST]:
            parts.setdefault(name, []).append(node)
    return _Module(parts, imports)


def _imports(statements: Iterable[ast.stmt], deep: bool = True) -> dict[str, tuple[str, str]]:
    """What imports bind; not ``deep``: those at the top of a module, in an ``if`` or a ``try`` too."""
    found: dict[str, tuple[str, str]] = {}
    waiting: list[ast.AST] = list(statements)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.ImportFrom) and node.module:
            found.update({a.asname or a.name: (node.module, a.name) for a in node.names})
        elif isinstance(node, ast.Import):
            for a in node.names:
                found[a.asname or a.name.partition(".")[0]] = (a.name, "")
        elif deep or isinstance(node, ast.If | ast.Try | ast.ExceptHandler):
            waiting += ast.iter_child_nodes(node)
    return found


def _uses(statements: Iterable[ast.AST]) -> Iterator[tuple[str, str]]:
    """The names that are read, each with the attribute that is asked of it, or ""."""
    waiting: list[ast.AST] = list(statements)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield node.value.id, node.attr
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            yield node.id, ""
        elif isinstance(node, ast.Call) and _is_import_module(node.func):
            # import_module("polygraphy.config"); what follows the dots of another text nobody can see
            texts = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            yield from ((text, "") for text in texts)
            waiting += ast.iter_child_nodes(node)
        else:
            waiting += ast.iter_child_nodes(node)


def _shape(node: object) -> str:
    """A syntax tree as text, the same in every version of Python; docstrings are left out."""
    if isinstance(node, list):
        return "[" + ",".join(map(_shape, node)) + "]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = {name: value for name, value in ast.iter_fields(node) if value not in (None, [])}
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        fields["body"] = _without_docstring(node.body)
    for name in ("ctx", "type_comment", "kind"):
        fields.pop(name, None)
    return f"{type(node).__name__}({','.join(f'{n}={_shape(v)}' for n, v in fields.items())})"


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0] if body else None
    said = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return body[1:] if said and isinstance(first.value.value, str) else body


def _defines(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    names = [n for t in targets if t is not None for n in ast.walk(t) if isinstance(n, ast.Name)]
    assigns = isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign)
    return [n.id for n in names if assigns and isinstance(n.ctx, ast.Store)]


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == PACKAGE


def _is_for_types(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _is_main(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)


def _is_import_module(function: ast.expr) -> bool:
    return getattr(function, "attr", getattr(function, "id", "")) == "import_module"
