"""The module beside a plain double-precision one, and with what PyTorch does to modules."""

import copy
import dataclasses
import io
import itertools
import math
import pickle
import random
import re

import pytest
import torch
from oracle import (
    STATISTICS,
    OracleANAct,
    assert_same_statistics,
    function_of,
    normal_statistics,
)
from torch import nn
from torch.distributed.checkpoint.state_dict import set_model_state_dict
from torch.nn import functional as F
from torch.nn.utils import parametrize

import anact
from anact import _C, ANAct, ANActOptions

torch.set_num_threads(1)

# Largest relative error of an output or a gradient, and of a statistic.
TOLERANCE = {
    torch.float64: (1e-11, 1e-12),
    torch.float32: (4e-6, 1e-6),
    torch.bfloat16: (2**-7, 1e-6),
    torch.float16: (2**-9, 1e-6),
}
ACTIVATIONS = [
    *_C.activations(),
    "leaky_relu(negative_slope=0.2)",
    "elu(alpha=0.5)",
    "softplus(beta=2, threshold=5)",
    "hardtanh(min_val=-2, max_val=0.5)",
]
KEYS = ["alpha", *STATISTICS, "num_batches_tracked", "num_batches_skipped"]


def sampled_options():
    """Every value of every option, in forty of their combinations."""
    rows = itertools.product(
        ["previous", "running", "batch"],
        ["compromise", "forward", "backward", "geometric", "exact"],
        ["input", "unit"],
        ["activation", "output"],
        [True, False],
        [0.1, 0.4, 1.0],
        [None, (0.9, 1.1)],
        [(0.1, 10.0), (0.8, 1.05)],
    )
    names = [
        "statistics",
        "solution",
        "target",
        "gain",
        "centre",
        "momentum",
        "gate",
        "bounds",
    ]
    every = [dict(zip(names, row)) for row in rows]
    every = [row for row in every if row["centre"] or row["solution"] != "exact"]
    return random.Random(1).sample(every, 40)


def draw(shape=(5, 33), dtype=torch.float32, seed=0, scale=1.5, shift=0.2):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, dtype=torch.float64, generator=generator) * scale + shift
    return x.to(dtype)


def assert_close(got, want, dtype):
    """By the largest value: the affine map may cancel."""
    limit = TOLERANCE[dtype][0] * max(1.0, want.abs().max().item())
    torch.testing.assert_close(got.double(), want, rtol=limit, atol=limit)


def assert_same_steps(module, oracle, inputs):
    """Outputs, gradients and statistics over some steps of training, then evaluation."""
    (dtype,) = {x.dtype for x in inputs}
    # The sum is in single precision or better, whatever the input is.
    exact = dtype == module.alpha.dtype == torch.float64
    alpha_dtype = (
        module.alpha.dtype
        if exact or module.alpha.dtype != torch.float64
        else torch.float32
    )
    module.train()
    oracle.train()
    with torch.no_grad():
        module.alpha.fill_(0.4)
        oracle.alpha.copy_(module.alpha)
    for step, x in enumerate(inputs):
        if step == len(inputs) - 1:
            module.eval()
            oracle.eval()
        module.zero_grad()
        oracle.zero_grad()
        x = x.detach().requires_grad_()
        wide = x.detach().double().requires_grad_()
        y, want = module(x), oracle(wide)
        assert y.dtype == dtype and y.shape == x.shape
        assert_close(y, want, dtype)
        grad = torch.cos(want.detach()).to(dtype)
        y.backward(grad)
        want.backward(grad.double())
        assert_close(x.grad, wide.grad, dtype)
        scale = max(1.0, want.abs().sum().item())
        assert_close(module.alpha.grad / scale, oracle.alpha.grad / scale, alpha_dtype)
        assert_same_statistics(module, oracle, TOLERANCE[dtype][1])


@pytest.fixture
def x():
    return draw()


def make_model(activation="silu", **options):
    torch.manual_seed(0)
    act = ANAct(activation, **options)
    return nn.Sequential(nn.Linear(33, 17), act, nn.Linear(17, 3))


def snapshot(module):
    return {
        k: v.clone()
        for k, v in itertools.chain(module.named_parameters(), module.named_buffers())
    }


