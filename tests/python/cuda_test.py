"""The operators and the module on a GPU, against float64 and against the CPU.

These have never run on a GPU: none was to be had. With ANACT_TEST_DEVICE=cpu the same code
runs on the CPU, which tests the tests; what is CUDA's alone is skipped then.
"""

import copy
import json
import os
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

# A graph of an earlier definition of the operators must not come back from the disk.
os.environ["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from oracle import OracleANAct, assert_same_statistics, function_of, slope
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.profiler import ProfilerActivity
from torch.utils.checkpoint import checkpoint

import anact
from anact import _C, ANAct

DEVICE = torch.device(os.environ.get("ANACT_TEST_DEVICE", "cuda"))
ON_GPU = DEVICE.type == "cuda"

pytestmark = [
    pytest.mark.skipif(
        ON_GPU and not torch.cuda.is_available(),
        reason="there is no GPU that PyTorch can use",
    ),
    pytest.mark.filterwarnings("error:ANAct's CUDA kernels are not used"),
]
needs_gpu = pytest.mark.skipif(not ON_GPU, reason="the test is run on the CPU")

TYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
SIZES = [0, 1, 31, 32, 33, 4099]
MANY = 1_000_007
SECONDS = 600

every_type = pytest.mark.parametrize("dtype", TYPES, ids=lambda dtype: str(dtype)[6:])
every_activation = pytest.mark.parametrize("activation", _C.activations())

# Contiguous but for the last; "shifted" is not aligned to what the kernels read at a time.
LAYOUTS = {
    "contiguous": lambda size: torch.empty(size),
    "shifted": lambda size: torch.empty(size + 1)[1:],
    "channels_last": lambda size: torch.empty(
        1, 3, 1, size, memory_format=torch.channels_last
    ),
    "transposed": lambda size: torch.empty(size, 2).t(),
    "sliced": lambda size: torch.empty(size, 5)[:, 1:3],
}


@pytest.fixture(autouse=True)
def apart():
    torch.set_num_threads(1)
    torch._dynamo.reset()
    yield
    if ON_GPU:
        torch.cuda.synchronize()


@contextmanager
def plain_version():
    """On a GPU, without its kernels."""
    before = os.environ.get("ANACT_CUDA")
    os.environ["ANACT_CUDA"] = "off"
    try:
        yield
    finally:
        del os.environ["ANACT_CUDA"]
        if before is not None:
            os.environ["ANACT_CUDA"] = before


def laid_out(layout, size, dtype, device=DEVICE, seed=0):
    """The same numbers on every device."""
    generator = torch.Generator().manual_seed(seed)
    like = LAYOUTS[layout](size)
    numbers = 3 * torch.randn(like.shape, generator=generator)
    if layout == "sliced":
        # Only a whole tensor keeps its strides when it moves.
        whole = torch.zeros(size, 5, dtype=dtype, device=device)
        whole[:, 1:3] = numbers.to(dtype)
        return whole[:, 1:3]
    if layout == "shifted":
        whole = torch.zeros(size + 1, dtype=dtype, device=device)
        whole[1:] = numbers.to(dtype)
        return whole[1:]
    result = torch.empty_strided(
        like.shape, like.stride(), dtype=dtype, device=device
    ).copy_(numbers.to(dtype))
    assert result.stride() == like.stride()
    return result


def on_cpu(value):
    """With the strides that it has."""
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype).copy_(
        value
    )


def map_on(device, *values):
    return torch.tensor(values or (0.75, -0.25, 0.125), device=device).double()


def all_operators(x, g, activation, map):
    """What the operators over elements give."""
    name, parameters = _C.split(activation)
    operators = torch.ops.anact
    y, none = operators.apply(x, map, name, parameters, False)
    assert none.numel() == 0
    measured, moments = operators.apply(x, map, name, parameters, True)
    # Measuring changes no bit of the output.
    assert torch.equal(measured.nan_to_num(7), y.nan_to_num(7))
    dx, sums = operators.apply_backward(g, x, map, name, parameters)
    return {
        "output": y,
        "moments": moments,
        "measured": operators.measure(x, name, parameters),
        "grad_input": dx,
        "grad_map": sums,
    }


