"""The probe of a compiled model: operators in the model, and rows made of their moments."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter
from torch.utils.hooks import RemovableHandle

from anact import _C
from anact import _probe_operators as operators
from anact._activations import activation_of
from anact._options import name_of
from anact._sinks import Row
from anact.modules import ANAct

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_MEASURED_TYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)

_UNPREDICTED = "a compiled model does not show what lies between its layers"


@dataclass
class _Layer:
    """A module that is measured, whose input has the row 2·index and its output the next."""

    index: int
    name: str
    kind: str
    module: nn.Module
    activation: str = ""
    # What anact::measure takes; identity for what is no activation of the catalogue.
    function: str = "identity"
    parameters: list[float] = field(default_factory=list)
    # A three-dimensional input is [batch, channels, length] here.
    channels_second: bool = False

    @property
    def weight(self) -> Tensor | None:
        """The parameter; what is computed from others has no update to measure."""
        if self.kind in ("linear", "convolution"):
            return self.module._parameters.get("weight")
        return None


class Operators:
    """What is put into a model, and the memory that it writes to.

    Raises:
        ValueError: for a model on several devices, and for one with lazy modules that have
            not run.
    """

    def __init__(
        self, model: nn.Module, choose: Callable[[str, str], bool] | None
    ) -> None:
        _refuse_lazy(model)
        self._model = weakref.ref(model)
        self.layers = [
            layer
            for layer in _layers_of(model)
            if choose is None or choose(layer.name, layer.activation)
        ]
        for index, layer in enumerate(self.layers):
            layer.index = index
        self._handles: list[RemovableHandle] = []
        self._place(_device_of(model))
        self.attach()

    def _place(self, device: torch.device) -> None:
        rows = 2 * len(self.layers)
        self.due = torch.zeros((), dtype=torch.bool, device=device)
        self.moments = operators.make_moments(rows, device)
        self.gradients = operators.make_moments(rows, device)
        from torch._dynamo import eval_frame, mark_static_address  # takes a second

        # Without it, CUDA graphs would be given copies of them.
        for tensor in (self.due, self.moments, self.gradients):
            mark_static_address(tensor)
        # Nor is a hook to be compiled by itself; within a larger graph it is all the same.
        for hook in (_Before, _After):
            eval_frame.skip_code(hook.__call__.__code__)

    def attach(self) -> None:
        """Puts them in, if they are not, and their memory where the model is now."""
        model = self._model()
        if model is not None and _device_of(model) != self.due.device:
            self._place(_device_of(model))
        if self._handles:
            return
        for layer in self.layers:
            before, after = _Before(self, layer), _After(self, layer)
            self._handles += [
                layer.module.register_forward_pre_hook(before, with_kwargs=True),
                layer.module.register_forward_hook(after),
            ]

    def detach(self) -> None:
        """Takes them out; the model's next call is compiled without them."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def begin(self) -> None:
        """What runs from now on is measured."""
        operators.reset(self.moments)
        operators.reset(self.gradients)
        operators.switch(self.due, True)

    def end(self) -> None:
        """What runs from now on is not."""
        operators.switch(self.due, False)


def _layers_of(model: nn.Module) -> Iterator[_Layer]:
    convolution = False
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            convolution = False
            yield _Layer(0, name, "linear", module)
        elif isinstance(module, _CONVOLUTIONS):
            convolution = True
            yield _Layer(0, name, "convolution", module)
        elif isinstance(module, _BATCH_NORMS):
            yield _Layer(0, name, "normalization", module)
        elif isinstance(module, nn.PReLU):
            yield _Layer(0, name, "activation", module, "prelu")
        else:
            activation = _activation_of(module)
            if activation is not None:
                layer = _Layer(0, name, "activation", module, name_of(activation))
                if isinstance(activation, str):
                    layer.function, layer.parameters = _C.split(activation)
                layer.channels_second = convolution
                yield layer


def _activation_of(module: nn.Module) -> Any:
    if isinstance(module, ANAct):
        return module.options.activation
    name = activation_of(module)
    return None if name == "identity" else name


class _Hook:
    """Has the model call the operator; torch.compile follows it into the graph."""

    def __init__(self, of: Operators, layer: _Layer) -> None:
        self._of = of
        self._layer = layer

    # A copy of the model, and one in a file, has no part in the measuring.
    def __deepcopy__(self, memo: dict[int, Any]) -> _Nothing:
        return _Nothing()

    def __reduce__(self) -> tuple[type[_Nothing], tuple[()]]:
        return _Nothing, ()


