"""initialize: what it draws, what it leaves, and that an error changes nothing."""

import copy
import math
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

import anact

torch.set_num_threads(1)

RECIPES = {info.name: info.weights for info in anact.recipes()}


def drawn_like(shape, seed, recipe="deep", dtype=torch.float32):
    """What torch.nn.init draws for a matrix with a row an output, from one seed."""
    torch.manual_seed(seed)
    weight = torch.empty(shape, dtype=dtype)
    rows, inputs = shape[0], math.prod(shape[1:])
    if RECIPES[recipe] == "orthogonal":
        return nn.init.orthogonal_(weight, gain=max(1, rows / inputs) ** 0.5)
    return nn.init.normal_(weight, std=1 / inputs**0.5)


def initialize(model, seed=3, **arguments):
    torch.manual_seed(seed)
    report = anact.initialize(model, **arguments)
    assert report.model is model
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    assert [*sorted((*report.drawn, *report.left))] == sorted(names)
    return report


def state_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_refused(model, match, kind=ValueError, **arguments):
    """It raises, and neither the model nor the generator has changed."""
    before = state_of(model)
    random = torch.get_rng_state()
    with pytest.raises(kind, match=match):
        anact.initialize(model, **arguments)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert torch.equal(torch.get_rng_state(), random)


def old_weight_norm(layer, **arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.utils.weight_norm(layer, **arguments)


# ---- Plain layers


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("recipe", RECIPES)
def test_plain_layers_are_those_of_torch(recipe, dtype):
    net = nn.Sequential(
        nn.Linear(7, 19),
        nn.Conv2d(4, 6, (3, 1), groups=2, bias=False),
        nn.Linear(19, 3),
    ).to(dtype)
    net[1].to(memory_format=torch.channels_last)
    report = initialize(net, recipe=recipe)
    torch.manual_seed(3)
    for layer in net:
        weight = torch.empty(layer.weight.shape, dtype=dtype)
        rows, inputs = len(weight), weight[0].numel()
        if RECIPES[recipe] == "orthogonal":
            nn.init.orthogonal_(weight, gain=max(1, rows / inputs) ** 0.5)
        else:
            nn.init.normal_(weight, std=1 / inputs**0.5)
        assert torch.equal(layer.weight, weight)
        assert layer.bias is None or not layer.bias.any()
    how = "orthogonal" if RECIPES[recipe] == "orthogonal" else "normal"
    assert [*report.drawn.values()] == [how, "set to 0", how, how, "set to 0"]
    assert report.left == {}


def test_other_layers_do_not_change_the_draws_of_plain_ones():
    plain = nn.ModuleList([nn.Linear(5, 6), nn.Linear(6, 7)])
    mixed = nn.ModuleList(
        [nn.ConvTranspose1d(3, 4, 2), nn.Linear(5, 6), nn.Bilinear(2, 3, 4)]
        + [nn.LSTM(3, 4), nn.Linear(6, 7)]
    )
    initialize(plain)
    initialize(mixed)
    assert torch.equal(plain[0].weight, mixed[1].weight)
    assert torch.equal(plain[1].weight, mixed[4].weight)


def test_a_layer_that_is_held_twice_is_drawn_once():
    shared = nn.Linear(6, 6)
    net = nn.Sequential(shared, nn.Linear(6, 6), shared)
    torch.manual_seed(3)
    report = anact.initialize(net)
    assert [*report.drawn] == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert torch.equal(shared.weight, drawn_like((6, 6), 3))


def test_parameters_stay_the_objects_they_are():
    net = nn.Sequential(nn.Linear(4, 4), parametrizations.weight_norm(nn.Linear(4, 4)))
    before = [*net.parameters()]
    initialize(net)
    for parameter, old in zip(net.parameters(), before, strict=True):
        assert parameter is old and parameter.requires_grad and parameter.is_leaf


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_drawn_in_single_and_rounded(dtype, recipe):
    layer = nn.Linear(9, 13, dtype=dtype)
    initialize(layer, recipe=recipe)
    assert torch.equal(layer.weight, drawn_like((13, 9), 3, recipe).to(dtype))


def test_a_generator_makes_draws_reproducible():
    net = nn.Sequential(nn.Linear(6, 5), nn.MultiheadAttention(4, 2))
    states = []
    for seed in (7, 7, 8):
        before = torch.get_rng_state()
        anact.initialize(net, torch.Generator().manual_seed(seed))
        assert torch.equal(torch.get_rng_state(), before)
        states.append(state_of(net))
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name])
        assert value.dim() < 2 or not torch.equal(value, states[2][name])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no second device")
