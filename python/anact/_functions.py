"""Activations that a module's forward calls as functions, made modules of their own."""

from __future__ import annotations

import linecache
import operator
import re
import types
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize

from anact._activations import (
    activation_of,
    function_name,
    lacks_normalized_form,
    parameters_of,
    plain,
    text_of,
)
from anact._places import Place
from anact._selection import Candidate
from anact._trace import Ran, Trace, model_frame
from anact._traceable import Refused, guards_of, may_call_activations


@dataclass(frozen=True)
class CalledFunction:
    """What stands in the place of an activation that is called as a function.

    Attributes:
        activation: which.
        sites: file and line of the call, in training and in evaluation.
    """

    activation: str
    sites: tuple[tuple[str, int], ...]


@dataclass
class FunctionsFound:
    """The activations that a model's modules call as functions.

    Attributes:
        candidates: one for each call; its place is the module, and a name that is free.
        refused: paths of modules that call some and cannot be rewritten, and why.
    """

    candidates: list[Candidate] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    traced: list[_Traced] = field(default_factory=list)
    # Where the traced modules stand
    paths: list[str] = field(default_factory=list)

    def sites(self) -> set[tuple[str, str, int, str]]:
        """Path of the module, file, line and kind of activation of each call."""
        return {
            (_path_of_holder(c.place), *site, _kind(c.activation))
            for c in self.candidates
            if isinstance(c.place.held, CalledFunction)
            for site in c.place.held.sites
        }

    def assign(self, ran: Trace) -> None:
        """Takes the calls that ran for calls of the candidates.

        Those of one line and activation run in the order in which the graph has them.
        """
        running: dict[tuple[str, str, int, str], list[Ran]] = defaultdict(list)
        for call in ran.functions:
            at = call.site
            running[at.path, at.file, at.line, _kind(call.activation)].append(call)
        standing = {
            (id(c.place.holder), c.place.name): c.place for c in self.candidates
        }
        moved: list[tuple[Place, Ran]] = []
        for path, traced in zip(self.paths, self.traced, strict=True):
            for (file, line, kind), names in traced.names_by_site().items():
                for i, call in enumerate(running[path, file, line, kind]):
                    name = names[i % len(names)]
                    if name is not None:
                        moved.append((standing[id(traced.module), name], call))
        ran.move(moved)

    def rewrite(self, chosen: Iterable[Candidate]) -> None:
        """Lets the modules call, instead of the functions, the modules put there."""
        names: dict[int, set[str]] = {}
        for c in chosen:
            if isinstance(c.place.held, CalledFunction):
                names.setdefault(id(c.place.holder), set()).add(c.place.name)
        for traced in self.traced:
            if id(traced.module) in names:
                traced.write(frozenset(names[id(traced.module)]))


def find_functions(model: nn.Module) -> FunctionsFound:
    """Looks at every module's forward as torch.fx sees it, its children left whole.

    A module whose forward would not be the same as a graph is refused: one that decides by
    its arguments, stores something, enters a context, or is not traceable at all.
    """
    found = FunctionsFound()
    paths: dict[int, list[str]] = {}
    modules: dict[int, nn.Module] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        paths.setdefault(id(module), []).append(path)
        modules[id(module)] = module
    for key, module in modules.items():
        known = _package(type(module)) in ("torch", "anact") or (
            activation_of(module) is not None or lacks_normalized_form(module)
        )
        if known or not may_call_activations(module):
            continue
        try:
            traced = _Traced(module)
        except Refused as why:
            found.refused[paths[key][0] or "the model"] = str(why)
            continue
        found.traced.append(traced)
        found.paths.append(paths[key][0])
        for name, activation in traced.calls.items():
            where = tuple(f"{path}.{name}" if path else name for path in paths[key])
            held = CalledFunction(activation, traced.sites(name))
            place = Place(where, module, name, held)
            found.candidates.append(Candidate(place, activation, plain(activation)))
    return found


