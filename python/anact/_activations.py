"""Activations in models of PyTorch: which they are, where they stand, how one is replaced."""

from __future__ import annotations

import ast
import functools
import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import FunctionType, ModuleType
from typing import Any, TypeAlias, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize

from anact import _C
from anact.modules import ANAct

Selector: TypeAlias = str | type[nn.Module] | Callable[[str, nn.Module], bool]
Selection: TypeAlias = Selector | Iterable[Selector]

_CLASSES: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "celu": nn.CELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "softplus": nn.Softplus,
    "softsign": nn.Softsign,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "logsigmoid": nn.LogSigmoid,
    "hardswish": nn.Hardswish,
    "hardsigmoid": nn.Hardsigmoid,
    "hardtanh": nn.Hardtanh,
    "tanhshrink": nn.Tanhshrink,
    "softshrink": nn.Softshrink,
    "identity": nn.Identity,
}
_PARAMETERS: dict[str, tuple[str, ...]] = {
    "leaky_relu": ("negative_slope",),
    "elu": ("alpha",),
    "celu": ("alpha",),
    "gelu": ("approximate",),
    "softplus": ("beta", "threshold"),
    "hardtanh": ("min_val", "max_val"),
    "softshrink": ("lambd",),
}
_WITHOUT_NORMALIZED_FORM = (nn.PReLU, nn.RReLU, nn.GLU, nn.Hardshrink, nn.Threshold)

# By name: transformers is never imported for it.
_TRANSFORMERS = "transformers.activations"
_TRANSFORMERS_CLASSES = {
    "GELUActivation": "gelu",
    "GELUTanh": "gelu(approximate=tanh)",
    "PytorchGELUTanh": "gelu(approximate=tanh)",
    "NewGELUActivation": "gelu(approximate=tanh)",
    "FastGELUActivation": "gelu(approximate=tanh)",
    "AccurateGELUActivation": "gelu(approximate=tanh)",
    "SiLUActivation": "silu",
    "MishActivation": "mish",
    "ReLUSquaredActivation": "relu2",
    "LinearActivation": "identity",
}


def _functions() -> dict[Any, str]:
    found: dict[Any, str] = {torch.special.expit: "sigmoid"}
    for name in _CLASSES:
        for space in (F, torch, Tensor):
            for variant in (name, f"{name}_"):
                if hasattr(space, variant):
                    found[getattr(space, variant)] = name
    return found


_FUNCTIONS = _functions()


def parameters_of(name: str) -> tuple[str, ...]:
    """The names of an activation's parameters, in PyTorch's order."""
    return _PARAMETERS.get(name, ())


def text_of(name: str, values: dict[str, Any]) -> str | None:
    """The catalogue's text of an activation with these parameters, or None if it has none."""
    given = ", ".join(f"{key}={value}" for key, value in values.items())
    if name == "gelu" and values.get("approximate") == "none":
        given = ""
    try:
        return _C.canonical(f"{name}({given})" if given else name)
    except ValueError:
        return None


def activation_of(module: nn.Module) -> str | None:
    """The catalogue's text of a module, or None if it is no activation of the catalogue.

    Known are the modules of torch.nn, subclasses that do not override ``forward``, and
    those of Hugging Face's transformers.

    >>> activation_of(nn.LeakyReLU(0.2))
    'leaky_relu(negative_slope=0.2)'
    """
    if "forward" in vars(module):
        return None
    if isinstance(module, fx.GraphModule):
        return "relu2" if module.code == _relu2_code() else None
    forward = type(module).forward
    for base in type(module).__mro__:
        name = _TRANSFORMERS_CLASSES.get(base.__name__)
        if base.__module__ == _TRANSFORMERS and name is not None:
            return name if forward is vars(base).get("forward") else None
    if isinstance(module, nn.ReLU6) and (module.min_val, module.max_val) != (0, 6):
        candidates = ["hardtanh"]
    else:
        candidates = list(_CLASSES)
    for name in candidates:
        if isinstance(module, _CLASSES[name]) and forward is _CLASSES[name].forward:
            return text_of(
                name, {key: getattr(module, key) for key in parameters_of(name)}
            )
    return None


