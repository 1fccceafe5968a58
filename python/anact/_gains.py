"""What each activation does to a normally distributed input."""

from collections.abc import Iterable
from typing import NamedTuple

from anact import _C
from anact._option_types import Target


class ActivationGains(NamedTuple):
    """The statistics of f(x) for a normally distributed x, and the factors they give."""

    activation: str
    #: E[f(x)]
    mean: float
    #: E[f(x)²]
    square: float
    #: ρ = E[f(x)²] / Var(x)
    forward_gain: float
    #: ρ′ = E[f′(x)²]
    backward_gain: float
    #: λ of each solution
    factors: dict[str, float]


def gains(
    activations: str | Iterable[str] | None = None,
    *,
    mean: float = 0.0,
    std: float = 1.0,
    target: Target = "damped",
) -> list[ActivationGains]:
    """The rows of ``anact gains``: the fixed gains of the literature, and λ.

    Args:
        activations: one or several, such as ``"elu(alpha=0.5)"``; the whole catalogue
            when left out.
        mean: of x.
        std: of x; positive.
        target: what E[y²] is held to.

    Raises:
        ValueError: for an unknown activation, or a mean or std that is not finite or
            not positive.

    >>> row, = gains("relu")
    >>> print(f"{row.forward_gain:.3f} {row.backward_gain:.3f} {row.factors['compromise']:.4f}")
    0.500 0.500 1.4142
    """
    if activations is None:
        activations = _C.activations()
    elif isinstance(activations, str):
        activations = [activations]
    rows = []
    for activation in activations:
        name, expected, square, forward, backward, factors = _C.gains(
            activation, mean, std, target
        )
        rows.append(
            ActivationGains(name, expected, square, forward, backward, dict(factors))
        )
    return rows
