"""Installed distributions: their versions, and which of them an import comes from.

A module's distribution may be called otherwise (``onnxruntime-gpu`` has onnxruntime, and
``tensorrt-cu13-bindings`` has tensorrt), so whose a module is, is asked of the lists of installed files.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

_SITES = ("site-packages", "dist-packages")


class _Listed(NamedTuple):
    """What a site folder has of one distribution: its ``.dist-info``, the files in RECORD, and the first
    part of each of their paths."""

    info: str
    record: bytes
    tops: frozenset[bytes]


def version(name: str, folders: Sequence[str] | None = None) -> str | None:
    """A distribution's version, looked for on the search path or in ``folders``.

    One that was installed from a folder or a repository may hold other code under the same version:
    it has the digest of its RECORD, which lists its files', too.
    """
    path = list(sys.path if folders is None else folders)
    try:
        for found in importlib.metadata.Distribution.discover(name=name, path=path):
            return _version(found)
    except Exception:  # a name of no characters, or one without METADATA
        pass
    return None


def standing(module: str, base: str | None = None, path: Sequence[str] | None = None) -> str | None:
    """What an import of this top-level module gives: ``2.13.0``, or ``onnxruntime-gpu 1.27.0`` where the
    distribution has another name, or several. ``from ../lib`` for a checkout that is installed in place.
    ``present`` if nobody says whose it is; None if there is no such module.

    With ``base``, a recipe's folder, for code of the recipe: without what that folder, the command's and
    PYTHONPATH have, of which other facts tell.

    ``path`` is the search path if it is not ``sys.path``.
    """
    places = home(module, base, path)
    if not places:
        return None
    names = {_named(module, info) for place in places for info in _owners(_above(place), place)}
    if names:
        return ", ".join(sorted(names))
    folder = _above(places[0])
    if os.path.basename(folder) in _SITES:
        return version(module, [folder]) or "present"
    return f"from {os.path.relpath(_real(folder), _real(base)) if base else _real(folder)}"


def home(module: str, base: str | None = None, path: Sequence[str] | None = None) -> list[str]:
    """Where an import finds this top-level module, as ``standing`` looks for it: its file, or each
    folder (with a slash) of a package without ``__init__.py``."""
    from importlib.machinery import PathFinder

    folders = _folders(base, path)
    editable = [f for f in sys.meta_path if "editable" in getattr(f, "__module__", type(f).__module__)]
    finders: list[Any] = [PathFinder, *editable]
    for finder in finders:  # as setuptools and others have a checkout found
        try:
            spec = finder.find_spec(module, folders if finder is PathFinder else None)
        except Exception:  # a finder of others
            continue
        if spec is not None and spec.has_location and spec.origin:
            return [spec.origin]
        if spec is not None and spec.submodule_search_locations:
            return [os.path.join(p, "") for p in spec.submodule_search_locations]
    return []


def catalogued(kind: str, what: str, base: str, path: Sequence[str] | None = None) -> str | None:
    """What ``importlib.metadata`` says where the model runs: the version of one ``distribution``; the
    ``entry-points`` of a group (or of all, ``*``) and the versions of those that bring them; or, as
    ``installed``, the versions of all. The last two as a digest."""
    folders = [base, os.getcwd(), *(sys.path if path is None else path)]
    if kind == "distribution":
        return version(what, folders)
    from modelbuild.base.keys import digest

    found = list(importlib.metadata.distributions(path=list(dict.fromkeys(folders))))
    if kind == "installed":
        return digest(sorted({" ".join(_told(d)) for d in found}))
    points = ((point, d) for d in found for point in d.entry_points if what in ("*", point.group))
    return digest(sorted({f"{p.group} {p.name}={p.value} {_told(d)[1]}" for p, d in points}))


def _folders(base: str | None = None, path: Sequence[str] | None = None) -> list[str]:
    """Where installed modules are: the search path without the script's folder and, with ``base``, without
    what is found by being near."""
    from modelbuild.trace import facts, places

    path = sys.path if path is None else path
    own = os.path.dirname(places.own()[0].rstrip(os.sep))
    near = {own, *map(_real, (*path[:1], *((*facts.search_path(), base) if base else ())))}
    return [p for p in path if os.path.basename(p) in _SITES or _real(p) not in near]


def _above(place: str) -> str:
    """The folder of the search path that a module was found in."""
    package = place.endswith(os.sep) or os.path.basename(place).startswith("__init__.")
    return os.path.dirname(os.path.dirname(place)) if package else os.path.dirname(place)


@lru_cache(1024)
def _real(path: str) -> str:
    return os.path.realpath(path)


def _owners(folder: str, place: str) -> Iterator[str]:
    """Whose file it is, or whose are in this place (with a slash): their ``.dist-info`` in ``folder``."""
    path = place[len(folder.rstrip(os.sep)) + 1 :]
    wanted = b"\n" + os.fsencode(path) + (b"" if path.endswith("/") else b",")
    top = os.fsencode(path.partition("/")[0])
    try:
        status = os.stat(folder)
    except OSError:
        return
    for listed in _listed(folder, status.st_mtime_ns, status.st_ctime_ns, status.st_ino):
        if top in listed.tops and wanted in listed.record:
            yield listed.info


@lru_cache(8)
def _listed(folder: str, *row: int) -> tuple[_Listed, ...]:
    """Every list of files in a site folder whose stat row this is. They are read as bytes: 3.5 MB in 20 ms,
    where ``importlib.metadata.packages_distributions()`` takes 100."""
    found = []
    try:
        infos = [
            os.path.join(folder, n) for n in os.listdir(folder) if n.endswith((".dist-info", ".egg-info"))
        ]
    except OSError:  # a zip file
        return ()
    for info in sorted(infos):
        for name in ("RECORD", "installed-files.txt"):
            try:
                with open(os.path.join(info, name), "rb") as file:
                    # setuptools before 2023 wrote paths from the .egg-info, without hashes
                    lines = (b"\n" + file.read()).replace(b"\n../", b"\n")
            except OSError:
                continue
            record = lines if name == "RECORD" else lines.replace(b"\n", b",\n")
            tops = {line.split(b"/", 1)[0].split(b",", 1)[0] for line in record.split(b"\n")}
            found.append(_Listed(info, record, frozenset(tops)))
            break
    return tuple(found)


@lru_cache(4096)
def _of_info(info: str, *row: int) -> tuple[str, str]:
    from pathlib import Path

    return _told(importlib.metadata.PathDistribution(Path(info)))


def _told(found: importlib.metadata.Distribution) -> tuple[str, str]:
    """Name and version, as plain as they are in a folder that was left half written."""
    try:
        return _normal(found.metadata["Name"] or ""), _version(found)
    except Exception:  # METADATA is not there, or no text
        return "", "unknown"


def _named(module: str, info: str) -> str:
    status = os.stat(info)
    name, number = _of_info(info, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    return number if name == _normal(module) else f"{name} {number}"


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _version(found: importlib.metadata.Distribution) -> str:
    number = str(found.version)
    url = _origin(found)
    if url is None or _is_editable(url):
        return number
    from modelbuild.base.keys import digest_bytes

    record = (found.read_text("RECORD") or "").encode(errors="replace")
    return f"{number} {digest_bytes(record)}"


def _origin(found: importlib.metadata.Distribution) -> dict[str, object] | None:
    """PEP 610: where a distribution came from if not by its name from an index."""
    try:
        url = json.loads(found.read_text("direct_url.json") or "null")
    except ValueError:
        return None
    return url if isinstance(url, dict) else None


def _is_editable(url: dict[str, object]) -> bool:
    info = url.get("dir_info")
    return isinstance(info, dict) and bool(info.get("editable"))
