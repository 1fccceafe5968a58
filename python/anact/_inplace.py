"""In-place activations whose input is used again, as far as the source tells."""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeGuard

from torch import nn

from anact._activations import activation_of, function_name
from anact._source import Method

# The holder's id and the name of an activation there.
Key = tuple[int, str]

# What may return its very input.
_TRANSPARENT = (
    nn.Identity,
    nn.Flatten,
    nn.Unflatten,
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
)


@dataclass
class _Found:
    """What a module does in place."""

    # Activations that change the first argument of the module's forward
    changing: set[Key] = field(default_factory=set)
    # Activations whose input is used again, and where
    reused: dict[Key, tuple[str, int]] = field(default_factory=dict)


def reused_in_place(
    model: nn.Module, methods: Callable[[type], list[Method]]
) -> dict[Key, tuple[str, int]]:
    """Where the input of an in-place activation is used again, by the activation's place.

    Args:
        model: the model.
        methods: the methods of a class that its ``forward`` calls, itself first.
    """
    known: dict[int, _Found] = {}
    for module in model.modules():
        if activation_of(module) is None:
            _find(module, methods, known)
    return {key: at for found in known.values() for key, at in found.reused.items()}


def _find(
    module: nn.Module,
    methods: Callable[[type], list[Method]],
    known: dict[int, _Found],
) -> _Found:
    if id(module) in known:
        return known[id(module)]
    found = known[id(module)] = _Found()
    changing = functools.partial(_changing, methods=methods, known=known)
    if isinstance(module, nn.Sequential):
        for name, child in module.named_children():
            found.changing |= changing(module, name)
            if not isinstance(child, _TRANSPARENT) and not changing(module, name):
                break
        return found
    for method in methods(type(module)):
        arguments = method.function.__code__.co_varnames[
            1 : method.function.__code__.co_argcount
        ]
        argument = arguments[0] if arguments else ""
        is_forward = method.function.__name__ == "forward"
        scan = _Scan(method, module, changing, found, argument if is_forward else "")
        for tree in ast.walk(method.tree):
            if isinstance(tree, (ast.FunctionDef, ast.AsyncFunctionDef)):
                scan.block(tree.body, [])
                break
    return found


def _changing(
    holder: nn.Module,
    name: str,
    methods: Callable[[type], list[Method]],
    known: dict[int, _Found],
) -> set[Key]:
    """The activations that change the argument of what `holder` has under a name."""
    held = getattr(holder, name, None)
    if isinstance(held, nn.Module):
        if activation_of(held) is None:
            return _find(held, methods, known).changing
        in_place = bool(getattr(held, "inplace", False))
    else:
        in_place = function_name(held) is not None and (
            bool(getattr(held, "keywords", {}).get("inplace"))
            or str(getattr(held, "__name__", "")).endswith("_")
        )
    return {(id(holder), name)} if in_place else set()


