"""Files of earlier builds that an output folder would go on offering: what nobody asks for any more, and
what is older than its model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelbuild.base.errors import Diagnostic
from modelbuild.store import hash_file
from modelbuild.wording.phrases import few

_NAMED = 3  # files that a message names


def cleared(folder: Path, rows: Mapping[str, Mapping[str, Any]], gone: Mapping[str, str]) -> list[Diagnostic]:
    """Remove the files in ``folder`` that ``gone`` names, each with its reason, and say so.

    Only what is ours: a file that is not, byte by byte, what its row of the manifest says is somebody
    else's by now, and stays.
    """
    done: dict[tuple[str, str], list[str]] = {}
    for name, why in gone.items():
        row = rows[name].get("published", rows[name])
        try:
            what = _removed(folder, name, row)
        except OSError as error:
            what = f"cannot be removed: {error.strerror}"
        if what is not None:
            done.setdefault((what, why), []).append(name)
    return [_said(folder, names, what, why) for (what, why), names in done.items()]


def _removed(folder: Path, name: str, row: Mapping[str, Any]) -> str | None:
    """What became of a file; None if there is none of that name.

    Raises:
        OSError: it cannot be read or removed.
    """
    path = folder / name
    if Path(name).name != name or path.is_symlink() or not path.is_file():
        return None
    file = hash_file(path)
    if file.sha256 != row.get("sha256"):
        return "stays: it is not what was built, and the manifest does not name it any more"
    path.unlink()
    data = folder / f"{name}.data"
    if data.is_file() and not data.is_symlink() and file.bytes + data.stat().st_size == row.get("bytes"):
        data.unlink()
    return "is removed"


def _said(folder: Path, names: list[str], what: str, why: str) -> Diagnostic:
    return Diagnostic(
        "artifact-removed",
        f"{few(names, _NAMED)} in {folder}: {why}; {what}",
        "the cache still has it: asked for again, it is there again" if what == "is removed" else None,
        level="info",
    )
