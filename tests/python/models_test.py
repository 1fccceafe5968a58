"""Conversion of models of many packages: neutral, trained, folded, reverted, and reported.

With the environment variable ANACT_MODELS_TABLE, a row for each model is written to the
file that it names.
"""

import copy
import glob
import os
from collections import Counter
from contextlib import contextmanager

import numpy
import pytest
import torch
from models import CASES
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

import anact
from anact import ANAct

pytestmark = pytest.mark.slow

torch.set_num_threads(1)

INCLUDABLE = ("gate", "softmax", "output")


@pytest.fixture(autouse=True)
def package(request, case):
    """Skips the models of a package that is not there."""
    if case.package not in ("own", "torch.nn"):
        # The others import torchvision if it is installed.
        request.getfixturevalue("torchvision")
        library = pytest.importorskip(case.package)
        if case.package == "transformers":
            library.utils.logging.set_verbosity_error()


models = pytest.mark.parametrize(
    "case", CASES, ids=lambda case: f"{case.package}-{case.name}"
)
modes = pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])


def make(case, seed=0):
    torch.manual_seed(seed)
    return case.make().double().train()


def batch_of(case):
    torch.manual_seed(1)
    return pytree.tree_map_only(
        Tensor, lambda t: t.double() if t.is_floating_point() else t, case.batch()
    )


def run(model, batch):
    """What the model returns, and its loss; what is drawn is the same at each call."""
    torch.manual_seed(2)
    numpy.random.seed(2)  # transformers draws masks with it
    output = model(**batch) if isinstance(batch, dict) else model(*batch)
    tensors = [
        t
        for t in pytree.tree_leaves(output)
        if isinstance(t, Tensor) and t.is_floating_point()
    ]
    assert tensors
    loss = torch.zeros((), dtype=torch.float64)
    for t in tensors:
        weights = torch.linspace(-1, 1, t.numel(), dtype=t.dtype).view_as(t)
        loss = loss + (t * weights).mean() + t.square().mean()
    return [t.detach() for t in tensors], loss


def outputs(model, batch):
    with torch.no_grad():
        return run(model, batch)[0]


def gradients(model):
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def normalized(model):
    return {n: m for n, m in model.named_modules() if isinstance(m, ANAct)}


def classes(model):
    # By name: a parametrized module is of a class of its own.
    return {n: type(m).__qualname__ for n, m in model.named_modules()}


def assert_near(got, want, tolerance):
    """Within the tolerance, relative to each tensor's largest element.

    Where that is itself rounding error, as a gradient that is 0 is, a thousandth of the
    tolerance relative to the largest element of all counts.
    """
    assert got.keys() == want.keys()
    largest = max((t.abs().max().item() for t in want.values() if t.numel()), default=0)
    for name in want:
        if want[name].numel() == 0:
            continue
        error = (got[name].double() - want[name].double()).abs().max().item()
        bound = want[name].abs().max().item() + 1e-3 * largest
        assert error <= tolerance * bound, (name, error, bound)


def assert_identical(got, want):
    assert len(got) == len(want)
    for one, other in zip(got, want, strict=True):
        assert torch.equal(one, other)


def assert_same_state(got, want):
    got, want = got.state_dict(), want.state_dict()
    assert got.keys() == want.keys()
    for name, value in want.items():
        same = torch.equal(got[name], value) if isinstance(value, Tensor) else True
        assert same, name


# ---- Without normalization, nothing changes


@modes
@models
def test_neutral(case, training):
    """With λ = 1, all that can be converted is: outputs, loss, gradients and buffers agree."""
    plain, batch = make(case).train(training), batch_of(case)
    found = anact.convert_activations(plain, inplace=False, example=batch)
    included = [glob.escape(c.path) for c in found.left if c.reason in INCLUDABLE]
    conversion = anact.convert_activations(
        plain,
        ["*", *included] if included else None,
        inplace=False,
        example=batch,
        solution="compromise",
        centre=False,
        bounds=(1.0, 1.0 + 1e-12),
    )
    model = conversion.model
    assert {c.reason for c in conversion.left} <= {"inplace", "never called"}
    (got, loss), (want, expected) = run(model, batch), run(plain, batch)
    loss.backward()
    expected.backward()
    tolerance = 1e-5 if case.rounds else 1e-9
    if any(name == "hardsigmoid" for name in conversion.replaced.values()):
        # PyTorch computes its derivative with a sixth in single precision.
        tolerance = max(tolerance, 1e-6)
    assert_near(dict(enumerate(got)), dict(enumerate(want)), tolerance)
    assert_near({0: loss.detach()}, {0: expected.detach()}, tolerance)
    shared = gradients(plain)
    got = {name: grad for name, grad in gradients(model).items() if name in shared}
    assert_near(got, shared, tolerance)
    state = model.state_dict()
    buffers = {
        name: value
        for name, value in plain.named_buffers()
        if name in state and value.is_floating_point()
    }
    assert_near({name: state[name] for name in buffers}, buffers, tolerance)


# ---- As it comes


