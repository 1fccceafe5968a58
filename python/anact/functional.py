"""ANAct without state."""

from dataclasses import replace

import torch
from torch import Tensor
from typing_extensions import Unpack

from anact import _C
from anact._option_types import OptionArguments
from anact._options import ANActOptions


def _step(activation: str, **options: Unpack[OptionArguments]) -> _C.Step:
    chosen = ANActOptions(activation, **options)
    return replace(chosen, statistics="batch", init_batch=False, gate=None).step()


# Dynamo can trace neither the options' checks nor the extension module.
@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _constants(
    activation: str, **options: Unpack[OptionArguments]
) -> tuple[str, tuple[float, ...], str, tuple[float, ...]]:
    step = _step(activation, **options)
    name, parameters, how = step.operator_arguments()
    return name, tuple(parameters), how, step.gaussian_statistics()


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
    if not torch.compiler.is_compiling():
        return _step(activation, **options).normalize(input)
    name, parameters, how, statistics = _constants(activation, **options)
    wide = torch.float64 if input.dtype == torch.float64 else torch.float32

    def scalar(value: float) -> Tensor:
        return torch.full((), value, dtype=wide, device=input.device)

    running = [scalar(value) for value in statistics]
    count = torch.zeros((), dtype=torch.int64, device=input.device)
    operators = torch.ops.anact
    moments = operators.measure.default(input, name, parameters)
    map = operators.factors.default(scalar(0.0), *running, count, moments, how)
    output: Tensor = operators.apply.default(input, map, name, parameters, False)[0]
    return output