def test_a_generator_of_another_device_is_refused():
    net = nn.Linear(3, 3)
    for device in ("cpu", "cuda"):
        other = torch.Generator("cuda" if device == "cpu" else "cpu")
        assert_refused(net.to(device), "the generator on", generator=other)
        anact.initialize(net, torch.Generator(device).manual_seed(1))


def test_bad_arguments_are_refused():
    net = nn.Linear(3, 3)
    assert_refused(net, "expected one of deep, paper", recipe="papper")
    assert_refused(net, "torch.Generator, not int", TypeError, generator=1)
    with pytest.raises(TypeError, match="Module, not function"):
        anact.initialize(lambda x: x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.script(nn.Linear(3, 3))
    assert_refused(nn.Sequential(scripted), "'0' is a ScriptModule", TypeError)


# ---- Layers beyond Linear and Conv


@pytest.mark.parametrize(
    ("dimensions", "arguments"),
    [
        (1, {"kernel_size": 5}),
        (1, {"kernel_size": 4, "stride": 4}),
        (2, {"kernel_size": 3, "stride": 2, "groups": 2}),
        (2, {"kernel_size": (4, 2), "stride": 2, "dilation": 3, "bias": False}),
        (3, {"kernel_size": 2, "stride": (1, 2, 1)}),
    ],
    ids=str,
)
@pytest.mark.parametrize("channels", [(32, 16), (16, 64)])
def test_transposed_convolutions_keep_the_scale(dimensions, arguments, channels):
    cls = getattr(nn, f"ConvTranspose{dimensions}d")
    layer = cls(*channels, **arguments)
    report = initialize(layer)
    assert report.drawn["weight"] == "orthogonal"
    size, border = {1: (500, 20), 2: (40, 12), 3: (14, 2)}[dimensions]
    with torch.no_grad():
        y = layer(torch.randn(2, channels[0], *[size] * dimensions))
    # At the border less comes in.
    inner = y[(..., *[slice(border, -border)] * dimensions)]
    assert float(inner.square().mean()) == pytest.approx(1, rel=0.1)


def test_a_transposed_convolution_is_the_convolution_with_the_drawn_weight():
    layer = nn.ConvTranspose2d(6, 4, (3, 2), groups=2, bias=False)
    initialize(layer)
    drawn = drawn_like((4, 3, 3, 2), 3)
    x = torch.randn(2, 6, 7, 5)
    # Of the drawn weight, turned by 180 degrees.
    padded = nn.functional.pad(x, (1, 1, 2, 2))
    want = nn.functional.conv2d(padded, drawn.flip(2, 3), groups=2)
    torch.testing.assert_close(layer(x), want)


def test_bilinear():
    layer = nn.Bilinear(6, 7, 30)
    report = initialize(layer)
    assert torch.equal(layer.weight, drawn_like((30, 6, 7), 3))
    assert report.drawn == {"weight": "orthogonal", "bias": "set to 0"}
    with torch.no_grad():
        y = layer(torch.randn(20000, 6), torch.randn(20000, 7))
    assert float(y.square().mean()) == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize("sizes", [{}, {"kdim": 10, "vdim": 9}])
def test_attention_has_a_matrix_each_for_query_key_and_value(sizes):
    layer = nn.MultiheadAttention(12, 3, add_bias_kv=True, **sizes)
    kept = layer.bias_k.clone()
    report = initialize(nn.ModuleDict({"attention": layer})).drawn
    torch.manual_seed(3)
    out, *projections = [
        nn.init.orthogonal_(torch.empty(12, inputs), gain=max(1, 12 / inputs) ** 0.5)
        for inputs in (12, 12, sizes.get("kdim", 12), sizes.get("vdim", 12))
    ]
    assert torch.equal(layer.out_proj.weight, out)
    if sizes:
        names = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
        for name, want in zip(names, projections, strict=True):
            assert torch.equal(getattr(layer, name), want)
            assert report[f"attention.{name}"] == "orthogonal"
    else:
        assert torch.equal(layer.in_proj_weight, torch.cat(projections))
        assert report["attention.in_proj_weight"] == "orthogonal, in three matrices"
    assert not layer.in_proj_bias.any() and not layer.out_proj.bias.any()
    assert torch.equal(layer.bias_k, kept)


def test_what_is_left_and_why():
    net = nn.ModuleDict(
        {
            "embedding": nn.Embedding(5, 4),
            "norm": nn.LayerNorm(4),
            "act": anact.NSiLU(),
            "recurrent": nn.GRU(4, 4, bias=False),
        }
    )
    before = state_of(net)
    report = initialize(net)
    assert report.drawn == {}
    assert report.left == {
        "embedding.weight": "of an embedding (Embedding)",
        "norm.weight": "of a norm (LayerNorm)",
        "norm.bias": "of a norm (LayerNorm)",
        "act.alpha": "the α of an ANAct",
        "recurrent.weight_ih_l0": "not of a layer that is drawn (GRU)",
        "recurrent.weight_hh_l0": "not of a layer that is drawn (GRU)",
    }
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])


