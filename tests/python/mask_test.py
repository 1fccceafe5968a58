"""A mask for padded batches: whose statistics count."""

import copy

import pytest
import torch
from oracle import OracleANAct, assert_same_statistics
from torch import fx, nn
from torch.utils.checkpoint import checkpoint

from anact import ANAct, NSiLU

torch.set_num_threads(1)


class MaskedOracle(OracleANAct):
    """The plain formula with the statistics of the kept elements, in float64."""

    def factors(self, statistics):
        self.used = statistics
        return super().factors(statistics)

    def forward(self, x, mask):
        x = x.double()
        kept = x.detach()[mask.expand_as(x)]
        # Statistics that are never updated are those of an empty batch.
        super().forward(kept[:0] if self.source == "fixed" else kept)
        factor, mean, shift = self.factors(self.used)
        scale = factor + 0.3 * torch.tanh(self.alpha[0])
        return scale * (self.f(x) - mean) + shift


def draw(step=0, shape=(3, 5, 7), dtype=torch.float64):
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(shape, generator=generator, dtype=torch.float64) * (1 + step)
    return x.to(dtype)


def padding(lengths=(5, 2, 1), length=5):
    """[batch, length, 1]"""
    return (torch.arange(length) < torch.tensor(lengths)[:, None])[..., None]


MASKS = {
    "padding": padding(),
    "elements": draw(9) > 0,
    "last": draw(9, (7,)) > 0,
    "all": torch.tensor(True),
    "few": torch.arange(105).view(3, 5, 7) % 40 == 17,
}
masks = pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)

OPTIONS = {
    "default": {},
    "running": {"statistics": "running", "momentum": 0.3},
    "batch": {"statistics": "batch", "solution": "compromise", "target": "input"},
    "fixed": {"statistics": "fixed"},
    "gate": {"gate": (0.9, 1.1), "target": "unit", "momentum": 0.2},
}


@masks
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("activation", ["silu", "elu(alpha=0.5)"])
def test_training(activation, options, mask):
    oracle = MaskedOracle(activation, **options)
    act = ANAct(activation, dtype=torch.float64, **options)
    for step in range(4):
        x = draw(step).requires_grad_()
        # What is masked out may be anything.
        with torch.no_grad():
            x[~mask.expand_as(x)] += 30
        at = x.detach().clone().requires_grad_()
        y, want = act(x, mask=mask), oracle(at, mask)
        weights = draw(step + 20)
        act.zero_grad(), oracle.zero_grad()
        (y * weights).sum().backward(), (want * weights).sum().backward()
        for got, expected in (
            (y, want),
            (x.grad, at.grad),
            (act.alpha.grad, oracle.alpha.grad),
        ):
            torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)
        assert_same_statistics(act, oracle, 1e-11)
        with torch.no_grad():
            act.alpha += 0.2
            oracle.alpha += 0.2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_narrow_types(dtype):
    act, oracle = NSiLU(), MaskedOracle()
    for step in range(3):
        x = draw(step, dtype=dtype)
        y, want = act(x, mask=padding()), oracle(x, padding())
        tolerance = 1e-5 if dtype == torch.float32 else 0.02
        assert y.dtype == dtype
        torch.testing.assert_close(y.double(), want, rtol=tolerance, atol=tolerance)
        assert_same_statistics(act, oracle, 1e-6)


def test_what_is_masked_out_may_not_be_finite():
    act, plain = NSiLU(), NSiLU()
    x = draw(dtype=torch.float32)
    x[1, 2:], x[2, 1:] = float("inf"), float("nan")
    y = act(x, mask=padding())
    assert y[padding().expand_as(x)].isfinite().all() and act.num_batches_skipped == 0
    plain(x[padding().expand_as(x)])
    torch.testing.assert_close(act.state_dict(), plain.state_dict())


def test_an_all_false_mask_is_an_empty_batch():
    act = NSiLU(dtype=torch.float64)
    nothing = torch.zeros(3, 5, 1, dtype=torch.bool)
    for step in range(2):
        before = copy.deepcopy(act.state_dict())
        x = draw(step).requires_grad_()
        y = act(x, mask=nothing)
        y.sum().backward()
        for name, value in act.state_dict().items():
            assert torch.equal(value, before[name]), name
        want = copy.deepcopy(act).eval()(x)
        torch.testing.assert_close(y, want)
        act(draw(step))


@pytest.mark.parametrize("activation", ["silu", torch.sin])
def test_in_evaluation_it_has_no_effect(activation):
    act = ANAct(activation)
    act(draw(1, dtype=torch.float32))
    act.eval()
    x = draw(dtype=torch.float32)
    torch.testing.assert_close(act(x, mask=padding()), act(x))
    torch.testing.assert_close(act(x, padding() & False), act(x))


