"""fold: the same outputs from PyTorch's own modules."""

import copy
import os
import subprocess
import sys
import warnings

os.environ["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from anact import _C, ANAct, convert_activations, fold, revert_activations

TOLERANCE = {torch.float64: 1e-13, torch.float32: 1e-6}


def settle(model, *shape, seed=0, alpha=0.3):
    """A model with statistics of its own, in evaluation."""
    torch.manual_seed(seed)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=(2 / parameter[0].numel()) ** 0.5)
    for act in anacts(model):
        nn.init.uniform_(act.alpha, -alpha, alpha)
    if shape:
        dtype = next(model.parameters()).dtype
        for _ in range(3):
            model(1.5 * torch.randn(*shape, dtype=dtype) + 0.5)
    return model.eval()


def anacts(model):
    return [m for m in model.modules() if isinstance(m, ANAct)]


def distance(actual, expected):
    return (
        (actual.double() - expected.double()).norm() / expected.double().norm()
    ).item()


def assert_folds(model, *inputs, merged=None, kept=None, tolerance=None):
    """Folds a copy, holds its output to the model's, and returns it."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        expected = model(*inputs)
        folding = fold(model, inplace=False)
        actual = folding.model(*inputs)
    assert not anacts(folding.model)
    tolerance = tolerance or TOLERANCE[inputs[0].dtype]
    if isinstance(expected, torch.Tensor):
        actual, expected = [actual], [expected]
    assert max(map(distance, actual, expected)) < tolerance
    if merged is not None:
        assert folding.merged == merged
    if kept is not None:
        assert list(folding.kept) == kept
    # The original is as it was.
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert len(folding.merged) + len(folding.kept) >= len(anacts(model))
    return folding


def images(dtype=torch.float32, channels=3, size=9):
    torch.manual_seed(1)
    return torch.randn(2, channels, size, size, dtype=dtype)


# What is merged, and that it is exact.

OPTIONS = [
    {},
    {"solution": "compromise", "centre": False},
    {"solution": "compromise", "target": "input"},
    {"solution": "backward", "target": "unit"},
    {"solution": "forward", "gain": "output"},
]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", _C.activations())
def test_every_activation_merges_into_linear(name, options, dtype):
    model = nn.Sequential(
        nn.Linear(7, 9),
        ANAct(name, **options),
        nn.Linear(9, 8),
        ANAct(name, **options),
        nn.Linear(8, 3),
    )
    settle(model.to(dtype), 33, 7)
    x = torch.randn(5, 7, dtype=dtype)
    folding = assert_folds(model, x, merged={"1": "2", "3": "4"}, kept=[])
    assert len([*folding.model.parameters()]) == 6
    assert not folding.model.training and not any(
        m.training for m in folding.model.modules()
    )


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", _C.activations())
def test_every_activation_keeps_its_map_where_nothing_follows(name, options, dtype):
    model = nn.Sequential(nn.Linear(7, 9), ANAct(name, **options))
    settle(model.to(dtype), 33, 7)
    folding = assert_folds(model, torch.randn(5, 7, dtype=dtype), merged={}, kept=["1"])
    assert folding.kept["1"] == "its value leaves the model"


def test_scale_and_offset_are_those_of_the_formula():
    model = settle(
        nn.Sequential(nn.Linear(3, 4), ANAct("silu"), nn.Linear(4, 2)).double(), 33, 3
    )
    act = model[1]
    held = act.input_variance**0.75
    factor = (held / (act.input_variance * act.backward_gain)).sqrt()
    variance = act.output_square - act.output_mean**2
    shift = -(held - factor**2 * variance).clamp_min(0).sqrt()
    lam = factor + 0.3 * torch.tanh(act.alpha)
    weight, bias = model[2].weight, model[2].bias
    folded = fold(model).model
    torch.testing.assert_close(folded[2].weight, lam * weight)
    offset = shift - lam * act.output_mean
    torch.testing.assert_close(folded[2].bias, bias + offset * weight.sum(1))
    assert type(folded[1]) is nn.SiLU


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize(
    ("arguments", "exact", "exact_without_offset"),
    [
        ({}, True, True),
        ({"groups": 2, "stride": 2, "dilation": 2}, True, True),
        ({"bias": False}, True, True),
        ({"padding": "valid"}, True, True),
        ({"padding": 1}, False, True),
        ({"padding": "same"}, False, True),
        ({"padding": 2, "padding_mode": "circular"}, True, True),
        ({"padding": "same", "padding_mode": "replicate"}, True, True),
    ],
    ids=str,
)
def test_convolutions(dimensions, arguments, exact, exact_without_offset, dtype):
    convolution = getattr(nn, f"Conv{dimensions}d")
    for centre, merges in ((True, exact), (False, exact_without_offset)):
        act = ANAct("gelu", solution="forward", centre=centre)
        model = nn.Sequential(
            convolution(3, 4, 1), act, convolution(4, 6, 3, **arguments)
        )
        shape = (3, 8, 7, 6)[: 1 + dimensions]
        settle(model.to(dtype), 2, *shape)
        folding = assert_folds(model, torch.randn(2, *shape, dtype=dtype))
        assert folding.merged == ({"1": "2"} if merges else {})
        if not merges:
            assert folding.kept == {
                "1": "'2' pads with zeros, and the map has an offset"
            }
        has_bias = arguments.get("bias", True) or centre
        assert (folding.model[2].bias is not None) == has_bias


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    model = nn.Sequential(
        nn.Linear(64, 64), ANAct("silu"), nn.Linear(64, 32), ANAct("gelu")
    )
    settle(model, 99, 64)
    x = torch.randn(50, 64)
    exact = model(x)
    model.to(dtype)
    eps = torch.finfo(dtype).eps
    folding = assert_folds(
        model, x.to(dtype), merged={"1": "2"}, kept=["3"], tolerance=2 * eps
    )
    assert folding.model[2].weight.dtype == folding.model(x.to(dtype)).dtype == dtype
    assert distance(folding.model(x.to(dtype)), exact) < 2 * eps


class Between(nn.Module):
    """An ANAct and a convolution, with something between them."""

    def __init__(self, between, features=4, **options):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.act = ANAct("relu", **options)
        self.between = between
        self.last = nn.Conv2d(4, 2, 1) if features is None else nn.Linear(features, 2)

    def forward(self, x):
        return self.last(self.between(self.act(self.first(x))))


class Call(nn.Module):
    """A function as a module that torch.fx goes into."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


