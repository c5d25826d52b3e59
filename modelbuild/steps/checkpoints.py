"""Weights from a file: a state dict, also one inside a training checkpoint, put into a module.

What does not fit is told with what to write: the ``key`` that the state dict is under, the prefix
that a wrapper (DataParallel, torch.compile, a trainer) has put before every name.
"""

from __future__ import annotations

import re
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelbuild.base.errors import StepError, first_line
from modelbuild.base.scalars import quoted
from modelbuild.steps.words import import_failed, kind
from modelbuild.wording.phrases import did_you_mean, listed

if TYPE_CHECKING:
    import torch

_DEPTH = 4  # mappings within mappings: nobody looks deeper for a state dict
_NAMED = 6  # names in a message
_PLAIN, _NEVER = re.compile(r"[A-Za-z_./][\w./-]*"), re.compile(r"(?!)")  # what a hint has without quotes
_ANYTHING_ELSE = "is it the state dict of this model, with these arguments?"


@dataclass(frozen=True)
class Weights:
    """A state dict in a file: ``key`` is where in it, with dots for what is nested."""

    file: str
    key: str | None = None
    strip_prefix: str | None = None

    def written(self) -> str:
        """As a recipe has it."""
        parts = [f"file: {_plain(self.file)}"]
        parts += [f"key: {_plain(self.key)}"] if self.key else []
        parts += [f"strip_prefix: {quoted(self.strip_prefix, _NEVER)}"] if self.strip_prefix else []
        return f"weights: {{{', '.join(parts)}}}" if len(parts) > 1 else f"weights: {_plain(self.file)}"


def load(module: torch.nn.Module, base: Path, source: Weights) -> None:
    """Give the module every weight that it has, and see that the file has no others for it.

    Raises:
        StepError: ``import-failed``: unreadable, a pickle that would run code, or other keys.
    """
    path = base / source.file
    whole = _read(path)
    state = whole if source.key is None else _under(whole, source.key, path.name)
    if not isinstance(state, Mapping):
        what = f"`{source.key}` of weights {path.name} is" if source.key else f"weights {path.name} hold"
        raise import_failed(
            f"{what} {kind(state)}, not a state dict", _better(module, whole, source) or _SAVE
        )
    if not all(isinstance(name, str) for name in state):
        raise _checkpoint(module, whole, state, source)
    given = _stripped(state, source.strip_prefix, set(module.state_dict()))
    if not given:
        raise _misfit(module, whole, state, source, [], [])
    try:
        missing, unexpected = module.load_state_dict(given, strict=False)
    except RuntimeError as error:
        shapes = [line.strip() for line in str(error).splitlines()[1:]]
        said = f"weights {path.name} do not fit the model: {'; '.join(shapes[:_NAMED])}"
        raise import_failed(said, _ANYTHING_ELSE) from error
    missing = _lost(module, missing)
    if missing or unexpected:
        raise _misfit(module, whole, state, source, missing, unexpected)


_SAVE = "save `model.state_dict()`"


