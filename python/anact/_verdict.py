"""What the figures of a network's layers say in words, and from which values on."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise
from statistics import median

from anact._gains import gains
from anact._layer_diagnosis import LayerDiagnosis

# The values and what speaks for them: docs/diagnose.md.
#: From which factor on, in squares, growth along a stretch is a problem …
TOTAL_GROWTH = 1000.0
#: … or from this one on where each layer is normalized, and so minds no scale …
NORMALIZED_GROWTH = 1e6
#: … if it is as much as this a layer …
GROWTH_A_LAYER = 1.1
#: … and as steady as this, by Kendall's rank correlation with the depth.
STEADINESS = 0.8
#: The fewest layers of a stretch.
FEWEST_LAYERS = 6
#: How far a layer's gains may be from the median of all, as a factor.
GAIN_APART = 1000.0
#: From which share of dead units on a layer is dead …
DEAD_SHARE = 0.9
#: … if that was judged on so many values.
FEWEST_SLOPES = 64
#: From which mean cosine on samples are alike …
SIMILARITY = 0.97
#: … if their distance from 1 was so many times as large at the input.
SIMILARITY_GAINED = 10.0
#: From which kurtosis of the samples' norms on one sample outweighs the batch …
KURTOSIS = 8.0
#: … if that is so many times the input's.
KURTOSIS_GAINED = 4.0


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, in words.

    Attributes:
        kind: "not finite", "dead", "no gradient", "scale", "gradient", "signal",
            "similarity" or "kurtosis".
        layers: the names of the layers where it is, in the order of the forward pass.
        message: what was measured.
        advice: what can be done.
    """

    kind: str
    layers: tuple[str, ...]
    message: str
    advice: str

    def __str__(self) -> str:
        return f"{self.message}; {self.advice}"


def judge(layers: list[LayerDiagnosis]) -> tuple[list[Problem], list[str]]:
    """The problems, the worst kinds first, and notes on what is no problem by itself."""
    weights = [x for x in layers if x.kind in ("linear", "convolution")]
    notes: list[str] = []
    if not layers[1:] and not weights:
        notes.append("The model has no layers: there was nothing to measure.")
    problems = list(_not_finite(layers))
    if problems:
        return problems, notes
    dead = list(_dead(layers))
    problems += dead
    problems += [] if dead else _no_gradient(weights, notes)
    apart = list(_scales(weights))
    problems += apart
    if not dead:
        named = {name for problem in apart for name in problem.layers}
        problems += _growth(layers, [x for x in weights if x.name not in named])
        problems += _alike(layers, weights)
    problems += _outweighing(layers, weights)
    return problems, notes


def _not_finite(layers: list[LayerDiagnosis]) -> Iterator[Problem]:
    # The innermost call that makes them, not the modules around it.
    makes = [x for x in layers if x.non_finite and not x.input_non_finite]
    if makes:
        x = max(makes[:1] + _within(makes), key=lambda x: x.depth)
        yield Problem(
            "not finite",
            (x.name,),
            f"the output of {_quoted(x)} has {x.non_finite} values that are NaN or "
            "infinite, its input none",
            "look at its weights and at the range of its type",
        )
        return
    spoils = [
        x
        for x in layers
        if _is_nan(x.input_gradient) and not _is_nan(x.gradient) and x.gradient
    ]
    if spoils:
        x = max(spoils, key=lambda x: x.depth)
        yield Problem(
            "not finite",
            (x.name,),
            f"the gradient becomes NaN or infinite in {_quoted(x)}",
            "look for a division by 0, a root or a logarithm at 0",
        )


def _within(calls: list[LayerDiagnosis]) -> list[LayerDiagnosis]:
    first = calls[0]
    inner = []
    for x in calls[1:]:
        if x.depth <= first.depth:
            break
        inner.append(x)
    return inner


def _dead(layers: list[LayerDiagnosis]) -> Iterator[Problem]:
    for x in layers:
        if x.dead is not None and x.dead >= DEAD_SHARE and x.slopes >= FEWEST_SLOPES:
            before = _weight_before(layers, x)
            if before and before.input_second_moment == 0:
                continue  # for what is dead before it
            whose = f" behind {_quoted(before)}" if before else ""
            which = "all" if x.dead == 1 else f"{100 * x.dead:.0f} % of the"
            yield Problem(
                "dead",
                (x.name, *([before.name] if before else [])),
                f"{which} units of {_quoted(x)} ({x.activation}){whose} are dead: "
                "their slope is 0 for every sample",
                "draw that layer's weights and biases anew, or use an activation "
                "with a slope on both sides",
            )


