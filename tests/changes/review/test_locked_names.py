"""What the names in a lock file stand for."""

from __future__ import annotations

from modelbuild.changes.naming import Locked, locked
from modelbuild.changes.review.depending import _locked


def test_a_name_in_a_lock_file_is_a_file_a_folder_or_a_file_somewhere() -> None:
    names = ["net.py", "net.py (1)", "data/*", "*", ".../hub.py"]
    assert list(locked(names)) == [
        Locked("net.py"), Locked("net.py"), Locked("data", folder=True), Locked(".", folder=True),
        Locked("hub.py", far=True),
    ]  # fmt: skip


def test_the_folder_of_a_recipe_at_the_root_is_one_of_its_lock_file_too() -> None:
    changed = {"a.py", "deep/b.py", ".hidden/c.py"}
    assert set(_locked("", ["*"], changed)) == {"a.py"}
    assert set(_locked("deep", ["*"], changed)) == {"deep/b.py"}
    assert set(_locked("", [".hidden/*"], changed)) == {".hidden/c.py"}
