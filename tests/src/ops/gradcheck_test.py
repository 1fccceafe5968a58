"""The operators as PyTorch sees them: gradients, schemas, graph capture, transforms.

ANACT_LIBRARY names the library, libanact.so. Run with pytest.
"""

import itertools
import os
import re
from contextlib import nullcontext
from pathlib import Path

# A graph of an earlier definition of the operators must not come back from the disk.
os.environ["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"

import pytest
import torch
from functorch.compile import make_boxed_func
from torch._dynamo import compiled_autograd
from torch._dynamo.backends.common import aot_autograd
from torch._dynamo.backends.registry import lookup_backend
from torch._dynamo.testing import CompileCounterWithBackend
from torch.autograd import forward_ad

# PyTorch's log_sigmoid wakes every thread even for six elements.
torch.set_num_threads(1)
torch.ops.load_library(os.environ["ANACT_LIBRARY"])

ROOT = Path(__file__).resolve().parents[3]
INPUT_KINK_DISTANCE = 1e-2

# (name, parameters, kinks): where f, f' or f'' jumps.
ACTIVATIONS = [
    ("relu", (), (0,)),
    ("relu6", (), (0, 6)),
    ("leaky_relu", (0.01,), (0,)),
    ("leaky_relu", (0.2,), (0,)),
    ("elu", (1.0,), (0,)),
    ("elu", (0.5,), (0,)),
    ("selu", (), (0,)),
    ("celu", (1.0,), (0,)),
    ("celu", (2.0,), (0,)),
    ("gelu", (), ()),
    ("gelu_tanh", (), ()),
    ("silu", (), ()),
    ("mish", (), ()),
    ("softplus", (1.0, 20.0), (20,)),
    ("softplus", (2.0, 5.0), (2.5,)),
    ("softsign", (), (0,)),
    ("tanh", (), ()),
    ("sigmoid", (), ()),
    ("logsigmoid", (), ()),
    ("hardswish", (), (-3, 3)),
    ("hardsigmoid", (), (-3, 3)),
    ("hardtanh", (-1.0, 1.0), (-1, 1)),
    ("hardtanh", (-2.0, 0.5), (-2, 0.5)),
    ("tanhshrink", (), ()),
    ("softshrink", (0.5,), (-0.5, 0.5)),
    ("relu2", (), (0,)),
    ("identity", (), ()),
]
STATISTICS = ["previous", "running", "batch", "fixed"]
SOLUTIONS = ["compromise", "forward", "backward", "geometric", "exact"]
TARGETS = ["input", "unit"]
GAINS = ["activation", "output"]
OPTIONS = [
    {"solution": solution, "target": target, "gain": gain, "centre": centre}
    for solution, target, gain, centre in itertools.product(
        SOLUTIONS, TARGETS, GAINS, [True, False]
    )
    if centre or solution != "exact"
]

every_activation = pytest.mark.parametrize(
    "activation",
    ACTIVATIONS,
    ids=lambda row: "-".join([row[0], *map(str, row[1])]),
)


def running_statistics():
    values = (0.3, 0.7, 1.4, 0.45)
    return [torch.tensor(v, dtype=torch.float64) for v in values] + [torch.tensor(3)]


def arguments(
    x,
    alpha,
    activation=("silu", ()),
    statistics="previous",
    solution="compromise",
    target="input",
    gain="activation",
    centre=True,
):
    """What anact::step takes but the number of skipped batches."""
    options = (
        f"statistics={statistics}:solution={solution}:target={target}:gain={gain}:"
        f"centre={'on' if centre else 'off'}:momentum=0.1"
    )
    name, parameters = activation[:2]
    return x, alpha, *running_statistics(), name, list(parameters), options


def forward(x, alpha, training=True, statistics="previous", known_map=None, **options):
    """A module's pass, one operator after the other: output, moments and map."""
    args = arguments(x, alpha, statistics=statistics, **options)
    running, (name, parameters, how) = args[2:7], args[7:]
    operators = torch.ops.anact
    moments = None
    if training and statistics != "fixed":
        unless = running[4] if statistics == "previous" else None
        moments = operators.measure(x, name, parameters, unless)
    map = known_map
    if map is None:
        map = operators.factors(alpha, *running, moments, how)
    late = training and statistics in ("previous", "fixed")
    output, measured = operators.apply(x, map, name, parameters, late)
    return output, measured if late or not training else moments, map


def make_input(kinks=(), size=6):
    """Numbers of both signs, none within INPUT_KINK_DISTANCE of a kink."""
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(size, dtype=torch.float64, generator=generator) * 2
    for kink in kinks:
        near = (x - kink).abs() < INPUT_KINK_DISTANCE
        x = torch.where(near, kink + 2 * INPUT_KINK_DISTANCE, x)
    return x.requires_grad_()


def make_alpha(learnable=True):
    return torch.tensor(0.4, dtype=torch.float64, requires_grad=learnable)


def output_of(x, **options):
    """y as a function of input and alpha whose map depends on alpha alone.

    For the gradient the batch's statistics are constants: a numerical difference
    must not move them, so they are those of `x` whatever the input.
    """
    fixed = x.detach().clone()  # gradcheck changes its inputs in place

    def output(at, alpha):
        map = forward(fixed, alpha, **options)[2]
        return forward(at, alpha, known_map=map, **options)[0]

    return output


def check(x, learnable, fast_mode, **options):
    inputs = (x, make_alpha(learnable))
    output = output_of(x, **options)
    close = {"atol": 1e-6, "rtol": 1e-6, "fast_mode": fast_mode}
    assert torch.autograd.gradcheck(output, inputs, **close)
    assert torch.autograd.gradgradcheck(output, inputs, **close)


def test_every_activation_of_the_catalogue_is_here():
    header = (ROOT / "include/anact/activation.h").read_text()
    kinds = re.search(r"enum class ActivationKind[^{]*{([^}]*)}", header)[1]
    assert set(re.findall(r"\w+", kinds)) == {name for name, *_ in ACTIVATIONS}
    for row in ACTIVATIONS:
        forward(make_input(), make_alpha(), activation=row)


@every_activation
@pytest.mark.parametrize("statistics", STATISTICS)
def test_gradients(activation, statistics):
    x = make_input(activation[2], size=20)
    check(x, True, False, activation=activation, statistics=statistics)


@every_activation
@pytest.mark.parametrize("statistics", STATISTICS)
def test_gradients_with_every_option(activation, statistics):
    x = make_input(activation[2])
    for options, learnable in itertools.product(OPTIONS, [True, False]):
        options = dict(options, activation=activation, statistics=statistics)
        check(x, learnable, True, **options)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("statistics", STATISTICS)
def test_factors_are_constants_to_the_gradient(statistics, training):
    x, alpha = make_input(), make_alpha()
    options = {"statistics": statistics, "training": training}
    got = torch.autograd.grad(forward(x, alpha, **options)[0].sum(), (x, alpha))
    output = output_of(x, **options)(x, alpha)
    want = torch.autograd.grad(output.sum(), (x, alpha))
    assert all(torch.equal(a, b) for a, b in zip(got, want))


OPCHECKS = (
    "test_schema",
    "test_autograd_registration",
    "test_faketensor",
    "test_aot_dispatch_dynamic",
)


@pytest.mark.parametrize("unless", [None, torch.tensor(0), torch.tensor(3)])
def test_measure_is_a_well_behaved_operator(unless):
    args = (make_input(), "elu", [0.5], unless)
    operator = torch.ops.anact.measure.default
    torch.library.opcheck(operator, args, test_utils=OPCHECKS)


@pytest.mark.parametrize("measured", [True, False])
@pytest.mark.parametrize("statistics", STATISTICS)
def test_factors_is_a_well_behaved_operator(statistics, measured):
    moments = torch.ops.anact.measure(make_input(), "silu", []) if measured else None
    args = arguments(None, make_alpha(), statistics=statistics)
    args = (*args[1:7], moments, args[-1])
    operator = torch.ops.anact.factors.default
    torch.library.opcheck(operator, args, test_utils=OPCHECKS)


def make_map():
    return torch.tensor([1.5, -0.5, 0.25], dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("measure", [True, False])
def test_apply_is_a_well_behaved_operator(measure):
    args = (make_input(), make_map(), "elu", [0.5], measure)
    operator = torch.ops.anact.apply.default
    torch.library.opcheck(operator, args, test_utils=OPCHECKS)


@every_activation
def test_apply_is_differentiable_in_input_and_map(activation):
    name, parameters, kinks = activation

    def output(x, scale_and_offset):
        # The centre tells factors how alpha moves the offset, and apply nothing.
        map = torch.cat([scale_and_offset, torch.ones(1, dtype=torch.float64)])
        return torch.ops.anact.apply(x, map, name, list(parameters), False)[0]

    inputs = (make_input(kinks), make_map()[:2].detach().requires_grad_())
    assert torch.autograd.gradcheck(output, inputs, atol=1e-6, rtol=1e-6)
    assert torch.autograd.gradgradcheck(output, inputs, atol=1e-6, rtol=1e-6)


def test_apply_backward_is_a_well_behaved_operator():
    x = make_input()
    args = (torch.randn_like(x), x, make_map(), "silu", [])
    operator = torch.ops.anact.apply_backward.default
    torch.library.opcheck(operator, args, test_utils=OPCHECKS)


def test_update_is_a_well_behaved_operator():
    _, moments, map = forward(make_input(), make_alpha())
    args = (*running_statistics(), torch.tensor(0), moments, make_alpha(), map.detach())
    operator = torch.ops.anact.update_.default
    torch.library.opcheck(operator, (*args, "momentum=0.1"), test_utils=OPCHECKS)


@pytest.mark.parametrize("statistics", STATISTICS)
def test_step_is_its_operators(statistics):
    """A graph holds them; values, gradients and statistics are those of a step in C++."""
    code = []

    def compiler(graph, example_inputs):
        code.append(graph.code)
        return make_boxed_func(graph.forward)

    def step(x, alpha, running, skipped):
        *_, name, parameters, options = arguments(x, alpha, statistics=statistics)
        operator = torch.ops.anact.step
        return operator(x, alpha, *running, skipped, name, parameters, options)

    torch._dynamo.reset()
    results = []
    backend = aot_autograd(fw_compiler=compiler)
    for run in (step, torch.compile(step, backend=backend, fullgraph=True)):
        x, alpha = make_input(), make_alpha()
        running, skipped = running_statistics(), torch.tensor(0)
        y = run(x, alpha, running, skipped)
        results.append(
            (y, *torch.autograd.grad(y.sum(), (x, alpha)), *running, skipped)
        )
    for eager, captured in zip(*results):
        torch.testing.assert_close(captured, eager, rtol=1e-14, atol=1e-14)
    forward_graph = code[0]
    assert "anact.step" not in forward_graph
    for name in ("factors", "apply", *(["update_"] * (statistics != "fixed"))):
        assert f"anact.{name}." in forward_graph


EVALUATION = ("silu", [], "solution=compromise:target=input")


def test_evaluate_is_a_well_behaved_operator():
    args = (make_input(), make_alpha(), *running_statistics()[:4], *EVALUATION)
    operator = torch.ops.anact.evaluate.default
    torch.library.opcheck(operator, args, test_utils=OPCHECKS)


@every_activation
def test_evaluate_is_forward_in_evaluation(activation):
    """The same values and gradients, from plain operators that a tracer sees."""
    name, parameters, kinks = activation
    for options, dtype, alpha in itertools.product(
        OPTIONS, (torch.float64, torch.bfloat16), (make_alpha(), make_alpha()[None])
    ):
        x = make_input(kinks).detach().to(dtype).requires_grad_()
        how = arguments(x, alpha, **options)[-1]
        statistics = running_statistics()[:4]
        y = torch.ops.anact.evaluate(x, alpha, *statistics, name, list(parameters), how)
        want = forward(x, alpha, activation=activation, training=False, **options)[0]
        assert y.dtype == dtype
        close = {"rtol": 1e-12, "atol": 1e-13} if dtype == torch.float64 else {}
        torch.testing.assert_close(y, want, **close)
        g = torch.randn_like(y)
        found = torch.autograd.grad(y, (x, alpha), g)
        wanted = torch.autograd.grad(want, (x, alpha), g)
        if close:  # PyTorch's derivative of hardsigmoid has a sixth in single precision
            close["rtol"] = 5e-8 if name == "hardsigmoid" else 1e-12
        torch.testing.assert_close(found[0], wanted[0], **close)
        torch.testing.assert_close(found[1], wanted[1], rtol=1e-2, atol=1e-2)
        if dtype == torch.float64:
            torch.testing.assert_close(found[1], wanted[1], **close)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({0: torch.zeros(3, dtype=torch.int64)}, "the input is Long"),
        ({1: torch.zeros(2)}, "alpha has shape"),
        ({2: torch.zeros(2)}, "output_mean has shape"),
        ({6: "sulu"}, "sulu"),
        ({8: "solution=best"}, "best"),
        ({8: "solutoin=exact"}, "did you mean solution"),
        ({8: "solution"}, "unknown solution"),
        ({8: "bounds=0,1"}, "lambda"),
    ],
)
def test_evaluate_refuses_bad_arguments(change, message):
    args = [make_input(), make_alpha(), *running_statistics()[:4], *EVALUATION]
    for place, value in change.items():
        args[place] = value
    with pytest.raises((RuntimeError, ValueError, TypeError), match=message):
        torch.ops.anact.evaluate(*args)