def assert_same_tensors(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name
        assert one[name].dtype == other[name].dtype, name


# ---- Values, gradients and statistics


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(activation):
    module = ANAct(activation, dtype=torch.float64)
    inputs = [draw(dtype=torch.float64, seed=seed, scale=seed) for seed in (1, 2, 3)]
    assert_same_steps(module, OracleANAct(activation), inputs)


@pytest.mark.parametrize(
    "options", sampled_options(), ids=lambda o: "-".join(map(str, o.values()))
)
def test_options(options):
    inputs = [
        draw(dtype=torch.float64, seed=seed, scale=scale)
        for seed, scale in enumerate([1.0, 1.02, 3.0, 0.3, 1.0, 1.0])
    ]
    for activation in ("silu", "elu(alpha=0.5)", "logsigmoid"):
        module = ANAct(activation, dtype=torch.float64, **options)
        assert_same_steps(module, OracleANAct(activation, **options), inputs)


@pytest.mark.parametrize("momentum", [0.1, 0.07])
def test_many_batches(momentum):
    """Enough of them for their weight to have fallen to the momentum."""
    inputs = [
        draw(dtype=torch.float64, seed=seed, scale=1 + seed % 3) for seed in range(20)
    ]
    module = ANAct(dtype=torch.float64, statistics="running", momentum=momentum)
    assert_same_steps(
        module, OracleANAct(statistics="running", momentum=momentum), inputs
    )


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("statistics", ["previous", "running", "batch"])
@pytest.mark.parametrize("size", [1, 31, 32, 33, 4099])
def test_types_and_sizes(dtype, statistics, size):
    if size == 1:
        # A batch of one has no variance: λ comes from a bound, which the oracle has too.
        options = {"statistics": statistics, "target": "unit", "solution": "forward"}
    else:
        options = {"statistics": statistics}
    inputs = [draw((size,), dtype, seed) for seed in range(4)]
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    for kind in {dtype, wide}:
        module = ANAct("gelu", dtype=kind, **options)
        assert module.output_mean.dtype == wide
        assert_same_steps(module, OracleANAct("gelu", **options), inputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_single_precision_input_of_a_double_precision_module(dtype):
    module = ANAct("mish", dtype=torch.float64)
    inputs = [draw(seed=seed, dtype=dtype) for seed in range(3)]
    assert_same_steps(module, OracleANAct("mish"), inputs)


def layouts():
    image = draw((3, 5, 7, 9))
    yield "channels_last", image.contiguous(memory_format=torch.channels_last)
    yield "transposed", draw((7, 33)).t()
    yield "sliced", draw((7, 66))[:, ::2]
    yield "expanded", draw((1, 33)).expand(7, 33)
    yield "offset", draw((235,))[4:]
    yield "scalar", draw(())
    yield "permuted", image.permute(2, 0, 3, 1)


@pytest.mark.parametrize(
    "x", [x for _, x in layouts()], ids=[name for name, _ in layouts()]
)
def test_layouts(x):
    options = {"statistics": "previous", "target": "unit", "solution": "forward"}
    module, oracle = ANAct(**options), OracleANAct(**options)
    for step in range(3):
        y = module(x)
        assert_close(y, oracle(x), torch.float32)
        assert_same_statistics(module, oracle, 1e-6)
    dense = x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last)
    if dense:
        assert y.stride() == x.stride()


@pytest.mark.parametrize("training", [True, False])
def test_empty_input_changes_nothing(training):
    module = ANAct().train(training)
    module(draw())
    before = snapshot(module)
    x = torch.empty(0, 33, requires_grad=True)
    y = module(x)
    y.sum().backward()
    assert y.shape == x.shape and x.grad.shape == x.shape
    assert module.alpha.grad.item() == 0
    assert_same_tensors(snapshot(module), before)


@pytest.mark.parametrize("statistics", ["previous", "running", "batch"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_batch_that_is_not_finite_is_counted_and_enters_nothing(statistics, bad, x):
    # PyTorch's elu has the right limits, unlike its silu.
    module = ANAct("elu", statistics=statistics)
    oracle = OracleANAct("elu", statistics)
    module(x), oracle(x)
    before = snapshot(module)
    poisoned = x.clone()
    poisoned[2, 3] = bad
    y, want = module(poisoned), oracle(poisoned)
    del before["num_batches_skipped"]
    after = snapshot(module)
    assert after.pop("num_batches_skipped").item() == 1
    assert_same_tensors(after, before)
    torch.testing.assert_close(y.double(), want, rtol=4e-6, atol=4e-6, equal_nan=True)
    # The next one goes on from where the last good one left off.
    module(x), oracle(x)
    assert_same_statistics(module, oracle, 1e-6)


def test_a_batch_outside_the_gate_is_counted_and_enters_nothing(x):
    module = ANAct("relu", gate=(0.8, 1.25))
    module(x)
    before = module.statistics()
    module(x - 2)
    assert module.statistics() == before
    assert int(module.num_batches_skipped) == 1 and int(module.num_batches_tracked) == 1
    module(x * 5)  # ReLU's gains do not depend on the scale
    assert module.statistics() != before and int(module.num_batches_skipped) == 1


def test_evaluation_changes_nothing(x):
    module, oracle = ANAct().eval(), OracleANAct().eval()
    before = snapshot(module)
    for _ in range(2):
        assert_close(module(x * 3), oracle(x * 3), torch.float32)
    assert_same_tensors(snapshot(module), before)


def test_an_unseen_module_is_the_fixed_gain_activation():
    for activation in ACTIVATIONS:
        f = function_of(activation)
        module = ANAct(activation, dtype=torch.float64)
        for got, want in zip(module.statistics(), normal_statistics(f)):
            assert got == pytest.approx(want.item(), rel=1e-12, abs=1e-12), activation


def test_factor_and_affine_are_those_of_evaluation(x):
    options = {"solution": "exact", "target": "unit"}
    module, oracle = ANAct(**options), OracleANAct(**options)
    module(x), oracle(x)
    with torch.no_grad():
        module.alpha.fill_(-0.7)
        oracle.alpha.copy_(module.alpha)
    module.eval()
    factor, mean, shift = oracle.factors(oracle.running)
    assert module.factor() == pytest.approx(factor.item(), rel=1e-6)
    scale, offset = module.affine()
    wanted = factor + 0.3 * torch.tanh(oracle.alpha)
    assert scale == pytest.approx(wanted.item(), rel=1e-6)
    assert offset == pytest.approx((shift - wanted * mean).item(), abs=1e-6)
    assert_close(module(x), scale * F.silu(x.double()) + offset, torch.float32)


def test_thread_count_changes_no_bit():
    x = draw((70, 3001))
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            module = ANAct("gelu", statistics="running")
            at = x.clone().requires_grad_()
            y = module(at)
            y.square().sum().backward()
            results.append([y, at.grad, module.alpha.grad, *module.buffers()])
    finally:
        torch.set_num_threads(1)
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("solution", ["compromise", "exact"])
def test_functional(dtype, solution):
    for activation in ("silu", "hardtanh(min_val=-2, max_val=0.5)"):
        oracle = OracleANAct(activation, "batch", solution)
        x = draw((7, 33), dtype).requires_grad_()
        wide = x.detach().double().requires_grad_()
        y = anact.functional.anact(x, activation, solution=solution)
        want = oracle(wide)
        assert y.dtype == dtype
        assert_close(y, want, dtype)
        y.backward(torch.ones_like(y))
        want.backward(torch.ones_like(want))
        assert_close(x.grad, wide.grad, dtype)


def test_functional_takes_and_ignores_what_has_no_meaning(x):
    want = anact.functional.anact(x)
    ignored = {"statistics": "previous", "momentum": 0.5, "gate": (0.99, 1.01)}
    assert torch.equal(anact.functional.anact(x, **ignored, learnable=False), want)
    assert anact.functional.anact(x[:0]).shape == (0, 33)
    with pytest.raises(ValueError, match="did you mean selu or silu"):
        anact.functional.anact(x, "sulu")


# ---- Options


def test_repr_shows_what_is_not_default():
    changed = {
        "statistics": "batch",
        "solution": "geometric",
        "target": "unit",
        "gain": "output",
        "centre": False,
        "momentum": 0.25,
        "gate": (0.5, 2.0),
        "bounds": (0.2, 5.0),
        "learnable": False,
    }
    fields = {field.name for field in dataclasses.fields(ANActOptions)}
    assert changed.keys() | {"activation", "derivative", "init_batch"} == fields
    fixed = ANAct(statistics="fixed", init_batch=True)
    assert repr(fixed) == "ANAct(silu, statistics=fixed, init_batch=True)"
    for name, value in changed.items():
        # Without centre only another solution than the default will do.
        options = {"solution": "forward"} if name == "centre" else {}
        options[name] = value
        text = ", ".join(f"{name}={value}" for name, value in options.items())
        assert repr(ANAct(**options)) == f"ANAct(silu, {text})"
    everything = ", ".join(f"{name}={value}" for name, value in changed.items())
    assert repr(ANAct("swish", **changed)) == f"ANAct(silu, {everything})"
    assert repr(ANAct("elu(1.0)")) == "ANAct(elu)"
    assert repr(ANAct("elu(0.5)")) == "ANAct(elu(alpha=0.5))"


def test_options_can_be_assigned(x):
    module, oracle = ANAct(), OracleANAct()
    module(x), oracle(x)
    module.options = dataclasses.replace(
        module.options, solution="forward", momentum=1.0
    )
    oracle.solution, oracle.momentum = "forward", 1.0
    assert repr(module) == "ANAct(silu, solution=forward, momentum=1.0)"
    for _ in range(2):
        assert_close(module(x * 2), oracle(x * 2), torch.float32)
        assert_same_statistics(module, oracle, 1e-6)
    module.eval(), oracle.eval()
    assert_close(module(x), oracle(x), torch.float32)
    for learnable in (False, True):
        module.options = dataclasses.replace(module.options, learnable=learnable)
        assert module.alpha.requires_grad == learnable


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "sulu"}, "did you mean selu or silu"),
        ({"activation": "elu(slope=1)"}, "slope"),
        ({"activation": ""}, "activation"),
        ({"statistics": "moving"}, "previous, running, batch"),
        ({"solution": "Exact"}, "did you mean exact"),
        ({"target": "output"}, "input, unit"),
        ({"gain": "input"}, "activation, output"),
        ({"solution": "exact", "centre": False}, "without centre"),
        ({"momentum": 0.0}, "momentum is 0"),
        ({"momentum": 1.5}, "momentum is 1.5"),
        ({"momentum": float("nan")}, "momentum is nan"),
        ({"gate": (2.0, 1.0)}, "gate is"),
        ({"gate": (-1.0, 1.0)}, "gate is"),
        ({"bounds": (0.0, 1.0)}, "lambda bounds"),
        ({"bounds": (2.0, 1.0)}, "lambda bounds"),
        ({"bounds": (1.0, float("inf"))}, "lambda bounds"),
    ],
)
def test_bad_options_say_what_is_wrong(options, message):
    with pytest.raises(ValueError, match=message):
        ANAct(**options)
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(ANActOptions(), **options)


