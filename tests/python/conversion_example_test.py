"""convert_activations with an example: what ran, how it is used, and that nothing changes."""

import copy
import functools
import inspect
import random
from dataclasses import dataclass

import numpy
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from anact import ANAct, convert_activations, revert_activations


def left(conversion):
    return {c.path: (c.activation, c.reason) for c in conversion.left}


def functions(conversion):
    return {(c.text, c.activation, c.use) for c in conversion.functional}


def line_of(function, text):
    """Where a text is in the source of a function or class."""
    lines, first = inspect.getsourcelines(function)
    return first + next(i for i, line in enumerate(lines) if text in line)


class Of(nn.Module):
    """Linear layers and activations by name, and a forward that is a function of them."""

    def __init__(self, forward, **children):
        super().__init__()
        self.function = forward
        self.a, self.b, self.c = (nn.Linear(6, 6) for _ in range(3))
        for name, child in children.items():
            setattr(self, name, child)

    def forward(self, *args, **kwargs):
        return self.function(self, *args, **kwargs)


def x(n=16):
    return torch.randn(n, 6)


def convert(model, example=None, **arguments):
    return convert_activations(
        model, example=x() if example is None else example, **arguments
    )


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def with_value(value, function):
    return function(value)


# ---- Gates


def squeeze(m, x):
    y = m.relu(m.a(x))
    return m.c(y * m.gate(m.b(y)))


def on_the_example(m, x):
    return m.c(x * m.gate(m.a(x)))


def expanded(m, x):
    y = m.relu(m.a(x))
    gate = m.gate(m.b(y)).view(-1, 6, 1).expand(-1, -1, 2)
    return m.c((torch.stack([y, y], 2) * (2 * gate - 0.5)).sum(2))


def in_place(m, x):
    y = m.a(x)
    y *= m.gate(m.b(m.relu(x)))
    return m.c(y)


def highway(m, x):
    gate = m.gate(m.a(x))
    return m.c(gate * m.relu(m.b(x)) + (1 - gate) * x)


def divides(m, x):
    return m.c(m.b(m.relu(m.a(x))) / (1 + m.gate(m.b(x))))


def attention(m, x):
    scores = m.gate(m.a(x) @ m.b(x).T)
    return m.c(scores @ m.relu(m.b(x)))


def interpolates(m, x):
    return m.c(torch.lerp(x, m.relu(m.a(x)), m.gate(m.b(x))))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("gate", [nn.Sigmoid(), nn.Hardsigmoid()], ids=["", "hard"])
@pytest.mark.parametrize(
    "forward",
    [
        squeeze,
        on_the_example,
        expanded,
        in_place,
        highway,
        divides,
        attention,
        interpolates,
    ],
)
def test_gates_stay(forward, gate, training):
    model = Of(forward, relu=nn.ReLU(), gate=gate).train(training)
    name = type(gate).__name__.lower()
    conversion = convert(model)
    never = forward is on_the_example
    assert conversion.replaced == ({} if never else {"relu": "relu"})
    expected = {"gate": (name, "gate")}
    if never:
        expected["relu"] = ("relu", "never called")
    assert left(conversion) == expected
    assert model.gate is gate
    (found,) = (c for c in conversion.left if c.path == "gate")
    assert found.file == __file__
    assert f"gate: {name} ({__file__}:{found.line})" in str(conversion)
    for include in (name, type(gate), "gate", ["*", "gat[e]", "gate"]):
        named = convert(copy.deepcopy(model), include=include)
        assert named.replaced["gate"] == name
    for include in ("*", nn.Module, lambda path, module: True):
        assert convert(copy.deepcopy(model), include=include).replaced == {}


def test_where_a_gate_multiplies():
    (gate,) = convert(Of(squeeze, relu=nn.ReLU(), gate=nn.Sigmoid())).left
    assert gate.line == line_of(squeeze, "y * m.gate")


def test_other_activations_that_multiply_another_branch():
    model = Of(lambda m, x: m.c(m.act(m.a(x)) * m.b(x)), act=nn.SiLU())
    assert left(convert(model)) == {"act": ("silu", "gate")}
    model = Of(lambda m, x: m.c(m.act(m.a(x)) * m.b(x)), act=F.gelu)
    assert left(convert(model)) == {"act": ("gelu", "gate")}
    # Two of a kind: both.
    model = Of(
        lambda m, x: m.c(m.act(m.a(x)) * m.other(m.b(x))),
        act=nn.Tanh(),
        other=nn.ReLU(),
    )
    assert {reason for _, reason in left(convert(model)).values()} == {"gate"}


