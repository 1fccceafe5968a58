"""ANAct without state."""

from dataclasses import replace

import torch
from torch import Tensor
from typing_extensions import Unpack

from anact import _C
from anact._option_types import OptionArguments
from anact._options import ANActOptions


# Graph capture can trace neither the options' checks nor the extension module.
@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _constants(
    activation: str, **options: Unpack[OptionArguments]
) -> tuple[str, tuple[float, ...], str, tuple[float, ...]]:
    chosen = replace(ANActOptions(activation, **options), statistics="batch", gate=None)
    name, parameters, how = chosen.step().operator_arguments()
    statistics = _C.gaussian_statistics(chosen.activation)
    return name, tuple(parameters), how, statistics


def anact(
    input: Tensor, activation: str = "silu", **options: Unpack[OptionArguments]
) -> Tensor:
    """y = λ·(f(x) − μ) + b, normalized by the statistics of ``input`` itself.

    As training with ``statistics="batch"`` does, with α = 0.

    Args:
        input: any shape; float64, float32, bfloat16 or float16.
        activation: f; see :class:`anact.ANActOptions`, also for the other options, of
            which ``statistics``, ``momentum``, ``gate`` and ``learnable`` have no meaning
            here.

    Raises:
        ValueError: as :class:`anact.ANActOptions` does.

    >>> x = torch.randn(1000)
    >>> y = anact(x, "relu", target="input")
    >>> bool((y.square().mean() / x.var(correction=0) - 1).abs() < 1e-5)
    True
    """
    name, parameters, how, statistics = _constants(activation, **options)
    wide = torch.float64 if input.dtype == torch.float64 else torch.float32

    def scalar(value: float) -> Tensor:
        return torch.full((), value, dtype=wide, device=input.device)

    running = [scalar(value) for value in statistics]
    count = torch.zeros((), dtype=torch.int64, device=input.device)
    output: Tensor = torch.ops.anact.forward.default(
        input, scalar(0.0), *running, count, name, parameters, how, True
    )[0]
    return output
