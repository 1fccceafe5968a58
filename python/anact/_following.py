"""The layer that alone takes an ANAct's output, as torch.fx sees it."""

from __future__ import annotations

import ast
import copy
import functools
import inspect
import itertools
import math
import warnings
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.nn.utils import parametrize

from anact._places import Place, is_hooked
from anact._source import Method, methods_of
from anact._stored import is_plain, is_quantized
from anact.modules import ANAct

Layer: TypeAlias = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)

# What an affine map of all elements goes through unchanged, in evaluation.
_TRANSPARENT_MODULES = (
    nn.Identity,
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
    nn.Flatten,
    nn.Unflatten,
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveAvgPool3d,
)
_TRANSPARENT_FUNCTIONS = (
    torch.flatten,
    torch.reshape,
    torch.permute,
    torch.transpose,
    torch.squeeze,
    torch.unsqueeze,
    F.adaptive_avg_pool1d,
    F.adaptive_avg_pool2d,
    F.adaptive_avg_pool3d,
)
_TRANSPARENT_METHODS = (
    "flatten",
    "unflatten",
    "view",
    "reshape",
    "permute",
    "transpose",
    "squeeze",
    "unsqueeze",
    "contiguous",
    "mean",
)
_SHAPE_METHODS = ("size", "dim", "numel")
_SHAPE_ATTRIBUTES = ("shape", "ndim", "dtype", "device")

# Transparent if the map's scale is positive.
_MAX_POOLS = (
    nn.MaxPool1d,
    nn.MaxPool2d,
    nn.MaxPool3d,
    nn.AdaptiveMaxPool1d,
    nn.AdaptiveMaxPool2d,
    nn.AdaptiveMaxPool3d,
)
_MAX_POOL_FUNCTIONS = (
    F.max_pool1d,
    F.max_pool2d,
    F.max_pool3d,
    F.adaptive_max_pool1d,
    F.adaptive_max_pool2d,
    F.adaptive_max_pool3d,
)
_DROPOUTS = (F.dropout, F.dropout1d, F.dropout2d, F.dropout3d)
_AVERAGE_POOLS = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)

# Attributes of a module that give its children by other ways than their names.
_LOOKS_INSIDE = (
    "__dict__",
    "_modules",
    "children",
    "get_submodule",
    "modules",
    "named_children",
    "named_modules",
)

# How many combinations of optional arguments are traced, at the most.
_MOST_VARIANTS = 16


def layers_after(
    model: nn.Module, found: list[Place], maps: dict[int, tuple[float, float]]
) -> dict[int, Place | str]:
    """The layer that alone takes each ANAct's output, or why there is none."""
    graphs = _Traces(model).graphs
    standing: dict[int, list[Place]] = defaultdict(list)
    for place in found:
        standing[id(place.held)].append(place)
    calls: dict[int, list[tuple[_Graph, fx.Node]]] = defaultdict(list)
    uses = Counter(id(p) for m in model.modules() for p in m._parameters.values())
    for graph in graphs:
        for node in graph.graph.nodes:
            if node.op == "call_module":
                calls[id(graph.module(node))].append((graph, node))
            elif node.op == "get_attr":
                uses[id(graph.value(node))] += 1

    def after(act: int, scale: float, offset: float) -> Place | str:
        if not calls[act]:
            return "torch.fx cannot trace what calls it"
        followers = [graph.follow(node, scale) for graph, node in calls[act]]
        for follower in followers:
            if isinstance(follower, str):
                return follower
        layer = followers[0]
        assert isinstance(layer, LAYERS)
        place = standing[id(layer)][0]
        elsewhere = len(standing[id(layer)]) > 1 or len(standing[act]) > 1
        if elsewhere or any(other is not layer for other in followers):
            return f"it or {place.path!r} stands in several places"
        if len(calls[id(layer)]) != len(calls[act]):
            return f"{place.path!r} is called elsewhere too"
        if is_hooked(layer) or "forward" in vars(layer):
            return f"{place.path!r} has hooks"
        if any(uses[id(p)] > 1 for p in layer.parameters()):
            return f"{place.path!r} shares its parameters"
        for name in ("weight", "bias"):
            why = _why_not_scaled(layer, name)
            if why:
                return f"{place.path!r} has a {name} that {why}"
        if offset and _pads_with_zeros(layer):
            return f"{place.path!r} pads with zeros, and the map has an offset"
        return place

    return {
        act: "its map is the identity" if map == (1, 0) else after(act, *map)
        for act, map in maps.items()
    }


def _why_not_scaled(layer: Layer, name: str) -> str:
    """Why no parameter can take the place of a layer's weight or bias, or nothing."""
    tensor = getattr(layer, name)
    if tensor is None:
        return ""
    if layer._parameters.get(name) is None:
        return "is no parameter"
    if not is_plain(tensor):
        return f"is a {type(tensor).__name__} of layout {tensor.layout}"
    if tensor.is_meta:
        return "is on the meta device"
    return "" if tensor.dtype in _DTYPES else f"is of type {tensor.dtype}"


