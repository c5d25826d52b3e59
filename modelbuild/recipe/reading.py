"""YAML text -> plain data, and the place of every key and value.

Built from the parser's events, not from PyYAML's constructors: nothing here can make an object
that YAML has no syntax for, and size, depth and copies are counted while they grow. A recipe may
come from a stranger's pull request.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from modelbuild.base.scalars import meaning
from modelbuild.recipe.problems import Key, Mark, Problem, Route, clean, described

MOST_BYTES = 1 << 20
MOST_DEPTH = 50
MOST_COPIES = 10_000
"""Values that aliases may stand for in all; ten lines of aliases to aliases make 10**10."""

WRITE_OUT = "write the values out"

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")

_SYNTAX_HINTS = (
    ("while scanning an alias", "quote text that starts with `*`"),
    ("while scanning an anchor", "quote text that starts with `&`"),
    ("mapping values are not allowed", "quote text that holds `: `; check the indentation"),
    ("found character '\\t'", "indent with spaces, not tabs"),
    (
        "cannot start any token",
        "indent with spaces, not tabs; quote text that starts with `@` or `%`",
    ),
    ("did not find expected key", "check the indentation: keys of one mapping start in one column"),
)


@dataclass(frozen=True)
class Node:
    """A value, where it stands, and for a collection the same of everything in it.

    ``size`` counts the values in it, itself included, ``height`` the levels below it. An alias is
    the very node that it stands for, so copies cost nothing here.
    """

    data: Any
    mark: Mark
    keys: Mapping[Key, Mark] = field(default_factory=dict)
    children: Mapping[Key, Node] = field(default_factory=dict)
    size: int = 1
    height: int = 0


@dataclass(frozen=True)
class Document:
    """A recipe as it was read. ``root`` is None if it could not be read to its end."""

    lines: tuple[str, ...]
    root: Node | None
    problems: tuple[Problem, ...]

    def written(self, route: Route) -> Route:
        """As much of ``route`` as stands in the text."""
        node = self.root
        for length, step in enumerate(route):
            if node is None or step not in node.children:
                return route[:length]
            node = node.children[step]
        return route

    def mark(self, route: Route, on_key: bool = False) -> Mark:
        """The place of the value at ``route``, or of its key; of what should hold it if missing.

        A value over several lines, or an empty one, is shown by its key.
        """
        if self.root is None:
            return Mark(0, 0, 0, 1)
        node, key = self.root, None
        for step in route:
            if step not in node.children:
                on_key = False
                break
            node, key = node.children[step], node.keys.get(step)
        mark = node.mark
        hidden = mark.line != mark.end_line or mark.column == mark.end_column
        return key if key and (on_key or hidden) else mark


_TOO_DEEP = f"nested more than {MOST_DEPTH} levels deep"
_UNCLOSED = "is a bracket missing that closes?"


class _UnreadableError(Exception):
    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def read(source: str | bytes) -> Document:
    """Read one YAML document. Never raises: what is wrong is in the document's ``problems``."""
    if len(source) > MOST_BYTES:
        hint = "is this a recipe? weights and data go into files of their own"
        found = Problem((), "a recipe is at most 1 MiB", hint, mark=Mark(0, 0, 0, 1))
        return Document(("",), None, (found,))
    text = source if isinstance(source, str) else source.decode("utf-8", errors="replace")
    text = text.removeprefix("\ufeff")
    lines = tuple(_LINE_BREAK.split(text))
    if isinstance(source, bytes) and (found_at := _not_utf8(source)):
        problem = Problem((), "not UTF-8 text", "save the file as UTF-8", mark=found_at)
        return Document(lines, None, (problem,))
    if odd := _UNPRINTABLE.search(text):
        sentence = f"a recipe cannot hold the character U+{ord(odd[0]):04X}"
        odd_one = Problem((), sentence, "remove it", mark=_at(text, odd.start()))
        return Document(lines, None, (odd_one,))
    reader = _Reader(iter(yaml.parse(text, Loader=_LOADER)))
    try:
        root = reader.document()
    except _UnreadableError as stop:
        return Document(lines, None, (*reader.problems, stop.problem))
    except yaml.YAMLError as error:
        return Document(lines, None, (*reader.problems, _syntax(error)))
    return Document(lines, root, tuple(reader.problems))