@pytest.mark.parametrize(
    "forward",
    [
        lambda m, x: m.c(m.act(m.a(x))),
        lambda m, x: m.c(m.act(m.a(x)) * m.scale + 1),  # a parameter
        lambda m, x: m.c(m.act(m.a(x)) ** 2),
        lambda m, x: with_value(m.act(m.a(x)), lambda h: m.c(h * h)),
        # A norm of the result itself
        lambda m, x: with_value(
            m.act(m.a(x)), lambda h: m.c(h * torch.rsqrt(h.pow(2).mean() + 1))
        ),
        lambda m, x: m.c(m.act(m.a(x)) * (x.detach() > 0)),  # a mask
        lambda m, x: m.c(m.act(m.a(x)) * torch.randn_like(x)),  # noise
        lambda m, x: m.c(F.dropout(m.act(m.a(x)), 0.5)),
        lambda m, x: m.c((m.act(m.a(x)) + x) * m.b(x)),  # a residual sum
        lambda m, x: m.c(m.b(m.act(m.a(x))) * m.a(x)),
    ],
)
def test_a_sigmoid_that_is_no_gate_is_converted(forward):
    model = Of(forward, act=nn.Sigmoid(), scale=nn.Parameter(torch.ones(6)))
    assert convert(model).replaced == {"act": "sigmoid"}


def test_a_mask_of_the_example():
    model = Of(lambda m, x, mask: m.c(m.act(m.a(x)) * mask), act=nn.ReLU())
    for mask in (torch.ones(16, 1), torch.ones(16, 1, dtype=torch.int64)):
        assert convert(model, (x(), mask), inplace=False).replaced == {"act": "relu"}


# ---- Outputs, losses, softmax


@dataclass
class Answer:
    first: torch.Tensor
    others: dict


@pytest.mark.parametrize(
    "forward",
    [
        lambda m, x: m.act(m.a(x)),
        lambda m, x: m.act(m.a(x)).flatten()[:5].unsqueeze(0),
        lambda m, x: (m.act(m.a(x)) + 1) / 2,
        lambda m, x: torch.cat([m.act(m.a(x)), m.b(x)]),
        lambda m, x: {"a": (x, [m.act(m.a(x))])},
        lambda m, x: Answer(x, {"a": m.act(m.a(x)).float()}),
        lambda m, x: F.dropout(m.act(m.a(x)), 0.1),
        lambda m, x: F.mse_loss(m.act(m.a(x)), x),
        lambda m, x: nn.BCELoss()(m.act(m.a(x)), torch.ones_like(x)),
        lambda m, x: -(m.act(m.a(x)) + 2).log().mean() + nn.L1Loss()(x, m.act(m.a(x))),
    ],
)
@pytest.mark.parametrize("act", [nn.Sigmoid(), nn.Tanh(), F.relu])
def test_outputs_stay(forward, act):
    model = Of(forward, act=act)
    model.a.weight.data.zero_()
    model.a.bias.data.fill_(0.5)  # a probability for BCELoss
    conversion = convert(model)
    assert conversion.replaced == {}
    assert [c.reason for c in conversion.left] == ["output"]
    name = conversion.left[0].activation
    assert convert(model, include=name).replaced == {"act": name}


def test_a_sequence_that_ends_in_a_tanh():
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3), nn.Tanh())
    conversion = convert(model)
    assert conversion.replaced == {"1": "relu"}
    assert left(conversion) == {"3": ("tanh", "output")}
    assert "3: tanh" in str(conversion)
    assert model(x()).abs().max() <= 1


@pytest.mark.parametrize(
    "forward",
    [
        lambda m, x: m.c(torch.softmax(m.act(m.a(x)), -1)),
        lambda m, x: m.c(nn.Softmax(-1)(m.act(m.a(x)) / 2)),
        lambda m, x: with_value(
            m.act(m.a(x)), lambda h: m.c(h / (h.sum(-1, keepdim=True) + 1e-3))
        ),
        lambda m, x: m.c(F.normalize(m.act(m.a(x)), p=1)),
    ],
)
def test_softmax_and_the_like(forward):
    conversion = convert(Of(forward, act=nn.LeakyReLU()))
    assert left(conversion) == {"act": ("leaky_relu", "softmax")}