def _pads_with_zeros(layer: Layer) -> bool:
    if isinstance(layer, nn.Linear) or layer.padding_mode != "zeros":
        return False
    if isinstance(layer.padding, str):
        return layer.padding == "same" and any(size > 1 for size in layer.kernel_size)
    return any(layer.padding)


def _is_transparent(module: nn.Module, scale: float) -> bool:
    if is_hooked(module) or "forward" in vars(module):
        return False
    if not type(module).__module__.startswith("torch.nn."):
        return False
    if isinstance(module, _MAX_POOLS):
        return scale > 0 and not module.return_indices
    if isinstance(module, _AVERAGE_POOLS):
        padded = torch.as_tensor(module.padding).any()
        return not padded and getattr(module, "divisor_override", None) is None
    return isinstance(module, _TRANSPARENT_MODULES)


def _is_transparent_call(node: fx.Node, scale: float) -> bool:
    if node.op == "call_method":
        return node.target in _TRANSPARENT_METHODS
    if node.target in _DROPOUTS:
        arguments = (
            inspect.signature(F.dropout).bind(*node.args, **node.kwargs).arguments
        )
        return arguments.get("training", True) is False
    if node.target in _MAX_POOL_FUNCTIONS:
        return scale > 0 and not node.kwargs.get("return_indices", False)
    return node.target in _TRANSPARENT_FUNCTIONS


def _reads_shape(node: fx.Node) -> bool:
    if node.op == "call_method":
        return node.target in _SHAPE_METHODS
    return node.target is getattr and node.args[1] in _SHAPE_ATTRIBUTES


@dataclass(frozen=True)
class _Graph:
    """What one module's forward calls, as torch.fx saw it in a copy of the model."""

    path: str
    graph: fx.Graph
    traced: nn.Module
    original: dict[int, nn.Module]

    def module(self, node: fx.Node) -> nn.Module:
        """The module of the model that a call_module node calls."""
        return self.original[id(self.traced.get_submodule(str(node.target)))]

    def value(self, node: fx.Node) -> object:
        """What a get_attr node reads."""
        return functools.reduce(getattr, str(node.target).split("."), self.traced)

    def follow(self, node: fx.Node, scale: float) -> nn.Module | str:
        """The layer that alone takes what comes from a node, or why there is none."""
        while True:
            users = [user for user in node.users if not _reads_shape(user)]
            if len(users) != 1:
                return f"its value goes to {len(users)} places"
            (user,) = users
            if user.op == "output":
                return (
                    f"its value leaves {self.path!r}"
                    if self.path
                    else "its value leaves the model"
                )
            if user.op == "call_module":
                module = self.module(user)
                alone = user.args == (node,) and not user.kwargs
                if alone and type(module) in LAYERS:
                    return module
                if not alone or not _is_transparent(module, scale):
                    path = f"{self.path}.{user.target}" if self.path else user.target
                    if is_quantized(module):
                        return f"{path!r} is quantized"
                    if parametrize.is_parametrized(module):
                        return f"{path!r} is parametrized"
                    return f"{type(module).__name__} {path!r} follows"
            elif user.args[:1] != (node,) or not _is_transparent_call(user, scale):
                name = getattr(user.target, "__name__", user.target)
                return f"{name} follows"
            node = user


class _Tracer(fx.Tracer):
    """Sees the calls of ANActs, and goes into no module of `opaque`."""

    def __init__(self, opaque: set[int]) -> None:
        super().__init__()
        self.opaque = opaque

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if isinstance(m, ANAct) or id(m) in self.opaque or is_hooked(m):
            return True
        return super().is_leaf_module(m, module_qualified_name)


