"""Activations that forward calls as functions, converted with functions=True."""

import copy
import io
import pickle
import random

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import anact
from anact import ANAct, convert_activations, revert_activations

torch.set_num_threads(1)

# λ = 1 and no shift: what the plain activation does.
NEUTRAL = {
    "statistics": "fixed",
    "centre": False,
    "bounds": (1.0, 1.0),
    "solution": "forward",
}


def swish(x):
    return x * torch.sigmoid(x)


class Net(nn.Module):
    def __init__(self, residual=True):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(2, 6, 3), nn.Conv2d(6, 6, 1)
        self.norm = nn.BatchNorm2d(6)
        self.fc = nn.Linear(6, 3)
        self.residual = residual
        self.p = 0.25
        self.shortcut = None
        self.register_buffer("scale", torch.tensor(1.5))

    def forward(self, x, gain=1.0):
        x = F.relu(self.norm(self.conv1(x)), inplace=True)
        y = self.conv2(x).tanh()
        if self.residual and self.shortcut is None:
            y = y + x
        y = F.dropout(F.leaky_relu(y, 0.2), self.p, training=self.training)
        y = swish(y).mean((2, 3)) * self.scale
        return F.gelu(self.fc(y * gain), approximate="tanh")


NAMES = {
    "norm_relu": "relu",
    "conv2_tanh": "tanh",
    "leaky_relu": "leaky_relu(negative_slope=0.2)",
    "fc_gelu": "gelu(approximate=tanh)",
}


def batch(dtype=torch.float64):
    generator = torch.Generator().manual_seed(3)
    return torch.randn(5, 2, 7, 5, generator=generator, dtype=dtype)


def step(model, x, **arguments):
    """The output, and what a backward pass gives."""
    torch.manual_seed(1)
    model.zero_grad()
    x = x.clone().requires_grad_()
    y = model(x, **arguments)
    y.square().sum().backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if "alpha" not in n}
    return y, x.grad, gradients


def pair(**options):
    torch.manual_seed(0)
    plain = Net().double()
    model = copy.deepcopy(plain)
    return plain, model, convert_activations(model, functions=True, **options)


@pytest.mark.parametrize("training", [True, False])
def test_with_neutral_options_nothing_changes(training):
    plain, model, conversion = pair(**NEUTRAL)
    assert conversion.replaced == NAMES and conversion.refused == {}
    for got, want in zip(
        step(model.train(training), batch(), gain=2.0),
        step(plain.train(training), batch(), gain=2.0),
        strict=True,
    ):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(model.norm.running_mean, plain.norm.running_mean)
    state = {k: v for k, v in model.state_dict().items() if k in plain.state_dict()}
    assert list(state) == list(plain.state_dict())
    assert all(k.split(".")[0] in NAMES for k in model.state_dict().keys() - state)


def test_training_and_evaluation_are_followed():
    _, model, _ = pair()
    x = batch()
    a, b = model(x), model(x)
    assert not torch.equal(a, b)
    assert int(model.norm_relu.num_batches_tracked) == 2
    model.eval()
    assert torch.equal(model(x), model(x))
    assert int(model.norm_relu.num_batches_tracked) == 2
    assert isinstance(model, Net) and type(model).__name__ == "Net"


def test_it_turns_back():
    plain, model, _ = pair()
    revert = revert_activations(model)
    assert revert.replaced == NAMES
    assert type(model) is Net and "forward" not in vars(model)
    assert list(model.state_dict()) == list(plain.state_dict())
    for got, want in zip(step(model, batch()), step(plain, batch()), strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=0)


def test_some_of_them():
    torch.manual_seed(0)
    model = Net().double()
    conversion = convert_activations(model, ["relu", "tanh"], functions=True)
    assert set(conversion.replaced) == {"norm_relu", "conv2_tanh"}
    assert revert_activations(model, "norm_relu").replaced == {"norm_relu": "relu"}
    assert isinstance(model.conv2_tanh, ANAct) and not hasattr(model, "norm_relu")
    model(batch())
    assert int(model.conv2_tanh.num_batches_tracked) == 1
    revert_activations(model)
    assert type(model) is Net
    named = convert_activations(model, "sigmoid", functions=True)
    assert named.replaced == {"sigmoid": "sigmoid"}


@pytest.mark.parametrize("how", ["deepcopy", "pickle", "save"])
def test_copies_keep_it(how):
    _, model, _ = pair()
    model(batch())
    if how == "deepcopy":
        other = copy.deepcopy(model)
    elif how == "pickle":
        other = pickle.loads(pickle.dumps(model))
    else:
        file = io.BytesIO()
        torch.save(model, file)
        file.seek(0)
        other = torch.load(file, weights_only=False)
    assert torch.equal(other.eval()(batch()), model.eval()(batch()))
    other.train()(batch())
    assert int(other.norm_relu.num_batches_tracked) == 2
    assert int(model.norm_relu.num_batches_tracked) == 1
    revert_activations(other)
    assert type(other) is Net