def take_back(chosen: list[Candidate]) -> list[Candidate]:
    """Lets modules call functions again instead of these ANActs; returns the others."""
    rest: list[Candidate] = []
    names: dict[int, tuple[nn.Module, set[str]]] = {}
    for c in chosen:
        holder = c.place.holder
        if holder is not None and c.place.name in _names(holder):
            names.setdefault(id(holder), (holder, set()))[1].add(c.place.name)
        else:
            rest.append(c)
    for module, gone in names.values():
        kept = _names(module) - gone
        module.__class__ = type(module).__bases__[0]
        for name in gone:
            delattr(module, name)
        if kept:
            _Traced(module, kept).write(kept)
    return rest


def _names(module: nn.Module) -> frozenset[str]:
    """The attributes that a rewritten forward calls instead of functions."""
    form = vars(type(module)).get("_anact_form")
    return form.names if isinstance(form, _Form) else frozenset()


def _path_of_holder(place: Place) -> str:
    return place.path.rpartition(".")[0]


def _kind(activation: str) -> str:
    return activation.split("(")[0]


def _package(cls: type) -> str:
    return cls.__module__.split(".")[0]


# ---- Rewriting


@dataclass(frozen=True)
class _Form:
    """The code of a rewritten forward."""

    source: str
    values: tuple[tuple[str, Any], ...]
    names: frozenset[str]

    def __reduce__(self) -> tuple[Any, ...]:
        values = tuple(
            (name, _Module(v.__name__) if isinstance(v, types.ModuleType) else v)
            for name, v in self.values
        )
        return _Form, (self.source, values, self.names)


@dataclass(frozen=True)
class _Module:
    """A module of Python, by its name: it cannot be pickled itself."""

    name: str


_classes: dict[tuple[type, str, frozenset[str]], type] = {}


def _class(base: type[nn.Module], form: _Form) -> type[nn.Module]:
    """A subclass with the rewritten forward, one for all modules of the same code."""
    key = base, form.source, form.names
    if key not in _classes:
        file = f"<forward of {base.__qualname__}, rewritten {len(_classes)}>"
        lines = form.source.splitlines(keepends=True)
        linecache.cache[file] = len(form.source), None, lines, file
        values = {
            name: __import__(v.name, fromlist=["_"]) if isinstance(v, _Module) else v
            for name, v in form.values
        }
        exec(compile(form.source, file, "exec"), values)  # noqa: S102
        _classes[key] = type(
            base.__name__,
            (base,),
            {
                "forward": values["forward"],
                "_anact_form": form,
                "__module__": base.__module__,
                "__qualname__": base.__qualname__,
                "__doc__": base.__doc__,
                "__reduce_ex__": _reduce,
            },
        )
    return _classes[key]


def _reduce(self: nn.Module, protocol: int) -> Any:
    """Pickles and copies by the original class, since the new one has no place."""
    cls = type(self)
    base, form = cls.__bases__[0], vars(cls)["_anact_form"]
    get = getattr(self, "__getstate__", None)
    state = vars(self).copy() if get is None else get()
    return _new, (base, form), state


def _new(base: type[nn.Module], form: _Form) -> nn.Module:
    cls = _class(base, form)
    return cls.__new__(cls)


# ---- Tracing


class _Tracer(fx.Tracer):
    """Goes into none of a module's children, and reads buffers when they are used."""

    proxy_buffer_attributes = True

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(*args, **kwargs)
        frame = model_frame()
        if frame is not None:
            node.meta["site"] = frame.f_code.co_filename, frame.f_lineno
        return node


