"""The diagnosis: its figures, its verdict on known networks, and what it leaves as it was."""

import json
import math
import os
import random
import subprocess
import sys
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import torch.utils.checkpoint
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

import anact
from anact._batch_statistics import effective_rank, signal_statistics
from anact._diagnosis_text import labels


def layers_of(report: anact.Diagnosis) -> dict[str, anact.LayerDiagnosis]:
    return {layer.name: layer for layer in report.layers}


# The figures, against plain autograd in double precision.


class Shortcut(nn.Module):
    """In-place activations, a function, a shared module, tied weights and a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(12, 17)
        self.act = nn.SiLU(inplace=True)
        self.second = nn.Linear(17, 17)
        self.tied = nn.Linear(17, 17, bias=False)
        self.tied.weight = self.second.weight
        self.last = nn.Linear(17, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.act(self.first(x))
        h = h + self.act(self.second(h))
        h = h + F.relu(self.tied(h))
        return self.last(h)


def test_gains_are_those_of_plain_autograd():
    torch.manual_seed(0)
    model = Shortcut().double()
    x = torch.randn(9, 12, dtype=torch.float64)
    r = torch.randn(9, 3, dtype=torch.float64)
    report = anact.diagnose(model, x, loss=lambda y: (r * y).sum())
    rows = layers_of(report)
    assert list(rows) == [
        "",
        "first",
        "act",
        "second",
        "act#2",
        "tied",
        "relu()",
        "last",
    ]

    # Each input under a name of its own, for the gradient through that layer alone.
    x0 = x.clone().requires_grad_()
    a = F.linear(x0, model.first.weight, model.first.bias)
    a1 = a.view_as(a)
    h = F.silu(a1)
    h1 = h.view_as(h)
    b = F.linear(h1, model.second.weight, model.second.bias)
    b1 = b.view_as(b)
    s = F.silu(b1)
    g = h + s
    g1 = g.view_as(g)
    c = F.linear(g1, model.second.weight)
    c1 = c.view_as(c)
    t = F.relu(c1)
    k = g + t
    k1 = k.view_as(k)
    y = F.linear(k1, model.last.weight, model.last.bias)
    ends = {
        "": (x0, y),
        "first": (x0, a),
        "act": (a1, h),
        "second": (h1, b),
        "act#2": (b1, s),
        "tied": (g1, c),
        "relu()": (c1, t),
        "last": (k1, y),
    }
    flat = [tensor for pair in ends.values() for tensor in pair]
    squares = [
        gradient.square().sum().item()
        for gradient in torch.autograd.grad((r * y).sum(), flat)
    ]
    for i, (name, (inner, outer)) in enumerate(ends.items()):
        row = rows[name]
        forward = outer.square().mean() / inner.square().mean()
        assert row.forward_gain == pytest.approx(forward.item(), rel=1e-12)
        backward = squares[2 * i] / squares[2 * i + 1]
        assert row.backward_gain == pytest.approx(backward, rel=1e-12)
        growth = outer.square().mean() / x.square().mean()
        assert row.signal_growth == pytest.approx(growth.item(), rel=1e-12)
        growth_back = squares[2 * i + 1] / squares[1]
        assert row.gradient_growth == pytest.approx(growth_back, rel=1e-12)
        assert row.variance == pytest.approx(outer.var(unbiased=False).item())
        assert row.mean == pytest.approx(outer.mean().item())
    assert rows[""].sums == 2 and rows["act"].convertible
    assert rows["relu()"].type == "function" and not rows["relu()"].convertible


def test_statistics_of_the_batch():
    torch.manual_seed(0)
    x = torch.randn(7, 3, 5, dtype=torch.float64)
    found = signal_statistics(x, 7)
    rows = x.reshape(7, 15)
    singular = torch.linalg.svdvals(rows)
    p = singular / singular.sum()
    assert found.effective_rank == pytest.approx(math.exp(-(p * p.log()).sum()))
    n = rows.norm(dim=1)
    kurtosis = n.pow(4).mean() / n.square().mean() ** 2
    assert found.kurtosis == pytest.approx(kurtosis.item())
    cosines = [
        abs(F.cosine_similarity(rows[i], rows[j], dim=0).item())
        for i in range(7)
        for j in range(7)
        if i != j
    ]
    assert found.similarity == pytest.approx(sum(cosines) / 42)
    # Windows: several rows a sample, one after another.
    assert signal_statistics(x.reshape(21, 5), 7) == found
    assert signal_statistics(x, 6).reason == "its first dimension is not the batch's"


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1e18])
def test_statistics_at_any_scale(scale):
    torch.manual_seed(0)
    x = torch.randn(6, 40)
    usual = signal_statistics(x, 6)
    found = signal_statistics(x * scale, 6)
    for name in ("kurtosis", "effective_rank", "similarity"):
        assert getattr(found, name) == pytest.approx(getattr(usual, name), rel=1e-5)


def test_the_rank_of_equal_and_of_orthogonal_samples():
    assert signal_statistics(torch.ones(5, 8), 5).effective_rank == pytest.approx(1)
    assert signal_statistics(torch.ones(5, 8), 5).similarity == pytest.approx(1)
    assert effective_rank(torch.eye(6).double()) == pytest.approx(6)
    # One sample outweighs all: the largest kurtosis is the number of samples.
    x = torch.full((8, 4), 1e-6)
    x[3] = 1
    assert signal_statistics(x, 8).kurtosis == pytest.approx(8, rel=1e-6)


def test_dead_units_are_counted_by_their_slope():
    # 3 of 5 channels, of which one is saturated from above.
    x = torch.randn(4, 5, 6, 6)
    x[:, 0] = -1
    x[:, 1] = -7
    x[:, 2] = 9
    x[:, 3] = -1
    x[2, 3, 1, 5] = 1  # fires once
    norm = nn.Conv2d(5, 5, 1, groups=5, bias=False)
    nn.init.ones_(norm.weight)
    for act, dead in ((nn.ReLU6(inplace=True), 3 / 5), (nn.Hardsigmoid(), 2 / 5)):
        report = anact.diagnose(nn.Sequential(norm, act), x)
        assert report.layers[-1].dead == pytest.approx(dead)
        assert report.layers[-1].slopes == x.numel()
    # Behind a linear layer, units are the last dimension's.
    last = nn.Linear(6, 6)
    with torch.no_grad():
        last.bias[1:3] = -1000
    report = anact.diagnose(nn.Sequential(last, anact.NReLU()), x)
    assert report.layers[-1].dead == pytest.approx(2 / 6)
    # What is no function of single elements has no units.
    report = anact.diagnose(nn.Sequential(last, nn.GLU()), x)
    assert report.layers[-1].kind == "activation"
    assert report.layers[-1].dead is None


class ChangesItsInput(nn.Module):
    """An identity before an in-place activation, and a block that begins with one."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.identity = nn.Identity()
        self.act = nn.ReLU(inplace=True)
        self.block = nn.Sequential(nn.SiLU(inplace=True), nn.Linear(8, 8))
        self.last = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        a = self.first(x) * 1
        self.act(self.identity(a))  # a changes
        b = a + 0
        return self.last(self.block(b) + b)  # b changes before the sum


