"""An activation of the user's own: a function in Python."""

import copy
import io
import pickle
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import anact
from anact import ANAct, ANActOptions

torch.set_num_threads(1)


def swish(x):
    return x * torch.sigmoid(x)


def swish_slope(x):
    s = torch.sigmoid(x)
    return s * (1 + x * (1 - s))


def snake(x):
    return x + torch.sin(3 * x).square() / 3


derivatives = pytest.mark.parametrize("derivative", [swish_slope, None])


def steps_of(module, dtype=torch.float32):
    """Outputs, gradients and statistics of three steps."""
    found = []
    for step in range(3):
        generator = torch.Generator().manual_seed(step)
        x = torch.randn(5, 7, generator=generator, dtype=torch.float64) * (1 + step)
        x = x.to(dtype).requires_grad_()
        module.zero_grad()
        y = module(x)
        (y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum().backward()
        found += [y.detach(), x.grad, module.alpha.grad]
        found += [b.clone() for b in module.buffers()]
    module.eval()
    return [*found, module(x.detach())]


@derivatives
@pytest.mark.parametrize("statistics", ["previous", "running", "batch", "fixed"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_it_does_what_the_catalogue_does(derivative, statistics, dtype):
    own = ANAct(swish, derivative=derivative, statistics=statistics)
    known = ANAct("silu", statistics=statistics)
    own.to(torch.float64), known.to(torch.float64)
    for got, want in zip(steps_of(own, dtype), steps_of(known, dtype)):
        close = 2e-2 if dtype == torch.bfloat16 else 2e-5
        torch.testing.assert_close(got, want, rtol=close, atol=close)


@derivatives
def test_double_backward(derivative):
    act = ANAct(swish, derivative=derivative, statistics="fixed").double()
    x = torch.randn(6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(act, (x,))
    assert torch.autograd.gradgradcheck(act, (x,))


def test_it_starts_with_the_statistics_under_the_normal_distribution():
    own, known = ANAct(swish), ANAct("silu")
    torch.testing.assert_close(own.output_square, known.output_square)
    torch.testing.assert_close(own.backward_gain, known.backward_gain)


def test_it_is_printed_copied_pickled_and_saved():
    act = ANAct(snake, momentum=0.05)
    assert repr(act) == "ANAct(snake, momentum=0.05)"
    assert repr(ANAct(nn.Hardshrink())).startswith("ANAct(Hardshrink")
    act(torch.randn(32))
    file = io.BytesIO()
    torch.save(act, file)
    file.seek(0)
    x = torch.randn(9)
    for other in (
        copy.deepcopy(act),
        pickle.loads(pickle.dumps(act)),
        torch.load(file, weights_only=False),
    ):
        assert repr(other) == repr(act) and other.options == act.options
        assert torch.equal(other.eval()(x), copy.deepcopy(act).eval()(x))
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(ANAct(lambda x: x.sin()))


@pytest.mark.filterwarnings("ignore:.*it was saved by")
def test_a_state_is_loaded_into_the_same_function_only():
    state = ANAct(snake).state_dict()
    ANAct(snake).load_state_dict(state)
    with pytest.raises(RuntimeError, match=r"saved by ANAct\(snake\).*ANAct\(swish\)"):
        ANAct(swish).load_state_dict(state)


def test_it_trains_in_a_network_and_turns_back():
    net = nn.Sequential(nn.Linear(4, 8), ANAct(snake), nn.Linear(8, 2))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    x, y = torch.randn(64, 4), torch.randint(0, 2, (64,))
    losses = []
    for _ in range(50):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    net.eval()
    want = net(x)
    folded = anact.fold(copy.deepcopy(net)).model
    torch.testing.assert_close(folded(x), want, rtol=1e-4, atol=1e-5)
    assert not any(isinstance(m, ANAct) for m in folded.modules())
    assert anact.revert_activations(net).replaced == {"1": "snake"}
    torch.testing.assert_close(net[1](x), snake(x))
    module = nn.Hardshrink()
    net = nn.Sequential(ANAct(module))
    anact.revert_activations(net)
    assert net[0] is module


def test_it_runs_in_a_compiled_model():
    """Outside the graph, since a graph cannot hold it."""
    act = ANAct(snake)
    reference = copy.deepcopy(act)
    compiled = torch.compile(lambda x: act(x * 2) + 1, backend="eager")
    x = torch.randn(12)
    assert torch.equal(compiled(x), reference(x * 2) + 1)
    assert act.num_batches_tracked == 1


def test_checkpointing():
    act = ANAct(snake)
    reference = copy.deepcopy(act)
    for module, run in (
        (reference, reference),
        (act, lambda x: torch.utils.checkpoint.checkpoint(act, x, use_reentrant=False)),
    ):
        x = torch.linspace(-2, 2, 11, requires_grad=True)
        run(x).square().sum().backward()
        module.found = x.grad, module.alpha.grad
    assert all(map(torch.equal, act.found, reference.found))


def test_a_constant_has_the_derivative_zero():
    act = ANAct(lambda x: torch.ones_like(x), centre=False, solution="forward")
    x = torch.randn(8, requires_grad=True)
    act(x).sum().backward()
    assert torch.equal(x.grad, torch.zeros(8))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"activation": 3}, TypeError, "activation: expected a name or a function"),
        ({"activation": swish, "derivative": 3}, TypeError, "derivative: expected a"),
        ({"activation": "silu", "derivative": swish}, TypeError, "of the catalogue"),
        ({"activation": nn.PReLU()}, TypeError, "has parameters"),
        ({"activation": lambda x: x.sum()}, ValueError, "returned shape"),
        ({"activation": lambda x: 3}, TypeError, "returned .*int.*; expected a tensor"),
        ({"activation": lambda x: x / 0}, ValueError, "not finite under N"),
        ({"activation": swish, "colour": "red"}, TypeError, "colour"),
    ],
)
def test_it_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        ANAct(**arguments)