def test_compiled_autograd_runs_the_node():
    """Its graphs hold our node, each with its own activation and wanted gradients."""
    graphs = []

    def backend(graph, example_inputs):
        graphs.append(graph.code)
        return lookup_backend("aot_eager")(graph, example_inputs)

    torch._dynamo.reset()
    for size, activation, learnable in itertools.product(
        (6, 9), (("silu", ()), ("elu", (0.5,)), ("elu", (2.0,))), (True, False)
    ):
        grads = []
        for compiled in (False, True):
            x, alpha = make_input(size=size), make_alpha(learnable)
            loss = forward(x, alpha, activation=activation)[0].square().sum()
            compiler = torch.compile(backend=backend)
            with compiled_autograd._enable(compiler) if compiled else nullcontext():
                loss.backward()
            grads.append((x.grad, alpha.grad))
        assert torch.equal(grads[0][0], grads[1][0])
        assert (grads[1][1] is not None) == learnable
        if learnable:
            assert torch.equal(grads[0][1], grads[1][1])
    assert graphs and all("ApplyFunction" in code for code in graphs)


def test_one_graph_serves_every_size():
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(
        lambda x, alpha: forward(x, alpha)[0], backend=counter, dynamic=True
    )
    frames = set()
    for size in (6, 9, 12, 40):
        x, alpha = make_input(size=size), make_alpha()
        want = torch.autograd.grad(forward(x, alpha)[0].square().sum(), (x, alpha))
        got = torch.autograd.grad(compiled(x, alpha).square().sum(), (x, alpha))
        assert all(map(torch.equal, got, want))
        frames.add(counter.frame_count)
    assert len(frames) == 1, "a new size was compiled anew"


