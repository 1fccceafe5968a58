"""Activations of classes of any package, known by what they compute."""

import functools
import importlib
import math
import sys
import time

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from anact import ANAct, convert_activations
from anact._activations import activation_of, lacks_normalized_form, plain

torch.set_num_threads(1)


def module(forward, **attributes):
    """A module of a class of its own with this forward."""
    cls = type("Own", (nn.Module,), {"forward": forward, "__module__": __name__})
    made = cls()
    vars(made).update(attributes)
    return made


def helper(x):
    return x * torch.sigmoid(x)


class Exact(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sigmoid()

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        y = x.sigmoid()
        return g * y * (1 - y)


class Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.relu()

    @staticmethod
    def backward(ctx, g):
        return -g


class Swish(nn.Module):
    beta = 1.0

    def forward(self, x):
        return self._f(x) if x.is_floating_point() else x

    def _f(self, x):
        return x / (1 + torch.exp(-self.beta * x.clamp(min=-700)))


RECOGNIZED = {
    "relu": [
        lambda self, x: x.clamp(min=0),
        lambda self, x: torch.max(x, torch.zeros_like(x)),
        lambda self, x: (x + x.abs()) / 2,
    ],
    "relu6": [lambda self, x: x.clamp(0, 6)],
    "silu": [lambda self, x: x * x.sigmoid(), lambda self, x: helper(x)],
    "sigmoid": [
        lambda self, x: torch.special.expit(x),
        lambda self, x: Exact.apply(x),
        lambda self, x: x.sigmoid_(),
    ],
    "tanh": [lambda self, x: 2 * torch.sigmoid(2 * x) - 1],
    "gelu": [lambda self, x: x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))],
    "gelu(approximate=tanh)": [
        lambda self, x: 0.5 * x * (1 + torch.tanh(0.79788456 * (x + 0.044715 * x**3))),
    ],
    "mish": [lambda self, x: x * F.softplus(x).tanh()],
    "relu2": [lambda self, x: F.relu(x).pow(2)],
    "hardswish": [lambda self, x: x * F.relu6(x + 3) / 6],
    "leaky_relu(negative_slope=0.2)": [lambda self, x: torch.max(x, 0.2 * x)],
    "elu(alpha=0.5)": [lambda self, x: F.elu(x, 0.5)],
    "celu(alpha=2)": [lambda self, x: F.celu(x, 2.0)],
    "softplus(beta=3)": [lambda self, x: F.softplus(x, 3.0)],
    "softshrink(lambd=0.25)": [lambda self, x: x.sign() * F.relu(x.abs() - 0.25)],
    "identity": [lambda self, x: x],
}


@pytest.mark.parametrize("name", RECOGNIZED)
def test_what_a_module_computes_is_recognized(name):
    for forward in RECOGNIZED[name]:
        own = module(forward)
        assert activation_of(own) == plain_name(name)
        assert activation_of(own.eval()) == plain_name(name)
        assert not lacks_normalized_form(own)


def plain_name(name):
    return activation_of(plain(name))


def test_parameters_come_from_the_attributes():
    slope = 1 / 3
    own = module(lambda self, x: F.leaky_relu(x, self.slope), slope=slope)
    assert activation_of(own) == plain_name(f"leaky_relu(negative_slope={slope!r})")
    own.slope = 0.1
    assert activation_of(own) == "leaky_relu(negative_slope=0.1)"
    own = module(lambda self, x: self.f(x), f=functools.partial(F.elu, alpha=0.7))
    assert activation_of(own) == "elu(alpha=0.7)"


def test_a_constant_of_the_class_may_change():
    own = Swish()
    assert activation_of(own) == "silu"
    try:
        Swish.beta = 1.702
        assert activation_of(own) is None
        assert lacks_normalized_form(own)
    finally:
        Swish.beta = 1.0


@pytest.mark.parametrize(
    "forward",
    [
        lambda self, x: x * torch.sigmoid(1.702 * x),
        lambda self, x: x.sin(),
        lambda self, x: torch.where(x.abs() > 0.5, x, 0.0),
        lambda self, x: F.gelu(x).clamp(-10, 10),
        lambda self, x: F.silu(x) + 1e-8,
        lambda self, x: 1.0001 * F.silu(x),
    ],
)
def test_an_activation_that_the_catalogue_lacks_is_reported(forward):
    own = module(forward)
    assert activation_of(own) is None
    assert lacks_normalized_form(own)
    conversion = convert_activations(nn.Sequential(own))
    assert conversion.replaced == {} and list(conversion.unsupported) == ["0"]


LOG = []


class Counter(nn.Module):
    count = 0

    def forward(self, x):
        self.count += 1
        return F.relu(x)