def test_changes_in_place_are_those_of_the_model():
    torch.manual_seed(0)
    model = ChangesItsInput().double()
    x = torch.randn(5, 6, dtype=torch.float64)
    wanted = model(x)
    seen = []
    report = anact.diagnose(
        model, x, loss=lambda y: seen.append(y.detach()) or y.square().sum()
    )
    assert torch.equal(seen[0], wanted)
    rows = layers_of(report)

    x0 = x.clone().requires_grad_()
    a = F.linear(x0, model.first.weight, model.first.bias)
    b = F.relu(a)
    s = F.silu(b)
    s1 = s.view_as(s)
    c = F.linear(s1, model.block[1].weight, model.block[1].bias)
    k = c + s
    y = F.linear(k, model.last.weight, model.last.bias)
    g0, ga, gb, gs, gs1, gc = (
        g.square().sum().item()
        for g in torch.autograd.grad(y.square().sum(), [x0, a, b, s, s1, c])
    )
    assert rows["first"].backward_gain == pytest.approx(g0 / ga)
    assert rows["identity"].backward_gain == pytest.approx(1)
    assert rows["act"].backward_gain == pytest.approx(ga / gb)
    assert rows["block.0"].backward_gain == pytest.approx(gb / gs)
    assert rows["block.1"].backward_gain == pytest.approx(gs1 / gc)
    assert rows["block"].gradient == pytest.approx(gc)