def expected_of(x, g, activation, map):
    """The same in float64 on the CPU, each with what rounding may do to it."""
    dtype = x.dtype
    x, g, map = x.double().cpu(), g.double().cpu(), map.cpu()
    f = function_of(activation)
    value, derivative = f(x), slope(f, x)
    arithmetic = 2.0**-52 if dtype == torch.float64 else 2.0**-23
    rounding = 0 if dtype.itemsize > 2 else torch.finfo(dtype).eps
    least = 1e-14 * (1 + x.abs()) + torch.finfo(dtype).tiny

    def element(result, size):
        return result, (24 * arithmetic + rounding) * size + least

    def sums(*terms):
        rows = torch.stack([t.flatten() for t in terms])
        return rows.sum(1), 256 * arithmetic * rows.abs().sum(1) + 1e-12

    scaled = map[0] * value
    moments = sums(
        torch.ones_like(x),
        x,
        (x - x.mean()).square(),
        value,
        value.square(),
        derivative.square(),
    )
    return {
        "output": element(scaled + map[1], scaled.abs() + map[1].abs()),
        "moments": moments,
        "measured": moments,
        "grad_input": element(
            g * map[0] * derivative, (g * map[0]).abs() * (derivative.abs() + 0.1)
        ),
        "grad_map": sums(g * value, g, torch.zeros_like(g)),
    }


def assert_within(got, want, allowed, name):
    got = got.double().cpu()
    excess = ((got - want).abs() / allowed).nan_to_num(torch.inf)
    assert excess.numel() == 0 or excess.max() <= 1, (
        f"{name}: {excess.max().item():.3g} times what is allowed, {got.flatten()[excess.argmax()]}"
        f" instead of {want.flatten()[excess.argmax()]}"
    )


def with_sum(moments):
    """With the sum of x in the place of its mean."""
    moments = moments.cpu().clone()
    moments[1] *= moments[0]
    return moments


def assert_operators(layout, size, dtype, activation):
    x = laid_out(layout, size, dtype)
    g = laid_out(layout, size, dtype, seed=1)
    map = map_on(DEVICE)
    want = expected_of(x, g, activation, map)
    results = {"kernels": all_operators(x, g, activation, map)}
    with plain_version():
        results["plain"] = all_operators(x, g, activation, map)
    results["CPU"] = all_operators(on_cpu(x), on_cpu(g), activation, map.cpu())
    for who, got in results.items():
        for name, (value, allowed) in want.items():
            found = got[name]
            if name in ("moments", "measured"):
                found = with_sum(found)
            # The plain version rounds the map to float32, and each operator of its own.
            slack = 4 if who == "plain" else 1
            text = f"{name} by {who}, {layout} of {size}"
            assert_within(found, value, slack * allowed, text)
    for name in ("output", "grad_input"):
        got, there = results["kernels"][name], results["CPU"][name]
        assert got.dtype == dtype and got.device == x.device
        assert got.stride() == there.stride(), (name, layout)


# ---- The operators


@every_type
@every_activation
def test_operators(activation, dtype):
    for layout in LAYOUTS:
        for size in SIZES:
            assert_operators(layout, size, dtype, activation)