# ---- Functions


def swish(x):
    return x * torch.sigmoid(x)


def gelu_by_hand(x):
    return 0.5 * x * (1 + torch.erf(x / 2**0.5))


FUNCTIONS = {"relu": F.relu, "gelu": nn.GELU("tanh")}
mish = nn.Mish()


@torch.jit.script
def scripted(x):
    return torch.tanh(x)


class Custom(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return F.selu(x)

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class Everywhere(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 6)
        self.in_list = [F.relu6]
        self.in_dict = {"f": F.hardswish}
        self.unregistered = [nn.ReLU()]
        self.lam = lambda x: F.elu(x, alpha=0.5)
        self.placed = functools.partial(F.leaky_relu, negative_slope=0.3)

    def forward(self, x):
        x = swish(self.linear(x))
        x = gelu_by_hand(self.linear(x))
        x = nn.ReLU()(self.linear(x))
        x = FUNCTIONS["gelu"](self.linear(x))
        x = mish(self.linear(x))
        x = self.in_list[0](self.linear(x))
        x = self.in_dict["f"](self.linear(x))
        x = self.unregistered[0](self.linear(x))
        x = self.lam(self.linear(x))
        x = scripted(self.linear(x))
        x = Custom.apply(self.linear(x))
        x = self.linear(x).sigmoid()
        x = F.celu_(self.linear(x))
        x = self.placed(self.linear(x))
        x = F.threshold(self.linear(x), 0.1, 0.0)
        x = x + self.linear(x) * F.relu(x - 1)
        return self.linear(getattr(F, "softplus")(x, 2))  # noqa: B009


EVERYWHERE = {
    ("x * torch.sigmoid(x)", "silu", ""),
    ("0.5 * x * (1 + torch.erf(x / 2**0.5))", "gelu", ""),
    ("nn.ReLU()(self.linear(x))", "relu", ""),
    ('FUNCTIONS["gelu"](self.linear(x))', "gelu(approximate=tanh)", ""),
    ("mish(self.linear(x))", "mish", ""),
    ("self.in_list[0](self.linear(x))", "relu6", ""),
    ('self.in_dict["f"](self.linear(x))', "hardswish", ""),
    ("self.unregistered[0](self.linear(x))", "relu", ""),
    ("F.elu(x, alpha=0.5)", "elu(alpha=0.5)", ""),
    ("scripted(self.linear(x))", "tanh", ""),
    ("F.selu(x)", "selu", ""),
    ("self.linear(x).sigmoid()", "sigmoid", ""),
    ("F.celu_(self.linear(x))", "celu", ""),
    ("F.threshold(self.linear(x), 0.1, 0.0)", "threshold", ""),
    ("F.relu(x - 1)", "relu", "gate"),
    ('getattr(F, "softplus")(x, 2)', "softplus(beta=2)", ""),
}


def test_functions_are_found_however_they_are_reached():
    model = nn.Sequential(Everywhere())
    conversion = convert(model)
    assert conversion.replaced == {"0.placed": "leaky_relu(negative_slope=0.3)"}
    assert functions(conversion) == EVERYWHERE
    assert len(conversion.functional) == len(EVERYWHERE)
    assert {(c.path, c.module, c.file) for c in conversion.functional} == {
        ("0", "Everywhere", __file__)
    }
    by_text = {c.text: c.line for c in conversion.functional}
    for function, text in (
        (swish, "x * torch.sigmoid(x)"),
        (Everywhere, "nn.ReLU()(self.linear(x))"),
        (Custom, "F.selu(x)"),
    ):
        assert by_text[text] == line_of(function, text)
    assert "relu6: self.in_list[0](self.linear(x)) in Everywhere" in str(conversion)
    assert "F.relu(x - 1) in Everywhere" in str(conversion)
    assert model[0].in_list == [F.relu6] and model[0].unregistered[0].training


@pytest.mark.parametrize(
    ("function", "activation"),
    [
        (lambda x: x * F.hardsigmoid(x), "hardswish"),
        (lambda x: x * F.relu6(x + 3) / 6, "hardswish"),
        (lambda x: x * torch.clamp(x + 3, 0, 6) / 6, "hardswish"),
        (lambda x: x * torch.tanh(F.softplus(x)), "mish"),
        (lambda x: torch.mul(x.sigmoid(), x), "silu"),
        (
            lambda x: (
                0.5
                * (
                    x
                    * (1 + torch.tanh(0.7978845608 * (x + 0.044715 * torch.pow(x, 3))))
                )
            ),
            "gelu(approximate=tanh)",
        ),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_self_gating_is_one_activation(function, activation, dtype):
    model = Of(lambda m, x: m.b(function(m.a(x)))).to(dtype)
    conversion = convert(model, x(33).to(dtype))
    assert [(c.activation, c.use) for c in conversion.functional] == [(activation, "")]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(
    ("forward", "count"),
    [
        (lambda m, x: x * m.gate(m.b(x)), 0),
        (lambda m, x: x * m.gate(m.b(x.mean(0, keepdim=True))), 0),
        (lambda m, x: x * m.gate(m.b(x).mean(1, keepdim=True)), 0),
        (lambda m, x: x * m.gate(x), 1),
    ],
)
@pytest.mark.parametrize("gate", [nn.Sigmoid(), nn.Hardsigmoid()])
def test_a_small_signal_is_not_taken_for_its_own_gate(forward, count, gate, dtype):
    """x·σ(Wx) with a small x is nearly x/2, and so is x·σ(x)."""
    model = Of(lambda m, x: m.c(forward(m, m.a(1e-6 * x))), gate=gate)
    nn.init.zeros_(model.a.bias)
    nn.init.zeros_(model.b.bias)
    conversion = convert(model.to(dtype), x(33).to(dtype))
    assert [(c.path, c.reason) for c in conversion.left] == [("gate", "gate")]
    whole = "silu" if isinstance(gate, nn.Sigmoid) else "hardswish"
    assert [c.activation for c in conversion.functional] == [whole] * count


def test_self_gating_in_half_precision():
    model = Of(lambda m, x: m.b(swish(3 * m.a(x)))).bfloat16()
    conversion = convert(model, x(33).bfloat16())
    assert [(c.activation, c.use) for c in conversion.functional] == [("silu", "")]


def test_a_gate_of_its_own_input_that_is_none_of_the_catalogue():
    model = Of(
        lambda m, x: m.b(with_value(m.a(x), lambda h: h * torch.sigmoid(1.7 * h)))
    )
    conversion = convert(model)
    assert [(c.activation, c.use) for c in conversion.functional] == [
        ("sigmoid", "gate")
    ]


def test_self_gating_by_a_module():
    model = Of(
        lambda m, x: m.b(with_value(m.a(x), lambda h: h * m.sigmoid(h))),
        sigmoid=nn.Sigmoid(),
    )
    conversion = convert(model)
    assert left(conversion) == {"sigmoid": ("sigmoid", "gate")}
    assert [c.activation for c in conversion.functional] == ["silu"]


def test_forward_called_past_the_hooks():
    model = Of(lambda m, x: m.b(m.act.forward(m.a(x))), act=nn.ReLU())
    assert convert(model).replaced == {"act": "relu"}


# ---- Never called, several times


def test_what_never_ran_stays():
    model = Of(
        lambda m, x: m.b(F.silu(m.a(x))),
        act=nn.SiLU(),
        function=F.relu,
        branch=nn.Sequential(nn.Linear(6, 6), nn.GELU()),
    )
    model.function = lambda m, x: m.b(F.silu(m.a(x)))
    conversion = convert(model)
    assert conversion.replaced == {}
    assert left(conversion) == {
        "act": ("silu", "never called"),
        "branch.1": ("gelu", "never called"),
    }
    assert functions(conversion) == {("F.silu(m.a(x))", "silu", "")}


def loop(m, x):
    for layer in (m.a, m.b, m.c):
        x = m.act(layer(x))
    return m.a(x)


def siamese(m, x):
    return m.net(x) - m.net(x + 1)


def test_repeated_calls():
    conversion = convert(Of(loop, act=nn.ReLU()))
    (repeated,) = conversion.repeated
    line = line_of(loop, "m.act")
    assert (repeated.path, repeated.file, repeated.count) == ("act", __file__, 3)
    assert repeated.lines == (line,) * 3
    assert f"act ({__file__}:{line}), 3 calls" in str(conversion)
    # Also where the last call is why it was left.
    model = Of(lambda m, x: m.act(m.b(m.act(m.a(x)))), act=nn.ReLU())
    conversion = convert(model)
    assert left(conversion) == {"act": ("relu", "output")}
    assert [(c.path, c.count) for c in conversion.repeated] == [("act", 2)]
    net = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6))
    conversion = convert(Of(siamese, net=net))
    (repeated,) = conversion.repeated
    assert (repeated.path, repeated.count) == ("net.1", 2)
    assert set(repeated.lines) == {line_of(siamese, "m.net")}
    # One instance in two places becomes two ANActs, called once each.
    relu = nn.ReLU()
    model = nn.Sequential(
        nn.Linear(6, 6), relu, nn.Linear(6, 6), relu, nn.Linear(6, 6), nn.ReLU()
    )
    conversion = convert(model)
    assert conversion.replaced == {"1": "relu", "3": "relu"}
    assert conversion.repeated == []
    model = nn.Sequential(nn.Linear(6, 6), relu, relu)
    conversion = convert(model)
    assert conversion.replaced == {"1": "relu"} and model[2] is relu
    assert left(conversion) == {"2": ("relu", "output")}


# ---- In place


def neutral(model, **arguments):
    """Converted to ANActs that are their activations."""
    options = {"solution": "compromise", "centre": False, "bounds": (1, 1 + 1e-12)}
    return convert_activations(model, **options, **arguments)


class Body(nn.Module):
    """Its first activation works on what the caller holds."""

    def __init__(self):
        super().__init__()
        self.act = nn.ReLU(inplace=True)
        self.lin = nn.Linear(6, 6)

    def forward(self, given):
        out = self.act(given)
        return self.lin(out)


class InPlace(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6)
        self.act = nn.ReLU(inplace=True)
        self.relu6 = nn.ReLU6(inplace=True)
        self.function = functools.partial(F.elu, inplace=True)
        self.body = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(6, 6))
        self.twice = nn.Sequential(
            nn.Identity(), nn.ReLU6(inplace=True), nn.SiLU(inplace=True)
        )
        self.block = Body()


