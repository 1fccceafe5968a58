"""Export: programs of plain operators that need no anact where they run."""

import copy
import io
import os

# A graph of an earlier definition of the operators must not come back from the disk.
os.environ["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"

import pytest
import torch
from isolation import run_without_anact
from torch import nn

from anact import _C, ANAct, fold, revert_activations

torch.set_num_threads(1)

strictness = pytest.mark.parametrize(
    "strict", [False, True], ids=["not_strict", "strict"]
)

OPTIONS = {
    "default": {},
    "paper": {"solution": "compromise", "target": "input"},
    "unit": {"target": "unit", "solution": "geometric"},
    "exact_unit": {"target": "unit", "solution": "exact"},
    "not_centred": {"solution": "compromise", "centre": False},
    "output_gain": {"gain": "output", "solution": "forward"},
    "bounds": {"bounds": (0.9, 1.1)},
}


def make_model(activation="silu", training=False, **options):
    """With statistics that are neither the first ones nor a single batch's."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(9, 17), ANAct(activation, **options), nn.Linear(17, 3)
    )
    for step in range(3):
        model(draw(step))
    with torch.no_grad():
        model[1].alpha.fill_(0.4)
    return model.train(training)


WITH_PARAMETERS = [
    "leaky_relu(negative_slope=0.2)",
    "elu(alpha=0.5)",
    "celu(alpha=2)",
    "softplus(beta=2, threshold=5)",
    "hardtanh(min_val=-2, max_val=0.5)",
    "softshrink(lambd=0.25)",
]

# PyTorch writes logsigmoid into ONNX as log(sigmoid(x)), which loses digits below 0.
LOOSER = {"logsigmoid": 1e-3}


class Catalogue(nn.Module):
    """Every activation, of one input."""

    def __init__(self):
        super().__init__()
        names = [*_C.activations(), *WITH_PARAMETERS]
        self.activations = nn.ModuleList(ANAct(name) for name in names)
        self(draw(1))
        self.eval()

    def forward(self, x):
        return tuple(activation(x) for activation in self.activations)


def assert_same_catalogue(got, want, tolerance=1e-5):
    names = [*_C.activations(), *WITH_PARAMETERS]
    assert len(got) == len(want) == len(names)
    for ours, theirs, name in zip(got, want, names):
        assert_close(ours, theirs.detach(), LOOSER.get(name, tolerance), name)


def draw(step=0, size=7):
    generator = torch.Generator().manual_seed(step)
    return torch.randn(size, 9, generator=generator) * (1 + step)


def export(model, strict=False, size=7):
    shapes = ({0: torch.export.Dim("batch", min=2)},)
    return torch.export.export(
        model, (draw(0, size),), strict=strict, dynamic_shapes=shapes
    )


def operators(program):
    return {
        str(node.target) for node in program.graph.nodes if node.op == "call_function"
    }


def assert_close(got, want, tolerance=1e-5, name=""):
    got = torch.as_tensor(got)
    assert got.shape == want.shape and got.dtype == want.dtype
    difference = (got - want).abs().max().item()
    assert difference <= tolerance * max(1.0, want.abs().max().item()), name


# ---- torch.export


@strictness
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_program_of_evaluation(strict, options):
    model = make_model(**options)
    before = copy.deepcopy(model.state_dict())
    program = export(model, strict)
    plain = program.run_decompositions()
    assert not [name for name in operators(plain) if "anact" in name]
    for size in (7, 2, 33):
        x = draw(1, size)
        assert_close(program.module()(x), model(x), 1e-6)
        assert_close(plain.module()(x), model(x), 1e-6)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_decomposed_program_of_the_catalogue():
    model = Catalogue()
    plain = export(model).run_decompositions()
    assert not [name for name in operators(plain) if "anact" in name]
    assert_same_catalogue(plain.module()(draw(1)), model(draw(1)), 1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
def test_program_in_another_type(dtype):
    model = make_model().to(dtype)
    x = draw(1).to(dtype)
    plain = torch.export.export(model, (x,)).run_decompositions()
    tolerance = 0.02 if dtype == torch.bfloat16 else 1e-14
    assert_close(plain.module()(x), model(x), tolerance)


def test_decomposed_program_runs_without_anact(tmp_path):
    model = make_model(solution="exact")
    torch.export.save(export(model).run_decompositions(), tmp_path / "model.pt2")
    x = draw(1, 12)
    torch.save((x, model(x).detach()), tmp_path / "case.pt")
    run_without_anact(
        """
program = torch.export.load(sys.argv[1])
x, want = torch.load(sys.argv[2])
torch.testing.assert_close(program.module()(x), want, rtol=1e-5, atol=1e-5)
""",
        tmp_path / "model.pt2",
        tmp_path / "case.pt",
    )


@strictness
def test_saved_program_loads_where_anact_is(strict, tmp_path):
    model = make_model()
    torch.export.save(export(model, strict), tmp_path / "model.pt2")
    program = torch.export.load(tmp_path / "model.pt2")
    assert_close(program.module()(draw(1)), model(draw(1)), 1e-6)


@strictness
def test_program_of_training_updates_the_statistics(strict):
    model = make_model(training=True)
    reference = copy.deepcopy(model)
    program = export(model, strict)
    assert "anact.step.default" in operators(program)
    # Exporting ran nothing.
    for name, value in reference.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
    module = program.module()
    for step in range(3):
        x = draw(step, 5 + step)
        y, want = module(x), reference(x)
        assert_close(y, want, 1e-6)
        module.zero_grad()
        reference.zero_grad()
        y.sum().backward()
        want.sum().backward()
        grads = dict(module.named_parameters())
        for name, parameter in reference.named_parameters():
            assert_close(grads[name].grad, parameter.grad, 1e-6)
        buffers = dict(module.named_buffers())
        for name, buffer in reference.named_buffers():
            torch.testing.assert_close(buffers[name], buffer)


@strictness
def test_decomposed_program_of_training_updates_the_statistics(strict):
    model = make_model(training=True)
    reference = copy.deepcopy(model)
    module = export(model, strict).run_decompositions().module()
    for step in range(3):
        assert_close(module(draw(step)), reference(draw(step)), 1e-6)
        buffers = dict(module.named_buffers())
        for name, buffer in reference.named_buffers():
            torch.testing.assert_close(buffers[name], buffer)


def test_draft_export_finds_nothing_to_report():
    report = torch.export.draft_export(make_model(), (draw(),))._report
    assert report.successful()


# ---- ONNX


def to_onnx(model, size=7):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    shapes = ({0: torch.export.Dim("batch", min=2)},)
    program = torch.onnx.export(
        model, (draw(0, size),), dynamo=True, dynamic_shapes=shapes, verbose=False
    )
    assert {node.domain for node in program.model.graph} == {""}
    assert set(program.model.opset_imports) == {""}
    assert not program.model.functions
    file = io.BytesIO()
    program.save(file)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(file.getvalue(), options)
    (argument,) = session.get_inputs()
    return lambda x: session.run(None, {argument.name: x.numpy()})


ignore_onnx = pytest.mark.filterwarnings(
    "ignore:.*:DeprecationWarning", "ignore:.*:FutureWarning"
)


@ignore_onnx
def test_onnx_of_the_catalogue():
    model = Catalogue()
    run = to_onnx(model)
    for size in (7, 2, 31):
        assert_same_catalogue(run(draw(3, size)), model(draw(3, size)))


@ignore_onnx
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_onnx_of_each_option(options):
    model = make_model("elu(alpha=0.5)", **options)
    (y,) = to_onnx(model)(draw(1, 12))
    assert_close(y, model(draw(1, 12)).detach())


@ignore_onnx
def test_onnx_of_an_image_network():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), ANAct("mish"), nn.Flatten(), ANAct("hardswish")
    )
    images = torch.randn(5, 3, 8, 8)
    model(images)
    model.eval()
    onnxruntime = pytest.importorskip("onnxruntime")
    file = io.BytesIO()
    torch.onnx.export(model, (images,), dynamo=True, verbose=False).save(file)
    session = onnxruntime.InferenceSession(file.getvalue())
    got = session.run(None, {session.get_inputs()[0].name: images.numpy()})[0]
    assert_close(got, model(images).detach())


# ---- Folded first


def make_mlp():
    torch.manual_seed(0)
    layers = []
    for _ in range(10):
        layers += [nn.Linear(32, 32), ANAct("silu")]
    model = nn.Sequential(*layers, nn.Linear(32, 10))
    for _ in range(3):
        model(torch.randn(16, 32))
    return model.eval()


def count_aten(model, x):
    program = torch.export.export(model, (x,)).run_decompositions()
    assert not [name for name in operators(program) if "anact" in name]
    return sum(node.op == "call_function" for node in program.graph.nodes)


def test_a_folded_model_exports_as_the_plain_one():
    model, x = make_mlp(), torch.randn(8, 32)
    unfolded = count_aten(model, x)
    folded = count_aten(fold(model, inplace=False).model, x)
    plain = count_aten(revert_activations(model).model, x)
    assert folded == plain and unfolded > 5 * folded


@pytest.mark.slow
@ignore_onnx
def test_a_folded_model_is_the_plain_one_in_onnx():
    pytest.importorskip("onnxscript")

    def count(model):
        program = torch.onnx.export(
            model, (torch.randn(8, 32),), dynamo=True, verbose=False
        )
        return len(list(program.model.graph))

    model = make_mlp()
    unfolded = count(model)
    folded = count(fold(model, inplace=False).model)
    assert folded == count(revert_activations(model).model) < unfolded


# ---- AOTInductor


@pytest.mark.slow
def test_aotinductor_runs_without_anact(tmp_path):
    model = make_model(solution="exact", target="unit")
    path = torch._inductor.aoti_compile_and_package(
        export(model), package_path=str(tmp_path / "model.pt2")
    )
    cases = [(draw(1, size), model(draw(1, size)).detach()) for size in (7, 2, 33)]
    torch.save(cases, tmp_path / "cases.pt")
    run_without_anact(
        """
model = torch._inductor.aoti_load_package(sys.argv[1])
for x, want in torch.load(sys.argv[2]):
    torch.testing.assert_close(model(x), want, rtol=1e-5, atol=1e-5)
""",
        path,
        tmp_path / "cases.pt",
    )
