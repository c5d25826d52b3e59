"""How names of modules resolve, and which packages are behind them."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

import pytest

from modelbuild.trace.kinds import current
from tests.trace.running import names, needs, of_kind, run, write

# ---- modules and packages ----


def test_how_names_resolve_is_a_fact_of_each_folder_on_the_way(tmp_path: Path) -> None:
    base, cwd, site = tmp_path / "base", tmp_path / "cwd", tmp_path / "site-packages"
    write(cwd, "blocks/__init__.py")
    write(cwd, "blocks/deep.py")
    write(cwd, "space/part.py")
    write(site, "library.py", "import inner")
    write(site, "inner.py")
    code = """\
    import blocks.deep, space.part, library, numpy, importlib
    try:
        import not_there
    except ImportError:
        pass
    """
    found = run(base, code, cwd=cwd, path=(site,))
    assert of_kind(found, "modules") == {
        "modules .": "blocks importlib inner library main:main.py not_there numpy space",
        "modules ../cwd": "blocks:blocks/__init__.py importlib inner library not_there numpy space:space/",
        "modules ../cwd/blocks": "deep:deep.py",
        "modules ../cwd/space": "part:part.py",
    }
    for name, value in of_kind(found, "modules").items():
        assert current(name, value, base) == value


def test_the_distributions_behind_the_imports_are_facts(tmp_path: Path) -> None:
    base, site = tmp_path / "base", tmp_path / "site-packages"
    for name, module in (("Py-Wobble", "wobble"), ("inner", "inner"), ("unused", "unused")):
        info = site / f"{name.replace('-', '_')}-1.0.dist-info"
        write(info, "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        write(info, "RECORD", f"{module}.py,sha256=abc,3\n")
    write(site, "wobble.py", "import inner, safetensors")
    write(site, "inner.py", "import torch")
    write(site, "unused.py")
    code = "import wobble, json\ntry: import wibble\nexcept ImportError: pass\n"
    found = run(base, code + "def late():\n    import unused, numpy\n", path=(site,))
    versions = of_kind(found, "package")
    assert set(versions) == {
        f"package {n}" for n in ("inner", "numpy", "safetensors", "torch", "wibble", "wobble")
    }
    assert versions["package wobble"] == "py-wobble 1.0"
    assert versions["package wibble"] is None


def test_a_module_in_the_commands_folder_or_on_pythonpath_counts_if_it_is_found_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, cwd, more = tmp_path / "base", tmp_path / "cwd", tmp_path / "more"
    write(cwd, "blocks.py")
    write(base, "near.py")
    more.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(more))
    found = run(base, "import near, blocks, json, numpy", cwd=cwd, path=(more,))
    value = found.facts["search"]
    assert value == "blocks:../cwd/blocks.py json numpy sitecustomize usercustomize"
    monkeypatch.chdir(cwd)
    assert current("search", value, base) == value
    write(more, "numpy/__init__.py")
    assert current("search", value, base) == value.replace("numpy", "numpy:../more/numpy/__init__.py")
    monkeypatch.chdir(base)
    assert current("search", value, base) != value


def test_an_early_import_from_a_checkout_is_known_by_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library that the server has imported before anybody watched."""
    write(tmp_path, "lib/early/__init__.py")
    write(tmp_path, "lib/early/inner.py")
    write(tmp_path, "lib/other.py")
    write(tmp_path, "lib/sitecustomize.py")
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    for name in ("early", "early.inner", "other", "sitecustomize"):
        monkeypatch.setitem(sys.modules, name, sys)  # so that it is taken out again
        del sys.modules[name]
        importlib.import_module(name)
    found = run(tmp_path, "import early")
    assert names(found, "file") == {"lib/early/__init__.py", "lib/early/inner.py", "lib/sitecustomize.py"}