# The verdict on known networks.


def mlp(depth: int, act=nn.ReLU, width: int = 64, inputs: int = 64) -> nn.Sequential:
    layers = [nn.Linear(inputs, width), act()]
    for _ in range(depth - 1):
        layers += [nn.Linear(width, width), act()]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def he(depth: int = 10) -> nn.Sequential:
    model = mlp(depth)
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return model


SEEDS = pytest.mark.parametrize("seed", [0, 1, 2])


@SEEDS
@pytest.mark.parametrize("initialized", [False, True])
def test_a_deep_plain_perceptron_loses_its_gradient(seed, initialized):
    torch.manual_seed(seed)
    model = mlp(20, nn.SiLU, 128)
    if initialized:
        anact.initialize(model)
    report = anact.diagnose(model, torch.randn(32, 64))
    first = report.problems[0]
    assert first.kind == "gradient"
    assert "shrinks" in first.message and "at `0`" in first.message
    assert first.layers == tuple(str(i) for i in range(0, 41, 2))
    assert "convert these 20 activations" in first.advice
    assert "gain 1.68" in first.advice
    # What PyTorch's own biases keep up is the same for all samples.
    other = "signal" if initialized else "similarity"
    assert [p.kind for p in report.problems] == ["gradient", other]


@SEEDS
def test_anact_makes_it_healthy(seed):
    torch.manual_seed(seed)
    model = anact.initialize(mlp(20, nn.SiLU, 128)).model
    anact.convert_activations(model)
    for _ in range(5):
        model(torch.randn(32, 64))
    report = anact.diagnose(model, torch.randn(32, 64))
    assert report.healthy, report.verdict
    assert 0.2 < report.layers[0].forward_gain < 5
    assert 0.2 < report.layers[0].backward_gain < 5


@SEEDS
@pytest.mark.parametrize("size", [64, 80])
def test_resnet18_with_and_without_batch_norm(torchvision, seed, size):
    torch.manual_seed(seed)
    x = torch.randn(16, 3, size, size)
    report = anact.diagnose(torchvision.models.resnet18(), x)
    assert report.healthy, report.verdict
    plain = torchvision.models.resnet18(norm_layer=lambda _: nn.Identity())
    report = anact.diagnose(plain, x)
    assert [p.kind for p in report.problems] == ["similarity"]
    assert "`fc`" in report.problems[0].message
    # Twice in every block, one module.
    assert {"layer1.0.relu", "layer1.0.relu#2"} <= set(layers_of(report))


@SEEDS
def test_a_transformer_with_norms_first_is_healthy(seed):
    torch.manual_seed(seed)
    layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True, norm_first=True)
    model = nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)
    x = torch.randn(16, 12, 64)
    report = anact.diagnose(model, x)
    assert report.healthy, report.verdict
    assert anact.diagnose(model.eval(), x).healthy
    assert "layers.3.relu()" in layers_of(report)


@SEEDS
def test_a_dead_layer_is_named(seed):
    torch.manual_seed(seed)
    model = he()
    with torch.no_grad():
        model[8].bias.fill_(-100)
    report = anact.diagnose(model, torch.randn(32, 64))
    (problem,) = report.problems
    assert problem.kind == "dead" and problem.layers == ("9", "8")
    assert "all units of `9`" in problem.message


@SEEDS
@pytest.mark.parametrize("where", [0, 8, 20])
def test_a_layer_whose_weights_are_100_times_too_large_is_named(seed, where):
    torch.manual_seed(seed)
    model = he()
    x = torch.randn(32, 64)
    assert anact.diagnose(model, x).healthy
    with torch.no_grad():
        model[where].weight.mul_(100)
    (problem,) = anact.diagnose(model, x).problems
    assert problem.kind == "scale" and problem.layers == (str(where),)
    assert "times too large" in problem.message
    with torch.no_grad():
        model[where].weight.div_(1e4)
    problems = anact.diagnose(model, x).problems
    # A small last layer is usual.
    assert [p.layers for p in problems] == ([] if where == 20 else [(str(where),)])


