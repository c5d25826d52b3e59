"""Which recipes a change since a git revision can touch: seen, guessed, and not known."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from modelbuild import quick
from modelbuild.base.errors import RecipeError
from modelbuild.changes import selecting
from modelbuild.changes.selecting.changes import Changes
from modelbuild.git import Repository
from modelbuild.store import Store
from modelbuild.trace import facts
from tests.changes.conftest import Checkout
from tests.conftest import RECIPE, TINY, Answer, Project

SURE = {"net.yaml": None}
LOOSER = "[tool.modelbuild.tolerance.fp32]\nrtol = 0.1\n"


def test_a_recipe_that_was_never_built_counts_as_touched_and_says_so(checkout: Checkout) -> None:
    said = "counted as changed since HEAD: it was never built with this cache"
    assert checkout.touched() == {"net.yaml": said}


def test_nothing_changed_touches_nothing(checkout: Checkout) -> None:
    checkout.built("file net.py", "absent net.json", "listing data")
    assert checkout.touched() == {}


@pytest.mark.parametrize(
    ("seen", "change", "counts"),
    [
        pytest.param(["file net.py"], {"net.py": "#"}, True, id="a-source-that-was-read"),
        pytest.param(["file net.py"], {"net.py": None}, True, id="a-source-that-is-gone"),
        pytest.param(["file net.py"], {"parts.py": "#"}, False, id="a-source-that-was-not-read"),
        pytest.param(["file data/a.npz"], {"data/a.npz": "#"}, True, id="a-data-file"),
        pytest.param(["absent net.json"], {"net.json": "{}"}, True, id="a-file-that-was-looked-for"),
        pytest.param(["absent net/x.json"], {"net/x.json": "{}"}, True, id="one-in-a-new-folder"),
        pytest.param(["absent extra"], {"extra/x": "1"}, True, id="a-folder-that-was-looked-for"),
        pytest.param(["present other"], {"other/b.txt": "#"}, False, id="a-folder-that-only-had-to-be-there"),
        pytest.param(["present other"], {"other/b.txt": None}, True, id="a-folder-that-was-there"),
        pytest.param(["listing data"], {"data/new.npz": "n"}, True, id="a-file-in-a-listed-folder"),
        pytest.param(["listing data"], {"data/a.npz": None}, True, id="a-file-gone-from-a-listed-folder"),
        pytest.param(["listing data"], {"data/a.npz": "#"}, False, id="only-bytes-in-a-listed-folder"),
        pytest.param(["listing ."], {"data/new.npz": "n"}, False, id="deeper-than-a-listed-folder"),
        pytest.param(["listing ."], {"new/deep/x": "n"}, True, id="a-new-folder-in-a-listed-folder"),
        pytest.param(["modules .=net:net.py torch"], {"torch.py": "#"}, True, id="a-module-that-shadows"),
        pytest.param(["modules .=net:net.py torch"], {"torch/__init__.py": "#"}, True, id="a-package"),
        pytest.param(["modules .=net:net.py torch"], {"torchlike.py": "#"}, False, id="another-name"),
        pytest.param(["search=torch"], {"torch.py": "#"}, True, id="a-module-in-the-working-folder"),
        pytest.param(["made cache.bin"], {"cache.bin": "1"}, True, id="a-file-that-the-code-makes"),
        pytest.param([], {"net.yaml": RECIPE + "opset: 17\n"}, True, id="the-recipe"),
        pytest.param([], {"net.lock.yaml": "lock: 1\n"}, True, id="its-lock-file"),
        pytest.param([], {"pyproject.toml": LOOSER}, True, id="its-project-file"),
        pytest.param([], {"pyproject.toml": "[tool.ruff]\n"}, False, id="a-project-file-for-others"),
        pytest.param([], {"sub/pyproject.toml": LOOSER}, False, id="a-project-file-below"),
    ],
)  # fmt: skip
def test_a_change_counts_where_a_build_has_seen_it(
    checkout: Checkout, seen: list[str], change: Mapping[str, str | None], counts: bool
) -> None:
    patterns = [fact.removeprefix("glob ") for fact in seen if fact.startswith("glob ")]
    if patterns:  # only a recipe has one
        asked = f'model: {{import: "net:Net", files: {patterns}}}'
        checkout.write("net.yaml", RECIPE.replace('model: {import: "net:Net"}', asked))
        checkout.commit()
    checkout.built("file net.py", *(fact for fact in seen if not fact.startswith("glob ")))
    for name, text in change.items():
        if text is None:
            (checkout.folder / name).unlink()
            if name == "other/b.txt":  # git has no empty folders
                (checkout.folder / "other").rmdir()
        else:
            checkout.write(name, text)
    expected = SURE if counts else {}
    assert checkout.touched() == expected  # untracked, or not in the index
    checkout.commit()
    assert checkout.touched("HEAD~1") == expected  # between commits


@pytest.mark.parametrize(
    ("pattern", "change", "counts"),
    [
        pytest.param("data/*.npz", {"data/new.npz": "n"}, True, id="a-new-match"),
        pytest.param("data/*.npz", {"data/a.npz": None}, True, id="a-match-that-is-gone"),
        pytest.param("data/*.npz", {"data/new.txt": "n"}, False, id="no-match"),
        pytest.param("**/*.npz", {"data/deep/new.npz": "n"}, True, id="a-match-at-any-depth"),
        pytest.param("**/a?.npz", {"data/deep/new.npz": "n"}, False, id="no-match-at-any-depth"),
    ],
)
def test_a_change_counts_where_a_pattern_of_the_recipe_matches(
    checkout: Checkout, pattern: str, change: Mapping[str, str | None], counts: bool
) -> None:
    checkout.write("net.yaml", RECIPE.replace("samples: 2", f"samples: 2, data: '{pattern}'"))
    checkout.commit()
    checkout.built("file net.py")
    for name, text in change.items():
        checkout.write(name, text) if text is not None else (checkout.folder / name).unlink()
    assert checkout.touched() == (SURE if counts else {})


@pytest.mark.parametrize(
    ("seen", "change"),
    [
        pytest.param('order of-times=["a.txt", "b.txt"]', "b.txt", id="a-file-that-was-asked-for-its-time"),
        pytest.param("journal data.db", "data.db-wal", id="what-is-beside-a-database"),
        pytest.param("which tool", "bin/tool", id="a-program-of-the-repository"),
    ],
)
def test_a_file_counts_by_what_a_build_asked_of_it_besides_its_bytes(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch, seen: str, change: str
) -> None:
    monkeypatch.setenv("PATH", f"{checkout.folder}/bin:{os.environ['PATH']}")
    for number, name in enumerate(("a.txt", "b.txt", "data.db-wal", "bin/tool")):
        path = checkout.write(name, "x")
        path.chmod(0o755)
        os.utime(path, (number, number))
    checkout.commit()
    checkout.built(seen)
    assert checkout.touched() == {}
    checkout.write(change, "y")
    os.utime(checkout.folder / change, (9, 9))  # so that the order is as it was
    checkout.commit()
    assert checkout.touched("HEAD~1") == SURE


def test_what_another_version_noted_says_nothing_of_what_this_one_reads(checkout: Checkout) -> None:
    checkout.built("file net.py", "shade of-the-sky=blue")
    checkout.write("other/b.txt", "#")
    said = "counted as changed since HEAD: its last build here saw another `shade of-the-sky`"
    assert checkout.touched() == {"net.yaml": said}


@pytest.mark.parametrize(
    ("line", "change"),
    [
        pytest.param("model: {import: 'net:Net', weights: weights.pt}", "weights.pt", id="weights"),
        pytest.param("model: {import: 'net:Net', files: ['other/*.txt']}", "other/new.txt", id="files"),
        pytest.param("model: {import: 'net:Net', files: ['other/b.txt']}", "other/b.txt", id="by-name"),
        pytest.param("model: {onnx: weights.pt}", "weights.pt", id="onnx"),
    ],
)
def test_what_a_recipe_declares_counts_without_a_build(checkout: Checkout, line: str, change: str) -> None:
    checkout.write("net.yaml", RECIPE.replace('model: {import: "net:Net"}', line))
    checkout.commit()
    checkout.write(change, "#")
    assert checkout.touched() == SURE


def test_a_deleted_file_that_a_pattern_of_the_recipe_matched_counts(checkout: Checkout) -> None:
    more = "verify: {samples: 2, data: 'data/*.npz'}"
    checkout.write("net.yaml", RECIPE.replace("verify: {samples: 2}", more))
    checkout.commit()
    checkout.built("file net.py")
    assert checkout.touched() == {}
    (checkout.folder / "data/a.npz").unlink()
    assert checkout.touched() == SURE


def test_links_are_followed_to_what_changed_behind_them(checkout: Checkout) -> None:
    (checkout.folder / "current").symlink_to("data")
    checkout.commit()
    checkout.built("file current/a.npz")
    assert checkout.touched() == {}
    checkout.write("data/a.npz", "#")
    assert checkout.touched() == SURE


def test_a_link_that_leads_elsewhere_now_counts_for_all_that_was_read_through_it(checkout: Checkout) -> None:
    checkout.write("copy/a.npz", "a")
    (checkout.folder / "current").symlink_to("data")
    checkout.commit()
    checkout.built("file current/a.npz")
    (checkout.folder / "current").unlink()
    (checkout.folder / "current").symlink_to("copy")
    assert checkout.touched() == SURE


def test_a_build_that_saw_other_bytes_does_not_vouch_for_what_is_read_now(checkout: Checkout) -> None:
    checkout.built("file net.py")
    checkout.write("net.py", "import parts\n")  # nobody builds it
    checkout.commit()
    checkout.write("other/b.txt", "#")
    said = "counted as changed since HEAD: its last build here saw another `file net.py`"
    assert checkout.touched() == {"net.yaml": said}


def test_a_build_of_another_recipe_does_not_vouch_for_this_one(checkout: Checkout) -> None:
    checkout.built("file net.py")
    checkout.write("net.yaml", RECIPE.replace("net:Net", "parts:act"))
    checkout.commit()
    checkout.write("other/b.txt", "#")
    said = "counted as changed since HEAD: its last build here was of another recipe"
    assert checkout.touched() == {"net.yaml": said}


def test_what_an_action_saw_that_the_recipe_has_no_more_does_not_count(checkout: Checkout) -> None:
    checkout.built("file net.py")
    path = str(checkout.folder / "net.yaml")
    actions = checkout.store.history(path)
    actions["export fp16"] = {"facts": {}, "discovered": {"file net.py": "sha256:0", "file parts.py": None}}
    checkout.store.remember(path, actions)
    checkout.write("parts.py", "#")
    assert checkout.touched() == {}


def test_what_each_action_saw_counts(checkout: Checkout) -> None:
    checkout.built("file net.py")
    path = str(checkout.folder / "net.yaml")
    actions = checkout.store.history(path)
    for action, names in {"export": "net:net.py torch", "reference": "net:net.py"}.items():
        actions[action]["discovered"]["modules ."] = names
    checkout.store.remember(path, dict(sorted(actions.items())))
    checkout.write("torch.py", "#")
    assert checkout.touched() == SURE


def test_what_the_other_branch_changed_meanwhile_does_not_count(checkout: Checkout) -> None:
    checkout.built("file net.py", "file parts.py")
    checkout.git("checkout", "-qb", "mine")
    checkout.write("data/a.npz", "#")
    checkout.commit()
    checkout.git("checkout", "-q", "main")
    checkout.write("parts.py", "#")
    checkout.commit()
    checkout.git("checkout", "-q", "mine")
    assert checkout.touched("main") == {}
    checkout.write("net.py", "#")
    assert checkout.touched("main") == SURE


def test_a_lock_file_names_the_files_where_there_is_no_build(checkout: Checkout) -> None:
    checkout.locked("net.py", "parts.py")
    checkout.commit()
    assert checkout.touched() == {}
    checkout.write("other/b.txt", "#")
    assert checkout.touched() == {}
    checkout.write("parts.py", "#")
    assert checkout.touched() == SURE


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param({"parts.py": "#"}, "its lock file is not current: parts.py changed", id="other-files"),
        pytest.param({"net.yaml": RECIPE + "opset: 17\n"}, "its lock file is not current: opset 18 -> 17",
                     id="another-recipe"),
        pytest.param({"net.lock.yaml": "lock: 1\n"}, "its lock file cannot be read", id="damaged"),
    ],
)  # fmt: skip
def test_a_lock_file_that_is_not_current_does_not_vouch(
    checkout: Checkout, change: Mapping[str, str], said: str
) -> None:
    checkout.locked("net.py", "parts.py")
    for name, text in change.items():
        checkout.write(name, text)
    checkout.commit()
    checkout.write("other/b.txt", "#")
    assert checkout.touched() == {"net.yaml": f"counted as changed since HEAD: {said}"}


def test_with_a_lock_file_alone_a_new_file_beside_those_it_names_counts(checkout: Checkout) -> None:
    checkout.locked("net.py")
    checkout.commit()
    checkout.write("another.yaml", RECIPE)  # recipes are not imported
    assert checkout.touched() == {}
    checkout.write("late.py", "#")
    said = "late.py came or went, and a lock file does not tell what that means"
    assert checkout.touched() == {"net.yaml": f"counted as changed since HEAD: {said}"}


def test_a_lock_file_from_a_stranger_has_nothing_read_outside_the_repository(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = checkout.folder.parent / "secret.txt"
    outside.write_text("secret")
    checkout.locked("net.py", "../secret.txt", str(outside))
    checkout.commit()
    outside.write_text("another")
    read: list[str] = []
    kept = facts.file_digest
    monkeypatch.setattr(facts, "file_digest", lambda path: (read.append(str(path)), kept(path))[1])
    assert checkout.touched() == {}
    assert [os.path.basename(path) for path in read] == ["net.py"]


def test_each_recipe_is_judged_for_itself_and_keeps_its_order(checkout: Checkout) -> None:
    checkout.write("configs/deep.yaml", RECIPE)
    checkout.commit()
    checkout.built("file net.py")
    checkout.built("file ../net.py", "file ../parts.py", recipe="configs/deep.yaml")
    checkout.write("parts.py", "#")
    assert checkout.touched("HEAD", "net.yaml", "configs/deep.yaml") == {"configs/deep.yaml": None}
    checkout.write("net.py", "#")
    assert list(checkout.touched("HEAD", "net.yaml", "configs/deep.yaml")) == [
        "net.yaml",
        "configs/deep.yaml",
    ]


@pytest.mark.parametrize("rev", ["nowhere", "--output=x", "", "HEAD:net.py"])
def test_what_is_no_revision_is_an_error(checkout: Checkout, rev: str) -> None:
    with pytest.raises(RecipeError) as caught:
        checkout.touched(rev)
    assert {d.code for d in caught.value.diagnostics} == {"git-failed"}
    assert sorted(p.name for p in checkout.folder.iterdir() if p.name == "x") == []


def test_a_folder_that_is_in_no_repository_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_text(RECIPE)
    with pytest.raises(RecipeError, match="is in no git repository"):
        selecting.touched([tmp_path / "net.yaml"], "HEAD", Store(tmp_path / "cache"), Path("build"))


@pytest.mark.parametrize(
    ("pattern", "matched"),
    [
        pytest.param("/".join(["**"] * 5000 + ["a*" * 40 + "b"]), None, id="stars"),
        pytest.param("/".join(["*"] * 100_000), None, id="deeper-than-a-path"),
        pytest.param("/".join(["**"] * 5000 + ["*b"]), "deep/aaab", id="stars-that-match"),
        pytest.param("/**/*b", "deep/aaab", id="from-the-root"),
        pytest.param("../**/*b", "deep/aaab", id="from-above"),
    ],
)
def test_a_pattern_is_matched_in_bounded_time_and_walks_no_folder(
    checkout: Checkout, pattern: str, matched: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout.write("deep/aaab", "1")
    checkout.write("deep/" + "a" * 200, "1")
    found = Changes.since(Repository.at(checkout.folder), "HEAD")
    monkeypatch.setattr(os, "scandir", lambda *_: pytest.fail("a folder was listed"))
    assert list(found.matching(pattern, str(checkout.folder))) == ([matched] if matched else [])


def test_the_fast_path_leaves_it_to_the_slow_one() -> None:
    assert quick.answer(["build", "net.yaml", "--changed-since", "HEAD"]) is None
    assert quick.answer(["build", "net.yaml", "--changed-since=HEAD"]) is None


# ---- a real build ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Two recipes that were built: one imports ``parts``, the other does not."""
    project = Project(tmp_path_factory.mktemp("real"))
    project.write("parts.py", "import torch\n\n\ndef act(x):\n    return torch.relu(x)\n")
    project.write("net.py", "import parts\n" + TINY.replace("torch.relu", "parts.act"))
    project.write("plain.py", TINY)
    project.recipe()
    project.recipe(base=RECIPE.replace("net:Net", "plain:Net"), name="plain.yaml")
    project.write(".gitignore", "build\ncache\n__pycache__\n")
    git = Checkout(project.folder, Store(project.folder / "cache"))
    git.git("init", "-q", "-b", "main")
    git.commit()
    assert project.run("build", ".", "--format", "json").code == 0
    return project


