"""Every command, recipe and script of the documents does what the page says."""

from __future__ import annotations

import functools
import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from modelbuild.base.errors import RecipeError
from modelbuild.cli import arguments, commands
from tests.docs.pages import EXPLANATIONS, PAGES, ROOT, Block, Sandbox, blocks, environment, read

BLOCKS = [block for page in PAGES for block in blocks(page)]
READ_ONLY = [block for page in EXPLANATIONS for block in blocks(page) if block.language]
COMMANDS = sorted({
    span
    for page in (*PAGES, *EXPLANATIONS, ROOT / "ARCHITECTURE.md")
    for span in re.findall(r"`(modelbuild\s+[a-z][^`]*)`", page.read_text())
})  # fmt: skip

# What a reader has before a page begins: a repository with a small model under a big one's name.
PROJECT = {
    "configs/net.py": """\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.second = nn.Linear(8, 3)

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))
""",
    "configs/resnet50.yaml": """\
name: resnet50
model: {import: "net:Net"}
inputs: {x: {shape: [batch, 6]}}
outputs: [logits]
dynamic_axes: {batch: {min: 1, opt: 4, max: 8}}
precision: {fp32: , fp16: }
static: [{batch: 1}]
verify: {samples: 2}
""",
    # What a page on another tool takes over from there.
    "net.py": "class Net: ...\n",
    "encoder.py": "class Encoder: ...\n",
    "user_script.py": "def load_model(path): ...\n",
    "checks.py": "def verify(reference, candidate): ...\n",
    ".gitignore": "/build/\n/cache/\n/home/\n__pycache__/\n",
}


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Sandbox]:
    """One project per page, made when its first block is run."""

    @functools.cache
    def of(page: Path) -> Sandbox:
        folder = _project(tmp_path_factory.mktemp(page.stem))
        if page.parent != ROOT:  # what lies beside a page is at hand, as examples beside their README
            kept = shutil.ignore_patterns("*.md", "build", "cache", "__pycache__")
            shutil.copytree(page.parent, folder / page.parent.relative_to(ROOT), ignore=kept)
        return Sandbox(folder)

    return of


def _project(folder: Path) -> Path:
    for name, text in PROJECT.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    script = """
        git init -q -b main && git add -A
        git -c user.name=me -c user.email=me@example.com commit -q -m first
        git update-ref refs/remotes/origin/main HEAD
    """
    subprocess.run(["bash", "-ec", script], cwd=folder, env=environment(folder), check=True)
    return folder


@pytest.mark.parametrize("block", BLOCKS, ids=lambda b: b.name)
@pytest.mark.slow
def test_a_block_of_a_page_does_what_the_page_says(block: Block, sandbox: Callable[[Path], Sandbox]) -> None:
    if "not run" in block.rules:
        read(block)
        pytest.skip(block.rules["not run"])
    sandbox(block.page).run(block)


@pytest.mark.parametrize("block", READ_ONLY, ids=lambda b: b.name)
def test_a_block_of_an_explanation_is_valid(block: Block) -> None:
    read(block)


@pytest.mark.parametrize("span", COMMANDS)
def test_a_command_in_a_sentence_is_one_that_there_is(span: str) -> None:
    words = [word for word in re.split(r"[\s\[\]]+", span) if word]
    name = words[1].partition("|")[0]
    assert name in commands.ALL
    options = {word.partition("=")[0] for word in words[2:] if word.startswith("-") and word != "--"}
    assert options <= _options(name)


def _options(command: str) -> set[str]:
    """Every option of a command, and of the commands below it."""
    every = next(a.choices for a in arguments.parser()._actions if isinstance(a.choices, dict))
    todo, found = [every[command]], set()
    while todo:
        for action in todo.pop()._actions:
            found |= set(action.option_strings)
            if isinstance(action.choices, dict):
                todo += action.choices.values()
    return found


@pytest.mark.parametrize("page", [*PAGES, *EXPLANATIONS], ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if re.match(r"\w+:", target):
            continue
        linked = (page.parent / path) if path else page
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(), re.MULTILINE)
            assert anchor in {_anchor(h) for h in headings}, target


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


PAGE = """\
<!-- file: hello.txt -->
```text
hello
```

```sh
cat hello.txt; echo 12.5 MiB
```

<!-- prints -->
```
hello
7.25 MiB
```

<!-- exit: 3 -->
```sh
exit 3
```

<!-- not run: it never ends -->
```sh
sleep 1000
```

```
neither run nor read
```
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    return path


def _run(page: Path, folder: Path) -> None:
    folder.mkdir()
    sandbox = Sandbox(folder)
    for block in blocks(page):
        if "not run" not in block.rules:
            sandbox.run(block)


def test_blocks_are_found_with_their_rules(page: Path, tmp_path: Path) -> None:
    found = [(b.line, b.language, b.rules) for b in blocks(page)]
    assert found == [
        (2, "text", {"file": "hello.txt"}),
        (6, "sh", {}),
        (11, "", {"prints": ""}),
        (17, "sh", {"exit": "3"}),
        (22, "sh", {"not run": "it never ends"}),
    ]
    _run(page, tmp_path / "project")


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("exit: 3", "exit: 0", "exit code 3, not 0"),
        ("7.25 MiB", "7.25 GiB", r"not printed: \['# GiB'\]"),
        ("cat hello", "cat hell", "No such file"),
        ("```text\nhello", "```text\ngoodbye", r"not printed: \['hello'\]"),
    ],
)
def test_a_page_that_is_wrong_fails(page: Path, tmp_path: Path, right: str, wrong: str, said: str) -> None:
    page.write_text(PAGE.replace(right, wrong))
    with pytest.raises(AssertionError, match=said):
        _run(page, tmp_path / "project")


def test_a_comment_that_means_nothing_is_not_passed_over(page: Path) -> None:
    page.write_text(PAGE.replace("not run:", "not ran:"))
    with pytest.raises(AssertionError, match=r"unknown comment .*not ran"):
        blocks(page)


@pytest.mark.parametrize(
    ("language", "text", "error"),
    [
        ("yaml", "opset: 18\nsimplfy: true\n", RecipeError),
        ("yaml", "static: [{batch: 0}]\n", RecipeError),
        ("json", "{,}", json.JSONDecodeError),
        ("toml", "a = ", tomllib.TOMLDecodeError),
        ("python", "def", SyntaxError),
        ("sh", "if", subprocess.CalledProcessError),
    ],
)
def test_a_block_that_is_not_valid_fails_where_it_is_only_read(
    language: str, text: str, error: type[Exception]
) -> None:
    block = Block(ROOT / "none.md", 1, language, text, {})
    with pytest.raises(error):
        read(block)
