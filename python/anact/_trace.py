"""What a model does with its activations when it runs on an example.

Every function of PyTorch that the model calls is seen, and of each tensor it is known
from which activations it comes. Through views, copies and affine maps by constants or
parameters, a tensor still counts as an activation's result.
"""

from __future__ import annotations

import functools
import linecache
import math
import os
import sys
import textwrap
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from types import CodeType, FrameType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from anact._activations import (
    activation_of,
    function_name,
    lacks_normalized_form,
    parameters_of,
    plain,
    text_of,
)
from anact._places import Place
from anact._unchanged import unchanged
from anact.modules import ANAct


@dataclass(frozen=True)
class Site:
    """Where something was called: the module that ran, and the line in the source.

    `file` and `text` are empty, and `line` is 0, for what only PyTorch's own code called.
    """

    path: str
    module: str
    file: str
    line: int
    text: str


@dataclass(eq=False)
class Ran:
    """A call of an activation."""

    activation: str
    site: Site
    # One bit of a mask for each call; what the input comes from, as such a mask.
    bit: int
    before: int
    input: Tensor | None
    # Called at a place of the model, or else as a function
    placed: bool
    # Not reported: it is no activation, or a part of one
    hidden: bool = False
    # The calls that it is made of
    parts: list[Ran] = field(default_factory=list)
    # "gate", "output" and "softmax", each with where
    uses: dict[str, Site | None] = field(default_factory=dict)
    # Where the input is used again although the activation has changed it
    reused: Site | None = None


@dataclass
class Trace:
    """The activations that ran; among the functions also those that are hidden."""

    at_places: dict[tuple[int, str], list[Ran]]
    functions: list[Ran]

    def at(self, place: Place) -> list[Ran]:
        """The calls of what a place holds."""
        return self.at_places.get(_key(place), [])

    def move(self, calls: list[tuple[Place, Ran]]) -> None:
        """Counts calls of functions as calls of what some places are to hold."""
        for place, ran in calls:
            self.at_places.setdefault(_key(place), []).append(ran)
        gone = {id(ran) for _, ran in calls}
        self.functions = [ran for ran in self.functions if id(ran) not in gone]


def trace(model: nn.Module, found: list[Place], example: object) -> Trace:
    """Runs the model once, without gradients, and leaves it as it was.

    Args:
        model: the model.
        found: its places.
        example: its argument; a tuple of them; or a dict of them by name.

    Raises:
        ValueError: for a model with lazy parameters. Whatever the model raises is passed
            on.
    """
    arguments, named = arguments_of(example)
    with unchanged(model), torch.no_grad(), torch.compiler.set_stance("force_eager"):
        model, places = _stand_ins(model, found)
        recorder = _Recorder(model, places)
        recorder.begin((arguments, named))
        with warnings.catch_warnings(), recorder.hooks(), _Visible(), recorder:
            # A compiled model's two calls, of itself and of what it compiles, are told apart.
            warnings.filterwarnings("ignore", message="Using `torch.compile")
            output = model(*arguments, **named)
        recorder.end(output)
    return Trace(recorder.at_places, recorder.functions)