def _names(answer: Answer) -> list[str]:
    return [r["name"] for r in answer.report["recipes"]]


def test_after_a_build_only_what_reads_the_changed_file_is_built_checked_and_told(real: Project) -> None:
    nothing = real.run("build", ".", "--changed-since", "HEAD")
    assert (nothing.code, nothing.stdout) == (0, "nothing changed since HEAD\n")
    for command in ("check", "status"):
        answer = real.run(command, ".", "--changed-since", "HEAD")
        assert (answer.code, answer.stdout) == (0, "nothing changed since HEAD\n")
    empty = real.run("status", ".", "--changed-since", "HEAD", "--format", "json")
    assert empty.report == {"schema": 1, "ok": True, "recipes": []}

    real.write("parts.py", "import torch\n\n\ndef act(x):\n    return torch.tanh(x)\n")
    for command in ("check", "status", "build"):
        assert _names(real.run(command, ".", "--changed-since", "HEAD", "--format", "json")) == ["net"]
    # It is built now, and still has changed since that revision.
    again = real.run("build", ".", "--changed-since", "HEAD", "--format", "json")
    assert again.statuses == {"net.fp32.onnx": "cached"}

    real.write("torch.py", "raise SystemExit('ran')\n")  # would be imported instead of torch
    told = real.run("status", ".", "--changed-since", "HEAD", "--format", "json")
    assert _names(told) == ["net", "plain"]
    assert {a["reason"] for a in told.artifacts.values()} == {"new file shadows the module `torch`: torch.py"}


@pytest.mark.parametrize("name", ["net.py", "net/__init__.py"])
def test_the_model_s_own_module_counts_for_sure_without_a_build(checkout: Checkout, name: str) -> None:
    checkout.write(name, "#")
    assert checkout.touched() == SURE


def test_the_weights_beside_an_onnx_file_and_the_code_that_checks_count_for_sure(checkout: Checkout) -> None:
    recipe = RECIPE.replace('import: "net:Net"', "onnx: net.onnx")
    checkout.write("net.onnx", "")
    checkout.write("net.yaml", recipe.replace("samples: 2", 'samples: 2, function: "checks.near:close"'))
    checkout.commit()
    for name in ("net.onnx.data", "checks/near.py"):
        checkout.write(name, "#")
        assert checkout.touched() == SURE
        checkout.commit()
