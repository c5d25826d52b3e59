"""Weights out of files: what loads, and what is said where it does not."""

from __future__ import annotations

import argparse
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from modelbuild.base.errors import StepError
from modelbuild.steps import checkpoints
from modelbuild.steps.checkpoints import Weights
from modelbuild.steps.model import ModelSource


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.f = nn.Linear(4, 3)
        self.g = nn.BatchNorm1d(3)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(5, 3)
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.words.weight


def other_net() -> Net:
    net = Net()
    with torch.no_grad():
        for tensor in net.state_dict().values():
            tensor.fill_(7)
    return net


STATE = other_net().state_dict()


def under(prefix: str, state: dict[str, Any] = STATE, **more: Any) -> dict[str, Any]:
    return {**{prefix + name: value for name, value in state.items()}, **more}


def loaded(folder: Path, held: Any, key: str | None = None, strip_prefix: str | None = None) -> nn.Module:
    torch.save(held, folder / "w.pt")
    net = Net()
    checkpoints.load(net, folder, Weights("w.pt", key, strip_prefix))
    return net


def refused(
    folder: Path, held: Any, key: str | None = None, strip_prefix: str | None = None
) -> tuple[str, str]:
    with pytest.raises(StepError) as caught:
        loaded(folder, held, key, strip_prefix)
    (said,) = caught.value.diagnostics
    assert said.code == "import-failed"
    return said.message, str(said.hint)