def test_growth_is_found_where_it_begins():
    torch.manual_seed(0)
    model = he(20)
    with torch.no_grad():
        for i in range(0, 20, 2):
            model[i].weight.mul_(1.8)
    report = anact.diagnose(model, torch.randn(32, 64))
    kinds = {problem.kind: problem for problem in report.problems}
    assert {"gradient", "signal"} <= set(kinds)
    assert (
        "grows" in kinds["gradient"].message and "from `" in kinds["gradient"].message
    )
    start = int(kinds["gradient"].layers[-1])
    assert 16 <= start <= 24
    last = int(kinds["signal"].layers[-1])
    assert 16 <= last <= 24


def test_small_networks_as_pytorch_draws_them_are_healthy():
    torch.manual_seed(0)
    assert anact.diagnose(mlp(3), torch.randn(32, 64)).healthy
    cnn = nn.Sequential(
        nn.Conv2d(3, 16, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 13 * 13, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )
    assert anact.diagnose(cnn, torch.randn(16, 3, 32, 32)).healthy


def test_one_sample_that_outweighs_the_batch():
    torch.manual_seed(0)

    class Cubed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x**3

    model = nn.Sequential(
        nn.Linear(64, 64), Cubed(), nn.Linear(64, 64), nn.Linear(64, 9)
    )
    x = torch.randn(32, 64)
    x[5] *= 2
    (problem,) = anact.diagnose(model, x).problems
    assert problem.kind == "kurtosis" and problem.layers == ("2",)


# What it leaves as it was.


class Everything(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 4, 3),
            nn.BatchNorm2d(4),
            anact.NSwish(),
            nn.Dropout(0.5),
            nn.Flatten(),
            nn.Linear(144, 5),
        )
        self.register_buffer("nothing", None)
        self.fails = False

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x) + random.random() + torch.rand(())
        self.body[1].running_mean = self.body[1].running_mean + 1
        self.body[3].eval()
        if self.fails:
            raise KeyError("no")
        return y


@pytest.mark.parametrize("fails", [False, True])
def test_the_state_is_as_before(fails):
    model = Everything()
    x = torch.randn(6, 3, 8, 8)
    model(x).sum().backward()
    model.body[3].train()
    model.body[0].bias.grad = None
    model.body[1].eval()
    model.fails = fails
    called = []
    for p in model.parameters():
        p.register_post_accumulate_grad_hook(called.append)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    buffers = dict(model.named_buffers())
    gradients = {k: p.grad for k, p in model.named_parameters()}
    values = {k: g.clone() for k, g in gradients.items() if g is not None}
    flags = [module.training for module in model.modules()]
    given = x.clone()
    drawn, torch_drawn = random.getstate(), torch.get_rng_state()
    if fails:
        with pytest.raises(KeyError):
            anact.diagnose(model, x)
    else:
        anact.diagnose(model, x)
    assert random.getstate() == drawn
    assert torch.equal(torch.get_rng_state(), torch_drawn)
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[key]), key
    assert all(now is buffers[key] for key, now in model.named_buffers())
    for key, p in model.named_parameters():
        assert p.grad is gradients[key]
        assert p.grad is None or torch.equal(p.grad, values[key])
    assert flags == [module.training for module in model.modules()]
    assert torch.equal(x, given) and not x.requires_grad
    assert called == []
    for module in model.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks


def test_it_does_not_change_what_the_model_computes():
    torch.manual_seed(0)
    model, x = Shortcut(), torch.randn(5, 12)
    wanted = model(x)
    seen = []
    anact.diagnose(model, x, loss=lambda y: seen.append(y.detach()) or y.sum())
    assert torch.equal(seen[0], wanted)


def test_twice_the_same():
    torch.manual_seed(0)
    model, x = Everything(), torch.randn(6, 3, 8, 8)
    state = torch.get_rng_state()
    first = anact.diagnose(model, x).to_json()
    torch.set_rng_state(state)
    assert anact.diagnose(model, x).to_json() == first


# Models and batches of many kinds.


@dataclass
class Result:
    logits: Tensor
    hidden: Tensor


class Tokens(nn.Module):
    def __init__(self, result="tensor") -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 16)
        self.body = nn.Linear(16, 16)
        self.head = nn.Linear(16, 11, bias=False)
        self.head.weight = self.embedding.weight
        self.result = result

    def forward(self, ids: Tensor, mask: Tensor | None = None):
        h = F.gelu(self.body(self.embedding(ids)))
        if mask is not None:
            h = h * mask[..., None]
        y = self.head(h)
        return {
            "tensor": y,
            "tuple": (y, [h]),
            "dict": OrderedDict(loss=None, logits=y, hidden=(h,)),
            "dataclass": Result(y, h),
            "integers": y.argmax(-1),
            "detached": y.detach(),
        }[self.result]


