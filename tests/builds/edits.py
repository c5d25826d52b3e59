"""What can happen to what a model reads: each edit is a function of a project."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.builds.reading import distribution, metadata_of
from tests.conftest import Project

# ---- edits ----

Edit = Callable[[Project], object]


@contextmanager
def edited(project: Project, edit: Edit) -> Iterator[None]:
    """The project with an edit, and without it afterwards."""
    before, environment = files_of(project), dict(project.environment)
    edit(project)
    try:
        yield
    finally:
        project.environment, project.cold = environment, False
        for path in files_of(project).keys() - before.keys():
            path.unlink()
            if not any(path.parent.iterdir()):
                path.parent.rmdir()
        for path, data in before.items():
            if not path.exists() or path.read_bytes() != data:
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(data)


def files_of(project: Project) -> dict[Path, bytes]:
    home = project.folder
    ours = (p for p in home.rglob("*") if p.relative_to(home).parts[0] not in ("cache", "build"))
    return {p: p.read_bytes() for p in ours if p.is_file()}


def writes(name: str, text: str) -> Edit:
    """A file with this text, new or in place of another."""
    return lambda project: project.write(name, text)


def replaces(name: str, old: str, new: str) -> Edit:
    def edit(project: Project) -> None:
        text = (project.folder / name).read_text()
        assert old in text
        project.write(name, text.replace(old, new))

    return edit


def deletes(name: str) -> Edit:
    return lambda project: (project.folder / name).unlink()


def swaps(name: str, make: Callable[[Path], object]) -> Edit:
    """Other content of the same size, with the old time put back."""

    def edit(project: Project) -> None:
        path = project.folder / name
        before, data = path.stat(), path.read_bytes()
        make(path)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        after = path.stat()
        assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
        assert path.read_bytes() != data

    return edit


def sets(name: str, value: str) -> Edit:
    def edit(project: Project) -> None:
        project.environment[name] = value

    return edit


def upgrades(project: Project) -> None:
    old, new = (project.folder / f"site-packages/wobble-{v}.dist-info" for v in ("1.0", "1.1"))
    old.rename(new)
    (new / "METADATA").write_text(metadata_of("1.1"))


def upgrades_to_1_7(name: str, file: str) -> Edit:
    def edit(project: Project) -> None:
        shutil.rmtree(project.folder / f"site-packages/{name.replace('-', '_')}-1.6.dist-info")
        distribution(project, name, "1.7", file)

    return edit


def installs(name: str, points: str = "") -> Edit:
    return lambda project: distribution(project, name, "1.0", f"{name}.py", points)


def installs_plainly(project: Project) -> None:
    """An editable package that is installed as others are."""
    (project.folder / "installed/near.pth").unlink()
    project.cold = True
    project.write("site-packages/near.py", "FACTOR = 1.0\n")
    distribution(project, "near", "2.0", "near.py")


def checks_out_elsewhere(project: Project) -> None:
    project.write("installed/near.pth", f"{project.folder}/other-src\n")
    project.cold = True  # such a file is read as Python starts


def installs_program(project: Project) -> None:
    project.write("bin/frobnicate", "").chmod(0o755)


def shadows_from_outside(project: Project) -> None:
    project.write("other/wobble.py", "FACTOR = 9.0\n")
    sets("PYTHONPATH", f"{project.folder}/other:{project.environment['PYTHONPATH']}")(project)


def touches(project: Project) -> None:
    for path in files_of(project):
        os.utime(path)


def checks_out_again(project: Project) -> None:
    """As a fresh clone does: other inodes and times, the same bytes."""
    for path, data in files_of(project).items():
        copy = path.with_name(path.name + "~")
        copy.write_bytes(data)
        copy.replace(path)


def other_scale(path: Path) -> None:
    np.save(path, np.full(3, 3.0, np.float32))


def other_shift(path: Path) -> None:
    save_file({"shift": np.full(3, 0.25, np.float32)}, path)


def edits(*rows: tuple[str, Edit, set[str], str | None]) -> pytest.MarkDecorator:
    cases = [pytest.param(edit, runs, why, id=name) for name, edit, runs, why in rows]
    return pytest.mark.parametrize(("edit", "runs", "why"), cases)


def judged(*rows: tuple[str, Edit, str]) -> pytest.MarkDecorator:
    cases = [pytest.param(edit, why, id=name) for name, edit, why in rows]
    return pytest.mark.parametrize(("edit", "why"), cases)


def turns(name: str, target: str) -> Edit:
    """Has a symbolic link lead elsewhere."""

    def edit(project: Project) -> None:
        (project.folder / f"{name}~").symlink_to(target)
        (project.folder / f"{name}~").replace(project.folder / name)

    return edit
