"""The options of ANAct, in one place for everything that takes them."""

from dataclasses import dataclass, fields
from typing import Any, Literal

from typing_extensions import TypedDict

from anact import _C

Statistics = Literal["previous", "running", "batch"]
Solution = Literal["exact", "compromise", "forward", "backward", "geometric"]
Target = Literal["damped", "input", "unit"]
Gain = Literal["activation", "output"]


class OptionArguments(TypedDict, total=False):
    """The options as keyword arguments, all but the activation."""

    statistics: Statistics
    solution: Solution
    target: Target
    gain: Gain
    centre: bool
    momentum: float
    gate: tuple[float, float] | None
    bounds: tuple[float, float]
    learnable: bool


@dataclass(frozen=True)
class ANActOptions:
    """How an ANAct normalizes.

    Args:
        activation: a name of the catalogue, with parameters if they are not PyTorch's
            defaults: ``"silu"``, ``"elu(alpha=0.5)"``, ``"gelu(approximate=tanh)"``.
            It is kept in the form in which the catalogue writes it.
        statistics: where the factors of a training step come from: the running
            statistics before the batch (the first batch uses its own), with the
            batch in, or the batch alone.
        solution: which scale λ: 1/√ρ′ with a shift that corrects both gains at once, the
            paper's compromise, 1/√ρ, 1/√ρ′, or the geometric mean of both.
        target: what E[y²] is held to: v^0.75 for an input of variance v, v, or 1.
        gain: whether ρ is the gain of the activation or of what is emitted once the
            mean is subtracted.
        centre: whether the mean μ is subtracted.
        momentum: the weight of a new batch in the running statistics, in (0, 1].
        gate: (low, high); a batch whose ρ or ρ′, divided by the running one, lies
            outside does not update the statistics.
        bounds: (low, high) of λ.
        learnable: whether α is learnt; it stays 0 otherwise.

    Raises:
        ValueError: for an unknown name, a value out of range, or options that
            contradict each other.

    >>> ANActOptions("swish", momentum=0.05)
    ANActOptions('silu', momentum=0.05)
    >>> ANActOptions("sulu")
    Traceback (most recent call last):
        ...
    ValueError: activation "sulu": unknown name "sulu"; did you mean selu or silu?
    """

    activation: str = "silu"
    statistics: Statistics = "previous"
    solution: Solution = "exact"
    target: Target = "damped"
    gain: Gain = "activation"
    centre: bool = True
    momentum: float = 0.01
    gate: tuple[float, float] | None = None
    bounds: tuple[float, float] = (0.1, 10.0)
    learnable: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "activation", _C.canonical(self.activation))
        self.step()

    def step(self) -> _C.Step:
        """A module's forward pass with these options."""
        return _C.Step(
            **{
                f.name: getattr(self, f.name)
                for f in fields(self)
                if f.name != "learnable"
            }
        )

    def changed(self) -> dict[str, Any]:
        """The options that are not the default, but the activation."""
        return {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if f.name != "activation" and getattr(self, f.name) != f.default
        }

    def __str__(self) -> str:
        return ", ".join(
            [self.activation, *(f"{k}={v}" for k, v in self.changed().items())]
        )

    def __repr__(self) -> str:
        options = [
            repr(self.activation),
            *(f"{k}={v!r}" for k, v in self.changed().items()),
        ]
        return f"ANActOptions({', '.join(options)})"
