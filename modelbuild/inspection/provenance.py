"""Where a file comes from."""

from __future__ import annotations

from pathlib import Path

from modelbuild.base.errors import first_line
from modelbuild.inspection.common import Info
from modelbuild.inspection.published import MANIFEST, read

PUBLISHED = "as published"


def from_manifest(path: Path, sha256: str) -> Info | None:
    """What the manifest beside the file says of it; None where there is no manifest."""
    beside = path.parent / MANIFEST
    if not beside.is_file():
        return None
    try:
        manifest = read(beside)
        entry = next((a for a in manifest["artifacts"] if a["name"] == path.name), None)
        if entry is None:
            return {"manifest": str(beside), "status": f"not in {MANIFEST}"}
        # A file that stayed because its successor failed: the manifest keeps its entry inside.
        kept = entry.get("published")
        entry = kept or entry
        same = (entry.get("sha256") or "").removeprefix("sha256:") == sha256
        return {
            "manifest": str(beside),
            "status": PUBLISHED if same else "changed since it was published",
            "recipe": manifest.get("recipe"),
            "key": entry.get("key"),
            "parity": entry.get("parity"),
            "toolchain": None if kept else manifest.get("toolchain"),
        }
    except (OSError, ValueError) as error:
        return {"manifest": str(beside), "status": f"{MANIFEST} is unreadable: {first_line(error)}"}
