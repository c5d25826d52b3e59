"""Names that would steer a terminal or a runner, over every command and every format.

A name may be anybody's: of a file, an axis, a node, a value in a manifest. It is shown as text, on the line
where it belongs: no escape sequence, no mark that turns text around, no line that is made up.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from modelbuild import quick
from modelbuild.base.escaping import line, masked, number, visible
from modelbuild.cli import main as cli
from modelbuild.wording import colours

MARK = "\x1b]0;owned\x07\x1b[2J\u202e\u2066\x9b2J\u200b\u2028\r\n::error::made up\nerror[made-up]: x"
FOLDER = f"a{MARK}"
MODEL = "\x1b[31mm\u202e\n::error::made up.onnx"

RECIPE = """\
name: net
model: {onnx: %s}
inputs: {x: {shape: [batch, 4]}}
outputs: [y]
dynamic_axes: {batch: {min: 1, opt: 2, max: 4}}
"""


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository in which all that can be named by others is: two revisions of it."""
    root = tmp_path_factory.mktemp("hostile")
    place = root / FOLDER
    place.mkdir()
    (place / "good\x1b[7m\u202e\n::error::made up.yaml").write_text(RECIPE % "m.onnx")
    (place / "bad\x1b[7m\u202e\nerror[made-up]: x.yaml").write_text(
        RECIPE.replace("shape", "shap") % "no.onnx"
    )
    (place / "absent.yaml").write_text(RECIPE.replace("net", "absent") % "gone.onnx")
    _onnx(place / MODEL)
    _onnx(place / "m.onnx")
    (root / "net.lock.yaml").write_text("x: 1\n")
    _git(root, "init", "-q", "-b", "main")
    _commit(root)
    _onnx(place / "m.onnx", "z\x1b[7m\u202e")
    (place / f"more{MARK[:20]}.yaml").write_text(RECIPE.replace("net", "more") % "m.onnx")
    _commit(root)
    manifest = {
        "recipe": MARK, "name": "old", "status": "ok", "diagnostics": [], "toolchain": {MARK: MARK},
        "actions": [{"id": MARK, "step": MARK, "needs": {}, "status": "built"}],
        "artifacts": [{"name": MARK, "kind": "onnx", "precision": "fp32", "axes": {}, "status": "built",
                       "reason": MARK, "diagnostics": []}],
    }  # fmt: skip
    (root / "build" / "old").mkdir(parents=True)
    (root / "build" / "old" / "manifest.json").write_text(json.dumps(manifest))
    return root


def _onnx(path: Path, name: str = "y\x1b[7m\u202e\n::error::made up") -> None:
    """A graph whose nodes, inner values, documents and metadata have such names."""
    nodes = [helper.make_node("Relu", ["x"], [name], name=MARK), helper.make_node("Identity", [name], ["y"])]
    shape = ["b\x1b[7m\u202e", 4]
    graph = helper.make_graph(
        nodes, MARK,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )  # fmt: skip
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)], producer_name=MARK, producer_version=MARK
    )
    model.metadata_props.add(key=MARK, value=MARK)
    onnx.save(model, path)


def _git(root: Path, *arguments: str) -> None:
    who = ["-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, *arguments], cwd=root, check=True, capture_output=True)


def _commit(root: Path) -> None:
    _git(root, "add", "-A")
    _git(root, "commit", "-q", "-m", "x")


def _run(root: Path, *arguments: str, short: bool = False, github: bool = False) -> Said:
    """The command, in this process, with what it prints as a terminal would get it."""
    before = os.getcwd(), sys.stdout, sys.stderr, os.environ.copy()
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="surrogateescape") for _ in range(2)]
    os.environ["MODELBUILD_CACHE_DIR"] = str(root / "cache")
    os.environ["GITHUB_ACTIONS"] = "true" if github else ""
    os.environ.pop("GITHUB_STEP_SUMMARY", None)
    if github:
        os.environ["GITHUB_STEP_SUMMARY"] = str(root / "summary.md")
    os.chdir(root)
    sys.stdout, sys.stderr = streams
    try:
        code: int | None = None
        with contextlib.suppress(SystemExit):
            code = quick.answer(arguments) if short else None
            code = cli.main(arguments) if code is None else code
    finally:
        os.chdir(before[0])
        sys.stdout, sys.stderr = before[1:3]
        os.environ.clear()
        os.environ.update(before[3])
    said = []
    for stream in streams:
        stream.flush()
        said.append(stream.buffer.getvalue().decode("utf-8", "surrogateescape"))  # type: ignore[attr-defined]
    return Said(2 if code is None else code, *said)


