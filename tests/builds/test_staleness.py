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
from pathlib import Path

import numpy as np
import onnxconverter_common
import pytest
from safetensors.numpy import save_file

from tests.builds.edits import (
    Edit,
    checks_out_again,
    checks_out_elsewhere,
    deletes,
    edited,
    edits,
    installs,
    installs_plainly,
    installs_program,
    judged,
    other_scale,
    other_shift,
    replaces,
    sets,
    shadows_from_outside,
    swaps,
    touches,
    turns,
    upgrades,
    upgrades_to_1_7,
    writes,
)
from tests.builds.reading import NET, SEEKER, YAML, distribution, metadata_of
from tests.conftest import RECIPE, TINY, Answer, Project

MODEL = {"model", "export", "reference"}
EVERYTHING = MODEL | {"fp32", "fp16", "verify fp32", "verify fp16"}


def ran(answer: Answer) -> set[str]:
    """The actions that a build ran, by its progress."""
    assert answer.code == 0, answer.stdout + answer.stderr
    return set(re.findall(r"^\[\d+/\d+\] net\.yaml: (.+) done in ", answer.stderr, re.MULTILINE))


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
    project.write("site-packages/wobble-1.0.dist-info/METADATA", metadata_of("1.0"))
    project.write("site-packages/squeak/__init__.py", "FACTOR = 1.0\n")
    distribution(project, "squeak-gpu", "1.6", "squeak/__init__.py")
    project.write("site-packages/seeker.py", SEEKER)
    tool = Path(onnxconverter_common.__file__).parent
    copy = shutil.ignore_patterns("__pycache__")
    shutil.copytree(tool, project.folder / "site-packages/onnxconverter_common", ignore=copy)
    distribution(project, "onnxconverter-common-nightly", "1.6", "onnxconverter_common/__init__.py")
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
    """Does the fast path find nothing to do?"""
    code = "import sys; from modelbuild import quick; sys.exit(quick.answer(['build', 'net.yaml']) is None)"
    command = [sys.executable, "-c", code]
    return (
        subprocess.run(command, cwd=project.folder, env=project.environ(), capture_output=True).returncode
        == 0
    )


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
    ("new-file-that-a-pattern-matches", writes("tables/b.txt", "b"), "tables/b.txt is new"),
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
    distribution(project, "zoo", "1.0", "zoo.py")
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