class SumWithBody(InPlace):
    def forward(self, x):
        x = x + 0
        return x + self.body(x)


class SumWithBlock(InPlace):
    def forward(self, x):
        x = self.a(x)
        y = self.block(x)
        return self.b(x) + y


class NotAssigned(InPlace):
    def forward(self, x):
        x = self.a(x)
        self.act(x)
        return self.b(x)


class AnotherName(InPlace):
    def forward(self, x):
        x = self.a(x)
        shortcut = x
        x = self.act(x)
        return self.b(x) + shortcut


class Collected(InPlace):
    def forward(self, x):
        features = []
        for layer in (self.a, self.b):
            x = layer(x)
            features.append(x)
            x = self.act(x)
        return torch.cat([*features, x])


class Function(InPlace):
    def forward(self, x):
        x = self.a(x)
        y = self.b(self.function(x))
        return y - x


class Both(InPlace):
    def forward(self, x):
        x = self.a(x)
        return self.b(self.twice(x)) * 2 + x


class ViewBefore(InPlace):
    def forward(self, x):
        x = self.a(x)
        half = x[:, :3]
        x = self.act(x)
        return self.b(x)[:, :3] - half


class Returned(InPlace):
    def forward(self, x):
        x = self.a(x)
        return self.b(self.act(x)), x