OPTIMIZER = torch.optim.Adam(Net().parameters()).state_dict()
STEPPED = {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
RUN = {"epoch": 3, "state_dict": STATE, "optimizer": STEPPED}


@pytest.mark.parametrize(
    ("held", "key", "strip_prefix"),
    [
        pytest.param(STATE, None, None, id="a-state-dict"),
        pytest.param(OrderedDict(STATE), None, None, id="an-ordered-one"),
        pytest.param(RUN, "state_dict", None, id="a-checkpoint"),
        pytest.param({"ema": {"model": STATE}, "step": 1}, "ema.model", None, id="nested"),
        pytest.param({"ema.model": STATE, "step": 1}, "ema.model", None, id="a-name-with-a-dot"),
        pytest.param({"ema": 1, "ema.model": {"a": STATE}}, "ema.model.a", None, id="a-dot-and-a-level"),
        pytest.param({"models": {0: STATE}}, "models.0", None, id="a-number"),
        pytest.param(under("module."), None, "module.", id="data-parallel"),
        pytest.param(nn.DataParallel(other_net()).state_dict(), None, "module.", id="with-versions"),
        pytest.param(under("module._orig_mod."), None, "module._orig_mod.", id="two-wrappers"),
        pytest.param({"state_dict": under("model.")}, "state_dict", "model.", id="a-trainer"),
        pytest.param(
            under("module.", n_averaged=torch.tensor(3)), None, "module.", id="an-average-with-its-count"
        ),
        pytest.param(
            {"module.f.weight": STATE["f.weight"], **{n: v for n, v in STATE.items() if n != "f.weight"}},
            None, "module.",
            id="some-lack-the-prefix",
        ),
        pytest.param(
            {
                "state_dict": STATE, "args": argparse.Namespace(lr=0.1, out=Path("x")),
                "best": np.float64(0.5), "step": np.int64(3), "history": np.zeros(3),
            },
            "state_dict", None,
            id="what-scripts-put-beside",
        ),
    ],
)  # fmt: skip
def test_weights_are_found_where_the_recipe_says(
    tmp_path: Path, held: Any, key: str | None, strip_prefix: str | None
) -> None:
    found = loaded(tmp_path, held, key, strip_prefix).state_dict()
    assert all(torch.equal(found[name], value) for name, value in STATE.items())


def test_versions_of_modules_lose_the_prefix_too(tmp_path: Path) -> None:
    """A BatchNorm of version 1 had no count of batches: there it is no missing key."""
    state = OrderedDict((n, v) for n, v in under("module.").items() if "num_batches" not in n)
    state._metadata = OrderedDict({"module": {"version": 1}, "module.g": {"version": 1}})  # type: ignore[attr-defined]
    assert torch.equal(
        loaded(tmp_path, state, strip_prefix="module.").state_dict()["g.bias"], STATE["g.bias"]
    )
    state._metadata["module.g"] = {"version": 2}  # type: ignore[attr-defined]
    message, _ = refused(tmp_path, state, strip_prefix="module.")
    assert message == "weights w.pt do not fit the model: missing `g.num_batches_tracked`"


def test_a_tied_weight_is_needed_once(tmp_path: Path) -> None:
    save_file({"words.weight": torch.full((5, 3), 2.0)}, tmp_path / "w.safetensors")
    net = Tied()
    checkpoints.load(net, tmp_path, Weights("w.safetensors"))
    assert torch.equal(net.head.weight, torch.full((5, 3), 2.0))


def test_a_prefix_is_taken_from_safetensors_too(tmp_path: Path) -> None:
    save_file(under("_orig_mod."), tmp_path / "w.safetensors")
    net = Net()
    checkpoints.load(net, tmp_path, Weights("w.safetensors", strip_prefix="_orig_mod."))
    assert torch.equal(net.f.weight, STATE["f.weight"])


WITHOUT_BIAS = {n: v for n, v in STATE.items() if n != "f.bias"}
FIT = "weights w.pt do not fit the model: "


@pytest.mark.parametrize(
    ("held", "key", "strip_prefix", "message", "hint"),
    [
        pytest.param(
            RUN, None, None,
            "weights w.pt hold no state dict but a mapping of `epoch`, `state_dict`, `optimizer`",
            "write `weights: {file: w.pt, key: state_dict}`",
            id="no-key",
        ),
        pytest.param(
            {"epoch": 3, "net": {"params": under("module.")}, "optimizer": OPTIMIZER}, None, None,
            "weights w.pt hold no state dict but a mapping of `epoch`, `net`, `optimizer`",
            'write `weights: {file: w.pt, key: net.params, strip_prefix: "module."}`',
            id="no-key-nor-prefix",
        ),
        pytest.param(
            {"model": STATE, "ema": STATE}, None, None,
            "weights w.pt hold no state dict but a mapping of `model`, `ema`",
            "write `weights: {file: w.pt, key: model}`; `ema` would do as well",
            id="two-that-fit",
        ),
        pytest.param(
            {"teacher": {"h": torch.ones(1)}, "student": STATE}, None, None,
            "weights w.pt hold no state dict but a mapping of `teacher`, `student`",
            "write `weights: {file: w.pt, key: student}`",
            id="the-one-that-fits",
        ),
        pytest.param(
            {"epoch": 3, "lr": 0.1}, None, None,
            "weights w.pt hold no state dict but a mapping of `epoch`, `lr`",
            "name the one that the state dict is under: `key:`",
            id="nothing-in-it",
        ),
        pytest.param(
            RUN, "state_dic", None,
            "weights w.pt have no key `state_dic`: there are `epoch`, `state_dict`, `optimizer`",
            "did you mean `state_dict`?",
            id="a-misspelt-key",
        ),
        pytest.param(
            {"ema": {"model": STATE}}, "ema.net", None,
            "`ema` of weights w.pt has no key `net`: there is `model`",
            "name the one that the state dict is under, or none",
            id="a-wrong-nested-key",
        ),
        pytest.param(
            under("ema."), "ema", None,
            "weights w.pt have no key `ema`: there are `ema.f.weight`, `ema.f.bias`, `ema.g.weight`, "
            "`ema.g.bias`, `ema.g.running_mean`, `ema.g.running_var`, `ema.g.num_batches_tracked`",
            'that is what the names begin with: `strip_prefix: "ema."` takes it away',
            id="a-key-that-is-a-prefix",
        ),
        pytest.param(
            RUN, "epoch", None, "`epoch` of weights w.pt is a `int`, not a state dict",
            "write `weights: {file: w.pt, key: state_dict}`",
            id="another-key",
        ),
        pytest.param(
            RUN, "optimizer", None,
            "`optimizer` of weights w.pt is no state dict but a mapping of `state`, `param_groups`",
            "write `weights: {file: w.pt, key: state_dict}`",
            id="the-optimizers",
        ),
        pytest.param(
            STEPPED["state"], None, None, "weights w.pt hold no state dict but a mapping of `0`",
            "name the one that the state dict is under: `key:`",
            id="numbers-for-names",
        ),
        pytest.param(
            [STATE], "a", None, "weights w.pt hold a `list`, which has no keys", "leave `key` out",
            id="no-mapping",
        ),
        pytest.param(
            under("module."), None, None,
            FIT + "its names all begin with `module.`, which the model's do not",
            'write `weights: {file: w.pt, strip_prefix: "module."}`',
            id="data-parallel",
        ),
        pytest.param(
            {"state_dict": under("model.", **{"loss.weight": torch.ones(1)})}, "state_dict", None,
            FIT + "7 of its 8 names begin with `model.`, which the model's do not",
            'write `weights: {file: w.pt, key: state_dict, strip_prefix: "model."}`',
            id="a-trainer",
        ),
        pytest.param(
            under("_orig_mod.module.", WITHOUT_BIAS), None, None,
            FIT + "its names all begin with `_orig_mod.module.`, which the model's do not; without it, 1 of "
            "the model's 7 are missing: `f.bias`",
            'write `weights: {file: w.pt, strip_prefix: "_orig_mod.module."}`',
            id="a-prefix-and-a-missing-key",
        ),
        pytest.param(
            under("module."), None, "module",
            FIT + "its names all begin with `module.`, which the model's do not",
            'write `weights: {file: w.pt, strip_prefix: "module."}`',
            id="without-the-dot",
        ),
        pytest.param(
            under("module."), None, "modul.",
            FIT + "none of its names begins with `modul.`; its names all begin with `module.`, which the "
            "model's do not",
            'write `weights: {file: w.pt, strip_prefix: "module."}`',
            id="a-misspelt-prefix",
        ),
        pytest.param(
            STATE, None, "module.", FIT + "none of its names begins with `module.`", "write `weights: w.pt`",
            id="a-prefix-of-nothing",
        ),
        pytest.param(
            under("module.", WITHOUT_BIAS), None, "module.", FIT + "missing `f.bias`",
            "is it the state dict of this model, with these arguments?",
            id="the-right-prefix-and-a-missing-key",
        ),
        pytest.param(
            other_net().g.state_dict(), None, None,
            FIT + "missing `f.weight`, `f.bias`, `g.weight`, `g.bias`, `g.running_mean`, `g.running_var`; "
            "unexpected `weight`, `bias`, `running_mean`, `running_var`, `num_batches_tracked`",
            "the model's names begin with `g.`, the file's do not: it is of that part alone; name what makes "
            "the part in `import`, or save the whole model's state dict",
            id="of-a-part",
        ),
        pytest.param(
            {f"a.{i}": torch.ones(1) for i in range(9)}, None, None,
            FIT + "missing `f.weight`, `f.bias`, `g.weight`, `g.bias`, `g.running_mean`, `g.running_var`; "
            "unexpected `a.0`, `a.1`, `a.2`, `a.3`, `a.4`, `a.5` and 3 more",
            "is it the state dict of this model, with these arguments?",
            id="of-another-model",
        ),
        pytest.param(
            Net(), None, None,
            "cannot load weights w.pt: it holds a `tests.steps.test_checkpoints.Net` beside tensors",
            "loading it would run code: save `model.state_dict()` alone where the file is trusted, or "
            "convert it to .safetensors",
            id="a-whole-model",
        ),
    ],
)  # fmt: skip
def test_what_to_write_is_said(
    tmp_path: Path, held: Any, key: str | None, strip_prefix: str | None, message: str, hint: str
) -> None:
    assert refused(tmp_path, held, key, strip_prefix) == (message, hint)


class _Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("run",))