def lacks_normalized_form(module: nn.Module) -> bool:
    """Whether the module is an activation, but not one of the catalogue."""
    known = (*_CLASSES.values(), *_WITHOUT_NORMALIZED_FORM)
    foreign = any(base.__module__ == _TRANSFORMERS for base in type(module).__mro__)
    return (foreign or isinstance(module, known)) and activation_of(module) is None


def function_name(function: object) -> str | None:
    """The catalogue's text of a function of PyTorch, or None.

    >>> function_name(F.relu), function_name(functools.partial(F.gelu, approximate="tanh"))
    ('relu', 'gelu(approximate=tanh)')
    """
    if isinstance(function, functools.partial):
        name = function_name(function.func)
        keywords = {
            key: value for key, value in function.keywords.items() if key != "inplace"
        }
        if (
            name is None
            or function.args
            or not keywords.keys() <= set(parameters_of(name))
        ):
            return None
        return text_of(name, keywords)
    try:
        return _FUNCTIONS.get(function)
    except TypeError:  # not hashable
        return None


def _relu2() -> fx.GraphModule:
    graph = fx.Graph()
    rectified = graph.call_function(torch.relu, (graph.placeholder("input"),))
    graph.output(graph.call_function(torch.square, (rectified,)))
    return fx.GraphModule(nn.Module(), graph, "SquaredReLU")


@functools.cache
def _relu2_code() -> str:
    return _relu2().code


def plain(activation: str) -> nn.Module:
    """The module of an activation that needs PyTorch alone, also where it is unpickled.

    >>> plain("gelu(approximate=tanh)")
    GELU(approximate='tanh')
    """
    kind, parameters = _C.split(activation)
    if kind == "relu2":
        return _relu2()
    if kind == "gelu_tanh":
        return nn.GELU("tanh")
    return _CLASSES[kind](*parameters)


def is_anact(module: object) -> TypeGuard[ANAct]:
    """Whether it is an ANAct, or a subclass that does not override ``forward``."""
    return (
        isinstance(module, ANAct)
        and type(module).forward is ANAct.forward
        and "forward" not in vars(module)
    )


def is_hooked(module: nn.Module) -> bool:
    """Whether something runs before or after the module's forward or backward."""
    return any(
        getattr(module, name)
        for name in (
            "_forward_hooks",
            "_forward_pre_hooks",
            "_backward_hooks",
            "_backward_pre_hooks",
        )
    )


@dataclass(frozen=True)
class Place:
    """Where a module, or a function that acts as one, is held."""

    paths: tuple[str, ...]
    holder: nn.Module | None
    name: str
    held: object

    @property
    def path(self) -> str:
        return self.paths[0]

    def check_replaceable(self) -> None:
        """Raises ValueError if replacing what is held would lose more than the module."""
        if isinstance(self.held, nn.Module):
            for what, present in (
                ("hooks", is_hooked(self.held)),
                ("parametrizations", parametrize.is_parametrized(self.held)),
            ):
                if present:
                    raise ValueError(
                        f"{self.path!r} has {what}, which would be lost: remove them"
                    )

    def put(self, module: nn.Module) -> None:
        """Puts a module there."""
        holder = self.holder
        assert holder is not None
        setattr(holder, self.name, module)
        if self.name != "activation":
            return
        if isinstance(holder, nn.TransformerDecoderLayer):
            # Its __setstate__ takes an activation that is not in __dict__ for a missing one.
            vars(holder)["activation"] = module
        if isinstance(holder, nn.TransformerEncoderLayer):
            # The fused evaluation knows two activations only, and does not call the module.
            fused = {"relu": 1, "gelu": 2}
            holder.activation_relu_or_gelu = fused.get(activation_of(module) or "", 0)


def places(model: nn.Module) -> list[Place]:
    """Every place in the model that holds a module or an activation's function, in order.

    A parent that stands in several places is visited once, and its places then have
    several paths. The model itself is a place without a holder.
    """
    found: dict[tuple[int, str], Place] = {}

    def visit(prefix: str, holder: nn.Module) -> None:
        for name, held in _held(holder):
            path = f"{prefix}.{name}" if prefix else name
            key = (id(holder), name)
            paths = (*found[key].paths, path) if key in found else (path,)
            found[key] = Place(paths, holder, name, held)
            if isinstance(held, nn.Module):
                visit(path, held)

    visit("", model)
    return [Place(("",), None, "", model), *found.values()]