REUSED = {
    SumWithBody: {"body.0"},
    SumWithBlock: {"block.act"},
    NotAssigned: {"act"},
    AnotherName: {"act"},
    Collected: {"act"},
    Function: {"function"},
    Both: {"twice.1", "twice.2"},
    ViewBefore: {"act"},
    Returned: {"act"},
}
# Of views, the source does not tell.
IN_SOURCE = [cls for cls in REUSED if cls is not ViewBefore]


def outputs(model, x):
    y = model(x.clone())
    return torch.cat(y) if isinstance(y, tuple) else y


@pytest.mark.parametrize("with_example", [True, False])
@pytest.mark.parametrize("cls", REUSED)
def test_in_place_activations_whose_input_is_used_again(cls, with_example):
    if not with_example and cls not in IN_SOURCE:
        pytest.skip("the source does not tell")
    model = cls().eval()
    given = 3 * x()
    want = outputs(model, given)
    converted = copy.deepcopy(model)
    conversion = neutral(converted, **({"example": given} if with_example else {}))
    reused = {c.path for c in conversion.left if c.reason == "inplace"}
    assert reused == REUSED[cls]
    # What the model returns is used outside.
    file = "" if cls is Returned and with_example else __file__
    assert {c.file for c in conversion.left if c.reason == "inplace"} == {file}
    torch.testing.assert_close(outputs(converted, given), want)
    revert_activations(converted)
    torch.testing.assert_close(outputs(converted, given), want, rtol=0, atol=0)
    # The test can fail: converted all the same, the network is another.
    other = copy.deepcopy(model)
    for path in REUSED[cls]:
        parent, _, name = path.rpartition(".")
        held = getattr(other.get_submodule(parent), name)
        plain = nn.ELU() if cls is Function else type(held)()
        setattr(other.get_submodule(parent), name, plain)
    assert (outputs(other, given) - want).abs().max() > 0.1


