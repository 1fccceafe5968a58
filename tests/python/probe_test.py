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

torch.set_num_threads(1)


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


def by_hand(layer: nn.Module, x: Tensor) -> float:
    """What the theory says of a linear layer by its definition."""
    weight, bias = layer.weight.detach(), layer.bias.detach()
    fan_in = weight[0].numel()
    square = [t.double().square().mean().item() for t in (weight, x.detach(), bias)]
    return fan_in * square[0] * square[1] + square[2]


def attention(x: Tensor, **options: object) -> Tensor:
    heads = x.view(7, 9, 2, 16).transpose(1, 2)
    y = F.scaled_dot_product_attention(heads, heads, heads, **options)
    return y.transpose(1, 2).reshape(7, 9, 32)


BETWEEN = {
    "attention": (nn.Linear, attention),
    "causal": (nn.Linear, lambda x: attention(x, is_causal=True)),
    "masked": (
        nn.Linear,
        lambda x: attention(x, attn_mask=torch.full((9, 9), -math.inf).triu(1)),
    ),
    "bilinear": (
        nn.Conv2d,
        lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
    ),
    "nearest": (nn.Conv2d, lambda x: F.interpolate(x, size=(21, 30))),
    "reflected": (nn.Conv2d, lambda x: F.pad(x, (1, 2, 3, 4), mode="reflect")),
    "lstm": (nn.Linear, lambda x: nn.LSTM(32, 32, batch_first=True)(x)[0]),
    "gru": (nn.Linear, lambda x: nn.GRU(32, 32, batch_first=True)(x)[0]),
    "norm": (nn.Linear, lambda x: F.layer_norm(x, (32,))),
    "softmax": (nn.Linear, lambda x: 10 * torch.softmax(x, -1)),
    "no_values": (nn.Linear, lambda x: torch.where(x > 0, x, -math.inf).relu()),
}


@pytest.mark.parametrize("what", BETWEEN)
def test_predictions_begin_anew_behind_what_is_not_known(what: str) -> None:
    make, between = BETWEEN[what]
    torch.manual_seed(0)
    if make is nn.Linear:
        first, second, x = nn.Linear(32, 32), nn.Linear(32, 64), torch.randn(7, 9, 32)
    else:
        first, second = nn.Conv2d(32, 48, 1), nn.Conv2d(48, 64, 1)
        x = torch.randn(3, 32, 11, 13)
    model = nn.ModuleList([first, second])
    seen = []
    for _ in range(3):
        torch.manual_seed(1)
        with anact.VarianceProbe(model) as probe:
            a = first(x)
            # Freed memory that is full of NaN, for kernels that ask for a buffer.
            [
                torch.full((a.numel() * n,), math.nan)
                for n in (1, 2, 4)
                for _ in "12345678"
            ]
            b = between(a)
            second(b).square().mean().backward()
        rows = {row["name"]: row for row in probe.records if row["name"] in "01"}
        assert rows["0"]["predicted_second_moment"] == pytest.approx(
            by_hand(first, x), rel=1e-5
        )
        assert rows["1"]["predicted_second_moment"] == pytest.approx(
            by_hand(second, b), rel=1e-5
        )
        for row in rows.values():
            assert row["unpredicted"] == ""
            ratio = float(row["predicted_second_moment"]) / float(
                row["output_second_moment"]
            )
            assert 1 / 1.6 < ratio < 1.6
        seen.append([row["predicted_second_moment"] for row in rows.values()])
    assert seen[0] == seen[1] == seen[2]


def test_an_encoder_layer_is_predicted() -> None:
    torch.manual_seed(0)
    model = nn.TransformerEncoderLayer(64, 4, 128, 0.0, batch_first=True)
    seen = []
    for _ in range(3):
        with anact.VarianceProbe(model) as probe:
            model(torch.ones(5, 7, 1) * torch.linspace(-2, 2, 64)).sum().backward()
        seen.append(
            [(row["name"], row["predicted_second_moment"]) for row in probe.records]
        )
    names = ["self_attn", "self_attn.out_proj", "linear1", "linear1/relu", "linear2"]
    assert [name for name, _ in seen[0]] == names
    assert seen[0] == seen[1] == seen[2]
    for row in probe.records:
        ratio = float(row["predicted_second_moment"]) / float(
            row["output_second_moment"]
        )
        assert 0.4 < ratio < 2.5, row["name"]