TRANSPARENT = {
    "identity": (nn.Identity(), None),
    "dropout": (nn.Sequential(nn.Dropout(), nn.Dropout2d(), nn.AlphaDropout()), None),
    "flatten": (nn.Flatten(), 196),
    "unflatten": (nn.Sequential(nn.Flatten(), nn.Unflatten(1, (14, 14))), 14),
    "max pool": (nn.MaxPool2d(3, 2, 1), None),
    "max pool, ceil": (nn.MaxPool2d(2, ceil_mode=True), None),
    "adaptive max pool": (nn.AdaptiveMaxPool2d(3), None),
    "average pool": (nn.AvgPool2d(3, 2), None),
    "average pool, ceil": (nn.AvgPool2d(2, ceil_mode=True), None),
    "adaptive average pool": (nn.AdaptiveAvgPool2d((3, 2)), None),
    "torch.flatten": (Call(lambda x: torch.flatten(x, 1)), 196),
    "view": (Call(lambda x: x.view(x.size(0), -1)), 196),
    "reshape": (Call(lambda x: x.reshape(x.shape[0], -1)), 196),
    "permute": (Call(lambda x: x.permute(0, 2, 3, 1).contiguous()), 4),
    "transpose": (Call(lambda x: torch.transpose(x, 1, 3)), 4),
    "squeeze": (Call(lambda x: x.unsqueeze(0).squeeze(0)), None),
    "mean": (Call(lambda x: x.mean([2, 3])), 4),
    "F.dropout": (Call(lambda x: F.dropout(x, 0.5, False)), None),
    "F.max_pool2d": (Call(lambda x: F.max_pool2d(x, 2)), None),
    "F.adaptive_avg_pool2d": (Call(lambda x: F.adaptive_avg_pool2d(x, 1)), None),
}