@every_type
@pytest.mark.parametrize("activation", ["silu", "relu"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_operators_of_many_elements(layout, activation, dtype):
    assert_operators(layout, MANY, dtype, activation)


@every_type
@every_activation
def test_special_values(activation, dtype):
    tiny = torch.finfo(dtype).tiny / 4
    numbers = [0.0, -0.0, 100.0, -100.0, tiny, -tiny]
    numbers += [float("inf"), -float("inf"), float("nan")]
    # Each where packets are read and in the tail.
    x = torch.tensor(numbers * 7, dtype=dtype)
    g = torch.linspace(-2, 2, len(x)).to(dtype)
    name, parameters = _C.split(activation)
    operators = torch.ops.anact
    for map in (map_on("cpu"), map_on("cpu", 1.0, 0.0, 0.0)):
        want = operators.apply(x, map, name, parameters, True)
        want += operators.apply_backward(g, x, map, name, parameters)
        there = x.to(DEVICE), map.to(DEVICE), name, parameters
        got = operators.apply(*there, True)
        got += operators.apply_backward(g.to(DEVICE), *there)
        for mine, other in zip(got, want):
            torch.testing.assert_close(
                mine.cpu(),
                other,
                rtol=max(torch.finfo(dtype).eps, 1e-14) * 8,
                atol=float(torch.finfo(dtype).tiny),
                equal_nan=True,
            )
        zero = x == 0
        assert torch.equal(got[0].cpu()[zero].signbit(), want[0][zero].signbit())
    # One at a time, so that none hides another in the sums.
    for number in numbers:
        one = torch.full((33,), 0.5, dtype=dtype)
        one[20] = number
        want = operators.measure(one, name, parameters)
        got = operators.measure(one.to(DEVICE), name, parameters).cpu()
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-9, equal_nan=True)


OPTIONS = [
    "",
    "statistics=running",
    "statistics=batch",
    "statistics=fixed",
    "statistics=fixed:init_batch=on",
    "solution=compromise:target=input:momentum=0.1",
    "solution=geometric:gain=output:learnable=off",
    "gate=0.5,2:centre=off:solution=forward",
    "target=unit:bounds=0.5,2:solution=backward",
]


def state_on(device, dtype, tracked=0):
    values = (0.2, 0.36, 1.0, 0.38)
    running = [torch.tensor(v, dtype=dtype, device=device) for v in values]
    counts = [torch.tensor(n, device=device) for n in (tracked, 0)]
    return torch.tensor(0.3, device=device), running, counts


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("options", OPTIONS)
def test_factors_and_update(options, dtype):
    operators = torch.ops.anact
    states = {DEVICE: state_on(DEVICE, dtype), "cpu": state_on("cpu", dtype)}
    for step in range(14):
        # Some are unlike those before; some say nothing.
        numbers = torch.randn(99, generator=torch.Generator().manual_seed(step))
        numbers *= 6 if step % 4 == 3 else 1
        numbers = {5: numbers * torch.inf, 6: numbers * 0, 7: numbers[:0]}.get(
            step, numbers
        )
        moments = operators.measure(numbers.double(), "silu", [])
        results = []
        for device, (alpha, running, counts) in states.items():
            given = moments.to(device)
            map = operators.factors(alpha, *running, counts[0], given, options)
            later = operators.factors(alpha, *running, counts[0], None, options)
            operators.update_(*running, *counts, given, alpha, map, options)
            results.append([map, later, *running, *counts])
        for got, want in zip(*results):
            assert got.dtype == want.dtype
            torch.testing.assert_close(got.cpu(), want, rtol=1e-6, atol=1e-9)


OPCHECKS = (
    "test_schema",
    "test_autograd_registration",
    "test_faketensor",
    "test_aot_dispatch_dynamic",
)


@pytest.mark.parametrize(
    "name", ["measure", "factors", "apply", "apply_backward", "update_", "evaluate"]
)
def test_opcheck(name):
    x = laid_out("transposed", 33, torch.float64).requires_grad_()
    alpha, running, counts = state_on(DEVICE, torch.float64, tracked=3)
    alpha = alpha.double().requires_grad_()
    map = map_on(DEVICE).requires_grad_()
    moments = torch.ops.anact.measure(x, "silu", [])
    fixed = map.detach(), ""
    arguments = {
        "measure": (x, "elu", [0.5], counts[0]),
        "factors": (alpha, *running, counts[0], moments, "statistics=batch"),
        "apply": (x, map, "elu", [0.5], True),
        "apply_backward": (torch.randn_like(x), x, map, "silu", []),
        "update_": (*running, *counts, moments, alpha, *fixed),
        "evaluate": (x, alpha, *running, "silu", [], ""),
    }[name]
    operator = getattr(torch.ops.anact, name).default
    torch.library.opcheck(operator, arguments, test_utils=OPCHECKS)


# ---- The module


def draw(step=0, shape=(33, 31), dtype=torch.float32, device=DEVICE):
    """Of changing spread."""
    numbers = torch.randn(shape, generator=torch.Generator().manual_seed(step))
    return (numbers * (1 + step % 3)).to(dtype).to(device)


MODULES = [
    {},
    {"statistics": "running"},
    {"statistics": "batch"},
    {"statistics": "previous", "gate": (0.5, 2.0), "centre": False},
    {"solution": "compromise", "target": "input", "momentum": 0.1},
    {"solution": "forward", "gain": "output", "bounds": (0.5, 2.0)},
]


@every_type
@pytest.mark.parametrize("options", MODULES, ids=str)
def test_steps_against_float64(options, dtype):
    if options.get("centre") is False:
        options = {**options, "solution": "backward"}
    act = ANAct("silu", device=DEVICE, **options)
    oracle = OracleANAct("silu", **options)
    with torch.no_grad():
        act.alpha.fill_(0.25)
        oracle.alpha.fill_(0.25)
    tolerance = max(4 * torch.finfo(dtype).eps, 2e-5)
    for step in range(14):
        x = draw(step, dtype=dtype)
        if step == 5:
            x[3, 4] = torch.inf
        if step == 6:
            x = x[:0]
        if step == 7:
            x.zero_()
        training = step != 8
        mine = x.clone().requires_grad_()
        other = x.double().cpu().requires_grad_()
        y, want = act.train(training)(mine), oracle.train(training)(other)
        assert_same_statistics(act, oracle, 2e-5)
        if step == 5:
            continue
        g = draw(step + 100, shape=x.shape, dtype=dtype)
        gradients = torch.autograd.grad(y, (mine, act.alpha), g)
        there = torch.autograd.grad(want, (other, oracle.alpha), g.double().cpu())
        for got, expected in zip((y, *gradients), (want, *there)):
            size = max([1.0, *expected.detach().abs().flatten().tolist()])
            torch.testing.assert_close(
                got.double().cpu(), expected, rtol=tolerance, atol=tolerance * size
            )


def make_model(device=DEVICE, **options):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(31, 17),
        ANAct("silu", **options),
        nn.Linear(17, 13),
        ANAct("gelu", gate=(0.02, 50.0), **options),
        nn.Linear(13, 3),
    ).to(device)