@pytest.mark.parametrize("result", ["tensor", "tuple", "dict", "dataclass"])
@pytest.mark.parametrize("frozen", [False, True])
def test_tokens_in_and_structures_out(result, frozen):
    torch.manual_seed(0)
    model = Tokens(result).requires_grad_(not frozen)
    ids = torch.randint(11, (6, 4))
    for batch in (ids, (ids,), [ids, torch.ones(6, 4)], {"ids": ids, "mask": None}):
        report = anact.diagnose(model, batch)
        assert report.healthy and report.batch_size == 6
        rows = layers_of(report)
        assert list(rows) == ["", "embedding", "body", "gelu()", "head"]
        assert rows["body"].backward_gain > 0 and rows["gelu()"].backward_gain > 0
        assert rows["embedding"].forward_gain is None
        assert rows["embedding"].kind == "embedding"
        assert rows["body"].signal_growth is not None
    assert all(p.requires_grad is not frozen for p in model.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    torch.manual_seed(0)
    model = he(6).to(dtype)
    report = anact.diagnose(model, torch.randn(32, 64, dtype=dtype))
    assert report.healthy, report.verdict
    with torch.no_grad():
        model[4].weight.mul_(3e4)
        model[6].weight.mul_(3e4)
    report = anact.diagnose(model, torch.randn(32, 64, dtype=dtype))
    overflows = dtype == torch.float16
    assert report.problems[0].kind == ("not finite" if overflows else "scale")
    if overflows:
        assert report.problems[0].layers == ("4",)


def test_autocast():
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        report = anact.diagnose(he(6), torch.randn(32, 64))
    assert report.healthy, report.verdict


def test_nan_in_the_batch_is_named():
    x = torch.zeros(3, 4)
    x[1, 2] = math.nan
    model = nn.Linear(4, 4)
    message = r"\['input'\] of shape \[3, 4\] holds 1 values.*first at \[1, 2\]"
    with pytest.raises(ValueError, match=message):
        anact.diagnose(model, {"input": x})
    with pytest.raises(ValueError, match=r"batch\[0\]"):
        anact.diagnose(model, (x,))


class Broken(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.clone().fill_(math.inf) * x


class SteepRoot(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x * 0).sqrt()


def test_what_is_not_finite_is_named():
    inner = nn.Sequential(nn.Linear(4, 4), Broken())
    model = nn.Sequential(nn.Linear(4, 4), inner, nn.Linear(4, 4), nn.ReLU())
    (problem,) = anact.diagnose(model, torch.randn(3, 4)).problems
    assert problem.kind == "not finite" and problem.layers == ("1.1",)
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(SteepRoot()), nn.Linear(4, 4))
    (problem,) = anact.diagnose(model, torch.randn(3, 4)).problems
    assert problem.kind == "not finite" and problem.layers == ("1.0",)
    assert "gradient" in problem.message


def test_one_sample_has_no_rank():
    report = anact.diagnose(he(4), torch.randn(1, 64))
    assert report.healthy
    for layer in report.layers:
        assert layer.effective_rank is layer.similarity is layer.kurtosis is None
        assert layer.blank == "one sample has no rank: give two or more"
    assert "blank: one sample has no rank" in str(report)


def test_an_empty_model():
    report = anact.diagnose(nn.Sequential(), torch.randn(3, 4))
    assert report.healthy
    assert report.notes == ["The model has no layers: there was nothing to measure."]
    assert "no layers" in str(report)


def test_a_part_that_has_no_gradient_is_a_note():
    class Backbone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                h = F.relu(self.body(x))
            return self.head(h)

    report = anact.diagnose(Backbone(), torch.randn(8, 4))
    assert report.healthy
    assert report.notes == ["No gradient was asked for at `body`."]
    model = he(4)
    nn.init.zeros_(model[-1].weight)
    report = anact.diagnose(model, torch.randn(8, 64))
    assert report.healthy and "output of `8` is 0" in report.notes[0]


def test_compiled_and_checkpointed_parts():
    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = mlp(3)

        def forward(self, x: Tensor) -> Tensor:
            return torch.utils.checkpoint.checkpoint(self.body, x, use_reentrant=False)

    torch.manual_seed(0)
    model, x = Checkpointed(), torch.randn(8, 64)
    plain = layers_of(anact.diagnose(model.body, x))
    rows = layers_of(anact.diagnose(model, x))
    assert rows["body.2"].backward_gain == pytest.approx(plain["2"].backward_gain)
    assert len(rows) == len(plain) + 1
    compiled = nn.Sequential(torch.compile(model.body), nn.Linear(10, 10))
    names = [layer.name for layer in anact.diagnose(compiled, x).layers]
    assert any(name.endswith(".2") for name in names)


def test_parts_that_are_no_plain_modules():
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
    model = nn.Sequential(
        weight_norm(nn.Linear(8, 8)), torch.jit.script(body), nn.LSTM(8, 4)
    )
    report = anact.diagnose(model, torch.randn(6, 8))
    assert report.healthy, report.verdict
    assert [(x.name, x.kind) for x in report.layers] == [
        ("", "block"),
        ("0", "linear"),
        ("2", "linear"),
    ]
    assert all(layer.backward_gain > 0 for layer in report.layers)
    assert all(not m._forward_hooks for m in body.modules())


@pytest.mark.slow
def test_small_language_models_are_healthy(torchvision):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
    )
    model = transformers.BertForSequenceClassification(config)
    batch = {
        "input_ids": torch.randint(50, (4, 7)),
        "attention_mask": torch.ones(4, 7, dtype=torch.long),
        "labels": torch.tensor([0, 1, 0, 1]),
    }
    report = anact.diagnose(model, batch, loss=lambda output: output.loss)
    assert report.healthy, report.verdict
    assert layers_of(report)["bert.pooler.activation"].activation == "tanh"


