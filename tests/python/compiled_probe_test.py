"""The variance probe in a compiled model, against the probe of the eager one."""

import copy
import io
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
                assert row[name] == pytest.approx(
                    value, rel=rel, abs=1e-12, nan_ok=True
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
