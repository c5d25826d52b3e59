"""Models in files: what reads them, by its path in a recipe, and which file that is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

SAVED_BY = {"torch.jit:load": "torch.jit.save()", "torch.export:load": "torch.export.save()"}
"""What reads a model from the file that is its first argument, ``f``, and what writes such files."""


def file_of(path: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
    """The file that ``path`` reads with these arguments; None if it reads none, or no plain name."""
    file = args[0] if args else kwargs.get("f")
    return file if path in SAVED_BY and isinstance(file, str) else None


def files(spec: Any, route: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """The files that are read for a recipe's ``{import, args, kwargs}``, nested ones included, each after
    its place in there."""
    if isinstance(spec, Mapping):
        if "import" in spec:
            args = spec.get("args") or ()
            file = file_of(str(spec["import"]), args, spec.get("kwargs") or {})
            if file is not None:
                yield (*route, *(("args", 0) if args else ("kwargs", "f"))), file
        for key, value in spec.items():
            yield from files(value, (*route, key))
    elif isinstance(spec, list | tuple):
        for number, value in enumerate(spec):
            yield from files(value, (*route, number))