class Chain(InPlace):
    def forward(self, x):
        identity = self.b(x)
        x = self.a(x)
        x = self.act(x)
        x = self.body(self.relu6(self.a(x)))
        y = self.function(x)
        x = self.block(self.a(y))
        x = self.twice(x + identity)
        if self.training:
            return self.b(x.view(-1, 2, 3).flatten(1)), y.shape
        return self.b(x)


@pytest.mark.parametrize("with_example", [True, False])
def test_in_place_activations_in_a_chain_are_converted(with_example):
    model = Chain().eval()
    given = 3 * x()
    want = outputs(model, given)
    conversion = neutral(model, **({"example": given} if with_example else {}))
    assert conversion.left == [] and len(conversion.replaced) == 7
    torch.testing.assert_close(outputs(model, given), want)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("resnet18", 9),
        ("squeezenet1_1", 26),
        pytest.param("densenet121", 120, marks=pytest.mark.slow),
        pytest.param("mobilenet_v2", 35, marks=pytest.mark.slow),
    ],
)
def test_networks_with_in_place_activations_are_converted(torchvision, name, count):
    model = getattr(torchvision.models, name)(weights=None)
    assert len(convert_activations(model, inplace=False).replaced) == count
    conversion = convert(model, torch.randn(2, 3, 32, 32))
    assert conversion.left == [] and len(conversion.replaced) == count


# ---- Nothing else changes


class Busy(nn.Module):
    """Changes whatever it can while it runs."""

    def __init__(self, fails=False):
        super().__init__()
        self.fails = fails
        self.lin = nn.Linear(6, 6)
        self.norm = nn.BatchNorm1d(6)
        self.drop = nn.Dropout(0.5)
        self.act = nn.ReLU(inplace=True)
        self.function = F.silu
        self.anact = ANAct("tanh")
        self.register_buffer("seen", torch.zeros(3))
        self.unregistered = torch.zeros(2)
        self.history = []
        self.generator = torch.Generator().manual_seed(3)
        self.calls = 0

    def forward(self, x, *, scale=None):
        x += 1
        x = self.function(self.act(self.norm(self.lin(x))))
        x = self.anact(self.drop(x))
        with torch.no_grad():
            self.lin.weight.mul_(1.5)
            self.lin.weight.data[0] = -0.0
            self.lin.bias.data = torch.ones(6)
        self.seen += torch.rand(3)
        self.seen = self.seen * 2
        self.unregistered += torch.rand(2, generator=self.generator)
        self.history.append(x)
        self.calls += random.randint(1, 9) + numpy.random.randint(9)
        self.cache = x
        self.eval()
        self.lin.weight.requires_grad_(False)
        if self.fails:
            raise ArithmeticError("no")
        return self.lin(x) if scale is None else self.lin(x) * scale


def state(model):
    attributes = {
        path: {key: value for key, value in vars(module).items() if key[0] != "_"}
        for path, module in model.named_modules()
    }
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    tensors["unregistered"] = model.unregistered
    return (
        {
            path: {k: id(v) for k, v in held.items()}
            for path, held in attributes.items()
        },
        {k: (id(v), v.data_ptr(), v.requires_grad) for k, v in tensors.items()},
        {k: v.detach().numpy().tobytes() for k, v in tensors.items()},
        model.generator.get_state().numpy().tobytes(),
        torch.get_rng_state().numpy().tobytes(),
        random.getstate(),
        [str(part) for part in numpy.random.get_state()],
        list(model.history),
        [type(m) for m in model.modules()],
    )


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_the_model_is_what_it_was(fails, training):
    model = Busy(fails).train(training)
    model.seen[0] = float("nan")
    example, kept = x(), None
    kept = example.clone()
    before = state(model)
    if fails:
        with pytest.raises(ArithmeticError, match="no"):
            convert_activations(model, example=example)
    else:
        conversion = convert_activations(model, include=[], example=example)
        assert conversion.replaced == {}
    assert state(model) == before
    assert torch.equal(example, kept)
    assert not nn.modules.module._global_forward_hooks
    assert not nn.modules.module._global_forward_pre_hooks
    if not fails:
        conversion = convert_activations(model, example=example)
        assert conversion.replaced == {"act": "relu", "function": "silu"}