def _read(path: Path) -> Any:
    """What is in the file. Nothing in it is run: of a pickle, tensors and plain values alone are taken."""
    import torch

    if not path.is_file():
        raise import_failed(f"there is no weights file {path}", "`weights` is relative to the recipe")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        with torch.serialization.safe_globals(_inert()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        said, hint = first_line(error), "is it a state dict saved with torch.save() or safetensors?"
        refused = re.search(r"Unsupported global: GLOBAL ([\w.]+)", str(error))
        if "TorchScript archive" in str(error):
            hint = f"it is a whole model: `model: {{import: torch.jit:load, args: [{path.name}]}}`"
        elif path.suffix == ".pt2":
            hint = f"it is a whole model: `model: {{import: torch.export:load, args: [{path.name}]}}`"
        elif refused:
            said = f"it holds a `{refused[1]}` beside tensors"
            hint = (
                "loading it would run code: save `model.state_dict()` alone where the file is trusted, "
                "or convert it to .safetensors"
            )
        elif _is_pointer(path):
            said, hint = "it is a pointer of git-lfs, and not the file itself", "run `git lfs pull`"
        raise import_failed(f"cannot load weights {path.name}: {said}", hint) from error


def _inert() -> list[Any]:
    """What training scripts put beside weights and what only holds values: making one runs nothing."""
    import argparse
    import pathlib

    import numpy as np
    from numpy._core import multiarray

    scalar, rebuilt = multiarray.scalar, multiarray._reconstruct
    dtypes = {type(np.dtype(code)) for code in np.typecodes["All"] if code not in "OV"}
    return [
        argparse.Namespace, pathlib.PosixPath, np.ndarray, np.dtype, *sorted(dtypes, key=str),
        scalar, rebuilt, (scalar, "numpy.core.multiarray.scalar"),
        (rebuilt, "numpy.core.multiarray._reconstruct"),
    ]  # fmt: skip


def _is_pointer(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(40).startswith(b"version https://git-lfs")


def _under(whole: Any, key: str, name: str) -> Any:
    """What is under ``key``: the name as it is, or names with dots between them."""
    for found, _, value in _reached(whole, key):
        if found:
            return value
    parents = [(inner, rest) for _, rest, inner in _reached(whole, key) if isinstance(inner, Mapping)]
    inner, rest = parents[-1] if parents else (whole, key)
    if not isinstance(inner, Mapping):
        raise import_failed(f"weights {name} hold {kind(inner)}, which has no keys", "leave `key` out")
    above = f"`{key[: -len(rest) - 1]}` of weights {name}" if rest != key else f"weights {name}"
    keys = [str(k) for k in inner]
    verb = "has" if rest != key else "have"
    raise import_failed(f"{above} {verb} no key `{rest}`: there {_are(keys)}", _near(rest, keys))


def _reached(value: Any, key: str) -> Iterator[tuple[bool, str, Any]]:
    """Along ``key``: whether it is found, what is left of it, and what is there; the farthest last."""
    if not isinstance(value, Mapping):
        return
    named = {str(k): v for k, v in value.items()}
    if key in named:
        yield True, "", named[key]
        return
    yield False, key, value
    for at, letter in enumerate(key):
        if letter == "." and key[:at] in named:
            yield from _reached(named[key[:at]], key[at + 1 :])


def _near(word: str, names: list[str]) -> str:
    if sum(n.startswith(f"{word}.") for n in names) * 2 > len(names):
        return f'that is what the names begin with: `strip_prefix: "{word}."` takes it away'
    otherwise = "name the one that the state dict is under, or none"
    return did_you_mean(word, names, otherwise, longest=200, most=10_000)


def _are(names: list[str]) -> str:
    return f"{'is' if len(names) == 1 else 'are'} {listed(names) or 'none'}"


def _stripped(state: Mapping[str, Any], prefix: str | None, wanted: Collection[str]) -> Mapping[str, Any]:
    """The state dict without ``prefix``; of the names that lack it, those that the model has too."""
    if prefix is None:
        return state
    given: OrderedDict[str, Any] = OrderedDict(
        (name[len(prefix) :], value) for name, value in state.items() if name.startswith(prefix)
    )
    if not given:  # nothing has it
        return given
    for name, value in state.items():
        if not name.startswith(prefix) and name in wanted:
            given.setdefault(name, value)
    versions = getattr(state, "_metadata", None)
    if versions is not None:  # by module: `module` and `module.layer`
        own = {
            f"{n}."[len(prefix) :].rstrip("."): v for n, v in versions.items() if f"{n}.".startswith(prefix)
        }
        given._metadata = OrderedDict(own)  # type: ignore[attr-defined]
    return given


def _lost(module: torch.nn.Module, missing: list[str]) -> list[str]:
    """Of the missing, those that are not another name of a tensor that was there."""
    named = module.state_dict(keep_vars=True)
    loaded = {id(tensor) for name, tensor in named.items() if name not in missing}
    return [name for name in missing if id(named.get(name)) not in loaded]


# ---- what to write instead ------------------------------------------------------------------------


def _misfit(
    module: torch.nn.Module,
    whole: Any,
    state: Mapping[str, Any],
    source: Weights,
    missing: list[str],
    unexpected: list[str],
) -> StepError:
    """Names that do not fit, and what to write where that is known."""
    wanted = list(module.state_dict())
    if _holds_more(state):
        return _checkpoint(module, whole, state, source)
    names, prefix = list(state), source.strip_prefix
    told = [f"missing {listed(missing, _NAMED)}"] if missing else []
    told += [f"unexpected {listed(unexpected, _NAMED)}"] if unexpected else []
    hint = _of_a_part(names, wanted) or _ANYTHING_ELSE
    found, count = _prefix(names, wanted)
    if found and found != prefix:
        carried = sum(n.startswith(found) for n in names)
        every = (
            "its names all begin" if carried == len(names) else f"{carried} of its {len(names)} names begin"
        )
        told = [f"{every} with `{found}`, which the model's do not"]
        if count < len(wanted):
            lost = [n for n in wanted if found + n not in state]
            told.append(
                f"without it, {len(lost)} of the model's {len(wanted)} are missing: {listed(lost, 3)}"
            )
        hint = f"write `{Weights(source.file, source.key, found).written()}`"
    elif prefix and set(wanted) <= set(names):
        hint = f"write `{Weights(source.file, source.key).written()}`"
    if prefix and not any(n.startswith(prefix) for n in names):
        told.insert(0, f"none of its names begins with `{prefix}`")
    said = f"weights {Path(source.file).name} do not fit the model: {'; '.join(told)}"
    return import_failed(said, hint)


def _of_a_part(names: list[str], wanted: list[str]) -> str:
    """A hint where the file is that of a module inside this one."""
    inner, _ = _prefix(wanted, names)
    return (
        f"the model's names begin with `{inner}`, the file's do not: it is of that part alone; name what "
        "makes the part in `import`, or save the whole model's state dict"
        if inner
        else ""
    )


def _prefix(names: list[str], wanted: list[str]) -> tuple[str, int]:
    """What ``names`` carry before the ``wanted`` ones, and how many they are; empty if it is nothing.

    Where not all are found, most of both must be: two layers of a large net would fit a small one.
    """
    known = set(wanted)
    counts: Counter[str] = Counter()
    for name in names:
        ends = [0, *(i + 1 for i, letter in enumerate(name) if letter == ".")]
        counts.update(name[:end] for end in ends if name[end:] in known)
    (best, count), *others = counts.most_common(2) or [("", 0)]
    if not best or (others and others[0][1] == count):
        return "", 0
    carried = sum(name.startswith(best) for name in names)
    if count == len(known) or (2 * count > len(known) and 2 * carried > len(names)):
        return best, count
    return "", 0


def _checkpoint(module: torch.nn.Module, whole: Any, state: Mapping[Any, Any], source: Weights) -> StepError:
    """A mapping of other things than tensors, where a state dict was to be."""
    name = Path(source.file).name
    what = f"`{source.key}` of weights {name} is" if source.key else f"weights {name} hold"
    return import_failed(
        f"{what} no state dict but a mapping of {listed([str(k) for k in state], _NAMED)}",
        _better(module, whole, source) or "name the one that the state dict is under: `key:`",
    )


def _better(module: torch.nn.Module, whole: Any, source: Weights) -> str:
    """What to write, if a state dict of this model is elsewhere in the file."""
    wanted = list(module.state_dict())
    found = []
    for key, state in _state_dicts(whole):
        prefix, count = _prefix(list(state), wanted)
        plain = len(set(wanted) & set(state))
        if plain >= count:
            prefix, count = "", plain
        found.append((count, Weights(source.file, key, prefix or None)))
    fitting = [row for row in found if row[0]] or [row for row in found if (row[1].key or "").isidentifier()]
    if not fitting:
        return ""
    most = max(count for count, _ in fitting)
    first, *others = [weights for count, weights in fitting if count == most]
    said = f"write `{first.written()}`"
    return said + (f"; {listed([w.key for w in others], 3)} would do as well" if others else "")


def _state_dicts(
    value: Any, path: str = "", depth: int = 0
) -> Iterator[tuple[str | None, Mapping[str, Any]]]:
    """Every mapping from names to tensors, with the key that it is under."""
    if not isinstance(value, Mapping) or depth > _DEPTH:
        return
    if value and not _holds_more(value):
        yield path or None, value
        return
    for key, inner in value.items():
        yield from _state_dicts(inner, f"{path}.{key}" if path else str(key), depth + 1)


def _holds_more(value: Mapping[Any, Any]) -> bool:
    """Whether a mapping has other values than a state dict's."""
    import torch

    return not all(
        isinstance(key, str) and (isinstance(inner, torch.Tensor) or key.endswith("_extra_state"))
        for key, inner in value.items()
    )


def _plain(text: str) -> str:
    """Text in a flow mapping of YAML, with quotes where it needs them."""
    return quoted(text, _PLAIN)
