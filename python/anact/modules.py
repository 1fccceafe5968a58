"""The module: an activation that normalizes itself."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch._C import _are_functorch_transforms_active, _is_tracing
from torch.autograd import forward_ad
from torch.compiler import is_compiling
from typing_extensions import Self, Unpack

from anact import _tracing
from anact._option_types import OptionArguments
from anact._options import ANActOptions, Function, derivative_of

_STATISTICS = ("output_mean", "output_square", "input_variance", "backward_gain")


class RunningStatistics(NamedTuple):
    """The running statistics of an ANAct as numbers."""

    output_mean: float
    output_square: float
    input_variance: float
    backward_gain: float


class ANAct(nn.Module):
    """y = (λ + 0.3·tanh α)·(f(x) − μ) + b, from running statistics of its input.

    The first batch uses its own statistics; b is that of the solution ``exact``.

    In training each call updates the statistics in place; in evaluation, and while it is
    frozen, they are constants and nothing changes. A batch that says nothing of the gains
    (not finite, a constant, a layer without a live unit) updates nothing and is counted
    in ``num_batches_skipped``. Among the first ten batches, one unlike those before it
    replaces them: Var(x), E[f(x)²] or E[f′(x)²] more than four times as large or as
    small. An empty input is passed through.

    Args:
        activation: f, a name or a function of your own; see :class:`anact.ANActOptions`,
            also for ``derivative`` and the other options.
        device: where α and the statistics live.
        dtype: of α. The statistics are float64 for ``torch.float64`` and float32 for
            any other type, whatever type the module is cast to.

    Shape:
        - input: any shape; float64, float32, bfloat16 or float16.
        - mask, optional: bool, broadcastable to the input; for padded sequences
          [batch, length, 1], say. The statistics of a training step are those of the
          elements where it is true; the output is computed for all.
        - output: that of the input.

    Attributes:
        alpha: the learnable parameter α, of shape [1].
        output_mean, output_square, input_variance, backward_gain: μ = E[f(x)],
            s = E[f(x)²], v = Var(x) and ρ′ = E[f′(x)²], running.
        num_batches_tracked: how many batches entered them.
        num_batches_skipped: how many were refused.
        options: the :class:`anact.ANActOptions`; may be assigned.

    Raises:
        ValueError: as :class:`anact.ANActOptions` does, and for a mask whose shape does
            not fit.
        TypeError: for a mask that is not bool.

    >>> act = ANAct("silu", momentum=0.05)
    >>> act
    ANAct(silu, momentum=0.05)
    >>> x = torch.randn(64, 128)
    >>> y = act(x)
    >>> y.shape, int(act.num_batches_tracked)
    (torch.Size([64, 128]), 1)
    """

    alpha: Tensor
    output_mean: Tensor
    output_square: Tensor
    input_variance: Tensor
    backward_gain: Tensor
    num_batches_tracked: Tensor
    num_batches_skipped: Tensor
    _frozen = False

    def __init__(
        self,
        activation: str | Function = "silu",
        *,
        derivative: Function | None = None,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
        **options: Unpack[OptionArguments],
    ) -> None:
        super().__init__()
        self.options = ANActOptions(activation, derivative, **options)
        kind = torch.get_default_dtype() if dtype is None else dtype
        wide = _statistics_dtype(kind)
        self.alpha = nn.Parameter(
            torch.zeros(1, device=device, dtype=kind),
            requires_grad=self.options.learnable,
        )
        for name in _STATISTICS:
            self.register_buffer(name, torch.zeros((), device=device, dtype=wide))
        count = torch.zeros((), device=device, dtype=torch.int64)
        self.register_buffer("num_batches_tracked", count)
        self.register_buffer("num_batches_skipped", count.clone())
        self.reset_running_stats()

    @property
    def options(self) -> ANActOptions:
        """How it normalizes; may be assigned, which leaves the statistics as they are."""
        return self._options

    @options.setter
    def options(self, options: ANActOptions) -> None:
        before = vars(self).get("_options", options)
        self._options = options
        self._prepare()
        if "alpha" in self._parameters and options.learnable != before.learnable:
            self.alpha.requires_grad_(options.learnable)

    def _prepare(self) -> None:
        """What forward passes take of the options."""
        self._step = self._options.step()
        self._named = isinstance(self._options.activation, str)
        # An operator cannot hold a function of the user's own, only what follows it.
        named = (
            self._step
            if self._named
            else replace(self._options, activation="identity", derivative=None).step()
        )
        self._arguments = named.operator_arguments()

    def reset_parameters(self) -> None:
        """α to 0, and the statistics to those under a standard normal input."""
        with torch.no_grad():
            self.alpha.zero_()
        self.reset_running_stats()

    def reset_running_stats(self) -> None:
        """The statistics to those under a standard normal input."""
        for name, value in zip(_STATISTICS, self._step.gaussian_statistics()):
            getattr(self, name).fill_(value)
        self.num_batches_tracked.zero_()
        self.num_batches_skipped.zero_()

    def forward(self, input: Tensor, mask: Tensor | None = None) -> Tensor:
        # Whatever looks into the pass sees operators; else it is one call into C++.
        if (
            is_compiling()
            or type(input) is not Tensor
            or mask is not None
            or _are_functorch_transforms_active()
            or _is_tracing()
            or forward_ad._current_level >= 0
        ):
            return self._forward_operators(input, mask)
        return self._step.forward(self, input)

    def _forward_operators(self, input: Tensor, mask: Tensor | None) -> Tensor:
        if isinstance(input, fx.Proxy):
            return _tracing.record_call(self, input, mask)
        if mask is not None:
            _check_mask(mask, input)
        running = (
            self.output_mean,
            self.output_square,
            self.input_variance,
            self.backward_gain,
        )
        if not self.training or self.frozen:
            return self._evaluate(input, running)
        _tracing.warn_of_training()
        counts = (self.num_batches_tracked, self.num_batches_skipped)
        if mask is not None:
            return self._step_masked(input, mask, running, counts)
        if not self._named:
            return self._step.forward(self, input)
        step = torch.ops.anact.step.default
        return step(input, self.alpha, *running, *counts, *self._arguments)  # type: ignore[no-any-return]

    def _step_masked(
        self,
        input: Tensor,
        mask: Tensor,
        running: tuple[Tensor, ...],
        counts: tuple[Tensor, Tensor],
    ) -> Tensor:
        name, parameters, options = self._arguments
        operators = torch.ops.anact
        f = self._options.activation
        if isinstance(f, str):
            value = input
            kept = torch.masked_select(input.detach(), mask)
            moments = operators.measure.default(kept, name, parameters)
        else:
            wide = _widened(input)
            value = f(wide)
            slope = derivative_of(f, self._options.derivative)
            with torch.no_grad():
                moments = _moments(wide, value, slope(wide.detach()), mask)
        map = operators.factors.default(
            self.alpha, *running, counts[0], moments, options
        )
        output: Tensor
        output, _ = operators.apply.default(value, map, name, parameters, False)
        operators.update_.default(*running, *counts, moments, self.alpha, map, options)
        return output.to(input.dtype)

    def _evaluate(self, input: Tensor, running: tuple[Tensor, ...]) -> Tensor:
        operator = torch.ops.anact.evaluate.default
        # Those who record or transform the pass outside a compiler are to see the plain
        # operators that it is made of.
        whole = is_compiling() or type(input) is not Tensor
        evaluate = operator if whole else operator.decompose
        f = self._options.activation
        if isinstance(f, str):
            return evaluate(input, self.alpha, *running, *self._arguments)  # type: ignore[no-any-return]
        output = evaluate(f(_widened(input)), self.alpha, *running, *self._arguments)
        return output.to(input.dtype)  # type: ignore[no-any-return]

    @property
    def frozen(self) -> bool:
        """Whether training leaves it as it is: α is one to learn and asks for no gradient,
        or :func:`anact.freeze` was told so.
        """
        learnable = self._options.learnable
        return self._frozen or (learnable and not self.alpha.requires_grad)

    def statistics(self) -> RunningStatistics:
        """The running statistics as numbers."""
        return RunningStatistics(*(getattr(self, name).item() for name in _STATISTICS))

    def factor(self) -> float:
        """λ in force in evaluation, from the running statistics."""
        return self._step.factor(self.statistics())

    def affine(self) -> tuple[float, float]:
        """(scale, offset) of y = scale·f(x) + offset in evaluation, α included."""
        return self._step.factors(self.statistics(), self.alpha.item())

    def extra_repr(self) -> str:
        return str(self.options)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        before = {name: getattr(self, name) for name in _STATISTICS}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, old in before.items():
            new = getattr(self, name)
            wide = _statistics_dtype(new.dtype)
            if new.dtype != wide:
                # From the old values: those of the narrow type have lost digits.
                setattr(self, name, old.to(device=new.device, dtype=wide))
        for name in ("num_batches_tracked", "num_batches_skipped"):
            setattr(self, name, getattr(self, name).to(torch.int64))
        return self

    def get_extra_state(self) -> Tensor:
        """The activation and the options, as text in bytes."""
        # A tensor, since files of safetensors and distributed checkpoints hold no text.
        return torch.tensor(list(self._step.text().encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Changes nothing: loading checks it instead."""

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        super()._load_from_state_dict(
            state_dict,
            prefix,
            local_metadata,
            strict,
            missing_keys,
            unexpected_keys,
            error_msgs,
        )
        key = prefix + "_extra_state"
        if key in missing_keys:
            # Saved by a version that did not write it, or by C++.
            missing_keys.remove(key)
        saved = state_dict.get(key)
        # torch.distributed.checkpoint puts in a placeholder where there is none.
        if isinstance(saved, Tensor):
            wrong = self._step.mismatch(bytes(saved.tolist()).decode())
            if wrong:
                # PyTorch refuses an unexpected key if load_state_dict is strict, and
                # tells a module nothing of that.
                warnings.warn(f"{key}: {wrong}", stacklevel=2)
                unexpected_keys.append(f"{key} ({wrong})")
        # Assigned instead of copied, they are of the file's type.
        for name in _STATISTICS:
            value = getattr(self, name)
            setattr(self, name, value.to(_statistics_dtype(value.dtype)))

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        for name in ("_step", "_named", "_arguments"):
            del state[name]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._prepare()


