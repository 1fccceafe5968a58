"""What torch.fx, torch.jit.trace and PyTorch's transforms see of an ANAct.

Those of torch.export are in export_test.py, those of torch.compile in compile_test.py.
"""

import copy
import io
import pickle
import warnings

import pytest
import torch
from isolation import run_without_anact
from oracle import STATISTICS, OracleANAct
from torch import fx, nn
from torch.autograd import forward_ad

from anact import _C, ANAct, NReLU, NSiLU

torch.set_num_threads(1)


class Network(nn.Module):
    """ANActs in a Sequential, alone, in a module of its own, and called twice."""

    def __init__(self):
        super().__init__()
        self.block = nn.Sequential(nn.Linear(9, 7), NSiLU(), nn.Linear(7, 7))
        self.twice = NReLU(momentum=0.3)
        self.last = nn.ModuleDict({"act": ANAct(snake)})

    def forward(self, x):
        x = self.twice(self.block(x))
        return self.last["act"](self.twice(x) + 1)

    def activations(self):
        return [m for m in self.modules() if isinstance(m, ANAct)]


def snake(x):
    return x + torch.sin(3 * x).square() / 3


def draw(step=0, size=5):
    generator = torch.Generator().manual_seed(step)
    return torch.randn(size, 9, generator=generator) * (1 + step)


def make_network(training=True):
    torch.manual_seed(0)
    network = Network()
    for step in range(3):
        network(draw(step))
    for act in network.activations():
        nn.init.constant_(act.alpha, 0.4)
    return network.train(training)


def assert_same_states(got, want):
    assert list(got) == list(want)
    for name, value in want.items():
        assert torch.equal(got[name], value), name


def oracle_of(act, activation):
    """The plain formula of an ANAct in evaluation, in float64."""
    name = activation if isinstance(activation, str) else "identity"
    oracle = OracleANAct(name, target=act.options.target)
    if name != activation:
        oracle.f = activation
    oracle.running = tuple(getattr(act, name).double() for name in STATISTICS)
    nn.init.constant_(oracle.alpha, act.alpha.item())
    return oracle.eval()


# ---- torch.fx


def retraced(network):
    return fx.symbolic_trace(fx.symbolic_trace(network))


def through_pickle(network):
    return pickle.loads(pickle.dumps(fx.symbolic_trace(network)))


def prepared_for_quantization(network):
    from torch.ao.quantization import QConfigMapping
    from torch.ao.quantization.quantize_fx import prepare_qat_fx

    return prepare_qat_fx(network, QConfigMapping(), (draw(),))


TRACERS = [
    fx.symbolic_trace,
    retraced,
    through_pickle,
    lambda network: copy.deepcopy(fx.symbolic_trace(network)),
    prepared_for_quantization,
]


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*isinstance.treespec:FutureWarning")
@pytest.mark.parametrize("trace", TRACERS)
@pytest.mark.parametrize("training", [True, False])
def test_a_graph_follows_the_mode(trace, training):
    network = make_network(training)
    before = copy.deepcopy(network.state_dict())
    graph = trace(copy.deepcopy(network))
    assert_same_states(network.state_dict(), before)
    calls = [n for n in graph.graph.nodes if n.op == "call_module"]
    kinds = [type(graph.get_submodule(n.target)) for n in calls]
    assert [k for k in kinds if issubclass(k, ANAct)] == [NSiLU, NReLU, NReLU, ANAct]
    graph.graph.eliminate_dead_code()
    graph.recompile()
    for mode in (training, not training, training):
        graph.train(mode), network.train(mode)
        for step in range(2):
            x = draw(step, 8)
            y, want = graph(x), network(x)
            assert torch.equal(y, want)
            graph.zero_grad(), network.zero_grad()
            y.square().sum().backward(), want.square().sum().backward()
            for name, parameter in network.named_parameters():
                assert torch.equal(graph.get_parameter(name).grad, parameter.grad)
            for name, buffer in network.named_buffers():
                assert torch.equal(graph.get_buffer(name), buffer), name


