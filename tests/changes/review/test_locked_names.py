"""What the names in a lock file stand for."""

from __future__ import annotations

from pathlib import Path

from modelbuild.changes.edits import Listed
from modelbuild.changes.naming import Named, locked


def test_a_name_in_a_lock_file_is_a_file_a_folder_or_a_file_somewhere() -> None:
    names = ["net.py", "net.py (1)", "data/*", "*", ".../hub.py"]
    assert list(locked(names)) == [
        Named("model", "lock", "net.py"),
        Named("model", "lock", "net.py"),
        Named("model", "lock", "data", "folder"),
        Named("model", "lock", ".", "folder"),
        Named("model", "lock", "hub.py", "far"),
    ]


def test_the_folder_of_a_recipe_at_the_root_is_one_of_its_lock_file_too(tmp_path: Path) -> None:
    changed = frozenset({"a.py", "deep/b.py", ".hidden/c.py"})
    edits = Listed(str(tmp_path), changed, changed, changed, {})

    def said(folder: str, name: str) -> list[str]:
        (one,) = locked([name])
        return list(one.changes(edits, str(tmp_path / folder)))

    assert said("", "*") == ["a.py"]
    assert said("deep", "*") == ["deep/b.py"]
    assert said("", ".hidden/*") == [".hidden/c.py"]
    assert said("deep", ".../c.py") == [".hidden/c.py"]
