"""Whether a module's forward may be run to see what it computes: it does nothing else."""

from __future__ import annotations

import dis
import functools
import inspect
import math
import operator
import types
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CONSTANTS = (
    type(None),
    bool,
    int,
    float,
    complex,
    str,
    torch.dtype,
)
_BUILTINS = (abs, bool, float, int, isinstance, max, min, pow, round)
# Of a tensor: whatever has more effect than a new tensor, or tells more than its elements.
_NOT_OF_TENSORS = {
    "apply_",
    "backward",
    "cpu",
    "cuda",
    "data",
    "data_ptr",
    "device",
    "dim",
    "element_size",
    "get_device",
    "grad",
    "grad_fn",
    "item",
    "itemsize",
    "layout",
    "map_",
    "map2_",
    "names",
    "nbytes",
    "ndim",
    "ndimension",
    "nelement",
    "numel",
    "numpy",
    "pin_memory",
    "record_stream",
    "register_hook",
    "register_post_accumulate_grad_hook",
    "rename_",
    "requires_grad",
    "requires_grad_",
    "resize_",
    "resize_as_",
    "retain_grad",
    "set_",
    "shape",
    "share_memory_",
    "size",
    "storage",
    "storage_offset",
    "stride",
    "tolist",
    "untyped_storage",
}
_OF_CONTEXTS = {"save_for_backward", "saved_tensors", "needs_input_grad"}
_EFFECTS = (
    "STORE_ATTR",
    "STORE_SUBSCR",
    "STORE_SLICE",
    "STORE_GLOBAL",
    "STORE_NAME",
    "STORE_DEREF",
    "DELETE_",
    "IMPORT_",
    "YIELD_",
    "SEND",
    "FOR_ITER",
    "SETUP_WITH",
    "BEFORE_WITH",
    "LOAD_SPECIAL",
    "SETUP_ASYNC",
    "BEFORE_ASYNC",
    "MAKE_FUNCTION",
    "LOAD_SUPER",
    "LOAD_NAME",
    "LOAD_CLOSURE",
    "LOAD_BUILD_CLASS",
)


@functools.cache
def _pure_functions() -> frozenset[Any]:
    spaces = (
        vars(F).values(),
        (getattr(torch._C._VariableFunctions, n) for n in _tensor_functions()),
        vars(torch.special).values(),
        vars(math).values(),
        (value for name, value in vars(operator).items() if name[0] not in "_i"),
    )
    return frozenset(
        f
        for space in spaces
        for f in space
        if callable(f) and not isinstance(f, (type, functools.partial))
    ) | set(_BUILTINS)


def _tensor_functions() -> Iterable[str]:
    return (n for n in dir(torch._C._VariableFunctions) if not n.startswith("_"))


class _Impure(Exception):
    """Something may have another effect than its result, or reads more than its input."""


@dataclass
class Purity:
    """What reading a forward tells.

    Attributes:
        attributes: the attributes of the module that it reads, by name.
        fixed: whether nothing else that may change has been read, such as a global number.
    """

    attributes: dict[str, Any] = field(default_factory=dict)
    fixed: bool = True


def purity_of(module: nn.Module) -> Purity | None:
    """None if the module's forward may do more than return a function of its input.

    It is read, not run: its code and that of all functions that it calls, down to
    PyTorch's, must neither store anything nor loop, and read constants only.
    """
    reader = _Reader(module)
    try:
        reader.read(type(module).forward, bound=True)
    except _Impure:
        return None
    return reader.found


