"""Activations known by what they compute, whatever their class is called."""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
import types
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from anact import _C
from anact._purity import CONSTANTS, Purity, purity_of

# Modules of these packages are known by their class.
_KNOWN = ("torch", "anact")

# How far values may be apart: constants are often written in eight or nine digits.
_RTOL, _ATOL = 1e-6, 1e-12
_SINGLE_RTOL, _SINGLE_ATOL = 1e-5, 2e-6

# A clamp is seldom meant as an activation, so that nn.Hardtanh is known by its class only.
_BY_CLASS_ONLY = ("hardtanh",)


@dataclass(frozen=True)
class Recognized:
    """An element-by-element function: its name in the catalogue, or None without one."""

    name: str | None


def recognize(
    module: nn.Module, plain: Callable[[str], nn.Module]
) -> Recognized | None:
    """What a module computes, or None if that is no activation.

    Asked about are modules of other packages than PyTorch's that have neither parameters
    nor buffers nor modules of their own, and a ``forward`` of one tensor. Their code is
    read first: it is run only if it can do nothing but compute a result from its input
    and constants. Hooks do not run. Then values and derivatives, for inputs of both signs
    from 0.001 to 10,000, of several shapes and both types, decide.

    Args:
        module: any module.
        plain: makes an activation of the catalogue from its text.

    Returns:
        The activation, whose name is None if it is not of the catalogue but is neither
        affine nor a clamp.
    """
    if not _is_asked_about(module):
        return None
    key = _key(module)
    if key is not None and key in _found:
        return _found[key]
    purity = purity_of(module) if _takes_one_tensor(module) else None
    found = None if purity is None else _compared(module, purity, plain)
    if key is not None and (purity is None or purity.fixed):
        _found[key] = found
    return found


# By class, its forward, and the instance's attributes.
_found: dict[object, Recognized | None] = {}
_OF_EVERY_MODULE = frozenset(vars(nn.Module()))


def _is_asked_about(module: nn.Module) -> bool:
    state = (module._parameters, module._buffers, module._modules)
    return (
        not any(state)
        and "forward" not in vars(module)
        and type(module).__module__.split(".")[0] not in _KNOWN
        and not isinstance(module, torch.jit.ScriptModule)
    )


def _takes_one_tensor(module: nn.Module) -> bool:
    try:
        arguments = list(inspect.signature(type(module).forward).parameters.values())
    except (TypeError, ValueError):
        return False
    return len(arguments) == 2 and arguments[1].kind in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    )


def _key(module: nn.Module) -> object:
    """What tells whether two modules compute the same; None if that cannot be told."""

    def frozen(value: Any) -> object:
        if isinstance(value, functools.partial):
            return frozen(value.func), frozen(value.args), frozen(value.keywords)
        if isinstance(value, dict):
            return tuple((name, frozen(value[name])) for name in sorted(value))
        if isinstance(value, tuple):
            return tuple(map(frozen, value))
        if isinstance(value, types.MethodType) and value.__self__ is module:
            return value.__func__
        # What a function encloses would be kept alive.
        known = (*CONSTANTS, types.FunctionType, types.BuiltinFunctionType)
        if not isinstance(value, known) or getattr(value, "__closure__", None):
            raise TypeError
        return type(value), value

    attributes = {
        name: value
        for name, value in vars(module).items()
        if name not in _OF_EVERY_MODULE
    }
    try:
        key = type(module), type(module).forward, frozen(attributes)
        hash(key)
    except TypeError:
        return None
    return key


def _compared(
    module: nn.Module, purity: Purity, plain: Callable[[str], nn.Module]
) -> Recognized | None:
    measured = _measure(functools.partial(type(module).forward, module))
    if measured is None:
        return None
    numbers = [
        float(v)
        for v in purity.attributes.values()
        if isinstance(v, (int, float)) and not isinstance(v, bool)
    ]
    for text in _candidates(measured, numbers):
        # Text that the catalogue refuses is a parameter out of range.
        with contextlib.suppress(ValueError):
            name = _C.canonical(text)
            reference = _reference(name, plain)
            if reference is not None and _agree(measured, reference):
                return Recognized(name)
    return None if _is_clamp(measured) else Recognized(None)


@dataclass(frozen=True)
class _Measured:
    values: Tensor
    single: Tensor
    # None where the module cannot run backward, as some that work in place cannot.
    slopes: Tensor | None

    def at(self, x: float) -> float:
        """The value at a point of the grid."""
        return self.values[(_grid() == x).nonzero()[0, 0]].item()


@functools.cache
def _grid() -> Tensor:
    # In float32, so that a module that computes in it sees the same numbers.
    near = torch.arange(1, 91) * 0.09375 + 0.0171
    far = torch.tensor([1e-3, 0.01, 1, 10, 12, 16, 20, 26, 40, 80, 100, 1e3, 1e4])
    positive = torch.cat([near, far]).float()
    grid = torch.cat([-positive, positive, torch.zeros(4)])
    # Scattered, so that neighbours are no neighbours in value.
    return grid[torch.arange(len(grid)) * 71 % len(grid)].double()