def test_options_are_frozen_and_compare():
    options = ANActOptions("swish", momentum=0.3)
    assert options == ANActOptions("silu", momentum=0.3) != ANActOptions("silu")
    assert len({options, ANActOptions("silu", momentum=0.3)}) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.momentum = 0.1
    assert pickle.loads(pickle.dumps(options)) == options


def test_learnable_off_leaves_alpha_alone(x):
    module = ANAct(learnable=False)
    assert not module.alpha.requires_grad and not module(x).requires_grad


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64], ids=str)
def test_input_of_another_type_is_refused(dtype, training):
    with pytest.raises(
        TypeError, match="must be float64, float32, bfloat16 or float16"
    ):
        ANAct().train(training)(torch.ones(3, dtype=dtype))


# ---- State


def test_names_of_parameters_and_buffers():
    model = make_model()
    assert list(model[1].state_dict()) == [*KEYS, "_extra_state"]
    assert [name for name, _ in model[1].named_parameters()] == ["alpha"]
    buffers = [*STATISTICS, "num_batches_tracked", "num_batches_skipped"]
    assert [name for name, _ in model[1].named_buffers()] == buffers
    assert "1.backward_gain" in model.state_dict()
    assert model[1].alpha.shape == (1,)


def copies(module):
    yield "deepcopy", copy.deepcopy(module)
    yield "pickle", pickle.loads(pickle.dumps(module))
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    yield "torch.save", torch.load(file, weights_only=False)