def test_a_graph_that_has_saved_the_weights_can_still_be_followed():
    model = nn.Sequential(
        nn.Linear(6, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 6)
    )
    loss = model(x()).square().sum()
    convert(model)
    loss.backward()
    assert model[0].weight.grad is not None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_random_state_of_cuda():
    model = nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.5), nn.ReLU()).cuda()
    before = torch.cuda.get_rng_state()
    convert(model, x().cuda())
    assert torch.equal(torch.cuda.get_rng_state(), before)


def test_forms_of_an_example():
    def forward(m, x, other=None, *, flag=False):
        assert flag or other is None
        return m.b(m.act(m.a(x if other is None else x + other["y"][0])))

    for example in (
        x(),
        (x(),),
        {"x": x()},
        {"x": x(), "other": {"y": [x()]}, "flag": True},
    ):
        model = Of(forward, act=nn.Sigmoid())
        assert convert(model, example).replaced == {"act": "sigmoid"}
    # A list is one argument.
    model = Of(lambda m, xs: m.b(m.act(m.a(xs[0] + xs[1]))), act=nn.ReLU())
    assert convert(model, [x(), x()]).replaced == {"act": "relu"}
    with pytest.raises(TypeError):
        convert(model, {"unknown": x()})
    assert type(model.act) is ANAct


def test_an_example_that_does_not_fit_changes_nothing():
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6))
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(RuntimeError):
        convert_activations(model, example=torch.randn(3, 5))
    assert type(model[1]) is nn.ReLU
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    lazy = nn.Sequential(nn.LazyLinear(6), nn.ReLU())
    with pytest.raises(ValueError, match="lazy"):
        convert(lazy)
    assert type(lazy[0]) is nn.LazyLinear


def test_a_model_that_is_compiled_or_checkpointed():
    from torch.utils.checkpoint import checkpoint

    def forward(m, x):
        return m.c(checkpoint(lambda x: m.act(m.a(x)), x, use_reentrant=False))

    model = Of(forward, act=nn.ReLU())
    assert convert(model).replaced == {"act": "relu"}
    inner = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6))
    assert convert(torch.compile(inner)).replaced == {"_orig_mod.1": "relu"}
    model = Of(lambda m, x: m.c(m.f(m.a(x))))
    object.__setattr__(model, "f", torch.compile(lambda x: F.silu(x)))
    assert {c.activation for c in convert(model).functional} == {"silu"}


def test_models_in_half_precision_without_storage_and_converted_before():
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6)).bfloat16()
    assert convert(model, x().bfloat16()).replaced == {"1": "relu"}
    meta = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6)).to("meta")
    assert convert(meta, x().to("meta")).replaced == {"1": "relu"}
    again = convert(model, x().bfloat16())
    assert again.replaced == {} and again.left == [] and again.functional == []


def test_what_was_not_selected_is_named():
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.PReLU(), nn.Linear(6, 6))
    conversion = convert(model, exclude="relu")
    assert left(conversion) == {"1": ("relu", "not selected")}
    assert conversion.unsupported == {"2": "PReLU"}


@pytest.mark.parametrize("activation", [F.relu, F.gelu, nn.SiLU()])
@pytest.mark.parametrize("training", [True, False])
def test_transformer_layers(activation, training):
    layer = nn.TransformerEncoderLayer(
        6, 2, 12, activation=activation, batch_first=True
    )
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).train(training)
    conversion = convert(model, torch.randn(2, 3, 6))
    assert list(conversion.replaced) == [f"layers.{i}.activation" for i in range(2)]
    assert conversion.left == [] and conversion.repeated == []


# ---- Whole networks


