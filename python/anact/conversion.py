"""Conversion of whole models: their activations to ANActs, and back."""

from __future__ import annotations

import ast
import copy
import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from anact._activations import (
    activation_of,
    function_name,
    lacks_normalized_form,
    parameters_of,
    plain,
    text_of,
)
from anact._functions import CalledFunction, FunctionsFound, find_functions, take_back
from anact._inplace import reused_in_place
from anact._option_types import OptionArguments
from anact._options import ANActOptions, name_of
from anact._original import keep_original, original_of
from anact._places import Place, check_model, places, put_all, update_encoders
from anact._plain import is_anact
from anact._preserve import check_preservable, preserve_function
from anact._rules import Rules, RuleSet
from anact._selection import (
    Candidate,
    Selection,
    is_named,
    names_identity,
    select,
    selectors,
)
from anact._source import Method, methods_of
from anact._trace import Ran, Trace, trace
from anact.modules import ANAct

_DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


# Why an activation stays as it is, and how a report says so.
_REASONS = {
    "inplace": "left: they change in place what is used again",
    "gate": "left: gates, which multiply another branch",
    "softmax": "left: they go into a softmax, or are divided by their sum",
    "output": "left: their result is the output, or an argument of a loss",
    "maybe gate": "left: these may be gates; pass an example, or include them by name",
    "never called": "left: they were never called",
    "not selected": "not selected",
}


@dataclass(frozen=True)
class LeftActivation:
    """An activation in a place that a conversion left as it is.

    Attributes:
        path: where it stands.
        activation: which activation it is.
        reason: ``"inplace"``: it changes its input in place, and the input is used again,
            or is used instead of the result, so that the converted model would be another.
            ``"gate"``: its result is multiplied with another branch. ``"softmax"``: its
            result goes into a softmax, or is divided by its own sum. ``"output"``: its
            result is the model's output, or an argument of a loss. ``"maybe gate"``: it is
            a sigmoid or hardsigmoid, of whose use nothing is known. ``"never called"``:
            it did not run on the example. ``"not selected"``: by `include`, `exclude` or
            `rules`.
        file, line: where the reason is in the source; empty and 0 if it is not there.
    """

    path: str
    activation: str
    reason: str
    file: str = ""
    line: int = 0


@dataclass(frozen=True)
class FunctionCall:
    """An activation that a module's ``forward`` takes as a function, out of reach of a conversion.

    Attributes:
        path: where the module stands.
        module: its class.
        file, line: where the call is written; empty and 0 if no source has it.
        text: the call as written there.
        activation: which activation it is.
        use: ``"gate"``, ``"softmax"`` or ``"output"`` as in :class:`LeftActivation`, or
            ``""`` for any other; known with an example only.
    """

    path: str
    module: str
    file: str
    line: int
    text: str
    activation: str
    use: str = ""


@dataclass(frozen=True)
class RepeatedCall:
    """An activation that is called several times: an ANAct has one set of statistics for all.

    Attributes:
        path: where it stands.
        file, lines: where the calls are written.
        count: how often it is called on the example; without one, at how many points.
    """

    path: str
    file: str
    lines: tuple[int, ...]
    count: int


@dataclass(frozen=True)
class Conversion:
    """What a conversion did, and what it could not do. ``print`` shows a short report.

    Attributes:
        model: the converted model.
        replaced: the path of each place that changed, and its activation.
        left: activations in places that could hold an ANAct, and stay as they are. With
            `functions`, calls of functions too, under the path that their ANAct would have.
        functional: what is called as a function, or as a module that stands in no place,
            and so stays as it is.
        repeated: what is called several times in one forward pass, and so normalizes
            different signals with the same statistics; with an example, what was left
            too. Without one, a call in a loop counts as one.
        unsupported: activations that have no normalized form: path and class.
        unread: classes without source, of which `functional` and `repeated` know nothing;
            empty with an example.
        refused: paths of modules whose functions could not be converted, and why.
        kept: paths of activations that stay, so that the model computes the same, and why.

    With an example every activation that ran is in one of these, but for what runs within
    one function of PyTorch, such as the sigmoids of an nn.LSTM, and for identities.
    """

    model: nn.Module
    replaced: dict[str, str]
    left: list[LeftActivation] = field(default_factory=list)
    functional: list[FunctionCall] = field(default_factory=list)
    repeated: list[RepeatedCall] = field(default_factory=list)
    unsupported: dict[str, str] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        counts = Counter(self.replaced.values())
        which = ", ".join(f"{count} {name}" for name, count in counts.most_common())
        lines = [f"replaced: {len(self.replaced)}" + (f" ({which})" if which else "")]
        for reason, title in _REASONS.items():
            left: dict[str, list[str]] = defaultdict(list)
            for c in self.left:
                if c.reason == reason:
                    left[c.activation + _where(c.file, c.line)].append(c.path)
            lines += _section(title, (f"{_few(p)}: {what}" for what, p in left.items()))
        calls = Counter(
            (f"{_called(c)} in {c.module}", _where(c.file, c.line), c.use)
            for c in self.functional
        )
        lines += _section(
            "called as functions, so not replaced",
            (
                f"{text}{where}"
                + (f", {_USES[use]}" if use else "")
                + (f", in {n} modules" if n > 1 else "")
                for (text, where, use), n in calls.items()
            ),
        )
        repeated: dict[tuple[str, int], list[str]] = defaultdict(list)
        for r in self.repeated:
            numbers = ",".join(map(str, sorted(set(r.lines))))
            at = f" ({r.file}:{numbers})" if r.file else ""
            repeated[at, r.count].append(r.path)
        lines += _section(
            "called several times with one set of statistics",
            (f"{_few(p)}{at}, {n} calls" for (at, n), p in repeated.items()),
        )
        lines += _section(
            "no normalized form",
            (f"{path}: {name}" for path, name in self.unsupported.items()),
        )
        lines += _section("source not found", self.unread)
        lines += _section(
            "functions not convertible",
            (f"{path}: {why}" for path, why in self.refused.items()),
        )
        lines += _section(
            "kept plain, since nothing makes up for the map",
            (f"{path}: {why}" for path, why in self.kept.items()),
        )
        return "\n".join(lines)