def make_activations(**options):
    """A model without a sum of PyTorch's own, so that its bits repeat."""
    acts = ANAct("silu", **options), ANAct("gelu", **options)
    return nn.Sequential(*acts).to(DEVICE)


def plainly(model, x):
    return model(x)


def after_step(model, x, run=plainly):
    """Everything that one step of training produces."""
    model.zero_grad()
    x = x.detach().clone().requires_grad_()
    y = run(model, x)
    y.float().square().sum().backward()
    result = {name: p.grad.clone() for name, p in model.named_parameters()}
    result.update((name, b.clone()) for name, b in model.named_buffers())
    return {**result, "output": y.detach().clone(), "input": x.grad}


def assert_same(got, want, tolerance=0.0, what=""):
    assert got.keys() == want.keys()
    for name in want:
        size = want[name].double().abs().max().item() if want[name].numel() else 0
        torch.testing.assert_close(
            got[name].to(want[name].device),
            want[name],
            rtol=0,
            atol=tolerance * max(1, size),
            msg=lambda text, name=name: f"{what} {name}: {text}",
        )


@pytest.mark.parametrize("statistics", ["previous", "running", "batch", "fixed"])
def test_steps_against_the_plain_version_and_the_cpu(statistics):
    model = make_model(statistics=statistics)
    plain, there = copy.deepcopy(model), make_model("cpu", statistics=statistics)
    for step in range(12):
        x = draw(step)
        got = after_step(model, x)
        with plain_version():
            assert_same(after_step(plain, x), got, 1e-4, f"plain, step {step},")
        assert_same(got, after_step(there, x.cpu()), 1e-4, f"CPU, step {step},")


def test_channels_last():
    x = draw(0, (5, 6, 7, 3)).contiguous(memory_format=torch.channels_last)
    act = ANAct("silu", device=DEVICE)
    twin = copy.deepcopy(act)
    for _ in range(12):
        got, want = after_step(act, x), after_step(twin, x.contiguous())
        assert got["output"].is_contiguous(memory_format=torch.channels_last)
        assert_same(got, want, 1e-5)


def test_a_function_of_the_users_own():
    act = ANAct(lambda x: torch.nn.functional.silu(x), device=DEVICE)
    twin = ANAct("silu", device=DEVICE)
    for step in range(12):
        x = draw(step)
        assert_same(after_step(act, x), after_step(twin, x), 1e-4)


def test_a_mask():
    act, there = ANAct("silu", device=DEVICE), ANAct("silu")
    for step in range(12):
        x = draw(step)
        mask = draw(step + 50) > 0
        y, want = act(x, mask), there(x.cpu(), mask.cpu())
        torch.testing.assert_close(y.cpu(), want, rtol=1e-4, atol=1e-4)
    assert act.num_batches_tracked == 12


def test_folding_and_evaluation():
    model = make_model()
    for step in range(12):
        model(draw(step))
    model.eval()
    want = model(draw())
    there = copy.deepcopy(model).cpu()
    torch.testing.assert_close(want.cpu(), there(draw().cpu()), rtol=1e-4, atol=1e-4)
    folded = anact.fold(model).model
    torch.testing.assert_close(folded(draw()), want, rtol=1e-4, atol=1e-4)