def _held(holder: nn.Module) -> Iterator[tuple[str, object]]:
    for name, child in holder._modules.items():
        if child is not None:
            yield name, child
    if activation_of(holder) is None:
        for name, value in vars(holder).items():
            if name not in holder._modules and function_name(value) is not None:
                yield name, value


def check_model(model: nn.Module) -> None:
    """Raises TypeError for what cannot be changed place by place."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"expected a torch.nn.Module, not {type(model).__name__}")
    for path, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            where = f"{path!r} is" if path else "the model is"
            raise TypeError(
                f"{where} a ScriptModule, whose activations cannot be replaced"
            )


def put_all(model: nn.Module, new: list[tuple[Place, nn.Module]]) -> nn.Module:
    """Puts each module in its place and returns the model, which is another if it was one."""
    for place, module in new:
        if place.holder is None:
            return module
        place.put(module)
    return model


def update_encoders(model: nn.Module, changed: list[Place]) -> None:
    """Lets an nn.TransformerEncoder use nested tensors only where all its layers take them.

    They are for the fused evaluation of its layers alone.
    """
    holders = {id(place.holder) for place in changed}
    for encoder in model.modules():
        if isinstance(encoder, nn.TransformerEncoder) and any(
            id(layer) in holders for layer in encoder.layers
        ):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about why it does not
                encoder.use_nested_tensor = all(
                    nn.TransformerEncoder(
                        layer, 0, None, encoder.enable_nested_tensor
                    ).use_nested_tensor
                    for layer in encoder.layers
                )


@dataclass(frozen=True)
class Candidate:
    """A place that holds an activation."""

    place: Place
    activation: str
    # What selectors see: a function is seen as the module of torch.nn that does the same.
    module: nn.Module


def selectors(selection: Selection | None) -> list[Selector] | None:
    """The selectors of an argument that takes one or several."""
    if selection is None:
        return None
    if isinstance(selection, str) or callable(selection):
        return [selection]
    return list(selection)


def select(
    candidates: list[Candidate],
    include: list[Selector] | None,
    exclude: list[Selector] | None,
) -> list[Candidate]:
    """The candidates that `include` selects, or all without one, less those of `exclude`.

    Raises:
        ValueError: if a glob, class or name matches nothing.
        TypeError: for a selector of another type.
    """
    included = (
        candidates if include is None else _matching(candidates, include, "include")
    )
    left = {id(c) for c in included}
    left -= {id(c) for c in _matching(candidates, exclude or [], "exclude")}
    return [c for c in candidates if id(c) in left]


def names_identity(selectors: list[Selector] | None) -> bool:
    """Whether a selector asks for the identity by its class or name."""
    return any(
        _name(s) == "identity" or (isinstance(s, type) and issubclass(s, nn.Identity))
        for s in selectors or []
    )


def _name(selector: Selector) -> str | None:
    if not isinstance(selector, str):
        return None
    try:
        return _C.canonical(selector)
    except ValueError:
        return None


def _matching(
    candidates: list[Candidate], selectors: list[Selector], argument: str
) -> list[Candidate]:
    matched = []
    for selector in selectors:
        hits = [c for c in candidates if _matches(c, selector, argument)]
        if not hits and (isinstance(selector, (str, type))):
            shown = selector if isinstance(selector, str) else selector.__qualname__
            there = ", ".join(f"{c.place.path!r} ({c.activation})" for c in candidates)
            raise ValueError(
                f"{argument} {shown!r} matches no activation; "
                + (f"there are {there}" if there else "the model has none")
            )
        matched += hits
    return matched


def _matches(candidate: Candidate, selector: Selector, argument: str) -> bool:
    if isinstance(selector, str):
        name = _name(selector)
        if name is not None:
            return name in (candidate.activation, candidate.activation.split("(")[0])
        return any(fnmatchcase(path, selector) for path in candidate.place.paths)
    if isinstance(selector, type):
        return isinstance(candidate.module, selector)
    if callable(selector) and not isinstance(selector, nn.Module):
        return any(selector(path, candidate.module) for path in candidate.place.paths)
    raise TypeError(
        f"{argument} takes globs, classes, names and callables, not {selector!r}"
    )


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