def test_compiled_steps_with_compiled_autograd_match_eager():
    def step(x, alpha):
        loss = forward(torch.sin(x), alpha)[0].square().sum()
        loss.backward()
        return loss.detach()

    torch._dynamo.reset()
    compiled = torch.compile(step, backend="aot_eager")
    for size in (6, 6, 9):
        grads = []
        for run in (step, compiled):
            x, alpha = make_input(size=size), make_alpha()
            with torch._dynamo.config.patch(compiled_autograd=run is compiled):
                loss = run(x, alpha)
            grads.append((loss, x.grad, alpha.grad))
        for eager, captured in zip(*grads):
            torch.testing.assert_close(captured, eager, rtol=1e-14, atol=1e-14)


def test_forward_mode_is_refused():
    x, alpha = make_input().detach(), make_alpha(False)
    message = "forward-mode differentiation is not supported"
    with forward_ad.dual_level():
        for args in [
            (forward_ad.make_dual(x, torch.ones_like(x)), alpha),
            (x, forward_ad.make_dual(alpha, torch.ones_like(alpha))),
        ]:
            with pytest.raises(NotImplementedError, match=message):
                forward(*args)
            with torch.no_grad(), pytest.raises(NotImplementedError, match=message):
                forward(*args)
    with pytest.raises(NotImplementedError, match=message):
        torch.func.jacfwd(lambda at: forward(at, alpha)[0])(x)
    with pytest.raises(NotImplementedError, match=message):
        torch.func.jvp(lambda at: forward(at, alpha)[0], (x,), (x,))