# ---- What PyTorch does around it


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast(dtype):
    model = make_model()
    plain = copy.deepcopy(model)
    seen = []
    model[1].register_forward_hook(
        lambda _, inputs, y: seen.append((inputs[0].dtype, y.dtype))
    )
    with torch.autocast(DEVICE.type, dtype=dtype):
        y = model(draw())
        assert ANAct(device=DEVICE)(draw()).dtype == torch.float32
    y.float().square().sum().backward()
    plain(draw())
    assert y.dtype == dtype and seen == [(dtype, dtype)]
    assert model[1].alpha.grad.dtype == model[1].output_mean.dtype == torch.float32
    assert_same(dict(model[1].named_buffers()), dict(plain[1].named_buffers()), 0.03)


def test_grad_scaler_skips_a_step_and_goes_on():
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    scaler = torch.amp.GradScaler(DEVICE.type, init_scale=2.0**10)
    for step in range(14):
        before = {k: v.clone() for k, v in model[1].state_dict().items()}
        batch = draw(0)
        if step == 2:
            batch[0, 0] = torch.inf
        optimizer.zero_grad()
        with torch.autocast(DEVICE.type, dtype=torch.float16):
            loss = model(batch).float().square().mean()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        after = model[1].state_dict()
        if step == 2:
            assert scaler.get_scale() == 2.0**9
            assert int(after["num_batches_skipped"]) == 1
            for name in after.keys() - {"num_batches_skipped"}:
                assert torch.equal(after[name], before[name]), name
        else:
            assert not torch.equal(after["alpha"], before["alpha"])
            assert all(value.isfinite().all() for value in after.values())
    assert int(model[1].num_batches_tracked) == 13


@pytest.mark.parametrize("statistics", ["previous", "running", "batch"])
@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_compile(mode, statistics):
    model = make_model(statistics=statistics)
    twin = copy.deepcopy(model)
    compiled = torch.compile(twin, fullgraph=True, dynamic=False, mode=mode)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for step in range(14):
            torch.compiler.cudagraph_mark_step_begin()
            got = after_step(twin, draw(step), lambda _, x: compiled(x))
            assert_same(got, after_step(model, draw(step)), 1e-4, f"step {step},")
    assert int(twin[1].num_batches_tracked) == 14


COMPILED = """
import sys, torch
from torch import nn
from anact import ANAct

torch._inductor.config.triton.slow_path_cudagraph_asserts = True
model = nn.Sequential(nn.Linear(31, 17), ANAct("silu")).to(sys.argv[1])
compiled = torch.compile(model, mode="reduce-overhead")
for shape in ((33, 31), (65, 31)):
    x = torch.randn(shape, device=sys.argv[1])
    for _ in range(6):
        torch.compiler.cudagraph_mark_step_begin()
        model.zero_grad()
        compiled(x).square().sum().backward()
print(int(model[1].num_batches_tracked))
"""


