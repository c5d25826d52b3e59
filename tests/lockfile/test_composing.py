"""What a lock is made of is the same on every machine."""

from __future__ import annotations

from modelbuild.lockfile.comparing import differences
from modelbuild.lockfile.reading import read
from modelbuild.lockfile.writing import render
from tests.lockfile.samples import FACTS, TOOLS, locked


def test_another_machine_writes_the_same_file() -> None:
    there = {name.replace("/home/ann", "/Users/bob"): value for name, value in FACTS.items()}
    there["env DATA"] = "/Users/bob/data"
    there["modules .."] = "models:models/ tools:tools/"
    assert render(locked(facts=there, tools={**TOOLS, "python": "3.11.9"})) == render(locked())


def test_outside_files_of_one_name_are_told_apart_by_their_content() -> None:
    here = {"file /a/config.json": "sha256:2", "file /b/config.json": "sha256:1"}
    there = {"file /z/config.json": "sha256:1", "file /y/config.json": "sha256:2"}
    assert locked(facts=here).files == {".../config.json": "sha256:1", ".../config.json (1)": "sha256:2"}
    assert render(locked(facts=here)) == render(locked(facts=there))


def test_many_files_are_one_line_per_folder() -> None:
    facts = {f"file samples/{i}.npz": f"sha256:{i}" for i in range(20_000)}
    lock = locked(facts={**facts, "file top.json": "sha256:0"})
    assert list(lock.files) == ["*", "samples/*"]
    assert read(render(lock), "x") == lock
    changed = locked(facts={**facts, "file top.json": "sha256:0", "file samples/7.npz": "sha256:x"})
    assert differences(lock, changed) == ["samples/* changed"]