def test_the_version_of_a_checkout_is_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An egg-info folder beside the recipe: only the workers have that folder on their search path."""
    write(tmp_path, "foo/__init__.py")
    write(tmp_path, "foo.egg-info/PKG-INFO", "Metadata-Version: 2.1\nName: foo\nVersion: 0.3\n")
    found = run(tmp_path, "import foo, importlib.metadata; importlib.metadata.version('foo')")
    assert names(found, "package") == set()  # its files are facts
    value = found.facts["distribution foo"]
    assert value == "0.3"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert current("distribution foo", value, tmp_path) == value


def _distribution(site: Path, name: str, version: str, module: str, points: str = "") -> None:
    info = site / f"{name}-{version}.dist-info"
    write(info, "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    write(info, "RECORD", f"{module}.py,sha256=abc,3\n")
    write(info, "entry_points.txt", points)
    write(site, f"{module}.py", "def hook():\n    return 1\n")


CATALOGUE = """
    import importlib.metadata as metadata
    {}
"""


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("metadata.version('wobble')", {"distribution wobble": "1.0"}),
        ("metadata.requires('wobble'); metadata.metadata('wobble')", {"distribution wobble": "1.0"}),
        ("try: metadata.version('wibble')\n    except metadata.PackageNotFoundError: pass",
         {"distribution wibble": None}),
        ("[p.load() for p in metadata.entry_points(group='my.hooks')]",
         {"entry-points my.hooks": "sha256:", "package plugin": "plug-in 2.0"}),
        ("metadata.packages_distributions()", {"installed distributions": "sha256:"}),
        ("import asks", {}),  # what a library asks while it is imported, it asks for itself
        ("import asks; asks.later()", {"distribution wobble": "1.0"}),
        *(
            pytest.param(f"import pkg_resources as p; {code}", read, marks=needs("pkg_resources"))
            for code, read in (
                ("p.get_distribution('wobble').version", {"distribution wobble": "1.0"}),
                ("p.require('wobble >= 1')", {"distribution wobble": "1.0"}),
                ("p.working_set.find(p.Requirement('wobble'))", {"distribution wobble": "1.0"}),
                ("\n    try: p.require('wibble')\n    except p.DistributionNotFound: pass",
                 {"distribution wibble": None}),
                ("[e.load() for e in p.iter_entry_points('my.hooks')]",
                 {"entry-points my.hooks": "sha256:", "package plugin": "plug-in 2.0"}),
                ("{d.key for d in p.working_set}", {"installed distributions": "sha256:"}),
                ("p.parse_version('1.0')", {}),
            )
        ),
    ],
    ids=["version", "requires", "missing", "plug-ins", "all", "library-on-import", "library-for-the-user",
         "old-version", "old-requires", "old-find", "old-missing", "old-plug-ins", "old-all", "old-nothing"],
)  # fmt: skip
def test_what_the_model_asks_of_what_is_installed_is_a_fact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, found: dict[str, str | None]
) -> None:
    base, site = tmp_path / "base", tmp_path / "site-packages"
    _distribution(site, "wobble", "1.0", "wobble")
    _distribution(site, "plug_in", "2.0", "plugin", "[my.hooks]\na = plugin:hook\n")
    _distribution(site, "asks", "1.0", "asks")
    asking = "import importlib.metadata as m\nm.version('wobble')\ndef later():\n    m.version('wobble')\n"
    write(site, "asks.py", asking)
    kinds = ("distribution", "entry-points", "installed", "package plugin")
    read = run(base, CATALOGUE.format(code), path=(site,)).facts
    mine = {n: v for n, v in read.items() if n.startswith(kinds)}
    assert {n: v[:7] if v and v.startswith("sha256:") else v for n, v in mine.items()} == found
    monkeypatch.setattr(sys, "path", ["", str(site), *sys.path])
    monkeypatch.chdir(base)
    for name, value in mine.items():
        assert current(name, value, base) == value
    _distribution(site, "third", "3.0", "third", "[my.hooks]\nb = third:hook\n")
    moved = {n for n, v in mine.items() if current(n, v, base) != v}
    assert moved == {n for n in found if n.startswith(("entry-points", "installed"))}
