"""What a fact is now, and the rows that prove that it did not move."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from modelbuild.trace import distributions
from modelbuild.trace.facts import file_digest
from modelbuild.trace.kinds import current, guards, variables


def _files(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def _rows(paths: list[str]) -> list[object]:
    """As the quick way takes them: what os.stat says, None where nothing is."""
    rows: list[object] = []
    for path in paths:
        try:
            s = os.stat(path)
            rows.append(
                (path, 0 if os.path.isdir(path) else s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino)
            )
        except OSError:
            rows.append((path, None))
    return rows


def _turns_into_a_folder(folder: Path) -> None:
    (folder / "data/one.npz").unlink()
    (folder / "data/one.npz").mkdir()


def _turns_link(folder: Path) -> None:
    """To the same folder by another name: what it leads to has the same row."""
    (folder / "current").unlink()
    (folder / "current").symlink_to("./data")


MODULES = "blocks:blocks.py late torch"


@pytest.mark.parametrize(
    ("name", "was", "edit"),
    [
        pytest.param("file a.py", None, lambda f: (f / "a.py").write_text("x"), id="file-edited"),
        pytest.param("file a.py", None, lambda f: (f / "a.py").unlink(), id="file-deleted"),
        pytest.param("absent b.py", None, lambda f: _files(f, "b.py"), id="absent-came"),
        pytest.param("present data", None, lambda f: (f / "data").rename(f / "d"), id="present-gone"),
        pytest.param("listing data", None, lambda f: _files(f, "data/new.npz"), id="listing-grew"),
        pytest.param("listing data", None, _turns_into_a_folder, id="listed-file-becomes-a-folder"),
        pytest.param("made a.py", "sha256:1", lambda f: (f / "a.py").write_text("x"), id="made-edited"),
        pytest.param("link current", "data", _turns_link, id="link-turned"),
        pytest.param("modules .", MODULES, lambda f: _files(f, "torch.py"), id="shadows-a-library"),
        pytest.param("modules .", MODULES, lambda f: _files(f, "late/x.py"), id="namespace-came"),
        pytest.param("modules .", MODULES, lambda f: _files(f, "blocks/__init__.py"), id="shadows-a-module"),
        pytest.param("modules .", MODULES, lambda f: (f / "blocks.py").unlink(), id="module-deleted"),
        pytest.param("modules nowhere", MODULES, lambda f: _files(f, "nowhere/late.py"), id="folder-came"),
        pytest.param("glob data/*.npz", None, lambda f: _files(f, "data/new.npz"), id="match-came"),
        pytest.param(
            "glob data/**/*.npz", None, lambda f: _files(f, "data/deep/c.npz"), id="deep-match-came"
        ),
        pytest.param("glob d*/one.npz", None, lambda f: _files(f, "deep/one.npz"), id="folder-matches"),
        pytest.param("glob later/*.npz", None, lambda f: _files(f, "later/one.npz"), id="glob-folder-came"),
        pytest.param("glob {base}/data/*.npz", None, lambda f: _files(f, "data/b.npz"), id="absolute-glob"),
    ],
)
def test_a_fact_moves_with_an_edit_and_a_row_of_its_guards_with_it(
    tmp_path: Path, name: str, was: str | None, edit: Callable[[Path], object]
) -> None:
    _files(tmp_path, "a.py", "blocks.py", "blocks/notes.txt", "data/one.npz", "data/deep/two.txt")
    (tmp_path / "current").symlink_to("data")
    for path in (tmp_path, *tmp_path.rglob("*")):
        os.utime(path, (1e9, 1e9))  # or an edit within one tick of the clock would have the same time
    name = name.format(base=tmp_path)
    before = current(name, was, tmp_path)
    paths = guards(name, before, tmp_path) or []
    rows = _rows(paths)
    assert current(name, before, tmp_path) == before
    assert _rows(paths) == rows
    edit(tmp_path)
    assert current(name, before, tmp_path) != before
    assert _rows(paths) != rows


def test_a_file_that_the_run_made_may_be_gone_and_may_not_be_another(tmp_path: Path) -> None:
    assert current("made cache.bin", "sha256:1", tmp_path) == "sha256:1"
    _files(tmp_path, "cache.bin")
    assert current("made cache.bin", "sha256:1", tmp_path) == file_digest(tmp_path / "cache.bin")


@pytest.mark.parametrize("name", ["listing data", "modules .", "glob data/*.npz", "absent b.py"])
def test_an_unrelated_new_file_moves_nothing(tmp_path: Path, name: str) -> None:
    _files(tmp_path, "blocks.py", "data/one.npz")
    before = current(name, MODULES, tmp_path)
    _files(tmp_path, "notes.py", "data/__pycache__/x.pyc", "other/one.npz")
    assert current(name, before, tmp_path) == before


def test_a_listing_leaves_out_what_the_build_writes_there(tmp_path: Path) -> None:
    _files(tmp_path, "a.py")
    before = current("listing .", "sha256:…/build/cache", tmp_path)
    assert before is not None
    assert before.endswith("/build/cache")
    _files(tmp_path, "build/net.onnx")
    assert current("listing .", before, tmp_path) == before
    _files(tmp_path, "b.py")
    assert current("listing .", before, tmp_path) != before


def test_a_glob_without_matches_is_a_value_and_no_error(tmp_path: Path) -> None:
    nothing = current("glob nowhere/*.npz", None, tmp_path)
    assert nothing == current("glob other/**/*.txt", None, tmp_path)
    assert nothing is not None


def test_what_is_no_file_has_no_digest_and_nobody_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert current("file pipe", None, tmp_path) is None
    assert current("file .", None, tmp_path) is None
    assert current("file nothing", None, tmp_path) is None


@pytest.mark.parametrize(
    ("name", "value", "stored"),
    [
        ("WIDTH", "8", "8"),
        ("WIDTH", None, None),
        ("HF_TOKEN", "hf_1234", "sha256:"),
        ("SERVICE_PASSWORD", "x", "sha256:"),
        ("CONFIG", "x" * 61, "sha256:"),
    ],
)
def test_a_variable_is_stored_as_it_is_unless_secret_or_long(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str | None, stored: str | None
) -> None:
    monkeypatch.delenv(name, raising=False)
    if value is not None:
        monkeypatch.setenv(name, value)
    now = current(f"env {name}", None, Path())
    if stored == "sha256:":
        assert str(now).startswith(stored)
        assert str(value) not in str(now)[len(stored) :]
    else:
        assert now == stored
    assert guards(f"env {name}", now, Path()) == []
    assert variables(f"env {name}", now) == {name: now}


# ---- packages ----

Site = tuple[str, str, list[str]]  # a distribution, its version, and the files that it has installed


def _installed(folder: Path, *sites: Site, **more: str) -> Path:
    """A folder as pip leaves it."""
    for name, version, files in sites:
        info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "RECORD").write_text("".join(f"{file},sha256=abc,3\n" for file in files))
        for file, text in more.items():
            (info / file.replace("_json", ".json")).write_text(text)
        _files(folder, *files)
    return folder


@pytest.mark.parametrize(
    ("sites", "value"),
    [
        pytest.param([("wobble", "1.2", ["wobble.py"])], "1.2", id="of-its-name"),
        pytest.param([("Wobble_GPU", "1.2", ["wobble/__init__.py"])], "wobble-gpu 1.2", id="of-another-name"),
        pytest.param(
            [("wobble", "1.2", []), ("wobble-cu13", "1.3", ["wobble/__init__.py"])], "wobble-cu13 1.3",
            id="an-empty-one-of-its-name",
        ),
        pytest.param(
            [("wobble", "1.2", ["wobble/__init__.py"]), ("wobble-gpu", "1.3", ["wobble/__init__.py"])],
            "1.2, wobble-gpu 1.3", id="of-two-over-each-other",
        ),
        pytest.param(
            [("wobble-a", "1", ["wobble/a.py"]), ("wobble-b", "2", ["wobble/b.py"]), ("x", "3", ["x.py"])],
            "wobble-a 1, wobble-b 2", id="a-package-of-parts",
        ),
        pytest.param([("other", "3", ["wobbles.py", "x/wobble.py"])], None, id="not-there"),
    ],
)  # fmt: skip
def test_a_package_is_known_by_the_distributions_that_installed_it_whatever_they_are_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sites: list[Site], value: str | None
) -> None:
    monkeypatch.syspath_prepend(str(_installed(tmp_path / "site-packages", *sites)))
    monkeypatch.syspath_prepend(str(tmp_path))  # where the script is
    assert current("package wobble", None, tmp_path) == value


def test_an_upgrade_in_place_is_another_value_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = _installed(tmp_path / "site-packages", ("wobble-gpu", "1.6", ["wobble.py"]))
    monkeypatch.setattr(sys, "path", [str(tmp_path), str(site), *sys.path])
    assert current("package wobble", None, tmp_path) == "wobble-gpu 1.6"
    for path in site.glob("wobble_gpu*/*"):
        path.unlink()
    (site / "wobble_gpu-1.6.dist-info").rmdir()
    _installed(site, ("wobble-gpu", "1.7", ["wobble.py"]))
    assert current("package wobble", None, tmp_path) == "wobble-gpu 1.7"


def test_a_tool_in_a_folder_of_pythonpath_is_known_by_who_installed_it_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ``pip install --target`` leaves it. For the recipe's own code such a folder's files are facts."""
    _installed(tmp_path / "opt/python", ("wobble-cu13", "1.6", ["wobble/__init__.py"]))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "opt/python"))
    monkeypatch.setattr(sys, "path", [str(tmp_path), str(tmp_path / "opt/python"), *sys.path])
    assert distributions.standing("wobble") == "wobble-cu13 1.6"
    assert current("package wobble", None, tmp_path) is None


