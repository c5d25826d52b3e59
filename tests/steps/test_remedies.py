"""What is said where a model's code fails for what is not here."""

from __future__ import annotations

import argparse
import contextlib
import io
import socket
import sys
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from modelbuild.base.errors import StepError
from modelbuild.steps.export import Export
from modelbuild.steps.model import LiveModel, ModelSource, resolve
from modelbuild.steps.origins import place
from modelbuild.steps.remedies import remedy
from modelbuild.trace.recording import Trace


def raised(call: Callable[[], Any]) -> BaseException:
    try:
        call()
    except (Exception, SystemExit) as error:
        return error
    raise AssertionError("it did not fail")


def fails(error: BaseException, cause: BaseException | None = None) -> Callable[[], None]:
    def call() -> None:
        raise error from cause

    return call


def parses() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--width", required=True)
    with contextlib.redirect_stderr(io.StringIO()):
        parser.parse_args([])


ON_CPU = (
    'modelbuild runs the model on the CPU: take `.cuda()` and `device="cuda"` out of its code, or let it '
    "ask: `x.device`, `torch.cuda.is_available()`"
)
OFFLINE = (
    "it is to be downloaded, and the network was not reached (or `HF_HUB_OFFLINE` is set): download it "
    "beforehand, and give the model the folder or file that it is in"
)
SAVED = 'it was saved on a GPU: `torch.load(..., map_location="cpu")` reads it where there is none'


@pytest.mark.parametrize(
    ("call", "hint"),
    [
        pytest.param(fails(AssertionError("Torch not compiled with CUDA enabled")), ON_CPU, id="a-cpu-torch"),
        pytest.param(
            fails(RuntimeError("Found no NVIDIA driver on your system. ")),
            ON_CPU,
            id="no-driver",
        ),
        pytest.param(
            fails(RuntimeError("Cannot re-initialize CUDA in forked subprocess.")), ON_CPU, id="a-fork"
        ),
        pytest.param(
            fails(RuntimeError("Expected all tensors to be on the same device, but got mat1 is on cpu")),
            ON_CPU,
            id="half-of-it-on-a-gpu",
        ),
        pytest.param(
            fails(
                RuntimeError(
                    "Attempting to deserialize object on a CUDA device but torch.cuda.is_available() is "
                    "False."
                )
            ),
            SAVED,
            id="saved-on-a-gpu",
        ),
        pytest.param(
            fails(urllib.error.URLError(socket.gaierror(-2, "Name or service not known"))),
            OFFLINE,
            id="urlopen",
        ),
        pytest.param(
            fails(OSError("We couldn't connect to 'https://huggingface.co' to load the files")),
            OFFLINE,
            id="hub",
        ),
        pytest.param(
            fails(RuntimeError("no weights"), ConnectionRefusedError(111, "refused")),
            OFFLINE,
            id="by-its-cause",
        ),
        pytest.param(
            fails(urllib.error.HTTPError("https://x.org/w", 404, "Not Found", None, None)),  # type: ignore[arg-type]
            None,
            id="a-server-that-answered",
        ),
        pytest.param(
            lambda: __import__("no_such_package.part"),
            "install it where modelbuild is installed: `pip install no_such_package`",
            id="a-package",
        ),
        pytest.param(
            fails(ModuleNotFoundError("No module named 'cv2'", name="cv2")),
            "install it where modelbuild is installed: `pip install opencv-python-headless`",
            id="a-package-of-another-name",
        ),
        pytest.param(
            fails(ImportError("Net requires the timm library but it was not found")),
            "install what it names in modelbuild's own environment, in a version that suits the code",
            id="a-library-that-says-what",
        ),
        pytest.param(
            lambda: sys.exit(3),
            "it ends the process: raise an error that says why instead of sys.exit()",
            id="sys.exit",
        ),
        pytest.param(
            lambda: exec(compile("import sys; sys.exit()", "script.py", "exec"), {}),
            'it ends the process, as a script does: put that under `if __name__ == "__main__":`',
            id="a-script",
        ),
        pytest.param(
            parses,
            "it reads a command line, and there is none here: parse arguments under "
            '`if __name__ == "__main__":`, and pass them with `args` and `kwargs`',
            id="argparse",
        ),
        pytest.param(
            fails(OSError("Incorrect path_or_model_id: './no_dir'.")),
            f"there is no folder of that name in {Path.cwd()}, where the command runs; name it from there",
            id="no-folder-and-no-name-of-a-hub",
        ),
        pytest.param(fails(ValueError("no such luck")), None, id="anything-else"),
        pytest.param(fails(BrokenPipeError(32, "Broken pipe")), None, id="a-pipe-is-no-network"),
    ],
)
def test_each_cause_has_its_remedy(call: Callable[[], Any], hint: str | None) -> None:
    assert remedy(raised(call)) == hint


