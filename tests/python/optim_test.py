"""Optimizers, averages of models and what else works on parameters and buffers as lists."""

import copy

import pytest
import torch
from oracle import STATISTICS
from torch import nn
from torch.nn.utils import (
    clip_grad_norm_,
    parameters_to_vector,
    vector_to_parameters,
)
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from anact import ANAct

torch.set_num_threads(1)


def make_model(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(9, 17),
        ANAct("silu"),
        nn.Linear(17, 13),
        ANAct("leaky_relu", solution="geometric"),
        nn.Linear(13, 3),
    )


def draw(step):
    generator = torch.Generator().manual_seed(step)
    return torch.randn(11, 9, generator=generator)


def loss_of(model, x):
    return nn.functional.cross_entropy(model(x), (x[:, 0] > 0).long())


def train(model, optimizer, steps):
    losses = []
    for step in range(steps):
        optimizer.zero_grad()
        loss = loss_of(model, draw(step))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def normalized(model):
    return [module for module in model.modules() if isinstance(module, ANAct)]


def assert_same_state(got, want, tolerance=0.0):
    got, want = got.state_dict(), want.state_dict()
    assert got.keys() == want.keys()
    for name in want:
        torch.testing.assert_close(
            got[name], want[name], rtol=tolerance, atol=tolerance, msg=name
        )


OPTIMIZERS = {
    "sgd": (torch.optim.SGD, {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01}),
    "adam": (torch.optim.Adam, {"lr": 0.01, "amsgrad": True}),
    "adamw": (torch.optim.AdamW, {"lr": 0.01, "weight_decay": 0.1}),
    "rmsprop": (torch.optim.RMSprop, {"lr": 0.01, "centered": True}),
}


@pytest.mark.parametrize(
    ("name", "implementation"),
    [
        *((name, "foreach") for name in OPTIMIZERS),
        *((name, "fused") for name in OPTIMIZERS if name != "rmsprop"),
    ],
)
def test_implementations_agree(name, implementation):
    optimizer, options = OPTIMIZERS[name]
    model, reference = make_model(), make_model()
    losses = train(
        model,
        optimizer(model.parameters(), **options, **{implementation: True}),
        steps=15,
    )
    expected = train(
        reference,
        optimizer(reference.parameters(), **options, foreach=False),
        steps=15,
    )
    assert_same_state(model, reference, 1e-5)
    torch.testing.assert_close(
        torch.tensor(losses), torch.tensor(expected), rtol=1e-5, atol=1e-5
    )
    assert all(act.alpha.abs() > 1e-3 for act in normalized(model))


def test_alpha_without_weight_decay():
    """Groups by name, as biases are left out; the decay is strong enough to be seen."""

    def groups(model):
        named = dict(model.named_parameters())
        plain = [p for name, p in named.items() if name.endswith(("alpha", "bias"))]
        weights = [p for name, p in named.items() if name.endswith("weight")]
        assert len(plain) + len(weights) == len(named)
        return [
            {"params": weights, "weight_decay": 0.5},
            {"params": plain, "weight_decay": 0.0},
        ]

    model = make_model()
    for act in normalized(model):
        nn.init.constant_(act.alpha, 0.5)
    optimizer = torch.optim.AdamW(groups(model), lr=0.1)
    weight = model[0].weight.detach().clone()
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert all(act.alpha == 0.5 for act in normalized(model))
    torch.testing.assert_close(model[0].weight.detach(), 0.95 * weight)


def test_a_fixed_alpha_is_left_out():
    model = nn.Sequential(nn.Linear(9, 5), ANAct("silu", learnable=False))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.5)
    train(model, optimizer, 3)
    assert model[1].alpha == 0
    assert model[1].alpha not in optimizer.state


@pytest.mark.parametrize("foreach", [True, False])
def test_clip_grad_norm(foreach):
    model = make_model()
    (100 * loss_of(model, draw(0))).backward()
    before = {name: p.grad.clone() for name, p in model.named_parameters()}
    total = torch.cat([grad.flatten() for grad in before.values()]).norm()
    assert total > 2
    assert all(act.alpha.grad != 0 for act in normalized(model))
    norm = clip_grad_norm_(model.parameters(), 2.0, foreach=foreach)
    torch.testing.assert_close(norm, total)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, before[name] * 2 / (total + 1e-6))