def test_a_constant_that_changes_is_noticed():
    _, model, _ = pair()
    model.scale.fill_(2.5)
    model(batch())
    for name, value in (("p", 0.5), ("residual", False), ("shortcut", nn.Identity())):
        changed = copy.deepcopy(model)
        setattr(changed, name, value)
        with pytest.raises(RuntimeError, match="has changed since"):
            changed(batch())


def test_it_folds_and_compiles():
    _, model, _ = pair()
    model(batch())
    model.eval()
    want = model(batch())
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(batch()), want)
    torch.testing.assert_close(anact.fold(model).model(batch()), want)


def test_each_call_in_a_loop_has_its_own_statistics():
    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))

        def forward(self, x):
            for layer in self.layers:
                x = F.relu(layer(x))
            return x

    model = nn.Sequential(Loop(), Loop())
    conversion = convert_activations(model, functions=True)
    assert list(conversion.replaced) == [
        f"{i}.layers_{j}_relu" for i in range(2) for j in range(3)
    ]
    assert conversion.functional == []
    model(torch.randn(8, 4))
    assert all(
        int(m.num_batches_tracked) == 1 for m in model.modules() if isinstance(m, ANAct)
    )


class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.count = 0
        self.seen = []


class DecidesByArgument(Base):
    def forward(self, x, mask=None):
        x = F.relu(self.fc(x))
        return x if mask is None else x * mask


class DecidesByType(Base):
    def forward(self, x):
        return F.relu(self.fc(x if isinstance(x, torch.Tensor) else x[0]))


class DecidesByValue(Base):
    def forward(self, x):
        return F.relu(x) if x.sum() > 0 else self.fc(x)


class Counts(Base):
    def forward(self, x):
        self.count += 1
        return F.relu(self.fc(x))


class Collects(Base):
    def forward(self, x):
        self.seen.append(1)
        return F.relu(self.fc(x))


class Prints(Base):
    def forward(self, x):
        print("forward")
        return F.relu(self.fc(x))


class Enters(Base):
    def forward(self, x):
        with torch.no_grad():
            return F.relu(self.fc(x))


class Decorated(Base):
    @torch.no_grad()
    def forward(self, x):
        return F.relu(self.fc(x))


class Draws(Base):
    def forward(self, x):
        return F.relu(self.fc(x)) + torch.randn(4)


class DrawsNumbers(Base):
    def forward(self, x):
        return F.relu(self.fc(x)) * random.random()


class OtherInTraining(Base):
    def forward(self, x):
        x = self.fc(x)
        return F.relu(x) if self.training else F.silu(x)


REFUSED = {
    DecidesByArgument: "mask is None",
    DecidesByType: "isinstance",
    DecidesByValue: "x.sum",
    Counts: "self.count",
    Collects: "self.seen",
    Prints: "print",
    Enters: "torch.no_grad",
    Decorated: "decorator",
    Draws: "no input",
    DrawsNumbers: "not the same twice",
    OtherInTraining: "in training",
}


@pytest.mark.parametrize("cls", REFUSED, ids=lambda cls: cls.__name__)
def test_what_a_graph_would_lose_is_refused(cls, capsys):
    model = nn.Sequential(cls())
    before, state = copy.deepcopy(vars(model[0])), torch.get_rng_state()
    conversion = convert_activations(model, functions=True)
    assert conversion.replaced == {} and REFUSED[cls] in conversion.refused["0"]
    assert "functions not convertible:" in str(conversion)
    assert type(model[0]) is cls and vars(model[0]).keys() == before.keys()
    assert model[0].count == 0 and model[0].seen == []
    assert torch.equal(torch.get_rng_state(), state)
    assert capsys.readouterr().out == ""


class UsesAfter(Base):
    def forward(self, x):
        y = self.fc(x)
        F.relu(y, inplace=True)
        return y


class ChangesItsArgument(Base):
    def forward(self, x):
        return self.fc(torch.tanh_(x))


class ChangesThroughAView(Base):
    def forward(self, x):
        y = self.fc(x)
        return F.relu(y.view(-1), inplace=True).sum() + y


class ChangesThroughAModule(Base):
    def __init__(self):
        super().__init__()
        self.drop = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.0))

    def forward(self, x):
        y = self.fc(x)
        return F.relu_(self.drop[1](y)) + y


@pytest.mark.parametrize(
    "cls", [UsesAfter, ChangesItsArgument, ChangesThroughAView, ChangesThroughAModule]
)
def test_in_place_on_what_is_used_again_stays(cls):
    model = cls().eval()
    x = torch.randn(3, 4)
    want = model(x.clone())
    assert convert_activations(model, functions=True).replaced == {}
    torch.testing.assert_close(model(x.clone()), want)


def test_in_place_on_what_is_new_is_converted():
    class Own(Base):
        def forward(self, x):
            x = F.relu(self.fc(x).view(-1, 2), inplace=True)
            return torch.tanh_(x + 1)

    assert list(convert_activations(Own(), functions=True).replaced) == ["relu", "tanh"]


