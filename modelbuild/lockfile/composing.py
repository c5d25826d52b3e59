"""A lock from what a build made and what decided it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any, assert_never

from modelbuild.base.keys import digest
from modelbuild.base.results import ArtifactResult
from modelbuild.lockfile.naming import named, normal, outlined, portable, shortened, visible
from modelbuild.lockfile.values import Lock, Onnx, Worst
from modelbuild.store import Tree
from modelbuild.trace import kinds

MOST_FINDS = 200
"""Answers that are listed one by one; more are one digest."""

MOST_FILES = 1000
"""Files that are listed one by one; of more, each folder has a digest. 1 MiB can be read back."""


def row(result: ArtifactResult, folder: Path, tree: Tree) -> Onnx:
    """What the lock file says of an ONNX artifact that is built and proven, and lies in ``folder``.

    Its nodes are counted; its weights are not loaded.
    """
    opset, nodes = _counted(folder / result.name)
    parity = result.parity or {}
    data = tree.files.get(result.name + ".data")
    return Onnx(
        sha256=tree.files[result.name].sha256,
        bytes=sum(file.bytes for file in tree.files.values()),
        opset=opset,
        nodes=nodes,
        tolerance=parity.get("tolerance"),
        worst=_worst(parity.get("outputs") or {}),
        data=data.sha256 if data else None,
        kept_fp32=_in_fp32(result.conversion or {}),
    )


def _in_fp32(conversion: Mapping[str, Any]) -> int:
    """How many nodes a conversion left in fp32; what stays out of int8 need not be."""
    kept = conversion.get("kept", ()) if conversion.get("outside", "fp32") == "fp32" else ()
    return len({*kept, *conversion.get("kept_fp32", ())})


def _counted(path: Path) -> tuple[int, dict[str, int]]:
    from modelbuild.graph import files, shapes
    from modelbuild.inspection.precisions import walk

    model = files.read(path)
    seen = walk(shapes.inferred(model.proto).graph)
    return model.opset, dict(sorted(Counter(s.computes or "other" for s in seen).items()))


def _worst(outputs: Mapping[str, Mapping[str, Any]]) -> Worst | None:
    for name, far in outputs.items():  # the worst is the first
        headroom = far["headroom"]
        exact = "exact" if headroom is None else _rounded(headroom)
        return Worst(
            visible(name), _rounded(far["relative_l2"] or 0.0), _rounded(far["max_abs"] or 0.0), exact
        )
    return None


def _rounded(number: float) -> float:
    return float(f"{number:.3g}")


def compose(
    recipe: str,
    onnx: Mapping[str, Onnx],
    engines: Mapping[str, str | None],
    toolchain: Mapping[str, str | None],
    facts: Mapping[str, str | None],
    outlines: Mapping[str, Mapping[str, str]],
) -> Lock:
    """The lock of a build.

    ``engines`` has their keys (None: not built here); ``toolchain`` versions by distribution (None:
    not installed), and ``python``; ``facts`` what the actions that make the model discovered;
    ``outlines`` those files whose definitions are known one by one, so that a comment makes no
    difference.
    """
    files: dict[str, str | None] = {}
    settings: dict[str, str | None] = {}
    answers: dict[str, str | None] = {}
    installed: list[tuple[bool, str, str | None]] = []
    for name, value in facts.items():
        kind, rest = kinds.parted(name)
        match kind.travels:
            case "file":
                files[rest] = value
            case "version":
                installed.append((kind is kinds.PACKAGE, rest, value))
            case "setting":
                settings[rest] = value
            case "answer":
                if not kinds.is_far(name):  # where the rest of the machine lies is not of the project
                    answers[name] = value
            case "stays":
                pass
            case never:
                assert_never(never)
    # Whose a module is says more than the version of what has its name: it comes after.
    named_by = [(name, value) for _, name, value in sorted(installed, key=itemgetter(0))]
    versions = {normal(name): value for name, value in (*named_by, *toolchain.items())}
    if python := versions.get("python"):
        versions["python"] = ".".join(python.split(".")[:2])  # as in the keys
    environment = {named(name): _setting(value) for name, value in sorted(settings.items())}
    return Lock(
        visible(recipe),
        onnx,
        engines,
        # A checkout that is installed in place is known by its files; where it lies is not of the project.
        {n: v for n, v in sorted(versions.items()) if v is not None and not v.startswith("from ")},
        environment,
        _files(files, outlines),
        _finds(answers),
    )


def _setting(value: str | None) -> str | None:
    """A path says nothing of what is read there, and differs from one machine to the next."""
    if value is not None and value.startswith("/"):
        return "(a path)"
    return None if value is None else visible(value)


def _finds(answers: Mapping[str, str | None]) -> dict[str, str | None]:
    """What the model's code was answered, by the fact's name; of a digest, its first digits."""
    if len(answers) > MOST_FINDS:
        return {"*": shortened(digest(dict(answers)))}
    return {named(n): None if v is None else named(shortened(v)) for n, v in sorted(answers.items())}


def _files(facts: Mapping[str, str | None], outlines: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    found: dict[str, set[str]] = {}
    for path, content in facts.items():
        if content is not None:
            outline = outlines.get(path)
            value = content if outline is None else outlined(outline)
            found.setdefault(portable(path), set()).add(value)
    files = {
        f"{name} ({number})" if number else name: value
        for name, values in found.items()
        for number, value in enumerate(sorted(values))
    }
    if len(files) > MOST_FILES:
        files = _by_folder(files)
    return dict(sorted(files.items()))


def _by_folder(files: Mapping[str, str]) -> dict[str, str]:
    folders: dict[str, dict[str, str]] = {}
    for name, value in files.items():
        folder, _, file = name.rpartition("/")
        folders.setdefault(f"{folder}/*" if folder else "*", {})[file] = value
    return {folder: shortened(digest(held)) for folder, held in folders.items()}