def test_parameters_as_a_vector():
    model, other = make_model(), make_model(1)
    train(model, torch.optim.SGD(model.parameters(), lr=0.1), 5)
    vector = parameters_to_vector(model.parameters())
    assert vector.numel() == sum(p.numel() for p in model.parameters())
    vector_to_parameters(vector, other.parameters())
    for got, want in zip(other.parameters(), model.parameters()):
        assert torch.equal(got, want)
    # The statistics are buffers and stay behind.
    assert all(act.num_batches_tracked == 0 for act in normalized(other))
    # What was set is what is used, and what the gradient reaches.
    vector_to_parameters(vector + 0.1, other.parameters())
    loss_of(other, draw(0)).backward()
    assert all(act.alpha.grad != 0 for act in normalized(other))
    for got, want in zip(normalized(other), normalized(model)):
        assert got.affine()[0] == pytest.approx(
            got.factor() + 0.3 * torch.tanh(want.alpha + 0.1).item()
        )


# ---- Averages of models


@pytest.mark.parametrize("use_buffers", [True, False])
def test_stochastic_weight_averaging(use_buffers):
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    average = AveragedModel(model, use_buffers=use_buffers)
    states = []
    for _ in range(5):
        train(model, optimizer, 2)
        average.update_parameters(model)
        states.append(copy.deepcopy(model.state_dict()))
    got = average.module.state_dict()
    buffers = {name for name, _ in model.named_buffers()}
    for name in states[0]:
        values = torch.stack([state[name] for state in states])
        if not values.is_floating_point():
            continue
        last = name in buffers and not use_buffers
        torch.testing.assert_close(got[name], values[-1] if last else values.mean(0))
    for act in normalized(average):
        # Integers average too, by steps of one.
        tracked = int(act.num_batches_tracked)
        assert tracked == 10 if not use_buffers else 2 <= tracked <= 6
    x = draw(0)
    assert torch.isfinite(average.eval()(x)).all()


def test_exponential_moving_average():
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    average = AveragedModel(
        model, multi_avg_fn=get_ema_multi_avg_fn(0.8), use_buffers=True
    )
    expected = None
    for _ in range(6):
        train(model, optimizer, 1)
        average.update_parameters(model)
        act = normalized(model)[0]
        now = torch.stack(
            [act.alpha.detach()[0], *(getattr(act, n) for n in STATISTICS)]
        )
        expected = now if expected is None else 0.8 * expected + 0.2 * now
    act = normalized(average)[0]
    got = [act.alpha.detach()[0], *(getattr(act, n) for n in STATISTICS)]
    torch.testing.assert_close(torch.stack(got), expected)
    assert not torch.allclose(expected, now, rtol=0.01)


def test_statistics_of_an_averaged_model():
    """What update_bn does for BatchNorm, one pass in training does for ANAct."""
    model = make_model()
    average = AveragedModel(model)
    train(model, torch.optim.SGD(model.parameters(), lr=0.1), 5)
    average.update_parameters(model)
    before = copy.deepcopy(average.state_dict())
    # Without a BatchNorm in the model, it does nothing.
    update_bn([draw(step) for step in range(4)], average)
    for name, value in average.state_dict().items():
        assert torch.equal(value, before[name]), name

    for act in normalized(average):
        act.reset_running_stats()
    average.train()
    with torch.no_grad():
        for step in range(4):
            average(draw(step))
    first = normalized(average)[0]
    x = torch.cat([average.module[0](draw(step)) for step in range(4)]).detach()
    assert first.num_batches_tracked == 4
    torch.testing.assert_close(first.output_mean, nn.functional.silu(x).mean())
    torch.testing.assert_close(
        first.output_square, nn.functional.silu(x).square().mean()
    )


# ---- Several evaluations in a step


@pytest.mark.parametrize("line_search", [None, "strong_wolfe"])
def test_lbfgs(line_search):
    """The statistics move with each evaluation of the closure."""
    model = make_model()
    optimizer = torch.optim.LBFGS(
        model.parameters(), lr=0.1, max_iter=5, line_search_fn=line_search
    )
    losses = []

    def closure():
        optimizer.zero_grad()
        loss = loss_of(model, draw(0))
        loss.backward()
        losses.append(loss.item())
        return loss

    for _ in range(3):
        optimizer.step(closure)
    assert len(losses) > 3
    assert losses[-1] < losses[0]
    for act in normalized(model):
        assert act.num_batches_tracked == len(losses)


def test_lbfgs_of_a_function_that_stays():
    """In evaluation the statistics are constants: the closure is the same function again."""
    model = make_model()
    for step in range(3):
        model(draw(step))
    model.eval()
    before = [act.statistics() for act in normalized(model)]
    optimizer = torch.optim.LBFGS(
        model.parameters(), max_iter=20, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        loss = loss_of(model, draw(0))
        loss.backward()
        return loss

    first = closure().item()
    optimizer.step(closure)
    assert closure().item() < 0.1 * first
    assert [act.statistics() for act in normalized(model)] == before