class _Traces:
    """The graphs of a model: of the whole, or of the parts that torch.fx can trace."""

    def __init__(self, model: nn.Module) -> None:
        # Tracing runs the model's own code, which may leave things in it: use a copy, of
        # all but the parameters.
        self.graphs: list[_Graph] = []
        try:
            copied = copy.deepcopy(model, {id(p): p for p in model.parameters()})
        except Exception:  # noqa: BLE001 - whatever the model's own code raises
            return
        self._original = {
            id(c): m for c, m in zip(copied.modules(), model.modules(), strict=True)
        }
        self._opaque: set[int] = set()
        self._known: dict[int, list[_Graph]] = {}
        self.graphs = [*{id(g): g for g in self._graphs_of(copied, "")}.values()]

    def _graphs_of(self, module: nn.Module, path: str) -> list[_Graph]:
        if id(module) not in self._known:
            self._known[id(module)] = []
            self._known[id(module)] = self._find_graphs(module, path)
        return self._known[id(module)]

    def _find_graphs(self, module: nn.Module, path: str) -> list[_Graph]:
        if _is_transformer_layer(module):
            return [self._graph(path, _feed_forward(), module)]
        children = [
            (name, child, f"{path}.{name}" if path else name)
            for name, child in module.named_children()
        ]
        if fx.Tracer().is_leaf_module(module, path):
            return [
                g for _, child, where in children for g in self._graphs_of(child, where)
            ]
        traced = self._trace(module)
        if traced is None:
            for _, child, where in children:
                self._graphs_of(child, where)
            # What cannot be traced in it is opaque by now.
            traced = self._trace(module)
        if traced is None:
            self._opaque.add(id(module))
            return [
                graph
                for name, child, where in children
                if _is_only_called(module, name)
                for graph in self._graphs_of(child, where)
            ]
        graphs = [self._graph(path, graph, module) for graph in traced]
        for name in {
            str(n.target) for g in traced for n in g.nodes if n.op == "call_module"
        }:
            leaf = module.get_submodule(name)
            if not isinstance(leaf, ANAct):
                graphs += self._graphs_of(leaf, f"{path}.{name}" if path else name)
        return graphs

    def _graph(self, path: str, graph: fx.Graph, module: nn.Module) -> _Graph:
        return _Graph(path, graph, module, self._original)

    def _trace(self, module: nn.Module) -> list[fx.Graph] | None:
        """The graphs with each optional argument given and not, or None."""
        if "forward" in vars(module):
            return None
        choices: list[list[dict[str, Any]]] = []
        for name, parameter in inspect.signature(module.forward).parameters.items():
            if isinstance(parameter.default, bool):
                choices.append([{name: False}, {name: True}])
            elif parameter.default is None:
                choices.append([{}, {name: None}])
        if math.prod(map(len, choices)) > _MOST_VARIANTS:
            return None
        graphs = []
        for chosen in itertools.product(*choices):
            arguments = {
                key: value for choice in chosen for key, value in choice.items()
            }
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    graphs.append(_Tracer(self._opaque).trace(module, arguments))
            except Exception:  # noqa: BLE001 - whatever the model's code does with a proxy
                return None
        return graphs


def _is_transformer_layer(module: nn.Module) -> bool:
    return any(
        isinstance(module, cls)
        and type(module).forward is cls.forward
        and type(module)._ff_block is cls._ff_block
        and "forward" not in vars(module)
        for cls in (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
    )


def _feed_forward() -> fx.Graph:
    """What the layers of nn.Transformer do with their activation."""
    graph = fx.Graph()
    value = graph.placeholder("x")
    for name in ("linear1", "activation", "dropout", "linear2"):
        value = graph.create_node("call_module", name, (value,))
    graph.output(value)
    return graph


def _is_only_called(parent: nn.Module, name: str) -> bool:
    """Whether the code of a parent that cannot be traced does no more than call a child.

    What looks into the child, as a loop over a Sequential does, may use what stands
    between two of its modules.
    """
    if "forward" in vars(parent):
        return False
    try:
        methods = list(methods_of(type(parent)))
    except (OSError, TypeError, SyntaxError):
        return False
    is_list = type(getattr(parent, name)) in (nn.ModuleList, nn.ModuleDict)
    return bool(methods) and all(_Uses(m, is_list).only_call(name) for m in methods)


class _Uses:
    """How a method uses what belongs to its module."""

    def __init__(self, method: Method, is_list: bool) -> None:
        self.method = method
        self.is_list = is_list
        self.parents = {
            id(child): node
            for node in ast.walk(method.tree)
            for child in ast.iter_child_nodes(node)
        }

    def only_call(self, name: str) -> bool:
        """Whether self.name, or each element if it is a list, is only called or compared."""
        for node in ast.walk(self.method.tree):
            if isinstance(node, ast.Name) and self.method.is_self(node):
                attribute = self.parents[id(node)]
                if (
                    not isinstance(attribute, ast.Attribute)
                    or attribute.attr in _LOOKS_INSIDE
                ):
                    return False
                if attribute.attr == name and not self._is_called(attribute):
                    return False
        return True

    def _is_called(self, node: ast.expr) -> bool:
        parent = self.parents[id(node)]
        if _is_callee(node, parent) or isinstance(parent, ast.Compare):
            return True
        if not self.is_list:
            return False
        if isinstance(parent, ast.Subscript):
            if isinstance(parent.slice, ast.Slice):
                return self._is_called(parent)
            return _is_callee(parent, self.parents[id(parent)])
        if isinstance(parent, ast.Call) and isinstance(parent.func, ast.Name):
            if parent.func.id == "len":
                return True
            loop = self.parents[id(parent)]
            return (
                parent.func.id == "enumerate"
                and isinstance(loop, (ast.For, ast.comprehension))
                and isinstance(loop.target, ast.Tuple)
                and self._is_variable_called(loop.target.elts[-1])
            )
        return isinstance(
            parent, (ast.For, ast.comprehension)
        ) and self._is_variable_called(parent.target)

    def _is_variable_called(self, target: ast.expr) -> bool:
        return isinstance(target, ast.Name) and all(
            _is_callee(node, self.parents[id(node)])
            for node in ast.walk(self.method.tree)
            if isinstance(node, ast.Name)
            and node.id == target.id
            and isinstance(node.ctx, ast.Load)
        )


def _is_callee(node: ast.expr, parent: ast.AST) -> bool:
    return isinstance(parent, ast.Call) and parent.func is node