def _obeyed(text: str) -> set[str]:
    """What a terminal would obey, or what turns text around, or cannot be seen."""
    kinds = ("Cc", "Cf", "Cs", "Zl", "Zp", "Co")
    return {f"U+{ord(c):04X}" for c in text if c != "\n" and unicodedata.category(c) in kinds}


def _made_up(text: str) -> list[str]:
    """Lines that nobody but the name has written."""
    return [row for row in text.split("\n") if re.match(r"::error::|error\[made-up\]", row)]


RECIPES = f"./{FOLDER}"
_ALL = [
    ("check", ["check", RECIPES], ["json"]),
    ("check-verbose", ["check", RECIPES, "-v"], []),
    ("check-quiet", ["check", RECIPES, "-q"], []),
    ("check-resolved", ["check", RECIPES, "--resolved"], ["json"]),
    ("check-locked", ["check", RECIPES, "--locked"], []),
    ("check-since", ["check", RECIPES, "--changed-since", "HEAD~1"], ["json"]),
    ("check-absent", ["check", f"{RECIPES}/{MARK}.yaml"], ["json"]),
    ("status", ["status", RECIPES], ["json"]),
    ("status-verbose", ["status", RECIPES, "-v"], []),
    ("status-only", ["status", RECIPES, "--only", MARK], []),
    ("graph", ["graph", RECIPES], ["dot", "mermaid", "json"]),
    ("why", ["why", "net.fp32.onnx", f"{RECIPES}/good\x1b[7m\u202e\n::error::made up.yaml"], ["json"]),
    ("why-none", ["why", MARK, f"{RECIPES}/good\x1b[7m\u202e\n::error::made up.yaml"], ["json"]),
    ("diff", ["diff", "HEAD~1"], ["markdown", "json"]),
    ("diff-none", ["diff", MARK], []),
    ("dry-run", ["build", RECIPES, "--dry-run", "--keep-going"], ["json"]),
    ("dry-run-verbose", ["build", RECIPES, "--dry-run", "--keep-going", "-v"], []),
    ("verify", ["verify", f"{RECIPES}/absent.yaml", "--out", MARK], []),
    ("inspect", ["inspect", f"{FOLDER}/{MODEL}"], ["json"]),
    ("inspect-nodes", ["inspect", "--nodes", f"{FOLDER}/{MODEL}"], ["json"]),
    ("inspect-none", ["inspect", f"{FOLDER}/{MARK}"], ["json"]),
    ("init", ["init", "--from-onnx", f"{FOLDER}/{MODEL}", "--patience", "0"], []),
    ("init-none", ["init", MARK, "--patience", "0"], []),
    ("report", ["report", "-o", f"r{MARK[:12]}.html"], []),
    ("explain", ["explain", MARK], []),
    ("cache", ["cache", "stats", "--cache-dir", f"c{MARK[:12]}"], ["json"]),
    ("unknown-command", [MARK], []),
    ("unknown-option", ["check", f"--{MARK}"], []),
]
CASES = [
    pytest.param([*arguments, *(["--format", how] if how else [])], id=f"{name}-{how or 'text'}")
    for name, arguments, formats in _ALL
    for how in ("", *formats)
]


@pytest.mark.parametrize("arguments", CASES)
def test_a_name_is_shown_and_not_obeyed(folder: Path, arguments: list[str]) -> None:
    said = _run(folder, *arguments)
    assert said.code in (0, 1, 2)
    assert "Traceback" not in said.err
    assert "usage:" in said.err or said.out or said.err or arguments[-1] == "-q" or "-o" in arguments
    for text in (said.out, said.err):
        assert _obeyed(text) == set()
        assert _made_up(text) == []
    if arguments[-2:] == ["--format", "json"]:
        json.loads(said.out)