class _Reader:
    """Events in, nodes out. Mistakes that leave the rest readable are collected."""

    def __init__(self, events: Iterator[Any]) -> None:
        self.events = events
        self.problems: list[Problem] = []
        self.anchors: dict[str, Node | None] = {}
        self.copies = 0

    def document(self) -> Node:
        next(self.events)
        if isinstance(next(self.events), yaml.StreamEndEvent):
            hint = "`modelbuild init IMPORT` writes a first recipe"
            raise _UnreadableError(Problem((), "the recipe is empty", hint, mark=Mark(0, 0, 0, 1)))
        root = self.node(next(self.events), ())
        next(self.events)
        after = next(self.events)
        if not isinstance(after, yaml.StreamEndEvent):
            hint = "put each recipe into a file of its own"
            self.problem(("",), "a file holds one recipe, but here a second one begins", after, hint)
        return root

    def node(self, event: Any, route: Route) -> Node:
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event, route)
        if len(route) >= MOST_DEPTH:
            raise _UnreadableError(_too_deep(route, event))
        if event.tag is not None:
            tag = clean(event.tag.replace("tag:yaml.org,2002:", "!!"))
            hint = "remove it; quotes make text of a value"
            self.problem(route, f"YAML tags are not supported: `{tag}`", event, hint)
        if event.anchor is not None:
            self.anchors[event.anchor] = None  # open: an alias to it now would hold itself
        if isinstance(event, yaml.ScalarEvent):
            made = Node(self.scalar(event, route), _mark(event))
        elif isinstance(event, yaml.SequenceStartEvent):
            made = self.sequence(event, route)
        else:
            made = self.mapping(event, route)
        if event.anchor is not None:
            self.anchors[event.anchor] = made
        return made

    def alias(self, event: Any, route: Route) -> Node:
        name = clean(event.anchor)
        if event.anchor not in self.anchors:
            message = f"the alias `*{name}` has no anchor `&{name}` before it"
            raise _UnreadableError(_problem(route, message, event, "quote text that starts with `*`"))
        target = self.anchors[event.anchor]
        if target is None:
            message = f"the alias `*{name}` stands inside its own anchor"
            raise _UnreadableError(_problem(route, message, event, WRITE_OUT))
        self.copies += target.size
        if self.copies > MOST_COPIES:
            message = f"aliases stand for more than {MOST_COPIES} values"
            raise _UnreadableError(_problem(route, message, event, WRITE_OUT))
        if len(route) + target.height >= MOST_DEPTH:
            raise _UnreadableError(_too_deep(route, event))
        return target

    def scalar(self, event: Any, route: Route) -> Any:
        if not event.implicit[0]:
            if odd := _UNPRINTABLE.search(event.value):
                message = f"text cannot hold the character U+{ord(odd[0]):04X}"
                self.problem(route, message, event, "remove it")
            return event.value
        try:
            return meaning(event.value)
        except ValueError as error:
            self.problem(route, str(error), event, "quote it if it is text")
            return 0

    def sequence(self, start: Any, route: Route) -> Node:
        children: dict[Key, Node] = {}
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            children[len(children)] = self.node(event, (*route, len(children)))
        data = [child.data for child in children.values()]
        return _collection(data, _mark(start, event), {}, children)

    def mapping(self, start: Any, route: Route) -> Node:
        keys: dict[Key, Mark] = {}
        children: dict[Key, Node] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self.key(event, route)
            value = self.node(next(self.events), (*route, "" if key is None else key))
            if key is None:
                continue
            if key in children:
                hint = f"it is first given in line {keys[key].line + 1}"
                told = f"duplicate key `{clean(str(key))}`"
                self.problem((*route, key), told, event, hint)
                continue
            keys[key], children[key] = _mark(event), value
        data = {key: child.data for key, child in children.items()}
        return _collection(data, _mark(start, event), keys, children)

    def key(self, event: Any, route: Route) -> str | None:
        """A key; None if it cannot be one. Only text: facts are JSON, where 1 and "1" are one key."""
        unknown = (*route, "")
        value = self.node(event, unknown).data
        if value == "<<" and getattr(event, "implicit", (False,))[0]:
            hint = "write the keys out, or give the whole value by an alias"
            self.problem(unknown, "merge keys (`<<`) are not supported", event, hint)
            return None
        if isinstance(value, str):
            return value
        word = clean(event.value) if isinstance(event, yaml.ScalarEvent) else ""
        hint = f'quote it: `"{word}"`' if word else "keys are plain names"
        self.problem(unknown, f"a key must be text, not {described(value)}", event, hint)
        return None

    def problem(self, route: Route, message: str, event: Any, hint: str) -> None:
        self.problems.append(_problem(route, message, event, hint))


def _collection(data: Any, mark: Mark, keys: dict[Key, Mark], children: dict[Key, Node]) -> Node:
    size = 1 + sum(child.size for child in children.values())
    height = 1 + max((child.height for child in children.values()), default=0)
    return Node(data, mark, keys, children, size, height)


def _mark(event: Any, end: Any = None) -> Mark:
    first, last = event.start_mark, (end or event).end_mark
    return Mark(first.line, first.column, last.line, last.column)


def _problem(route: Route, message: str, event: Any, hint: str) -> Problem:
    return Problem(route, message, hint, mark=_mark(event))


def _too_deep(route: Route, event: Any) -> Problem:
    return _problem(route, _TOO_DEEP, event, _UNCLOSED)


def _at(text: str, offset: int) -> Mark:
    lines = _LINE_BREAK.split(text[:offset])
    line, column = len(lines) - 1, len(lines[-1])
    return Mark(line, column, line, column + 1)


def _not_utf8(source: bytes) -> Mark | None:
    try:
        source.decode("utf-8")
    except UnicodeDecodeError as error:
        before = source[: error.start].decode("utf-8").removeprefix("\ufeff")
        return _at(before, len(before))
    return None


def _syntax(error: yaml.YAMLError) -> Problem:
    """The parser's own complaint, in its own words; they are the ones to search for."""
    said = [getattr(error, "context", None), getattr(error, "problem", None)]
    sentence = ", ".join(part for part in said if part) or "the parser gave up"
    at = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    mark = Mark(at.line, at.column, at.line, at.column + 1) if at else Mark(0, 0, 0, 1)
    if "nesting depth" in sentence:  # newer libyaml has a limit of its own, beyond ours
        return Problem((), _TOO_DEEP, _UNCLOSED, mark=mark)
    otherwise = "look for a bracket or a quote that does not close, and at the indentation"
    hint = next((hint for part, hint in _SYNTAX_HINTS if part in sentence), otherwise)
    return Problem((), f"not valid YAML: {clean(sentence, 200)}", hint, mark=mark)