def arguments_of(example: object) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Copies of an example's tensors, as a model's arguments and those by name."""
    example = pytree.tree_map_only(Tensor, lambda t: t.detach().clone(), example)
    if isinstance(example, Mapping):
        # Of a class of its own, a mapping is no container to tree_map.
        return (), {
            key: value.detach().clone() if isinstance(value, Tensor) else value
            for key, value in example.items()
        }
    return (example if isinstance(example, tuple) else (example,)), {}


def _key(place: Place) -> tuple[int, str]:
    return id(place.holder), place.name


def _stand_ins(
    model: nn.Module, found: list[Place]
) -> tuple[nn.Module, dict[int, tuple[int, str]]]:
    """Puts something of its own in every place, so that a call tells the place.

    Returns the model, and the place of each module and function by its id.
    """
    keys: dict[int, tuple[int, str]] = {}
    for place in found:
        held = place.held
        if isinstance(held, nn.Module):
            if not _is_unit(held):
                continue
            if id(held) in keys:
                held = _shallow_copy(held)
                assert place.holder is not None
                place.holder._modules[place.name] = held
                if place.name in vars(place.holder):
                    vars(place.holder)[place.name] = held
        else:
            held = _PlacedFunction(held)
            vars(place.holder)[place.name] = held
        keys[id(held)] = _key(place)
    return model, keys


def _shallow_copy(module: nn.Module) -> nn.Module:
    other = type(module).__new__(type(module))
    vars(other).update(vars(module))
    return other


def _is_unit(module: nn.Module) -> bool:
    """Whether what happens within the module is its own affair."""
    return (
        isinstance(module, ANAct)
        or activation_of(module) is not None
        or lacks_normalized_form(module)
    )


class _PlacedFunction:
    """A function that is an attribute of a module, while the model is traced."""

    def __init__(self, function: Any) -> None:
        self.function = function
        self.recorder: _Recorder | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.recorder is None:
            return self.function(*args, **kwargs)
        return self.recorder.call_function(self, args, kwargs)


# ---- What PyTorch's functions do to a tensor's origin


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# What comes out still is what went in, moved, masked, or mapped without another signal.
_KEEP = _words(
    """
    view reshape flatten unflatten squeeze unsqueeze expand expand_as view_as reshape_as
    permute transpose t T mT H mH adjoint contiguous clone detach alias data to to_copy
    type type_as float double half bfloat16 cpu cuda narrow select index_select getitem
    chunk split split_with_sizes tensor_split unbind movedim moveaxis swapaxes swapdims
    repeat repeat_interleave tile broadcast_to roll flip as_strided slice pad dropout
    alpha_dropout feature_alpha_dropout dropout1d dropout2d dropout3d native_dropout
    interpolate upsample stack cat concat concatenate hstack vstack dstack setitem
    pixel_shuffle masked_fill where gather nan_to_num unsafe_chunk unsafe_split
    add sub subtract rsub mul multiply div divide true_divide neg negative clamp clip
    clamp_min clamp_max round copy lift_fresh requires_grad
    log log1p log2 exp reciprocal pow square sqrt
    """
)
# ... and a constant factor leads from one to the other.
_SCALE = _words("mul multiply div divide true_divide to float double half bfloat16")
_JOIN = _words("stack cat concat concatenate hstack vstack dstack where setitem")
_SUM = _words("sum mean cumsum")
# New tensors that take only shape and type from what is given.
_LIKE = _words(
    """
    zeros_like ones_like full_like empty_like rand_like randn_like randint_like
    new_zeros new_ones new_full new_empty new_tensor
    """
)
# These read a tensor's values and return no tensor.
_READ = _words("item tolist bool float int index complex numpy array contains repr")
# Which arguments are multiplied with one another; none named: all.
_PRODUCTS: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("mul", "multiply", "div", "divide", "true_divide"), (0, 1)),
    **dict.fromkeys(("addcmul", "addmm", "addbmm", "baddbmm"), (1, 2)),
    "lerp": (0, 2),
    **dict.fromkeys(
        ("matmul", "rmatmul", "mm", "bmm", "mv", "dot", "inner", "outer", "tensordot"),
        (0, 1),
    ),
    "einsum": (),
    **dict.fromkeys(("linear", "convolution"), (0, 1)),
    **{f"conv{t}{n}d": (0, 1) for t in ("", "_transpose") for n in (1, 2, 3)},
}
_BY_ELEMENT = _words("mul multiply div divide true_divide addcmul lerp")
_SOFTMAX = _words("softmax softmin log_softmax gumbel_softmax")
_LOSSES = _words(
    "cross_entropy binary_cross_entropy binary_cross_entropy_with_logits kl_div"
)
_NAMES = {
    **{f"{way}{name}": name for way in "ri" for name in ("add", "mul", "matmul")},
    **{f"{way}truediv": "div" for way in ("", "r", "i")},
    **{f"{way}div": "div" for way in "ri"},
    "isub": "sub",
    "add_relu": "add",
}
# Functions within an activation that multiplies its own input by them.
_PARTS = _words("erf clamp clip")
# Which activations those and others are part of, the likelier first.
_SELF_GATED = {
    "sigmoid": ("silu", "gelu(approximate=tanh)"),
    "tanh": ("gelu(approximate=tanh)", "mish"),
    "erf": ("gelu",),
    **dict.fromkeys(
        ("hardsigmoid", "relu6", "hardtanh", "clamp", "clip"), ("hardswish",)
    ),
}
_WHOLE = {name: plain(name) for names in _SELF_GATED.values() for name in names}
_BETWEEN_0_AND_1 = _words("sigmoid hardsigmoid softmax")


def _unsupported_functions() -> dict[Any, str]:
    names = ("prelu", "rrelu", "glu", "hardshrink", "threshold")
    return {
        getattr(space, variant): name
        for name in names
        for variant in (name, f"{name}_")
        for space in (F, torch, Tensor)
        if hasattr(space, variant)
    }


_UNSUPPORTED = _unsupported_functions()


def _name(function: Any) -> str:
    name = str(getattr(function, "__name__", ""))
    if name == "__get__":
        name = str(getattr(function.__self__, "__name__", ""))
    if isinstance(function, OpOverload):
        name = name.split(".")[0]
    name = name.strip("_")
    return _NAMES.get(name, name)


def _activation(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Which activation a call is; "" for none."""
    if isinstance(function, OpOverload):
        name = function.__name__.split(".")[0]
        function = getattr(torch, name, None) or getattr(F, name, None)
    if function in _UNSUPPORTED:
        return _UNSUPPORTED[function]
    name = function_name(function) or ""
    values = dict(zip(parameters_of(name), args[1:], strict=False))
    values |= {key: kwargs[key] for key in parameters_of(name) if key in kwargs}
    return (name and text_of(name, values)) or name


