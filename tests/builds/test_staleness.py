"""Every kind of edit, and what it must rebuild: nothing missed, and nothing in vain.

One project reads in all the ways that a model can. Each edit is made, judged, and taken back; after
that everything is fresh, because what an earlier build made is still there. A build of each kind shows
that what `status` says is what runs; the others, of 4 s each, would show the same again.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnxconverter_common
import pytest
from safetensors.numpy import save_file

from tests.conftest import RECIPE, TINY, Answer, Project

NET = """\
import json
import multiprocessing
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import near
import numpy as np
import seeker
import squeak
import torch
import wobble
from parts import blocks
from safetensors.torch import load_file
from torch import nn

try:
    from parts import tuned
except ImportError:
    tuned = None

HERE = Path(__file__).parent


def first_line(name):
    return float(Path(name).read_text())


def cached():
    if not (HERE / "cached.txt").exists():
        (HERE / "cached.txt").write_text("1.0")
    return first_line(HERE / "cached.txt")


def dynamic():
    spec = spec_from_file_location("dynamic", HERE / "extra/dynamic.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.FACTOR


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        with open("config.json") as file:
            self.factor = json.load(file)["factor"] * wobble.FACTOR * dynamic()
        if (HERE / "override.json").exists():
            self.factor *= 3
        with multiprocessing.get_context("fork").Pool(1) as pool:
            self.factor *= pool.map(first_line, [HERE / "forked.txt"])[0]
        self.factor *= first_line((HERE / "current").resolve() / "factor.txt") * cached()
        self.factor *= float(dict(os.environ).get("GAIN", "1")) * near.FACTOR * squeak.FACTOR
        self.factor *= 1 + len(metadata.entry_points(group="net.hooks"))
        with ThreadPoolExecutor() as pool:
            self.factor *= 1 + sum(pool.map(os.path.exists, [HERE / "asked.txt"]))
        self.factor *= 2 if shutil.which("frobnicate") or seeker.found("seek.txt") else 1
        self.factor *= 2 if Path("~/.net").expanduser().exists() else 1
        self.factor *= os.path.getsize(HERE / "weights.bin")
        try:
            metadata.version("optional")
        except metadata.PackageNotFoundError:
            self.factor *= 2
        self.first = nn.Linear(6, int(os.environ.get("WIDTH", "8")))
        self.second = nn.LazyLinear(3)
        self.second(self.first(torch.zeros(1, 6)))
        self.register_buffer("scale", torch.from_numpy(np.load(HERE / "scale.npy")))
        self.register_buffer("shift", load_file(HERE / "shift.safetensors")["shift"])
        self.lists = sorted(os.listdir(HERE / "lists"))

    def forward(self, x):
        from parts import late

        y = self.second(torch.relu(self.first(x))) * self.scale + self.shift
        return late.act(blocks.mix(y) * self.factor) + (tuned.BIAS if tuned else 0.0)
"""

SEEKER = """\
from pathlib import Path


def found(name):
    return any((folder / name).is_file() for folder in (Path("sub"), Path(".")))
"""

YAML = RECIPE.replace('"net:Net"}', '"net:Net", files: [tables/*.txt]}') + (
    "precision: {fp32: {}, fp16: {method: convert}}\n"
)

MODEL = {"model", "export", "reference"}
EVERYTHING = MODEL | {"fp32", "fp16", "verify fp32", "verify fp16"}


def ran(answer: Answer) -> set[str]:
    """The actions that a build ran, by its progress."""
    assert answer.code == 0, answer.stdout + answer.stderr
    return set(re.findall(r"^net\.yaml: (.+) done in ", answer.stderr, re.MULTILINE))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("project"))
    project.environment["PYTHONPATH"] = str(project.folder / "site-packages")
    project.write("net.py", NET)
    project.write("net.yaml", YAML)
    project.write("parts/__init__.py", "FACTOR = 1.0\n")
    project.write("parts/blocks.py", "from parts import FACTOR\n\n\ndef mix(x):\n    return x * FACTOR\n")
    project.write("parts/late.py", "def act(x):\n    return x + 1.0\n")
    project.write("parts/tuned.py", "BIAS = 0.5\n")
    project.write("extra/dynamic.py", "FACTOR = 1.5\n")
    project.write("config.json", '{"factor": 2.0}')
    project.write("lists/a.txt", "a")
    project.write("tables/a.txt", "a")
    project.write("forked.txt", "1.5")
    project.write("v1/factor.txt", "1.0")
    project.write("v2/factor.txt", "2.0")
    (project.folder / "current").symlink_to("v1")
    project.write("site-packages/wobble.py", "FACTOR = 1.25\n")
    project.write("site-packages/wobble-1.0.dist-info/METADATA", _metadata("1.0"))
    project.write("site-packages/squeak/__init__.py", "FACTOR = 1.0\n")
    _distribution(project, "squeak-gpu", "1.6", "squeak/__init__.py")
    project.write("site-packages/seeker.py", SEEKER)
    tool = Path(onnxconverter_common.__file__).parent
    copy = shutil.ignore_patterns("__pycache__")
    shutil.copytree(tool, project.folder / "site-packages/onnxconverter_common", ignore=copy)
    _distribution(project, "onnxconverter-common-nightly", "1.6", "onnxconverter_common/__init__.py")
    project.write("weights.bin", "1")
    project.write("near-src/near.py", "FACTOR = 1.0\n")
    project.write("other-src/near.py", "FACTOR = 3.0\n")
    # What pip leaves of `pip install -e near-src`, in a folder where Python looks for such files.
    project.write("installed/near.pth", f"{project.folder}/near-src\n")
    customize = f"import site\nsite.addsitedir({str(project.folder / 'installed')!r})\n"
    project.write("site-packages/sitecustomize.py", customize)
    project.write("more-bin/frobnicate", "").chmod(0o755)
    project.environment["PATH"] = f"{project.folder / 'bin'}:{os.environ['PATH']}"
    np.save(project.folder / "scale.npy", np.full(3, 2.0, np.float32))
    save_file({"shift": np.full(3, 0.5, np.float32)}, project.folder / "shift.safetensors")
    assert ran(project.build()) == EVERYTHING
    assert ran(project.build()) == set()
    return project


def is_fresh(project: Project) -> bool:
    answer = project.run("status", "net.yaml", "--format", "json")
    return set(answer.statuses.values()) == {"fresh"}


def is_idle(project: Project) -> bool:
    """Does the short way find nothing to do?"""
    code = "import sys; from modelbuild import quick; sys.exit(quick.answer(['build', 'net.yaml']) is None)"
    command = [sys.executable, "-c", code]
    return (
        subprocess.run(command, cwd=project.folder, env=project.environ(), capture_output=True).returncode
        == 0
    )


def _metadata(version: str) -> str:
    return f"Metadata-Version: 2.1\nName: wobble\nVersion: {version}\n"


def _distribution(project: Project, name: str, version: str, file: str, points: str = "") -> None:
    info = f"site-packages/{name.replace('-', '_')}-{version}.dist-info"
    project.write(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    project.write(f"{info}/RECORD", f"{file},sha256=abc,3\n")
    project.write(f"{info}/entry_points.txt", points)


# ---- edits ----

Edit = Callable[[Project], object]


@contextmanager
def edited(project: Project, edit: Edit) -> Iterator[None]:
    """The project with an edit, and without it afterwards."""
    before, environment = _files(project), dict(project.environment)
    edit(project)
    try:
        yield
    finally:
        project.environment, project.cold = environment, False
        for path in _files(project).keys() - before.keys():
            path.unlink()
            if not any(path.parent.iterdir()):
                path.parent.rmdir()
        for path, data in before.items():
            if not path.exists() or path.read_bytes() != data:
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(data)


def _files(project: Project) -> dict[Path, bytes]:
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
    (new / "METADATA").write_text(_metadata("1.1"))


def upgrades_to_1_7(name: str, file: str) -> Edit:
    def edit(project: Project) -> None:
        shutil.rmtree(project.folder / f"site-packages/{name.replace('-', '_')}-1.6.dist-info")
        _distribution(project, name, "1.7", file)

    return edit


def installs(name: str, points: str = "") -> Edit:
    return lambda project: _distribution(project, name, "1.0", f"{name}.py", points)


def installs_plainly(project: Project) -> None:
    """An editable package that is installed as others are."""
    (project.folder / "installed/near.pth").unlink()
    project.cold = True
    project.write("site-packages/near.py", "FACTOR = 1.0\n")
    _distribution(project, "near", "2.0", "near.py")


def checks_out_elsewhere(project: Project) -> None:
    project.write("installed/near.pth", f"{project.folder}/other-src\n")
    project.cold = True  # such a file is read as Python starts


def installs_program(project: Project) -> None:
    project.write("bin/frobnicate", "").chmod(0o755)


def shadows_from_outside(project: Project) -> None:
    project.write("other/wobble.py", "FACTOR = 9.0\n")
    sets("PYTHONPATH", f"{project.folder}/other:{project.environment['PYTHONPATH']}")(project)


def touches(project: Project) -> None:
    for path in _files(project):
        os.utime(path)


def checks_out_again(project: Project) -> None:
    """As a fresh clone does: other inodes and times, the same bytes."""
    for path, data in _files(project).items():
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


@edits(
    ("model-file", replaces("net.py", "torch.relu", "torch.tanh"), EVERYTHING, "net.py:Net changed"),
    ("module-imported-inside-forward", replaces("parts/late.py", "1.0", "2.0"), EVERYTHING,
     "parts/late.py:act changed"),
    ("safetensors-weights-of-equal-size-and-time", swaps("shift.safetensors", other_shift), EVERYTHING,
     "shift.safetensors changed"),
    ("environment-variable", sets("WIDTH", "9"), EVERYTHING, "environment variable WIDTH unset -> 9"),
    ("module-that-shadows-a-library", writes("wobble.py", "FACTOR = 7.0\n"), EVERYTHING,
     "new file shadows the module `wobble`: wobble.py"),
    ("deleted-module", deletes("parts/tuned.py"), EVERYTHING, "parts/tuned.py is gone"),
)  # fmt: skip
def test_an_edit_that_changes_the_model_rebuilds_everything_and_says_why(
    built: Project, edit: Edit, runs: set[str], why: str
) -> None:
    with edited(built, edit):
        answer = built.build()
        assert ran(answer) == runs
        assert why in answer.artifacts["net.fp32.onnx"]["reason"]
        assert ran(built.build()) == set()
    assert ran(built.build()) == set()


@judged(
    ("imported-module", replaces("parts/blocks.py", "x * FACTOR", "x * FACTOR * 2"),
     "parts/blocks.py:mix changed"),
    ("package-init", writes("parts/__init__.py", "FACTOR = 3.0\n"), "parts/__init__.py:FACTOR changed"),
    ("dynamic-import", writes("extra/dynamic.py", "FACTOR = 2.5\n"), "extra/dynamic.py:FACTOR changed"),
    ("json-config", writes("config.json", '{"factor": 4.0}'), "config.json changed"),
    ("numpy-weights-of-equal-size-and-time", swaps("scale.npy", other_scale), "scale.npy changed"),
    ("source-of-equal-size-and-time", swaps("parts/tuned.py", lambda p: p.write_text("BIAS = 0.7\n")),
     "parts/tuned.py:BIAS changed"),
    ("package-that-shadows-a-module", writes("parts/blocks/__init__.py", "def mix(x):\n    return -x\n"),
     "new file shadows parts/blocks.py: parts/blocks/__init__.py"),
    ("file-that-was-looked-for", writes("override.json", ""), "new file override.json"),
    ("file-that-a-fork-reads", writes("forked.txt", "2.5"), "forked.txt changed"),
    ("file-that-the-model-has-made", writes("cached.txt", "2.0"), "cached.txt changed"),
    ("variable-in-a-copy-of-all", sets("GAIN", "2"), "environment variable GAIN unset -> 2"),
    ("module-on-another-search-path", shadows_from_outside, "the module `wobble` installed -> "),
    ("new-file-in-a-listed-folder", writes("lists/b.txt", "b"), "the files in lists changed"),
    ("deleted-file-in-a-listed-folder", deletes("lists/a.txt"), "the files in lists changed"),
    ("new-file-that-a-pattern-matches", writes("tables/b.txt", "b"), "declared files changed"),
    ("declared-file", writes("tables/a.txt", "other"), "tables/a.txt changed"),
    ("package-of-another-name", upgrades_to_1_7("squeak-gpu", "squeak/__init__.py"), "squeak-gpu 1.6 -> 1.7"),
    ("distribution-that-was-asked-for", installs("optional"), "optional not installed -> 1.0"),
    ("plug-in", installs("hooks", "[net.hooks]\na = hooks:run\n"), "the entry points of net.hooks changed"),
    ("another-checkout-of-an-editable-package", checks_out_elsewhere,
     "near from near-src -> from other-src"),
    ("editable-package-installed-plainly", installs_plainly, "near from near-src -> 2.0"),
    ("file-that-a-thread-asked-for", writes("asked.txt", ""), "new file asked.txt"),
    ("file-that-a-library-looks-for", writes("seek.txt", ""), "new file seek.txt"),
    ("another-home", sets("HOME", "/nowhere"), "environment variable HOME "),
    ("program-on-another-path", sets("PATH", f"more-bin:{os.environ['PATH']}"),
     "the program frobnicate not found -> more-bin/frobnicate"),
    ("program", installs_program, "the program frobnicate not found -> "),
    ("size-of-a-file", writes("weights.bin", "22"), "weights.bin changed"),
)  # fmt: skip
def test_an_edit_of_what_the_model_reads_is_noticed_both_ways_and_told(
    built: Project, edit: Edit, why: str
) -> None:
    with edited(built, edit):
        assert not is_idle(built)
        answer = built.run("status", "net.yaml", "--format", "json")
        assert set(answer.statuses.values()) == {"stale"}
        assert why in answer.artifacts["net.fp32.onnx"]["reason"]
    assert is_fresh(built)


def test_a_tool_that_has_another_distributions_name_is_known_by_it(built: Project) -> None:
    """As onnxruntime-gpu and tensorrt-cu13 are: who has installed the module's files is asked."""
    edit = upgrades_to_1_7("onnxconverter-common-nightly", "onnxconverter_common/__init__.py")
    with edited(built, edit):
        assert not is_idle(built)
        answer = built.run("status", "net.yaml", "--format", "json")
        assert answer.statuses == {"net.fp32.onnx": "fresh", "net.fp16.onnx": "stale"}
        assert answer.artifacts["net.fp16.onnx"]["reason"] == "onnxconverter-common-nightly 1.6 -> 1.7"
        said = built.run("why", "net.fp16.onnx", "net.yaml")
        assert "onnxconverter-common-nightly 1.6 -> 1.7" in said.stdout
        assert "never built" not in said.stdout
    assert is_fresh(built)


def test_a_link_that_leads_elsewhere_is_noticed(built: Project) -> None:
    turns("current", "v2")(built)
    try:
        assert not is_idle(built)
        answer = built.run("status", "net.yaml", "--format", "json")
        assert answer.artifacts["net.fp32.onnx"]["reason"] == "link current v1 -> v2"
    finally:
        turns("current", "v1")(built)
    assert is_fresh(built)


@edits(
    ("comment-in-the-model", replaces("net.py", "class Net", "# A comment.\nclass Net"), MODEL, None),
    ("upgraded-distribution", upgrades, MODEL, None),
)
def test_an_edit_that_may_change_the_model_exports_again_and_stops_at_the_same_bytes(
    built: Project, edit: Edit, runs: set[str], why: None
) -> None:
    with edited(built, edit):
        answer = built.build()
        assert ran(answer) == runs
        assert set(answer.statuses.values()) == {"cached"}
        assert ran(built.build()) == set()
    assert ran(built.build()) == set()


LIBRARY = """\
import os
from importlib import metadata

{tiny}

def make():
    try:
        metadata.version("optional")
    except metadata.PackageNotFoundError:
        pass
    os.path.exists("tuned.txt")
    return Net(int(os.environ.get("WIDTH", "8")))
"""


def test_what_a_library_asks_while_the_recipe_calls_it_is_noticed(project: Project) -> None:
    """No code of the user's stands between: ``import`` names the library's own function."""
    project.environment["PYTHONPATH"] = str(project.folder / "site-packages")
    project.write("site-packages/zoo.py", LIBRARY.format(tiny=TINY))
    _distribution(project, "zoo", "1.0", "zoo.py")
    project.recipe(base=RECIPE.replace("net:Net", "zoo:make"))
    assert project.build().code == 0
    assert is_fresh(project)
    rows = [
        (sets("WIDTH", "9"), "environment variable WIDTH unset -> 9"),
        (writes("tuned.txt", ""), "new file tuned.txt"),
        (installs("optional"), "optional not installed -> 1.0"),
    ]
    for edit, why in rows:
        with edited(project, edit):
            assert not is_idle(project)
            answer = project.run("status", "net.yaml", "--format", "json")
            assert why in answer.artifacts["net.fp32.onnx"]["reason"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two folders to run commands in, with a package and a file of the same names and other content."""
    made = []
    for name, factor in (("one", "1.0"), ("two", "2.0")):
        project = Project(tmp_path_factory.mktemp(name))
        project.write("parts/__init__.py", TINY)
        project.write("factor.txt", factor)
        made.append(project.folder)
    return made[0], made[1]


@pytest.mark.parametrize(
    ("source", "why"),
    [
        pytest.param("from parts import Net", "the module `parts` ", id="module"),
        pytest.param(
            TINY.replace("super()", "open('factor.txt').close(); super()"), "the command's folder", id="file"
        ),
    ],
)
def test_what_is_found_through_the_commands_folder_is_not_taken_for_that_of_another(
    project: Project, folders: tuple[Path, Path], source: str, why: str
) -> None:
    project.write("net.py", source)
    recipe = str(project.folder / "net.yaml")
    assert project.run("build", recipe, "--out", "out", cwd=folders[0]).code == 0
    shutil.copytree(folders[0] / "out", folders[1] / "out", dirs_exist_ok=True)
    for folder, status in ((folders[0], "fresh"), (folders[1], "stale")):
        answer = project.run("status", recipe, "--out", "out", "--format", "json", cwd=folder)
        assert answer.statuses == {"net.fp32.onnx": status}
    assert why in answer.artifacts["net.fp32.onnx"]["reason"]


@edits(
    ("touched-only", touches, set(), None),
    ("checked-out-again", checks_out_again, set(), None),
    ("comment-in-the-recipe", writes("net.yaml", "# A comment.\n" + YAML), set(), None),
    ("reformatted-recipe",
     writes("net.yaml", YAML.replace("outputs: [y]", "outputs:\n  - y").replace("{x:", "{ x :")),
     set(), None),
    ("order-of-the-recipe", writes("net.yaml", "".join(sorted(YAML.splitlines(keepends=True)))), set(), None),
    ("default-written-out", writes("net.yaml", YAML + "opset: 18\n"), set(), None),
    ("unrelated-file", writes("notes.txt", "x"), set(), None),
    ("unrelated-module", writes("other.py", "x = 1\n"), set(), None),
    ("unrelated-module-in-a-package", writes("parts/other.py", "x = 1\n"), set(), None),
    ("unrelated-variable", sets("UNRELATED", "1"), set(), None),
    ("file-beside-those-of-a-pattern", writes("tables/b.csv", "b"), set(), None),
    ("tolerance-changed",
     writes("net.yaml", YAML.replace("fp32: {}", "fp32: {tolerance: {relative_l2: 1.0e-5}}")),
     {"verify fp32"}, None),
    ("knob-turned", writes("net.yaml", YAML.replace("convert}", "convert, keep_io_types: false}")),
     {"fp16", "verify fp16"}, None),
)  # fmt: skip
def test_an_edit_beside_the_model_runs_what_it_concerns_and_no_more(
    built: Project, edit: Edit, runs: set[str], why: None
) -> None:
    with edited(built, edit):
        answer = built.build()
        assert ran(answer) == runs
        built_again = {name for name, status in answer.statuses.items() if status == "built"}
        assert built_again == {f"net.{action}.onnx" for action in runs if not action.startswith("verify")}
    assert ran(built.build()) == set()


def test_a_file_that_changes_while_the_model_reads_it_is_said_and_not_remembered(project: Project) -> None:
    project.write("net.py", "\n".join([
        "import torch",
        "from pathlib import Path",
        "count = int(Path('count.txt').read_text())",
        "class Net(torch.nn.Module):",
        "    def forward(self, x):",
        "        return torch.tanh(x) * 2",
        "Path('count.txt').write_text(f'{count + 1:08}')",
    ]))  # fmt: skip
    project.write("count.txt", "00000000")
    first = project.build()
    assert EVERYTHING & ran(first) >= MODEL
    assert any("count.txt" in d["message"] for d in first.diagnostics)
    again = project.build()
    assert ran(again) == MODEL
    assert again.statuses == {"net.fp32.onnx": "cached"}