SIDE = {
    "zeros": lambda x: torch.zeros_like(x) + x,
    "empty": lambda x: (torch.empty(0) + torch.empty(0), x)[1],
    "mask": lambda x: (torch.zeros(4, 4) + torch.full((4, 4), -math.inf), x)[1],
}


@pytest.mark.parametrize("what", SIDE)
def test_a_tensor_beside_the_network_does_not_mislead(what: str) -> None:
    predicted = []
    for before in (lambda x: x, SIDE[what]):
        torch.manual_seed(0)
        body = nn.Sequential(nn.Linear(16, 16), anact.NSwish(), nn.Linear(16, 16))
        with anact.VarianceProbe(body) as probe:
            body(before(torch.randn(256, 16))).square().mean().backward()
        predicted.append([row["predicted_second_moment"] for row in probe.records])
    assert predicted[0] == pytest.approx(predicted[1], rel=1e-6)


def test_a_prediction_that_is_missing_says_why(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 8), nn.PReLU()])
    first, second, learnt = model
    with anact.VarianceProbe(model) as probe:
        a = first(torch.full((4, 8), math.inf))
        b = second(a.nan_to_num(1, 1, 1))
        learnt(b).sum().backward()
    why = {row["name"]: row["unpredicted"] for row in probe.records}
    assert why["0"] == "second moment: the input is not finite"
    assert why["1"] == ""
    assert why["2"] == "the activation has a learnt parameter"
    assert probe.records[1]["predicted_second_moment"] == pytest.approx(
        by_hand(second, torch.ones(8)), rel=1e-5
    )
    probe.to_csv(tmp_path / "probe.csv")
    probe.to_html(tmp_path / "probe.html")
    with open(tmp_path / "probe.csv", newline="") as file:
        assert [row["unpredicted"] for row in csv.DictReader(file)] == list(
            why.values()
        )
    for text in ((tmp_path / "probe.html").read_text(), probe.table()):
        assert "not predicted" in text and "the input is not finite" in text


class Functions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.SiLU(), nn.Linear(8, 8))
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.body(x)))


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ({"include": "body.*"}, ["body.0", "body.1", "body.2", "body.2/relu"]),
        ({"include": nn.Linear}, ["body.0", "body.2", "head"]),
        ({"include": ["relu", nn.SiLU]}, ["body.1", "body.2/relu"]),
        ({"include": lambda path, module: path == "head"}, ["head"]),
        ({"exclude": ["silu", "*.2"]}, ["body.0", "body.2/relu", "head"]),
        ({"include": nn.Linear, "exclude": "body.*"}, ["head"]),
        ({"include": []}, []),
        ({"include": "*/relu"}, ["body.2/relu"]),
    ],
)
def test_the_chosen_layers(choice: dict[str, object], names: list[str]) -> None:
    model = Functions()
    with anact.VarianceProbe(model, **choice) as probe:
        model(torch.randn(16, 4)).square().sum().backward()
    assert [row["name"] for row in probe.records] == names
    for row in probe.records:
        assert math.isfinite(float(row["predicted_second_moment"]))


def test_choices_that_mean_nothing_are_refused() -> None:
    model = Functions()
    for choice in ("bdy.*", nn.Conv2d):
        with pytest.raises(ValueError, match="matches no module; there are 'body'"):
            anact.VarianceProbe(model, include=choice)
        with pytest.raises(ValueError, match="exclude .* matches no module"):
            anact.VarianceProbe(model, exclude=choice)
    with pytest.raises(TypeError, match="include takes globs"):
        anact.VarianceProbe(model, include=[3])

    def fails(path: str, module: nn.Module) -> bool:
        raise KeyError(path)

    with pytest.raises(KeyError):
        anact.VarianceProbe(model, include=fails)


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