# ---- Tensors


@dataclass(frozen=True)
class _Info:
    """Where a tensor's values come from."""

    # From the example at all; as numbers that a gradient could flow through; from weights
    data: bool = False
    signal: bool = False
    weights: bool = False
    # A mask of the activations and arguments that it comes from
    before: int = 0
    # The activations whose results it is, and those whose sum it is
    results: frozenset[Ran] = frozenset()
    sums: frozenset[Ran] = frozenset()
    # The tensor that it is a multiple of
    origin: Tensor | None = None


_NOTHING: frozenset[Ran] = frozenset()


def _tensors(value: object, depth: int = 6) -> Iterator[Tensor]:
    """The tensors in nested containers and objects."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (str, bytes, int, float, nn.Module, type)) or depth == 0:
        return
    elif isinstance(value, Mapping):
        for held in value.values():
            yield from _tensors(held, depth - 1)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for held in value:
            yield from _tensors(held, depth - 1)
    elif is_dataclass(value):
        for f in fields(value):
            yield from _tensors(getattr(value, f.name, None), depth - 1)
    elif hasattr(value, "__dict__") and not callable(value):
        yield from _tensors(vars(value), depth - 1)


def _arguments(value: object) -> Iterator[Tensor]:
    """The tensors among the arguments, or in the result, of a function of PyTorch."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for held in value:
            yield from _arguments(held)
    elif isinstance(value, dict):
        for held in value.values():
            yield from _arguments(held)


def _storage(tensor: Tensor) -> int:
    """The same for all tensors that share memory."""
    try:
        return int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):  # sparse, or of no memory
        return id(tensor)


# ---- Where in the source

_SKIPPED = tuple(
    os.path.join(os.path.dirname(os.path.abspath(file)), "")
    for file in (torch.__file__, __file__)
)