class _Traced:
    """A module's forward as graphs, in training and in evaluation.

    Args:
        module: the module.
        placed: names of the calls whose modules are in place already.
    """

    def __init__(self, module: nn.Module, placed: frozenset[str] = frozenset()) -> None:
        self.module = module
        self.placed = placed
        if "forward" in vars(module):
            raise Refused("its forward has been replaced")
        if parametrize.is_parametrized(module):
            raise Refused("it has parametrizations")
        if _names(module):
            raise Refused("it has been rewritten already")
        self.guards = guards_of(module)
        self.graphs = [self._trace(True), self._trace(False)]
        self.nodes = [dict(self._named(graph)) for graph in self.graphs]
        texts = [{n: t for n, (_, t) in nodes.items()} for nodes in self.nodes]
        if texts[0] != texts[1]:
            raise Refused("it calls other activations in training than in evaluation")
        self.calls = texts[0]

    def sites(self, name: str) -> tuple[tuple[str, int], ...]:
        """File and line of a call, in training and in evaluation."""
        return tuple(_site(nodes[name][0]) for nodes in self.nodes)

    def names_by_site(self) -> dict[tuple[str, int, str], list[str | None]]:
        """The calls of each line and kind of activation, in the module's present mode.

        In their order; None is one that is not to be converted.
        """
        mode = 0 if self.module.training else 1
        names = {id(node): name for name, (node, _) in self.nodes[mode].items()}
        found: dict[tuple[str, int, str], list[str | None]] = defaultdict(list)
        for node in self.graphs[mode].nodes:
            kind = _function_called(node)
            if kind is not None:
                file, line = _site(node)
                found[file, line, _kind(kind)].append(names.get(id(node)))
        return found

    def _trace(self, training: bool) -> fx.Graph:
        graph, again = self._graph(training), self._graph(training)
        if str(graph) != str(again):
            raise Refused("its graph is not the same twice")
        return graph

    def _graph(self, training: bool) -> fx.Graph:
        # What tracing leaves behind is left in a copy; the children are not run.
        root = self.module.__class__.__new__(self.module.__class__)
        root.__dict__ = {
            name: value.copy() if isinstance(value, (dict, list, set)) else value
            for name, value in vars(self.module).items()
        }
        root.training = training
        for name, value in vars(self.module).items():
            # A place of its own: what it holds is called, not seen through.
            if name not in root._modules and function_name(value) is not None:
                del root.__dict__[name]
                root._modules[name] = nn.Module()
        known = set(dir(root))
        state = torch.get_rng_state()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                graph = _Tracer().trace(root)
        except Exception as error:  # noqa: BLE001 - whatever the module's code raises
            first = str(error).strip().split("\n")[0]
            raise Refused(f"torch.fx cannot trace it: {first}") from None
        finally:
            torch.set_rng_state(state)
        if any(
            n.op == "get_attr" and str(n.target).split(".")[0] not in known
            for n in graph.nodes
        ):
            raise Refused("it makes a tensor of no input, which a graph would keep")
        return graph

    def _named(self, graph: fx.Graph) -> Iterator[tuple[str, tuple[fx.Node, str]]]:
        taken = set(dir(self.module)) - self.placed
        for node in graph.nodes:
            activation = _activation(node)
            if activation is None or _changes_what_is_used(node, self.module):
                continue
            (source,) = node.all_input_nodes
            before = str(source.target).replace(".", "_")
            kind = activation.split("(")[0]
            stem = f"{before}_{kind}" if source.op == "call_module" else kind
            name = stem
            number = 2
            while name in taken:
                name, number = f"{stem}_{number}", number + 1
            taken.add(name)
            yield name, (node, activation)

    def write(self, names: frozenset[str]) -> None:
        """Rewrites the module's forward to call these attributes."""
        for graph, nodes in zip(self.graphs, self.nodes, strict=True):
            for name in names:
                node, _ = nodes[name]
                with graph.inserting_before(node):
                    new = graph.create_node(
                        "call_module", name, (node.all_input_nodes[0],)
                    )
                node.replace_all_uses_with(new)
                graph.erase_node(node)
        self.module.__class__ = _class(type(self.module), self._form(names))

    def _form(self, names: frozenset[str]) -> _Form:
        parts = [graph.python_code("self") for graph in self.graphs]
        head, *bodies = (_split(part.src) for part in parts)
        values: dict[str, Any] = {}
        for part in parts:
            values |= part.globals
        lines = [head[0]]
        if self.guards:
            wrong = " or ".join(self.guards)
            message = (
                "an attribute that forward reads has changed since its activation "
                "functions were converted; call anact.revert_activations first"
            )
            lines += [f"    if {wrong}:", f"        raise RuntimeError({message!r})"]
        if head[1] == bodies[0][1]:
            lines += head[1]
        else:
            lines += ["    if self.training:", *(f"    {line}" for line in head[1])]
            lines += bodies[0][1]
        used = set(re.findall(r"\w+", "\n".join(lines)))
        kept = tuple(sorted((n, v) for n, v in values.items() if n in used))
        return _Form("\n".join(lines) + "\n", kept, names)