def test_the_report_is_short():
    net = nn.Sequential(*(nn.Linear(3, 3) for _ in range(6)), nn.BatchNorm1d(3))
    assert str(initialize(net)) == (
        "drawn: 12\n"
        "  orthogonal: 0.weight, 1.weight, 2.weight, 3.weight and 2 more\n"
        "  set to 0: 0.bias, 1.bias, 2.bias, 3.bias and 2 more\n"
        "left: 2\n"
        "  of a norm (BatchNorm1d): 6.weight, 6.bias"
    )
    assert str(anact.initialize(nn.ReLU())) == "drawn: 0\nleft: 0"


# ---- Weights that a module computes from others


def normed(name, layer):
    if name == "weight_norm":
        return parametrizations.weight_norm(layer)
    if name == "weight_norm, one length":
        return parametrizations.weight_norm(layer, dim=None)
    return old_weight_norm(layer, dim=1 if name == "hook, columns" else 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(
    "name", ["weight_norm", "weight_norm, one length", "hook", "hook, columns"]
)
def test_weight_norm_gives_the_drawn_weight(name, dtype):
    layer = normed(name, nn.Linear(9, 7).to(dtype))
    report = initialize(layer)
    single = torch.float64 if dtype == torch.float64 else torch.float32
    want = drawn_like((7, 9), 3, dtype=single).to(dtype)
    tolerance = {} if dtype != torch.bfloat16 else {"rtol": 0.02, "atol": 0.002}
    torch.testing.assert_close(layer.weight, want, **tolerance)
    x = torch.randn(4, 9, dtype=dtype)
    torch.testing.assert_close(layer(x), x @ want.T, rtol=0.02, atol=0.02)
    assert sorted(report.drawn.values()) == [
        "orthogonal, through weight_norm",
        "orthogonal, through weight_norm",
        "set to 0",
    ]
    layer(x).sum().backward()
    assert all(parameter.grad is not None for parameter in layer.parameters())


def spectral(name, layer):
    wrap = parametrizations.spectral_norm if name == "new" else nn.utils.spectral_norm
    return wrap(layer)


@pytest.mark.parametrize("name", ["new", "hook"])
@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: nn.Linear(9, 7), (7, 9)),
        (lambda: nn.Linear(5, 11), (11, 5)),
        (lambda: nn.Conv2d(3, 6, 3), (6, 27)),
    ],
    ids=["wide", "tall", "conv"],
)
def test_spectral_norm_is_1_at_once(make, shape, name):
    layer = spectral(name, make()).eval()
    report = initialize(layer)
    for training in (False, True):
        layer.train(training)
        layer(
            torch.randn(2, *((3, 5, 5) if len(layer.weight.shape) > 2 else shape[1:]))
        )
        matrix = layer.weight.detach().flatten(1)
        assert matrix.shape == shape
        singular = torch.linalg.svdvals(matrix)
        torch.testing.assert_close(singular, torch.ones_like(singular))
    assert "orthogonal, divided by its spectral norm" in report.drawn.values()


@pytest.mark.parametrize("name", ["new", "hook"])
def test_spectral_norm_of_other_weights(name):
    layer = spectral(name, nn.ConvTranspose1d(40, 30, 3)).eval()
    initialize(layer, recipe="paper")
    layer(torch.randn(1, 40, 5))
    # As PyTorch's own power iteration: close to 1, from above.
    largest = torch.linalg.matrix_norm(layer.weight.movedim(1, 0).flatten(1), 2)
    assert float(largest.detach()) == pytest.approx(1, abs=0.05)