def run_script(script, *arguments, before=(), **environment):
    """What a new process says, which must succeed."""
    result = subprocess.run(
        [
            *before,
            sys.executable,
            "-W",
            "always",
            "-c",
            script,
            str(DEVICE),
            *arguments,
        ],
        check=False,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result


def test_nothing_is_kept_in_the_memory_of_a_compilers_graphs():
    """That memory is given to the next graph, whoever holds a tensor in it."""
    result = run_script(COMPILED)
    assert result.stdout.split()[-1] == "12"


@pytest.mark.parametrize("use_reentrant", [True, False])
@pytest.mark.parametrize("statistics", ["previous", "running", "batch"])
def test_checkpointing(statistics, use_reentrant):
    def run(model, x):
        return checkpoint(model, x, use_reentrant=use_reentrant)

    model = make_activations(statistics=statistics)
    twin = copy.deepcopy(model)
    for step in range(14):
        want = after_step(model, draw(step))
        assert_same(after_step(twin, draw(step), run), want, what=f"step {step},")
    assert int(twin[0].num_batches_tracked) == 14


# ---- Several processes


def train_in_group(rank, size, folder):
    device = torch.device(DEVICE.type, rank) if ON_GPU else DEVICE
    torch.set_num_threads(1)
    if ON_GPU:
        torch.cuda.set_device(device)
    else:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group(
        "nccl" if ON_GPU else "gloo",
        init_method=f"file://{folder}/rendezvous",
        rank=rank,
        world_size=size,
    )
    try:
        model = make_model(device)
        alone = copy.deepcopy(model)
        wrapped = DistributedDataParallel(model, [device] if ON_GPU else None)
        for module in (wrapped, alone):
            optimizer = torch.optim.SGD(module.parameters(), lr=0.05)
            for step in range(12):
                optimizer.zero_grad()
                x = draw(step + 100 * rank, device=device)
                module(x).square().mean().backward()
                optimizer.step()
        assert all(int(model[i].num_batches_tracked) == 12 for i in (1, 3))
        if size == 1:
            assert_same(model.state_dict(), alone.state_dict(), 1e-5)
        mine = torch.cat([p.detach().flatten() for p in model.parameters()])
        others = [torch.empty_like(mine) for _ in range(size)]
        dist.all_gather(others, mine)
        assert all(torch.equal(other, mine) for other in others)
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize("size", [1, 2])
def test_data_parallel(size, tmp_path):
    if ON_GPU and not dist.is_nccl_available():
        pytest.skip("PyTorch has no NCCL")
    if ON_GPU and torch.cuda.device_count() < size:
        pytest.skip(f"{size} GPUs are needed")
    mp.spawn(train_in_group, (size, str(tmp_path)), nprocs=size)


# ---- Order on the device


def test_equal_bits():
    x, g = laid_out("contiguous", MANY, torch.float32), draw(1, (MANY,))
    want = all_operators(x, g, "silu", map_on(DEVICE))
    model = make_activations()
    step = after_step(copy.deepcopy(model), x)
    for i in range(20):
        # Wherever the tensors lie.
        moved = torch.empty(MANY + 8, device=DEVICE)[i % 4 :][:MANY].copy_(x)
        assert_same(all_operators(moved, g, "silu", map_on(DEVICE)), want)
        assert_same(after_step(copy.deepcopy(model), moved), step)


def steps_of(model, seed):
    for step in range(30):
        last = after_step(model, draw(seed + step, (65_537,)))
    return last


@needs_gpu
@pytest.mark.parametrize("threads", [False, True])
def test_two_streams_at_once(threads):
    models = [make_activations() for _ in range(2)]
    want = [steps_of(copy.deepcopy(m), 1000 * i) for i, m in enumerate(models)]
    streams = [torch.cuda.Stream() for _ in models]
    batches = [
        [draw(1000 * i + step, (65_537,)) for step in range(30)] for i in range(2)
    ]
    got = [None, None]
    torch.cuda.synchronize()

    def work(i, step):
        with torch.cuda.stream(streams[i]):
            got[i] = after_step(models[i], batches[i][step])

    if threads:
        workers = [
            threading.Thread(target=lambda i=i: [work(i, step) for step in range(30)])
            for i in range(2)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    else:
        for step in range(30):
            for i in range(2):
                work(i, step)
    torch.cuda.synchronize()
    for mine, other in zip(got, want):
        assert_same(mine, other)


@needs_gpu
@pytest.mark.parametrize("statistics", ["previous", "running", "batch"])
def test_graph_capture_and_replay(statistics):
    model = make_activations(statistics=statistics)
    x = draw(0).requires_grad_()

    def step():
        y = model(x)
        y.square().sum().backward()
        return y.detach()

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    eager = copy.deepcopy(model)
    for leaf in (x, *model.parameters()):
        leaf.grad = None
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = step()
    assert int(model[0].num_batches_tracked) == 3
    for i in range(14):
        batch = draw(i + 1)
        with torch.no_grad():
            x.copy_(batch)
        before = model[0].output_mean.clone()
        graph.replay()
        assert not torch.equal(model[0].output_mean, before)
        got = {name: p.grad.clone() for name, p in model.named_parameters()}
        got.update((name, b.clone()) for name, b in model.named_buffers())
        got.update(output=output.clone(), input=x.grad.clone())
        assert_same(got, after_step(eager, batch), what=f"replay {i},")
    assert int(model[0].num_batches_tracked) == 17
    # And the kernels outside of the graph are as they were.
    assert_same(after_step(model, draw()), after_step(eager, draw()))


@needs_gpu
def test_two_graphs_at_once():
    """Their launches share no ticket, though they were captured in one stream."""
    models = [make_activations() for _ in range(2)]
    xs = [draw(i, (MANY,)) for i in range(2)]
    for model, x in zip(models, xs):
        after_step(model, x)
    eager = copy.deepcopy(models)
    graphs = []
    for model, x in zip(models, xs):
        graphs.append(torch.cuda.CUDAGraph())
        with torch.cuda.graph(graphs[-1]), torch.no_grad():
            model(x)
    streams = [torch.cuda.Stream() for _ in graphs]
    torch.cuda.synchronize()
    for _ in range(20):
        for graph, stream in zip(graphs, streams):
            with torch.cuda.stream(stream):
                graph.replay()
    torch.cuda.synchronize()
    for model, twin, x in zip(models, eager, xs):
        with torch.no_grad():
            for _ in range(20):
                twin(x)
        assert_same(model.state_dict(), twin.state_dict())


# ---- What runs, and what it waits for

# For scripts that print, as JSON, the names of the kernels that each part launched.
LAUNCHED = """
import json, sys, torch
from torch.profiler import ProfilerActivity, profile
import anact
from anact import ANAct, _C

device = sys.argv[1]

def launched(run):
    if device == "cpu":
        run()
        return []
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        run()
        torch.cuda.synchronize()
    return sorted({e.name for e in seen.events() if "anact::kernels" in e.name})

def step(act, x):
    act(x).sum().backward()
"""

EVERY_KERNEL = (
    LAUNCHED
    + """
def work():
    for name in _C.activations():
        for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
            x = torch.randn(4099, device=device).to(dtype).requires_grad_()
            for options in ({}, {"statistics": "running"}):
                act = ANAct(name, device=device, **options)
                step(act, x)
                step(act.eval(), x)

work()
print(json.dumps(launched(work)))
"""
)


def test_no_kernel_is_refused():
    """Each passes the check at its first use, nothing is said, and it is what runs."""
    result = run_script(EVERY_KERNEL)
    assert "ANAct" not in result.stderr
    names = json.loads(result.stdout)
    if ON_GPU:
        each = len(_C.activations()) * len(TYPES)
        # A step measures or does not.
        for kernel, count in (("Measure<", 1), ("Step<", 2), ("Backward<", 1)):
            assert sum(f"::{kernel}" in name for name in names) == count * each, kernel


TRAINED = (
    LAUNCHED
    + """
act = ANAct("silu", device=device)
x = torch.randn(4099, generator=torch.Generator().manual_seed(0)).to(device)
x.requires_grad_()
step(act, x)
names = launched(lambda: step(act, x))
print(json.dumps([names, x.grad.double().sum().item(), act.output_mean.item()]))
"""
)


def test_switched_off():
    """The plain version runs, and nothing is said."""
    on = run_script(TRAINED)
    off = run_script(TRAINED, ANACT_CUDA="off")
    assert "ANAct" not in on.stderr + off.stderr
    launched, *numbers = json.loads(on.stdout)
    none, *others = json.loads(off.stdout)
    assert numbers == pytest.approx(others, rel=1e-5)
    assert none == []
    assert bool(launched) == ON_GPU


CAPTURED_FIRST = (
    LAUNCHED
    + """
act, twin = ANAct("silu", device=device), ANAct("silu")
x = torch.randn(4099, generator=torch.Generator().manual_seed(0))
there = x.to(device)
graph = torch.cuda.CUDAGraph()
with torch.cuda.graph(graph), torch.no_grad():
    y = act(there)
replayed = launched(graph.replay)
torch.testing.assert_close(y.detach().cpu(), twin(x).detach(), rtol=1e-4, atol=1e-4)
torch.testing.assert_close(act.output_mean.cpu(), twin.output_mean)
assert act.num_batches_tracked == 1
act(there)
later = launched(lambda: act(there))
again = torch.cuda.CUDAGraph()
with torch.cuda.graph(again), torch.no_grad():
    act(there)
print(json.dumps([replayed, later, launched(again.replay)]))
"""
)


@needs_gpu
def test_first_use_within_a_capture():
    """Takes the plain version, since a check waits for the device; later uses do not."""
    result = run_script(CAPTURED_FIRST)
    assert "ANAct" not in result.stderr
    replayed, later, again = json.loads(result.stdout)
    assert replayed == []
    assert any("Step<" in name for name in later)
    assert any("Step<" in name for name in again)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("statistics", ["previous", "running", "batch", "fixed"])
def test_a_step_waits_for_nothing(statistics, recompute):
    if recompute and not ON_GPU:
        pytest.skip("the assertion that finds a pass reads its number on the CPU")
    model = make_model(statistics=statistics)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    x = draw()

    def step():
        optimizer.zero_grad()
        y = checkpoint(model, x, use_reentrant=False) if recompute else model(x)
        y.square().mean().backward()
        optimizer.step()

    for _ in range(12):
        step()
    activities = [ProfilerActivity.CPU]
    if ON_GPU:
        activities.append(ProfilerActivity.CUDA)
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
    try:
        with torch.profiler.profile(activities=activities) as seen:
            for _ in range(3):
                step()
    finally:
        if ON_GPU:
            torch.cuda.set_sync_debug_mode("default")
    names = {event.name for event in seen.events()}
    # cudaDeviceSynchronize is missing here: the profiler calls it when it stops.
    waits = {"cudaStreamSynchronize", "cudaEventSynchronize", "cudaMemcpy"}
    waits |= {"aten::_local_scalar_dense", "aten::item"}
    assert not {name for name in names if name in waits or "DtoH" in name}
    assert "anact::step" in names


@needs_gpu
@pytest.mark.parametrize("statistics", ["previous", "running", "batch"])
def test_launches_of_a_step(statistics):
    """One; in training one before it, which measures nothing once the start is over."""
    act, x = ANAct("silu", statistics=statistics, device=DEVICE), draw()
    for training, count in ((True, 2), (False, 1)):
        act.train(training)
        for _ in range(12):
            act(x)
        with torch.profiler.profile(activities=[ProfilerActivity.CUDA]) as seen:
            act(x)
            torch.cuda.synchronize()
        assert sum("anact::kernels" in e.name for e in seen.events()) == count


# ---- The cache, and NVIDIA's tools


def entries(folder):
    """A new file in the place of an old one has another number."""
    files = sorted(Path(folder).rglob("*"))
    return {str(f): f.stat().st_ino for f in files if f.is_file()}


@needs_gpu
def test_a_second_process_uses_the_cache(tmp_path):
    first = run_script(TRAINED, ANACT_CACHE=str(tmp_path))
    filled = entries(tmp_path / "cuda")
    assert filled
    second = run_script(TRAINED, ANACT_CACHE=str(tmp_path))
    assert second.stdout == first.stdout and "ANAct" not in second.stderr
    assert entries(tmp_path / "cuda") == filled
    damaged = Path(next(iter(filled)))
    damaged.write_bytes(damaged.read_bytes()[:-1])
    third = run_script(TRAINED, ANACT_CACHE=str(tmp_path))
    assert third.stdout == first.stdout and "ANAct" not in third.stderr
    assert entries(tmp_path / "cuda").keys() == filled.keys()


SMALL = """
import sys, torch
from anact import ANAct

for dtype in (torch.float32, torch.bfloat16):
    for size in (0, 1, 33, 4099, 300_007):
        for statistics in ("previous", "running", "fixed"):
            act = ANAct("silu", statistics=statistics, device=sys.argv[1])
            whole = torch.randn(size + 1, device=sys.argv[1]).to(dtype)
            # Aligned to a packet, and not.
            for x in (whole[:size], whole[1:]):
                x = x.detach().requires_grad_()
                for _ in range(2):
                    act(x).sum().backward()
                act.eval()(x).sum().backward()
                act.train()
"""


def sanitizer():
    homes = [os.environ.get(name) for name in ("CUDA_HOME", "CUDA_PATH")]
    folders = [Path(home) / "bin" for home in (*homes, "/usr/local/cuda") if home]
    path = os.pathsep.join([os.environ.get("PATH", ""), *map(str, folders)])
    return shutil.which("compute-sanitizer", path=path)


@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "synccheck"])
def test_compute_sanitizer(tool):
    if not ON_GPU:
        run_script(SMALL)
        return
    program = sanitizer()
    if program is None:
        pytest.skip("compute-sanitizer of the CUDA toolkit is not installed")
    command = [program, "--tool", tool, "--error-exitcode", "86"]
    # In the memory of PyTorch's allocator the tool sees no bounds.
    result = run_script(SMALL, before=command, PYTORCH_NO_CUDA_MEMORY_CACHING="1")
    assert "0 errors" in result.stdout or "0 hazards" in result.stdout
