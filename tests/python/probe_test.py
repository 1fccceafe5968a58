"""The variance probe in Python, against plain PyTorch."""

import contextlib
import csv
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import anact


def spread(x: Tensor) -> tuple[float, float, float]:
    x = x.detach().double()
    return (
        x.mean().item(),
        x.var(unbiased=False).item(),
        x.square().mean().item(),
    )


def check(row: anact.LayerRow, of: str, x: Tensor) -> None:
    measured = [row[f"{of}_{what}"] for what in ("mean", "variance", "second_moment")]
    assert measured == pytest.approx(spread(x), rel=1e-5, abs=1e-12)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(12, 16)
        self.act = nn.SiLU(inplace=True)
        self.second = nn.Linear(16, 16)
        self.normalized = anact.NReLU()
        self.last = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.act(self.first(x))
        return self.last(h + self.normalized(self.second(h)))


def test_every_layer_is_measured_as_plain_pytorch_has_it() -> None:
    torch.manual_seed(0)
    model, x = Block(), torch.randn(32, 12)
    before = model.second.weight.detach().clone()
    with anact.VarianceProbe(model) as probe:
        model(x).square().sum().backward()
        torch.optim.SGD(model.parameters(), lr=0.01).step()
        probe.step()
    rows = {row["name"]: row for row in probe.records}
    assert list(rows) == ["first", "act", "second", "normalized", "last"]

    torch.manual_seed(0)
    twin = Block()
    a = F.linear(x, twin.first.weight, twin.first.bias)
    h = F.silu(a)
    b = F.linear(h, twin.second.weight, twin.second.bias)
    n = twin.normalized(b)
    factor = twin.normalized.factor()  # of the first batch's own statistics
    out = F.linear(h + n, twin.last.weight, twin.last.bias)
    tensors = [a, h, b, n, out]
    gradients = torch.autograd.grad(out.square().sum(), tensors)
    for row, output, gradient in zip(rows.values(), tensors, gradients):
        check(row, "output", output)
        check(row, "output_gradient", gradient)
    check(rows["act"], "input", a)
    check(rows["act"], "input_gradient", gradients[0])
    check(rows["second"], "input_gradient", gradients[1])
    assert rows["act"]["lambda"] == 1 and not rows["act"]["normalized"]
    assert rows["normalized"]["lambda"] == pytest.approx(factor, rel=1e-5)
    relu = rows["normalized"]
    rho = F.relu(b).square().mean() / b.var(unbiased=False)
    assert relu["forward_gain"] == pytest.approx(rho.item(), rel=1e-5)
    assert relu["backward_gain"] == pytest.approx((b > 0).double().mean().item())
    change = (model.second.weight - before).norm() / before.norm()
    assert rows["second"]["update_ratio"] == pytest.approx(change.item(), rel=1e-4)
    for row in rows.values():
        assert math.isfinite(float(row["predicted_second_moment"]))


def test_only_the_chosen_steps_and_not_the_evaluation_between() -> None:
    model = nn.Sequential(nn.Linear(4, 8), anact.NSwish(), nn.Linear(8, 2))
    x = torch.randn(16, 4)
    with anact.VarianceProbe(model, every=2) as probe:
        for _ in range(4):
            model(x).sum().backward()
            probe.step()
            with torch.no_grad():
                model(x)
    assert [row["step"] for row in probe.records] == [0, 0, 0, 2, 2, 2]
    assert not any(module._forward_hooks for module in model.modules())
    assert not any(module._forward_pre_hooks for module in model.modules())


def trained(watched: bool) -> tuple[dict[str, Tensor], list[anact.LayerRow]]:
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        anact.NSwish(),
        nn.Flatten(),
        nn.Linear(4 * 64, 5),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.randn(8, 3, 8, 8)
    with contextlib.ExitStack() as stack:
        probe = stack.enter_context(anact.VarianceProbe(model)) if watched else None
        for _ in range(3):
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
            if probe is not None:
                probe.step()
    return model.state_dict(), [] if probe is None else probe.records


def test_training_is_the_same_with_and_without() -> None:
    plain, _ = trained(False)
    watched, rows = trained(True)
    for name, value in plain.items():
        assert torch.equal(value, watched[name]), name
    kinds = [row["kind"] for row in rows][:4]
    assert kinds == ["convolution", "normalization", "activation", "linear"]


def test_files(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    with anact.VarianceProbe(model) as probe:
        model(torch.randn(16, 4)).sum().backward()
    probe.to_csv(tmp_path / "probe.csv")
    probe.to_html(tmp_path / "probe.html", settings={"batch": "16"})
    with open(tmp_path / "probe.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(probe.records[0])
    assert [row["name"] for row in rows] == ["0", "1", "2"]
    assert rows[1]["activation"] == "tanh" and rows[0]["alpha"] == ""
    assert "</html>" in (tmp_path / "probe.html").read_text()
    assert "tanh" in probe.table()
    with pytest.raises(OSError):
        probe.to_csv(tmp_path / "missing" / "probe.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "probe.csv",
        "probe.html",
    ]


def test_misuse_is_refused() -> None:
    model = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="every is 0"):
        anact.VarianceProbe(model, every=0)
    probe = anact.VarianceProbe(model)
    with pytest.raises(RuntimeError, match="before its context"):
        probe.table()
    with pytest.raises(RuntimeError, match="outside of the context"):
        probe.step()
    with probe, pytest.raises(RuntimeError, match="another probe"):
        anact.VarianceProbe(model).__enter__()
    with probe:
        model(torch.randn(3, 2)).sum().backward()
    assert len(probe.records) == 1