def model_frame() -> FrameType | None:
    """The model's innermost call in code that is not of PyTorch or of this package."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_SKIPPED):
        if frame.f_code is trace.__code__:
            return None
        frame = frame.f_back
    return frame


def _text(code: CodeType, instruction: int, line: int) -> str:
    """The call as written, or its first line where Python does not say more."""
    positions = getattr(code, "co_positions", None)
    if positions is not None:
        for i, (first, last, start, end) in enumerate(positions()):
            if i == instruction // 2 and None not in (first, last, start, end):
                lines = [
                    linecache.getline(code.co_filename, n).encode()
                    for n in range(first, last + 1)
                ]
                lines[-1] = lines[-1][:end]
                lines[0] = lines[0][start:]
                text = " ".join(part.decode(errors="replace") for part in lines)
                return textwrap.shorten(text, 80)
    return textwrap.shorten(linecache.getline(code.co_filename, line), 80)


# ---- The recorder


@dataclass
class _Call:
    """A call of a module, or of a function that a place holds, that has not returned."""

    called: object
    unit: bool
    mutated: list[Tensor] = field(default_factory=list)


@dataclass
class _InPlace:
    """Memory that an activation has changed, and the tensors that are its result."""

    ran: Ran
    results: set[int]


class _Visible(TorchDispatchMode):
    """Lets the recorder see what compiled code calls as well."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return func(*args, **(kwargs or {}))