def _split(source: str) -> tuple[str, list[str]]:
    """The line that begins a function, and the lines of its body."""
    lines = source.strip().split("\n")
    start = next(i for i, line in enumerate(lines) if line.startswith("def "))
    return lines[start], [line for line in lines[start + 1 :] if line.strip()]


def _site(node: fx.Node) -> tuple[str, int]:
    file, line = node.meta.get("site", ("", 0))
    return file, line


def _function_called(node: fx.Node) -> str | None:
    """Which activation a node calls as a function, but for its arguments."""
    if node.op == "call_method":
        return function_name(getattr(Tensor, str(node.target), None))
    return function_name(node.target) if node.op == "call_function" else None


def _activation(node: fx.Node) -> str | None:
    """Which activation a node calls as a function, with its parameters."""
    name = _function_called(node)
    if name is None or len(node.all_input_nodes) != 1:
        return None
    given = {"input": node.args[0]} if node.args else {}
    given |= dict(zip((*parameters_of(name), "inplace"), node.args[1:], strict=False))
    if len(node.args) > len(parameters_of(name)) + 2:
        return None
    given |= node.kwargs
    if given.pop("input", None) is not node.all_input_nodes[0]:
        return None
    given.pop("inplace", None)
    if not given.keys() <= set(parameters_of(name)):
        return None
    return text_of(name, given)


# Their result shares no memory with what goes in.
_MAKE_NEW = (
    nn.Linear,
    nn.Bilinear,
    nn.Embedding,
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._BatchNorm,
    nn.GroupNorm,
    nn.LayerNorm,
)
_FUNCTIONS_MAKE_NEW = (
    *(operator.add, operator.sub, operator.mul, operator.truediv, operator.matmul),
    *(torch.add, torch.sub, torch.mul, torch.div, torch.matmul, torch.bmm, torch.cat),
    *(F.linear, F.conv1d, F.conv2d, F.conv3d, F.batch_norm, F.layer_norm),
)


def _changes_what_is_used(node: fx.Node, root: nn.Module) -> bool:
    """Whether it works in place on what may be seen by other ways than its result."""
    inplace = (
        bool(node.kwargs.get("inplace"))
        or True in node.args[1:]
        or str(getattr(node.target, "__name__", node.target)).endswith("_")
    )
    order = {each: i for i, each in enumerate(node.graph.nodes)}
    waiting = list(node.all_input_nodes) if inplace else []
    for source in waiting:
        # What came before, and is used afterwards, may be the same memory.
        if any(order[user] > order[node] for user in source.users):
            return True
        if source.op in ("placeholder", "get_attr"):
            return True
        if not _makes_new(source, root):
            waiting += source.all_input_nodes
    return False


def _makes_new(node: fx.Node, root: nn.Module) -> bool:
    if node.op != "call_module":
        return node.target in _FUNCTIONS_MAKE_NEW
    module = root.get_submodule(str(node.target))
    while type(module) is nn.Sequential and len(module):
        module = module[-1]
    owner = next(base for base in type(module).__mro__ if "forward" in vars(base))
    return issubclass(owner, _MAKE_NEW) and _package(owner) == "torch"