def test_copies_are_equal_and_independent(x):
    module = ANAct("mish", statistics="running", momentum=0.3, solution="exact")
    module(x), module(x * float("nan"))
    with torch.no_grad():
        module.alpha.fill_(0.3)
    for how, other in copies(module):
        assert repr(other) == repr(module) and other.options == module.options, how
        assert_same_tensors(snapshot(other), snapshot(module))
        before = snapshot(module)
        y = other(x * 2)
        assert_same_tensors(snapshot(module), before)
        again = copy.deepcopy(module)
        assert torch.equal(again(x * 2), y), how
        assert_same_tensors(snapshot(again), snapshot(other))
        assert not torch.equal(other.output_mean, module.output_mean), how


def test_state_dict_round_trip_through_a_file(x):
    model = make_model(momentum=0.3)
    model(x)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = make_model(momentum=0.3)
    statistics = other[1].output_mean
    other.load_state_dict(torch.load(file, weights_only=True))
    assert other[1].output_mean is statistics
    assert_same_tensors(other.state_dict(), model.state_dict())
    assert torch.equal(other(x), model(x))


@pytest.mark.parametrize(
    "other",
    [
        {"activation": "gelu"},
        {"activation": "elu(alpha=0.5)"},
        {"momentum": 0.5},
        {"recipe": "paper"},
    ],
    ids=str,
)
@pytest.mark.parametrize("assign", [True, False])
def test_a_state_of_another_activation_or_other_options_is_refused(other, assign, x):
    saved = nn.Sequential(ANAct("elu"))
    saved(x)
    state = saved.state_dict()
    nn.Sequential(ANAct("elu")).load_state_dict(state, assign=assign)
    model = nn.Sequential(ANAct(**({"activation": "elu"} | other)))
    wrong = f"it was saved by {saved[0]!r} and is to be loaded into {model[0]!r}"
    with (
        pytest.warns(UserWarning, match=re.escape(f"0._extra_state: {wrong}")),
        pytest.raises(RuntimeError, match=re.escape(wrong)),
    ):
        model.load_state_dict(state, assign=assign)
    with pytest.warns(UserWarning, match=re.escape(wrong)):
        keys = model.load_state_dict(state, strict=False, assign=assign)
    assert keys == ([], [f"0._extra_state ({wrong})"])
    assert torch.equal(model[0].output_mean, saved[0].output_mean)


