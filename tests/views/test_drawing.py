"""The picture of a recipe's actions: what stands in it, how it stands, and that no name can break it."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from pathlib import Path

import pydot
import pytest

from modelbuild.views.drawing import Drawing, DrawnFile, DrawnNode, Graph, dot, mermaid, tree
from tests.conftest import RECIPE, TINY, Project

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")  # of pydot's parser

HOSTILE = 'end"]; click "javascript:alert(1)" %%{x}%% `**x**` <b>#quot;&amp;\\ \x1b[2J é\nsubgraph'
EXTRA = "static: [{batch: 1}]\nengines: [{precision: fp32}, {precision: fp32, backend: tensorrt}]\n"


def small(name: str = "net", reason: str = "opset changed: 17 -> 18") -> Drawing:
    """Five actions, of which two wait for a stale one, and two files."""
    nodes = (
        DrawnNode("reference", "reference", "fresh"),
        DrawnNode("export", "export", "stale", (reason, "simplify changed: True -> False")),
        DrawnNode("fp32", "simplify", "stale", (), {"model": "export"}, waits=("export",)),
        DrawnNode("verify fp32", "verify", "stale", (), {"model": "fp32", "reference": "reference"},
             waits=("fp32",)),
        DrawnNode("fp32.tensorrt", "engine", "skipped", ("tensorrt is not installed",), {"model": "fp32"},
             ("verify fp32",), ("fp32", "verify fp32")),
    )  # fmt: skip
    files = (
        DrawnFile(f"{name}.fp32.onnx", "onnx", "fp32", "verify fp32", "stale", reason),
        DrawnFile(f"{name}.fp32.tensorrt.engine", "engine", "fp32.tensorrt", None, "skipped"),
    )
    return Drawing((Graph(f"{name}.yaml", name, nodes, files),))


def test_a_tree_has_every_action_once_with_its_standing_its_reason_and_its_files() -> None:
    assert tree(small()).splitlines() == [
        "net.yaml: net (5 actions: 1 fresh, 3 stale, 1 skipped)",
        "├─ ✓ reference  fresh",
        "└─ ✗ export  stale: opset changed: 17 -> 18 and 1 more",
        "   └─ ✗ fp32  stale: waits for export",
        "      ├─ → net.fp32.onnx  stale, proven by verify fp32",
        "      ├─ ✗ verify fp32 (with reference)  stale: waits for fp32",
        "      └─ - fp32.tensorrt (with verify fp32)  skipped: tensorrt is not installed",
        "         └─ → net.fp32.tensorrt.engine  skipped",
    ]


def test_a_file_of_a_fresh_action_has_a_reason_of_its_own() -> None:
    nodes = (DrawnNode("fp32", "simplify", "fresh"),)
    missing = DrawnFile("net.fp32.onnx", "onnx", "fp32", "verify fp32", "stale", "its file was missing")
    last = tree(Drawing((Graph("net.yaml", "net", nodes, (missing,)),))).splitlines()[-1]
    assert last == "   └─ → net.fp32.onnx  stale: its file was missing, proven by verify fp32"


def test_a_tree_stays_within_the_width_and_prints_no_control_character() -> None:
    text = tree(small("a" * 30, "words " * 40 + HOSTILE), width=80)
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text
    assert text.count("export  stale") == 1


def test_dot_is_read_by_a_parser_of_dot_whatever_the_names_are() -> None:
    (graph,) = pydot.graph_from_dot_data(dot(small(HOSTILE, HOSTILE)))
    (cluster,) = graph.get_subgraphs()
    assert len(cluster.get_nodes()) == 7
    edges = {(e.get_source(), e.get_destination()) for e in cluster.get_edges()}
    assert edges == {
        ("r0a1", "r0a2"), ("r0a2", "r0a3"), ("r0a0", "r0a3"), ("r0a2", "r0a4"), ("r0a3", "r0a4"),
        ("r0a2", "r0f0"), ("r0a3", "r0f0"), ("r0a4", "r0f1"),
    }  # fmt: skip
    styles = {n.get_name(): (n.get("label"), n.get("style")) for n in cluster.get_nodes()}
    assert styles["r0a0"] == ('"reference\\nfresh"', '"filled"')
    assert styles["r0a1"][0].startswith('"export\\nstale: end\\"]; click')
    assert styles["r0a1"][1] == '"filled,dashed"'


MERMAID = [
    r"flowchart LR",
    r'  subgraph r\d+\["[^"\n]*"\]',
    r"  end",
    r'    r\d+a\d+\["[^"\n]*"\]:::(fresh|remote|stale|skipped|blocked|failed)',
    r'    r\d+f\d+\(\["[^"\n]*"\]\):::(fresh|remote|stale|skipped|blocked|failed)',
    r'    r\d+a\d+ (-->|-->\|"[^"\n]*"\||-\.->\|"[^"\n]*"\|) r\d+[af]\d+',
    r"  classDef (fresh|remote|stale|skipped|blocked|failed) [a-z0-9#:, -]+",
]


def test_mermaid_has_only_lines_that_it_means_whatever_the_names_are() -> None:
    text = mermaid(small(HOSTILE, HOSTILE))
    for line in text.splitlines():
        assert any(re.fullmatch(form, line) for form in MERMAID), line
    assert text.count("classDef") == 6
    labels = "".join(re.findall(r'"([^"]*)"', text)).replace("<br/>", "")
    assert not set(labels) & set('`<>[]{}%&*"\\\x1b'), labels


def test_mermaid_shows_a_hostile_name_as_it_is() -> None:
    """Mermaid reads #NN; as the character with that number; HTML has the same numbers."""
    text = mermaid(small(HOSTILE))
    label = re.findall(r'r0f0\(\["([^"]*)<br/>', text)[0]
    shown = html.unescape(re.sub(r"#(\d+);", r"&#\1;", label))
    assert shown == HOSTILE.replace("\x1b", r"\x1b").replace("\n", r"\n") + ".fp32.onnx"


