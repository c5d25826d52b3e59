"""Making, loading and calling the model, in this process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from modelbuild.base.errors import StepError
from modelbuild.steps.model import LiveModel, ModelSource, flatten, resolve
from modelbuild.steps.state import Snapshot
from modelbuild.trace.recording import Trace

CODE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width=4, act=None):
        super().__init__()
        self.f = nn.Linear(4, width)
        self.act = act
    def forward(self, x):
        return self.f(x)

class Config:
    def __init__(self, width):
        self.width = width

def from_config(config):
    return Net(config.width)

ready = Net(7)

def compiled():
    return torch.compile(Net())

class Holder:
    inner = Net
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "a_model_file.py").write_text(CODE)
    sys.path.insert(0, str(tmp_path))
    yield tmp_path
    sys.path.remove(str(tmp_path))
    sys.modules.pop("a_model_file", None)


def _make(folder: Path, **spec: Any) -> nn.Module:
    spec.setdefault("import_", "a_model_file:Net")
    return LiveModel.make(ModelSource(**spec), folder, Trace(folder)).module


def test_the_same_seed_makes_the_same_weights(folder: Path) -> None:
    _make(folder)  # importing the file makes a module too
    one, two, other = (_make(folder, seed=s).f.weight for s in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_the_model_sleeps(folder: Path) -> None:
    module = _make(folder)
    assert not module.training
    assert not any(p.requires_grad for p in module.parameters())


@pytest.mark.parametrize(
    ("spec", "width"),
    [
        pytest.param({"kwargs": {"width": 5}}, 5, id="keyword"),
        pytest.param({"args": (6,)}, 6, id="positional"),
        pytest.param({"import_": "a_model_file:ready"}, 7, id="an-instance-is-taken-as-it-is"),
        pytest.param({"import_": "a_model_file:Holder.inner"}, 4, id="dotted"),
        pytest.param(
            {
                "import_": "a_model_file:from_config",
                "kwargs": {"config": {"import": "a_model_file:Config", "kwargs": {"width": 9}}},
            },
            9,
            id="nested",
        ),
    ],
)
def test_the_import_is_called_with_its_arguments(folder: Path, spec: dict[str, Any], width: int) -> None:
    assert _make(folder, **spec).f.out_features == width


def test_nested_lists_and_dicts_are_resolved() -> None:
    made = resolve({"a": [{"import": "fractions:Fraction", "args": [1, 2]}], "b": 3})
    assert str(made) == "{'a': [Fraction(1, 2)], 'b': 3}"


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_weights_are_loaded(folder: Path, suffix: str) -> None:
    state = {"f.weight": torch.ones(4, 4), "f.bias": torch.zeros(4)}
    path = folder / f"weights{suffix}"
    if suffix == ".pt":
        torch.save(state, path)
    else:
        save_file(state, path)
    assert torch.equal(_make(folder, weights=path.name).f.weight, torch.ones(4, 4))


class _Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("run",))


@pytest.mark.parametrize(
    ("state", "message", "hint"),
    [
        pytest.param(
            {"f.weight": torch.ones(4, 4), "g": torch.ones(1)},
            "weights w.pt do not fit the model: missing `f.bias`; unexpected `g`",
            "is it the state dict of this model, with these arguments?",
            id="keys",
        ),
        pytest.param(
            {"f.weight": torch.ones(5, 4), "f.bias": torch.ones(4)},
            "weights w.pt do not fit the model: size mismatch for f.weight: copying a param with "
            "shape torch.Size([5, 4]) from checkpoint, the shape in current model is "
            "torch.Size([4, 4]).",
            "is it the state dict of this model, with these arguments?",
            id="shapes",
        ),
        pytest.param(
            torch.ones(1),
            "weights w.pt hold a `Tensor`, not a state dict",
            "save `model.state_dict()`",
            id="not-a-dict",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused(folder: Path, state: Any, message: str, hint: str) -> None:
    torch.save(state, folder / "w.pt")
    with pytest.raises(StepError) as caught:
        _make(folder, weights="w.pt")
    (said,) = caught.value.diagnostics
    assert (said.code, said.message, said.hint) == ("import-failed", message, hint)


def test_a_pickle_that_would_run_code_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"f.weight": _Code()}, folder / "w.pt")
    with pytest.raises(StepError) as caught:
        _make(folder, weights="w.pt")
    assert "loading it would run code" in str(caught.value.diagnostics[0].hint)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"import_": "no_such_module:Net"},
         "there is no module `no_such_module`, which `no_such_module:Net` names"),
        ({"import_": "a_model_file:Nett"},
         "module `a_model_file` has no attribute `Nett`; did you mean `Net`?"),
        ({"kwargs": {"wide": 3}}, "calling `a_model_file:Net` failed: TypeError: "),
        ({"import_": "a_model_file:torch"}, "`a_model_file:torch` gives a `module`"),
        ({"weights": "none.pt"}, "there is no weights file "),
    ],
)  # fmt: skip
def test_what_cannot_be_made_is_import_failed(folder: Path, spec: dict[str, Any], message: str) -> None:
    with pytest.raises(StepError) as caught:
        _make(folder, **spec)
    (said,) = caught.value.diagnostics
    assert said.code == "import-failed"
    assert said.message.startswith(message)


def test_outputs_are_flattened_in_order_without_none() -> None:
    t = [torch.tensor(i) for i in range(5)]
    nested = {"a": t[0], "none": None, "b": (t[1], [t[2], {"c": t[3]}]), "d": t[4]}
    labels, values = zip(*flatten(nested), strict=True)
    assert labels == ("a", "b[0]", "b[1][0]", "b[1][1].c", "d")
    assert [int(v) for v in values] == [0, 1, 2, 3, 4]


def test_a_compiled_module_is_the_one_inside(folder: Path) -> None:
    module = _make(folder, import_="a_model_file:compiled")
    assert type(module).__name__ == "Net"


@pytest.mark.parametrize("given", [{"args": (1,)}, {"kwargs": {"width": 3}}])
def test_arguments_for_an_instance_are_refused(folder: Path, given: dict[str, Any]) -> None:
    with pytest.raises(StepError, match="would do nothing"):
        _make(folder, import_="a_model_file:ready", **given)


def test_a_cache_among_the_outputs_names_the_setting() -> None:
    class DynamicCache:
        pass

    with pytest.raises(StepError) as found:
        flatten({"y": torch.zeros(1), "past": DynamicCache()})
    assert "use_cache" in str(found.value.diagnostics[0].hint)


def test_a_complex_output_says_how_to_return_it() -> None:
    with pytest.raises(StepError) as found:
        flatten({"y": torch.zeros(1), "spectrum": torch.zeros(1, dtype=torch.complex64)})
    (said,) = found.value.diagnostics
    assert said.code == "outputs-mismatch"
    assert said.message == "forward() returns a complex tensor at spectrum; ONNX outputs hold none"
    assert "torch.view_as_real(y)" in str(said.hint)


LAZY = """
import torch
from torch import nn