NO_ACTIVATIONS = [
    lambda self, x: 2 * x,
    lambda self, x: x + 1,
    lambda self, x: x.clamp(-1, 1),
    lambda self, x: torch.clamp(x, -3, 5),
    lambda self, x: F.relu(x) + 1e-6,
    lambda self, x: x / x.norm(),
    lambda self, x: F.layer_norm(x, x.shape[-1:]),
    lambda self, x: x.softmax(-1),
    lambda self, x: F.relu(x) if x.dim() == 4 else x,
    lambda self, x: F.relu(x) if len(x) > 100 else x,
    lambda self, x: F.relu(x) if self.training else x,
    lambda self, x: F.relu(x) if x.device.type == "cpu" else x,
    lambda self, x: F.relu(x) if x.is_cuda else x,
    lambda self, x: F.relu(x) if x.sum() > 1e9 else x,
    lambda self, x: F.dropout(x, 0.5),
    lambda self, x: F.relu(x + torch.rand_like(x)),
    lambda self, x: F.relu(x).float(),
    lambda self, x: F.relu(x).flatten(),
    lambda self, x: F.relu(x).sum(),
    lambda self, x: F.glu(x),
    lambda self, x: F.relu(x).detach(),
    lambda self, x: x.chunk(2, 0)[0].relu(),
    lambda self, x: F.relu(x.roll(1)),
    lambda self, x: (F.relu(x), None),
    lambda self, x: None,
    lambda self, x: LOG.append(x) or F.relu(x),
    lambda self, x: self.seen.append(1) or F.relu(x),
    lambda self, x: print("ran") or F.relu(x),
    lambda self, x: LOG[:].append(1) or F.relu(x),
    lambda self, x: F.relu(x) if torch.manual_seed(1) else x,
    lambda self, x: max(F.relu(x) for _ in range(2)),
    lambda self, x: self(x),
    lambda self, x: __import__("os").getcwd() and F.relu(x),
    lambda self, x: F.relu(x) * missing,  # noqa: F821
    lambda self, x, y=0: F.relu(x + y),
    lambda self, *x: F.relu(x[0]),
]


@pytest.mark.parametrize("number", range(len(NO_ACTIVATIONS)))
def test_no_activation_is_recognized(number, capsys):
    own = module(NO_ACTIVATIONS[number], seen=[])
    for mode in (True, False):
        assert activation_of(own.train(mode)) is None
    assert LOG == [] and own.seen == [] and capsys.readouterr().out == ""


def test_other_derivatives_are_another_function():
    assert activation_of(module(lambda self, x: Reversed.apply(x))) is None


def test_modules_of_pytorch_are_known_by_class_only():
    for known in (
        nn.Dropout(0.5).eval(),
        nn.Hardshrink(),
        nn.LayerNorm(4, elementwise_affine=False),
        nn.Flatten(),
        nn.Softmax(0),
        nn.Sequential(),
    ):
        assert activation_of(known) is None


def test_nothing_runs_that_changes_something():
    counter = Counter()
    assert activation_of(counter) is None and counter.count == 0
    state = torch.get_rng_state()
    activation_of(module(lambda self, x: F.relu(x) + torch.randn_like(x)))
    assert torch.equal(torch.get_rng_state(), state)


def test_hooks_do_not_run_and_are_not_lost():
    ran = []
    own = module(lambda self, x: F.relu(x))
    own.register_forward_hook(lambda *_: ran.append(1))
    model = nn.Sequential(own)
    with pytest.raises(ValueError, match="'0' has hooks"):
        convert_activations(model)
    assert ran == [] and model[0] is own


def test_state_is_no_activation():
    own = module(lambda self, x: F.relu(x))
    own.register_buffer("seen", torch.zeros(()))
    assert activation_of(own) is None
    own = module(lambda self, x: F.relu(x))
    own.forward = lambda x: x
    assert activation_of(own) is None


@pytest.mark.parametrize("surroundings", ["meta", "no_grad", "inference", "autocast"])
def test_surroundings_do_not_matter(surroundings):
    context = {
        "meta": torch.device("meta"),
        "no_grad": torch.no_grad(),
        "inference": torch.inference_mode(),
        "autocast": torch.autocast("cpu", torch.bfloat16),
    }[surroundings]
    with context:
        own = module(lambda self, x: torch.max(x, torch.tensor(0.0).to(x)))
        assert activation_of(own) == "relu"


def names(package, *classes):
    space = pytest.importorskip(package, exc_type=ImportError)
    return [activation_of(getattr(space, name)()) for name in classes]


@pytest.fixture
def further(torchvision):
    """Other libraries import torchvision, which may lack its compiled part."""


def test_timm(further):
    assert names(
        "timm.layers.activations",
        *("Swish", "Mish", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid"),
        *("GELU", "GELUTanh", "QuickGELU", "HardMish"),
    ) == [
        *("silu", "mish", "sigmoid", "tanh", "hardswish", "hardsigmoid"),
        *("gelu", "gelu(approximate=tanh)", None, None),
    ]
    space = importlib.import_module("timm.layers.activations")
    assert activation_of(space.Swish(inplace=True)) == "silu"
    assert lacks_normalized_form(space.QuickGELU())
    assert names("timm.layers.activations_me", "SwishMe", "MishMe") == ["silu", "mish"]


def test_bloom_and_quick_gelu_of_transformers(further):
    space = "transformers.models.bloom.modeling_bloom"
    assert names(space, "BloomGelu") == ["gelu(approximate=tanh)"]
    activations = sys.modules["transformers.activations"]
    for name in ("quick_gelu", "gelu_10", "laplace", "sqrtsoftplus"):
        assert lacks_normalized_form(activations.ACT2FN[name])


def test_the_silu_of_diffusers(further):
    assert names("diffusers.models.activations", "FP32SiLU") == ["silu"]


def test_a_model_with_many_costs_milliseconds(further):
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=53,
        hidden_size=8,
        num_hidden_layers=24,
        num_attention_heads=2,
        intermediate_size=8,
    )
    model = transformers.BertModel(config)

    def once():
        begin = time.perf_counter()
        found = [activation_of(m) for m in model.modules()]
        return found, time.perf_counter() - begin

    found, _ = once()
    assert found.count("gelu") == 24
    assert min(once()[1] for _ in range(5)) < 0.1


def test_a_converted_module_computes_the_same_but_for_the_map():
    own = module(lambda self, x: x * torch.sigmoid(x))
    model = nn.Sequential(nn.Linear(3, 5), own, nn.Linear(5, 2))
    assert convert_activations(model).replaced == {"1": "silu"}
    assert isinstance(model[1], ANAct)