class _Recorder(TorchFunctionMode):
    def __init__(self, model: nn.Module, places: dict[int, tuple[int, str]]) -> None:
        super().__init__()
        self.root = model
        self.places = places
        self.paths = {id(module): path for path, module in model.named_modules()}
        self.at_places: dict[tuple[int, str], list[Ran]] = defaultdict(list)
        self.functions: list[Ran] = []
        self.calls: list[_Call] = []
        self.bits = 0
        self.busy = False
        # By id; the tensors are held so that no id is used again.
        self.tensors: dict[int, tuple[Tensor, _Info]] = {}
        self.sharing: dict[int, set[int]] = defaultdict(set)
        self.in_place: dict[int, list[_InPlace]] = defaultdict(list)
        for module in model.modules():
            for value in vars(module).values():
                if isinstance(value, _PlacedFunction):
                    value.recorder = self
        for weight in (*model.parameters(), *model.buffers()):
            self._know(weight, _Info(weights=True))
        self.constant = set(self.tensors)

    def begin(self, arguments: object) -> None:
        """Takes the example's tensors for where signals come from."""
        for tensor in _tensors(arguments):
            real = tensor.is_floating_point() or tensor.is_complex()
            self._know(tensor, _Info(data=True, signal=real, before=self._bit()))

    def end(self, output: object) -> None:
        """Takes the model's output."""
        for tensor in _tensors(output):
            for ran in self._info(tensor).results:
                ran.uses.setdefault("output", None)
            self._check_reuse(tensor)

    @contextmanager
    def hooks(self) -> Iterator[None]:
        """Follows the calls of all modules, in the model or not."""
        handles = [
            nn.modules.module.register_module_forward_pre_hook(self._enter),
            nn.modules.module.register_module_forward_hook(
                self._leave, with_kwargs=True, always_call=True
            ),
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
                # PyTorch forgets to remove this one, and torch.compile warns of it.
                nn.modules.module._global_forward_hooks_with_kwargs.pop(handle.id, None)

    # Calls

    def _enter(self, module: nn.Module, args: Any) -> None:
        if not self.busy:
            # What a module is may be found by running it.
            with self._undisturbed():
                unit = _is_unit(module)
            self.calls.append(_Call(module, unit))

    def _leave(
        self, module: nn.Module, args: Any, kwargs: Any, output: Any = None
    ) -> Any:
        # PyTorch passes no keywords after an error.
        while self.calls and not self.busy:
            call = self.calls.pop()
            if call.called is module:
                break
        else:
            return None
        if not call.unit or self._within_unit() or isinstance(module, ANAct):
            return None
        if not isinstance(output, Tensor):
            return None
        with self._undisturbed():
            name = activation_of(module) or type(module).__qualname__
            return self._ran(name, call, next(_arguments((args, kwargs)), None), output)

    def call_function(self, held: _PlacedFunction, args: Any, kwargs: Any) -> Any:
        """Calls what a place holds."""
        call = _Call(held, True)
        self.calls.append(call)
        try:
            output = held.function(*args, **kwargs)
        finally:
            self.calls.remove(call)
        name = function_name(held.function) or ""
        if self._within_unit() or not isinstance(output, Tensor):
            return output
        with self._undisturbed():
            given = next(_arguments((args, kwargs)), None)
            return self._ran(name, call, given, output)

    def _within_unit(self) -> bool:
        return any(call.unit for call in self.calls)

    @contextmanager
    def _undisturbed(self) -> Iterator[None]:
        self.busy = True
        try:
            yield
        finally:
            self.busy = False

    def _ran(
        self, name: str, call: _Call, given: Tensor | None, output: Tensor
    ) -> Tensor:
        """Notes a call of a unit. Returns its result, apart from what it was given."""
        key = self.places.get(id(call.called))
        ran = self._activation_ran(name, given, key is not None)
        if key is None:
            self.functions.append(ran)
        else:
            self.at_places[key].append(ran)
        if given is None or not any(
            _storage(t) == _storage(given) for t in call.mutated
        ):
            self._know(output, self._result(ran))
            return output
        # The same tensor comes back under another name, so that what uses the result can be
        # told from what uses the input.
        output = output.view_as(output)
        self._know(output, self._result(ran))
        self._follow_view(output, [given])
        self.in_place[_storage(output)].append(_InPlace(ran, {id(output)}))
        return output

    def _activation_ran(self, name: str, given: Tensor | None, placed: bool) -> Ran:
        before = self._info(given).before if given is not None else 0
        return Ran(name, self._site(), self._bit(), before, given, placed)

    def _result(self, ran: Ran) -> _Info:
        given = self._info(ran.input) if ran.input is not None else _Info(signal=True)
        return _Info(
            given.data,
            given.signal,
            given.weights,
            given.before | ran.bit,
            frozenset([ran]),
        )

    def _site(self) -> Site:
        modules = [c.called for c in self.calls if id(c.called) in self.paths]
        module = modules[-1] if modules else self.root
        path, kind = self.paths[id(module)], type(module).__qualname__
        frame = model_frame()
        if frame is None:
            return Site(path, kind, "", 0, "")
        text = _text(frame.f_code, frame.f_lasti, frame.f_lineno)
        return Site(path, kind, frame.f_code.co_filename, frame.f_lineno, text)

    # Tensors

    def _bit(self) -> int:
        self.bits += 1
        return 1 << self.bits

    def _info(self, tensor: Tensor) -> _Info:
        known = self.tensors.get(id(tensor))
        return known[1] if known else _Info()

    def _know(self, tensor: Tensor, info: _Info) -> None:
        self.tensors[id(tensor)] = tensor, info
        self.sharing[_storage(tensor)].add(id(tensor))

    def _check_reuse(self, tensor: Tensor) -> None:
        for changed in self.in_place.get(_storage(tensor), ()):
            if id(tensor) not in changed.results and changed.ran.reused is None:
                changed.ran.reused = self._site()

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if self.busy:
            return func(*args, **kwargs)
        given = list(_arguments((args, kwargs)))
        versions = [_version(t) for t in given]
        with self._undisturbed():
            result = func(*args, **kwargs)
            outputs = list(_arguments(result))
            mutated = [
                t
                for t, version in zip(given, versions, strict=True)
                if _version(t) != version
            ]
            if outputs or mutated or _name(func) in _READ:
                self._follow(func, args, kwargs, given, outputs, mutated)
        return result

    def _follow(
        self,
        func: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        given: list[Tensor],
        outputs: list[Tensor],
        mutated: list[Tensor],
    ) -> None:
        name = _name(func)
        if name in _LIKE:
            for tensor in outputs:
                self._know(tensor, _Info())
            return
        for tensor in given:
            self._check_reuse(tensor)
        if self.calls:
            for call in self.calls:
                if call.unit:
                    call.mutated += mutated
        if self._within_unit():
            info = self._after(name, given)
        else:
            info = self._called(func, name, args, kwargs, given, outputs)
        for tensor in outputs:
            self._follow_view(tensor, given)
            real = tensor.is_floating_point() or tensor.is_complex()
            self._know(tensor, info if real else _Info(data=info.data))
        for tensor in mutated:
            if id(tensor) not in self.constant:
                self._mutate(tensor, info)

    def _follow_view(self, tensor: Tensor, given: list[Tensor]) -> None:
        for changed in self.in_place.get(_storage(tensor), ()):
            if any(id(t) in changed.results for t in given):
                changed.results.add(id(tensor))

    def _mutate(self, tensor: Tensor, info: _Info) -> None:
        """What shares the memory has part in it."""
        for other in self.sharing[_storage(tensor)]:
            if other == id(tensor):
                continue
            held, old = self.tensors[other]
            self.tensors[other] = (
                held,
                _Info(
                    old.data or info.data,
                    old.signal or info.signal,
                    old.weights or info.weights,
                    old.before | info.before,
                    old.results | info.results,
                ),
            )
        self._know(tensor, info)

    def _after(self, name: str, given: list[Tensor]) -> _Info:
        """What a function's result comes from."""
        infos = [self._info(t) for t in given]
        data = any(i.data for i in infos)
        weights = any(i.weights for i in infos)
        signals = [i for i in infos if i.signal]
        before = functools.reduce(lambda mask, i: mask | i.before, infos, 0)
        results, sums, origin = _NOTHING, _NOTHING, None
        having = [i for i in infos if i.results or i.sums]
        if name in _KEEP and having and (len(signals) <= 1 or name in _JOIN):
            results = _NOTHING.union(*(i.results for i in having))
            sums = _NOTHING.union(*(i.sums for i in having))
        if name in _SUM:
            results, sums = _NOTHING, _NOTHING.union(*(i.results for i in infos))
        if name in _SCALE and len(signals) == 1:
            origin = next(t for t in given if self._info(t).signal)
        return _Info(
            data,
            bool(signals) or (data and weights),
            weights,
            before,
            results,
            sums,
            origin,
        )

    # Functions

    def _called(
        self,
        func: Any,
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        given: list[Tensor],
        outputs: list[Tensor],
    ) -> _Info:
        activation = _activation(func, args, kwargs)
        if given and (activation or name in _PARTS or name in _SOFTMAX):
            if name in _SOFTMAX:
                self._use("softmax", self._info(given[0]).results)
            module = self._called_forward() if activation else None
            ran = self._activation_ran(
                activation or name, given[0], placed=module is not None
            )
            ran.hidden = not activation
            if module is not None:
                self.at_places[self.places[id(module)]].append(ran)
            else:
                self.functions.append(ran)
            return self._result(ran)
        if name in _LOSSES or name.endswith("_loss"):
            for tensor in given:
                self._use("output", self._info(tensor).results)
        info = self._after(name, given)
        if name in _PRODUCTS:
            operands = _operands(name, args, kwargs, given)
            for i, one in enumerate(operands):
                for other in operands[i + 1 :]:
                    self._product(name, one, other)
            if len(operands) == 2 and name in _BY_ELEMENT and outputs:
                one, other = operands
                activation, parts = self._self_gated(one, other, outputs[0])
                if activation:
                    ran = self._activation_ran(activation, one, placed=False)
                    ran.parts = parts
                    self.functions.append(ran)
                    return self._result(ran)
        if name == "normalize" and kwargs.get("p", args[1] if args[1:] else 2) == 1:
            self._use("softmax", self._info(given[0]).results)
        return info

    def _called_forward(self) -> nn.Module | None:
        """The activation whose forward was called without its hooks."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_code.co_filename.startswith(_SKIPPED):
            module = frame.f_locals.get("self")
            if frame.f_code.co_name == "forward" and id(module) in self.places:
                assert isinstance(module, nn.Module)
                return module
            frame = frame.f_back
        return None

    def _use(self, use: str, results: Iterable[Ran]) -> None:
        for ran in results:
            ran.uses.setdefault(use, self._site())

    def _product(self, name: str, one: Tensor, other: Tensor) -> None:
        a, b = self._info(one), self._info(other)
        if name in ("div", "divide", "true_divide"):
            self._use("softmax", a.results & b.sums)
        by_element = name in _BY_ELEMENT
        left = {r for r in a.results if _multiplies(r, b, by_element)}
        right = {r for r in b.results if _multiplies(r, a, by_element)}
        if left and right:
            # Of two activations, one between 0 and 1 lets through what the other says.
            if all(map(_between_0_and_1, left)):
                right = {r for r in right if _between_0_and_1(r)}
            elif all(map(_between_0_and_1, right)):
                left = set()
        self._use("gate", left | right)

    def _self_gated(
        self, one: Tensor, other: Tensor, product: Tensor
    ) -> tuple[str, list[Ran]]:
        """Which activation of the catalogue a product is, by its values, and its parts."""
        parts = [
            r
            for r in self._info(one).results | self._info(other).results
            if r.activation.split("(")[0] in _SELF_GATED
        ]
        if not parts:
            return "", []
        names = [n for r in parts for n in _SELF_GATED[r.activation.split("(")[0]]]
        tolerance = max(1e-5, 2 * torch.finfo(product.dtype).eps)
        for name in names:
            for x in self._multiples(one, other):
                if _distance(product, _WHOLE[name], x) > tolerance:
                    continue
                # Of a small signal every smooth gate makes nearly a multiple: there the
                # gate's own input must tell.
                if _distance(product, lambda x: x, x) < 10 * tolerance and not any(
                    _is_affine(part.input, x, tolerance) for part in parts
                ):
                    continue
                for part in parts:
                    assert part.input is not None
                    for inner in (part, *self._info(part.input).results):
                        inner.hidden = inner.hidden or not inner.placed
                return name, parts
        return "", []

    def _multiples(self, *tensors: Tensor) -> Iterator[Tensor]:
        for tensor in tensors:
            here: Tensor | None = tensor
            for _ in range(4):
                if here is None:
                    break
                yield here
                here = self._info(here).origin


def _version(tensor: Tensor) -> int:
    return -1 if tensor.is_inference() else tensor._version


def _operands(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any], given: list[Tensor]
) -> list[Tensor]:
    indices = _PRODUCTS[name]
    if not indices or max(indices) >= len(args):
        return given
    return [args[i] for i in indices if isinstance(args[i], Tensor)]


def _multiplies(ran: Ran, other: _Info, by_element: bool) -> bool:
    """Whether an activation's result times `other` is a product with another branch.

    What is computed from that very result does not count: the signal that a gate, or
    a norm, made from it acts on. Neither does a mask that comes with the example.
    """
    if not other.signal or other.before & ran.bit:
        return False
    return other.weights or (by_element and bool(other.before & ran.before))


def _between_0_and_1(ran: Ran) -> bool:
    return ran.activation.split("(")[0] in _BETWEEN_0_AND_1


def _distance(product: Tensor, module: Callable[[Tensor], Tensor], x: Tensor) -> float:
    """How far the product is from the nearest c·f(x) with c > 0, relative to its size."""
    if (
        x.shape != product.shape
        or x.numel() < 2
        or x.device.type == "meta"
        or not (x.is_floating_point() and product.is_floating_point())
    ):
        return math.inf
    x, product = x.double(), product.double()
    if not bool(x.min() < x.max()):
        return math.inf
    want = module(x)
    factor = (want * product).sum() / (want * want).sum()
    distance = (product - factor * want).abs().max() / product.abs().max()
    return (
        distance.item() if bool(factor > 0) and bool(distance.isfinite()) else math.inf
    )


def _is_affine(y: Tensor | None, x: Tensor, tolerance: float) -> bool:
    """Whether y = a + b·x, element by element."""
    if y is None or y.shape != x.shape:
        return False
    x, y = x.double(), y.double()
    dx, dy = x - x.mean(), y - y.mean()
    residual = dy - (dx * dy).sum() / (dx * dx).sum() * dx
    return bool(residual.abs().max() <= tolerance * y.abs().max())
