"""What a module stores for a weight or bias, and what that must be for a wanted value.

The two differ under weight and spectral normalization and under pruning.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import _SpectralNorm, _WeightNorm
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

# As many as PyTorch runs where it sets up a spectral norm.
_POWER_ITERATIONS = 15


def is_plain(tensor: Tensor) -> bool:
    """Whether it is a dense tensor and of no subclass."""
    return type(tensor) in (Tensor, nn.Parameter) and tensor.layout is torch.strided


def is_quantized(module: nn.Module) -> bool:
    """Whether it is one of PyTorch's quantized layers, whose weight is no tensor."""
    # By name: the package that has them is about to leave PyTorch.
    return any(
        base.__name__ == "WeightedQuantizedModule" for base in type(module).__mro__
    )


@dataclass(frozen=True)
class Update:
    """A parameter or buffer, and the value that it is to get."""

    tensor: Tensor
    value: Tensor


@dataclass(frozen=True)
class Stored:
    """What a module stores for one of its tensors.

    Attributes:
        parameters: by their names within the module; the last has the tensor's shape.
        updates: of parameters and buffers, for a wanted value. None: there is no such way.
        note: what the module makes of the parameters.
        problem: why there are no updates.
        normalized: whether a norm is divided by, so that the value cannot be 0.
        refresh: renews what the module keeps besides, after the updates.
    """

    parameters: dict[str, Tensor]
    updates: Callable[[Tensor], list[Update]] | None
    note: str = ""
    problem: str = ""
    normalized: bool = False
    refresh: Callable[[], None] = lambda: None

    @property
    def shaped(self) -> Tensor:
        return [*self.parameters.values()][-1]


def stored(module: nn.Module, name: str) -> Stored | None:
    """What a module stores for its tensor `name`, or None if it has no such tensor."""
    hooks = [hook for hook in module._forward_pre_hooks.values() if _name(hook) == name]
    if parametrize.is_parametrized(module, name):
        assert isinstance(module.parametrizations, nn.ModuleDict)
        return _parametrized(module.parametrizations[name], name)
    if hooks:
        return _hooked(module, name, hooks)
    parameter = module._parameters.get(name)
    if parameter is not None:
        return Stored({name: parameter}, lambda value: [Update(parameter, value)])
    if vars(module).get(name, module._buffers.get(name)) is None:
        return None
    return Stored({}, None, problem="is no parameter of its module")


def _name(hook: object) -> str | None:
    if isinstance(hook, BasePruningMethod):
        return str(hook._tensor_name)
    return hook.name if isinstance(hook, (WeightNorm, SpectralNorm)) else None


def _parametrized(held: nn.Module, name: str) -> Stored:
    parameters: dict[str, Tensor] = {
        f"parametrizations.{name}.{key}": parameter
        for key, parameter in held.named_parameters(recurse=False)
    }
    rules = [*held.children()]
    if len(rules) == 1 and isinstance(rules[0], _WeightNorm) and len(parameters) == 2:
        return _weight_norm(parameters, rules[0].dim)
    if len(rules) == 1 and isinstance(rules[0], _SpectralNorm) and len(parameters) == 1:
        rule = rules[0]
        buffers = dict(rule.named_buffers())
        if buffers.keys() == {"_u", "_v"}:
            return _spectral_norm(parameters, (buffers["_u"], buffers["_v"]), rule.dim)
    names = ", ".join(type(rule).__name__ for rule in rules)
    return Stored(parameters, None, problem=f"is parametrized by {names}")


def _hooked(module: nn.Module, name: str, hooks: Sequence[object]) -> Stored:
    hook = hooks[0]
    parts = ("g", "v") if isinstance(hook, WeightNorm) else ("orig",)
    parameters: dict[str, Tensor] = {
        key: parameter
        for part in parts
        if (parameter := module._parameters.get(key := f"{name}_{part}")) is not None
    }
    if len(hooks) > 1 or len(parameters) < len(parts):
        kinds = ", ".join(type(other).__name__ for other in hooks)
        return Stored(parameters, None, problem=f"is computed by several: {kinds}")

    def refresh() -> None:
        if isinstance(hook, SpectralNorm):
            weight = hook.compute_weight(module, do_power_iteration=False)
            setattr(module, name, weight)
        elif isinstance(hook, (WeightNorm, BasePruningMethod)):
            hook(module, ())

    if isinstance(hook, WeightNorm):
        return _weight_norm(parameters, hook.dim, refresh)
    if isinstance(hook, SpectralNorm):
        buffers = module._buffers[f"{name}_u"], module._buffers[f"{name}_v"]
        assert buffers[0] is not None and buffers[1] is not None
        return _spectral_norm(parameters, (buffers[0], buffers[1]), hook.dim, refresh)
    (weight,) = parameters.values()
    return Stored(
        parameters,
        lambda value: [Update(weight, value)],
        "the pruning mask stays",
        refresh=refresh,
    )


def _weight_norm(
    parameters: dict[str, Tensor],
    dim: int,
    refresh: Callable[[], None] = lambda: None,
) -> Stored:
    length, direction = parameters.values()

    def updates(value: Tensor) -> list[Update]:
        lengths = torch.norm_except_dim(value, 2, dim)
        return [Update(length, lengths), Update(direction, value)]

    return Stored(
        parameters, updates, "through weight_norm", normalized=True, refresh=refresh
    )


def _spectral_norm(
    parameters: dict[str, Tensor],
    vectors: tuple[Tensor, Tensor],
    dim: int,
    refresh: Callable[[], None] = lambda: None,
) -> Stored:
    (weight,) = parameters.values()

    def updates(value: Tensor) -> list[Update]:
        matrix = value.movedim(dim, 0).flatten(1)
        v = F.normalize(matrix.sum(0), dim=0)
        for _ in range(_POWER_ITERATIONS):
            u = F.normalize(matrix.mv(v), dim=0)
            v = F.normalize(matrix.t().mv(u), dim=0)
        return [Update(weight, value), Update(vectors[0], u), Update(vectors[1], v)]

    return Stored(
        parameters,
        updates,
        "divided by its spectral norm",
        normalized=True,
        refresh=refresh,
    )
