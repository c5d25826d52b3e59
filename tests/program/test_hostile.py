"""A pull request from somebody who means harm, looked at with ``diff``, ``check`` and ``status``.

Whatever it holds: a clear error or a plain answer, nothing run, nothing written, nothing outside the
repository opened, and an end in sight.
"""

from __future__ import annotations

import os
import re

import pytest

import modelbuild
from modelbuild.base import globs
from modelbuild.changes.review import markdown
from tests.changes.review.repositories import RECIPE, Repo
from tests.program.strangers import codes, looked_at, watching

ALIASES = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12))
BOMB = f"a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n{ALIASES}"


# ---- paths out of the repository ---------------------------------------------------------------

OUT = "../outside/secret.pt"


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("weights: w.pt", f"weights: {OUT}", "model.weights"),
        ("weights: w.pt", "weights: /etc/passwd", "model.weights"),
        ("weights: w.pt", f"files: [{OUT}]", "model.files"),
        ("weights: w.pt", 'files: ["/**/*", "../**"]', "model.files"),
        ('import: "net:Net", weights: w.pt, kwargs: {width: 8}', f"onnx: {OUT}", "model.onnx"),
        ("samples: 4", 'samples: 4, data: "../outside/*"', "verify.data"),
    ],
)
def test_a_path_out_of_the_repository_is_an_error_and_not_opened(
    repo: Repo, old: str, new: str, key: str
) -> None:
    repo.edit(old, new)
    found, said = looked_at(repo)
    assert found.exit_code() == 2
    assert ("error", "outside-repository") in codes(found)
    assert f"`{key}`: `" in said
    assert "lies outside the repository; it was not looked at" in said


def test_a_file_that_is_not_there_tells_nothing_of_its_neighbours_outside(repo: Repo) -> None:
    (repo.folder / "out").symlink_to("../outside")
    for name in ("../outside/secre.pt", "out/secre.pt", "loop/secre.pt"):
        repo.write("evil.yaml", RECIPE.replace("w.pt", name))
        (said,) = modelbuild.check("evil.yaml").recipes[0].diagnostics
        assert f"there is no file `{name}`" in said.message
        assert said.hint == "paths are relative to the recipe"
    repo.write("evil.yaml", RECIPE.replace("w.pt", "w.pth"))
    assert modelbuild.check("evil.yaml").recipes[0].diagnostics[0].hint == "did you mean `w.pt`?"


def test_check_warns_of_a_file_outside_and_opens_none(repo: Repo) -> None:
    repo.write("evil.yaml", RECIPE.replace("w.pt", OUT))
    with watching() as opened:
        (said,) = modelbuild.check("evil.yaml").recipes[0].diagnostics
    assert (said.level, said.code) == ("warning", "outside-repository")
    assert said.message == f"`model.weights`: `{OUT}` lies outside the repository; a build would read it"
    assert not [p for p in opened if "outside" in os.path.realpath(p)]


def test_check_quotes_nothing_of_a_file_that_a_recipe_links_to(repo: Repo) -> None:
    (repo.folder / "evil.yaml").symlink_to("/etc/passwd")
    (said,) = modelbuild.check("evil.yaml").recipes[0].diagnostics
    assert said.code == "recipe-invalid"
    assert "it is a link to a file elsewhere, which is not a recipe without mistakes" in said.message
    assert "root" not in said.render()


def test_status_does_not_walk_the_disk_for_a_pattern(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(globs, "MOST", 1000)
    (repo.folder / "everything").symlink_to("/")
    repo.write("evil.yaml", RECIPE.replace("weights: w.pt", 'files: ["/**/*"]'))
    told = modelbuild.status("evil.yaml").recipes[0].artifacts[0]
    assert "`model.files`: `/**/*`: it looks at more than 1,000 files" in told.diagnostics[0].message
    repo.write("evil.yaml", RECIPE.replace("weights: w.pt", 'files: ["everything*/**/passwd"]'))
    told = modelbuild.status("evil.yaml").recipes[0].artifacts[0]
    assert "matches no file" in told.diagnostics[0].message


def test_a_path_that_was_outside_before_is_only_noted(repo: Repo) -> None:
    repo.edit("weights: w.pt", f"weights: {OUT}")
    repo.commit()
    repo.edit("max: 8", "max: 16")
    found, _ = looked_at(repo)
    assert found.exit_code() == 0
    assert codes(found) == {("info", "outside-repository")}


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "a/b", "..", "x\\u0000y", "-rf", ".hidden"])
def test_a_name_that_would_leave_the_output_folder_is_refused(repo: Repo, name: str) -> None:
    repo.edit("name: net", f'name: "{name}"')
    found, _ = looked_at(repo)
    assert codes(found) == {("error", "recipe-invalid")}
    assert modelbuild.check("net.yaml").exit_code == 2