@pytest.mark.filterwarnings("ignore:.*it was saved by")
def test_a_state_that_this_version_does_not_know_is_refused():
    state = ANAct().state_dict()
    text = b"silu:statistics=previous:colour=red"
    state["_extra_state"] = torch.tensor(list(text), dtype=torch.uint8)
    with pytest.raises(RuntimeError, match="this version does not know.*colour"):
        ANAct().load_state_dict(state)


def test_a_state_dict_is_of_tensors_alone(x, tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    model = make_model(momentum=0.3)
    model(x)
    safetensors.save_file(model.state_dict(), tmp_path / "file")
    other = make_model(momentum=0.3)
    other.load_state_dict(safetensors.load_file(tmp_path / "file"))
    assert_same_tensors(other.state_dict(), model.state_dict())


@pytest.mark.parametrize("assign", [True, False])
def test_a_state_dict_that_does_not_fit_is_refused(assign):
    for key in KEYS:
        state = ANAct().state_dict()
        del state[key]
        with pytest.raises(RuntimeError, match=f'Missing key.*"{key}"'):
            ANAct().load_state_dict(state, assign=assign)
        missing, unexpected = ANAct().load_state_dict(
            state, strict=False, assign=assign
        )
        assert (missing, unexpected) == ([key], [])
    state = ANAct().state_dict()
    del state["_extra_state"]  # as the first version and C++ write it
    ANAct("gelu").load_state_dict(state, assign=assign)
    state = ANAct().state_dict() | {"beta": torch.zeros(1)}
    with pytest.raises(RuntimeError, match='Unexpected key.*"beta"'):
        ANAct().load_state_dict(state, assign=assign)
    state = ANAct().state_dict() | {"output_mean": torch.zeros(3)}
    with pytest.raises(RuntimeError, match="size mismatch for output_mean"):
        ANAct().load_state_dict(state, assign=assign)


def test_a_state_without_options_loads_through_distributed_checkpoints():
    saved, model = ANAct("silu"), ANAct("silu")
    saved(torch.randn(16, 4))
    state = {k: v for k, v in saved.state_dict().items() if k != "_extra_state"}
    set_model_state_dict(model, dict(state))
    for name, value in state.items():
        assert torch.equal(model.state_dict()[name], value), name


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str
)
def test_assigned_statistics_are_wide(dtype, x):
    module = ANAct()
    module(x)
    state = {
        k: v.to(dtype) if v.is_floating_point() else v
        for k, v in module.state_dict().items()
    }
    other = ANAct()
    other.load_state_dict(state, assign=True)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    assert other.alpha.dtype == dtype
    for name in STATISTICS:
        assert getattr(other, name).dtype == wide
        assert torch.equal(getattr(other, name).to(dtype), state[name])
    other(x.to(dtype)).sum().backward()


