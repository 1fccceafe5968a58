"""What a tensor of features says of its batch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

_CHUNK = 1 << 22


@dataclass(frozen=True)
class SignalStatistics:
    """Of the values of a layer's input or output, in double precision.

    Attributes:
        mean, variance, second_moment: over all elements.
        non_finite: how many elements are NaN or infinite; the rest is NaN then.
        kurtosis: of the samples' norms, E[n⁴] / E[n²]².
        effective_rank: of the batch, by Roy and Vetterli (2007).
        similarity: mean absolute cosine between two samples.
        reason: why the last three are None.
    """

    mean: float
    variance: float
    second_moment: float
    non_finite: int = 0
    kurtosis: float | None = None
    effective_rank: float | None = None
    similarity: float | None = None
    reason: str = ""


def signal_statistics(x: Tensor, batch_size: int | None) -> SignalStatistics:
    """Measures a floating tensor whose first dimension is the batch's, or a multiple."""
    x = x.detach()
    if x.numel() == 0:
        return SignalStatistics(math.nan, math.nan, math.nan, reason="no elements")
    non_finite = x.numel() - int(torch.isfinite(x).sum())
    if non_finite:
        nan = math.nan
        return SignalStatistics(nan, nan, nan, non_finite, reason="not finite")
    mean, square = _moments(x)
    variance = max(square - mean**2, 0.0)
    if batch_size is None or x.dim() == 0 or x.shape[0] % batch_size:
        return SignalStatistics(
            mean, variance, square, reason="its first dimension is not the batch's"
        )
    if batch_size < 2:
        return SignalStatistics(
            mean, variance, square, reason="one sample has no rank: give two or more"
        )
    if x.numel() == batch_size:
        reason = "one value a sample has no direction"
        return SignalStatistics(mean, variance, square, reason=reason)
    gram = _gram(x.reshape(batch_size, -1))
    squares = gram.diagonal()
    if bool((squares == 0).any()):
        reason = "a sample is 0 throughout"
        return SignalStatistics(mean, variance, square, reason=reason)
    # Scaled to 1, so that no fourth power underflows.
    relative = squares / squares.mean()
    norms = relative.sqrt()
    cosines = gram / squares.mean() / torch.outer(norms, norms)
    pairs = batch_size * (batch_size - 1)
    similarity = (cosines.abs().sum() - cosines.diagonal().abs().sum()) / pairs
    return SignalStatistics(
        mean,
        variance,
        square,
        0,
        relative.square().mean().item(),
        effective_rank(gram),
        min(similarity.item(), 1.0),
    )


def effective_rank(gram: Tensor) -> float:
    """exp of the entropy of the singular values, scaled to sum 1 (Roy & Vetterli, 2007).

    Args:
        gram: X Xᵀ of the matrix X, of shape [rows, rows] and float64.

    >>> round(effective_rank(torch.eye(3, dtype=torch.float64)), 6)
    3.0
    """
    # Eigenvalues below rounding are 0, whose root would not be small.
    values = torch.linalg.eigvalsh(gram)
    floor = values[-1] * len(gram) * torch.finfo(gram.dtype).eps
    singular = values[values > floor].sqrt()
    shares = singular / singular.sum()
    return math.exp(-(shares * shares.log()).sum().item())


def square_sum(x: Tensor) -> float:
    """Σ x² over all elements, in double precision."""
    return sum(chunk.double().square().sum().item() for chunk in _chunks(x.detach()))


def _moments(x: Tensor) -> tuple[float, float]:
    total = sum(chunk.double().sum().item() for chunk in _chunks(x))
    return total / x.numel(), square_sum(x) / x.numel()


def _chunks(x: Tensor) -> Iterator[Tensor]:
    yield from x.reshape(-1).split(_CHUNK)


def _gram(rows: Tensor) -> Tensor:
    # By columns, so that the doubles of a large layer are not all there at once.
    width = max(_CHUNK // len(rows), 1)
    gram = torch.zeros(len(rows), len(rows), dtype=torch.float64, device=rows.device)
    for part in rows.split(width, dim=1):
        wide = part.double()
        gram += wide @ wide.T
    return gram