class NegativePool(nn.MaxPool2d):
    def forward(self, input):
        if input.sum() > 1e9:
            return input
        return -super().forward(input)


OPAQUE = {
    "subclass of a pool": (NegativePool(2), None),
    "batch norm": (nn.BatchNorm2d(4), None),
    "layer norm": (nn.LayerNorm(7), None),
    "relu": (nn.ReLU(), None),
    "average pool, padded": (nn.AvgPool2d(3, 2, 1), None),
    "average pool, divisor": (nn.AvgPool2d(3, 2, divisor_override=2), None),
    "zero pad": (nn.ZeroPad2d(1), None),
    "sum": (Call(lambda x: x.sum([2, 3])), 4),
    "twice": (Call(lambda x: x + x), None),
    "residual": (Call(lambda x: x.neg() + x), None),
    "own dimension": (Call(lambda x: x.max(3)[0]), 7),
    "F.pad": (Call(lambda x: F.pad(x, (1, 1))), None),
}


@pytest.mark.parametrize("name", TRANSPARENT)
def test_what_an_affine_map_goes_through(name):
    model = settle(Between(*TRANSPARENT[name]).double(), 2, 3, 9, 9)
    folding = assert_folds(
        model, images(torch.float64), merged={"act": "last"}, kept=[]
    )
    assert type(folding.model.act) is nn.ReLU


@pytest.mark.parametrize("name", OPAQUE)
def test_what_it_does_not_go_through(name):
    model = settle(Between(*OPAQUE[name]).double(), 2, 3, 9, 9)
    assert_folds(model, images(torch.float64), merged={}, kept=["act"])


def test_dropout_that_is_always_on_is_not_passed():
    model = settle(Between(Call(lambda x: F.dropout(x)), None))
    assert fold(model).kept == {"act": "dropout follows"}


@pytest.mark.parametrize("pool", [nn.MaxPool2d(2), Call(lambda x: F.max_pool2d(x, 2))])
def test_max_pooling_needs_a_positive_scale(pool):
    model = Between(pool, None, bounds=(0.01, 0.1)).double()
    settle(model, 2, 3, 9, 9)
    nn.init.constant_(model.act.alpha, -3)
    assert model.act.affine()[0] < 0
    assert_folds(model, images(torch.float64), merged={}, kept=["act"])


def test_identity_maps_leave_the_plain_activation():
    model = nn.Sequential(
        nn.Linear(3, 3),
        ANAct("relu", solution="compromise", centre=False, bounds=(1, 1)),
    )
    folding = assert_folds(model.eval(), torch.randn(2, 3))
    assert folding.kept == {"1": "its map is the identity"}
    assert type(folding.model[1]) is nn.ReLU


# Modules that are used in more ways than one.


def kept_because(model, *inputs):
    (why,) = assert_folds(model, *inputs, merged={}, kept=["act"]).kept.values()
    return why


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(5, 5)
        self.act = ANAct("silu")
        self.last = nn.Linear(5, 5)

    def forward(self, x):
        return self.last(self.act(self.first(x)))


X = torch.linspace(-2, 2, 35, dtype=torch.float64).reshape(7, 5)


def small(cls=Small):
    return settle(cls().double(), 33, 5)


def test_a_layer_that_is_called_elsewhere():
    class Model(Small):
        def forward(self, x):
            return self.last(super().forward(x))

    assert kept_because(small(Model), X) == "'last' is called elsewhere too"


def test_an_anact_that_goes_to_several_layers():
    class Model(Small):
        def forward(self, x):
            x = self.act(x)
            return self.first(x) + self.last(x)

    assert kept_because(small(Model), X) == "its value goes to 2 places"

    class Chain(Small):
        def forward(self, x):
            return self.last(self.act(self.first(self.act(x))))

    assert "several" in kept_because(small(Chain), X)