CASTS = {
    "half": (lambda m: m.half(), torch.float16),
    "bfloat16": (lambda m: m.bfloat16(), torch.bfloat16),
    "to": (lambda m: m.to(torch.float16), torch.float16),
    "to_device": (lambda m: m.to("cpu", torch.bfloat16), torch.bfloat16),
    "twice": (lambda m: m.half().bfloat16(), torch.bfloat16),
    "there_and_back": (lambda m: m.half().float(), torch.float32),
    "type": (lambda m: m.type(torch.float16), torch.float16),
}


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("how", CASTS)
def test_casts_keep_the_statistics(how, swap, x):
    cast, dtype = CASTS[how]
    model = make_model()
    model(x)
    before = {name: getattr(model[1], name).clone() for name in STATISTICS}
    torch.__future__.set_swap_module_params_on_conversion(swap)
    try:
        model = cast(model)
    finally:
        torch.__future__.set_swap_module_params_on_conversion(False)
    assert model[1].alpha.dtype == dtype
    assert dict(model[1].named_buffers()).keys() == {
        *STATISTICS,
        "num_batches_tracked",
        "num_batches_skipped",
    }
    assert_same_tensors({name: getattr(model[1], name) for name in STATISTICS}, before)
    assert model(x.to(dtype)).dtype == dtype


def test_double_and_back(x):
    module = ANAct()
    module(x)
    before = snapshot(module)
    module.double()
    assert {getattr(module, name).dtype for name in STATISTICS} == {torch.float64}
    assert module(x.double()).dtype == torch.float64
    assert_same_tensors(
        {"output_mean": ANAct().double().float().output_mean},
        {"output_mean": ANAct().output_mean},
    )
    module.float()
    assert {getattr(module, name).dtype for name in STATISTICS} == {torch.float32}
    assert before["num_batches_tracked"] + 1 == module.num_batches_tracked


def test_default_dtype():
    torch.set_default_dtype(torch.float64)
    try:
        module = ANAct()
    finally:
        torch.set_default_dtype(torch.float32)
    assert module.alpha.dtype == module.output_mean.dtype == torch.float64
    assert ANAct(dtype=torch.float16).output_mean.dtype == torch.float32


@pytest.mark.parametrize("how", ["device", "context"])
def test_made_on_meta_then_on_the_cpu(how, x):
    """As FSDP does: reset_parameters() is to initialize all that the module itself holds."""
    if how == "device":
        module = ANAct("gelu", device="meta")
    else:
        with torch.device("meta"):
            module = ANAct("gelu")
    assert module.alpha.is_meta and module.output_mean.is_meta
    assert module(torch.empty(3, 4, device="meta")).shape == (3, 4)
    module.to_empty(device="cpu")
    module.reset_parameters()
    assert_same_tensors(snapshot(module), snapshot(ANAct("gelu")))


def test_made_on_meta_then_loaded(x):
    source = ANAct()
    source(x)
    module = ANAct(device="meta")
    module.load_state_dict(copy.deepcopy(source).state_dict(), assign=True)
    assert_same_tensors(module.state_dict(), source.state_dict())
    module(x).sum().backward()
    source(x)
    assert_same_tensors(snapshot(module), snapshot(source))


def test_reset(x):
    module = ANAct("gelu")
    module(x), module(x * float("nan"))
    with torch.no_grad():
        module.alpha.fill_(1)
    module.reset_running_stats()
    assert module.alpha.item() == 1
    module.reset_parameters()
    assert_same_tensors(snapshot(module), snapshot(ANAct("gelu")))


# ---- PyTorch's other features


def test_parametrized_alpha(x):
    class Softplus(nn.Module):
        def forward(self, value):
            return F.softplus(value)

    module, plain = ANAct(), ANAct()
    parametrize.register_parametrization(module, "alpha", Softplus())
    with torch.no_grad():
        plain.alpha.fill_(F.softplus(torch.zeros(())).item())
    y, want = module(x), plain(x)
    assert torch.equal(y, want)
    y.sum().backward(), want.sum().backward()
    original = module.parametrizations.alpha.original
    torch.testing.assert_close(original.grad, plain.alpha.grad * 0.5)  # softplus'(0)
    assert torch.equal(module.output_mean, plain.output_mean)


