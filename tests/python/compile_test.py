"""The module under torch.compile: the same numbers as eager, and no more graphs than needed."""

import copy
import os
import pickle

# A graph of an earlier definition of the operators must not come back from the disk.
os.environ["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch._functorch.aot_autograd import aot_module_simplified

import anact
from anact import ANAct

torch.set_num_threads(1)

backends = pytest.mark.parametrize("backend", ["aot_eager", "inductor"])


@pytest.fixture(autouse=True)
def fresh_dynamo():
    torch._dynamo.reset()


def make_model(dtype=torch.float32, **options):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(9, 17),
        ANAct("silu", **options),
        nn.Linear(17, 13),
        ANAct("gelu", **options),
        nn.Linear(13, 3),
    ).to(dtype)


def draw(step=0, size=7, dtype=torch.float32):
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(size, 9, generator=generator) * (1 + step)
    return x.to(dtype).requires_grad_()


def assert_close(got, want, tolerance, name=""):
    assert got.dtype == want.dtype, name
    difference = (got.double() - want.double()).abs().max().item()
    assert difference <= tolerance * max(1.0, want.abs().max().item()), name


def assert_same_step(run, compiled_model, plain, model, x, tolerance):
    """One step of training of a model and of its compiled twin."""
    results = []
    for function, module in ((run, compiled_model), (plain, model)):
        module.zero_grad()
        at = x.detach().clone().requires_grad_()
        y = function(at)
        y.float().square().mean().backward()
        grads = {name: p.grad for name, p in module.named_parameters()}
        buffers = {name: b.clone() for name, b in module.named_buffers()}
        results.append({"y": y.detach(), "x": at.grad, **grads, **buffers})
    got, want = results
    for name in want:
        assert_close(got[name], want[name], tolerance, name)


def count_graphs(backend):
    return CompileCounterWithBackend(backend)


# ---- Training


@backends
@pytest.mark.parametrize("statistics", ["previous", "running", "batch"])
def test_training_steps(backend, statistics):
    counter = count_graphs(backend)
    model = make_model(statistics=statistics)
    twin = copy.deepcopy(model)
    compiled = torch.compile(twin, fullgraph=True, backend=counter, dynamic=False)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for step in range(5):
            assert_same_step(compiled, twin, model, model, draw(step), 2e-6)
    assert counter.frame_count == 1
    assert int(twin[1].num_batches_tracked) == 5


@backends
def test_training_with_an_optimizer(backend):
    """Statistics and gradients feed on each other for long enough to drift apart."""
    results = []
    for compiles in (True, False):
        model = make_model(momentum=0.3, solution="exact", target="unit").double()
        run = (
            torch.compile(model, fullgraph=True, backend=backend) if compiles else model
        )
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        for step in range(20):
            optimizer.zero_grad()
            run(draw(step % 5, dtype=torch.float64)).square().mean().backward()
            optimizer.step()
        results.append([*model.parameters(), *model.buffers()])
    for got, want in zip(*results):
        assert_close(got, want, 1e-9)


@backends
def test_one_graph_serves_every_batch_size(backend):
    counter = count_graphs(backend)
    model = make_model()
    twin = copy.deepcopy(model)
    compiled = torch.compile(twin, fullgraph=True, backend=counter)

    def run(x):
        torch._dynamo.mark_dynamic(x, 0)
        return compiled(x)

    with torch._dynamo.config.patch(error_on_recompile=True):
        for step, size in enumerate((7, 12, 33, 5, 128)):
            assert_same_step(run, twin, model, model, draw(step, size), 2e-6)
    assert counter.frame_count == 1


@backends
def test_a_batch_that_is_not_finite_is_counted(backend):
    model = make_model()
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    compiled(draw())
    before = [b.clone() for b in model.buffers()]
    compiled(draw() * float("nan"))
    for old, (name, new) in zip(before, model.named_buffers()):
        assert torch.equal(old + name.endswith("num_batches_skipped"), new), name