def _weight_before(
    layers: list[LayerDiagnosis], layer: LayerDiagnosis
) -> LayerDiagnosis | None:
    before = layers[: layers.index(layer)]
    found = [x for x in before if x.kind in ("linear", "convolution")]
    return found[-1] if found else None


def _no_gradient(weights: list[LayerDiagnosis], notes: list[str]) -> Iterator[Problem]:
    without = [x for x in weights if not x.gradient]
    if not without:
        return
    zero = [x for x in weights if x.second_moment == 0 and x.gradient]
    if zero:
        notes.append(
            f"The output of {_listed(zero)} is 0 throughout, as its initial weights may "
            "be: no gradient passes it before the first step, and none was measured "
            "there."
        )
        return
    if len(without) == len(weights):
        notes.append("No gradient reaches a layer with weights: is the model frozen?")
        return
    unreached = [x for x in without if x.gradient is None]
    if unreached:
        notes.append(f"No gradient was asked for at {_listed(unreached)}.")
    vanished = [x for x in without if x.gradient == 0]
    if vanished:
        yield Problem(
            "no gradient",
            tuple(x.name for x in vanished),
            f"the gradient is exactly 0 at the output of {_listed(vanished)}",
            "they cannot learn: look at what lies between them and the loss",
        )


def _scales(weights: list[LayerDiagnosis]) -> Iterator[Problem]:
    forward = _typical([x.forward_gain for x in weights])
    backward = _typical([x.backward_gain for x in weights])
    for i, x in enumerate(weights):
        # Both: a bias changes the forward gain alone.
        if not x.forward_gain or not x.backward_gain:
            continue
        times = x.forward_gain / forward
        both = (times, x.backward_gain / backward)
        if min(both) >= GAIN_APART:
            size = math.sqrt(times)
            yield Problem(
                "scale",
                (x.name,),
                f"{_quoted(x)} multiplies the signal's second moment by "
                f"{number(x.forward_gain)}, where {number(forward)} is usual in this "
                f"network: its weights are about {number(size)} times too large",
                f"divide its weights by {number(size)}, or draw them anew",
            )
        elif max(both) <= 1 / GAIN_APART and _stays_small(weights[i:]):
            size = math.sqrt(1 / times)
            yield Problem(
                "scale",
                (x.name,),
                f"{_quoted(x)} multiplies the signal's second moment by "
                f"{number(x.forward_gain)}, where {number(forward)} is usual in this "
                f"network: its weights are about {number(size)} times too small, and "
                "nothing behind it makes up for that",
                f"multiply its weights by {number(size)}, or draw them anew",
            )


def _stays_small(weights: list[LayerDiagnosis]) -> bool:
    # A shortcut or a normalization gives the next layer a signal as large as this one's.
    if len(weights) < 2:
        return False
    here, after = weights[0].input_second_moment, weights[1].input_second_moment
    return bool(here) and after is not None and after < (here or 0) / GAIN_APART


def _typical(values: list[float | None]) -> float:
    found = [x for x in values if x and math.isfinite(x)]
    return median(found) if len(found) >= FEWEST_LAYERS else 1.0


@dataclass(frozen=True)
class _Stretch:
    """Layers along which the logarithm of a figure changes steadily, forward in depth."""

    layers: list[LayerDiagnosis]
    total: float
    chain: list[LayerDiagnosis]

    @property
    def a_layer(self) -> float:
        return self.total / (len(self.layers) - 1)