class _Scan:
    """Reads a method's statements in their order."""

    def __init__(
        self,
        method: Method,
        module: nn.Module,
        changing: Callable[[nn.Module, str], set[Key]],
        found: _Found,
        argument: str,
    ) -> None:
        self.method = method
        self.module = module
        self.changing = changing
        self.found = found
        # The names of one tensor; "" stands for a container that holds it.
        self.names: dict[str, set[str]] = {}
        self.argument = {argument} if argument else set()
        if argument:
            self.names[argument] = self.argument

    def block(self, body: list[ast.stmt], after: list[ast.stmt]) -> None:
        """Reads statements. `after` are those that run once the block is through."""
        for i, statement in enumerate(body):
            rest = [*body[i + 1 :], *after]
            inner = [
                part
                for name in ("body", "orelse", "finalbody")
                if (part := getattr(statement, name, None))
            ]
            inner += [handler.body for handler in getattr(statement, "handlers", [])]
            own: list[ast.AST] = _own(statement) if inner else [statement]
            for node in own:
                for call in _walk(node):
                    if isinstance(call, ast.Call):
                        self._call(call, statement, own, rest)
            self._bind(statement)
            for part in inner:
                self.block(part, rest)

    def _call(
        self,
        call: ast.Call,
        statement: ast.stmt,
        own: list[ast.AST],
        rest: list[ast.stmt],
    ) -> None:
        path = self.method.attribute_of_self(call.func)
        if not path or not call.args or not isinstance(call.args[0], ast.Name):
            return
        holder, _, name = path.rpartition(".")
        try:
            keys = self.changing(self.module.get_submodule(holder), name)
        except AttributeError:
            return
        if not keys:
            return
        given = call.args[0]
        names = self.names.get(given.id, {given.id})
        if names is self.argument:
            self.found.changing |= keys
        again = self._used_again(call, given, names, statement, own, rest)
        if again is not None:
            at = (self.method.file, self.method.line(again))
            self.found.reused.update(dict.fromkeys(keys, at))

    def _used_again(
        self,
        call: ast.Call,
        given: ast.Name,
        names: set[str],
        statement: ast.stmt,
        own: list[ast.AST],
        rest: list[ast.stmt],
    ) -> ast.expr | None:
        if "" in names or isinstance(statement, ast.Expr) and statement.value is call:
            return call
        for node in own:
            for other in _walk(node):
                if other is not given and _loads(other, names):
                    return other
        if isinstance(statement, ast.Return):
            return None
        left = names - _stores(statement)
        for later in rest:
            for other in _walk(later):
                if _loads(other, left):
                    return other
            left = left - _stores(later)
            if isinstance(later, ast.Return):
                break
        return None

    def _bind(self, statement: ast.stmt) -> None:
        for node in _walk(statement):
            # features.append(x)
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in ("append", "insert", "extend")
            ):
                for argument in node.args:
                    self._contain(argument)
        if isinstance(statement, ast.Assign):
            value = statement.value
            shared = (
                self.names.setdefault(value.id, {value.id})
                if isinstance(value, ast.Name)
                else None
            )
            if isinstance(value, (ast.List, ast.Tuple, ast.Dict)):
                self._contain(value)
            for name in _stores(statement):
                if shared is None or name not in shared:
                    self._release(name)
                    if shared is not None:
                        shared.add(name)
                        self.names[name] = shared
        else:
            for name in _stores(statement):
                self._release(name)

    def _contain(self, value: ast.expr) -> None:
        for node in ast.iter_child_nodes(value):
            if isinstance(node, ast.Name):
                self.names.setdefault(node.id, {node.id}).add("")
        if isinstance(value, ast.Name):
            self.names.setdefault(value.id, {value.id}).add("")

    def _release(self, name: str) -> None:
        self.names.pop(name, set()).discard(name)


def _own(statement: ast.stmt) -> list[ast.AST]:
    """The expressions of a statement with blocks: its test, or what it iterates over."""
    return [
        node
        for name in ("test", "iter", "items", "subject")
        for node in _list(getattr(statement, name, None))
    ]


def _list(value: object) -> list[ast.AST]:
    if isinstance(value, list):
        return value
    return [value] if isinstance(value, ast.AST) else []


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run when this one does."""
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
        yield node
        for child in ast.iter_child_nodes(node):
            yield from _walk(child)


def _loads(node: ast.AST, names: set[str]) -> TypeGuard[ast.Name]:
    return (
        isinstance(node, ast.Name)
        and isinstance(node.ctx, ast.Load)
        and node.id in names
    )


def _stores(statement: ast.stmt) -> set[str]:
    """The names that a statement binds itself."""
    targets: list[ast.AST] = []
    if isinstance(statement, ast.Assign):
        targets = list(statement.targets)
    elif isinstance(statement, (ast.For, ast.AnnAssign)):
        targets = [statement.target]
    return {
        node.id
        for target in targets
        for node in ast.walk(target)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
