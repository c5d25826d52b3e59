"""TorchScript as the model."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnxruntime as ort
import pytest
import torch
from torch import nn

from modelbuild.base.errors import StepError
from modelbuild.base.tensors import TensorSpec
from modelbuild.recipe.model_checks import OPSETS
from modelbuild.steps import forms, scripts
from modelbuild.steps.binding import bind
from modelbuild.steps.eager import called, kept
from modelbuild.steps.export import Export
from modelbuild.steps.model import LiveModel, ModelSource, flatten
from modelbuild.steps.state import Snapshot
from modelbuild.trace.recording import Trace
from tests.steps import script_nets as nets

pytestmark = pytest.mark.filterwarnings("ignore")  # torch.jit is deprecated, says torch at each turn


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """As where a model is made: a pool of threads does not live on in a fork."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _live(module: Any) -> LiveModel:
    made = forms.as_module(module)
    assert made is not None
    return LiveModel(forms.asleep(made), ModelSource("a:b"), Path(), Trace.__new__(Trace))


def _step(*names: str, **changed: Any) -> Export:
    inputs = tuple(TensorSpec(n, "float32", ("batch", 4)) for n in names)
    given: dict[str, Any] = {
        "source": ModelSource("a:b"), "inputs": inputs, "outputs": None, "traced": {"batch": 2},
        "ranges": {"batch": (1, 6)}, "opset": 18, "exporter": "auto", "constant_folding": True,
    }  # fmt: skip
    return Export(**{**given, **changed})


def _loaded(module: nn.Module, folder: Path) -> Any:
    torch.jit.script(module).save(str(folder / "net.pt"))
    return torch.jit.load(folder / "net.pt")


def test_what_a_script_takes_is_read_off_its_schema(tmp_path: Path) -> None:
    said = "(x: Tensor, y: Optional[Tensor] = None, scale: float = 2.0)"
    for module in (torch.jit.script(nets.Optional()), _loaded(nets.Optional(), tmp_path)):
        assert str(scripts.signature(module)) == said
    assert str(scripts.signature(scripts.of_function(nets.scaled))) == "(x: Tensor, by: int = 3)"
    traced = torch.jit.trace(nets.Values(), (torch.ones(4), torch.ones(4)))
    assert list(scripts.signature(traced).parameters) == ["x", "y"]


@pytest.mark.parametrize(
    ("names", "bound"),
    [
        (["scale", "x"], ((), {"x": 2, "scale": 1})),
        (["image"], ((1,), {})),
        (["y"], "forward(x, y, scale) also needs `x`"),
        (["x", "z"], "`z`: not a parameter of forward(x, y, scale), while `x` is"),
    ],
)
def test_inputs_are_passed_to_a_script_as_to_a_module(names: list[str], bound: Any, tmp_path: Path) -> None:
    module = _loaded(nets.Optional(), tmp_path)
    values = list(range(1, len(names) + 1))
    if isinstance(bound, str):
        with pytest.raises(StepError) as caught:
            bind(module, names, values)
        assert caught.value.diagnostics[0].message == bound
    else:
        assert bind(module, names, values) == bound


