"""The options of ANAct, in one place for everything that takes them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from anact import _C
from anact._activations import catalogued
from anact._option_types import OptionArguments, OptionFields

Function: TypeAlias = Callable[[Tensor], Tensor]


@dataclass(frozen=True, init=False)
class ANActOptions(OptionFields):
    """How an ANAct normalizes.

    Args:
        activation: a name of the catalogue, with parameters if they are not PyTorch's
            defaults: ``"silu"``, ``"elu(alpha=0.5)"``, ``"gelu(approximate=tanh)"``.
            It is kept in the form in which the catalogue writes it. PyTorch's own modules
            and functions are the catalogue's too, ``nn.SiLU()`` or ``F.silu``, and so are
            modules of other packages that compute the same. Or a function of your own: given a float32 or float64 tensor of any shape, which it
            must not change, it returns f of every element. It runs in plain PyTorch,
            slower than the catalogue; the module can be pickled if the function can.
        derivative: f′ of a function of your own, as a function of the same kind; by
            autograd where none is given.
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
        TypeError: for an option that there is not, for an activation that is neither a
            name nor a function, and for one with parameters, which would get no gradient.

    >>> ANActOptions("swish", momentum=0.05)
    ANActOptions('silu', momentum=0.05)
    >>> ANActOptions(nn.ELU(0.5))
    ANActOptions('elu(alpha=0.5)')
    >>> ANActOptions("sulu")
    Traceback (most recent call last):
        ...
    ValueError: activation "sulu": unknown name "sulu"; did you mean selu or silu?
    >>> ANActOptions("silu", recipe="paper", momentum=0.05)
    ANActOptions('silu', solution='compromise', target='input', momentum=0.05)
    """

    activation: str | Function = "silu"
    derivative: Function | None = None

    def __init__(
        self,
        activation: str | Function = "silu",
        derivative: Function | None = None,
        **options: Unpack[OptionArguments],
    ) -> None:
        values: dict[str, object] = dict(options)
        recipe = str(values.pop("recipe", _RECIPES[0]))
        unknown = values.keys() - {f.name for f in fields(OptionFields)}
        if unknown:
            raise TypeError(
                f"ANActOptions: unexpected option {', '.join(sorted(unknown))}"
            )
        if isinstance(activation, str):
            activation = _C.canonical(activation)
        elif derivative is None:
            activation = catalogued(activation) or activation
        object.__setattr__(self, "activation", activation)
        object.__setattr__(self, "derivative", derivative)
        step = _C.Step(self._implementation(), recipe, _texts(values))
        for name, value in step.options().items():
            object.__setattr__(self, name, value)

    def step(self) -> _C.Step:
        """A module's forward pass with these options."""
        values = {f.name: getattr(self, f.name) for f in fields(OptionFields)}
        return _C.Step(self._implementation(), _RECIPES[0], _texts(values))

    def _implementation(self) -> str | tuple[str, Function, Function]:
        """The activation as the extension module takes it."""
        f, df = self.activation, self.derivative
        if isinstance(f, str):
            if df is not None:
                raise TypeError(f"derivative: {f} is of the catalogue and has its own")
            return f
        for name, function in (("activation", f), ("derivative", df)):
            if function is not None and not callable(function):
                raise TypeError(
                    f"{name}: expected a {'name or a ' * (function is f)}function, "
                    f"found {function!r}"
                )
        if isinstance(f, nn.Module) and any(True for _ in f.parameters()):
            raise TypeError(
                f"activation: {f} has parameters, which would get no gradient"
            )
        return name_of(f), f, derivative_of(f, df)

    def changed(self) -> dict[str, Any]:
        """The options that are not the default, but the activation."""
        return {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if f.name not in ("activation", "derivative")
            and getattr(self, f.name) != f.default
        }

    def __str__(self) -> str:
        return ", ".join(
            [name_of(self.activation), *(f"{k}={v}" for k, v in self.changed().items())]
        )

    def __repr__(self) -> str:
        options = [
            repr(self.activation),
            *([] if self.derivative is None else [f"derivative={self.derivative!r}"]),
            *(f"{k}={v!r}" for k, v in self.changed().items()),
        ]
        return f"ANActOptions({', '.join(options)})"


def name_of(activation: str | Function) -> str:
    """The name of an activation; of a function its own."""
    if isinstance(activation, str):
        return activation
    return str(getattr(activation, "__qualname__", type(activation).__qualname__))


def derivative_of(f: Function, given: Function | None) -> Function:
    """f′ as it was given, or else by autograd."""
    if given is not None:
        return given

    def derivative(x: Tensor) -> Tensor:
        again = torch.is_grad_enabled() and x.requires_grad
        with torch.enable_grad():
            at = x if again else x.detach().requires_grad_()
            y = f(at)
            if not y.requires_grad:
                return torch.zeros_like(x)
            (slope,) = torch.autograd.grad(y.sum(), at, create_graph=again)
        return slope

    return derivative


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
