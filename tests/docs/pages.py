"""The documents' code blocks: what they are, and how each is run.

A block is ruled by HTML comments just before it, which readers do not see:

    <!-- file: net.py -->       it is this file of the page's project, and written
    <!-- exit: 3 -->            its commands end with this exit code, not with 0
    <!-- prints -->             it is what the last commands printed, numbers apart
    <!-- not run: reason -->    it cannot be run here
"""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from modelbuild.recipe import defaults
from modelbuild.recipe.loading import load, parse
from modelbuild.recipe.schema import Recipe
from tests import zygote

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
EXPLANATIONS = sorted((ROOT / "modelbuild/views/explanations").glob("*.md"))

_FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_RULES = re.compile(r"((?:<!-- [^\n]* -->\n+)+)\Z")
_RULE = re.compile(r"<!-- ([\w ]+?)(?:: (.*?))? -->")
_KEYS = frozenset(field.alias or name for name, field in Recipe.model_fields.items() if name != "name")


@dataclass(frozen=True)
class Block:
    """One fenced block, with the line on which it begins."""

    page: Path
    line: int
    language: str
    text: str
    rules: dict[str, str]

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """The blocks of a page that say what they are, or what has printed them."""
    source = page.read_text()
    found = []
    for match in _FENCE.finditer(source):
        before = _RULES.search(source, 0, match.start())
        rules = dict(_RULE.findall(before[1])) if before else {}
        unknown = set(rules) - {"file", "exit", "prints", "not run"}
        line = source.count("\n", 0, match.start()) + 1
        assert not unknown, f"{page}:{line}: unknown comment {unknown}"
        if match["language"] or rules:
            found.append(Block(page, line, match["language"], match["text"], rules))
    return found


@dataclass
class Sandbox:
    """The project in which one page's blocks are run, in their order, as a reader would."""

    folder: Path
    printed: str = ""
    done: dict[int, AssertionError | None] = field(default_factory=dict)

    def run(self, block: Block) -> None:
        """Run this block and, if they were left out, those of the page before it.

        Raises:
            AssertionError: what the block says does not hold.
        """
        for one in itertools.takewhile(lambda b: b.line <= block.line, blocks(block.page)):
            if one.line not in self.done and "not run" not in one.rules:
                self.done[one.line] = None
                try:
                    self._run(one)
                except AssertionError as error:
                    self.done[one.line] = error
        error = self.done[block.line]
        if error is not None:
            raise error

    def _run(self, block: Block) -> None:
        if "prints" in block.rules:
            missing = unprinted(block, self.printed)
            assert not missing, f"not printed: {missing}\nbut this was:\n{self.printed}"
        elif "file" in block.rules:
            path = self.folder / block.rules["file"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
            if block.language == "yaml" and is_recipe(yaml.safe_load(block.text)):
                load(path)
            else:
                read(block)
        elif block.language == "sh":
            self._call(["bash", "-euo", "pipefail", "-c", block.text], block)
        elif block.language == "python":
            self._call([sys.executable, "-c", block.text], block)
        else:
            read(block)

    def _call(self, command: list[str], block: Block) -> None:
        environ, passed = environment(self.folder), ()
        if block.page.name != "README.md":  # which runs as a reader's does
            environ, passed = zygote.on_the_path(environ)
        done = subprocess.run(
            command, cwd=self.folder, env=environ, text=True, timeout=300, capture_output=True,
            pass_fds=passed,
        )  # fmt: skip
        self.printed = done.stdout + done.stderr
        wanted = int(block.rules.get("exit", "0"))
        assert done.returncode == wanted, f"exit code {done.returncode}, not {wanted}:\n{self.printed}"
        assert "Traceback" not in done.stderr, done.stderr


def unprinted(block: Block, printed: str) -> list[str]:
    """The lines of a block that were not printed, numbers apart."""
    there = set(_masked(printed))
    return [line for line in _masked(block.text) if line not in there]


def read(block: Block) -> None:
    """Read a block that nothing runs: data must be valid, a part of a recipe must fit into one."""
    if block.language == "yaml":
        data = yaml.safe_load(block.text)
        if is_recipe(data):
            parse(yaml.safe_dump(_completed(data), sort_keys=False), block.name, "net")
    elif block.language == "json":
        json.loads(block.text)
    elif block.language == "toml":
        tomllib.loads(block.text)
        defaults.read(block.text, block.name)
    elif block.language == "python":
        compile(block.text, block.name, "exec")
    elif block.language == "sh":
        subprocess.run(["bash", "-n", "-c", block.text], check=True)


def is_recipe(data: Any) -> bool:
    """Whether this is a recipe, or a part of one: a workflow or a lock file is neither."""
    return isinstance(data, dict) and not _KEYS.isdisjoint(data)


def _completed(part: dict[str, Any]) -> dict[str, Any]:
    """A recipe that has this part; nothing is added that the part could contradict."""
    recipe = {"model": {"import": "net:Net"}, **part}
    axes = [*part.get("dynamic_axes", {}), *itertools.chain.from_iterable(part.get("static", ()))]
    axes += [axis for engine in part.get("engines", ()) for axis in engine.get("variant", {})]
    recipe.setdefault("inputs", {"x": {"shape": [*dict.fromkeys(axes), 6]}})
    used = {a for spec in recipe["inputs"].values() for a in spec["shape"] if isinstance(a, str)}
    recipe["dynamic_axes"] = {a: {"min": 1, "opt": 4, "max": 512} for a in used} | part.get(
        "dynamic_axes", {}
    )
    if "engines" in part:
        recipe.setdefault("precision", {engine["precision"]: None for engine in part["engines"]})
    return recipe


def environment(folder: Path) -> dict[str, str]:
    """That of a reader who has installed modelbuild; what two pages build, one of them builds."""
    mine = {k: v for k, v in os.environ.items() if not k.startswith(("MODELBUILD", "GIT_", "GITHUB"))}
    binaries = Path(sys.executable).parent
    return {
        **mine, "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}", "HOME": str(folder / "home"),
        "MODELBUILD_CACHE_DIR": str(folder.parent / "cache"), "COLUMNS": "1000",
    }  # fmt: skip


def _masked(text: str) -> list[str]:
    """Lines without what differs between two runs: numbers, digests, and how wide a column is."""
    masked = re.sub(r"\b[0-9a-f]{12,64}\b…?", "#", text)
    masked = re.sub(r"[-+]?\d+(\.\d+)?(e[-+]?\d+)?", "#", masked)
    return [" ".join(line.replace("─", "").split()) for line in masked.splitlines() if line.strip(" ─")]