@models
def test_a_converted_model(case):
    """It trains, and can be copied, saved, loaded, folded and reverted."""
    model, batch = make(case), batch_of(case)
    conversion = anact.convert_activations(model, example=batch)
    assert conversion.model is model
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        loss = run(model, batch)[1]
        loss.backward()
        optimizer.step()
        assert loss.isfinite()
    assert all(p.isfinite().all() for p in model.parameters())

    want = outputs(model.eval(), batch)
    assert all(t.isfinite().all() for t in want)

    twin = copy.deepcopy(model)
    assert_same_state(twin, model)
    assert_identical(outputs(twin, batch), want)

    loaded = make(case, seed=5)
    again = anact.convert_activations(loaded, example=batch)
    assert again.replaced == conversion.replaced
    loaded.load_state_dict(model.state_dict())
    assert_same_state(loaded, model)
    assert_identical(outputs(loaded.eval(), batch), want)

    folded = anact.fold(twin).model
    assert not normalized(folded)
    assert_near(
        dict(enumerate(outputs(folded, batch))),
        dict(enumerate(want)),
        1e-4 if case.rounds else 1e-9,
    )

    reverted = anact.revert_activations(model).model
    plain = make(case, seed=5)
    assert classes(reverted) == classes(plain)
    plain.load_state_dict(reverted.state_dict())
    assert_same_state(reverted, plain)
    for training in (False, True):
        reverted.train(training)
        plain.train(training)
        assert_identical(outputs(reverted, batch), outputs(plain, batch))
    assert_same_state(reverted, plain)


# ---- The report, and what the dispatcher sees

# Of each operator that is an activation, which ones it can be, or be part of.
OPERATORS = {
    "relu": {"relu", "relu2"},
    "hardtanh": {"relu6", "hardtanh", "hardsigmoid", "hardswish"},
    "sigmoid": {"sigmoid", "silu", "gelu", "logsigmoid"},
    "tanh": {"tanh", "gelu", "mish", "tanhshrink"},
    "softplus": {"softplus", "mish"},
    "elu": {"elu", "selu", "celu"},
    "log_sigmoid_forward": {"logsigmoid"},
    "erf": {"gelu"},
    "prelu_kernel": {"prelu"},
    "rrelu_with_noise": {"rrelu"},
}
UNAMBIGUOUS = """
    leaky_relu gelu silu mish hardswish hardsigmoid softshrink hardshrink threshold glu
    celu selu
"""
OPERATORS |= {name: {name} for name in UNAMBIGUOUS.split()}


class Seen(TorchDispatchMode):
    """Activations as operators of the dispatcher, and the modules that they run in."""

    def __init__(self, model):
        super().__init__()
        self.paths = {}
        for path, module in model.named_modules(remove_duplicate=False):
            self.paths.setdefault(id(module), []).append(path)
        self.stack = []
        # (operator, paths of the modules around it, from the innermost one)
        self.operators = []
        self.calls = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__.strip("_")
        if name in OPERATORS and not isinstance(self.stack[-1], nn.RNNBase):
            around = [m for m in reversed(self.stack) if id(m) in self.paths]
            self.operators.append((name, [self.paths[id(m)] for m in around]))
        return func(*args, **(kwargs or {}))

    @contextmanager
    def watching(self):
        def enter(module, args):
            self.stack.append(module)
            for path in self.paths.get(id(module), ()):
                self.calls[path] += 1

        def leave(module, args, output):
            assert self.stack.pop() is module

        handles = [
            nn.modules.module.register_module_forward_pre_hook(enter),
            nn.modules.module.register_module_forward_hook(leave),
        ]
        try:
            with self:
                yield
        finally:
            for handle in handles:
                handle.remove()


def is_reported(operator, around, conversion):
    """Whether the report knows of an operator that ran within these modules."""
    placed = conversion.replaced | {c.path: c.activation for c in conversion.left}
    known = placed.keys() | conversion.unsupported.keys()
    if any(path in known for paths in around for path in paths):
        return True
    named = [c.activation for c in conversion.functional if c.path in around[0]]
    for path, activation in placed.items():
        # A function that is an attribute
        if path.rpartition(".")[0] in around[0]:
            named.append(activation)
    return any(name.split("(")[0] in OPERATORS[operator] for name in named)


def ran_so(call, operators):
    """Whether a function that the report names is an operator that ran in that module."""
    return any(
        call.path in around[0] and call.activation.split("(")[0] in OPERATORS[operator]
        for operator, around in operators
    )


@modes
@models
def test_the_report_is_complete(case, training):
    """Every activation that ran is in it, and every ANAct runs as often as it says."""
    model, batch = make(case).train(training), batch_of(case)
    seen = Seen(model)
    with seen.watching():
        run(model, batch)
    conversion = anact.convert_activations(model, inplace=False, example=batch)
    for operator, around in seen.operators:
        assert is_reported(operator, around, conversion), (operator, around)
    for c in conversion.functional:
        assert ran_so(c, seen.operators), c
    repeated = {c.path: c.count for c in conversion.repeated}
    alone = {paths[0] for paths in seen.paths.values() if len(paths) == 1}
    for c in conversion.left:
        if c.path in alone:
            assert (seen.calls[c.path] == 0) == (c.reason == "never called"), c
            assert repeated.get(c.path, 1) == max(seen.calls[c.path], 1), c
    ran = Seen(conversion.model)
    with ran.watching():
        run(conversion.model, batch)
    for path in conversion.replaced:
        assert ran.calls[path] == repeated.get(path, 1), path
        if path in alone:
            assert ran.calls[path] == seen.calls[path], path
    write_row(case, training, conversion, seen)


def write_row(case, training, conversion, seen):
    file = os.environ.get("ANACT_MODELS_TABLE")
    if file:
        reasons = Counter(c.reason for c in conversion.left)
        left = " ".join(f"{n} {reason}" for reason, n in reasons.items())
        row = (
            case.package,
            case.name,
            "train" if training else "eval",
            len(seen.operators),
            len(conversion.replaced),
            left,
            len(conversion.functional),
            len(conversion.repeated),
            len(conversion.unsupported),
        )
        with open(file, "a") as table:
            print(*row, sep=",", file=table)
