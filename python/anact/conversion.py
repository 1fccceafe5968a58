"""Conversion of whole models: their activations to ANActs, and back."""

from __future__ import annotations

import ast
import copy
import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from anact._activations import (
    activation_of,
    function_name,
    is_anact,
    lacks_normalized_form,
    parameters_of,
    plain,
    text_of,
)
from anact._option_types import OptionArguments
from anact._options import ANActOptions, name_of
from anact._original import keep_original, original_of
from anact._places import Place, check_model, places, put_all, update_encoders
from anact._selection import Candidate, Selection, names_identity, select, selectors
from anact._source import Method, methods_of
from anact.modules import ANAct

_DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class FunctionCall:
    """An activation that a module's ``forward`` takes as a function, out of reach of a conversion.

    Attributes:
        path: where the module stands.
        module: its class.
        file, line: where the call is written.
        text: the call as written there.
        activation: which activation it is.
    """

    path: str
    module: str
    file: str
    line: int
    text: str
    activation: str


@dataclass(frozen=True)
class RepeatedCall:
    """An ANAct that is called at several points, all with one set of statistics.

    Attributes:
        path: where the ANAct stands.
        file, lines: where the calls are written.
    """

    path: str
    file: str
    lines: tuple[int, ...]

    @property
    def count(self) -> int:
        """At how many points it is called."""
        return len(self.lines)


@dataclass(frozen=True)
class Conversion:
    """What a conversion did, and what it could not do. ``print`` shows a short report.

    Attributes:
        model: the converted model.
        replaced: the path of each place that changed, and its activation.
        functional: what looks like an activation, but is called as a function, and so
            stays as it is.
        repeated: ANActs that the model's code calls at several points, and that so
            normalize different signals with the same statistics. A call in a loop counts
            as one.
        unsupported: activations that have no normalized form: path and class.
        unread: classes without source, of which `functional` and `repeated` know nothing.
    """

    model: nn.Module
    replaced: dict[str, str]
    functional: list[FunctionCall] = field(default_factory=list)
    repeated: list[RepeatedCall] = field(default_factory=list)
    unsupported: dict[str, str] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counts = Counter(self.replaced.values())
        which = ", ".join(f"{count} {name}" for name, count in counts.most_common())
        lines = [f"replaced: {len(self.replaced)}" + (f" ({which})" if which else "")]
        calls = Counter((c.module, c.file, c.line, c.text) for c in self.functional)
        lines += _section(
            "called as functions, so not replaced",
            (
                f"{text} in {module} ({file}:{line})"
                + (f", in {n} modules" if n > 1 else "")
                for (module, file, line, text), n in calls.items()
            ),
        )
        repeated: dict[tuple[str, tuple[int, ...]], list[str]] = defaultdict(list)
        for c in self.repeated:
            repeated[c.file, c.lines].append(c.path)
        lines += _section(
            "called at several points with one set of statistics",
            (
                f"{', '.join(paths)} ({file}:{','.join(map(str, numbers))})"
                for (file, numbers), paths in repeated.items()
            ),
        )
        lines += _section(
            "no normalized form",
            (f"{path}: {name}" for path, name in self.unsupported.items()),
        )
        lines += _section("source not found", self.unread)
        return "\n".join(lines)


def _section(title: str, lines: Iterable[str]) -> list[str]:
    listed = [f"  {line}" for line in lines]
    return [f"{title}:", *listed] if listed else []


