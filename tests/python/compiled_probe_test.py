"""The variance probe in a compiled model, against the probe of the eager one."""

import contextlib
import copy
import math
import os
import warnings

# A graph of an earlier definition of the operators must not come back from the disk.
os.environ["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.utils.checkpoint import checkpoint

import anact
from anact import _probe_operators as operators

torch.set_num_threads(1)

backends = pytest.mark.parametrize(
    "backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)]
)

NUMBERS = [name for name, is_number in anact._C.probe_columns() if is_number]
PREDICTIONS = [
    f"{how}_{what}"
    for how in ("predicted", "gaussian")
    for what in ("second_moment", "gradient")
]


@pytest.fixture(autouse=True)
def fresh_dynamo() -> None:
    torch._dynamo.reset()


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(12, 16),
        nn.SiLU(inplace=True),
        nn.Linear(16, 16, bias=False),
        anact.NReLU(),
        nn.Linear(16, 16),
        nn.PReLU(),
        nn.Linear(16, 3),
    )


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 8, 3, groups=2),
        anact.NSwish(solution="compromise"),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(72, 5),
    )


class Residual(nn.Module):
    """Adds in place, and uses what its layers take in again."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv1d(4, 6, 3, padding=1)
        self.conv = nn.Conv1d(6, 6, 3, padding=1)
        self.act = nn.ReLU(inplace=True)
        self.second = nn.Conv1d(6, 6, 1)
        self.normalized = anact.ANAct("gelu")
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        out = self.conv(x)
        out = self.second(self.act(out))
        out += x
        out = self.normalized(out)
        return self.head(out.mean(-1))


def converted() -> nn.Module:
    model = nn.Sequential(
        *(
            nn.Sequential(nn.Linear(12, 12), nn.BatchNorm1d(12), act)
            for act in (nn.Tanh(), nn.ELU(0.7), nn.Hardswish())
        ),
        nn.Linear(12, 4),
    )
    anact.convert_activations(model)
    return model


MODELS = {
    "mlp": (mlp, (32, 12)),
    "cnn": (cnn, (8, 3, 8, 8)),
    "residual": (Residual, (8, 4, 10)),
    "converted": (converted, (16, 12)),
}


def make(what: str, dtype: torch.dtype = torch.float32) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    build, shape = MODELS[what]
    return build().to(dtype), torch.randn(shape, dtype=dtype)


def train(
    model: nn.Module,
    call: nn.Module,
    batch: Tensor,
    probe: anact.VarianceProbe,
    steps: int,
    passes: int = 1,
) -> list[anact.LayerRow]:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    with probe:
        for step in range(steps):
            optimizer.zero_grad()
            for part in range(passes):
                x = batch * (1 + 0.1 * step + 0.2 * part)
                call(x).square().mean().backward()
            optimizer.step()
            probe.step()
    return probe.records


def assert_same(
    got: list[anact.LayerRow], want: list[anact.LayerRow], rel: float
) -> None:
    assert [row["name"] for row in got] == [row["name"] for row in want]
    for row, expected in zip(got, want, strict=True):
        assert list(row) == list(expected)
        for name, value in expected.items():
            where = (row["step"], row["name"], name)
            if name in PREDICTIONS:
                assert math.isnan(row[name]), where
            elif name == "unpredicted":
                assert "compiled model" in row[name], where
            elif name in NUMBERS:
                least = 1e-12
                if name.endswith("_mean"):  # which may be 0 but for rounding
                    square = float(expected[name.replace("mean", "second_moment")])
                    least = rel * math.sqrt(square) if square > 0 else least
                if name == "alpha":  # behind it, BatchNorm leaves it a gradient of 0
                    least = 1e-7
                assert row[name] == pytest.approx(
                    value, rel=rel, abs=least, nan_ok=True
                ), where
            else:
                assert type(row[name]) is type(value), where
                assert row[name] == value, where


@backends
@pytest.mark.parametrize("what", MODELS)
def test_rows_are_those_of_the_eager_probe(what: str, backend: str) -> None:
    model, batch = make(what)
    if what == "cnn":
        model = model.to(memory_format=torch.channels_last)
        batch = batch.to(memory_format=torch.channels_last)
    twin = copy.deepcopy(model)
    want = train(twin, twin, batch, anact.VarianceProbe(twin, every=2), 5)

    counter = CompileCounterWithBackend(backend)
    probe = anact.VarianceProbe(model, every=2, compiled=True)
    compiled = torch.compile(model, fullgraph=True, backend=counter)
    got = train(model, compiled, batch, probe, 5)
    assert {row["step"] for row in got} == {0, 2, 4}
    assert_same(got, want, 2e-5)
    # The flag is no reason to compile anew.
    assert counter.frame_count == 1
    for ours, other in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-4, atol=1e-6)


def test_uncompiled_it_is_the_same_and_passes_are_merged() -> None:
    model, batch = make("cnn")
    twin = copy.deepcopy(model)
    want = train(twin, twin, batch, anact.VarianceProbe(twin), 2, passes=2)
    # Which passes of a layer are merged is told by backward passes; here all are.
    got = train(model, model, batch, anact.VarianceProbe(model, compiled=True), 2, 2)
    assert_same(got, want, 2e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types(dtype: torch.dtype) -> None:
    model, batch = make("mlp", dtype)
    twin = copy.deepcopy(model)
    want = train(twin, twin, batch, anact.VarianceProbe(twin), 1)
    probe = anact.VarianceProbe(model, compiled=True)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    got = train(model, compiled, batch, probe, 1)
    assert_same(got, want, 1e-9 if dtype == torch.float64 else 1e-2)


def test_dead_units() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 40), nn.ReLU(), nn.Linear(40, 3))
    with torch.no_grad():
        model[0].bias[:7] = -50  # dead
        model[0].bias[7:14] = -2  # which live in a few samples of many
    batch = torch.randn(300, 5)
    twin = copy.deepcopy(model)
    want = train(twin, twin, batch, anact.VarianceProbe(twin), 1)
    got = train(model, model, batch, anact.VarianceProbe(model, compiled=True), 1)
    assert got[1]["dead_share"] == want[1]["dead_share"]
    assert 7 / 40 <= float(got[1]["dead_share"]) < 14 / 40


class Checkpointed(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(checkpoint(self.body, x, use_reentrant=False))


@pytest.mark.parametrize(
    "backend", ["eager", "aot_eager", pytest.param("inductor", marks=pytest.mark.slow)]
)
def test_activation_checkpointing(backend: str) -> None:
    """What runs twice has the same moments twice."""
    body, batch = make("mlp")
    model = Checkpointed(body)
    twin = copy.deepcopy(model)
    want = train(twin, twin, batch, anact.VarianceProbe(twin), 2)
    probe = anact.VarianceProbe(model, compiled=True)
    call = torch.compile(model, fullgraph=True, backend=backend)
    got = train(model, model if backend == "eager" else call, batch, probe, 2)
    assert_same(got, want, 2e-5)


def test_evaluation_is_left_alone_unless_it_has_gradients() -> None:
    model, batch = make("converted")
    twin = copy.deepcopy(model)
    probe = anact.VarianceProbe(model, compiled=True)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    eager = anact.VarianceProbe(twin)
    for of, call, under in ((model, compiled, probe), (twin, twin, eager)):
        with under:
            call(batch).square().mean().backward()
            of.eval()
            with torch.no_grad():
                call(100 * batch)
            with torch.inference_mode():
                call(100 * batch)
            under.step()
            call(2 * batch).square().mean().backward()
            of.train()
    assert len(probe.records) == 20
    assert_same(probe.records, eager.records, 2e-5)


def test_accumulated_hooks_of_leaves_are_gone() -> None:
    layer = nn.Linear(3, 3)
    x = torch.randn(4, 3, requires_grad=True)
    with anact.VarianceProbe(layer, compiled=True) as probe:
        for _ in range(3):
            layer(x).square().mean().backward()
            probe.step()
    assert not x._backward_hooks
    values = [row["input_gradient_second_moment"] for row in probe.records]
    assert values == pytest.approx([values[0]] * 3)


def test_the_model_is_left_as_it_was() -> None:
    model, batch = make("cnn")
    keys = list(model.state_dict())
    probe = anact.VarianceProbe(model, compiled=True)
    assert list(model.state_dict()) == keys
    assert len(list(model.buffers())) == len([k for k in keys if "num_b" in k]) + 6
    twin = copy.deepcopy(model)
    with probe:
        twin(batch).sum().backward()
    assert not probe.records
    assert any(module._forward_hooks for module in twin.modules())

    with probe:
        model(batch).sum().backward()
    assert len(probe.records) == 6
    probe.close()
    for module in model.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks
    # Entered once more, it measures anew.
    with probe:
        model(batch).sum().backward()
    assert len(probe.records) == 6


def test_a_model_is_compiled_anew_when_the_operators_go() -> None:
    model, batch = make("residual")
    counter = CompileCounterWithBackend("aot_eager")
    probe = anact.VarianceProbe(model, compiled=True)
    model.compile(fullgraph=True, backend=counter)
    graphs = []
    for entered in (False, True, False, False):
        with probe if entered else contextlib.nullcontext():
            model(batch).square().mean().backward()
        graphs.append(counter.frame_count)
        assert any("probe" in str(node) for node in counter.graphs[-1].graph.nodes) == (
            len(graphs) < 3
        )
    assert graphs == [1, 1, 2, 2]
    assert len(probe.records) == 6


class Broken(Residual):
    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(self.stem(x))
        torch._dynamo.graph_break()
        return self.head(self.act(x).mean(-1))


@pytest.mark.parametrize(
    "backend", ["eager", pytest.param("inductor", marks=pytest.mark.slow)]
)
def test_several_graphs(backend: str) -> None:
    torch.manual_seed(0)
    model, batch = Broken(), torch.randn(8, 4, 10)
    twin = copy.deepcopy(model)
    want = train(twin, twin, batch, anact.VarianceProbe(twin), 2)
    probe = anact.VarianceProbe(model, compiled=True)
    model.compile(backend=backend)
    assert_same(train(model, model, batch, probe, 2), want, 2e-5)


@pytest.mark.parametrize(
    "backend", ["eager", pytest.param("inductor", marks=pytest.mark.slow)]
)
def test_two_passes_before_a_backward_one(backend: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.SiLU(), nn.Linear(5, 2))
    left, right = torch.randn(6, 4), torch.randn(6, 4)
    twin = copy.deepcopy(model)
    with anact.VarianceProbe(twin) as eager:
        twin(torch.cat([left, right])).square().sum().backward()
    with anact.VarianceProbe(model, compiled=True) as probe:
        compiled = torch.compile(model, fullgraph=True, backend=backend)
        first, second = compiled(left), compiled(right)
        (first.square().sum() + second.square().sum()).backward()
    assert_same(probe.records, eager.records, 2e-5)


def test_copies_after_compilation(tmp_path) -> None:
    model, batch = make("residual")
    with anact.VarianceProbe(model, compiled=True) as probe:
        model.compile(fullgraph=True, backend="aot_eager")
        model(batch)
        twin = copy.deepcopy(model)
        torch.save(model, tmp_path / "model.pt")
        loaded = torch.load(tmp_path / "model.pt", weights_only=False)
        for other in (twin, loaded):
            other(100 * batch).sum().backward()
    assert probe.records[0]["input_second_moment"] == pytest.approx(
        batch.square().mean().item(), rel=1e-5
    )


def test_the_chosen_layers() -> None:
    model, batch = make("converted")
    for choice, names in (
        ({"include": "1.*"}, ["1.0", "1.1", "1.2"]),
        ({"include": nn.Linear, "exclude": "3"}, ["0.0", "1.0", "2.0"]),
        ({"include": "tanh"}, ["0.2"]),
    ):
        with anact.VarianceProbe(model, compiled=True, **choice) as probe:
            model(batch).sum().backward()
        assert [row["name"] for row in probe.records] == names
    with pytest.raises(ValueError, match="matches no module"):
        anact.VarianceProbe(model, compiled=True, include="nothing")


def test_sinks(tmp_path) -> None:
    model, batch = make("mlp")
    logged: list[dict[str, float]] = []
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    # Nothing has been compiled as long as nothing has run.
    with anact.VarianceProbe(compiled, every=2, compiled=True) as probe:
        for _ in range(4):
            compiled(batch).square().mean().backward()
            probe.step()
            probe.log(logged.append)
    assert [values["anact/step"] for values in logged] == [0, 2]
    assert logged[0]["anact/3/lambda"] == probe.records[3]["lambda"]
    assert "anact/3/predicted_gradient" not in logged[0]
    probe.to_csv(tmp_path / "probe.csv")
    probe.to_html(tmp_path / "probe.html")
    assert (tmp_path / "probe.csv").read_text().count("\n") == 15
    assert "compiled model" in (tmp_path / "probe.html").read_text()
    assert "silu" in probe.table()


def test_two_probes_at_once() -> None:
    model, batch = make("mlp")
    first = anact.VarianceProbe(model, compiled=True, include="0")
    second = anact.VarianceProbe(model, compiled=True, predict=False)
    twin = copy.deepcopy(model)
    with anact.VarianceProbe(twin) as alone:
        twin(batch).sum().backward()
    with first, second, anact.VarianceProbe(model) as eager:
        model(batch).sum().backward()
    assert len(first.records) == 1
    assert first.records[0]["output_mean"] == second.records[0]["output_mean"]
    assert second.records[0]["unpredicted"] == ""
    for ours, other in zip(second.records, eager.records, strict=True):
        assert ours["output_mean"] == pytest.approx(other["output_mean"])
    # The operators are nothing to the predictions.
    for ours, other in zip(eager.records, alone.records, strict=True):
        assert ours == pytest.approx(other, nan_ok=True)


def test_what_cannot_be_done_is_said() -> None:
    model, batch = make("mlp")
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    compiled(batch)
    with anact.VarianceProbe(model, compiled=True) as probe:
        compiled(batch).sum().backward()
        probe.step()
    with pytest.warns(UserWarning, match="compiled and ran before its probe"):
        assert probe.records == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert probe.records == []

    with pytest.raises(ValueError, match="on cpu, meta; compiled=True needs"):
        anact.VarianceProbe(
            nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2, device="meta")),
            compiled=True,
        )
    with pytest.raises(ValueError, match="'0.weight' has no shape yet"):
        anact.VarianceProbe(nn.Sequential(nn.LazyLinear(2)), compiled=True)
    probe = anact.VarianceProbe(model, compiled=True)
    with pytest.raises(RuntimeError, match="before its context"):
        probe.table()
    with pytest.raises(RuntimeError, match="outside of the context"):
        probe.step()


def test_an_activation_of_a_users_own_has_no_gains() -> None:
    model = nn.Sequential(nn.Linear(4, 4), anact.ANAct(lambda x: x * x.sigmoid()))
    with anact.VarianceProbe(model, compiled=True) as probe:
        model(torch.randn(8, 4)).sum().backward()
    row = probe.records[1]
    assert "lambda" in str(row["activation"]) and row["normalized"] is True
    assert row["alpha"] == 0 and math.isnan(float(row["lambda"]))
    assert math.isnan(float(row["forward_gain"]))
    assert math.isfinite(float(row["output_second_moment"]))


def test_empty_and_infinite_inputs() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    with anact.VarianceProbe(model, compiled=True) as probe:
        model(torch.zeros(0, 4)).sum().backward()
        probe.step()
        model(torch.full((3, 4), math.inf)).sum().backward()
    empty, infinite = probe.records[:2], probe.records[2:]
    for row in empty:
        assert math.isnan(float(row["output_mean"]))
        assert math.isnan(float(row["dead_share"]))
    assert not math.isfinite(float(infinite[0]["input_second_moment"]))


def test_where_the_host_does_not_read_the_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on an accelerator: nothing is launched for a flag that the host has not set, and
    what a graph has recorded keeps nothing while it is clear."""
    due = torch.zeros((), dtype=torch.bool)
    moments = operators.make_moments(2, due.device)
    x = torch.randn(5, 3)
    write = torch.ops.anact.probe_moments_.default
    monkeypatch.setattr(operators, "_is_due", lambda due: True)
    before = moments.clone()
    write(x, due, moments, 0, "silu", [], 1)
    assert torch.equal(moments.nan_to_num(-1), before.nan_to_num(-1))
    due.fill_(True)
    write(x, due, moments, 1, "silu", [], 1)
    write(x, due, moments, 0, "identity", [], -1)
    assert operators.column(moments, "turn").tolist() == [2, 1]
    assert operators.column(moments, "count").tolist() == [15, 15]