_USES = {"gate": "a gate", "softmax": "softmax-like", "output": "the output"}


def _called(c: FunctionCall) -> str:
    known = c.activation.split("(")[0] in c.text.lower()
    return c.text if known else f"{c.activation}: {c.text}" if c.text else c.activation


def _where(file: str, line: int) -> str:
    return f" ({file}:{line})" if file else ""


def _few(paths: list[str]) -> str:
    more = f" and {len(paths) - 3} more" if len(paths) > 4 else ""
    return ", ".join(path or "the model" for path in paths[: 3 if more else 4]) + more


def _section(title: str, lines: Iterable[str]) -> list[str]:
    listed = [f"  {line}" for line in lines]
    return [f"{title}:", *listed] if listed else []


def convert_activations(
    model: nn.Module,
    include: Selection | None = None,
    exclude: Selection | None = None,
    *,
    inplace: bool = True,
    example: object = None,
    functions: bool = False,
    preserve: bool = False,
    rules: Rules | None = None,
    **options: Unpack[OptionArguments],
) -> Conversion:
    """Replaces every activation in a model by an ANAct of the same activation.

    Modules of torch.nn are known by class, others by what they compute, and attributes
    that hold a function, as ``nn.TransformerEncoderLayer.activation`` may. Each ANAct is
    on the device and of the type of its parent's parameters, and trains or evaluates as
    the module did. An activation that stands in several places becomes an ANAct of its
    own in each. ANActs that are there already stay.

    With an `example`, the model runs on it once, as it is (in training or evaluation),
    without gradients; afterwards its tensors, attributes and flags and the random state
    are what they were, also if it raises. The report then names every activation that
    ran and was not replaced. Left are gates, which multiply another branch; activations
    whose result is the output or an argument of a loss, or goes into a softmax; and what
    was never called. Without an example, sigmoid and hardsigmoid are left, because they
    may be gates. `include` converts these if it asks for them by name (``"sigmoid"``),
    class (``nn.Sigmoid``) or a path whose last part is written out (``"*.gate"``), but
    not what was never called.

    An activation that works in place stays if its input is used again, or is used instead
    of its result: the converted model would be another. With an example this is known
    exactly; without one it is looked for in the source of the modules.

    Identities are placeholders more often than activations: they are converted only if
    `include` asks for them by class or name.

    Optimizers made earlier do not know the new parameters α.

    Args:
        model: the model.
        include: which activations; all by default. One or several of: a name of the
            catalogue (``"relu"``, ``"leaky_relu(negative_slope=0.2)"``), a class
            (``nn.ReLU``), a glob on the path (``"features.*"``), or a function of path
            and module that returns a bool.
        exclude: which of those not.
        inplace: whether `model` itself is changed, or a copy.
        example: a batch: what the model takes as its one argument, a tuple of its
            arguments, or a dict of them by name. It is not changed.
        functions: whether activations that a ``forward`` calls as functions
            (``F.relu(x)``, ``x.sigmoid()``) are converted too. Each call becomes an ANAct
            that the module gets as an attribute, named after the module before it
            (``conv1_relu``), and the module gets a class, derived from its own, whose
            ``forward`` calls it. A module is left, and the reason told in `refused`, where
            torch.fx cannot trace its ``forward``, or would lose what that does.
        preserve: whether the model goes on computing, in evaluation, what it computes
            now. The ANActs are calibrated with `example`, and the weight and bias of the
            Linear or Conv that alone takes an ANAct's output make up for its map. Where
            none does (a residual sum, a convolution that pads with zeros, a layer without
            a bias), the activation stays plain, and `kept` says why.
        rules: what to convert and how, pattern by pattern: a dict, or the path of a TOML
            file (Python 3.11 or newer). A pattern is a glob on the path, a name of the
            catalogue, or in a dict a class; each has options of
            :class:`anact.ANActOptions`, which win over `options`, or ``convert = false``,
            which leaves the activation. The first rule that matches decides; what none
            matches is converted with `options`. ``convert = true`` asks for an activation
            as `include` does, without limiting the others.
        options: of :class:`anact.ANActOptions`.

    Returns:
        The model, what was replaced, and what was found but could not be.

    Raises:
        ValueError: for options as :class:`anact.ANActOptions` does, for a selector or
            rule that matches nothing, or is none, for an activation with hooks or
            parametrizations, which would be lost, for a model that is an activation itself
            if `inplace` or `preserve`, for `preserve` without an `example`, and for an
            `example` and lazy parameters. Nothing has changed then.
        TypeError: for a ScriptModule, and for rules that are no table.

    What the model raises on the example is passed on; nothing has changed then either.

    >>> net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Tanh())
    >>> print(convert_activations(net, example=torch.randn(8, 4), momentum=0.05))
    replaced: 1 (1 relu)
    left: their result is the output, or an argument of a loss:
      3: tanh
    >>> net[1]
    ANAct(relu, momentum=0.05)
    """
    check_model(model)
    ANActOptions("silu", **options)
    ruling = RuleSet(rules)
    if preserve:
        check_preservable(model, example)
    if not inplace:
        model = copy.deepcopy(model)
    found = places(model)
    called = find_functions(model) if functions else FunctionsFound()
    candidates = _activations(found) + called.candidates
    included = selectors(include)
    selected = {
        id(c) for c in ruling.apply(select(candidates, included, selectors(exclude)))
    }
    asked = ruling.asked(included)
    if not names_identity(asked):
        selected -= {id(c) for c in candidates if c.activation == "identity"}
    sources: dict[type, _Source | None] = {}
    ran = None if example is None else trace(model, found, example)
    if ran is None:
        reused = _reused_in_source(model, sources)
        in_source = _function_calls(model, sources)
        converted = called.sites()
        functional = [c for c in in_source if _position(c) not in converted]
        written = _calls(model, sources)
    else:
        called.assign(ran)
    chosen: list[Candidate] = []
    left: list[LeftActivation] = []
    for c in candidates:
        if id(c) not in selected:
            reason, at = "not selected", None
        elif ran is None:
            reason, at = _reason_in_source(c, is_named(c, asked), reused)
        else:
            reason, at = _reason(ran.at(c.place), is_named(c, asked))
        if not reason:
            chosen.append(c)
        elif c.activation != "identity" and not _is_part(c, ran):
            left.append(
                LeftActivation(c.place.path, c.activation, reason, *(at or ("", 0)))
            )
    _check(chosen, inplace)
    new: list[tuple[Place, nn.Module]] = []
    for c in chosen:
        holder = c.place.holder or model
        device, dtype = _neighbourhood(holder, model)
        how = ruling.options(c, options)
        act = ANAct(c.activation, device=device, dtype=dtype, **how)
        is_module = isinstance(c.place.held, nn.Module)
        act.train(c.module.training if is_module else holder.training)
        if not isinstance(c.place.held, CalledFunction):
            keep_original(act, c.place.held, c.activation)
        new.append((c.place, act))
    model = put_all(model, new)
    called.rewrite(chosen)
    update_encoders(model, [c.place for c in chosen])
    kept: dict[str, str] = {}
    if preserve:
        kept = preserve_function(model, new, example)
        chosen = [c for c in chosen if c.place.path not in kept]
    if ran is None:
        repeated = list(_repeated_calls(model, written))
    else:
        functional = _functions_that_ran(ran, chosen)
        repeated = _repeated_in(ran, [c for c in candidates if id(c) in selected])
    return Conversion(
        model,
        {c.place.path: c.activation for c in chosen},
        left,
        functional,
        repeated,
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
        called.refused,
        kept,
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
    (``inplace`` too), or the class whose ``forward`` called the function, also in copies, and after pickling if it can be pickled. An ANAct
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
    replaced = {c.place.path: c.activation for c in chosen}
    chosen = take_back(chosen)
    new = [(c.place, original_of(c.module)) for c in chosen if is_anact(c.module)]
    model = put_all(model, new)
    update_encoders(model, [c.place for c in chosen])
    return Conversion(model, replaced)


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


_At: TypeAlias = tuple[str, int]


def _reason(calls: list[Ran], named: bool) -> tuple[str, _At | None]:
    """Why an activation that was called so is left, and where; "" if it is not."""
    if not calls:
        return "never called", None
    for call in calls:
        if call.reused:
            return "inplace", (call.reused.file, call.reused.line)
    for use in ("gate", "softmax", "output") if not named else ():
        for call in calls:
            if use in call.uses:
                site = call.uses[use]
                return use, (site.file, site.line) if site else None
    return "", None


def _reason_in_source(
    c: Candidate, named: bool, reused: dict[tuple[int, str], _At]
) -> tuple[str, _At | None]:
    key = id(c.place.holder), c.place.name
    if key in reused:
        return "inplace", reused[key]
    if c.activation in ("sigmoid", "hardsigmoid") and not named:
        return "maybe gate", None
    return "", None


def _is_part(c: Candidate, ran: Trace | None) -> bool:
    """Whether it is a part of what is called as one function, as the sigmoid of a SiLU."""
    calls = ran.at(c.place) if ran else []
    return bool(calls) and all(call.hidden for call in calls)


def _position(call: FunctionCall) -> tuple[str, str, int, str]:
    return call.path, call.file, call.line, call.activation.split("(")[0]


def _functions_that_ran(ran: Trace, chosen: list[Candidate]) -> list[FunctionCall]:
    converted = {id(call) for c in chosen for call in ran.at(c.place)}
    calls: dict[FunctionCall, None] = {}
    for call in ran.functions:
        if call.hidden or any(id(part) in converted for part in call.parts):
            continue
        use = next((u for u in ("gate", "softmax", "output") if u in call.uses), "")
        at = call.site
        calls[
            FunctionCall(
                at.path, at.module, at.file, at.line, at.text, call.activation, use
            )
        ] = None
    return list(calls)


def _repeated_in(ran: Trace, selected: list[Candidate]) -> list[RepeatedCall]:
    repeated = []
    for c in selected:
        sites = [call.site for call in ran.at(c.place)]
        if len(sites) > 1:
            file = sites[0].file
            lines = tuple(site.line for site in sites if file and site.file == file)
            repeated.append(RepeatedCall(c.place.path, file, lines, len(sites)))
    return repeated


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
    methods: list[Method]


def _source(cls: type, known: dict[type, _Source | None]) -> _Source | None:
    """None if there is none to read. Nothing is said of classes of PyTorch and of ANAct."""
    if cls not in known:
        functions: list[tuple[str, int, str, str]] = []
        calls: list[tuple[str, int, str]] = []
        try:
            methods = list(methods_of(cls))
            for method in methods:
                functions += _functions_in(method)
                calls += method.calls()
            known[cls] = _Source(functions, calls, methods)
        except (OSError, TypeError, SyntaxError):
            known[cls] = None
    return known[cls]


def _reused_in_source(
    model: nn.Module, known: dict[type, _Source | None]
) -> dict[tuple[int, str], _At]:
    def methods(cls: type) -> list[Method]:
        source = _source(cls, known)
        return source.methods if source else []

    return reused_in_place(model, methods)


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


def _calls(model: nn.Module, known: dict[type, _Source | None]) -> dict[str, list[_At]]:
    """Where the calls of each module are written, by its path."""
    calls: dict[str, list[_At]] = defaultdict(list)
    for path, module in model.named_modules():
        if activation_of(module) is None:
            source = _source(type(module), known)
            for file, line, name in source.calls if source else ():
                calls[f"{path}.{name}" if path else name].append((file, line))
    return calls


def _repeated_calls(
    model: nn.Module, written: dict[str, list[_At]]
) -> Iterator[RepeatedCall]:
    for path, module in model.named_modules():
        calls = written.get(path, [])
        if isinstance(module, ANAct) and len(calls) > 1:
            lines = tuple(line for _, line in calls)
            yield RepeatedCall(path, calls[0][0], lines, len(lines))


def _functions_in(method: Method) -> Iterator[tuple[str, int, str, str]]:
    called = {id(n.func): n for n in ast.walk(method.tree) if isinstance(n, ast.Call)}
    for node in ast.walk(method.tree):
        if isinstance(node, (ast.Name, ast.Attribute)):
            call = called.get(id(node))
            activation = _activation_called(method, node, call)
            if activation is not None:
                text = textwrap.shorten(ast.unparse(call or node), 80)
                # Python counts a call of x.relu() to the line of its name.
                line = (node.end_lineno or node.lineno) + method.offset
                yield method.file, line, text, activation


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