def test_mobilenet_v3(torchvision):
    model = torchvision.models.mobilenet_v3_small(weights=None)
    gates = [n for n, m in model.named_modules() if isinstance(m, nn.Hardsigmoid)]
    conversion = convert(model, torch.randn(2, 3, 48, 48))
    assert left(conversion) == dict.fromkeys(gates, ("hardsigmoid", "gate"))
    assert sorted(set(conversion.replaced.values())) == ["hardswish", "relu"]
    assert len(conversion.replaced) == 33
    assert conversion.functional == [] and conversion.repeated == []
    assert len(str(conversion)) < 500


@pytest.mark.slow
def test_efficientnet(torchvision):
    model = torchvision.models.efficientnet_b0(weights=None)
    gates = [n for n, m in model.named_modules() if isinstance(m, nn.Sigmoid)]
    conversion = convert(model, torch.randn(2, 3, 48, 48))
    assert left(conversion) == dict.fromkeys(gates, ("sigmoid", "gate"))
    assert set(conversion.replaced.values()) == {"silu"}
    assert len(conversion.replaced) == 49 and conversion.functional == []


def test_a_module_made_in_forward_is_one_call():
    class Made(nn.Module):
        def forward(self, x):
            return F.softplus(x).tanh() * x

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x):
            return self.fc(Made()(x))

    # What the class computes is found out while the model runs.
    conversion = convert_activations(Own(), example=torch.randn(3, 4))
    assert [c.activation for c in conversion.functional] == ["mish"]


@pytest.fixture(scope="module")
def transformers(torchvision):
    library = pytest.importorskip("transformers")
    library.utils.logging.set_verbosity_error()
    return library


TINY = {
    "vocab_size": 64,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
DISTIL = {"vocab_size": 64, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}
# model, options, activations replaced, functions, what is left, calls of each ANAct
TRANSFORMERS = {
    "BertForSequenceClassification": (TINY, {"gelu": 2, "tanh": 1}, {}, set(), 1),
    "BertModel": (TINY, {"gelu": 2}, {}, {("tanh", "output")}, 1),
    "RobertaForMaskedLM": (TINY, {"gelu": 2}, {"gelu": 1}, set(), 1),
    "DistilBertForSequenceClassification": (
        DISTIL,
        {"gelu": 2},
        {"relu": 1},
        set(),
        1,
    ),
    "DebertaV2ForSequenceClassification": (TINY, {"gelu": 2}, {"gelu": 1}, set(), 1),
    "BloomForCausalLM": (
        {"vocab_size": 64, "hidden_size": 16, "n_layer": 2, "n_head": 2},
        {"gelu(approximate=tanh)": 2},
        {},
        set(),
        1,
    ),
    "MambaForCausalLM": (
        {"vocab_size": 64, "hidden_size": 16, "state_size": 4, "num_hidden_layers": 2},
        {},
        {"silu": 4, "softplus": 2},
        {("silu", "never called")},
        1,
    ),
    "AlbertForSequenceClassification": (
        {**TINY, "embedding_size": 8, "num_hidden_layers": 6},
        {"gelu(approximate=tanh)": 1, "tanh": 1},
        {},
        set(),
        6,
    ),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_models_of_transformers(transformers, name, training):
    options, replaced, called, kept, calls = TRANSFORMERS[name]
    cls = getattr(transformers, name)
    model = cls(cls.config_class(**options)).train(training)
    ids = torch.randint(0, 64, (3, 7))
    before = copy.deepcopy(model.state_dict())
    random_state = torch.get_rng_state()
    conversion = convert(model, {"input_ids": ids})
    assert torch.equal(torch.get_rng_state(), random_state)
    after = model.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())

    def count(names):
        names = list(names)
        return {n: names.count(n) for n in names}

    assert count(conversion.replaced.values()) == replaced
    # A class that is recognized as an activation stands in a place.
    functional = count(c.activation for c in conversion.functional)
    assert functional == called
    assert all(c.text and c.file and c.line for c in conversion.functional)
    assert set(left(conversion).values()) == kept
    # Each ANAct runs as often as the report says.
    model.train()(input_ids=ids)
    repeated = {c.path: c.count for c in conversion.repeated}
    assert set(repeated.values()) == ({calls} if calls > 1 else set())
    for path in conversion.replaced:
        act = model.get_submodule(path)
        assert int(act.num_batches_tracked) == repeated.get(path, 1)


def test_no_hook_is_left_behind():
    net = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    convert_activations(net, example=torch.randn(2, 3))
    assert not nn.modules.module._has_any_global_hook()