class _Nothing:
    """What is left of a hook in a copy of the model."""

    def __call__(self, *_arguments: Any) -> None:
        return None


class _Before(_Hook):
    def __call__(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        input = args[0] if args else kwargs.get("input")
        if not _is_measured(input):
            return
        of, layer = self._of, self._layer
        second = layer.channels_second or input.dim() > 3
        torch.ops.anact.probe_.default(
            input,
            of.due,
            of.moments,
            of.gradients,
            2 * layer.index,
            layer.function,
            layer.parameters,
            1 if second and input.dim() > 1 else input.dim() - 1,
        )


class _After(_Hook):
    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if not _is_measured(output):
            return
        of, row = self._of, 2 * self._layer.index + 1
        torch.ops.anact.probe_.default(
            output, of.due, of.moments, of.gradients, row, "identity", [], -1
        )


def _is_measured(x: Any) -> TypeGuard[Tensor]:
    """Whether to measure it; forward passes without gradients are left alone."""
    return (
        isinstance(x, Tensor) and x.dtype in _MEASURED_TYPES and torch.is_grad_enabled()
    )


@dataclass
class _Step:
    """A measured step, on the device."""

    number: int
    moments: Tensor
    gradients: Tensor
    weights: dict[int, Tensor]
    changes: dict[int, Tensor]
    alphas: dict[int, Tensor]
    # Whether step() ended it, so that something ought to have run.
    whole: bool


class CompiledProbe:
    """As :class:`anact._C.VarianceProbe`, of what the operators measure.

    Rows are made when they are asked for; until then nothing waits for the device.
    """

    def __init__(self, of: Operators, every: int, predict: bool) -> None:
        self._of = of
        self._every = every
        self._predict = predict
        self._number = 0
        self._running = False
        self._pending: list[_Step] = []
        self._records: list[Row] = []
        # Of the step that is measured.
        self._weights: dict[int, Tensor] = {}
        self._alphas: dict[int, Tensor] = {}
        self._begin()

    def step(self) -> None:
        self._end(whole=True)
        self._begin()

    def finish(self) -> None:
        self._end(whole=False)

    def records(self, from_row: int = 0) -> list[Row]:
        while self._pending:
            step = self._pending.pop(0)
            rows = _rows(self._of.layers, step, _UNPREDICTED if self._predict else "")
            if not rows and step.whole:
                warnings.warn(
                    f"VarianceProbe: no layer ran in the measured step {step.number};"
                    " a model that was compiled and ran before its probe was made has"
                    " no operators in it",
                    stacklevel=3,
                )
            self._records += rows
        return [dict(row) for row in self._records[from_row:]]

    def _begin(self) -> None:
        self._running = True
        if self._number % self._every:
            return
        self._of.begin()
        self._weights = {
            layer.index: layer.weight.detach().clone()
            for layer in self._of.layers
            if layer.weight is not None
        }
        self._alphas = {
            layer.index: layer.module.alpha.detach().clone()
            for layer in self._of.layers
            if isinstance(layer.module, ANAct)
        }

    def _end(self, whole: bool) -> None:
        if not self._running:
            return
        self._running = False
        if self._number % self._every == 0:
            self._of.end()
            self._pending.append(self._measured(whole))
            self._weights, self._alphas = {}, {}
        self._number += 1

    def _measured(self, whole: bool) -> _Step:
        changes = {}
        for layer in self._of.layers:
            before, now = self._weights.get(layer.index), layer.weight
            if before is not None and now is not None:
                kind = torch.promote_types(before.dtype, torch.float32)
                change = now.detach().to(kind) - before.to(kind)
                changes[layer.index] = _moments_of(change)
        return _Step(
            self._number,
            self._of.moments.clone(),
            self._of.gradients.clone(),
            {index: _moments_of(weight) for index, weight in self._weights.items()},
            changes,
            self._alphas,
            whole,
        )


def _moments_of(x: Tensor) -> Tensor:
    moments: Tensor = torch.ops.anact.measure.default(x, "identity", [])
    return moments


def _rows(layers: list[_Layer], step: _Step, unpredicted: str) -> list[Row]:
    moments, gradients = step.moments.cpu(), step.gradients.cpu()
    measured = _columns(moments, gradients)
    turns = operators.column(moments, "turn").tolist()
    ran = sorted(
        (la for la in layers if turns[2 * la.index]), key=lambda la: turns[2 * la.index]
    )
    rows = []
    for place, layer in enumerate(ran):
        row: Row = dict.fromkeys((name for name, _ in _C.probe_columns()), torch.nan)
        row |= {
            "step": step.number,
            "layer": place,
            "name": layer.name,
            "kind": layer.kind,
            "activation": layer.activation,
            "normalized": isinstance(layer.module, ANAct),
            "unpredicted": unpredicted,
        }
        row |= {name: values[layer.index] for name, values in measured.items()}
        if layer.kind == "activation":
            row |= _of_activation(layer, moments, step.alphas.get(layer.index))
        if layer.index in step.weights:
            row |= _of_weight(layer, step)
        rows.append(row)
    return rows


def _columns(moments: Tensor, gradients: Tensor) -> dict[str, list[float]]:
    """Mean, variance and second moment of what goes in and comes out of all layers."""
    columns = {}
    for of, spread in (("", moments), ("_gradient", gradients)):
        count = operators.column(spread, "count")
        mean = operators.column(spread, "mean").where(count > 0, torch.nan)
        variance = operators.column(spread, "m2") / count
        values = {
            "mean": mean,
            "variance": variance,
            "second_moment": variance + mean.square(),
        }
        for what, value in values.items():
            columns[f"input{of}_{what}"] = value[::2].tolist()
            columns[f"output{of}_{what}"] = value[1::2].tolist()
    return columns


def _of_activation(
    layer: _Layer, moments: Tensor, alpha: Tensor | None
) -> dict[str, float]:
    def of(name: str, row: int = 2 * layer.index) -> Tensor:
        return operators.column(moments, name)[row]

    known = layer.function != "identity"
    factor = torch.ones((), dtype=torch.float64)
    values = {}
    if alpha is not None:
        # y is an affine map of f(x): their variances tell its scale.
        variance = of("output_variance", 2 * layer.index + 1)
        scale = (variance / of("output_variance")).sqrt()
        wide = alpha.cpu().double().squeeze()
        usable = known and bool(scale.isfinite())
        factor = scale - _C.ALPHA_RANGE * wide.tanh() if usable else factor * torch.nan
        values["alpha"] = wide
    values["lambda"] = factor
    if known:
        count = of("count")
        values["forward_gain"] = of("output_square_sum") / of("m2")
        values["backward_gain"] = of("slope_square_sum") / count
        values["forward_property"] = factor.square() * values["forward_gain"]
        values["backward_property"] = factor.square() * values["backward_gain"]
        values["mu"] = of("output_sum") / count
        values["dead_share"] = of("dead_share")
    return {name: value.item() for name, value in values.items()}


def _of_weight(layer: _Layer, step: _Step) -> dict[str, float]:
    weight = layer.weight
    values = {"weight_second_moment": _second_moment(step.weights[layer.index])}
    if weight is not None:
        fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(weight)
        values |= {"fan_in": float(fan_in), "fan_out": float(fan_out)}
    if layer.index in step.changes and values["weight_second_moment"] > 0:
        change = _second_moment(step.changes[layer.index])
        values["update_ratio"] = (change / values["weight_second_moment"]) ** 0.5
    return values


def _second_moment(moments: Tensor) -> float:
    count, mean, m2 = moments[:3].tolist()
    return m2 / count + mean**2 if count else torch.nan


def _device_of(model: nn.Module) -> torch.device:
    devices = {t.device for t in (*model.parameters(), *model.buffers())}
    if len(devices) > 1:
        shown = ", ".join(sorted(map(str, devices)))
        raise ValueError(
            f"VarianceProbe: the model is on {shown}; compiled=True needs all of it on"
            " one device"
        )
    return devices.pop() if devices else torch.get_default_device()


def _refuse_lazy(model: nn.Module) -> None:
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if isinstance(tensor, (UninitializedParameter, UninitializedBuffer)):
            raise ValueError(  # noqa: TRY004
                f"VarianceProbe: {name!r} has no shape yet; run the model once before"
                " its probe is made with compiled=True"
            )
