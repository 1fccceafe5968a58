"""Statistics from data, and conversions that keep what a model computes."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import anact
from anact import ANAct, calibrate, convert_activations

torch.set_num_threads(1)

STATISTICS = ("output_mean", "output_square", "input_variance", "backward_gain")


def batches(count=3, width=6, dtype=torch.float64):
    generator = torch.Generator().manual_seed(7)
    return [
        torch.randn(33, width, generator=generator, dtype=dtype) * (1 + i)
        for i in range(count)
    ]


def statistics_of(x, f):
    """By PyTorch alone."""
    x = x.detach().requires_grad_()
    y = f(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    return [
        y.mean().item(),
        y.square().mean().item(),
        x.var(correction=0).item(),
        slope.square().mean().item(),
    ]


def net(**options):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 9),
        nn.BatchNorm1d(9),
        ANAct("silu", **options),
        nn.Dropout(0.5),
        nn.Linear(9, 5),
        ANAct("tanh", **options),
    ).double()


def test_every_batch_weighs_the_same():
    model = calibrate(net(momentum=0.3), batches())
    model.eval()
    rows = [statistics_of(model[1](model[0](x)), F.silu) for x in batches()]
    want = torch.tensor(rows, dtype=torch.float64).mean(0)
    got = torch.tensor(model[2].statistics(), dtype=torch.float64)
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12)
    assert int(model[2].num_batches_tracked) == 3
    assert model[2].options.momentum == 0.3


def test_later_layers_see_calibrated_ones():
    (x,) = batches(1)
    model = calibrate(net(), [x]).eval()
    hidden = model[4](model[:4](x))
    want = torch.tensor(statistics_of(hidden, torch.tanh), dtype=torch.float64)
    got = torch.tensor(model[5].statistics(), dtype=torch.float64)
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12)
    # Once more gives the same.
    assert calibrate(model, [x])[5].statistics() == model[5].statistics()


@pytest.mark.parametrize("training", [True, False])
def test_nothing_else_changes(training):
    model = net().train(training)
    model[2].alpha.requires_grad_(False)
    model[3].eval()
    modes = [m.training for m in model.modules()]
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    calibrate(model, batches())
    after = model.state_dict()
    changed = {k for k in before if not torch.equal(before[k], after[k])}
    assert changed == {
        f"{i}.{name}" for i in (2, 5) for name in (*STATISTICS, "num_batches_tracked")
    }
    assert torch.equal(torch.get_rng_state(), random)
    assert [m.training for m in model.modules()] == modes
    assert [p.requires_grad for p in model.parameters()].count(False) == 1
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all(p.grad is None for p in model.parameters())


def test_frozen_ones_are_calibrated_and_stay_frozen():
    model = anact.freeze(net())
    calibrate(model, batches())
    assert model[2].statistics() == calibrate(net(), batches())[2].statistics()
    assert all(model[i].frozen and not model[i].alpha.requires_grad for i in (2, 5))
    before = model[2].statistics()
    model.train()(batches()[0])
    assert model[2].statistics() == before


def test_a_model_that_draws_random_numbers():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.act = ANAct("silu")

        def forward(self, x):
            return self.act(x + torch.randn_like(x))

    random = torch.get_rng_state()
    calibrate(Noisy(), batches())
    assert torch.equal(torch.get_rng_state(), random)


def test_an_error_changes_nothing():
    model = net()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        calibrate(model, [*batches(), torch.zeros(3, 2, dtype=torch.float64)])
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(m.training for m in model.modules())
    assert model[2].options == net()[2].options


def test_a_batch_that_is_not_finite_has_no_part():
    good = batches()
    bad = torch.full_like(good[0], float("inf"))
    want = calibrate(net(), good)[2].statistics()
    model = calibrate(net(), [good[0], bad, *good[1:]])
    assert model[2].statistics() == want
    assert int(model[2].num_batches_skipped) == 1


def test_how_many_and_in_which_form():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.act = ANAct("relu")

        def forward(self, a, b=None):
            return self.act(a if b is None else a * b)

    x = torch.randn(5, 3)
    want = calibrate(Two(), [x * 2]).act.statistics()
    assert calibrate(Two(), [(x, 2)]).act.statistics() == want
    assert calibrate(Two(), [{"a": x, "b": 2}]).act.statistics() == want
    model = calibrate(Two(), iter([x, x, x]), num_batches=2)
    assert int(model.act.num_batches_tracked) == 2
    with pytest.raises(TypeError, match="not a list"):
        calibrate(Two(), [[x, 2]])


def test_what_cannot_be_calibrated():
    with pytest.raises(ValueError, match="no ANAct"):
        calibrate(nn.Linear(2, 2), batches())
    with pytest.raises(ValueError, match="no batch"):
        calibrate(net(), [])
    with pytest.raises(ValueError, match="must be positive"):
        calibrate(net(), batches(), 0)
    fixed = net(statistics="fixed")
    with pytest.raises(ValueError, match="no ANAct"):
        calibrate(fixed, batches())
    first = calibrate(net(statistics="fixed", init_batch=True), batches())
    assert first[2].statistics() == calibrate(net(), batches())[2].statistics()
    unused = nn.ModuleDict({"a": ANAct("silu"), "b": ANAct("silu")})
    unused.forward = lambda x: unused["a"](x)
    unused["b"](torch.randn(9))
    before = unused["b"].statistics()
    calibrate(unused, [torch.randn(9)])
    assert unused["b"].statistics() == before


# A conversion that preserves what the model computes.


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(6, 9), nn.Linear(9, 6)
        self.inner, self.outer = nn.GELU(), nn.SiLU()

    def forward(self, x):
        return x + self.outer(self.fc2(self.inner(self.fc1(x))))


def agree(model, plain, *inputs):
    for x in inputs:
        want = plain.eval()(x)
        error = (model.eval()(x) - want).abs().max() / want.abs().max()
        assert error < 1e-5


@pytest.mark.parametrize("solution", ["exact", "compromise", "forward"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_outputs_stay(solution, dtype):
    torch.manual_seed(0)
    plain = nn.Sequential(
        nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 8), nn.Tanh(),
        nn.Linear(8, 7), nn.ELU(), nn.Linear(7, 4),
    ).to(dtype)  # fmt: skip
    model = copy.deepcopy(plain)
    xs = batches(3, dtype=dtype)
    weights = list(model.parameters())
    conversion = convert_activations(
        model, preserve=True, example=xs[0], solution=solution
    )
    assert list(conversion.replaced) == ["1", "4", "6"] and conversion.kept == {}
    agree(model, plain, *xs)
    assert all(m.training for m in model.train().modules())
    # Optimizers made before still hold the parameters.
    assert {id(p) for p in weights} < {id(p) for p in model.parameters()}
    # The statistics are those of the plain model's activations.
    calibrated = torch.tensor(model[6].statistics(), dtype=torch.float64)
    want = torch.tensor(
        statistics_of(plain[:6](xs[0]).double(), F.elu), dtype=torch.float64
    )
    torch.testing.assert_close(calibrated, want, rtol=1e-4, atol=1e-6)
    assert any(abs(act.factor() - 1) > 0.01 for act in (model[1], model[4], model[6]))


def test_convolutions_and_pools():
    torch.manual_seed(0)
    plain = nn.Sequential(
        nn.Conv2d(2, 5, 3), nn.SiLU(), nn.Conv2d(5, 6, 3), nn.ReLU(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(24, 5), nn.GELU(), nn.Linear(5, 3, bias=False),
    )  # fmt: skip
    model = copy.deepcopy(plain)
    x = torch.randn(7, 2, 8, 9)
    conversion = convert_activations(model, preserve=True, example=x)
    assert list(conversion.replaced) == ["1", "3"]
    assert conversion.kept == {"7": "'8' has no bias"}
    assert type(model[7]) is nn.GELU and model[7] is not plain[7]
    agree(model, plain, x)


def test_what_nothing_makes_up_for_stays_plain():
    torch.manual_seed(0)
    plain = nn.Sequential(Block(), Block(), nn.Linear(6, 6), nn.ReLU())
    model = copy.deepcopy(plain)
    x = batches(1, dtype=torch.float32)[0]
    conversion = convert_activations(model, preserve=True, example=x)
    assert list(conversion.replaced) == ["0.inner", "1.inner"]
    assert conversion.kept == {
        "0.outer": "add follows",
        "1.outer": "add follows",
    }
    assert [(c.path, c.reason) for c in conversion.left] == [("3", "output")]
    assert "kept plain" in str(conversion) and "0.outer: add follows" in str(conversion)
    assert type(model[0].outer) is nn.SiLU
    agree(model, plain, x)
    padded = nn.Sequential(nn.Conv1d(1, 2, 3), nn.ReLU(), nn.Conv1d(2, 2, 3, padding=1))
    conversion = convert_activations(
        padded, preserve=True, example=torch.randn(2, 1, 9)
    )
    assert conversion.replaced == {} and "pads with zeros" in conversion.kept["1"]
    # Without an offset padding does no harm.
    conversion = convert_activations(
        padded,
        preserve=True,
        example=torch.randn(2, 1, 9),
        centre=False,
        solution="forward",
    )
    assert conversion.replaced == {"1": "relu"}


def test_functions_too():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)

        def forward(self, x):
            return torch.tanh(self.b(F.relu(self.a(x))))

    torch.manual_seed(0)
    plain = Net()
    model = copy.deepcopy(plain)
    x = batches(1, dtype=torch.float32)[0]
    conversion = convert_activations(model, functions=True, preserve=True, example=x)
    assert conversion.replaced == {"a_relu": "relu"}
    assert [(c.path, c.reason) for c in conversion.left] == [("b_tanh", "output")]
    assert conversion.kept == {} and conversion.functional == []
    assert not hasattr(model, "b_tanh")
    agree(model, plain, x)


def test_it_trains_on_from_there():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    x = batches(1, dtype=torch.float32)[0]
    convert_activations(model, preserve=True, example=x)
    want = model.eval()(x)
    torch.testing.assert_close(model.train()(x), want, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(
        anact.fold(model.eval()).model(x), model(x), rtol=1e-4, atol=1e-5
    )


def test_the_encoder_of_pytorch():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(6, 2, 11, 0.0, batch_first=True)
    plain = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    model = copy.deepcopy(plain)
    x = torch.randn(3, 5, 6)
    conversion = convert_activations(model, preserve=True, example=x)
    assert len(conversion.replaced) == 2
    agree(model, plain, x)


def test_an_example_that_fails_changes_nothing():
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    before = [*model.children()]
    for example, error in ((torch.zeros(2, 2), RuntimeError), (None, ValueError)):
        with pytest.raises(error):
            convert_activations(model, preserve=True, example=example)
        assert [*model.children()] == before
    with pytest.raises(ValueError, match="is an activation"):
        convert_activations(
            nn.ReLU(), preserve=True, example=torch.zeros(2), inplace=False
        )


def test_what_stays_plain_is_the_very_thing_that_was_there():
    class Held(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.act, self.inner = nn.Linear(6, 6), F.silu, nn.ReLU(True)

        def forward(self, x):
            return self.fc(self.inner(x)) + self.act(self.fc(x))

    class Functions(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6)

        def forward(self, x):
            return self.b(self.a(x) + torch.tanh(self.a(x)))

    model = nn.Sequential(Held(), nn.Linear(6, 6), Functions())
    plain = copy.deepcopy(model)
    inner = model[0].inner
    x = batches(1, dtype=torch.float32)[0]
    given = x.clone()
    conversion = convert_activations(
        model, functions=True, preserve=True, example=(x,), exclude="0.inner"
    )
    assert torch.equal(x, given)
    assert conversion.replaced == {} and list(conversion.kept) == ["0.act", "2.a_tanh"]
    assert model[0].act is F.silu and model[0].inner is inner
    assert type(model[2]) is Functions
    agree(model, plain, given)
