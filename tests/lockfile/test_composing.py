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


def test_what_pytorch_reads_for_itself_and_long_digests_are_in_no_lock_file() -> None:
    """The reader of a lock file can do nothing about the one, and does not read the other."""
    facts = {**FACTS, "torch-env TORCH_COMPILE_DEBUG": "1", "listing data": f"sha256:{'4' * 64}/build"}
    text = render(locked(facts=facts))
    assert "TORCH_COMPILE_DEBUG" not in text
    assert f"  listing data: sha256:{'4' * 16}/build\n" in text
    assert (
        differences(locked(facts=facts), locked(facts={**facts, "torch-env TORCH_COMPILE_DEBUG": None})) == []
    )


def test_many_answers_are_one_line() -> None:
    facts = {f"absent {i}.json": None for i in range(300)}
    lock = locked(facts=facts)
    assert list(lock.finds) == ["*"]
    now = locked(facts={**facts, "absent more.json": None})
    assert differences(lock, now) == [
        "the model's code finds other files, folders or modules than it did: `*`"
    ]
