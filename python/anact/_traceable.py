"""Whether a graph of a module's forward, as torch.fx makes it, does what the code does."""

from __future__ import annotations

import ast
import cmath
import functools
import inspect
import types
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from anact._activations import function_name
from anact._source import Method, methods_of

_CONSTANTS = (type(None), bool, int, float, complex, str)


class Refused(Exception):
    """Why a module's forward cannot be rewritten."""


def may_call_activations(module: nn.Module) -> bool:
    """Whether its source names an activation; where there is none, torch.fx tells."""
    try:
        return any(
            function_name(method.value_of(node)) is not None
            or (
                isinstance(node, ast.Attribute)
                and function_name(getattr(Tensor, node.attr, None)) is not None
            )
            for method in _reached(type(module))  # type: ignore[arg-type]
            for node in ast.walk(method.tree)
            if isinstance(node, (ast.Name, ast.Attribute))
        )
    except (OSError, TypeError, SyntaxError):
        return False


@functools.lru_cache(256)
def _reached(cls: type) -> tuple[Method, ...]:
    """``forward``, and the methods and functions that it calls, but PyTorch's."""
    seen: dict[types.FunctionType, Method] = {}
    waiting = list(methods_of(cls))
    while waiting:
        method = waiting.pop()
        if method.function in seen:
            continue
        seen[method.function] = method
        for node in ast.walk(method.tree):
            if isinstance(node, ast.Call):
                function = method.value_of(node.func)
                if isinstance(function, types.FunctionType) and not (
                    function.__module__ or ""
                ).startswith("torch"):
                    waiting.append(Method(function))
    return tuple(seen.values())


def guards_of(module: nn.Module) -> list[str]:
    """Conditions on attributes that a graph takes as constants, wrong if one holds.

    Raises:
        Refused: if a graph would not do the same as the code.
    """
    return _Code(module).guards()


class _Code:
    """What a module's methods read, decide by and change."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.methods = _reached(type(module))  # type: ignore[arg-type]
        # Those whose first argument is the module.
        self.own = {m.function for m in self.methods if _is_method(module, m)}

    def guards(self) -> list[str]:
        guards: dict[str, None] = {}
        for method in self.methods:
            for node in ast.walk(method.tree):
                self._check(method, node)
                if method.function in self.own:
                    guards |= dict.fromkeys(self._guard(method, node))
        return list(guards)

    def _refuse(self, method: Method, node: ast.AST, what: str) -> None:
        line = getattr(node, "lineno", 1) + method.offset
        text = ast.unparse(node).split("\n")[0]
        raise Refused(f"{what}: {text} ({method.file}:{line})")

    def _check(self, method: Method, node: ast.AST) -> None:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            if node.decorator_list:
                self._refuse(method, node.decorator_list[0], "it has a decorator")
        elif isinstance(node, (ast.With, ast.Try, ast.Global, ast.Nonlocal)):
            self._refuse(method, node, "it enters a context or a scope")
        elif isinstance(node, (ast.Yield, ast.YieldFrom, ast.Await, ast.Match)):
            self._refuse(method, node, "a graph cannot hold this")
        elif isinstance(node, (ast.Attribute, ast.Subscript)):
            if not isinstance(node.ctx, ast.Load) and not self._is_local(method, node):
                self._refuse(method, node, "it changes more than its result")
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            function = node.value.func
            if not isinstance(function, ast.Attribute) or not self._is_local(
                method, function
            ):
                self._refuse(method, node, "it does more than compute its result")
        elif isinstance(node, (ast.If, ast.IfExp, ast.While)):
            self._check_test(method, node.test)
        elif isinstance(node, ast.comprehension):
            for test in node.ifs:
                self._check_test(method, test)
        elif isinstance(node, ast.BoolOp):
            self._check_test(method, node)

    def _is_local(self, method: Method, node: ast.expr) -> bool:
        while isinstance(node, (ast.Attribute, ast.Subscript)):
            node = node.value
        local = isinstance(node, ast.Name) and node.id in (
            method.function.__code__.co_varnames
        )
        return local and not method.is_self(node)

    def _check_test(self, method: Method, test: ast.expr) -> None:
        """A test may depend on the module's attributes only; these are guarded."""
        if ast.unparse(test) in ("torch.jit.is_scripting()", "torch.jit.is_tracing()"):
            return
        is_method = method.function in self.own
        for node in ast.walk(test):
            named = isinstance(node, ast.Name) and not (
                is_method and method.is_self(node)
            )
            if named or isinstance(node, (ast.Call, ast.NamedExpr)):
                self._refuse(method, test, "it decides by")

    def _guard(self, method: Method, node: ast.AST) -> Iterator[str]:
        path = (
            method.attribute_of_self(node) if isinstance(node, ast.Attribute) else None
        )
        if path is None or path == "training":
            return
        *parents, name = path.split(".")
        owner: object = self.module
        for parent in parents:
            owner = getattr(owner, parent, None)
        if not isinstance(owner, nn.Module):
            return
        if parents and name == "training":
            self._refuse(method, node, "a graph would not follow")
        if hasattr(nn.Module, name):
            return
        value = getattr(owner, name, object())
        if isinstance(value, (nn.Module, Tensor)) or (
            value is None and name in (*owner._modules, *owner._buffers)
        ):
            yield f"(self.{path} is None) != {value is None}"
        elif _is_constant(value):
            yield f"self.{path} != {value!r}"
        elif not callable(value) and not isinstance(value, (torch.dtype, torch.device)):
            self._refuse(method, node, "a graph would not follow")


def _is_method(module: nn.Module, method: Method) -> bool:
    name = method.function.__name__
    return any(
        inspect.unwrap(vars(base)[name]) is method.function
        for base in type(module).__mro__
        if isinstance(vars(base).get(name), types.FunctionType)
    )


def _is_constant(value: object) -> bool:
    if isinstance(value, (tuple, list)):
        return type(value) in (tuple, list) and all(map(_is_constant, value))
    if isinstance(value, Mapping):
        return type(value) is dict and all(
            _is_constant(k) and _is_constant(v) for k, v in value.items()
        )
    if isinstance(value, (float, complex)):
        return cmath.isfinite(value)  # others have no literal
    return type(value) in _CONSTANTS