def test_functional_call_with_parameters_and_buffers_of_ones_own(x):
    model = make_model()
    model(x * 2)
    before = snapshot(model)
    parameters = {
        k: (v + 0.5).detach().requires_grad_() for k, v in model.named_parameters()
    }
    buffers = {k: v.clone() for k, v in make_model().named_buffers()}
    y = torch.func.functional_call(model, (parameters, buffers), (x,))
    y.sum().backward()

    want = make_model()
    want.load_state_dict(parameters, strict=False)
    expected = want(x)
    expected.sum().backward()
    assert torch.equal(y, expected)
    assert_same_tensors(snapshot(model), before)
    assert_same_tensors(buffers, dict(want.named_buffers()))
    for name, parameter in want.named_parameters():
        assert torch.equal(parameters[name].grad, parameter.grad), name


def test_autocast(x):
    model = make_model()
    plain = copy.deepcopy(model)
    seen = []
    model[1].register_forward_hook(
        lambda _, inputs, y: seen.append((inputs[0].dtype, y.dtype))
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = model(x)
        assert ANAct()(x).dtype == torch.float32
    y.float().square().sum().backward()
    assert y.dtype == torch.bfloat16 and seen == [(torch.bfloat16, torch.bfloat16)]
    assert model[1].alpha.grad.dtype == model[1].output_mean.dtype == torch.float32
    plain(x)
    torch.testing.assert_close(
        model[1].output_mean, plain[1].output_mean, rtol=0.02, atol=0.02
    )
    assert torch.equal(model[1].num_batches_tracked, plain[1].num_batches_tracked)


def test_grad_scaler_skips_a_step_and_goes_on(x):
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    for step in range(4):
        before = snapshot(model[1])
        batch = x.clone()
        if step == 2:
            batch[0, 0] = float("inf")
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.float16):
            loss = model(batch).float().square().mean()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        after = snapshot(model[1])
        if step == 2:
            assert scaler.get_scale() == 2.0**9
            assert int(after.pop("num_batches_skipped")) == 1
            del before["num_batches_skipped"]
            assert_same_tensors(after, before)
        else:
            assert not torch.equal(after["alpha"], before["alpha"])
            assert not torch.equal(after["output_mean"], before["output_mean"])
            assert all(value.isfinite().all() for value in after.values())


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
@pytest.mark.parametrize("how", ["foreach", "fused"])
def test_optimizers(kind, how, x):
    results = []
    for options in ({"foreach": False}, {how: True}):
        model = make_model()
        optimizer = kind(model.parameters(), lr=0.01, weight_decay=0.1, **options)
        for step in range(3):
            optimizer.zero_grad()
            model(x * (step + 1)).square().mean().backward()
            optimizer.step()
        results.append(snapshot(model))
    for name, want in results[0].items():
        torch.testing.assert_close(results[1][name], want, rtol=1e-6, atol=1e-7)
    assert results[0]["1.alpha"].item() != 0


def test_function_transforms_in_training_are_refused(x):
    """Not silently wrong; and nothing was changed."""
    module = ANAct()
    before = snapshot(module)
    with pytest.raises(RuntimeError, match="functorch transforms"):
        torch.func.grad(lambda at: module(at).sum())(x)
    with pytest.raises(RuntimeError, match="anact::step"):
        torch.func.vmap(module)(x)
    with pytest.raises(NotImplementedError, match="forward-mode"):
        torch.func.jvp(module, (x,), (x,))
    assert_same_tensors(snapshot(module), before)


def test_function_transforms_of_evaluation(x):
    """Gradients of each sample, as for any model in evaluation."""
    model = make_model().eval()
    parameters = {k: v.detach() for k, v in model.named_parameters()}

    def loss(parameters, row):
        return torch.func.functional_call(model, parameters, (row,)).square().sum()

    grads = torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, x)
    for index, row in enumerate(x):
        model.zero_grad()
        model(row).square().sum().backward()
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(
                grads[name][index], parameter.grad, rtol=1e-5, atol=1e-6
            )
    hessian = torch.func.hessian(lambda row: model(row).square().sum())(x[0])
    assert hessian.shape == (33, 33)
    torch.testing.assert_close(hessian, hessian.T, rtol=1e-4, atol=1e-5)


