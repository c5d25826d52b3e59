"""What a change means: the recipes that it touches, what is said of them, and what is no change."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import modelbuild
from modelbuild.base.errors import RecipeError
from modelbuild.lockfile import Lock, Onnx, Worst
from modelbuild.lockfile.writing import render
from modelbuild.store import Store
from tests.changes.review.repositories import RECIPE, Repo, made


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    return made(tmp_path / "repository")


# ---- what is a change --------------------------------------------------------------------------


def test_nothing_edited_is_no_change(repo: Repo) -> None:
    found = repo.review()
    assert (found.recipes, found.moved, found.reformatted, found.exit_code()) == ((), {}, (), 0)


def test_a_recipe_written_otherwise_is_no_change(repo: Repo) -> None:
    data = RECIPE.replace("dynamic_axes: {batch: {min: 1, opt: 4, max: 8}}", "")
    repo.write(
        "net.yaml", f"# new\n{data}opset: 18\ndynamic_axes:\n  batch:\n    {{max: 8, opt: 4, min: 1}}\n"
    )
    found = repo.review()
    assert found.recipes == ()
    assert found.reformatted == ("net.yaml",)


def test_a_moved_recipe_is_no_change(repo: Repo) -> None:
    repo.git("mv", "net.yaml", "other.yaml")
    found = repo.review()
    assert found.recipes == ()
    assert found.moved == {"net.yaml": "other.yaml"}


def test_a_recipe_moved_with_its_files_is_no_change(repo: Repo) -> None:
    (repo.folder / "sub").mkdir()
    for name in ("net.yaml", "w.pt", "net.py"):
        repo.git("mv", name, f"sub/{name}")
    assert repo.review().moved == {"net.yaml": "sub/net.yaml"}


def test_a_recipe_that_leaves_its_weights_behind_has_lost_them(repo: Repo) -> None:
    (repo.folder / "sub").mkdir()
    repo.git("mv", "net.yaml", "sub/net.yaml")
    one = repo.one()
    assert one.was == "net.yaml"
    assert [c.said for c in one.files] == ["w.pt gone"]  # and net.py is found at the root


def test_a_recipe_moved_and_edited_is_one_recipe(repo: Repo) -> None:
    repo.git("mv", "net.yaml", "other.yaml")
    repo.edit("max: 8", "max: 16", "other.yaml")
    one = repo.one()
    assert (one.recipe, one.was, one.kind) == ("other.yaml", "net.yaml", "changed")
    assert [c.said for c in one.changes] == ["dynamic_axes.batch.max: 8 -> 16"]


def test_other_yaml_is_nobodys_concern(repo: Repo) -> None:
    repo.write(".github/workflows/ci.yml", "on: push\njobs: {model: {runs-on: x}}\n")
    repo.write("hydra.yaml", "model: {_target_: net.Net}\noptimizer: {lr: 1}\n")
    repo.write("docs/broken.yaml", "a: [\n")
    found = repo.review()
    assert found.recipes == ()
    assert found.ok


def test_two_commits_are_compared_without_the_working_tree(repo: Repo) -> None:
    repo.edit("samples: 4", "samples: 8")
    repo.commit()
    repo.write("net.yaml", "damaged: [")
    one = repo.one("HEAD~1", "HEAD")
    assert [c.said for c in one.changes] == ["verify.samples: 4 -> 8"]


def test_a_range_of_three_dots_begins_where_the_branch_did(repo: Repo) -> None:
    repo.git("checkout", "-qb", "branch")
    repo.edit("samples: 4", "samples: 8")
    repo.commit()
    repo.git("checkout", "-q", "main")
    repo.edit("max: 8", "max: 16")
    repo.commit()
    said = {dots: [c.said for c in repo.one(f"main{dots}branch").changes] for dots in ("..", "...")}
    assert said["..."] == ["verify.samples: 4 -> 8"]
    assert len(said[".."]) == 2
    parted = repo.git("merge-base", "main", "branch")
    assert repo.review("main...branch").base.said == parted[:10]
    with pytest.raises(RecipeError, match="a range and a revision are three"):
        repo.review("main...branch", "HEAD")


def test_only_the_named_recipes_are_compared(repo: Repo) -> None:
    repo.write("sub/other.yaml", RECIPE.replace("name: net", "name: other"))
    repo.edit("samples: 4", "samples: 8")
    assert [r.recipe for r in repo.review("HEAD", None, "sub").recipes] == ["sub/other.yaml"]
    assert [r.recipe for r in repo.review("HEAD", None, "net.*").recipes] == ["net.yaml"]
    assert [r.recipe for r in repo.review("HEAD", None, "../net.yaml", folder="sub").recipes] == ["net.yaml"]
    assert len(repo.review("HEAD", None, ".").recipes) == 2
    with pytest.raises(RecipeError, match="`nowhere` is in neither revision"):
        repo.review("HEAD", None, "nowhere")
    with pytest.raises(RecipeError, match=r"`../..` is not in this repository"):
        repo.review("HEAD", None, "../..", folder="sub")


def test_an_added_and_a_removed_recipe_are_told_with_their_artifacts(repo: Repo) -> None:
    repo.write("new.yaml", RECIPE.replace("name: net", "name: new").replace("width: 8", "width: 4"))
    (repo.folder / "net.yaml").unlink()
    removed, added = repo.review().recipes
    assert (removed.kind, added.kind) == ("removed", "added")
    assert {e.fate for e in added.artifacts} == {"added"}
    assert {e.fate for e in removed.artifacts} == {"removed"}
    assert [d.message for d in removed.diagnostics] == ["the recipe `net` is gone"]


# ---- mistakes ----------------------------------------------------------------------------------


def test_a_new_mistake_is_an_error_with_its_place(repo: Repo) -> None:
    repo.edit("outputs:", "output:")
    found = repo.review()
    (said,) = found.recipes[0].diagnostics
    assert found.exit_code() == 2
    assert (said.code, said.where) == ("recipe-invalid", "net.yaml:4:1")
    assert said.hint == "did you mean `outputs`?"


def test_a_mistake_that_is_mended_is_a_note(repo: Repo) -> None:
    repo.edit("outputs:", "output:")
    repo.commit()
    repo.edit("output:", "outputs:")
    one = repo.one()
    assert repo.review().exit_code() == 0
    assert [(d.level, d.where) for d in one.diagnostics] == [("info", "HEAD:net.yaml:4:1")]
    assert one.diagnostics[0].message.startswith("the older one is wrong: unknown key `output`")


def test_a_recipe_that_was_wrong_and_is_not_edited_is_not_told_again(repo: Repo) -> None:
    repo.edit("outputs:", "output:")
    repo.commit()
    repo.write("net.lock.yaml", lock())
    assert repo.review().recipes == ()


# ---- files -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "said", "fates"),
    [
        pytest.param("w.pt", "other", "w.pt changed", {"rebuild"}, id="weights"),
        pytest.param(
            "net.py", "class Net:\n    width = 2\n", "net.py:Net changed", {"rebuild"}, id="definition"
        ),
        pytest.param("net.py", "class Net: [", "net.py changed", {"rebuild"}, id="no-python"),
    ],
)
def test_a_file_that_a_recipe_depends_on_changes_the_recipe(
    repo: Repo, name: str, text: str, said: str, fates: set[str]
) -> None:
    repo.write(name, text)
    one = repo.one()
    assert [c.said for c in one.files] == [said]
    assert {e.fate for e in one.artifacts} == fates


def test_a_comment_in_the_models_source_is_no_change(repo: Repo) -> None:
    repo.write("net.py", "# why\nclass Net:\n    width = 1  # wide\n")
    assert repo.review().recipes == ()


def test_patterns_find_new_and_deleted_files(repo: Repo) -> None:
    repo.edit("weights: w.pt", 'weights: w.pt, files: ["vocab/*.txt", "deep/**/x"]')
    repo.edit("samples: 4", 'samples: 4, data: "samples/[ab].npz"')
    repo.write("vocab/a.txt", "")
    repo.commit()
    repo.write("vocab/b.txt", "")
    repo.write("vocab/sub/c.txt", "")  # not matched: `*` is of one folder
    repo.write("vocab/.hidden.txt", "")
    repo.write("deep/1/2/x", "")
    repo.write("samples/b.npz", "")
    repo.write("samples/c.npz", "")
    (repo.folder / "vocab" / "a.txt").unlink()
    said = [c.said for c in repo.one().files]
    assert said == ["deep/1/2/x new", "samples/b.npz new", "vocab/a.txt gone", "vocab/b.txt new"]


def test_real_inputs_prove_again_and_rebuild_nothing(repo: Repo) -> None:
    repo.edit("samples: 4", "samples: 4, data: s.npz")
    repo.write("s.npz", "1")
    repo.commit()
    repo.write("s.npz", "2")
    fates = {e.artifact: e.fate for e in repo.one().artifacts}
    assert fates["net.fp32.onnx"] == fates["net.fp16.onnx"] == "prove"
    assert fates["net.fp16.tensorrt-rtx.engine"] == "same"


def test_the_users_check_proves_again(repo: Repo) -> None:
    repo.edit("samples: 4", 'samples: 4, function: "checks.close:near"')
    repo.write("checks/close.py", "def near(a, b): return True\n")
    repo.commit()
    repo.write("checks/close.py", "def near(a, b): return False\n")
    one = repo.one()
    assert [c.said for c in one.files] == ["checks/close.py:near changed"]
    assert {e.fate for e in one.artifacts if e.artifact.endswith(".onnx")} == {"prove"}


def test_files_of_the_lock_file_count(repo: Repo) -> None:
    repo.write("net.lock.yaml", lock(files={"blocks.py": "outline:1", ".../site.py": "sha256:2"}))
    repo.write("blocks.py", "def f(): return 1\n")
    repo.commit()
    repo.write("blocks.py", "def f(): return 2\n")
    one = repo.one()
    assert [c.said for c in one.files] == ["blocks.py:f changed"]
    assert [d.code for d in one.diagnostics] == ["lock-stale"]


def test_a_project_file_changes_the_recipes_below_it(repo: Repo) -> None:
    tolerance = "[tool.modelbuild.tolerance]\nfp32 = {rtol = %s, atol = 1e-4}\n"
    repo.write("pyproject.toml", "[project]\nname = 'x'\n" + tolerance % "1e-3")
    repo.write("sub/pyproject.toml", tolerance % "1e-3")
    repo.write("sub/near.yaml", RECIPE.replace("name: net", "name: near"))
    repo.commit()
    repo.write("pyproject.toml", tolerance % "5e-3")
    one = repo.one()
    assert (one.recipe, [c.said for c in one.changes]) == (
        "net.yaml", ["precision.fp32.tolerance.rtol: 0.001 -> 0.005"],
    )  # fmt: skip
    assert [d.code for d in one.warnings] == ["proof-weakened"]
    fates = {e.artifact: e.fate for e in one.artifacts}
    assert (fates["net.fp32.onnx"], fates["net.fp16.onnx"]) == ("prove", "same")


def test_a_project_file_that_hides_another_one_changes_the_recipes_below_it(repo: Repo) -> None:
    tolerance = "[tool.modelbuild.tolerance]\nfp32 = {rtol = 5e-3, atol = 1e-4}\n"
    repo.write("pyproject.toml", tolerance)
    repo.write("sub/near.yaml", RECIPE.replace("name: net", "name: near"))
    repo.commit()
    repo.write("sub/pyproject.toml", "[tool.modelbuild]\nout = 'elsewhere'\n")
    one = repo.one()
    assert (one.recipe, [c.said for c in one.changes]) == (
        "sub/near.yaml",
        [
            f"precision.fp32.tolerance.{bound} -> 0.001"
            for bound in ("rtol: 0.005", "relative_l2: not asked", "mismatch: not asked")
        ],
    )  # fmt: skip


def test_a_damaged_project_file_is_an_error_of_its_recipes(repo: Repo) -> None:
    repo.write("pyproject.toml", "[tool.modelbuild]\nprecison = {}\n")
    found = repo.review()
    (said,) = found.recipes[0].diagnostics
    assert found.exit_code() == 2
    assert (said.code, said.where) == ("recipe-invalid", "pyproject.toml")


# ---- what it costs -----------------------------------------------------------------------------


def test_what_rebuilds_cost_comes_from_the_cache(repo: Repo) -> None:
    seconds = {"export": 3.0, "fp32": 0.5, "fp16": 1.0, "reference": 2.0, "verify fp16": 0.25}
    remembered = {a: {"facts": {}, "discovered": {}, "seconds": s} for a, s in seconds.items()}
    Store(repo.folder.parent / "cache").remember(str(repo.folder.resolve() / "net.yaml"), remembered)
    repo.edit("node_block_list: [/a, /b]", "node_block_list: [/a, /b, /c]")
    one = repo.one()
    fates = {e.artifact: (e.fate, e.seconds) for e in one.artifacts}
    assert fates["net.fp16.onnx"] == ("rebuild", 1.25)
    assert fates["net.fp32.onnx"] == ("same", None)
    assert fates["net.fp16.batch1.onnx"] == ("rebuild", None)  # it never ran
    assert (one.seconds, one.unknown) == (1.25, 3)


def test_the_manifest_tells_what_the_cache_has_forgotten(repo: Repo) -> None:
    parity = {"shapes": [{"batch": 1}, {"batch": 32}]}
    manifest = {
        "actions": [{"id": "fp16", "seconds": 7.0}, {"id": "export", "seconds": "much"}],
        "artifacts": [{"name": "net.fp32.onnx", "status": "built", "axes": {}, "parity": parity}],
    }
    repo.write("build/net/manifest.json", json.dumps(manifest))
    repo.write(".gitignore", "build\n")
    repo.edit("max: 8", "max: 16")
    one = repo.one()
    assert one.seconds == 7.0
    said = "the axis `batch` takes 1..16, and what is published takes 1..32"
    assert [d.message for d in one.warnings if d.code == "range-narrowed"] == [said]
    manifest["artifacts"].append(7)  # no build wrote that: nothing of it is believed
    repo.write("build/net/manifest.json", json.dumps(manifest))
    assert repo.one().seconds is None


# ---- lock files --------------------------------------------------------------------------------


def lock(bytes: int = 1000, headroom: float = 4.0, **more: object) -> str:
    row = Onnx("sha256:1", bytes, 18, {"fp32": 5}, "rtol 0.001", Worst("y", 1e-3, 1e-2, headroom))
    values = {
        "recipe": "net", "onnx": {"net.fp32.onnx": row}, "engines": {}, "toolchain": {"torch": "2.9"},
        "environment": {}, "files": {}, "finds": {},
    }  # fmt: skip
    return render(Lock(**{**values, **more}))  # type: ignore[arg-type]


def test_a_lock_file_alone_is_a_change_and_rebuilds_nothing(repo: Repo) -> None:
    repo.write("net.lock.yaml", lock())
    repo.commit()
    repo.write("net.lock.yaml", lock(bytes=5000, headroom=1.1, toolchain={"torch": "2.10"}))
    one = repo.one()
    assert [c.said for c in one.lock] == [
        "net.fp32.onnx: size 1000 B -> 4.9 KiB; headroom x4 -> x1.1",
        "torch 2.9 -> 2.10",
    ]
    assert (one.changes, {e.fate for e in one.artifacts}) == ((), {"same"})
    assert one.diagnostics == ()


def test_a_damaged_lock_file_is_an_error(repo: Repo) -> None:
    repo.write("net.lock.yaml", "<<<<<<< ours\n")
    found = repo.review()
    assert found.exit_code() == 2
    assert [(d.code, d.where) for d in found.recipes[0].diagnostics] == [
        ("lock-invalid", "net.lock.yaml:1:1")
    ]


def test_a_recipe_changed_without_its_lock_file_is_warned_of(repo: Repo) -> None:
    repo.write("net.lock.yaml", lock())
    repo.commit()
    repo.edit("opt: 4", "opt: 2")
    assert [d.code for d in repo.one().diagnostics] == ["lock-stale"]
    repo.write("net.lock.yaml", lock(bytes=1001))
    assert repo.one().diagnostics == ()


# ---- from Python -------------------------------------------------------------------------------


def test_the_review_is_a_function_and_its_json_has_the_fields(
    repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repo.folder)
    repo.edit("max: 8", "max: 4")
    found = modelbuild.diff("HEAD", paths="net.yaml")
    assert isinstance(found, modelbuild.Review)
    data = found.as_json()
    assert (data["schema"], data["ok"], data["head"]) == (1, True, {"rev": "working tree", "commit": None})
    assert data["base"] == {"rev": "HEAD", "commit": repo.git("rev-parse", "HEAD")}
    (recipe,) = data["recipes"]
    assert (recipe["recipe"], recipe["status"], recipe["change"]) == ("net.yaml", "ok", "changed")
    change = {"path": "dynamic_axes.batch.max", "old": 8, "new": 4, "text": "dynamic_axes.batch.max: 8 -> 4"}
    assert change in recipe["changes"]
    assert recipe["artifacts"][0] == {"name": "net.fp32.onnx", "change": "rebuild", "seconds": None}
    assert found.exit_code() == 0
    assert found.exit_code(strict=True) == 1


# ---- what a model's module imports -------------------------------------------------------------


@pytest.mark.parametrize(
    ("imports", "changed"),
    [
        pytest.param("import helper", "helper.py", id="a-module"),
        pytest.param("import os, helper as h", "helper.py", id="one-of-several"),
        pytest.param("from helper import (\n    a,\n    b,\n)", "helper.py", id="from-it"),
        pytest.param("def make():\n    from parts.inner import block", "parts/inner/block.py", id="later"),
        pytest.param("import parts.deep", "parts/far.py", id="by-way-of-another"),
    ],
)
def test_a_file_that_the_models_module_imports_is_the_recipes(repo: Repo, imports: str, changed: str) -> None:
    for name in (
        "helper.py",
        "parts/__init__.py",
        "parts/inner/__init__.py",
        "parts/inner/block.py",
        "parts/far.py",
    ):
        repo.write(name, "a = b = 1\n")
    repo.write("parts/deep.py", "from . import far\n")
    repo.write("net.py", imports + "\n")
    repo.write("unused.py", "a = 1\n")
    repo.commit()
    repo.write("unused.py", "a = 2\n")
    assert repo.review().recipes == ()
    repo.write(changed, "a = 2\nb = 1\n")
    one = repo.one()
    assert [c.said for c in one.files] == [f"{changed}:a, b changed"]
    assert {e.fate for e in one.artifacts} == {"rebuild"}
