"""One forward and backward pass of a model, with every call of a module watched."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle
from typing_extensions import Self

from anact._activations import (
    activation_of,
    function_name,
    lacks_normalized_form,
)
from anact._batch_statistics import SignalStatistics, signal_statistics, square_sum
from anact._options import name_of
from anact._plain import is_anact, plain_of

_CONVOLUTIONS = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
_CHANNELS_FIRST = (
    *_CONVOLUTIONS,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.GroupNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
)
_CHANNELS_LAST = (nn.Linear, nn.LayerNorm, nn.RMSNorm, nn.Embedding)
_SUMS = {
    torch.add,
    Tensor.add,
    Tensor.add_,
    Tensor.__add__,
    Tensor.__radd__,
    Tensor.__iadd__,
}
_DEAD_SLOPE = 1e-3


@dataclass(eq=False)
class Call:
    """A call of a module, or of an activation as a function.

    Attributes:
        path: of the module; "….relu()" for a function that it calls.
        module: None for a function.
        activation: the catalogue's text, or the class of an activation without one.
        convertible: whether an ANAct can take the module's place.
        function: whether it is a function's call.
        depth: how many modules are around it.
        number: which call of this path, from 1.
        children: how many calls were made directly within.
        sums: of two signals of one shape, made directly within.
        input, output: None where there is no floating tensor.
        input_gradient, output_gradient: Σ (∂L/∂x)²; None where none arrived.
        dead: share of an activation's units that are dead.
        slopes: how many values `dead` was judged on.
    """

    path: str
    module: nn.Module | None
    activation: str = ""
    convertible: bool = False
    function: bool = False
    depth: int = 0
    number: int = 1
    children: int = 0
    sums: int = 0
    input: SignalStatistics | None = None
    output: SignalStatistics | None = None
    input_gradient: float | None = None
    output_gradient: float | None = None
    dead: float | None = None
    slopes: int = 0

    @property
    def kind(self) -> str:
        """linear, convolution, normalization, activation, embedding, block or other."""
        if self.activation:
            return "activation"
        module = self.module
        if isinstance(module, nn.Embedding | nn.EmbeddingBag):
            return "embedding"
        if isinstance(module, _CONVOLUTIONS):
            return "convolution"
        if isinstance(module, nn.Linear | nn.Bilinear):
            return "linear"
        if "Norm" in type(module).__name__:
            return "normalization"
        if self.children:
            return "block"
        weights = module.parameters(recurse=False) if module else ()
        return "linear" if any(p.dim() >= 2 for p in weights) else "other"


class _Copy:
    """What a module is given in place of a tensor."""

    def __init__(self, original: Tensor, copy: Tensor) -> None:
        self.original = original
        self.copy = copy
        self.version = copy._version


class Observer(TorchFunctionMode):
    """A context in which a model's calls are recorded, and their gradients.

    Every module is given a copy of its input, so that the gradient through that module
    alone is seen where a shortcut uses the same tensor. A view would do, but for what
    happens to its hooks when it is changed in place.
    """

    def __init__(self, model: nn.Module, batch_size: int | None) -> None:
        super().__init__()
        self.calls: list[Call] = []
        #: What gradients are asked for, so that the backward pass comes through all.
        self.leaves: list[Tensor] = []
        self._model = model
        self._batch_size = batch_size
        self._open: list[Call] = []
        self._count: Counter[str] = Counter()
        self._handles: list[RemovableHandle] = []
        self._channels_first = False
        self._recording = True

    def __enter__(self) -> Self:
        # What computes a weight is no layer.
        computed = {
            id(inner)
            for module in self._model.modules()
            if isinstance(module, parametrize.ParametrizationList)
            for inner in module.modules()
        }
        for path, module in self._model.named_modules():
            # A ScriptModule takes no hooks: it is a part of what calls it.
            scripted = isinstance(module, torch.jit.ScriptModule)
            if not scripted and id(module) not in computed:
                self._watch(path, module)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)  # type: ignore[no-untyped-call]
        for handle in self._handles:
            handle.remove()

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        inside = self._open[-1] if self._open else None
        if not self._recording or inside is None or inside.activation:
            return func(*args, **kwargs)
        if func in _SUMS and _is_sum(args):
            inside.sums += 1
        activation = function_name(func)
        if activation in (None, "identity") or not args or not _is_signal(args[0]):
            return func(*args, **kwargs)
        return self._call_function(func, activation or "", args, kwargs)

    def stop(self) -> None:
        """Ends recording: what runs again in the backward pass is not the model's."""
        self._recording = False

    def begin_gradient(self, x: Tensor) -> Tensor:
        """The tensor with a gradient of its own from here on, safe to change in place."""
        leaf = (x.clone() if x.is_inference() else x.detach()).requires_grad_()
        self.leaves.append(leaf)
        return leaf.clone()

    def _watch(self, path: str, module: nn.Module) -> None:
        activation, convertible = _activation(module)
        opened: list[tuple[Call, bool, list[_Copy]]] = []

        def enter(
            module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
            if not self._recording:
                return None
            call = self._begin(Call(path, module, activation, convertible))
            self._open.append(call)
            signals = [x for x in (*args, *kwargs.values()) if _is_signal(x)]
            copies: list[_Copy] = []
            opened.append((call, any(x.requires_grad for x in signals), copies))
            if not signals:
                return None
            call.input = self._statistics(signals[0])
            if activation:
                self._measure_dead(call, signals[0], _plain(module))
            # In-place, the module changes the tensor that its caller holds.
            if not getattr(module, "inplace", False):
                unique = {id(x): x for x in signals if x.requires_grad}
                copies += [_Copy(x, x.clone()) for x in unique.values()]
            given = {id(c.original): c.copy for c in copies}
            first = given.get(id(signals[0]), signals[0])
            _on_gradient(first, call, "input_gradient")
            return (
                tuple(given.get(id(x), x) for x in args),
                {key: given.get(id(x), x) for key, x in kwargs.items()},
            )

        def leave(module: nn.Module, _args: Any, output: Any) -> Any:
            if not self._recording or not opened:
                return None
            call, differentiable, copies = opened.pop()
            while self._open and self._open.pop() is not call:
                pass
            self._notice_layout(module)
            for c in copies:
                if c.copy._version != c.version:
                    # It changed its input in place, and its caller may count on that.
                    c.original.copy_(c.copy)
                elif output is c.copy and c is copies[0]:
                    # An identity: what changes its output changes its input.
                    _on_gradient(c.original, call, "input_gradient")
                if output is c.copy:
                    output = c.original
            signal = next(signals_of(output), None)
            if signal is None:
                return None
            call.output = self._statistics(signal)
            if (
                torch.is_grad_enabled()
                and not (differentiable or signal.requires_grad)
                and not any(p.requires_grad for p in module.parameters())
                and signal is output
            ):
                # All before it is frozen or made of integers.
                output = signal = self.begin_gradient(signal)
            _on_gradient(signal, call, "output_gradient")
            return output

        before = module.register_forward_pre_hook(enter, with_kwargs=True)
        self._handles += [before, module.register_forward_hook(leave)]

    def _call_function(
        self, func: Any, activation: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        x: Tensor = args[0]
        name = f"{activation.split('(')[0]}()"
        around = self._open[-1].path
        path = f"{around}.{name}" if around else name
        call = self._begin(Call(path, None, activation, function=True))
        call.input = self._statistics(x)
        others = {k: v for k, v in kwargs.items() if k not in ("inplace", "out")}
        self._measure_dead(call, x, lambda x: func(x, *args[1:], **others))
        changes = (
            func.__name__.endswith("_")
            or kwargs.get("inplace")
            or any(value is True for value in args[1:])
        )
        given = x if changes else x.clone()
        _on_gradient(given, call, "input_gradient")
        output: Tensor = func(given, *args[1:], **kwargs)
        call.output = self._statistics(output)
        _on_gradient(output, call, "output_gradient")
        return output

    def _begin(self, call: Call) -> Call:
        self._count[call.path] += 1
        call.number = self._count[call.path]
        call.depth = len(self._open)
        if self._open:
            self._open[-1].children += 1
        self.calls.append(call)
        return call

    def _statistics(self, x: Tensor) -> SignalStatistics:
        with torch.no_grad():
            return signal_statistics(x, self._batch_size)

    def _measure_dead(
        self, call: Call, x: Tensor, f: Callable[[Tensor], Tensor]
    ) -> None:
        if not torch.is_grad_enabled() or x.numel() == 0:
            return
        inner = x.detach().clone().requires_grad_()
        # Out of sight of what counts the model's saved tensors, as checkpointing does.
        with torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t):
            y = f(inner.clone())
        if y.shape != x.shape or not y.requires_grad:
            return
        (slope,) = torch.autograd.grad(y.sum(), inner)
        first = x.dim() == 2 or (self._channels_first and x.dim() > 2)
        units = slope.movedim(1 if first else -1, 0) if x.dim() else slope.reshape(1)
        units = units.reshape(len(units), -1)
        dead = (units.abs() <= _DEAD_SLOPE).all(1)
        call.dead = dead.double().mean().item()
        call.slopes = x.numel()

    def _notice_layout(self, module: nn.Module) -> None:
        if isinstance(module, _CHANNELS_FIRST):
            self._channels_first = True
        elif isinstance(module, _CHANNELS_LAST):
            self._channels_first = False


def signals_of(value: Any) -> Iterator[Tensor]:
    """The floating tensors in nested tuples, lists, dictionaries and dataclasses."""
    if _is_signal(value):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from signals_of(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from signals_of(item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from signals_of(getattr(value, field.name))


def _is_signal(value: object) -> bool:
    return (
        isinstance(value, Tensor)
        and value.is_floating_point()
        and value.layout is torch.strided
    )


def _is_sum(args: tuple[Any, ...]) -> bool:
    return (
        len(args) == 2
        and all(_is_signal(x) and x.requires_grad for x in args)
        and args[0].shape == args[1].shape
    )


def _on_gradient(x: Tensor, call: Call, attribute: str) -> None:
    if not x.requires_grad:
        return

    def measure(gradient: Tensor) -> None:
        setattr(call, attribute, square_sum(gradient))

    x.register_hook(measure)


def _activation(module: nn.Module) -> tuple[str, bool]:
    if is_anact(module):
        return name_of(module.options.activation), False
    name = activation_of(module)
    if name is not None:
        return ("", False) if name == "identity" else (name, True)
    return (type(module).__name__ if lacks_normalized_form(module) else ""), False


def _plain(module: nn.Module) -> Callable[[Tensor], Tensor]:
    function = plain_of(module).forward if is_anact(module) else module.forward
    return function
