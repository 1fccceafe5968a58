"""The source of a module's methods."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable, Iterator
from types import FunctionType, ModuleType
from typing import Any


class Method:
    """A method with its syntax tree."""

    def __init__(self, function: FunctionType) -> None:
        self.function = function
        lines, first = inspect.getsourcelines(function)
        # Dedenting would change strings that span lines; a block around it does not.
        indented = lines[0][:1].isspace()
        self.tree = ast.parse(
            "if True:\n" + "".join(lines) if indented else "".join(lines)
        )
        self.offset = first - (2 if indented else 1)
        self.file = inspect.getsourcefile(function) or function.__code__.co_filename
        arguments = function.__code__.co_varnames[: function.__code__.co_argcount]
        self.self_name = arguments[0] if arguments else ""

    def is_self(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Name) and node.id == self.self_name

    def line(self, node: ast.expr) -> int:
        """The line of the file that an expression begins in."""
        return node.lineno + self.offset

    def attribute_of_self(self, node: ast.expr) -> str | None:
        """'a.b' for the expression self.a.b."""
        names: list[str] = []
        while isinstance(node, ast.Attribute):
            names.insert(0, node.attr)
            node = node.value
        return ".".join(names) if self.is_self(node) and names else None

    def value_of(self, node: ast.expr) -> Any:
        """What a global name, or an attribute of a module or class that is one, refers to."""
        if isinstance(node, ast.Name):
            code = self.function.__code__
            if node.id in (*code.co_varnames, *code.co_cellvars):
                return None
            if node.id in code.co_freevars:
                cells = dict(
                    zip(code.co_freevars, self.function.__closure__ or (), strict=True)
                )
                try:
                    return cells[node.id].cell_contents
                except ValueError:  # not assigned yet
                    return None
            return self.function.__globals__.get(node.id)
        if isinstance(node, ast.Attribute):
            value = self.value_of(node.value)
            if isinstance(value, (ModuleType, type)):
                # Statically: a module that loads its parts on demand may fail to.
                return inspect.getattr_static(value, node.attr, None)
        return None

    def calls(self) -> Iterator[tuple[str, int, str]]:
        """(file, line, "a.b") of each call self.a.b(…)."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                name = self.attribute_of_self(node.func)
                if name is not None:
                    yield self.file, self.line(node), name


def methods_of(cls: type) -> Iterator[Method]:
    """``forward`` and the methods that it calls, directly or not."""
    line = inspect.getmro(cls)
    seen: set[tuple[type, str]] = set()
    waiting: list[tuple[str, Iterable[type]]] = [("forward", line)]
    while waiting:
        name, bases = waiting.pop(0)
        owner = next((base for base in bases if name in vars(base)), None)
        if owner is None or (owner, name) in seen or _is_known(owner):
            continue
        seen.add((owner, name))
        function = inspect.unwrap(vars(owner)[name])
        if not inspect.isfunction(function):
            continue
        method = Method(function)
        yield method
        waiting += [(called, line) for _, _, called in method.calls()]
        above = line[line.index(owner) + 1 :]
        for node in ast.walk(method.tree):
            if isinstance(node, ast.Attribute) and _is_super(node.value):
                waiting.append((node.attr, above))


def _is_super(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "super"
    )


def _is_known(cls: type) -> bool:
    return cls.__module__.split(".")[0] in ("torch", "anact", "builtins")