def test_reverse_mode_transforms_are_refused():
    x = make_input().detach().reshape(2, 3)

    def function(at):
        return forward(at, make_alpha(False))[0].sum()

    for transformed in [
        torch.func.grad(function),
        torch.func.jacrev(function),
        torch.func.hessian(function),
        torch.func.vmap(torch.func.grad(function)),
    ]:
        with pytest.raises(RuntimeError, match="functorch transforms"):
            transformed(x)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("statistics", STATISTICS)
def test_vmap_is_a_loop(statistics):
    """Each slice is a batch of its own, gradients included."""
    x, alpha = make_input(size=12), make_alpha()
    rows = x.reshape(3, 4)

    def function(row):
        return forward(row, alpha, statistics=statistics)[0]

    results = []
    for y in (torch.func.vmap(function)(rows), torch.stack(list(map(function, rows)))):
        grads = torch.autograd.grad(y.square().sum(), (x, alpha), retain_graph=True)
        results.append((y, *grads))
    for mapped, looped in zip(*results):
        torch.testing.assert_close(mapped, looped, rtol=1e-14, atol=1e-14)


def test_vmap_over_the_update_is_refused():
    _, moments, scale_and_offset = forward(make_input(), make_alpha(False))
    running = running_statistics()
    rest = (make_alpha(), scale_and_offset, "momentum=0.1")

    def update(batch):
        torch.ops.anact.update_(*running, torch.tensor(0), batch, *rest)
        return batch

    with pytest.raises(RuntimeError, match="update_"):
        torch.func.vmap(update)(torch.stack([moments, moments]))
    assert all(map(torch.equal, running, running_statistics()))
