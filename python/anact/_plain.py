"""An ANAct without its normalization."""

from __future__ import annotations

from typing import TypeGuard

from torch import Tensor, nn

from anact._activations import plain
from anact._options import Function, name_of
from anact.modules import ANAct


class FunctionModule(nn.Module):
    """A function of a tensor as a module."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, input: Tensor) -> Tensor:
        return self.function(input)

    def extra_repr(self) -> str:
        return name_of(self.function)


def plain_of(act: ANAct) -> nn.Module:
    """The activation without its normalization."""
    f = act.options.activation
    if isinstance(f, str):
        return plain(f)
    return f if isinstance(f, nn.Module) else FunctionModule(f)


def is_anact(module: object) -> TypeGuard[ANAct]:
    """Whether it is an ANAct, or a subclass that does not override ``forward``."""
    return (
        isinstance(module, ANAct)
        and type(module).forward is ANAct.forward
        and "forward" not in vars(module)
    )