def test_a_pair_that_is_called_twice_merges():
    class Model(Small):
        def forward(self, x):
            return super().forward(super().forward(x))

    assert_folds(small(Model), X, merged={"act": "last"}, kept=[])


def test_a_layer_that_stands_in_several_places():
    class Model(Small):
        def __init__(self):
            super().__init__()
            self.again = self.last

    assert "stands in several places" in kept_because(small(Model), X)


def test_a_shared_anact_stays_shared():
    model = small()
    model = nn.Sequential(model.first, model.act, model.last, model.act).eval()
    folding = assert_folds(model, X, merged={}, kept=["1", "3"])
    assert folding.model[1] is folding.model[3]


def test_a_shared_weight():
    class Model(Small):
        def __init__(self):
            super().__init__()
            self.first.weight = self.last.weight

    assert kept_because(small(Model), X) == "'last' shares its parameters"


def test_a_weight_that_is_read_by_itself():
    class Model(Small):
        def forward(self, x):
            return super().forward(x) @ self.last.weight

    assert kept_because(small(Model), X) == "'last' shares its parameters"


def test_a_weight_that_is_referred_to_from_outside_keeps_its_values():
    model = small()
    weight, values = model.last.weight, model.last.weight.clone()
    fold(model)
    assert torch.equal(weight, values)
    assert model.last.weight is not weight and model.last.weight.requires_grad


def test_hooks_and_parametrizations_of_the_layer():
    model = small()
    model.last.register_forward_hook(lambda module, args, output: output + 1)
    assert kept_because(model, X) == "'last' has hooks"
    model = small()
    nn.utils.parametrizations.weight_norm(model.last)
    assert kept_because(model.eval(), X) == "'last' is parametrized"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = small()
        nn.utils.weight_norm(model.last)
    assert kept_because(model, X) == "'last' has hooks"