@pytest.mark.parametrize(
    ("plain", "names", "how"),
    [
        pytest.param(nets.Branch(), ["x"], "script", id="branch-on-a-size"),
        pytest.param(nets.Branch(), ["x"], "load", id="branch-on-a-size-from-a-file"),
        pytest.param(nets.Branch(), ["x"], "freeze", id="frozen"),
        pytest.param(nets.Values(), ["y", "x"], "script", id="branch-on-values-and-another-order"),
        pytest.param(nets.Loop(), ["image"], "load", id="loop-and-by-position"),
        pytest.param(nets.Dict(), ["x"], "script", id="dict"),
        pytest.param(nets.Dict(), ["x"], "trace", id="traced-dict"),
        pytest.param(nets.Many(), ["x"], "script", id="list"),
        pytest.param(nets.Named(), ["x"], "load", id="named-tuple"),
        pytest.param(nets.Optional(), ["x"], "script", id="defaults-left-out"),
        pytest.param(nets.Optional(), ["x", "y"], "load", id="optional-given"),
        pytest.param(nets.scaled, ["x"], "", id="function"),
        pytest.param(lambda x, y: x - y, ["y", "x"], "trace", id="traced-function"),
    ],
)
def test_a_script_and_its_file_compute_what_the_module_did(
    plain: Any, names: list[str], how: str, tmp_path: Path
) -> None:
    ones = [torch.ones(2, 4) for _ in names]
    if how in ("script", "freeze"):
        module = torch.jit.script(plain.eval())
        module = torch.jit.freeze(module) if how == "freeze" else module
    elif how == "load":
        module = _loaded(plain, tmp_path)
    else:
        module = torch.jit.trace(plain, ones, strict=False) if how == "trace" else plain
    out = tmp_path / "out"
    out.mkdir()
    model = _live(module)
    outcome = _step(*names).run_beside(model, {}, out)
    assert [d.code for d in outcome.diagnostics] == ["exporter-chosen"]
    assert "the model is TorchScript, which the dynamo exporter does not take" in str(outcome.diagnostics[0])
    assert outcome.data["not_proven"] == [
        "sizes between those compared: torch.export knows nothing of TorchScript"
    ]
    session = ort.InferenceSession(out / "model.onnx")
    assert [i.name for i in session.get_inputs()] == names
    for batch, sign in ((1, 1), (2, -1), (5, 1), (5, -1)):
        given = {n: sign * torch.rand(batch, 4) for n in names}
        values = {("x" if n == "image" else n): v for n, v in given.items()}
        want = [t.detach() for _, t in flatten(plain(**values))]
        got = [torch.from_numpy(a) for a in session.run(None, {n: v.numpy() for n, v in given.items()})]
        torch.testing.assert_close(got, want)
        torch.testing.assert_close(model.call(names, list(given.values())), want)


@pytest.mark.parametrize(
    ("changed", "code", "message", "hint"),
    [
        ({"exporter": "dynamo"}, "export-failed",
         "the model is TorchScript, which the dynamo exporter does not take",
         "leave `exporter` out: auto takes torchscript for it"),
        ({"opset": 23}, "opset-mismatch",
         "the model is TorchScript, and the torchscript exporter writes opset 7 to 20, not 23",
         "set `opset: 20` or lower, or name the nn.Module that it was made from"),
        ({"precision": "autocast"}, "export-failed",
         "`method: autocast` does nothing to TorchScript: its types are in the graph already",
         "use auto, mixed or convert"),
    ],
)  # fmt: skip
def test_what_no_script_can_be_is_one_clear_error(
    changed: Any, code: str, message: str, hint: str, tmp_path: Path
) -> None:
    model = _live(torch.jit.script(nets.Branch()))
    with pytest.raises(StepError) as caught:
        _step("x", **changed).run_beside(model, {}, tmp_path)
    assert [(d.code, d.message, d.hint) for d in caught.value.diagnostics] == [(code, message, hint)]


def test_what_scripts_can_be_written_in_is_what_the_recipe_is_told() -> None:
    assert OPSETS["torchscript"] == scripts.OPSETS


def test_a_dict_made_in_a_branch_is_told_with_a_way_out(tmp_path: Path) -> None:
    model = _live(torch.jit.script(nets.BranchOfDicts()))
    with pytest.raises(StepError) as caught:
        _step("x").run_beside(model, {}, tmp_path)
    (said,) = caught.value.diagnostics
    assert said.message.startswith(
        "the torchscript exporter fails at batch=2: UnsupportedOperatorError: Exporting the operator "
        "'prim::DictConstruct'"
    )
    assert said.hint == "ONNX has no dicts: return a tuple where the script branches or loops"


def test_the_exporter_leaves_the_script_as_it_was(tmp_path: Path) -> None:
    model = _live(torch.jit.script(nets.Dict()))
    module: Any = model.module
    before = str(module.forward.graph)
    _step("x").run_beside(model, {}, tmp_path)
    assert str(module.forward.graph) == before


def test_half_of_a_script_is_half(tmp_path: Path) -> None:
    model = _live(torch.jit.script(nets.Branch()))
    _step("x", precision="half").run_beside(model, {}, tmp_path)
    import onnx

    kinds = {i.data_type for i in onnx.load(tmp_path / "model.onnx").graph.initializer}
    assert onnx.TensorProto.FLOAT16 in kinds
    assert onnx.TensorProto.FLOAT not in kinds