class _ModuleArguments(OptionArguments, total=False):
    device: torch.device | str | int | None
    dtype: torch.dtype | None


class NReLU(ANAct):
    """ANAct of ReLU, with the options of :class:`ANAct`."""

    def __init__(self, **options: Unpack[_ModuleArguments]) -> None:
        super().__init__("relu", **options)


class NSiLU(ANAct):
    """ANAct of SiLU, also called Swish."""

    def __init__(self, **options: Unpack[_ModuleArguments]) -> None:
        super().__init__("silu", **options)


NSwish = NSiLU


class NGELU(ANAct):
    """ANAct of GELU; ``approximate`` is ``"none"`` or ``"tanh"``."""

    def __init__(
        self, approximate: str = "none", **options: Unpack[_ModuleArguments]
    ) -> None:
        super().__init__(f"gelu(approximate={approximate})", **options)


class NMish(ANAct):
    """ANAct of Mish."""

    def __init__(self, **options: Unpack[_ModuleArguments]) -> None:
        super().__init__("mish", **options)


class NELU(ANAct):
    """ANAct of ELU."""

    def __init__(self, alpha: float = 1.0, **options: Unpack[_ModuleArguments]) -> None:
        super().__init__(f"elu(alpha={alpha!r})", **options)


class NLeakyReLU(ANAct):
    """ANAct of LeakyReLU."""

    def __init__(
        self, negative_slope: float = 0.01, **options: Unpack[_ModuleArguments]
    ) -> None:
        super().__init__(f"leaky_relu(negative_slope={negative_slope!r})", **options)