@pytest.mark.parametrize("target", ["../outside/secret.yaml", "/etc/passwd", "net.yaml", "loop.yaml"])
@pytest.mark.parametrize("place", ["net.yaml", "loop.yaml"])
def test_a_recipe_that_is_a_link_is_told_and_not_followed(repo: Repo, place: str, target: str) -> None:
    (repo.folder / place).unlink(missing_ok=True)
    (repo.folder / place).symlink_to(target)
    found, said = looked_at(repo)
    assert found.exit_code() == 2
    assert f"error[recipe-invalid]: {place}: a symbolic link is not followed" in said
    repo.commit()
    assert modelbuild.diff("HEAD~1", "HEAD").exit_code() == 2


@pytest.mark.parametrize(
    ("place", "code"), [("net.lock.yaml", "lock-invalid"), ("pyproject.toml", "recipe-invalid")]
)
def test_what_lies_beside_a_recipe_is_not_followed_either(repo: Repo, place: str, code: str) -> None:
    (repo.folder / place).symlink_to("../outside/secret.yaml")
    found, said = looked_at(repo)
    assert found.exit_code() == 2
    assert f"error[{code}]: {place}: a symbolic link is not followed" in said


def test_links_to_folders_lead_nowhere(repo: Repo) -> None:
    (repo.folder / "loop").symlink_to(".")
    (repo.folder / "itself").symlink_to("itself")
    (repo.folder / "configs").symlink_to("../outside")
    (repo.folder / "build").symlink_to("../outside")
    (repo.folder.parent / "outside" / "net").mkdir()
    (repo.folder.parent / "outside" / "net" / "manifest.json").write_text('{"actions": []}')
    repo.edit("weights: w.pt", "weights: configs/secret.pt")
    found, _ = looked_at(repo)
    assert [r.recipe for r in found.recipes] == ["net.yaml"]
    assert found.recipes[0].seconds is None


def test_the_project_file_of_a_stranger_does_not_say_where_to_look(repo: Repo) -> None:
    repo.write("pyproject.toml", '[tool.modelbuild]\nout = "../outside"\ncache = "../outside"\n')
    repo.edit("max: 8", "max: 16")
    found, _ = looked_at(repo)
    assert [r.recipe for r in found.recipes] == ["net.yaml"]


# ---- sizes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(BOMB, "aliases stand for more than 10000 values", id="bomb"),
        pytest.param(f"model: *a11\n{BOMB}", "has no anchor", id="bomb-in-the-model"),
        pytest.param("model: " + "[" * 5000, "nested more than 50 levels deep", id="deep"),
        pytest.param("model: " + "{a: " * 100 + "1" + "}" * 100, "nested more than 50", id="deep-mapping"),
        pytest.param(
            RECIPE.replace("max: 8", f"max: {'9' * 5000}"), "a number of 5000 characters", id="digits"
        ),
        pytest.param(RECIPE.replace("max: 8", "max: 1e999"), "must be a whole number", id="infinite"),
        pytest.param(RECIPE.replace("max: 8", f"max: {'9' * 900}"), "dynamic_axes.batch.max", id="large"),
        pytest.param(RECIPE.replace("samples: 4", "samples: 1e400"), "verify.samples", id="samples"),
        pytest.param(
            RECIPE.replace("weights: w.pt", f"files: ['{'**/' * 2000}x']"),
            "`model.files[0]`: at most 100 folders",
            id="folders",
        ),
        pytest.param(
            RECIPE.replace("net:Net", f"{'a.' * 200_000}a:Net"),
            "`model.import`: at most 1000 characters",
            id="modules",
        ),
        pytest.param(
            RECIPE.replace("static: [{batch: 1}]", f"static: {[{'batch': i} for i in range(1, 6000)]}"),
            "`static`: at most 5000 variants",
            id="variants",
        ),
        pytest.param("x: 1\n" * 300_000, "a recipe is at most 1 MiB", id="large-file"),
        pytest.param("model: {}\ninputs: {}\n" + "k: [" * 9, "not valid YAML", id="open"),
    ],
)
def test_a_recipe_that_is_too_much_is_an_error(repo: Repo, text: str, said: str) -> None:
    repo.write("evil.yaml", text)
    found, printed = looked_at(repo)
    assert found.exit_code() == 2
    assert said in printed
    assert modelbuild.check("evil.yaml").exit_code == 2


def test_a_hundred_megabytes_are_not_read(repo: Repo) -> None:
    repo.write("evil.yaml", b'model: {import: "net:Net"}\n' + b"# x\n" * 25_000_000)
    found, said = looked_at(repo)
    assert found.exit_code() == 2
    assert "error[recipe-invalid]: evil.yaml:1:1: a recipe is at most 1 MiB" in said
    repo.commit()
    (repo.folder / "evil.yaml").unlink()
    found = modelbuild.diff("HEAD~1", "HEAD")
    assert [d.message for d in found.every()] == ["a recipe is at most 1 MiB"]