@backends
def test_gate_and_bounds(backend):
    options = {"gate": (0.5, 1.5), "bounds": (0.8, 1.05), "gain": "output"}
    model = make_model(**options)
    twin = copy.deepcopy(model)
    compiled = torch.compile(twin, fullgraph=True, backend=backend)
    for step in (0, 3, 0, 1):
        assert_same_step(compiled, twin, model, model, draw(step), 2e-6)
    assert 0 < int(model[1].num_batches_skipped) < 4


@backends
def test_low_precision(backend):
    model = make_model(torch.bfloat16)
    twin = copy.deepcopy(model)
    compiled = torch.compile(twin, fullgraph=True, backend=backend)
    for step in range(3):
        x = draw(step, dtype=torch.bfloat16)
        assert_same_step(compiled, twin, model, model, x, 0.03)
    assert compiled(x).dtype == torch.bfloat16
    assert twin[1].output_mean.dtype == torch.float32


@backends
@pytest.mark.parametrize("inside", [True, False])
def test_autocast(backend, inside):
    model = make_model()
    twin = copy.deepcopy(model)

    def under_autocast(module):
        def run(x):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return module(x)

        return run

    if inside:
        run = torch.compile(under_autocast(twin), fullgraph=True, backend=backend)
    else:
        run = under_autocast(torch.compile(twin, fullgraph=True, backend=backend))
    for step in range(3):
        assert_same_step(run, twin, under_autocast(model), model, draw(step), 0.03)
    assert run(draw()).dtype == torch.bfloat16


@backends
def test_one_module_in_two_places(backend):
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(9, 9)
            self.act = ANAct("mish", statistics="running")

        def forward(self, x):
            return self.act(self.layer(3 * self.act(self.layer(x))))

    torch.manual_seed(0)
    model = Shared()
    twin = copy.deepcopy(model)
    compiled = torch.compile(twin, fullgraph=True, backend=backend)
    for step in range(3):
        assert_same_step(compiled, twin, model, model, draw(step), 2e-6)
    assert int(twin.act.num_batches_tracked) == 6


@backends
def test_channels_last(backend):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 5, 3), ANAct("silu"), nn.Conv2d(5, 4, 3))
    model.to(memory_format=torch.channels_last)
    twin = copy.deepcopy(model)
    compiled = torch.compile(twin, fullgraph=True, backend=backend)
    for step in range(3):
        x = torch.randn(2, 3, 11, 9).contiguous(memory_format=torch.channels_last)
        assert_same_step(compiled, twin, model, model, x, 5e-6)


@backends
def test_functional(backend):
    def run(x):
        return anact.functional.anact(x, "gelu", solution="geometric")

    compiled = torch.compile(run, fullgraph=True, backend=backend)
    results = []
    for function in (compiled, run):
        x = draw(2)
        y = function(x)
        y.square().sum().backward()
        results.append((y, x.grad))
    for got, want in zip(*results):
        assert_close(got, want, 2e-6)


# ---- Evaluation


# They are plain operators, of which Inductor gets two.
EVALUATIONS = [("aot_eager", name) for name in anact._C.activations()]
EVALUATIONS += [("inductor", "elu"), ("inductor", "softsign")]


@pytest.mark.parametrize(("backend", "activation"), EVALUATIONS)
def test_evaluation(backend, activation):
    model = nn.Sequential(nn.Linear(9, 17), ANAct(activation, solution="exact"))
    model(draw(1))
    model.eval()
    before = [b.clone() for b in model.buffers()]
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    x, other = draw(2), draw(2)
    y, want = compiled(x), model(other)
    assert_close(y, want, 1e-6)
    y.square().sum().backward()
    want.square().sum().backward()
    assert_close(x.grad, other.grad, 1e-5)
    assert all(map(torch.equal, model.buffers(), before))