@pytest.mark.parametrize("beside", [_Code(), argparse.Namespace(x=_Code()), {"a": [_Code()]}])
def test_a_strangers_checkpoint_runs_no_python(
    tmp_path: Path, beside: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    message, _ = refused(tmp_path, {"state_dict": STATE, "beside": beside}, "state_dict")
    assert message.startswith("cannot load weights w.pt: it holds a `")
    assert "print" in message
    assert capsys.readouterr().out == ""


def test_a_pointer_of_git_lfs_is_told(tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 3\n")
    with pytest.raises(StepError) as caught:
        checkpoints.load(Net(), tmp_path, Weights("w.pt"))
    (said,) = caught.value.diagnostics
    assert said.message == "cannot load weights w.pt: it is a pointer of git-lfs, and not the file itself"
    assert said.hint == "run `git lfs pull`"


def test_a_file_that_is_no_torch_file_names_no_code(tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(b"junk" * 10)
    with pytest.raises(StepError) as caught:
        checkpoints.load(Net(), tmp_path, Weights("w.pt"))
    (said,) = caught.value.diagnostics
    assert said.hint == "is it a state dict saved with torch.save() or safetensors?"


def test_the_file_is_a_fact_wherever_it_is_named(tmp_path: Path) -> None:
    for weights in ("w.pt", Weights("w.pt", "state_dict", "module.")):
        assert ModelSource("net:Net", weights=weights).declared(tmp_path) == (tmp_path / "w.pt",)
