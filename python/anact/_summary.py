"""What every ANAct of a model has measured and makes of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from torch import nn

from anact._frames import frame
from anact._options import name_of
from anact.modules import ANAct

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class ActivationSummary:
    """An ANAct in evaluation: y = (λ + 0.3·tanh α)·(f(x) − μ) + b.

    Attributes:
        name: its path in the model.
        activation: f.
        factor: λ.
        mean: μ; 0 with ``centre=False``.
        alpha: α.
        shift: b.
        output_mean, output_square, input_variance, backward_gain: the running statistics.
        num_batches_tracked: how many batches entered them.
        num_batches_skipped: how many were refused.
        warnings: what is wrong with it, in words.
    """

    name: str
    activation: str
    factor: float
    mean: float
    alpha: float
    shift: float
    output_mean: float
    output_square: float
    input_variance: float
    backward_gain: float
    num_batches_tracked: int
    num_batches_skipped: int
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Summary:
    """Every ANAct of a model; printed, a table and what to look at in it.

    Attributes:
        layers: an :class:`ActivationSummary` for each, in the model's order.
    """

    layers: tuple[ActivationSummary, ...]

    @property
    def warnings(self) -> dict[str, tuple[str, ...]]:
        """What is wrong, by the layer's path."""
        return {row.name: row.warnings for row in self.layers if row.warnings}

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """The layers by their paths, as numbers and text."""
        rows = [asdict(layer) for layer in self.layers]
        return {row.pop("name"): row for row in rows}

    def to_dataframe(self) -> pandas.DataFrame:
        """A row for each layer, with its path as the index; needs pandas.

        Raises:
            ImportError: where pandas is not installed.
        """
        columns = list(ActivationSummary.__dataclass_fields__)
        rows = [asdict(layer) for layer in self.layers]
        return frame(rows, columns).set_index("name")

    def __str__(self) -> str:
        if not self.layers:
            return "no ANAct"
        lines = [_HEADER, *map(_cells, self.layers)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        table = [
            "  ".join(
                cell.ljust(width) if place < _TEXTS else cell.rjust(width)
                for place, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        notes = [f"{n}: {text}" for n, texts in self.warnings.items() for text in texts]
        return "\n".join([*table, *([""] if notes else []), *notes])


_HEADER = (
    "layer",
    "activation",
    "λ",
    "μ",
    "α",
    "b",
    "E[f²]",
    "Var x",
    "E[f′²]",
    "tracked",
    "skipped",
)
# The columns of text, which come first.
_TEXTS = 2


def _cells(row: ActivationSummary) -> tuple[str, ...]:
    numbers = (
        row.factor,
        row.mean,
        row.alpha,
        row.shift,
        row.output_square,
        row.input_variance,
        row.backward_gain,
    )
    counts = (row.num_batches_tracked, row.num_batches_skipped)
    return (
        row.name or "(the model)",
        row.activation,
        *(f"{number:.4g}" for number in numbers),
        *map(str, counts),
    )


def summary(model: nn.Module) -> Summary:
    """λ, μ, α, b, the running statistics and the counts of every ANAct of a model.

    A module that is in the model several times is listed once. The text warns of layers
    that never ran in training, that refused batches, or whose λ stands at a bound.

    Args:
        model: any module.

    Raises:
        ValueError: if an ANAct is on the meta device, where it has no numbers.

    >>> net = nn.Sequential(nn.Linear(4, 8), ANAct("relu"))
    >>> report = summary(net)
    >>> print(report)
    layer  activation      λ       μ  α        b  E[f²]  Var x  E[f′²]  tracked  skipped
    1      relu        1.414  0.3989  0  -0.5642    0.5      1     0.5        0        0
    <BLANKLINE>
    1: never ran in training; its statistics are those of a standard normal input
    >>> report.to_dict()["1"]["num_batches_tracked"]
    0
    """
    return Summary(
        tuple(
            _summary_of(name, module)
            for name, module in model.named_modules()
            if isinstance(module, ANAct)
        )
    )


def _summary_of(name: str, act: ANAct) -> ActivationSummary:
    if act.alpha.is_meta:
        raise ValueError(f"summary: {name or 'the ANAct'} is on the meta device")
    statistics = act.statistics()
    scale, offset = act.affine()
    mean = statistics.output_mean if act.options.centre else 0.0
    return ActivationSummary(
        name,
        name_of(act.options.activation),
        act.factor(),
        mean,
        act.alpha.item(),
        offset + scale * mean,
        *statistics,
        int(act.num_batches_tracked),
        int(act.num_batches_skipped),
        tuple(_warnings(act)),
    )


def _warnings(act: ANAct) -> list[str]:
    found = []
    tracked, skipped = int(act.num_batches_tracked), int(act.num_batches_skipped)
    options = act.options
    if not tracked and (options.statistics != "fixed" or options.init_batch):
        found.append(
            "never ran in training; its statistics are those of a standard normal input"
            if not skipped
            else "every batch was refused"
        )
    if skipped:
        found.append(f"refused {skipped} of {tracked + skipped} batches")
    factor = act.factor()
    for bound, which in zip(options.bounds, ("lower", "upper"), strict=True):
        if factor == bound:
            found.append(f"λ stands at its {which} bound, {bound:g}")
    return found