def convert_activations(
    model: nn.Module,
    include: Selection | None = None,
    exclude: Selection | None = None,
    *,
    inplace: bool = True,
    **options: Unpack[OptionArguments],
) -> Conversion:
    """Replaces every activation in a model by an ANAct of the same activation.

    Modules of torch.nn and of Hugging Face's transformers are known, and attributes
    that hold a function, as ``nn.TransformerEncoderLayer.activation`` may. Each ANAct is
    on the device and of the type of its parent's parameters, and trains or evaluates as
    the module did. An activation that stands in several places becomes an ANAct of its
    own in each. ANActs that are there already stay.

    Identities are placeholders more often than activations: they are converted only if
    `include` asks for them by class or name. A sigmoid may be a gate, whose values
    between 0 and 1 are wanted: leave those with ``exclude="sigmoid"``, and likewise
    ``"hardsigmoid"``.

    Optimizers made earlier do not know the new parameters α.

    Args:
        model: the model.
        include: which activations; all by default. One or several of: a name of the
            catalogue (``"relu"``, ``"leaky_relu(negative_slope=0.2)"``), a class
            (``nn.ReLU``), a glob on the path (``"features.*"``), or a function of path
            and module that returns a bool.
        exclude: which of those not.
        inplace: whether `model` itself is changed, or a copy.
        options: of :class:`anact.ANActOptions`.

    Returns:
        The model, what was replaced, and what was found but could not be.

    Raises:
        ValueError: for options as :class:`anact.ANActOptions` does, for a selector that
            matches nothing, for an activation with hooks or parametrizations, which would
            be lost, and for a model that is an activation itself if `inplace`. Nothing has
            changed then.
        TypeError: for a ScriptModule.

    >>> net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Tanh())
    >>> print(convert_activations(net, exclude="tanh", momentum=0.05))
    replaced: 1 (1 relu)
    >>> net[1]
    ANAct(relu, momentum=0.05)
    """
    check_model(model)
    ANActOptions("silu", **options)
    if not inplace:
        model = copy.deepcopy(model)
    found = places(model)
    candidates = _activations(found)
    included = selectors(include)
    chosen = select(candidates, included, selectors(exclude))
    if not names_identity(included):
        chosen = [c for c in chosen if c.activation != "identity"]
    _check(chosen, inplace)
    new: list[tuple[Place, nn.Module]] = []
    for c in chosen:
        holder = c.place.holder or model
        device, dtype = _neighbourhood(holder, model)
        act = ANAct(c.activation, device=device, dtype=dtype, **options)
        is_module = isinstance(c.place.held, nn.Module)
        act.train(c.module.training if is_module else holder.training)
        keep_original(act, c.place.held, c.activation)
        new.append((c.place, act))
    model = put_all(model, new)
    update_encoders(model, [c.place for c in chosen])
    sources: dict[type, _Source | None] = {}
    return Conversion(
        model,
        {c.place.path: c.activation for c in chosen},
        list(_function_calls(model, sources)),
        list(_repeated_calls(model, sources)),
        {
            place.path: type(place.held).__qualname__
            for place in found
            if isinstance(place.held, nn.Module) and lacks_normalized_form(place.held)
        },
        sorted(
            f"{c.__module__}.{c.__qualname__}"
            for c, source in sources.items()
            if not source
        ),
    )


def revert_activations(
    model: nn.Module,
    include: Selection | None = None,
    exclude: Selection | None = None,
    *,
    inplace: bool = True,
) -> Conversion:
    """Replaces every ANAct in a model by what a conversion found in its place.

    That is the very module or function that stood there, with its class and arguments
    (``inplace`` too), also in copies, and after pickling if it can be pickled. An ANAct
    that no conversion made becomes its plain activation of torch.nn, and so does one
    whose activation was changed since. What the ANActs have learnt is lost;
    :func:`anact.fold` keeps it.

    Args:
        model: the model.
        include, exclude: which ANActs, as in :func:`convert_activations`.
        inplace: whether `model` itself is changed, or a copy.

    Returns:
        The model and what was replaced.

    Raises:
        ValueError: as :func:`convert_activations` does.
        TypeError: for a ScriptModule.

    >>> net = nn.Sequential(nn.Linear(4, 4), ANAct("elu"))
    >>> revert_activations(net).replaced
    {'1': 'elu'}
    >>> net[1]
    ELU(alpha=1.0)
    """
    check_model(model)
    if not inplace:
        model = copy.deepcopy(model)
    candidates = [
        Candidate(place, name_of(place.held.options.activation), place.held)
        for place in places(model)
        if is_anact(place.held)
    ]
    chosen = select(candidates, selectors(include), selectors(exclude))
    _check(chosen, inplace)
    new = [(c.place, original_of(c.module)) for c in chosen if is_anact(c.module)]
    model = put_all(model, new)
    update_encoders(model, [c.place for c in chosen])
    return Conversion(model, {c.place.path: c.activation for c in chosen})