class Lazy(nn.Module):
    def __init__(self):
        super().__init__()
        self.c = nn.LazyConv2d(4, 3, padding=1)
        self.b = nn.LazyBatchNorm2d()
        self.f = nn.LazyLinear(2)
    def forward(self, x):
        return self.f(self.b(self.c(x)).flatten(1))
"""


def test_lazy_layers_get_their_sizes_and_the_same_weights_in_each_process(tmp_path: Path) -> None:
    (tmp_path / "a_lazy_file.py").write_text(LAZY)
    sys.path.insert(0, str(tmp_path))
    try:
        one, two = (
            LiveModel.make(ModelSource("a_lazy_file:Lazy", seed=3), tmp_path, Trace(tmp_path))
            for _ in range(2)
        )
    finally:
        sys.path.remove(str(tmp_path))
    for model, batch in ((one, 1), (two, 5)):
        model.finish(["x"], [torch.randn(batch, 3, 4, 4)])
    state = one.module.state_dict()
    assert state["f.weight"].shape == (2, 64)
    assert all(torch.equal(t, two.module.state_dict()[n]) for n, t in state.items())
    assert not any(m.training for m in one.module.modules())
    assert not any(p.requires_grad for p in one.module.parameters())


def test_lazy_layers_with_loaded_weights_are_finished_before_anything_looks_at_them() -> None:
    net = nn.Sequential(nn.LazyLinear(3))
    net.load_state_dict({"0.weight": torch.ones(3, 2), "0.bias": torch.zeros(3)})
    model = LiveModel(net, ModelSource("a:b"), Path(), Trace.__new__(Trace))
    model.finish(["input"], [torch.ones(1, 2)])
    before = Snapshot.of(net)
    assert model.call(["input"], [torch.ones(1, 2)])[0].tolist() == [[2, 2, 2]]
    assert before.changed() == ()