# ---- of real recipes ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory, built: Project) -> Project:
    made = Project(tmp_path_factory.mktemp("drawn"))
    made.take_cache(built)
    made.write("net.py", TINY)
    made.write("net.yaml", RECIPE + EXTRA)
    assert made.build().code == 0
    return made


def _graph(project: Project, *arguments: str) -> dict[str, dict[str, object]]:
    answer = project.run("graph", "net.yaml", "--format", "json", *arguments)
    assert answer.code == 0
    assert answer.report["ok"] is True
    return {
        row.get("id", row.get("name")): row
        for row in [*answer.recipe["actions"], *answer.recipe["artifacts"]]
    }


def test_what_was_just_built_is_fresh_and_an_edit_makes_stale_what_depends_on_it(drawn: Project) -> None:
    rows = _graph(drawn)
    assert {r["status"] for n, r in rows.items() if "tensorrt" not in n} == {"fresh"}
    assert rows["net.fp32.tensorrt.engine"]["status"] in ("skipped", "fresh")
    assert rows["net.fp32.batch1.onnx"]["action"] == "fp32.batch1"
    assert rows["net.fp32.batch1.onnx"]["proof"] == "verify fp32.batch1"
    drawn.write("net.yaml", (RECIPE + EXTRA).replace("samples: 2", "samples: 3"))
    rows = _graph(drawn)
    assert rows["export"]["status"] == rows["fp32"]["status"] == "fresh"
    assert rows["reference"]["changes"] == ["verify.samples: 2 -> 3"]
    assert rows["verify fp32"]["waits"] == ["reference"]
    assert rows["net.fp32.onnx"]["status"] == "stale"
    text = drawn.run("graph", "net.yaml").stdout
    assert "├─ ✗ reference  stale: verify.samples: 2 -> 3\n" in text
    assert "└─ ✓ export  fresh\n" in text
    drawn.write("net.yaml", RECIPE + EXTRA)


def test_only_leaves_what_is_behind_the_artifacts_that_match(drawn: Project) -> None:
    assert set(_graph(drawn, "--only", "*batch1*")) == {
        "reference", "export", "fp32", "fp32.batch1", "verify fp32.batch1", "net.fp32.batch1.onnx",
    }  # fmt: skip
    nothing = drawn.run("graph", "net.yaml", "--only", "x*")
    assert nothing.code == 2
    assert "no artifact matches `x*`" in nothing.stderr


def test_several_recipes_are_drawn_in_one_picture_and_a_wrong_one_is_said(drawn: Project) -> None:
    drawn.write("other.yaml", RECIPE)
    drawn.write("wrong.yaml", RECIPE.replace("inputs", "input"))
    answer = drawn.run("graph", "net.yaml", "other.yaml", "--format", "dot")
    assert answer.code == 0
    (graph,) = pydot.graph_from_dot_data(answer.stdout)
    assert [g.get("label") for g in graph.get_subgraphs()] == ['"net.yaml: net"', '"other.yaml: other"']
    wrong = drawn.run("graph", "net.yaml", "wrong.yaml", "--format", "json")
    assert wrong.code == 2
    assert [r["status"] for r in wrong.report["recipes"]] == ["ok", "failed"]
    assert "unknown key `input`" in wrong.stderr


def test_drawing_runs_neither_torch_nor_the_model(drawn: Project, tmp_path: Path) -> None:
    here = Project(tmp_path)
    here.write("net.py", "raise SystemExit('the model ran')\n")
    here.write("net.yaml", RECIPE)
    script = (
        "import sys; from modelbuild.cli.main import main;"
        "code = main(['graph', 'net.yaml', '--format', 'mermaid']);"
        "print([m for m in ('torch', 'onnx', 'numpy', 'net') if m in sys.modules], code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=here.environ(), capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "[] 0", done.stderr
    assert "never built" in done.stdout
    assert json.dumps(sorted(p.name for p in tmp_path.iterdir())) == '["net.py", "net.yaml"]'