def test_in_inference_mode():
    model = he(4)
    with torch.inference_mode():
        report = anact.diagnose(model, torch.randn(8, 64))
    assert report.layers[1].backward_gain > 0


def test_bad_arguments():
    x = torch.randn(4, 4)
    with pytest.raises(ValueError, match=r"batch of shape \[0, 4\] is empty"):
        anact.diagnose(nn.Linear(4, 4), x[:0])
    with pytest.raises(TypeError, match="not RecursiveScriptModule"):
        anact.diagnose(torch.jit.script(nn.Linear(4, 4)), x)
    with pytest.raises(TypeError, match="expected a torch.nn.Module, not function"):
        anact.diagnose(lambda x: x, x)
    with pytest.raises(ValueError, match="'weight' is lazy"):
        anact.diagnose(nn.LazyLinear(3), x)
    with pytest.raises(ValueError, match=r"one number, not a tensor of shape \[4, 4\]"):
        anact.diagnose(nn.Linear(4, 4), x, loss=lambda y: y)
    with pytest.raises(ValueError, match="one number, not float"):
        anact.diagnose(nn.Linear(4, 4), x, loss=lambda y: y.sum().item())
    with pytest.raises(ValueError, match="the loss has no gradient"):
        anact.diagnose(nn.Linear(4, 4), x, loss=lambda y: y.detach().sum())
    for result in ("integers", "detached"):
        with pytest.raises(ValueError, match="no floating tensor that has a gradient"):
            anact.diagnose(Tokens(result), torch.randint(11, (3, 4)))


# The report.


@pytest.fixture(scope="module")
def report() -> anact.Diagnosis:
    torch.manual_seed(0)
    return anact.diagnose(mlp(20, nn.SiLU), torch.randn(32, 64))


def test_text(report):
    text = str(report)
    lines = text.splitlines()
    assert lines[0].startswith("Sequential in training mode, 32 samples")
    assert lines[2].split() == [
        "forward",
        "backward",
        "signal",
        "gradient",
        "dead",
        "kurtosis",
        "rank",
        "cosine",
    ]
    assert lines[4].startswith("  0: Linear(64, 64)")
    assert max(map(len, lines)) <= 125
    assert "The gradient's second moment shrinks" in text.replace("\n  ", " ")


def test_labels_are_below_what_they_are_in():
    layer = nn.TransformerEncoderLayer(8, 2, 8, batch_first=True)
    model = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
    found = labels(anact.diagnose(model, torch.randn(2, 3, 8)).layers)
    assert found[:2] == [
        ("", "TransformerEncoder"),
        ("layers.0", "TransformerEncoderLayer"),
    ]
    assert ("linear1", "Linear(8, 8)") in found and ("relu()", "") in found