def test_constants_of_children_are_noticed():
    class Own(Base):
        def forward(self, x):
            return F.relu(self.fc(x)) * self.fc.in_features

    class Follows(Base):
        def forward(self, x):
            return F.relu(self.fc(x)) * self.fc.training

    model = Own()
    assert list(convert_activations(model, functions=True).replaced) == ["fc_relu"]
    model.fc.in_features = 5
    with pytest.raises(RuntimeError, match="has changed since"):
        model(torch.randn(3, 4))
    assert (
        "fc.training"
        in convert_activations(Follows(), functions=True).refused["the model"]
    )


def test_what_is_within_an_activation_is_no_activation():
    class Own(nn.Module):
        def __init__(self, beta):
            super().__init__()
            self.beta = beta

        def forward(self, x):
            return F.softplus(x) * torch.tanh(F.relu(x) / self.beta)

    class Swish(nn.Module):
        def forward(self, x):
            return F.silu(x)

    model = nn.Sequential(Own(2.0), Swish())
    conversion = convert_activations(model, functions=True)
    assert conversion.replaced == {"1": "silu"}
    assert list(conversion.unsupported) == ["0"] and type(model[0]) is Own


class Uses(nn.Module):
    """Functions of every use, some of them on one line."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.out = (nn.Linear(5, 5) for _ in range(3))
        self.held = F.elu

    def forward(self, x):
        x = F.relu(self.a(x)) + F.relu(self.b(x))
        gate = torch.sigmoid(self.a(x))
        x = self.held(x) * gate
        x = x * torch.sigmoid(x)
        y = self.b(x)
        y.tanh_()
        return self.out(torch.tanh(self.out(y)))


def reasons(conversion):
    return {c.path: c.reason for c in conversion.left}


@pytest.mark.parametrize("training", [True, False])
def test_an_example_tells_the_use_of_functions(training):
    model = nn.Sequential(Uses(), nn.Linear(5, 2)).train(training)
    x = torch.randn(7, 5)
    conversion = convert_activations(model, functions=True, example=x)
    assert conversion.replaced == {
        "0.held": "elu",
        "0.a_relu": "relu",
        "0.b_relu": "relu",
        "0.out_tanh": "tanh",
    }
    assert reasons(conversion) == {"0.a_sigmoid": "gate"}
    assert all(c.file == __file__ and c.line for c in conversion.left)
    # What stays a function and is no candidate, with the SiLU as the one that it is.
    assert [c.activation for c in conversion.functional] == ["silu", "tanh"]
    assert conversion.repeated == []
    model.train()(x)
    acts = [m for m in model.modules() if isinstance(m, ANAct)]
    assert [int(act.num_batches_tracked) for act in acts] == [1] * 4
    revert_activations(model)
    assert type(model[0]) is Uses and model[0].held is F.elu


def test_an_example_tells_what_include_asks_for():
    model = Uses()
    x = torch.randn(7, 5)
    conversion = convert_activations(
        model, ["sigmoid", "out_tanh"], functions=True, example=x
    )
    assert list(conversion.replaced) == ["a_sigmoid", "sigmoid", "out_tanh"]
    assert set(reasons(conversion).values()) == {"not selected"}
    assert [c.activation for c in conversion.functional] == ["tanh"]


def test_an_example_tells_how_often_functions_run():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.part, self.idle, self.rest = Part(), Part(), nn.Linear(5, 5)

        def forward(self, x):
            return self.rest(self.part(self.part(x)))

    class Part(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(5, 5)

        def forward(self, x):
            return self.fc(F.relu(x) + F.relu(-x))

    model = Twice()
    conversion = convert_activations(model, functions=True, example=torch.ones(2, 5))
    assert list(conversion.replaced) == ["part.relu", "part.relu_2"]
    assert set(reasons(conversion).values()) == {"never called"}
    assert [r.count for r in conversion.repeated] == [2, 2]
    assert all(r.file == __file__ for r in conversion.repeated)
    assert conversion.functional == [] and type(model.idle) is Part


def test_without_an_example_functions_are_told_once():
    model = Uses()
    conversion = convert_activations(model, "relu", functions=True)
    assert list(conversion.replaced) == ["a_relu", "b_relu"]
    assert set(reasons(conversion).values()) == {"not selected"}
    assert set(reasons(conversion)) == {"held", "a_sigmoid", "sigmoid", "out_tanh"}
    # The one that changes in place what is used again
    assert [(c.activation, c.file) for c in conversion.functional] == [
        ("tanh", __file__)
    ]
    gates = convert_activations(Uses(), functions=True)
    assert reasons(gates) == {"a_sigmoid": "maybe gate", "sigmoid": "maybe gate"}


def test_without_functions_nothing_is_rewritten():
    model = Net()
    conversion = convert_activations(model)
    assert conversion.replaced == {} and conversion.refused == {}
    assert type(model) is Net and len(conversion.functional) == 4


def test_networks_of_torchvision(torchvision):
    model = torchvision.models.densenet121(num_classes=3).eval()
    x = torch.randn(1, 3, 32, 32)
    want = model(x)
    conversion = convert_activations(model, functions=True, **NEUTRAL)
    assert "relu" in conversion.replaced.values()
    torch.testing.assert_close(model(x), want, rtol=1e-4, atol=1e-5)