class _Reader:
    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.found = Purity()
        self.done: set[tuple[types.CodeType, bool]] = set()
        self.within: set[types.CodeType] = set()

    def read(self, function: object, bound: bool = False) -> None:
        """Reads a function's code; if `bound`, its first argument is the module."""
        if not isinstance(function, types.FunctionType):
            raise _Impure
        code = function.__code__
        if code in self.within:
            raise _Impure  # a recursion
        if (code, bound) in self.done:
            return
        for default in (
            *(function.__defaults__ or ()),
            *(function.__kwdefaults__ or {}).values(),
        ):
            self.check(default)
        self.within.add(code)
        self._read_code(function, bound)
        self.within.remove(code)
        self.done.add((code, bound))

    def _read_code(self, function: types.FunctionType, bound: bool) -> None:
        code = function.__code__
        if code.co_flags & (inspect.CO_GENERATOR | inspect.CO_COROUTINE):
            raise _Impure
        self_name = code.co_varnames[0] if bound and code.co_argcount else None
        cells = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))
        # The value on top of the stack, as far as it is known from the code alone.
        unknown = object()
        top: Any = unknown
        for at in dis.get_instructions(code):
            name = at.opname
            if name in ("EXTENDED_ARG", "CACHE", "PUSH_NULL", "NOP"):
                continue
            if name.startswith(_EFFECTS):
                raise _Impure
            jumps = at.opcode in dis.hasjrel or at.opcode in dis.hasjabs
            if jumps and at.argval <= at.offset:
                raise _Impure  # a loop
            if name in ("LOAD_ATTR", "LOAD_METHOD"):
                top = self._attribute(top, str(at.argval), unknown)
                continue
            self._used(top, unknown)
            top = unknown
            if name == "LOAD_GLOBAL":
                top = self._global(function, str(at.argval))
            elif name in ("LOAD_DEREF", "LOAD_CLASSDEREF"):
                if at.argval not in cells:
                    raise _Impure
                try:
                    top = cells[at.argval].cell_contents
                except ValueError:  # not assigned yet
                    raise _Impure from None
                self.found.fixed &= callable(top)
            elif name.startswith(("LOAD_FAST", "STORE_FAST")):
                names = at.argval if isinstance(at.argval, tuple) else (at.argval,)
                if self_name in names[:-1] or (
                    self_name in names and "LOAD" not in name
                ):
                    raise _Impure
                if names[-1] == self_name:
                    top = self.module
        self._used(top, unknown)

    def _global(self, function: types.FunctionType, name: str) -> Any:
        builtins = function.__globals__["__builtins__"]
        spaces = builtins if isinstance(builtins, dict) else vars(builtins)
        for space in (function.__globals__, spaces):
            if name in space:
                value = space[name]
                if isinstance(value, CONSTANTS):
                    self.found.fixed = False
                return value
        raise _Impure

    def _attribute(self, owner: Any, name: str, unknown: object) -> Any:
        if owner is unknown:
            if name in _OF_CONTEXTS or _is_of_tensors(name):
                return unknown
            raise _Impure
        if owner is self.module:
            return self._attribute_of_module(name, unknown)
        if isinstance(owner, types.ModuleType):
            try:
                return inspect.getattr_static(owner, name)
            except AttributeError:
                raise _Impure from None
        if isinstance(owner, type) and issubclass(owner, torch.autograd.Function):
            if name != "apply":
                raise _Impure
            for part in ("forward", "backward"):
                method = inspect.getattr_static(owner, part)
                if not isinstance(method, staticmethod):
                    raise _Impure
                self.read(method.__func__)
            return unknown
        if owner is Tensor and _is_of_tensors(name):
            return unknown
        raise _Impure

    def _attribute_of_module(self, name: str, unknown: object) -> Any:
        if name == "training" or hasattr(nn.Module, name):
            raise _Impure
        value = vars(self.module).get(name, unknown)
        if value is unknown:
            value = inspect.getattr_static(type(self.module), name, unknown)
            if isinstance(value, property):
                self.read(value.fget, bound=True)
                return unknown
            if isinstance(value, types.FunctionType):
                self.read(value, bound=True)
                return unknown
            if isinstance(value, staticmethod):
                value = value.__func__
            self.found.fixed &= callable(value)  # a constant of the class may change
        if value is unknown:
            raise _Impure
        self.check(value)
        self.found.attributes[name] = value
        return unknown

    def _used(self, value: Any, unknown: object) -> None:
        """Checks a value that the code takes as it is: to call it, or as an argument."""
        if value is not unknown:
            if value is self.module:
                raise _Impure  # handed on, to be read or changed elsewhere
            self.check(value)

    def check(self, value: Any) -> None:
        """Checks a value of which the code may do anything."""
        if isinstance(value, CONSTANTS):
            return
        if isinstance(value, tuple):
            for each in value:
                self.check(each)
        elif isinstance(value, functools.partial):
            for each in (value.func, *value.args, *value.keywords.values()):
                self.check(each)
        elif isinstance(value, types.MethodType):
            if value.__self__ is not self.module:
                raise _Impure
            self.read(value.__func__, bound=True)
        elif isinstance(value, torch.jit.ScriptFunction) or value is Tensor:
            return
        elif isinstance(value, nn.Module):
            self._read_module(value)
        elif not _is_pure_function(value):
            self.read(value)

    def _read_module(self, module: nn.Module) -> None:
        """Reads a module that is none of the model's: a global one, say."""
        state = (module._parameters, module._buffers, module._modules)
        hooks = (v for name, v in vars(module).items() if name.endswith("_hooks"))
        if any(state) or any(hooks) or "forward" in vars(module):
            raise _Impure
        other = _Reader(module)
        other.within = self.within
        other.read(type(module).forward, bound=True)
        self.found.fixed = False


def _is_of_tensors(name: str) -> bool:
    """Whether an attribute of a tensor tells of its elements and type only."""
    if name.startswith("is_"):
        return name in ("is_complex", "is_floating_point")
    return hasattr(Tensor, name) and name[0] != "_" and name not in _NOT_OF_TENSORS


def _is_pure_function(value: Any) -> bool:
    try:
        return value in _pure_functions()
    except TypeError:  # not hashable
        return False
