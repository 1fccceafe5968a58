"""Which activation of the catalogue a module or function of PyTorch is, and the reverse."""

from __future__ import annotations

import contextlib
import functools
import operator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from anact import _C
from anact._recognition import recognize


class _Row(NamedTuple):
    """An activation by the names that PyTorch has for it."""

    name: str
    module: type[nn.Module]
    functions: list[str]
    parameters: list[str]
    # A keyword of module and function that tells which activation it is.
    choice: dict[str, str]


_ROWS = [
    _Row(name, getattr(nn, module), functions, parameters, choice)
    for name, module, functions, parameters, choice in _C.torch_activations()
]
_BY_NAME = {row.name: row for row in _ROWS}
_WITHOUT_NORMALIZED_FORM = (nn.PReLU, nn.RReLU, nn.GLU, nn.Hardshrink, nn.Threshold)
# Files of other packages that hold activations, and nothing else.
_ACTIVATIONS_ONLY = ("transformers.activations",)


def _functions() -> dict[Any, str]:
    found: dict[Any, str] = {}
    for row in _ROWS:
        for name in row.functions:
            for space in (F, torch, Tensor):
                for variant in (name, f"{name}_"):
                    with contextlib.suppress(AttributeError):
                        function = operator.attrgetter(variant)(space)
                        found.setdefault(function, row.name)
    return found


_FUNCTIONS = _functions()


def parameters_of(name: str) -> tuple[str, ...]:
    """The names of the parameters of an activation's function, in PyTorch's order."""
    row = _BY_NAME.get(name)
    return (*row.parameters, *row.choice) if row else ()


def text_of(name: str, values: dict[str, Any]) -> str | None:
    """The catalogue's text of an activation with these parameters, or None if it has none."""
    given = ", ".join(f"{key}={value}" for key, value in values.items())
    try:
        return _C.canonical(f"{name}({given})" if given else name)
    except ValueError:
        return None


def activation_of(module: nn.Module) -> str | None:
    """The catalogue's text of a module, or None if it is no activation of the catalogue.

    Known are the modules of torch.nn and subclasses that do not override ``forward``,
    and those of any other package by what they compute; see :func:`recognize`.

    >>> activation_of(nn.LeakyReLU(0.2))
    'leaky_relu(negative_slope=0.2)'
    """
    if "forward" in vars(module):
        return None
    if isinstance(module, fx.GraphModule):
        return _names_of_code().get(module.code)
    forward = type(module).forward
    if isinstance(module, nn.ReLU6) and (module.min_val, module.max_val) != (0, 6):
        candidates = [_BY_NAME["hardtanh"]]
    else:
        candidates = _ROWS
    for row in candidates:
        if (
            isinstance(module, row.module)
            and forward is row.module.forward
            and all(getattr(module, key) == value for key, value in row.choice.items())
        ):
            return text_of(
                row.name, {key: getattr(module, key) for key in row.parameters}
            )
    found = recognize(module, plain)
    return found.name if found else None


def lacks_normalized_form(module: nn.Module) -> bool:
    """Whether the module is an activation, but not one of the catalogue."""
    known = (*(row.module for row in _ROWS), *_WITHOUT_NORMALIZED_FORM)
    of_file = any(base.__module__ in _ACTIVATIONS_ONLY for base in type(module).__mro__)
    if of_file or isinstance(module, known):
        return activation_of(module) is None
    found = recognize(module, plain)
    return found is not None and found.name is None


def function_name(function: object) -> str | None:
    """The catalogue's text of a function of PyTorch, or None.

    >>> function_name(F.relu), function_name(functools.partial(F.gelu, approximate="tanh"))
    ('relu', 'gelu(approximate=tanh)')
    """
    if isinstance(function, functools.partial):
        name = function_name(function.func)
        keywords = {
            key: value for key, value in function.keywords.items() if key != "inplace"
        }
        if (
            name is None
            or function.args
            or not keywords.keys() <= set(parameters_of(name))
        ):
            return None
        return text_of(name, keywords)
    try:
        return _FUNCTIONS.get(function)
    except TypeError:  # not hashable
        return None


def _relu2() -> fx.GraphModule:
    graph = fx.Graph()
    rectified = graph.call_function(torch.relu, (graph.placeholder("input"),))
    graph.output(graph.call_function(torch.square, (rectified,)))
    return fx.GraphModule(nn.Module(), graph, "SquaredReLU")


# Those that torch.nn does not have.
_GRAPHS = {"relu2": _relu2}


@functools.cache
def _names_of_code() -> dict[str, str]:
    return {graph().code: name for name, graph in _GRAPHS.items()}


def plain(activation: str) -> nn.Module:
    """The module of an activation that needs PyTorch alone, also where it is unpickled.

    >>> plain("gelu(approximate=tanh)")
    GELU(approximate='tanh')
    """
    kind, parameters = _C.split(activation)
    if kind in _GRAPHS:
        return _GRAPHS[kind]()
    row = _BY_NAME[kind]
    return row.module(*parameters, **row.choice)


def catalogued(activation: object) -> str | None:
    """The catalogue's text of a module or function, or None if it has none."""
    if isinstance(activation, nn.Module):
        return activation_of(activation)
    return function_name(activation)
