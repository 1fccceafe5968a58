"""The options of ANAct, in one place for everything that takes them."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from typing_extensions import Unpack

from anact import _C
from anact._option_types import OptionArguments, OptionFields


@dataclass(frozen=True, init=False)
class ANActOptions(OptionFields):
    """How an ANAct normalizes.

    Args:
        activation: a name of the catalogue, with parameters if they are not PyTorch's
            defaults: ``"silu"``, ``"elu(alpha=0.5)"``, ``"gelu(approximate=tanh)"``.
            It is kept in the form in which the catalogue writes it.
        recipe: a named set of options, see :func:`anact.recipes`; those that are given
            beside it win.
        statistics: where the factors of a training step come from: the running
            statistics before the batch (the first batch uses its own), with the
            batch in, the batch alone, or those under N(0, 1), never updated.
        init_batch: with ``statistics="fixed"``, whether those are the first batch's and
            not those under N(0, 1).
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
        TypeError: for an option that there is not.

    >>> ANActOptions("swish", momentum=0.05)
    ANActOptions('silu', momentum=0.05)
    >>> ANActOptions("sulu")
    Traceback (most recent call last):
        ...
    ValueError: activation "sulu": unknown name "sulu"; did you mean selu or silu?
    >>> ANActOptions("silu", recipe="paper", momentum=0.05)
    ANActOptions('silu', solution='compromise', target='input', momentum=0.05)
    """

    activation: str = "silu"

    def __init__(
        self, activation: str = "silu", **options: Unpack[OptionArguments]
    ) -> None:
        values: dict[str, object] = dict(options)
        recipe = str(values.pop("recipe", _RECIPES[0]))
        unknown = values.keys() - {f.name for f in fields(OptionFields)}
        if unknown:
            raise TypeError(
                f"ANActOptions: unexpected option {', '.join(sorted(unknown))}"
            )
        step = _C.Step(activation, recipe, _texts(values))
        object.__setattr__(self, "activation", _C.canonical(activation))
        for name, value in step.options().items():
            object.__setattr__(self, name, value)

    def step(self) -> _C.Step:
        """A module's forward pass with these options."""
        values = {f.name: getattr(self, f.name) for f in fields(OptionFields)}
        return _C.Step(self.activation, _RECIPES[0], _texts(values))

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


def _texts(values: Mapping[str, object]) -> dict[str, str]:
    """The values as the table of options reads them."""
    return {name: _text(name, value) for name, value in values.items()}


def _text(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    try:
        numbers = value if isinstance(value, (tuple, list)) else (value,)
        return ",".join(repr(float(number)) for number in numbers)
    except (TypeError, ValueError):
        raise TypeError(f"{name}: unexpected value {value!r}") from None


class RecipeInfo(NamedTuple):
    """A named set of options.

    ``options`` are those that are not the default, as an arm of the program takes them;
    ``weights`` are the initial weights that go with them.
    """

    name: str
    options: str
    weights: str
    help: str


def recipes() -> list[RecipeInfo]:
    """Every recipe, the default first.

    >>> [recipe.name for recipe in recipes()]
    ['deep', 'paper', 'gpn', 'gain']
    """
    return [RecipeInfo(*row) for row in _C.recipes()]


_RECIPES = [recipe.name for recipe in recipes()]