def test_an_egg_of_old_tells_whose_files_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site-packages"
    _files(site, "wobble/__init__.py", "Wobble_GPU-1.2.egg-info/PKG-INFO")
    info = site / "Wobble_GPU-1.2.egg-info"
    (info / "PKG-INFO").write_text("Metadata-Version: 1.0\nName: Wobble-GPU\nVersion: 1.2\n")
    (info / "installed-files.txt").write_text("../wobble/__init__.py\nPKG-INFO\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), str(site), *sys.path])
    assert current("package wobble", None, tmp_path) == "wobble-gpu 1.2"


def test_what_was_left_half_installed_is_no_reason_to_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = _installed(tmp_path / "site-packages", ("wobble", "1.6", ["wobble.py"]))
    monkeypatch.setattr(sys, "path", [str(tmp_path), str(site), *sys.path])
    (site / "wobble-1.6.dist-info/METADATA").unlink()
    assert current("package wobble", None, tmp_path) is not None
    for name in ("distribution wobble", "entry-points *", "installed distributions"):
        current(name, None, tmp_path)


def test_what_nobody_has_installed_is_present(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _files(tmp_path, "site-packages/wobble.py")
    monkeypatch.setattr(sys, "path", [str(tmp_path), str(tmp_path / "site-packages"), *sys.path])
    assert current("package wobble", None, tmp_path) == "present"


@pytest.mark.parametrize("layout", ["wobble.py", "wobble/__init__.py", "wobble/part.py"])
def test_a_checkout_that_is_installed_in_place_is_known_by_where_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    """As a ``.pth`` file puts it on the search path; from the recipe's folder, so that a clone agrees."""
    values = []
    for clone in ("one", "two"):
        _files(tmp_path, f"{clone}/src/{layout}", f"{clone}/configs/net.yaml")
        monkeypatch.setattr(sys, "path", [str(tmp_path), str(tmp_path / clone / "src"), *sys.path])
        values.append(current("package wobble", None, tmp_path / clone / "configs"))
    assert values == ["from ../src", "from ../src"]
    assert current("package wobble", None, tmp_path / "one/configs") == "from ../../two/src"


def test_a_checkout_that_only_an_import_hook_finds_is_known_by_where_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As setuptools installs in place what does not lie in the folder that its package is named after."""
    _files(tmp_path, "lib/code/__init__.py")
    finder = type("Finder", (), {"__module__": "__editable___wobble_0_1_finder"})()
    where = importlib.util.spec_from_file_location("wobble", tmp_path / "lib/code/__init__.py")
    finder.find_spec = lambda name, path=None, target=None: where if name == "wobble" else None
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, finder])
    assert current("package wobble", None, tmp_path) == "from lib"


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        pytest.param(None, True, id="index"),
        pytest.param('{"url": "file:///src", "dir_info": {}}', False, id="folder"),
        pytest.param('{"url": "https://x/y", "vcs_info": {"vcs": "git", "commit_id": "1"}}', False, id="vcs"),
        pytest.param('{"url": "file:///src", "dir_info": {"editable": true}}', True, id="editable"),
        pytest.param("{broken", True, id="broken"),
    ],
)
def test_a_package_from_a_folder_or_a_repository_is_known_by_its_files_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str | None, plain: bool
) -> None:
    more = {"direct_url_json": url} if url else {}
    found = []
    for folder, extra in (("one", []), ("two", ["more.py"])):
        site = tmp_path / folder / "site-packages"
        _installed(site, ("wobble", "1.2", ["wobble.py", *extra]), **more)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "path", [str(tmp_path), str(site), *sys.path])
            found.append(str(current("package wobble", None, tmp_path)))
    assert all(f.startswith("1.2") for f in found)
    assert (found[0] == found[1] == "1.2") is plain