def _growth(
    layers: list[LayerDiagnosis], weights: list[LayerDiagnosis]
) -> Iterator[Problem]:
    chains = list(_chains(weights))
    norms = _normalized(layers)
    gradient = _worst(chains, norms, lambda x: x.gradient)
    if gradient:
        # Backward, the way the gradient goes.
        total, rate = math.exp(-gradient.total), math.exp(-gradient.a_layer)
        last = gradient.layers[-1]
        where = "" if last is gradient.chain[-1] else f" from {_quoted(last)} on"
        verb = "grows" if rate > 1 else "shrinks"
        yield Problem(
            "gradient",
            tuple(x.name for x in gradient.layers),
            f"the gradient's second moment {verb}, × {number(rate)} a layer{where} "
            f"towards the input: × {number(total)} at "
            f"{_quoted(gradient.layers[0])}",
            _advice(layers, gradient),
        )
    signal = _worst(chains, norms, lambda x: x.second_moment)
    if signal:
        total, rate = math.exp(signal.total), math.exp(signal.a_layer)
        first = signal.layers[0]
        where = "" if first is signal.chain[0] else f" from {_quoted(first)} on"
        verb = "grows" if rate > 1 else "shrinks"
        yield Problem(
            "signal",
            tuple(x.name for x in signal.layers),
            f"the signal's second moment {verb}, × {number(rate)} a layer{where}: × {number(total)} at {_quoted(signal.layers[-1])}",
            _advice(layers, signal),
        )


def _normalized(layers: list[LayerDiagnosis]) -> dict[str, LayerDiagnosis]:
    """The normalization right behind each layer that has one, which hides its scale."""
    leaves = [x for x in layers if x.kind != "block"]
    return {
        x.name: y
        for x, y in pairwise(leaves)
        if y.kind == "normalization"
        and x.kind in ("linear", "convolution")
        and x.second_moment == y.input_second_moment
    }


def _chains(weights: list[LayerDiagnosis]) -> Iterator[list[LayerDiagnosis]]:
    """Layers that can be compared: of one role in every block, or all without roles."""
    by_role: dict[str, list[LayerDiagnosis]] = defaultdict(list)
    for x in weights:
        anywhere = re.sub(r"\d+", "#", x.name)
        head, index, tail = re.match(r"(\D*)(\d*)(.*)", x.name).groups()  # type: ignore[union-attr]
        for role in {anywhere, f"{head}#{tail}" if index else head}:
            by_role[role].append(x)
    if all(len(chain) == 1 for chain in by_role.values()):
        yield weights
    yield from by_role.values()


def _worst(
    chains: list[list[LayerDiagnosis]],
    norms: dict[str, LayerDiagnosis],
    figure: Callable[[LayerDiagnosis], float | None],
) -> _Stretch | None:
    found = []
    for chain in chains:
        values = [(x, figure(norms.get(x.name, x))) for x in chain]
        usable = [(x, y) for x, y in values if y and math.isfinite(y)]
        logs = [math.log(y) for _, y in usable]
        for sign in (1, -1):
            ends = _largest_rise([sign * x for x in logs])
            if ends is None:
                continue
            first, last = ends
            # It ends where growth falls below half its mean.
            half = sign * (logs[last] - logs[first]) / (last - first) / 2
            level = [sign * x - i * half for i, x in enumerate(logs)]
            first, last = _largest_rise(level) or ends
            inside = [sign * x for x in logs[first : last + 1]]
            n = len(inside)
            if n < FEWEST_LAYERS:
                continue
            rise = inside[-1] - inside[0]
            total = min(rise, _without_largest_step(inside) * (n - 1))
            stretch = [x for x, _ in usable[first : last + 1]]
            normalized = all(x.name in norms for x in stretch)
            limit = NORMALIZED_GROWTH if normalized else TOTAL_GROWTH
            if (
                total >= math.log(limit)
                and total / (n - 1) >= math.log(GROWTH_A_LAYER)
                and _concordance(inside) >= STEADINESS
            ):
                found.append(_Stretch(stretch, sign * rise, chain))
    return max(found, key=lambda x: (len(x.layers), abs(x.total)), default=None)


def _largest_rise(values: list[float]) -> tuple[int, int] | None:
    """The pair of places, in order, with the largest rise between them."""
    best, ends, low = 0.0, None, 0
    for i, x in enumerate(values):
        if x < values[low]:
            low = i
        if x - values[low] > best:
            best, ends = x - values[low], (low, i)
    return ends


def _without_largest_step(values: list[float]) -> float:
    """The mean step, but for the largest one: that is a layer's own, not a trend."""
    steps = [y - x for x, y in pairwise(values)]
    return (sum(steps) - max(steps)) / (len(steps) - 1)


def _concordance(values: list[float]) -> float:
    """Kendall's rank correlation of the values with their places."""
    signs = [(y > x) - (y < x) for x, y in combinations(values, 2)]
    return sum(signs) / len(signs)