def test_a_lock_file_that_is_too_much_is_an_error(repo: Repo) -> None:
    repo.write("net.lock.yaml", BOMB)
    found, said = looked_at(repo)
    assert found.exit_code() == 2
    assert "error[lock-invalid]: net.lock.yaml:" in said


@pytest.mark.parametrize(
    "text",
    ["[tool.modelbuild]\n" + "x = " + "[" * 100_000, "tool.modelbuild." + "a." * 50_000 + "b = 1",
     "[tool.modelbuild]\nx = 1\n" + "#" * (1 << 20)],
    ids=["deep", "long-key", "large"],
)  # fmt: skip
def test_a_project_file_that_is_too_much_is_an_error(repo: Repo, text: str) -> None:
    repo.write("pyproject.toml", text)
    found, said = looked_at(repo)
    assert found.exit_code() == 2
    assert "error[recipe-invalid]: pyproject.toml" in said


def test_a_path_of_a_thousand_folders_and_an_argument_of_as_many_modules_are_looked_at(repo: Repo) -> None:
    repo.edit("weights: w.pt", "weights: w.pt, files: ['a/**/x', '**']")
    repo.edit("{width: 8}", f"{{width: '{'a.' * 200_000}a:b'}}")
    repo.commit()
    blob = repo.git("rev-parse", "HEAD:w.pt")
    repo.git("update-index", "--add", "--cacheinfo", f"100644,{blob},{'a/' * 1500}x")
    repo.git("commit", "-qm", "deep")
    (one,) = modelbuild.diff("HEAD~1", "HEAD").recipes
    assert [change.said.endswith(" new") for change in one.files] == [True]


def test_a_comment_stays_postable_whatever_the_size_of_a_change(repo: Repo) -> None:
    for i in range(300):
        text = RECIPE.replace("name: net", f"name: n{i}").replace("w.pt", f"'{'|<`@x' * 30}'")
        repo.write(f"{'<b>|`' * 10}{i}.yaml", text)
    found, _ = looked_at(repo)
    comment = markdown.render(found)
    assert len(found.recipes) == 300
    assert len(comment) < 65536
    assert comment.startswith("<!-- modelbuild diff -->\n")
    assert comment.endswith("</details>")
    assert "are left out: `modelbuild diff` prints them" in comment


# ---- names -------------------------------------------------------------------------------------

NAMES = [
    "a\n::error::x.yaml", "\x1b[31mred.yaml", "\u202egnp.yaml", "-p.yaml", "--output=x.yaml", "a'b\"c.yaml",
    "<script>.yaml", "@everyone #1 `x` |y|.yaml", "\udcff\udcfe.yaml", " .yaml", "$(touch canary).yaml",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_files_name_is_shown_and_not_obeyed(repo: Repo, name: str) -> None:
    repo.write(name, RECIPE.replace("name: net", "name: other"))
    found, said = looked_at(repo)
    assert [(r.recipe, r.kind) for r in found.recipes] == [(name, "added")]
    assert not re.search("(?m)^::", said)
    repo.commit()
    assert [r.recipe for r in modelbuild.diff("HEAD~1", "HEAD").recipes] == [name]


def test_keys_and_values_are_shown_and_not_obeyed(repo: Repo) -> None:
    evil = (
        '"\\e[31m\\u202e\\n::error::</code></td><script>alert(1)</script>|@me `x` ![i](http://x.y) www.x.y"'
    )
    repo.edit("{width: 8}", f"{{{evil}: {evil}}}")
    _, said = looked_at(repo)
    assert "text cannot hold the character U+" in said  # no recipe can hold these
    repo.edit("\\e[31m\\u202e\\n", "", "net.yaml")
    found, said = looked_at(repo)
    comment = markdown.render(found)
    assert found.exit_code() == 0
    assert not re.search("(?m)^ *::", said)
    for bad in ("<script", "</td>", "|@", "@me", "![", "http://", "www.", "`x`"):
        assert bad not in comment
    rows = [line for line in comment.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {6}


def test_what_is_in_a_lock_file_is_shown_and_not_obeyed(repo: Repo) -> None:
    row = "{sha256: x, bytes: %s, opset: 1, nodes: {'@me|`': 1}}"
    files = "{'../../etc/passwd': 'sha256:1', '.../x': y, '/etc/passwd': z}"
    lock = (
        "lock: 2\nrecipe: net\nonnx: {'<b>|@me': %s}\nengines: {}\ntoolchain: {'a|b': '<i>'}\n"
        f"environment: {{}}\nfiles: {files}\nfinds: {{}}\n"
    )
    repo.write("net.lock.yaml", lock % (row % 1))
    repo.commit()
    repo.write("net.lock.yaml", (lock % (row % ("9" * 900))).replace("<i>", "@me").replace("': 1}", "': 2}"))
    found, _ = looked_at(repo)
    comment = markdown.render(found)
    assert found.recipes[0].lock
    for bad in ("<b>", "<i>", "@me", "`me"):
        assert bad not in comment
