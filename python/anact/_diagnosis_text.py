"""A diagnosis for the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import NamedTuple

from anact._layer_diagnosis import LayerDiagnosis
from anact._verdict import number

_WIDTH = 100


class Column(NamedTuple):
    """A column of a report: its heading, what it means, and a layer's entry."""

    heading: str
    meaning: str
    entry: Callable[[LayerDiagnosis], str]


def _percent(x: float | None) -> str:
    return "" if x is None else f"{100 * x:.0f} %"


def _of(x: float | None) -> str:
    return "" if x is None else number(x)


def _plain(x: float | None, digits: int) -> str:
    return "" if x is None else f"{x:.{digits}f}"


COLUMNS = (
    Column(
        "forward",
        "gain of the signal: E[y²] / E[x²] of output and input",
        lambda x: _of(x.forward_gain),
    ),
    Column(
        "backward",
        "gain of the gradient: Σ (∂L/∂x)² / Σ (∂L/∂y)²",
        lambda x: _of(x.backward_gain),
    ),
    Column(
        "signal",
        "E[y²], relative to the model's input",
        lambda x: _of(x.signal_growth),
    ),
    Column(
        "gradient",
        "Σ (∂L/∂y)², relative to the model's output",
        lambda x: _of(x.gradient_growth),
    ),
    Column("dead", "share of units without a slope", lambda x: _percent(x.dead)),
    Column(
        "kurtosis",
        "of the samples' norms n: E[n⁴] / E[n²]²",
        lambda x: _plain(x.kurtosis, 2),
    ),
    Column(
        "rank",
        "effective rank of the batch",
        lambda x: _plain(x.effective_rank, 1),
    ),
    Column(
        "cosine",
        "mean absolute cosine between two samples",
        lambda x: _plain(x.similarity, 3),
    ),
)


def text(heading: str, layers: list[LayerDiagnosis], sentences: list[str]) -> str:
    """The tree of modules with a column a figure, and the sentences below it."""
    lines = textwrap.wrap(heading, _WIDTH)
    if layers:
        lines += ["", *_table(layers), *_blanks(layers)]
    lines.append("")
    for sentence in sentences:
        lines += textwrap.wrap(sentence, _WIDTH, subsequent_indent="  ")
    return "\n".join(lines)


def _label(layer: LayerDiagnosis, above: list[str]) -> tuple[str, str]:
    name = layer.name
    for path in reversed(above):
        if path and name.startswith(f"{path}."):
            name = name[len(path) + 1 :]
            break
    return name, "" if layer.type == "function" else layer.type


def labels(layers: list[LayerDiagnosis]) -> list[tuple[str, str]]:
    """Each layer's name in the tree, which is the rest of its path, and its type."""
    above: list[str] = []
    found = []
    for x in layers:
        del above[x.depth :]
        found.append(_label(x, above))
        above.append(x.name.split("#")[0])
    return found


def _table(layers: list[LayerDiagnosis]) -> list[str]:
    names = [
        "  " * x.depth
        + textwrap.shorten(": ".join(filter(None, label)), 44, placeholder="…")
        for x, label in zip(layers, labels(layers), strict=True)
    ]
    rows = [[c.entry(x) for c in COLUMNS] for x in layers]
    left = max(map(len, names))
    widths = [
        max(len(c.heading), *(len(row[i]) for row in rows))
        for i, c in enumerate(COLUMNS)
    ]
    head = [c.heading for c in COLUMNS]
    return [
        f"{name:<{left}}  "
        + "  ".join(f"{x:>{w}}" for x, w in zip(row, widths, strict=True))
        for name, row in zip(["", *names], [head, *rows], strict=True)
    ]


def _blanks(layers: list[LayerDiagnosis]) -> list[str]:
    """Why figures of the batch are blank, each reason once."""
    reasons = dict.fromkeys(
        x.blank for x in layers if x.blank and x.second_moment is not None
    )
    return [f"blank: {reason}" for reason in reasons]