def test_pruning_keeps_its_mask():
    layer = nn.Linear(40, 30)
    prune.random_unstructured(layer, "weight", amount=0.25)
    prune.l1_unstructured(layer, "weight", amount=0.25)
    prune.random_unstructured(layer, "bias", amount=0.5)
    mask = layer.weight_mask.clone()
    report = initialize(layer)
    assert report.drawn == {
        "weight_orig": "orthogonal, the pruning mask stays",
        "bias_orig": "set to 0, the pruning mask stays",
    }
    want = drawn_like((30, 40), 3)
    assert torch.equal(layer.weight_orig, want)
    assert torch.equal(layer.weight_mask, mask) and not mask.all()
    assert torch.equal(layer.weight, want * mask)
    x = torch.randn(2, 40)
    torch.testing.assert_close(layer(x), x @ (want * mask).T)


# ---- Frozen and tied parameters


def test_frozen_parameters_are_left_unless_asked_for():
    net = nn.Sequential(nn.Linear(4, 5).requires_grad_(False), nn.Linear(5, 4))
    net[1].bias.requires_grad_(False)
    before = state_of(net)
    report = initialize(net)
    why = "frozen; frozen=True draws it"
    assert report.left == {
        "0.weight": why,
        "0.bias": "its weight is left",
        "1.bias": why,
    }
    for name in report.left:
        assert torch.equal(net.state_dict()[name], before[name])
    assert torch.equal(net[1].weight, drawn_like((4, 5), 3))
    report = initialize(net, frozen=True)
    assert report.left == {} and not net[0].weight.requires_grad
    assert torch.equal(net[0].weight, drawn_like((5, 4), 3))
    assert not net[1].bias.any()


def test_frozen_weights_are_not_looked_at():
    net = nn.Sequential(nn.Linear(4, 4, device="meta"), nn.Linear(4, 4))
    net[0].requires_grad_(False)
    assert [*initialize(net).drawn] == ["1.weight", "1.bias"]
    with pytest.raises(ValueError, match="'0.weight' is on the meta device"):
        anact.initialize(net, frozen=True)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        self.head = nn.Linear(16, 50)
        self.head.weight = self.embedding.weight


class SharesMemory(Tied):
    def __init__(self):
        super().__init__()
        self.head.weight = nn.Parameter(self.embedding.weight.detach()[:20])


@pytest.mark.parametrize("cls", [Tied, SharesMemory])
def test_tied_parameters_are_left_unless_asked_for(cls):
    model = cls()
    before = state_of(model)
    report = initialize(model)
    assert report.drawn == {}
    assert report.left == {
        "embedding.weight": "of an embedding (Embedding)",
        "head.weight": "tied to embedding.weight; tied=True draws it",
        "head.bias": "its weight is left",
    }
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    report = initialize(model, tied=True)
    assert report.left == {}
    assert report.drawn == {
        "embedding.weight": "with head.weight",
        "head.weight": "orthogonal",
        "head.bias": "set to 0",
    }
    want = drawn_like(model.head.weight.shape, 3)
    assert torch.equal(model.head.weight, want)
    assert torch.equal(model.embedding.weight[: len(want)], want)


def test_two_layers_with_one_weight():
    net = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6))
    net[2].weight = net[0].weight
    report = initialize(net)
    assert [*report.drawn] == ["1.weight", "1.bias"]
    assert report.left["0.weight"] == "tied to 2.weight; tied=True draws it"
    report = initialize(net, tied=True)
    assert report.left == {} and report.drawn["2.weight"] == "with 0.weight"
    assert torch.equal(net[0].weight, drawn_like((6, 6), 3))
    assert not net[2].bias.any()


def test_parameters_side_by_side_in_one_memory_are_not_tied():
    memory = torch.zeros(24)
    net = nn.Sequential(nn.Linear(3, 4, bias=False), nn.Linear(4, 3, bias=False))
    net[0].weight = nn.Parameter(memory[:12].view(4, 3))
    net[1].weight = nn.Parameter(memory[12:].view(3, 4))
    assert [*initialize(net).drawn] == ["0.weight", "1.weight"]
    assert memory.view(2, 12).any(1).all()


# ---- What is refused, before anything has changed


class Strange(torch.Tensor):
    pass


