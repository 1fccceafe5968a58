"""What is frozen stays as it is, however it was frozen."""

import copy
import dataclasses
import pickle

import pytest
import torch
from oracle import STATISTICS
from torch import nn

import anact

torch.set_num_threads(1)


def state(act):
    counts = (act.num_batches_tracked, act.num_batches_skipped)
    return [float(getattr(act, name)) for name in STATISTICS] + [int(n) for n in counts]


def trained():
    torch.manual_seed(0)
    act = anact.NSwish()
    for _ in range(3):
        act(torch.randn(40))
    return act


def is_still(act, call=None):
    """Whether a training pass computes what evaluation does, and changes nothing."""
    x = torch.randn(30) * 5 + 3
    before = state(act)
    got = (act if call is None else call)(x)
    same = torch.allclose(got, copy.deepcopy(act).eval()(x), rtol=1e-6, atol=1e-6)
    return same and state(act) == before


def test_an_act_in_training_is_not_still():
    assert not is_still(trained())


def test_alpha_without_a_gradient_freezes():
    act = trained().requires_grad_(False)
    assert act.frozen and is_still(act)
    act.requires_grad_(True)
    assert not act.frozen and not is_still(act)


def test_it_passes_the_gradient_on():
    act = trained().requires_grad_(False)
    x = torch.randn(9, dtype=torch.float64, requires_grad=True)
    act.double()
    assert torch.autograd.gradcheck(act, (x,))


def test_an_alpha_that_is_not_learnt_says_nothing_of_freezing():
    act = anact.NSwish(learnable=False)
    assert not act.frozen
    act(torch.randn(20))
    assert int(act.num_batches_tracked) == 1


@pytest.mark.parametrize("learnable", [True, False])
def test_freeze_and_unfreeze(learnable):
    act = anact.NSwish(learnable=learnable)
    model = nn.Sequential(nn.Linear(3, 3), act, nn.BatchNorm1d(3))
    assert anact.freeze(model) is model
    assert act.frozen and is_still(act) and not act.alpha.requires_grad
    assert model[0].weight.requires_grad and model[2].weight.requires_grad
    for twin in (copy.deepcopy(act), pickle.loads(pickle.dumps(act))):
        assert twin.frozen and is_still(twin)
    assert anact.unfreeze(model) is model
    assert not act.frozen and act.alpha.requires_grad is learnable
    assert not is_still(act)


@pytest.mark.parametrize("how", ["alpha", "freeze"])
def test_in_a_graph(how):
    act = trained()
    compiled = torch.compile(act, backend="aot_eager", fullgraph=True)
    assert not is_still(act, compiled)
    _ = act.requires_grad_(False) if how == "alpha" else anact.freeze(act)
    assert is_still(act, compiled)


def test_a_function_of_ones_own():
    act = anact.ANAct(lambda x: x * torch.sigmoid(x))
    act(torch.randn(20))
    assert is_still(act.requires_grad_(False))


def test_assigning_options_leaves_alpha_frozen():
    act = trained().requires_grad_(False)
    act.options = dataclasses.replace(act.options, momentum=0.05)
    assert not act.alpha.requires_grad
    act = anact.NSwish()
    act.options = dataclasses.replace(act.options, learnable=False)
    assert not act.alpha.requires_grad
    act.options = dataclasses.replace(act.options, learnable=True)
    assert act.alpha.requires_grad


def body():
    layers = [nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), anact.NSwish()]
    model = nn.ModuleDict({"body": nn.Sequential(*layers)})
    for _ in range(3):
        model["body"](torch.randn(8, 4, 9, 9))
    return model


def test_lightning_freezes_it(torchvision):
    finetuning = pytest.importorskip("pytorch_lightning.callbacks").BaseFinetuning
    model = body()
    finetuning.freeze(model, train_bn=False)
    assert is_still(model.train()["body"][2])


def test_timm_freezes_it(torchvision):
    freeze = pytest.importorskip("timm.utils.model").freeze
    model = body()
    freeze(model, ["body"])
    assert is_still(model.train()["body"][2])
