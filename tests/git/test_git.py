"""A repository as it is read: revisions, files, bytes, edits; and nothing of it that runs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from modelbuild import git
from modelbuild.base.errors import RecipeError
from modelbuild.git import Repository, TreeEntry


def run(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=n", "-c", "user.email=e@e", "-c", "protocol.file.allow=always"]
    done = subprocess.run(["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit(folder: Path) -> str:
    run(folder, "add", "-A")
    run(folder, "commit", "-qm", "x", "--allow-empty")
    return run(folder, "rev-parse", "HEAD")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "repository"
    made.mkdir()
    run(made, "init", "-q", "-b", "main")
    (made / "a.txt").write_text("a\n")
    (made / "sub").mkdir()
    (made / "sub" / "b.txt").write_text("b\n")
    commit(made)
    return made


def refused(repository: Repository, rev: str) -> str:
    with pytest.raises(RecipeError) as caught:
        repository.commit(rev)
    assert caught.value.exit_code == 2
    assert caught.value.diagnostics[0].code == "git-failed"
    return caught.value.diagnostics[0].render()


def test_a_repository_is_found_from_a_folder_in_it(folder: Path) -> None:
    assert Repository.at(folder / "sub").root == folder.resolve()


def test_a_folder_outside_is_told_with_what_git_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(RecipeError, match="is in no git repository: fatal: not a git repository"):
        Repository.at(tmp_path)


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="git cannot run in"):
        Repository.at(tmp_path / "nowhere")


def test_a_machine_without_git_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "relative:/nowhere")
    with pytest.raises(RecipeError, match="there is no `git` command here"):
        Repository.at(folder)


def test_a_git_in_the_repository_is_not_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = folder / "git"
    planted.write_text("#!/bin/sh\ntouch planted\n")
    planted.chmod(0o755)
    monkeypatch.setenv("PATH", f".:{os.environ['PATH']}")
    monkeypatch.chdir(folder)
    Repository.at(folder).commit("HEAD")
    assert not (folder / "planted").exists()


@pytest.mark.parametrize(
    "rev", ["-p", "--output=x", "--upload-pack=touch x", "a\nb", "\x1b[31m", "", "x" * 2000]
)
def test_what_is_no_revision_never_reaches_git(folder: Path, rev: str) -> None:
    said = refused(Repository.at(folder), rev)
    assert "is no git revision" in said
    assert "\x1b" not in said
    assert len(said) < 400
    assert sorted(p.name for p in folder.iterdir()) == [".git", "a.txt", "sub"]


@pytest.mark.parametrize("rev", ["nowhere", "HEAD~5", "HEAD..HEAD", "HEAD:a.txt", "a b"])
def test_a_revision_that_is_not_there_is_told(folder: Path, rev: str) -> None:
    assert f"there is no revision `{rev}` here" in refused(Repository.at(folder), rev)


def test_a_shallow_clone_is_told_how_to_get_more(folder: Path, tmp_path: Path) -> None:
    first = run(folder, "rev-parse", "HEAD")
    commit(folder)
    run(tmp_path, "clone", "-q", "--depth=1", f"file://{folder}", "shallow")
    repository = Repository.at(tmp_path / "shallow")
    assert "git fetch --depth" in refused(repository, first)
    assert repository.commit("HEAD") == run(folder, "rev-parse", "HEAD")


def test_a_clone_without_blobs_fetches_nothing(folder: Path, tmp_path: Path) -> None:
    run(folder, "config", "uploadpack.allowFilter", "true")
    run(tmp_path, "clone", "-q", "--filter=blob:none", "--no-checkout", f"file://{folder}", "partial")
    repository = Repository.at(tmp_path / "partial")
    entry = repository.files(repository.commit("HEAD"))["a.txt"]
    assert entry.blob is not None
    with pytest.raises(RecipeError) as caught:
        repository.read([entry.blob], 100)
    assert "this clone is partial, and nothing is fetched here" in str(caught.value.diagnostics[0].hint)


def test_the_files_of_a_commit_have_their_modes_and_ids(folder: Path) -> None:
    (folder / "link").symlink_to("a.txt")
    (folder / "run").write_text("x")
    (folder / "run").chmod(0o755)
    odd = folder / 'new\nline "and" quote\tand \udcff'
    odd.write_text("odd")
    repository = Repository.at(folder)
    files = repository.files(repository.commit(commit(folder)))
    assert {p: e.mode for p, e in files.items()} == {
        "a.txt": "100644", "sub/b.txt": "100644", "link": "120000", "run": "100755", odd.name: "100644",
    }  # fmt: skip
    assert files["a.txt"].blob == git.blob_id(b"a\n")
    assert files["link"].is_link
    assert files["run"].is_file


def test_blobs_are_read_up_to_a_limit(folder: Path) -> None:
    (folder / "large").write_bytes(b"xy" * 5000)
    (folder / "empty").write_bytes(b"")
    repository = Repository.at(folder)
    files = repository.files(commit(folder))
    blobs = [e.blob for e in files.values() if e.blob]
    read = repository.read([*blobs, "0" * 40], 100)
    assert read[git.blob_id(b"a\n")] == git.Blob(2, b"a\n")
    assert read[git.blob_id(b"")] == git.Blob(0, b"")
    assert read[git.blob_id(b"xy" * 5000)] == git.Blob(10_000, b"xy" * 50)
    assert read["0" * 40].missing
    with pytest.raises(RecipeError, match="are larger than 0 MiB in all"):
        repository.read(blobs, 20_000, total=50)


def test_edits_are_what_the_working_tree_has_otherwise(folder: Path) -> None:
    (folder / ".gitignore").write_text("ignored\n")
    (folder / "staged").write_text("1")
    first = commit(folder)
    (folder / "a.txt").write_text("other\n")
    (folder / "sub" / "b.txt").unlink()
    (folder / "ignored").write_text("")
    (folder / "new").write_text("")
    (folder / "staged").write_text("2")
    run(folder, "add", "staged")
    (folder / "link").symlink_to("/etc/passwd")
    repository = Repository.at(folder)
    edits = repository.edits(first)
    assert edits == {
        "a.txt": git.TreeEntry("100644", None), "sub/b.txt": None, "new": git.TreeEntry("100644", None),
        "staged": git.TreeEntry("100644", git.blob_id(b"2")), "link": git.TreeEntry("120000", None),
    }  # fmt: skip


def test_a_touched_file_is_no_edit(folder: Path) -> None:
    os.utime(folder / "a.txt", (1, 1))
    repository = Repository.at(folder)
    assert repository.edits(repository.commit("HEAD")) == {}


def test_a_merge_that_is_not_resolved_is_an_edit(folder: Path) -> None:
    run(folder, "checkout", "-qb", "other")
    (folder / "a.txt").write_text("theirs\n")
    commit(folder)
    run(folder, "checkout", "-q", "main")
    (folder / "a.txt").write_text("ours\n")
    commit(folder)
    subprocess.run(["git", "merge", "-q", "other"], cwd=folder, capture_output=True)
    repository = Repository.at(folder)
    assert repository.edits(repository.commit("HEAD")) == {"a.txt": git.TreeEntry("100644", None)}


def test_the_merge_base_is_where_two_branches_parted(folder: Path) -> None:
    first = run(folder, "rev-parse", "HEAD")
    run(folder, "checkout", "-qb", "other")
    theirs = commit(folder)
    run(folder, "checkout", "-q", "main")
    (folder / "a.txt").write_text("x")
    ours = commit(folder)
    repository = Repository.at(folder)
    assert repository.merge_base(ours, theirs) == first
    run(folder, "checkout", "-q", "--orphan", "root")
    with pytest.raises(RecipeError, match="no commit is known that"):
        repository.merge_base(commit(folder), ours)


def test_content_is_of_the_file_itself_and_never_behind_a_link(folder: Path) -> None:
    (folder / "link").symlink_to("/etc/passwd")
    os.mkfifo(folder / "pipe")
    repository = Repository.at(folder)
    assert repository.content("a.txt", 1) == git.Blob(2, b"a")
    assert repository.content("link", 100) == git.Blob(11, b"/etc/passwd")
    assert repository.content("pipe", 100) is None
    assert repository.content("nowhere", 100) is None


def test_nothing_that_a_repository_configures_is_run(folder: Path) -> None:
    canary = folder.parent / "ran"
    script = folder.parent / "evil"
    script.write_text(f"#!/bin/sh\ntouch {canary}\ncat\n")
    script.chmod(0o755)
    (folder / ".gitattributes").write_text("* filter=evil diff=evil\n")
    first = commit(folder)
    for name in (
        "core.fsmonitor", "core.pager", "core.sshCommand", "diff.external", "diff.evil.textconv",
        "diff.evil.command", "filter.evil.clean", "filter.evil.smudge", "filter.evil.process",
    ):  # fmt: skip
        run(folder, "config", name, str(script))
    run(folder, "config", "filter.evil.required", "true")
    run(folder, "config", "core.hooksPath", str(folder.parent))
    (folder / "a.txt").write_text("b\n")  # of the same size: git has to look
    repository = Repository.at(folder)
    files = repository.files(first)
    repository.read([e.blob for e in files.values() if e.blob], 100)
    assert repository.edits(first) == {"a.txt": git.TreeEntry("100644", None)}
    assert not canary.exists()


def test_what_the_environment_says_of_another_repository_does_not_count(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    run(other, "init", "-q")
    with monkeypatch.context() as patched:
        patched.setenv("GIT_DIR", str(other / ".git"))
        patched.setenv("GIT_EXTERNAL_DIFF", "touch ran")
        patched.setenv("GIT_INDEX_FILE", "/nowhere")
        repository = Repository.at(folder)
        assert list(repository.files(repository.commit("HEAD"))) == ["a.txt", "sub/b.txt"]


def _planted(place: Path, worktree: str) -> None:
    """A folder that is laid out as a repository, as any commit may hold one."""
    for name in ("objects", "refs"):
        (place / name).mkdir(parents=True)
    (place / "HEAD").write_text("ref: refs/heads/main\n")
    (place / "config").write_text(
        f'[core]\n\trepositoryformatversion = 0\n\tbare = false\n\tworktree = "{worktree}"\n'
    )


@pytest.mark.parametrize("worktree", ["/", "..", "../.."])
def test_a_folder_laid_out_as_a_repository_does_not_say_where_the_repository_is(
    folder: Path, worktree: str
) -> None:
    _planted(folder / "evil", worktree)
    assert Repository.at(folder / "evil").root == folder.resolve()
    assert Repository.at(folder / "evil" / "refs").root == folder.resolve()


@pytest.mark.parametrize("worktree", ["/", "../.."])
def test_a_git_folder_whose_working_tree_is_elsewhere_is_none(folder: Path, worktree: str) -> None:
    (folder / "evil").mkdir()
    _planted(folder / "evil" / ".git", worktree)
    assert Repository.at(folder / "evil").root == folder.resolve()
    alone = folder.parent / ("long" * 40) / "alone"  # however long, the end is what tells paths apart
    _planted(alone / ".git", "/")
    with pytest.raises(RecipeError, match=r"the working tree of .*alone/\.git is elsewhere"):
        Repository.at(alone)


def test_a_worktree_of_its_own_is_a_repository(folder: Path, tmp_path: Path) -> None:
    run(folder, "worktree", "add", "-q", str(tmp_path / "beside"))
    assert Repository.at(tmp_path / "beside" / "sub").root == (tmp_path / "beside").resolve()


def test_nothing_that_a_submodule_configures_runs_and_its_edits_are_seen(folder: Path) -> None:
    module = folder / "module"
    module.mkdir()
    run(module, "init", "-q", "-b", "main")
    (module / "c.txt").write_text("c\n")
    commit(module)
    commit(folder)
    repository = Repository.at(folder)
    head = repository.commit("HEAD")
    assert repository.edits(head) == {}
    for name, value in (("filter.x.clean", "touch ran; cat"), ("core.fsmonitor", "touch ran; false")):
        run(module, "config", name, value)
    (module / ".git" / "info" / "attributes").write_text("* filter=x\n")
    (module / "c.txt").write_text("d\n")
    assert repository.edits(head) == {"module": TreeEntry("160000", None)}
    assert not list(folder.rglob("ran"))
    (module / "c.txt").write_text("c\n")
    assert repository.edits(head) == {}
    (module / "new.txt").write_text("")
    assert set(repository.edits(head)) == {"module"}