def test_an_error_in_the_function_is_shown():
    calls = []

    def breaks(x):
        calls.append(x)
        if len(calls) > 1:
            raise KeyError("mine")
        return x.sin()

    act = ANAct(breaks, derivative=torch.cos)
    with pytest.raises(KeyError, match="mine"):
        act(torch.randn(3))


def test_options_compare_by_their_functions():
    assert ANActOptions(swish) == ANActOptions(swish)
    assert ANActOptions(swish) != ANActOptions(snake)
    assert ANActOptions(swish) != ANActOptions(swish, swish_slope)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_evaluation_is_in_the_graph(dtype):
    act = ANAct(snake).to(dtype)
    x = torch.randn(12, dtype=dtype)
    act(x * 2)
    act.eval()
    compiled = torch.compile(act, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), act(x))
    exported = torch.export.export(act, (x,)).run_decompositions()
    assert not [n for n in exported.graph.nodes if "anact" in str(n.target)]
    torch.testing.assert_close(exported.module()(x), act(x))


@pytest.mark.parametrize(
    ("activation", "name"),
    [
        (nn.SiLU(), "silu"),
        (nn.SiLU(inplace=True), "silu"),
        (F.silu, "silu"),
        (torch.relu_, "relu"),
        (torch.Tensor.tanh, "tanh"),
        (nn.GELU(approximate="tanh"), "gelu(approximate=tanh)"),
        (partial(F.gelu, approximate="tanh"), "gelu(approximate=tanh)"),
        (nn.ELU(0.5), "elu(alpha=0.5)"),
        (nn.Softplus(2, threshold=5), "softplus(beta=2, threshold=5)"),
        (nn.ReLU6(), "relu6"),
        (nn.Identity(), "identity"),
    ],
)
def test_a_module_or_function_of_pytorch_is_the_catalogues(activation, name):
    act = ANAct(activation, momentum=0.05)
    assert act.options == ANActOptions(name, momentum=0.05)
    assert not list(act.children())
    known = ANAct(name, momentum=0.05)
    assert all(map(torch.equal, steps_of(act), steps_of(known)))
    known.load_state_dict(act.state_dict())
    with torch.profiler.profile() as profile:
        act.train()(torch.randn(8))
    assert "anact::step" in {event.name for event in profile.events()}


def test_an_activation_that_the_catalogue_lacks_is_the_users_own():
    for activation in (nn.Hardshrink(), F.hardshrink, lambda x: F.silu(x)):
        assert ANAct(activation).options.activation is activation
    # Whoever brings a derivative wants it to be used.
    assert ANAct(F.silu, derivative=swish_slope).options.activation is F.silu