def test_hooks_are_called(x):
    calls = []
    module = ANAct()
    module.register_forward_pre_hook(lambda m, inputs: calls.append("before"))
    module.register_forward_hook(lambda m, inputs, y: calls.append("after"))
    module.register_full_backward_hook(lambda m, gi, go: calls.append("backward"))
    module.alpha.register_post_accumulate_grad_hook(lambda p: calls.append("alpha"))
    module(x.requires_grad_()).sum().backward()
    assert sorted(calls) == ["after", "alpha", "backward", "before"]


def test_inference_mode_and_no_grad(x):
    module, oracle = ANAct(), OracleANAct()
    for mode in (torch.inference_mode, torch.no_grad):
        with mode():
            y = module(x)
        assert not y.requires_grad
        assert_close(y, oracle(x).detach(), torch.float32)
    y = module(x)
    y.sum().backward()
    assert_close(y, oracle(x).detach(), torch.float32)
    assert_same_statistics(module, oracle, 1e-6)


def test_subclass_of_tensor(x):
    class Tagged(torch.Tensor):
        pass

    module, plain = ANAct(), ANAct()
    y = module(x.as_subclass(Tagged))
    assert type(y) is Tagged
    assert torch.equal(y.as_subclass(torch.Tensor), plain(x))
    assert_same_tensors(snapshot(module), snapshot(plain))


def test_parameter_as_input(x):
    parameter = nn.Parameter(x)
    module, plain = ANAct(), ANAct()
    module(parameter).sum().backward()
    at = x.clone().requires_grad_()
    plain(at).sum().backward()
    assert torch.equal(parameter.grad, at.grad)
    assert_same_tensors(snapshot(module), snapshot(plain))


def test_second_derivative(x):
    module = ANAct("mish", dtype=torch.float64)
    module(x.double())
    module.eval()
    at = x.double().requires_grad_()
    (first,) = torch.autograd.grad(module(at).sum(), at, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), at)
    wide = x.double().requires_grad_()
    (want,) = torch.autograd.grad(F.mish(wide).sum(), wide, create_graph=True)
    (want,) = torch.autograd.grad(want.sum(), wide)
    torch.testing.assert_close(
        second, want * module.affine()[0], rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("recipe", [info.name for info in anact.recipes()])
def test_a_recipe_is_its_options(recipe):
    info = next(info for info in anact.recipes() if info.name == recipe)
    text = ANActOptions("elu", recipe=recipe).step().operator_arguments()[2]
    for setting in filter(None, info.options.split(":")):
        assert setting in text.split(":")
    # What is given beside it wins.
    given = ANAct("elu", recipe=recipe, momentum=0.375, gate=(0.25, 4.0))
    assert (given.options.momentum, given.options.gate) == (0.375, (0.25, 4.0))
    changed = set(given.options.step().operator_arguments()[2].split(":"))
    assert changed - set(text.split(":")) == {"momentum=0.375", "gate=0.25,4"}


def test_unknown_recipes_and_options_are_refused():
    with pytest.raises(ValueError, match="did you mean paper"):
        ANAct("silu", recipe="papper")
    with pytest.raises(TypeError, match="momentun"):
        ANAct("silu", momentun=0.1)
    with pytest.raises(TypeError, match="momentum"):
        ANAct("silu", momentum=object())


@pytest.mark.parametrize("traced", [False, True])
def test_fixed_statistics_are_never_updated(traced):
    act = ANAct("relu", statistics="fixed", target="unit")
    step = torch.compile(act, backend="eager") if traced else act
    x = 3 * torch.randn(64, 8) + 1
    before = act.statistics()
    # Under N(0, 1): E[relu] = 1 / sqrt(2 pi), E[relu^2] = E[relu'^2] = 1/2.
    assert before == pytest.approx(((2 * math.pi) ** -0.5, 0.5, 1.0, 0.5))
    scale = 2**0.5
    shift = -((max(0.0, 1 - 2 * (0.5 - 0.5 / math.pi))) ** 0.5)
    want = scale * (x.clamp(min=0) - (2 * math.pi) ** -0.5) + shift
    for _ in range(3):
        torch.testing.assert_close(step(x), want)
    torch.testing.assert_close(act.eval()(x), want)
    assert act.statistics() == before
    assert int(act.num_batches_tracked) == int(act.num_batches_skipped) == 0