@pytest.mark.parametrize("training", [True, False])
def test_it_refuses(training):
    act = NSiLU().train(training)
    before = copy.deepcopy(act.state_dict())
    x = draw(dtype=torch.float32)
    with pytest.raises(TypeError, match="mask: expected bool, found torch.int64"):
        act(x, mask=padding().long())
    for shape in ((3, 5), (1, 3, 5, 7), (3, 5, 2), (5, 5, 1)):
        with pytest.raises(ValueError, match="not broadcastable to the input's"):
            act(x, mask=torch.ones(shape, dtype=torch.bool))
    for name, value in act.state_dict().items():
        assert torch.equal(value, before[name]), name


def swish(x):
    return x * torch.sigmoid(x)


def swish_slope(x):
    sigmoid = torch.sigmoid(x)
    return sigmoid * (1 + x * (1 - sigmoid))


@masks
@pytest.mark.parametrize("derivative", [None, swish_slope])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_training_with_a_function_of_ones_own(options, derivative, mask):
    oracle = MaskedOracle("silu", **options)
    act = ANAct(swish, derivative=derivative, dtype=torch.float64, **options)
    for step in range(4):
        x = draw(step)
        x[~mask.expand_as(x)] = 30
        x.requires_grad_()
        at = x.detach().clone().requires_grad_()
        y, want = act(x, mask=mask), oracle(at, mask)
        weights = draw(step + 20)
        act.zero_grad(), oracle.zero_grad()
        (y * weights).sum().backward(), (want * weights).sum().backward()
        for got, expected in (
            (y, want),
            (x.grad, at.grad),
            (act.alpha.grad, oracle.alpha.grad),
        ):
            torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)
        assert_same_statistics(act, oracle, 1e-9)
        with torch.no_grad():
            act.alpha += 0.2
            oracle.alpha += 0.2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_function_of_ones_own_in_narrow_types(dtype):
    act, named = ANAct(swish), NSiLU()
    for step in range(3):
        x = draw(step, dtype=dtype)
        x[1, 2:], x[2, 1:] = float("inf"), float("nan")
        y, want = act(x, mask=padding()), named(x, mask=padding())
        kept = padding().expand_as(x)
        assert y.dtype == dtype
        torch.testing.assert_close(y[kept], want[kept])
    for name in ("output_mean", "output_square", "input_variance", "backward_gain"):
        torch.testing.assert_close(getattr(act, name), getattr(named, name))
    nothing = copy.deepcopy(act)
    nothing(draw(dtype=dtype), mask=padding() & False)
    for name, buffer in act.named_buffers():
        assert torch.equal(buffer, getattr(nothing, name)), name


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_checkpointing(use_reentrant):
    act = NSiLU(momentum=0.3)
    plain = copy.deepcopy(act)
    for step in range(3):
        grads = []
        inputs = [draw(step + s, dtype=torch.float32) for s in (0, 5)]
        for module, run in (
            (plain, plain),
            (act, lambda *a: checkpoint(act, *a, use_reentrant=use_reentrant)),
        ):
            module.zero_grad()
            x, z = (i.clone().requires_grad_() for i in inputs)
            # Two passes before the backward pass, of which the first moved the statistics.
            y = run(x, padding()) * run(z, padding((1, 4, 2)))
            y.square().sum().backward()
            grads.append((x.grad, z.grad, module.alpha.grad))
        assert all(map(torch.equal, *grads))
        for name, value in plain.state_dict().items():
            assert torch.equal(act.state_dict()[name], value), name


class Masked(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(7, 7)
        self.act = NSiLU()

    def forward(self, x, mask):
        return self.act(self.linear(x), mask=mask) + 1


def same_steps(model, other):
    for training in (True, False):
        model.train(training), other.train(training)
        for step in range(2):
            x, mask = draw(step, dtype=torch.float32), padding((5, 2 + step, 1))
            y, want = model(x, mask), other(x, mask)
            torch.testing.assert_close(y, want)
            model.zero_grad(), other.zero_grad()
            y.square().sum().backward(), want.square().sum().backward()
            grads = dict(model.named_parameters())
            for name, parameter in other.named_parameters():
                torch.testing.assert_close(grads[name].grad, parameter.grad)
            buffers = dict(model.named_buffers())
            for name, buffer in other.named_buffers():
                torch.testing.assert_close(buffers[name], buffer)


@pytest.mark.parametrize("fullgraph", [False, True])
@pytest.mark.parametrize(
    "backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)]
)
def test_compiled(backend, fullgraph):
    torch.compiler.reset()
    model = Masked()
    other = copy.deepcopy(model)
    model.compile(backend=backend, fullgraph=fullgraph)
    same_steps(model, other)


def test_symbolic_trace():
    model = Masked()
    same_steps(fx.symbolic_trace(copy.deepcopy(model)), model)