def test_json(report):
    found = json.loads(report.to_json())
    assert found["healthy"] is False and found["verdict"] == report.verdict
    assert found["layers"][1]["forward_gain"] == report.layers[1].forward_gain
    assert found["problems"][0]["kind"] == "gradient"
    broken = anact.diagnose(nn.Sequential(nn.Linear(2, 2), Broken()), torch.ones(2, 2))
    text = broken.to_json()
    assert ": NaN" not in text and ": Infinity" not in text
    assert json.loads(text)["layers"][-1]["second_moment"] is None


def test_dataframe(report):
    pytest.importorskip("pandas")
    frame = report.to_dataframe()
    assert list(frame["name"][:3]) == ["", "0", "1"]
    assert frame["forward_gain"][1] == report.layers[1].forward_gain
    empty = anact.diagnose(nn.Sequential(), torch.randn(3, 4))
    assert list(empty.to_dataframe().columns) == list(frame.columns)


def test_without_pandas(report, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="needs pandas: pip install pandas"):
        report.to_dataframe()


def test_page(report, tmp_path):
    html = report.to_html(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() == html
    assert "<script" not in html and "http" not in html
    assert html.count("<tr ") == len(report.layers)
    assert "prefers-color-scheme: dark" in html and "convert these 20" in html

    class Odd(nn.Linear):
        def extra_repr(self) -> str:
            return "<b>&"

    Odd.__name__ = "<i>"
    html = anact.diagnose(nn.Sequential(Odd(2, 2)), torch.randn(2, 2)).to_html()
    assert "<b>&" not in html and "<i>" not in html
    assert (
        "Not measured."
        in anact.diagnose(nn.Sequential(nn.Linear(2, 2)), torch.zeros(2, 2)).to_html()
    )


# The command.

FACTORIES = """
import anact, torch
from torch import nn

def healthy():
    return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))

def pair():
    return healthy(), torch.randn(16, 8)

def deep():
    return nn.Sequential(*[nn.Linear(64, 64), nn.SiLU()] * 20)

def batch():
    return torch.randn(16, 8)

def loss(y):
    return y.square().mean()

def wrong():
    return 3

number = 5
"""


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "nets.py").write_text(FACTORIES)
    return subprocess.run(
        [sys.executable, "-m", "anact", "diagnose", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(anact.__file__).parent.parent)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_command(tmp_path):
    done = command(tmp_path, "nets:healthy", "--batch", "16x8")
    assert (done.returncode, done.stderr) == (0, "")
    assert "No problem was found." in done.stdout
    page = tmp_path / "page.html"
    done = command(
        tmp_path, "nets:deep", "--batch", "16x64", "--json", "--html", str(page)
    )
    assert done.returncode == 1 and done.stderr == ""
    assert json.loads(done.stdout)["problems"][0]["kind"] == "gradient"
    assert page.read_text().endswith("</html>\n")


@pytest.mark.slow
def test_ways_to_give_the_batch(tmp_path):
    torch.save({"input": torch.randn(16, 8)}, tmp_path / "batch.pt")
    for arguments in (
        ("nets:pair",),
        ("nets:healthy", "--batch", "batch.pt"),
        ("nets:healthy", "--batch", "nets:batch", "--loss", "nets:loss"),
    ):
        done = command(tmp_path, *arguments)
        assert (done.returncode, done.stderr) == (0, ""), arguments


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nets",), "'nets' is not of the form module:function"),
        (("nothing_there:f",), "No module named 'nothing_there'"),
        (("nets:absent",), "module 'nets' has no 'absent'"),
        (("nets:number",), "nets:number is a int, not a function"),
        (("nets:wrong",), "nets:wrong returns int, not a model"),
        (("nets:healthy",), "returns no batch: give one with --batch"),
        (("nets:healthy", "--batch", "16x9"), "cannot be multiplied"),
        (("nets:healthy", "--batch", "absent.pt"), "neither sizes such as 32x64"),
        (("nets:pair", "--html", "no/such/folder.html"), "No such file"),
    ],
)
def test_bad_input_of_the_command(tmp_path, arguments, message):
    done = command(tmp_path, *arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("anact diagnose: ") and message in done.stderr
    assert len(done.stderr.splitlines()) == 1