def _activations(found: list[Place]) -> list[Candidate]:
    candidates = []
    for place in found:
        if isinstance(place.held, nn.Module):
            activation = activation_of(place.held)
            if activation is not None:
                candidates.append(Candidate(place, activation, place.held))
        else:
            activation = function_name(place.held)
            if activation is not None:
                candidates.append(Candidate(place, activation, plain(activation)))
    return candidates


def _check(chosen: list[Candidate], inplace: bool) -> None:
    for c in chosen:
        c.place.check_replaceable()
        if inplace and c.place.holder is None:
            raise ValueError(
                f"the model is itself the {c.activation} to replace: pass inplace=False "
                "and take the result's model"
            )


def _neighbourhood(
    holder: nn.Module, model: nn.Module
) -> tuple[torch.device | None, torch.dtype | None]:
    for module in (holder, model):
        for parameter in module.parameters():
            if parameter.dtype in _DTYPES:
                return parameter.device, parameter.dtype
    return None, None


@dataclass(frozen=True)
class _Source:
    """What the source of a class's ``forward`` says, and of its methods that it calls."""

    # (file, line, text, activation) of each activation taken as a function
    functions: list[tuple[str, int, str, str]]
    # (file, line, dotted name after `self`) of each call
    calls: list[tuple[str, int, str]]


def _source(cls: type, known: dict[type, _Source | None]) -> _Source | None:
    """None if there is none to read. Nothing is said of classes of PyTorch and of ANAct."""
    if cls not in known:
        functions: list[tuple[str, int, str, str]] = []
        calls: list[tuple[str, int, str]] = []
        try:
            for method in methods_of(cls):
                functions += _functions_in(method)
                calls += method.calls()
            known[cls] = _Source(functions, calls)
        except (OSError, TypeError, SyntaxError):
            known[cls] = None
    return known[cls]


def _function_calls(
    model: nn.Module, known: dict[type, _Source | None]
) -> Iterator[FunctionCall]:
    for path, module in model.named_modules():
        if isinstance(module, ANAct) or activation_of(module) is not None:
            continue
        source = _source(type(module), known)
        if source is not None:
            for file, line, text, activation in source.functions:
                yield FunctionCall(
                    path, type(module).__qualname__, file, line, text, activation
                )


def _repeated_calls(
    model: nn.Module, known: dict[type, _Source | None]
) -> Iterator[RepeatedCall]:
    calls: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for path, module in model.named_modules():
        source = _source(type(module), known)
        for file, line, name in source.calls if source else ():
            calls[f"{path}.{name}" if path else name].append((file, line))
    for path, module in model.named_modules():
        if isinstance(module, ANAct) and len(calls[path]) > 1:
            yield RepeatedCall(
                path, calls[path][0][0], tuple(line for _, line in calls[path])
            )


def _functions_in(method: Method) -> Iterator[tuple[str, int, str, str]]:
    called = {id(n.func): n for n in ast.walk(method.tree) if isinstance(n, ast.Call)}
    for node in ast.walk(method.tree):
        if isinstance(node, (ast.Name, ast.Attribute)):
            call = called.get(id(node))
            activation = _activation_called(method, node, call)
            if activation is not None:
                text = textwrap.shorten(ast.unparse(call or node), 80)
                yield method.file, method.line(node), text, activation


def _activation_called(
    method: Method, node: ast.Name | ast.Attribute, call: ast.Call | None
) -> str | None:
    name = function_name(method.value_of(node))
    if name is not None:
        return name if call is None else _with_parameters(name, call)
    # x.relu(): a method of what can be a tensor, not of this module.
    if (
        isinstance(node, ast.Attribute)
        and call is not None
        and not call.args
        and not method.is_self(node.value)
        and method.value_of(node.value) is None
    ):
        return function_name(getattr(Tensor, node.attr, None))
    return None


def _with_parameters(name: str, call: ast.Call) -> str:
    values = dict(zip(parameters_of(name), call.args[1:], strict=False))
    values |= {k.arg: k.value for k in call.keywords if k.arg in parameters_of(name)}
    if not all(isinstance(value, ast.Constant) for value in values.values()):
        return name
    return (
        text_of(
            name, {k: v.value for k, v in values.items() if isinstance(v, ast.Constant)}
        )
        or name
    )
