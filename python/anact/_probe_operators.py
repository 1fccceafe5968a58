"""The operators that a compiled model measures itself with, switched by a flag.

``anact::probe_`` stands in the model and changes none of its values: it measures a tensor,
and sees to it that its gradient is measured, all uses together, in the backward pass.
``anact::probe_moments_`` is what it comes down to in a graph. Both write into a tensor of
moments and read nothing back, so that nobody waits for a device.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch._compile import _disable_dynamo

_COLUMNS = (
    # Those of anact::measure: of all passes of a step together.
    "count",
    "mean",
    "m2",
    "output_sum",
    "output_square_sum",
    "slope_square_sum",
    # Var(f(x)) of the last pass.
    "output_variance",
    # The least of all passes.
    "dead_share",
    # When it was first measured in this step, from 1; 0 if it was not.
    "turn",
)
_MEASURED = _COLUMNS.index("slope_square_sum") + 1
_TURN = _COLUMNS.index("turn")

_DEAD_SLOPE = 1e-3
#: Of the batch, which tells of most units that they live.
_FEW = 8

#: Where the flags that are set lie, for devices whose memory the host does not read.
_SET_FLAGS: set[int] = set()


def make_moments(rows: int, device: torch.device) -> Tensor:
    """Room for the moments of so many tensors, and for the count of turns."""
    moments = torch.empty(rows + 1, len(_COLUMNS), dtype=torch.float64, device=device)
    reset(moments)
    return moments


def reset(moments: Tensor) -> None:
    """To those of nothing."""
    moments.zero_()
    moments[:, _COLUMNS.index("dead_share")].fill_(torch.nan)


def column(moments: Tensor, name: str) -> Tensor:
    """What was measured, one value a row."""
    return moments[:-1, _COLUMNS.index(name)]


def switch(due: Tensor, on: bool) -> None:
    """Sets the flag, or clears it."""
    due.fill_(on)
    if on:
        _SET_FLAGS.add(due.data_ptr())
    else:
        _SET_FLAGS.discard(due.data_ptr())


def _is_due(due: Tensor) -> bool:
    """Whether to launch anything; kernels that a CUDA graph records ask the flag itself."""
    if due.device.type == "cpu":
        return bool(due)
    if due.data_ptr() in _SET_FLAGS:
        return True
    return due.device.type == "cuda" and torch.cuda.is_current_stream_capturing()


def _measure(
    input: Tensor,
    due: Tensor,
    moments: Tensor,
    row: int,
    activation: str,
    parameters: list[float],
    unit: int,
) -> None:
    if not _is_due(due):
        return
    # Autograd, which keeps it for the backward pass, is not to mind that it has changed.
    moments = moments.data
    new = torch.ops.anact.measure.default(input, activation, parameters)
    before = moments[row]
    turns = moments[-1, _TURN] + 1
    first = before[_TURN] == 0
    after = torch.cat(
        [
            _merged(before, new),
            torch.stack(
                [
                    _output_variance(new, activation),
                    torch.fmin(
                        before[_COLUMNS.index("dead_share")],
                        _dead_share(input, activation, parameters, unit),
                    ),
                    torch.where(first, turns, before[_TURN]),
                ]
            ),
        ]
    )
    before.copy_(torch.where(due, after, before))
    moments[-1, _TURN].copy_(torch.where(due, turns, turns - 1))


def _merged(old: Tensor, new: Tensor) -> Tensor:
    """Of both together: Chan, Golub and LeVeque (1979), and plain sums."""
    share = new[0] / (old[0] + new[0]).clamp(min=1)
    distance = new[1] - old[1]
    mean = old[1] + distance * share
    m2 = old[2] + new[2] + distance.square() * old[0] * share
    sums = old[3:_MEASURED] + new[3:_MEASURED]
    return torch.cat([torch.stack([old[0] + new[0], mean, m2]), sums])


def _output_variance(moments: Tensor, activation: str) -> Tensor:
    count = moments[0]
    if activation == "identity":
        return moments[2] / count
    return moments[4] / count - (moments[3] / count).square()


def _dead_share(
    x: Tensor, activation: str, parameters: list[float], unit: int
) -> Tensor:
    """The share of units without a slope in the batch; NaN for none of these."""
    if activation == "identity" or x.numel() == 0:
        return torch.full((), torch.nan, dtype=torch.float64, device=x.device)
    neutral = torch.zeros(3, dtype=torch.float64, device=x.device)
    neutral[0].fill_(1)

    def dead(part: Tensor) -> Tensor:
        slope, _ = torch.ops.anact.apply_backward.default(
            torch.ones_like(part), part, neutral, activation, parameters
        )
        others = [d for d in range(part.dim()) if d != unit]
        slope = slope.abs()
        flags: Tensor = (slope.amax(others) if others else slope) < _DEAD_SLOPE
        return flags

    if x.device.type != "cpu" or x.dim() < 2 or x.shape[0] <= _FEW:
        return dead(x).double().mean()
    result = dead(x[:_FEW])
    doubtful = result.nonzero().flatten()
    if doubtful.numel():
        result[doubtful] = dead(x.index_select(unit, doubtful))
    return result.double().mean()


# Between two graphs it would be compiled by itself, and see no gradient.
@_disable_dynamo
def _watch(
    input: Tensor,
    due: Tensor,
    moments: Tensor,
    gradients: Tensor,
    row: int,
    activation: str,
    parameters: list[float],
    unit: int,
) -> None:
    write = torch.ops.anact.probe_moments_.default
    write(input.detach(), due, moments, row, activation, parameters, unit)
    if not (input.requires_grad and torch.is_grad_enabled()):
        return

    @_disable_dynamo
    def measure(gradient: Tensor) -> None:
        write(gradient.detach(), due, gradients, row, "identity", [], -1)
        if input_is_leaf:
            handle.remove()  # the graph does not take it along

    input_is_leaf = input.is_leaf
    handle = input.register_hook(measure)


_LIBRARY = torch.library.Library("anact", "FRAGMENT")
_LIBRARY.define(
    "probe_moments_(Tensor input, Tensor due, Tensor(a!) moments, int row,"
    " str activation, float[] parameters, int unit) -> ()"
)
_LIBRARY.impl("probe_moments_", _measure, "CompositeExplicitAutograd")
_LIBRARY.impl("probe_moments_", lambda *_: None, "Meta")
_LIBRARY.define(
    "probe_(Tensor input, Tensor due, Tensor(a!) moments, Tensor gradients, int row,"
    " str activation, float[] parameters, int unit) -> ()"
)
# It is no graph's own, so that its hook is there wherever autograd is.
_LIBRARY.impl("probe_", _watch, "CompositeImplicitAutograd")