def test_a_graph_takes_features_from_within(torchvision):
    from torchvision.models.feature_extraction import create_feature_extractor

    network = make_network()
    extractor = create_feature_extractor(network, ["block.1", "last.act"])
    x = draw(1)
    extractor.eval(), network.eval()
    features = extractor(x)
    assert torch.equal(features["last.act"], network(x))
    assert torch.equal(features["block.1"], network.block[1](network.block[0](x)))


def doubled(module, inputs, output):
    return output * 2


def shifted(module, inputs):
    return (inputs[0] + 1,)


@pytest.mark.filterwarnings("ignore:.*isinstance.treespec:FutureWarning")
@pytest.mark.parametrize("trace", TRACERS[:3])
def test_a_forward_hook_runs_once_in_a_graph(trace):
    network = make_network()
    network.block[1].register_forward_hook(doubled)
    network.twice.register_forward_pre_hook(shifted)
    graph = trace(copy.deepcopy(network))
    for training in (True, False):
        graph.train(training), network.train(training)
        assert torch.equal(graph(draw()), network(draw()))
        for name, buffer in network.named_buffers():
            assert torch.equal(graph.get_buffer(name), buffer), name


def test_what_has_no_path_is_refused():
    with pytest.raises(TypeError, match="trace a module that holds it"):
        fx.symbolic_trace(NSiLU())
    graph = fx.Graph()
    with pytest.raises(TypeError, match="trace a module that holds it"):
        NSiLU()(fx.Proxy(graph.placeholder("x")))


# ---- torch.jit.trace

ignore_deprecation = pytest.mark.filterwarnings("ignore:`torch.jit", "ignore:.*legacy")


def operators(traced):
    return {node.kind() for node in traced.inlined_graph.nodes()}


@ignore_deprecation
def test_a_jit_trace_of_evaluation_runs_without_anact(tmp_path):
    network = make_network(training=False)
    traced = torch.jit.trace(network, draw())
    assert not [kind for kind in operators(traced) if "anact" in kind]
    torch.jit.save(traced, tmp_path / "network.pt")
    cases = [(draw(1, size), network(draw(1, size)).detach()) for size in (1, 5, 33)]
    torch.save(cases, tmp_path / "cases.pt")
    code = """
network = torch.jit.load(sys.argv[1])
for x, want in torch.load(sys.argv[2]):
    torch.testing.assert_close(network(x), want, rtol=1e-5, atol=1e-5)
"""
    run_without_anact(code, tmp_path / "network.pt", tmp_path / "cases.pt")


@ignore_deprecation
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("activation", [*_C.activations(), snake], ids=str)
def test_jit_trace_of_an_activation(activation, dtype):
    act = ANAct(activation, target="unit").to(dtype)
    act(draw(1).to(dtype))
    traced = torch.jit.trace(act.eval(), draw().to(dtype))
    x = draw(2, 11).to(dtype)
    want = oracle_of(act, activation)(x.double())
    tolerance = 0.02 if dtype == torch.bfloat16 else 1e-6
    assert traced(x).dtype == dtype
    torch.testing.assert_close(
        traced(x).double(),
        want,
        rtol=tolerance,
        atol=tolerance * want.abs().max().item(),
    )