class _Elementary(TorchDispatchMode):
    """Refuses random numbers, and decisions that depend on a tensor's values."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if (
            torch.Tag.nondeterministic_seeded in func.tags
            or func is torch.ops.aten._local_scalar_dense.default
        ):
            raise ValueError(f"{func} is no activation's")
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def _plain_surroundings() -> Iterator[None]:
    with (
        torch.device("cpu"),
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast("cpu", enabled=False),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield


def _measure(function: Callable[[Tensor], Tensor]) -> _Measured | None:
    """None if it raises, or is not a function of each element by itself."""
    with _plain_surroundings():
        try:
            grid = _grid()
            with _Elementary():
                values = function(grid.clone())
                single = function(grid.float())
                folded = function(grid.clone().view(2, 3, 5, -1))
                columns = function(grid.view(10, -1).t().clone().t())
                alone = function(grid[7].clone())
        except Exception:  # noqa: BLE001 - whatever the module's own code raises
            return None
        for result, shape, dtype in (
            (values, grid.shape, torch.float64),
            (single, grid.shape, torch.float32),
            (folded, (2, 3, 5, len(grid) // 30), torch.float64),
            (columns, (10, len(grid) // 10), torch.float64),
            (alone, (), torch.float64),
        ):
            if (
                type(result) is not Tensor
                or result.shape != shape
                or result.dtype != dtype
                or not result.isfinite().all()
            ):
                return None
        same = (
            _close(folded.reshape(-1), values)
            and _close(columns.reshape(-1), values)
            and _close(alone, values[7])
        )
        if not same:
            return None
        return _Measured(values.detach(), single.detach(), _slopes(function))


def _slopes(function: Callable[[Tensor], Tensor]) -> Tensor | None:
    points = _grid().requires_grad_()
    try:
        with _Elementary():
            value = function(points.clone())
            if not value.requires_grad:
                return torch.zeros_like(points)
            (slopes,) = torch.autograd.grad(value.sum(), points)
    except Exception:  # noqa: BLE001 - whatever the module's own code raises
        return None
    return slopes


@functools.lru_cache(256)
def _reference(name: str, plain: Callable[[str], nn.Module]) -> _Measured | None:
    return _measure(plain(name))


def _close(a: Tensor, b: Tensor, rtol: float = _RTOL, atol: float = _ATOL) -> bool:
    return torch.allclose(a, b, rtol=rtol, atol=atol)


def _agree(a: _Measured, b: _Measured) -> bool:
    grid = _grid()
    # Half a sum that cancels leaves an error in proportion to the input.
    allowed = _SINGLE_RTOL * b.single.abs() + _SINGLE_ATOL * grid.abs().clamp(1, 8)
    if not _close(a.values, b.values) or ((a.single - b.single).abs() > allowed).any():
        return False
    if a.slopes is None or b.slopes is None:
        return True
    # At kinks both sides' slopes are right.
    smooth = grid != 0
    return _close(a.slopes[smooth], b.slopes[smooth], 1e-5, 1e-7)


def _candidates(measured: _Measured, numbers: list[float]) -> Iterator[str]:
    """Texts of activations that the values may be those of."""
    for name, _, _, parameters, _ in _C.torch_activations():
        if not parameters and name not in _BY_CLASS_ONLY:
            yield name
    yield "relu2"
    at_0, bottom = measured.at(0), -measured.at(-100)
    estimates: list[tuple[str, str, float]] = [
        ("elu", "alpha", bottom),
        ("celu", "alpha", bottom),
        ("leaky_relu", "negative_slope", -measured.at(-1)),
        ("softplus", "beta", math.log(2) / at_0 if at_0 > 0 else 0),
        ("softshrink", "lambd", 10 - measured.at(10)),
    ]
    for name, parameter, estimate in estimates:
        least_too_much = 1 if name == "leaky_relu" else 100
        if 1e-4 < estimate < least_too_much:
            for value in _readings(estimate, numbers):
                yield f"{name}({parameter}={value!r})"


def _readings(estimate: float, numbers: list[float]) -> Iterable[float]:
    """Numbers that an estimate may stand for: attributes, and few digits before many."""
    known = [n for n in numbers if math.isclose(n, estimate, rel_tol=1e-6)]
    return [*known, *(float(f"{estimate:.{digits}g}") for digits in (3, 6, 9, 12))]


def _is_clamp(measured: _Measured) -> bool:
    """Whether it is affine, between two constants if it is not so everywhere."""
    grid, values = _grid(), measured.values
    order = grid.argsort()
    x, y = grid[order], values[order]
    inside = (y > y.min()) & (y < y.max())
    if int(inside.sum()) < 2:
        return True
    ends = inside.nonzero()[[0, -1], 0]
    slope = (y[ends[1]] - y[ends[0]]) / (x[ends[1]] - x[ends[0]])
    line = y[ends[0]] + slope * (x - x[ends[0]])
    return torch.allclose(y, line.clamp(y.min(), y.max()), rtol=1e-6, atol=1e-9)