class NSoftplus(ANAct):
    """ANAct of Softplus."""

    def __init__(
        self,
        beta: float = 1.0,
        threshold: float = 20.0,
        **options: Unpack[_ModuleArguments],
    ) -> None:
        super().__init__(f"softplus(beta={beta!r}, threshold={threshold!r})", **options)


class NTanh(ANAct):
    """ANAct of tanh."""

    def __init__(self, **options: Unpack[_ModuleArguments]) -> None:
        super().__init__("tanh", **options)


def _statistics_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _widened(input: Tensor) -> Tensor:
    """What a function of the user's own is given."""
    narrow = input.dtype not in (torch.float32, torch.float64)
    return input.float() if narrow else input


def _moments(x: Tensor, fx: Tensor, slope: Tensor, mask: Tensor) -> Tensor:
    """As ``anact::measure`` has them, of the kept elements of x, f(x) and f′(x)."""
    measure = torch.ops.anact.measure.default
    parts = [
        measure(torch.masked_select(part.detach(), mask), "identity", [])
        for part in (x, fx, slope)
    ]
    # Of count, mean and the sum of squared distances from it.
    sums = [part[0] * part[1] for part in parts]
    squares = [part[2] + part[0] * part[1].square() for part in parts]
    return torch.cat([parts[0][:3], torch.stack([sums[1], squares[1], squares[2]])])


def _check_mask(mask: Tensor, input: Tensor) -> None:
    if mask.dtype != torch.bool:
        raise TypeError(f"mask: expected bool, found {mask.dtype}")
    sizes = zip(reversed(mask.shape), reversed(input.shape), strict=False)
    if mask.dim() > input.dim() or any(m not in (1, n) for m, n in sizes):
        raise ValueError(
            f"mask: shape {list(mask.shape)} is not broadcastable to the input's,"
            f" {list(input.shape)}"
        )