def test_what_a_script_counts_is_named_and_taken_back(tmp_path: Path) -> None:
    for module in (torch.jit.script(nets.Counts()), _loaded(nets.Counts(), tmp_path)):
        fresh = Snapshot.of(module)
        tried = called(_live(module), ["x"], [torch.ones(2, 4)])
        assert tried.changed == ("calls",)
        assert module.calls == 1
        fresh.restore()
        assert module.calls == 0
        assert fresh.changed() == ()


@pytest.mark.parametrize("after", [500, 10**9])
def test_what_a_script_counts_is_told_only_where_it_is_used(after: int) -> None:
    model = _live(torch.jit.script(nets.Late(after)))
    specs = (TensorSpec("x", "float32", ("batch", 4)),)
    tried = called(model, ["x"], [torch.ones(2, 4)])
    assert (tried.changed, tried.plain) == (("calls",), ("calls",))
    if after > 1e6:
        assert kept(model, specs, {"batch": 2}, {"batch": (1, 4)}, tried.changed, tried.plain) == ()
        return
    with pytest.raises(StepError, match=r"forward\(\) counts in `calls`, and uses it: 999 calls later"):
        kept(model, specs, {"batch": 2}, {"batch": (1, 4)}, tried.changed, tried.plain)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    torch.jit.script(nets.Branch()).save(str(tmp_path / "net.pt"))
    return tmp_path / "net.pt"


@pytest.mark.parametrize("given", [{"args": ("net.pt",)}, {"kwargs": {"f": "net.pt"}}])
def test_an_archive_beside_the_recipe_is_the_model_and_its_bytes_are_a_fact(
    archive: Path, given: dict[str, Any]
) -> None:
    source = ModelSource("torch.jit:load", **given)
    assert source.declared(archive.parent) == (archive,)
    made = LiveModel.make(source, archive.parent, Trace(archive.parent)).module
    assert scripts.is_script(made)
    assert not made.training
    assert not any(p.requires_grad for p in made.parameters())


def _failure(source: ModelSource, folder: Path) -> tuple[str, str, str | None]:
    with pytest.raises(StepError) as caught:
        LiveModel.make(source, folder, Trace(folder))
    (said,) = caught.value.diagnostics
    return said.code, said.message, said.hint


class _Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("run",))


def test_a_strangers_archive_runs_no_python(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil = archive.with_name("evil.pt")
    with zipfile.ZipFile(archive) as real, zipfile.ZipFile(evil, "w") as made:
        for name in real.namelist():
            data = pickle.dumps(_Code(), protocol=2) if name.endswith("data.pkl") else real.read(name)
            made.writestr(name, data)
    code, message, hint = _failure(ModelSource("torch.jit:load", ("evil.pt",)), archive.parent)
    assert code == "import-failed"
    assert message.startswith("calling `torch.jit:load` failed: RuntimeError")
    assert hint == "is it what torch.jit.save() wrote?"
    assert capsys.readouterr().out == ""


def test_other_files_are_no_archive(archive: Path) -> None:
    folder = archive.parent
    torch.save(nn.Linear(2, 2).state_dict(), folder / "weights.pt")
    _, _, hint = _failure(ModelSource("torch.jit:load", ("weights.pt",)), folder)
    assert hint == "is it what torch.jit.save() wrote?"
    _, message, _ = _failure(ModelSource("torch.jit:load", ("gone.pt",)), folder)
    assert message == f"there is no file {folder / 'gone.pt'}"


def test_an_archive_given_as_weights_is_told_to_be_a_model(archive: Path) -> None:
    source = ModelSource("torch.nn:Linear", (4, 3), weights="net.pt")
    _, _, hint = _failure(source, archive.parent)
    assert hint == "it is a whole model: `model: {import: torch.jit:load, args: [net.pt]}`"


def test_a_script_takes_weights(archive: Path) -> None:
    torch.save({"f.weight": torch.ones(3, 4), "f.bias": torch.zeros(3)}, archive.with_name("w.pt"))
    source = ModelSource("torch.jit:load", ("net.pt",), weights="w.pt")
    made = LiveModel.make(source, archive.parent, Trace(archive.parent)).module
    assert torch.equal(made(torch.ones(1, 4)), torch.full((1, 3), 4.0))