def strange():
    layer = nn.Linear(4, 4)
    layer.weight = nn.Parameter(layer.weight.detach().as_subclass(Strange))
    return layer


def computed():
    layer = nn.Linear(4, 4)
    weight = layer.weight.detach()
    del layer.weight
    layer.weight = weight
    return layer


def flattened():
    layer = nn.Linear(4, 4)
    layer.weight = nn.Parameter(torch.zeros(16))
    return layer


def expanded():
    layer = nn.Linear(4, 4)
    layer.weight = nn.Parameter(torch.zeros(1, 4).expand(4, 4))
    return layer


def inferred():
    with torch.inference_mode():
        return nn.Linear(4, 4)


def normed_twice():
    return parametrizations.spectral_norm(parametrizations.weight_norm(nn.Linear(4, 4)))


def bias_of_norm():
    layer = nn.Linear(4, 4)
    return parametrizations.weight_norm(layer, "bias", dim=None)


def pruned_hook():
    layer = old_weight_norm(nn.Linear(4, 4))
    prune.identity(layer, "weight_v")
    return layer


REFUSED = {
    "subclass": (strange, "'1.weight' is a Strange, not a plain tensor"),
    "no parameter": (computed, "'1.weight' is no parameter of its module"),
    "flat": (flattened, r"'1.weight' has shape \[16\]; expected two or more"),
    "expanded": (expanded, "'1.weight' is an expanded tensor"),
    "inference": (inferred, "'1.weight' was made in inference mode"),
    "complex": (
        lambda: nn.Linear(4, 4, dtype=torch.complex64),
        "'1.weight' is of type torch.complex64",
    ),
    "orthogonal": (
        lambda: parametrizations.orthogonal(nn.Linear(4, 4)),
        "'1.weight' is parametrized by _Orthogonal",
    ),
    "two norms": (normed_twice, "is parametrized by _WeightNorm, _SpectralNorm"),
    "bias": (bias_of_norm, "'1.bias' is divided by its norm"),
    "pruned hook": (pruned_hook, "'1.weight' is computed by several"),
    "attention": (
        lambda: nn.MultiheadAttention(4, 2, dtype=torch.complex64),
        "'1.in_proj_weight' is of type torch.complex64",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_drawn_is_refused_first(name):
    make, match = REFUSED[name]
    net = nn.Sequential(nn.Linear(4, 4), make(), nn.Linear(4, 4))
    assert_refused(net, match)


@pytest.mark.parametrize(
    ("last", "match"),
    [
        (lambda: nn.LazyLinear(2), "'1.weight' is lazy: call the model on a batch"),
        (lambda: nn.LazyConvTranspose2d(2, 3), "'1.weight' is lazy"),
        (lambda: nn.Linear(4, 2, device="meta"), "'1.weight' is on the meta device"),
    ],
)
def test_weights_without_values_are_refused_first(last, match):
    net = nn.Sequential(nn.Linear(4, 4), last())
    before = net[0].weight.clone()
    with pytest.raises(ValueError, match=match):
        anact.initialize(net)
    assert torch.equal(net[0].weight, before)


def test_lazy_layers_that_are_left_may_be_lazy():
    net = nn.Sequential(nn.Linear(4, 4), nn.LazyBatchNorm1d())
    report = anact.initialize(net)
    assert report.left["1.weight"] == "of a norm (LazyBatchNorm1d)"


@pytest.mark.filterwarnings("ignore")
def test_quantized_layers_are_refused_first():
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    net[1] = torch.ao.quantization.quantize_dynamic(copy.deepcopy(net), {nn.Linear})[1]
    before = net[0].weight.clone()
    with pytest.raises(ValueError, match="'1' is quantized"):
        anact.initialize(net)
    assert torch.equal(net[0].weight, before)


def test_an_error_while_drawing_changes_nothing(monkeypatch):
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    before = state_of(net)
    draw = anact._C.initialize_weight
    calls = []

    def fail_at_the_second(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("no memory")
        draw(*arguments)

    monkeypatch.setattr(anact._C, "initialize_weight", fail_at_the_second)
    with pytest.raises(RuntimeError, match="no memory"):
        anact.initialize(net)
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])


def test_every_problem_is_named():
    net = nn.Sequential(strange(), flattened())
    with pytest.raises(ValueError, match="'0.weight' is a Strange.*; '1.weight' has"):
        anact.initialize(net)