def _advice(layers: list[LayerDiagnosis], stretch: _Stretch) -> str:
    first = layers.index(stretch.layers[0])
    last = layers.index(stretch.layers[-1])
    inside = layers[first : last + 1]
    activations = [x for x in inside if x.activation]
    convertible = len({x.name.split("#")[0] for x in activations if x.convertible})
    functions = sum(x.type == "function" for x in activations)
    names = {x.activation for x in activations}
    ways = []
    if convertible:
        ways.append(
            "convert "
            + (
                f"these {convertible} activations"
                if convertible > 1
                else "its activation"
            )
            + " (anact.convert_activations)"
        )
    elif functions:
        ways.append(
            f"make modules of the {functions} activations that are called as functions, "
            "to convert them"
        )
    if any(x.sums for x in inside):
        ways.append("scale or normalize the branches that its sums add up")
    elif not activations:
        ways.append("initialize with gain 1")
    elif len(names) == 1 and convertible + functions:
        gain = _gain(names.pop())
        ways += [f"initialize with gain {gain:.2f}"] if gain else []
    elif not convertible + functions:
        ways.append("initialize with anact.initialize")
    return ", or ".join(ways) if ways else "normalize, or initialize with other weights"


def _gain(activation: str) -> float | None:
    try:
        (row,) = gains(activation)
    except ValueError:
        return None
    return row.factors["forward"]


def _alike(
    layers: list[LayerDiagnosis], weights: list[LayerDiagnosis]
) -> Iterator[Problem]:
    if len(weights) < FEWEST_LAYERS:
        return
    start = next((x for x in layers if _similarities(x)), None)
    end = weights[-1]
    if start is None or end.input_similarity is None:
        return
    before, after = _similarities(start)[0], end.input_similarity
    if after < SIMILARITY or (1 - before) < SIMILARITY_GAINED * (1 - after):
        return
    first = next((x for x in weights if (x.similarity or 0) >= SIMILARITY), end)
    rank = first.effective_rank
    yield Problem(
        "similarity",
        (first.name,),
        f"the samples become alike: their mean cosine is {before:.2f} at the input and "
        f"{_cosine(after)} at {_quoted(end)}"
        + (f", from {_quoted(first)} on above {SIMILARITY}" if first is not end else "")
        + (f" (effective rank {rank:.1f} there)" if rank else ""),
        "normalize over the batch or convert the activations, so that their mean does "
        "not add up",
    )


def _similarities(layer: LayerDiagnosis) -> list[float]:
    both = (layer.input_similarity, layer.similarity)
    return [x for x in both if x is not None]


def _outweighing(
    layers: list[LayerDiagnosis], weights: list[LayerDiagnosis]
) -> Iterator[Problem]:
    known = [x for x in layers if x.kurtosis is not None and x.kind != "block"]
    if not known or not weights:
        return
    before = known[0].kurtosis or 1.0
    for x in weights:
        if x.kurtosis is not None and x.kurtosis >= max(
            KURTOSIS, KURTOSIS_GAINED * before
        ):
            yield Problem(
                "kurtosis",
                (x.name,),
                f"a few samples outweigh the rest from {_quoted(x)} on: the kurtosis of "
                f"the samples' norms is {number(x.kurtosis)}, at first {number(before)}",
                "look for outliers in the batch, or normalize each sample",
            )
            return


def _is_nan(x: float | None) -> bool:
    return x is not None and not math.isfinite(x)


def _quoted(layer: LayerDiagnosis) -> str:
    return f"`{layer.name}`" if layer.name else "the model"


def _listed(layers: list[LayerDiagnosis]) -> str:
    shown = ", ".join(_quoted(x) for x in layers[:3])
    more = len(layers) - 3
    return f"{shown} and {more} more" if more > 0 else shown


def _cosine(x: float) -> str:
    return f"{x:.2f}" if x < 0.99 else f"{x:.4g}"


def number(x: float | None) -> str:
    """A figure with three digits, without an exponent where that is readable."""
    if x is None:
        return "–"
    if x == 0 or not math.isfinite(x):
        return str(x)
    # Of the rounded value: 0.9996 has the places of 1.
    size = int(f"{x:.2e}".split("e")[1])
    if -3 <= size <= 5:
        return f"{x:,.{max(2 - size, 0)}f}"
    return f"{x / 10**size:.1f}e{size}"