@ignore_deprecation
def test_a_jit_trace_of_training_warns():
    network = make_network()
    with pytest.warns(torch.jit.TracerWarning, match="torch.jit.trace .* in training"):
        torch.jit.trace(network, draw(), check_trace=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error", torch.jit.TracerWarning)
        torch.jit.trace(network.eval(), draw())


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
@pytest.mark.parametrize(
    "activation", ["silu", "elu(alpha=0.5)", "mish", "gelu", snake]
)
def test_onnx_by_tracing(activation):
    onnxruntime = pytest.importorskip("onnxruntime")
    model = nn.Sequential(nn.Linear(9, 7), ANAct(activation))
    model(draw(1))
    model.eval()
    file = io.BytesIO()
    torch.onnx.export(
        model,
        (draw(),),
        file,
        dynamo=False,
        input_names=["x"],
        dynamic_axes={"x": {0: "batch"}},
    )
    session = onnxruntime.InferenceSession(file.getvalue())
    x = draw(2, 11)
    (y,) = session.run(None, {"x": x.numpy()})
    torch.testing.assert_close(
        torch.from_numpy(y), model(x).detach(), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("strict", [False, True])
def test_torch_export_of_training_warns(strict):
    model = nn.Sequential(nn.Linear(9, 7), NSiLU())
    with pytest.warns(UserWarning, match="torch.export .* in training"):
        torch.export.export(model, (draw(),), strict=strict)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        torch.export.export(model.eval(), (draw(),), strict=strict)


def test_torch_compile_of_training_does_not_warn():
    compiled = torch.compile(NSiLU(), backend="eager", fullgraph=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compiled(draw())


# ---- transforms in evaluation, beside the plain formula in float64

ACTIVATIONS = ["silu", "gelu_tanh", "softplus(beta=2, threshold=5)", snake]
activations = pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)


def make_pair(activation, dtype=torch.float64):
    """An ANAct in evaluation and the plain formula."""
    act = ANAct(activation, target="unit", dtype=dtype)
    for step in range(3):
        act(draw(step).to(dtype))
    nn.init.constant_(act.alpha, 0.4)
    return act.eval(), oracle_of(act, activation)


@activations
def test_forward_mode(activation):
    act, oracle = make_pair(activation)
    x, direction = draw().double(), draw(1).double()
    with forward_ad.dual_level():
        got, want = (
            forward_ad.unpack_dual(f(forward_ad.make_dual(x, direction)))
            for f in (act, oracle)
        )
    torch.testing.assert_close(got.primal, want.primal)
    torch.testing.assert_close(got.tangent, want.tangent)
    with forward_ad.dual_level():
        # Also along α.
        alpha = forward_ad.make_dual(act.alpha.detach(), torch.ones(1).double())
        y = torch.func.functional_call(act, {"alpha": alpha}, (x,))
        tangent = forward_ad.unpack_dual(y).tangent
    slope = 0.3 / torch.cosh(oracle.alpha).square()
    want = slope * (oracle.f(x) - oracle.running[0])
    torch.testing.assert_close(tangent, want.detach())


@activations
def test_jacobian_in_forward_mode(activation):
    act, oracle = make_pair(activation)
    x = draw(2, 2).double()
    jacobian = torch.autograd.functional.jacobian
    got = jacobian(act, x, strategy="forward-mode", vectorize=True)
    torch.testing.assert_close(got, jacobian(oracle, x))
    assert torch.autograd.gradcheck(
        act, (x.requires_grad_(),), check_forward_ad=True, check_backward_ad=False
    )


def test_forward_mode_is_refused_in_training():
    act = NSiLU()
    before = copy.deepcopy(act.state_dict())
    with (
        forward_ad.dual_level(),
        pytest.raises(NotImplementedError, match="forward-mode"),
    ):
        act(forward_ad.make_dual(draw(), draw(1)))
    assert_same_states(act.state_dict(), before)
    act = copy.deepcopy(act)
    with forward_ad.dual_level():
        act(draw())  # no dual number
    assert act.num_batches_tracked == 1


@activations
def test_vmap(activation):
    act, oracle = make_pair(activation)
    x = draw(3).double()
    with warnings.catch_warnings():
        # Each operator has a rule of its own: nothing runs sample by sample.
        warnings.simplefilter("error")
        got = torch.func.vmap(act)(x)
        slopes = torch.func.vmap(torch.func.jacfwd(act))(x)
    torch.testing.assert_close(got, oracle(x))
    want = torch.func.vmap(torch.func.jacrev(oracle))(x)
    torch.testing.assert_close(slopes, want)


@activations
def test_a_jagged_tensor(activation):
    act, oracle = make_pair(activation)
    parts = [draw(step, size).double() for step, size in enumerate((2, 5, 1))]
    nested = torch.nested.nested_tensor(
        parts, layout=torch.jagged, requires_grad=True, dtype=torch.float64
    )
    y = act(nested)
    weights = [torch.linspace(-1, 1, p.numel()).view_as(p).double() for p in parts]
    (y.values() * torch.cat(weights)).sum().backward()
    got = nested.grad.unbind()
    for part, out, grad, weight in zip(parts, y.unbind(), got, weights, strict=True):
        part.requires_grad_()
        want = oracle(part)
        (want * weight).sum().backward()
        torch.testing.assert_close(out, want)
        torch.testing.assert_close(grad, part.grad)