@pytest.mark.parametrize("arguments", CASES)
def test_a_runner_takes_no_name_for_a_command(folder: Path, arguments: list[str]) -> None:
    said = _run(folder, *arguments, github=True)
    for text in (said.out, said.err):
        assert _obeyed(text) == set()
        assert _made_up(text) == []
        assert not re.search(r"(?m)^\s+::", text)
    ours = [row for row in said.err.split("\n") if row.startswith("::")]
    assert all(
        re.match(r"::(error|warning|notice) (file=[^,]*,)?[^:]*title=[a-z-]+::", row) for row in ours
    ), ours


def test_the_page_of_a_report_has_no_such_character(folder: Path) -> None:
    assert _run(folder, "report", "-o", "page.html").code in (0, 1)
    page = re.sub(r"(?s)<script>.*?</script>|<style>.*?</style>", "", (folder / "page.html").read_text())
    assert "made up" in page
    assert _obeyed(page) == set()


def test_what_init_writes_for_such_a_file_is_a_recipe(folder: Path) -> None:
    assert (
        _run(folder, "init", "--from-onnx", f"{FOLDER}/{MODEL}", "--patience", "0", "-o", "drawn.yaml").code
        == 0
    )
    assert _obeyed((folder / "drawn.yaml").read_text()) == set()


@pytest.fixture(scope="module")
def built(folder: Path) -> str:
    recipe = f"{FOLDER}/good\x1b[7m\u202e\n::error::made up.yaml"
    said = _run(folder, "build", recipe)
    assert (said.code, _obeyed(said.out + said.err), _made_up(said.out + said.err)) == (0, set(), []), said
    return recipe


@pytest.mark.parametrize(
    "arguments", [[], ["-q"], ["-v"], ["--format", "json"]], ids=["text", "-q", "-v", "json"]
)
@pytest.mark.parametrize("command", ["build", "status", "graph", "check"])
def test_a_build_of_it_with_nothing_to_do_is_told_in_the_same_way(
    folder: Path, built: str, command: str, arguments: list[str]
) -> None:
    if command == "graph" and arguments in (["-q"], ["-v"]):
        return
    said = _run(folder, command, built, *arguments, short=True)
    assert (said.code, _obeyed(said.out + said.err), _made_up(said.out + said.err)) == (0, set(), [])


# ---- the escaper ---------------------------------------------------------------------------------


def test_what_cannot_be_seen_is_a_number_and_the_rest_is_as_it_was() -> None:
    assert visible("é\t漢字\n\x1b[31m\u202e\U000e0001\x7f\x9b\ud800") == (
        "é\t漢字\n\\x1b[31m\\u202e\\U000e0001\\x7f\\x9b\\ud800"
    )
    assert line("a\nb\tc\r", 4) == r"a\nb…"
    assert masked("a\x1bb\n") == "a\ufffdb\ufffd"


_UNSEEN = [
    *range(0x20), *range(0x7F, 0xA0), 0x61C, *range(0x200B, 0x2010), *range(0x2028, 0x202F),
    *range(0x2060, 0x2070), 0xFEFF, 0xD800, 0xE000,
]  # fmt: skip


@pytest.mark.parametrize("code", _UNSEEN, ids=hex)
def test_every_control_and_every_mark_of_direction_is_a_number(code: int) -> None:
    assert line(f"a{chr(code)}b") == f"a{number(chr(code))}b"
    assert ascii(visible(f"a{chr(code)}b", keep="")).isascii()


def test_colour_is_put_on_after_what_others_wrote_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    from modelbuild.wording import output

    monkeypatch.setattr(colours, "wanted", lambda stream: True)
    stream = io.StringIO()
    output.write("error[x]: \x1b[0mred", stream)
    assert stream.getvalue() == "\x1b[1;31merror[x]:\x1b[0m \\x1b[0mred\n"
