"""Where activations stand in a model, and how what stands there is replaced."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils import parametrize

from anact._activations import activation_of, function_name


def is_hooked(module: nn.Module) -> bool:
    """Whether something runs before or after the module's forward or backward."""
    return any(
        getattr(module, name)
        for name in (
            "_forward_hooks",
            "_forward_pre_hooks",
            "_backward_hooks",
            "_backward_pre_hooks",
        )
    )


@dataclass(frozen=True)
class Place:
    """Where a module, or a function that acts as one, is held."""

    paths: tuple[str, ...]
    holder: nn.Module | None
    name: str
    held: object

    @property
    def path(self) -> str:
        return self.paths[0]

    def check_replaceable(self) -> None:
        """Raises ValueError if replacing what is held would lose more than the module."""
        if isinstance(self.held, nn.Module):
            for what, present in (
                ("hooks", is_hooked(self.held)),
                ("parametrizations", parametrize.is_parametrized(self.held)),
            ):
                if present:
                    raise ValueError(
                        f"{self.path!r} has {what}, which would be lost: remove them"
                    )

    def put(self, new: object) -> None:
        """Puts a module or a function there."""
        holder = self.holder
        assert holder is not None
        if not isinstance(new, nn.Module) and self.name in holder._modules:
            delattr(holder, self.name)
        setattr(holder, self.name, new)
        if self.name != "activation":
            return
        if isinstance(holder, nn.TransformerDecoderLayer):
            # Its __setstate__ takes an activation that is not in __dict__ for a missing one.
            vars(holder)["activation"] = new
        if isinstance(holder, nn.TransformerEncoderLayer):
            # The fused evaluation knows two activations only, and does not call the module.
            name = (
                activation_of(new) if isinstance(new, nn.Module) else function_name(new)
            )
            holder.activation_relu_or_gelu = {"relu": 1, "gelu": 2}.get(name or "", 0)


def places(model: nn.Module) -> list[Place]:
    """Every place in the model that holds a module or an activation's function, in order.

    A parent that stands in several places is visited once, and its places then have
    several paths. The model itself is a place without a holder.
    """
    found: dict[tuple[int, str], Place] = {}

    def visit(prefix: str, holder: nn.Module) -> None:
        for name, held in _held(holder):
            path = f"{prefix}.{name}" if prefix else name
            key = (id(holder), name)
            paths = (*found[key].paths, path) if key in found else (path,)
            found[key] = Place(paths, holder, name, held)
            if isinstance(held, nn.Module):
                visit(path, held)

    visit("", model)
    return [Place(("",), None, "", model), *found.values()]


def _held(holder: nn.Module) -> Iterator[tuple[str, object]]:
    for name, child in holder._modules.items():
        if child is not None:
            yield name, child
    if activation_of(holder) is None:
        for name, value in vars(holder).items():
            if name not in holder._modules and function_name(value) is not None:
                yield name, value


def check_model(model: nn.Module) -> None:
    """Raises TypeError for what cannot be changed place by place."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"expected a torch.nn.Module, not {type(model).__name__}")
    for path, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            where = f"{path!r} is" if path else "the model is"
            raise TypeError(
                f"{where} a ScriptModule, whose activations cannot be replaced"
            )


def put_all(model: nn.Module, new: Sequence[tuple[Place, object]]) -> nn.Module:
    """Puts each in its place and returns the model, which is another if it was one."""
    for place, held in new:
        if place.holder is None:
            assert isinstance(held, nn.Module)
            return held
        place.put(held)
    return model


def update_encoders(model: nn.Module, changed: list[Place]) -> None:
    """Lets an nn.TransformerEncoder use nested tensors only where all its layers take them.

    They are for the fused evaluation of its layers alone.
    """
    holders = {id(place.holder) for place in changed}
    for encoder in model.modules():
        if isinstance(encoder, nn.TransformerEncoder) and any(
            id(layer) in holders for layer in encoder.layers
        ):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about why it does not
                encoder.use_nested_tensor = all(
                    nn.TransformerEncoder(
                        layer, 0, None, encoder.enable_nested_tensor
                    ).use_nested_tensor
                    for layer in encoder.layers
                )