def test_evaluation_is_plain_operators():
    """What a backend gets, in inference and in training."""
    targets = {}

    def backend(graph, inputs):
        def keep(name):
            def compiler(graph, inputs):
                targets[name] = {
                    str(n.target) for n in graph.graph.nodes if n.op != "placeholder"
                }
                return graph

            return compiler

        return aot_module_simplified(
            graph, inputs, fw_compiler=keep("forward"), bw_compiler=keep("backward")
        )

    model = make_model(gain="output").eval()
    want = model(draw())
    y = torch.compile(model, fullgraph=True, backend=backend)(draw())
    assert_close(y, want, 1e-6)
    y.sum().backward()
    assert {"aten.silu.default", "aten.gelu.default"} <= targets["forward"]
    for name in ("forward", "backward"):
        assert not [target for target in targets[name] if "anact" in target]
    torch._dynamo.reset()
    torch.compile(model.train(), fullgraph=True, backend=backend)(
        draw()
    ).sum().backward()
    assert "anact.apply.default" in targets["forward"]
    assert "anact.apply_backward.default" in targets["backward"]
    # In the backward pass it would read statistics that the step has already changed.
    assert not {"anact.apply.default", "anact.factors.default"} & targets["backward"]


@backends
def test_training_and_evaluation_are_two_graphs(backend):
    counter = count_graphs(backend)
    model = make_model()
    twin = copy.deepcopy(model)
    compiled = torch.compile(twin, fullgraph=True, backend=counter, dynamic=False)
    for step in range(3):
        assert_same_step(compiled, twin, model, model, draw(step), 2e-6)
        model.eval(), twin.eval()
        with torch.no_grad():
            assert_close(compiled(draw(step)), model(draw(step)), 2e-6)
        model.train(), twin.train()
        assert counter.frame_count == 2


@backends
def test_statistics_of_a_compiled_model_are_read_anew(backend):
    """A graph for evaluation does not hold the statistics that it was made with."""
    model = make_model().eval()
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    with torch.no_grad():
        compiled(draw())
        model.train()(draw(3))
        model[1].alpha.fill_(0.5)
        model.eval()
        assert_close(compiled(draw()), model(draw()), 1e-6)
        state = make_model().state_dict()
        model.load_state_dict(state)
        assert_close(compiled(draw()), make_model().eval()(draw()), 1e-6)


@backends
def test_assigned_options_are_compiled_anew(backend):
    model = make_model()
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    compiled(draw())
    model[1].options = anact.ANActOptions("relu", solution="exact")
    twin = copy.deepcopy(model)
    assert_same_step(compiled, model, twin, twin, draw(1), 2e-6)
    model.eval(), twin.eval()
    with torch.no_grad():
        assert_close(compiled(draw()), twin(draw()), 1e-6)


# ---- Compiled models as objects


@backends
def test_copies_after_compilation(backend):
    model = make_model()
    model.compile(fullgraph=True, backend=backend)
    model(draw()).sum().backward()
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        plain = make_model()
        plain.load_state_dict(model.state_dict())
        assert_same_step(other, other, plain, plain, draw(2), 2e-6)
        assert int(model[1].num_batches_tracked) == 1
        assert int(other[1].num_batches_tracked) == 2


def test_wrapper_has_the_keys_of_the_model():
    model = make_model()
    compiled = torch.compile(model, backend="aot_eager")
    compiled(draw())
    assert [key.removeprefix("_orig_mod.") for key in compiled.state_dict()] == list(
        model.state_dict()
    )
    other = copy.deepcopy(compiled)
    other(draw(1))
    assert int(model[1].num_batches_tracked) == 1


def test_a_module_alone_and_a_function_of_it():
    act = ANAct("relu")
    twin = copy.deepcopy(act)
    compiled = torch.compile(lambda x: twin(x) + 1, fullgraph=True, backend="aot_eager")
    assert_same_step(compiled, twin, lambda x: act(x) + 1, act, draw(), 2e-6)