def test_torch_without_cuda_is_among_them() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    for call in (nn.Linear(1, 1).cuda, lambda: torch.zeros(1, device=torch.device("cuda"))):
        assert remedy(raised(call)) == ON_CPU


CODE = """\
import sys
import torch

def reads(name):
    return open(name)

def leaves():
    sys.exit("done")

class Net(torch.nn.Module):
    def forward(self, x):
        return x + reads("table.txt")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "here").mkdir()
    (tmp_path / "a_failing_file.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delitem(sys.modules, "a_failing_file", raising=False)
    return tmp_path


def refused(folder: Path, name: str, *args: str) -> tuple[str, str | None]:
    with pytest.raises(StepError) as caught:
        resolve({"import": f"a_failing_file:{name}", "args": list(args)}, folder)
    (said,) = caught.value.diagnostics
    return said.message, said.hint


def test_a_file_that_is_beside_the_code_is_found_there(folder: Path) -> None:
    (folder / "table.txt").touch()
    message, hint = refused(folder, "reads", "table.txt")
    assert message == (
        "calling `a_failing_file:reads` failed: FileNotFoundError: [Errno 2] No such file or directory: "
        "'table.txt' (a_failing_file.py:5 in reads)"
    )
    assert hint == (
        f"it is in {folder}, and the code looks in {folder}/here, where the command runs: "
        '`Path(__file__).parent / "table.txt"` finds it from anywhere'
    )


def test_a_file_that_is_beside_the_recipe_is_named_from_the_code(folder: Path) -> None:
    (folder / "recipes").mkdir()
    (folder / "recipes" / "table.txt").touch()
    with pytest.raises(StepError) as caught:
        resolve({"import": "a_failing_file:reads", "args": ["table.txt"]}, folder / "recipes")
    assert caught.value.diagnostics[0].hint == (
        f"it is in {folder}/recipes, and the code looks in {folder}/here, where the command runs: "
        '`Path(__file__).parent / "recipes/table.txt"` finds it from anywhere'
    )


def test_a_file_that_is_nowhere_is_told_with_where_it_was_looked_for(folder: Path) -> None:
    _, hint = refused(folder, "reads", "table.txt")
    assert hint == (
        f"it is looked for in {folder}/here, where the command runs: put it there, or name it relative to "
        "the code's own folder, `Path(__file__).parent`"
    )
    _, hint = refused(folder, "reads", "/no/table.txt")
    assert (
        hint
        == "there is no /no/table.txt on this machine: name it relative to the model's code, with `__file__`"
    )


def test_a_factory_that_leaves_is_told_with_its_line(folder: Path) -> None:
    message, hint = refused(folder, "leaves")
    assert (
        message == "calling `a_failing_file:leaves` failed: SystemExit: done (a_failing_file.py:8 in leaves)"
    )
    assert hint == "it ends the process: raise an error that says why instead of sys.exit()"


def test_the_line_is_that_of_the_users_code_and_else_of_the_library() -> None:
    from transformers import BertConfig, BertModel

    sizes = {"hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 4}
    net = BertModel(BertConfig(vocab_size=8, **sizes))
    error = raised(lambda: net(torch.full((1, 2), 99)))
    assert place(error).startswith(f" ({Path(__file__).name}:")
    own = error.__traceback__
    while own is not None and own.tb_frame.f_code.co_filename == __file__:
        own = own.tb_next
    assert "transformers/models/bert/modeling_bert.py:" in place(error.with_traceback(own))


@pytest.mark.parametrize("precision", ["fp32", "half"])
def test_a_call_before_the_export_has_the_same_remedies(folder: Path, precision: Any) -> None:
    (folder / "table.txt").touch()
    net = resolve({"import": "a_failing_file:Net"}, folder)
    step = Export(
        source=ModelSource("a:b"),
        inputs=(),
        outputs=None,
        traced={"batch": 2},
        ranges={},
        opset=18,
        exporter="auto",
        constant_folding=True,
        precision=precision,
    )
    model = LiveModel(net, step.source, folder, Trace(folder))
    (said,) = step._refused(raised(lambda: net(torch.ones(1))), model).diagnostics
    assert said.message.endswith(" 'table.txt' (a_failing_file.py:5 in reads)")
    assert str(said.hint).startswith(f"it is in {folder}")
