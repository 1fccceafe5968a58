"""The figures of a layer, as a diagnosis gives them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from anact._observation import Call


@dataclass(frozen=True)
class LayerDiagnosis:
    """What one call of a module did to signal and gradient. None is what was not to be had.

    Gradients are those of the loss in the tensor named, summed over its elements in
    squares; signals are means over the elements.

    Attributes:
        name: path in the model; ``#2`` is a module's second call, ``….relu()`` a function.
        kind: linear, convolution, normalization, activation, embedding, block (calls
            others) or other.
        type: the class, with its sizes.
        activation: the catalogue's text; empty for another kind.
        convertible: whether :func:`anact.convert_activations` would replace it.
        depth: how many modules are around it.
        sums: how many sums of two signals, such as shortcuts, it makes itself.
        forward_gain: E[y²] / E[x²] of its output y and input x.
        backward_gain: Σ (∂L/∂x)² / Σ (∂L/∂y)², through this call alone.
        signal_growth: E[y²] over that of the model's input, or of the first signal.
        gradient_growth: Σ (∂L/∂y)² over that at the model's output.
        dead: share of an activation's units with \\|f′(x)\\| ≤ 0.001 in the whole batch.
        slopes: on how many values `dead` was judged.
        kurtosis: of the norms n of the samples of y: E[n⁴] / E[n²]².
        effective_rank: of the batch's y, one row a sample.
        similarity: mean absolute cosine between two samples of y.
        mean, variance, second_moment: of y.
        input_second_moment: of x.
        gradient, input_gradient: Σ (∂L/∂y)² and Σ (∂L/∂x)².
        non_finite: how many elements of y are NaN or infinite.
        input_non_finite, input_similarity: of x.
        blank: why figures of the batch are None.
    """

    name: str
    kind: str
    type: str
    activation: str
    convertible: bool
    depth: int
    sums: int
    forward_gain: float | None
    backward_gain: float | None
    signal_growth: float | None
    gradient_growth: float | None
    dead: float | None
    slopes: int
    kurtosis: float | None
    effective_rank: float | None
    similarity: float | None
    mean: float | None
    variance: float | None
    second_moment: float | None
    input_second_moment: float | None
    gradient: float | None
    input_gradient: float | None
    non_finite: int
    input_non_finite: int
    input_similarity: float | None
    blank: str


def layers_of(calls: list[Call]) -> list[LayerDiagnosis]:
    """The layers of calls in the order in which they began, the model's own first."""
    signals = [x for call in calls for x in (call.input, call.output) if x]
    first = signals[0].second_moment if signals else None
    arrived = [c.output_gradient for c in calls if c.output_gradient is not None]
    # The model's own output is that of its own call, which began first.
    last = arrived[0] if arrived else None
    return [_layer(call, first, last) for call in calls]


def _layer(call: Call, first: float | None, last: float | None) -> LayerDiagnosis:
    x, y = call.input, call.output
    x_square = x.second_moment if x else None
    y_square = y.second_moment if y else None
    return LayerDiagnosis(
        name=call.path + (f"#{call.number}" if call.number > 1 else ""),
        kind=call.kind,
        type=_type(call.module),
        activation=call.activation,
        convertible=call.convertible,
        depth=call.depth,
        sums=call.sums,
        forward_gain=_ratio(y_square, x_square),
        backward_gain=_ratio(call.input_gradient, call.output_gradient),
        signal_growth=_ratio(y_square, first),
        gradient_growth=_ratio(call.output_gradient, last),
        dead=call.dead,
        slopes=call.slopes,
        kurtosis=y.kurtosis if y else None,
        effective_rank=y.effective_rank if y else None,
        similarity=y.similarity if y else None,
        mean=y.mean if y else None,
        variance=y.variance if y else None,
        second_moment=y_square,
        input_second_moment=x_square,
        gradient=call.output_gradient,
        input_gradient=call.input_gradient,
        non_finite=y.non_finite if y else 0,
        input_non_finite=x.non_finite if x else 0,
        input_similarity=x.similarity if x else None,
        blank=y.reason if y else "no floating output",
    )


def _ratio(above: float | None, below: float | None) -> float | None:
    return None if above is None or not below else above / below


def _type(module: nn.Module | None) -> str:
    if module is None:
        return "function"
    if isinstance(module, nn.Linear):
        return f"Linear({module.in_features}, {module.out_features})"
    own = module.extra_repr() if not module._modules else ""
    name = type(module).__name__
    return f"{name}({own})" if own else name