class Doubles(torch.Tensor):
    """Does not take part in what it is not asked for."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is torch.Tensor.to:
            raise NotImplementedError(func)
        return super().__torch_function__(func, types, args, kwargs)


def subclassed(layer, name):
    value = getattr(layer, name).detach().as_subclass(Doubles)
    setattr(layer, name, nn.Parameter(value))


def sparse(layer):
    layer.weight = nn.Parameter(layer.weight.detach().to_sparse_csr())


def computed(layer):
    weight = layer.weight.detach()
    del layer.weight
    layer.weight = weight


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda layer: subclassed(layer, "weight"), "has a weight that is a Doubles"),
        (lambda layer: subclassed(layer, "bias"), "has a bias that is a Doubles"),
        (sparse, "has a weight that is a Parameter of layout torch.sparse_csr"),
        (computed, "has a weight that is no parameter"),
    ],
    ids=["weight", "bias", "sparse", "computed"],
)
def test_a_layer_that_cannot_be_scaled_keeps_its_parameters(change, why):
    model = settle(nn.Sequential(*pair(), *pair()).double(), 33, 5)
    change(model[5])
    weight, bias = model[5].weight, model[5].bias
    expected = model(X)
    folding = fold(model)
    assert folding.merged == {"1": "2"} and [*folding.kept] == ["4"]
    assert folding.kept["4"].startswith(f"'5' {why}")
    assert model[5].weight is weight and model[5].bias is bias
    assert distance(model(X), expected) < 1e-13


def test_a_layer_without_values():
    model = settle(nn.Sequential(*pair()).double(), 33, 5)
    model[2].to("meta")
    assert fold(model).kept == {"1": "'2' has a weight that is on the meta device"}


@pytest.mark.filterwarnings("ignore")
def test_layers_that_pytorch_quantized():
    model = settle(nn.Sequential(*pair(), *pair()), 33, 5)
    quantized = torch.ao.quantization.quantize_dynamic(
        copy.deepcopy(model), {nn.Linear}
    )
    quantized[2] = model[2]
    x = X.float()
    expected = quantized(x)
    folding = fold(quantized)
    assert folding.merged == {"1": "2"}
    assert folding.kept == {"4": "'5' is quantized"}
    # Its inputs are rounded to eight bits.
    assert distance(quantized(x), expected) < 0.02
    assert not anacts(quantized)


def test_an_error_halfway_changes_nothing(monkeypatch):
    model = settle(nn.Sequential(*pair(), *pair()).double(), 33, 5)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    held = [*model.modules()]
    flatten = torch.Tensor.flatten
    calls = []

    def fail_at_the_second(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("no memory")
        return flatten(*arguments)

    monkeypatch.setattr(torch.Tensor, "flatten", fail_at_the_second)
    with pytest.raises(RuntimeError, match="no memory"):
        fold(model)
    assert [*model.modules()] == held
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_holder_that_refuses_changes_nothing():
    class Sealed(nn.Sequential):
        def __setattr__(self, name, value):
            if name == "1":
                raise AttributeError("sealed")
            super().__setattr__(name, value)

    model = nn.Sequential(*pair(), Sealed(*pair())).eval()
    held, weight = [*model.modules()], model[2].weight
    with pytest.raises(AttributeError, match="sealed"):
        fold(model)
    assert [*model.modules()] == held and model[2].weight is weight


def test_hooks_of_modules_around():
    seen = []
    model = nn.Sequential(
        nn.Sequential(nn.Linear(5, 5), ANAct("relu")), nn.Linear(5, 5)
    )
    settle(model.double(), 33, 5)
    assert_folds(model, X, merged={"0.1": "1"})
    model[0].register_forward_hook(lambda module, args, output: seen.append(output))
    folding = assert_folds(model, X, merged={}, kept=["0.1"])
    assert folding.kept == {"0.1": "its value leaves '0'"}
    assert all(type(value) is torch.Tensor for value in seen)


def test_hooks_of_an_anact_are_an_error():
    model = small()
    model.act.register_forward_hook(lambda module, args, output: None)
    with pytest.raises(ValueError, match="'act' has hooks"):
        fold(model)
    assert isinstance(model.act, ANAct)


# What torch.fx cannot trace.


class Untraceable(nn.Module):
    def __init__(self, *children):
        super().__init__()
        self.body = nn.Sequential(*children)
        self.blocks = nn.ModuleList([])

    def forward(self, x):
        if self.body is None or x.sum() > 1e9:
            return x
        return self.body(x)


def pair():
    return [nn.Linear(5, 5), ANAct("tanh"), nn.Linear(5, 5)]


def test_a_part_of_what_cannot_be_traced():
    model = settle(Untraceable(*pair()).double(), 33, 5)
    assert_folds(model, X, merged={"body.1": "body.2"}, kept=[])
    outer = settle(
        Untraceable(
            ANAct("relu"), model, *pair(), ANAct("relu"), Untraceable()
        ).double()
    )
    folding = assert_folds(
        outer, X, merged={"body.1.body.1": "body.1.body.2", "body.3": "body.4"}
    )
    assert folding.kept == {
        "body.0": "Untraceable 'body.1' follows",
        "body.5": "Untraceable 'body.6' follows",
    }


class Taps(Untraceable):
    def forward(self, x):
        taps = []
        for layer in self.body:
            x = layer(x)
            if x.sum() < 1e9:
                taps.append(x)
        return tuple(taps)


class Reaches(Untraceable):
    def forward(self, x):
        if x.sum() > 1e9:
            return x
        return self.body(x), self.body[1](x), self.body[2](x)


class Slices(Untraceable):
    def forward(self, x):
        if x.sum() > 1e9:
            return x
        return self.body(x), self.body[:2](x)


class Children(Untraceable):
    def forward(self, x):
        if x.sum() > 1e9:
            return x
        return [self.body(x), *(layer(x) for layer in next(iter(self.children())))]


class Passes(Untraceable):
    def forward(self, x):
        return run(self, x)


def run(module, x):
    taps = [x]
    for layer in module.body:
        taps.append(layer(taps[-1]))
    return [x for x in taps if x.sum() < 1e9]


class Renames(Untraceable):
    def forward(self, x):
        if x.sum() > 1e9:
            return x
        body = self.body
        return body(x), body[1](x)


@pytest.mark.parametrize("cls", [Taps, Reaches, Slices, Children, Passes, Renames])
def test_code_that_looks_into_a_part(cls):
    model = cls(*pair())
    settle(model.double())
    assert_folds(model, X, merged={}, kept=["body.1"])


class Blocks(Untraceable):
    def __init__(self):
        super().__init__()
        self.body = nn.ModuleList(nn.Sequential(*pair()) for _ in range(3))

    def forward(self, x):
        for i, block in enumerate(self.body):
            if x.sum() < 1e9 + i:
                x = block(x)
        for block in self.body:
            x = block(x)
        return self.body[len(self.body) - 1](x)


class OpenedBlocks(Blocks):
    def forward(self, x):
        taps = []
        for block in self.body:
            for layer in block:
                x = layer(x)
                if x.sum() < 1e9:
                    taps.append(x)
        return tuple(taps)


class IndexedBlocks(Blocks):
    def forward(self, x):
        if x.sum() > 1e9:
            return x
        return self.body[0](x), self.body[0][1](x)


def test_elements_of_a_list():
    model = settle(Blocks().double())
    assert_folds(
        model, X, merged={f"body.{i}.1": f"body.{i}.2" for i in range(3)}, kept=[]
    )
    for cls in (OpenedBlocks, IndexedBlocks):
        model = settle(cls().double())
        assert_folds(model, X, merged={}, kept=[f"body.{i}.1" for i in range(3)])


class Flag(Small):
    def forward(self, x, flag=False):
        x = self.act(self.first(x))
        y = self.last(x)
        return y * x if flag else y


class Given(Small):
    def forward(self, x, extra=None):
        x = self.act(self.first(x))
        y = self.last(x)
        return y if extra is None else y * x + extra


class Missing(Small):
    def forward(self, x, extra=None):
        x = self.act(self.first(x))
        y = self.last(x)
        return y * x if extra is None else y + extra


class Harmless(Small):
    def forward(self, x, flag=False, extra=None):
        y = super().forward(x)
        y = y * y if flag else y
        return y if extra is None else y + extra


def test_optional_arguments_are_seen_given_and_not():
    for cls in (Flag, Given, Missing):
        for arguments in ((X,), (X, X if cls is not Flag else True)):
            assert "2 places" in kept_because(small(cls), *arguments)
    for arguments in ((X,), (X, True), (X, True, X)):
        assert_folds(small(Harmless), *arguments, merged={"act": "last"}, kept=[])


def test_tracing_leaves_nothing_in_the_model():
    class Remembers(Small):
        def __init__(self):
            super().__init__()
            self.seen = []
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            self.last_input = x
            self.seen.append(x)
            self.calls += 1
            return super().forward(x)

    model = small(Remembers)
    model.last_input, model.seen = None, []
    calls = model.calls.item()
    assert fold(model).merged == {"act": "last"}
    assert model.last_input is None and model.seen == [] and model.calls == calls


def test_a_model_that_cannot_be_copied():
    model = small()
    model.state = X.clone().requires_grad_() * 2
    expected = model(X)
    assert fold(model).kept == {"act": "torch.fx cannot trace what calls it"}
    assert distance(model(X), expected) < 1e-13


def test_a_forward_that_was_put_on_the_instance():
    model = small()
    model.forward = lambda x: model.act(model.last(x))
    folding = fold(model)
    assert folding.merged == {}
    assert folding.kept == {"act": "torch.fx cannot trace what calls it"}


# Wrong use.


def test_training_is_an_error():
    model = small()
    model.first.train()
    with pytest.raises(ValueError, match="'first' is in training"):
        fold(model)
    with pytest.raises(ValueError, match="the model is in training"):
        fold(model.train())
    assert isinstance(model.act, ANAct)


@pytest.mark.parametrize("name", ["output_mean", "input_variance", "alpha"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_statistics_that_are_not_finite_are_an_error(name, value):
    model = nn.Sequential(ANAct("relu"), nn.Linear(2, 2), ANAct("relu")).eval()
    if name == "alpha" and value == float("inf"):
        value = -float("nan")  # tanh of infinity is finite
    getattr(model[2], name).data.fill_(value)
    with pytest.raises(ValueError, match="'2' has statistics that are not finite"):
        fold(model)
    assert isinstance(model[0], ANAct)


def test_a_subclass_with_a_forward_of_its_own_is_left_alone():
    class Doubled(ANAct):
        def forward(self, input):
            return 2 * super().forward(input)

    model = settle(nn.Sequential(nn.Linear(5, 5), Doubled("relu"), *pair()).double())
    x = model(X)
    folding = fold(model)
    assert folding.merged == {"3": "4"} and folding.kept == {}
    assert type(model[1]) is Doubled
    assert distance(model(X), x) < 1e-13


def test_a_model_that_is_an_anact():
    act = ANAct("elu").eval()
    with pytest.raises(ValueError, match="inplace=False"):
        fold(act)
    folding = assert_folds(act, X, merged={}, kept=[""])
    assert folding.model is not act


def test_other_models():
    with pytest.raises(TypeError, match="Module"):
        fold(torch.relu)
    plain = nn.Sequential(nn.Linear(2, 2), nn.ReLU()).eval()
    folding = fold(plain)
    assert folding.model is plain and not folding.merged and not folding.kept
    assert str(folding) == "merged: 0\nkept: 0"


def test_report():
    model = settle(nn.Sequential(*pair(), ANAct("relu")).double())
    text = str(fold(model))
    assert text == "merged: 1\n  1 into 2\nkept: 1\n  3: its value leaves the model"


# Transformers.


@pytest.mark.parametrize("activation", [F.relu, F.gelu, F.silu])
@pytest.mark.parametrize("masked", [False, True])
def test_transformer_encoder(activation, masked):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 32, 0.0, activation, batch_first=True)
    model = convert_activations(
        nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    ).model
    settle(model, 4, 5, 16)
    x = torch.randn(3, 5, 16)
    mask = torch.zeros(3, 5, dtype=torch.bool)
    mask[1, 3:] = True
    with torch.no_grad():
        expected = model(x, src_key_padding_mask=mask if masked else None)
        folding = fold(model, inplace=False)
        actual = folding.model(x, src_key_padding_mask=mask if masked else None)
    # All is in linear2, and the fused evaluation of PyTorch runs again where there is one.
    assert folding.merged == {
        f"layers.{i}.activation": f"layers.{i}.linear2" for i in range(2)
    }
    codes = {F.relu: 1, F.gelu: 2, F.silu: 0}
    assert folding.model.layers[0].activation_relu_or_gelu == codes[activation]
    assert distance(actual, expected) < 2e-6

    model.layers[1].linear2.register_forward_hook(lambda module, args, output: None)
    folding = fold(model)
    assert folding.kept == {"layers.1.activation": "'layers.1.linear2' has hooks"}
    assert model.layers[1].activation_relu_or_gelu == 0
    with torch.no_grad():
        actual = model(x, src_key_padding_mask=mask if masked else None)
    assert distance(actual, expected) < 2e-6


def test_padding_gives_what_it_gave_before():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    model = convert_activations(nn.TransformerEncoder(layer, 2)).model.eval()
    x = torch.randn(3, 5, 16)
    mask = torch.zeros(3, 5, dtype=torch.bool)
    mask[1, 3:] = True
    with torch.no_grad():
        expected = model(x, src_key_padding_mask=mask)
        assert (
            distance(fold(model).model(x, src_key_padding_mask=mask), expected) < 2e-6
        )


def test_transformer_decoder():
    layer = nn.TransformerDecoderLayer(8, 2, 16, batch_first=True)
    model = convert_activations(nn.TransformerDecoder(layer, 1)).model.double()
    model = settle(model)
    x, memory = torch.randn(2, 3, 8).double(), torch.randn(2, 4, 8).double()
    merged = {"layers.0.activation": "layers.0.linear2"}
    assert_folds(model, x, memory, merged=merged, kept=[])


# Whole networks.


@pytest.mark.parametrize(
    ("name", "merged", "kept"),
    [
        ("resnet18", 0, 9),
        ("vgg11", 3, 7),
        ("mobilenet_v3_small", 13, 29),
        ("densenet121", 61, 59),
        ("swin_t", 12, 0),
    ],
)
def test_torchvision(torchvision, name, merged, kept):
    torch.manual_seed(0)
    model = getattr(torchvision.models, name)(weights=None, num_classes=5)
    if name == "vgg11":  # a hundred million weights
        model.classifier[0] = nn.Linear(25088, 16)
        model.classifier[3] = nn.Linear(16, 16)
        model.classifier[6] = nn.Linear(16, 5)
    # Gates too: what is folded is any ANAct.
    gates = ["*", "hardsigmoid"] if name == "mobilenet_v3_small" else None
    convert_activations(model, gates)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        model.train()(x)
    model.eval()
    folding = assert_folds(model, x, tolerance=1e-5)
    assert (len(folding.merged), len(folding.kept)) == (merged, kept)
    assert_folds(model.double(), x.double())


def test_bert(torchvision):
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
    )
    model = convert_activations(transformers.BertModel(config)).model.double().eval()
    tokens = torch.randint(50, (2, 7))
    with torch.no_grad():
        expected = model(tokens).pooler_output
        folding = fold(model)
        assert distance(model(tokens).pooler_output, expected) < 1e-13
    assert not anacts(model)
    assert len(folding.merged) + len(folding.kept) == 3


# What the folded model is good for.


def both():
    """A merged ANAct and one of each that is not, down to what torch.nn has no module of."""
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        ANAct("silu"),
        nn.Conv2d(4, 4, 3),
        ANAct("gelu(approximate=tanh)"),
        nn.Conv2d(4, 4, 3, padding=1),
        ANAct("relu2"),
        nn.BatchNorm2d(4),
        ANAct("relu", solution="compromise", centre=False),
    )
    return settle(model, 4, 3, 9, 9)


def test_folded_models_load_without_the_package(tmp_path):
    model = fold(both()).model
    torch.save(model, tmp_path / "model.pt")
    torch.save((images(), model(images())), tmp_path / "example.pt")
    code = """
import sys
sys.modules["anact"] = None
import torch
model = torch.load("model.pt", weights_only=False)
input, output = torch.load("example.pt")
assert torch.equal(model(input), output)
assert not hasattr(torch.ops.anact, "evaluate")
assert not model.training
print("the same")
"""
    environment = {
        key: value for key, value in os.environ.items() if key != "PYTHONPATH"
    }
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout == "the same\n", run.stderr


def test_folded_models_are_exported_and_compiled():
    model = both()
    x = images()
    expected = model(x)
    fold(model)
    program = torch.export.export(model, (x,))
    assert not any("anact" in str(node.target) for node in program.graph.nodes)
    torch.testing.assert_close(program.module()(x), expected, rtol=1e-5, atol=1e-5)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), expected, rtol=1e-5, atol=1e-5)


def test_folded_models_are_copied_moved_and_traced():
    model = fold(both()).model
    x = images()
    expected = model(x)
    assert torch.equal(copy.deepcopy(model)(x), expected)
    assert torch.equal(torch.fx.symbolic_trace(model)(x), expected)
    assert model.bfloat16()(x.bfloat16()).dtype == torch.bfloat16
    assert fold(model).kept == {}
    assert revert_activations(model).replaced == {}
