"""Initial weights for a network that is trained from scratch with ANAct."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from anact import _C
from anact._options import recipes
from anact._stored import Stored, Update, is_plain, is_quantized, stored
from anact.modules import ANAct

# Fills a weight, given the recipe and the generator.
_Fill: TypeAlias = Callable[[Tensor, str, torch.Generator | None], None]

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_Transposed: TypeAlias = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_NORMS = (
    nn.modules.batchnorm._NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
)
_HALF = (torch.bfloat16, torch.float16)
_DTYPES = (torch.float64, torch.float32, *_HALF)
# So many names a line of the report gives at most.
_MOST_NAMES = 4


@dataclass(frozen=True)
class Initialization:
    """What :func:`initialize` did. ``print`` shows a short report.

    Attributes:
        model: the model.
        drawn: the path of each parameter that has a new value, and which.
        left: the path of each other parameter, and why it is as it was.
    """

    model: nn.Module
    drawn: dict[str, str]
    left: dict[str, str]

    def __str__(self) -> str:
        return "\n".join([*_lines("drawn", self.drawn), *_lines("left", self.left)])


def _lines(title: str, items: dict[str, str]) -> Iterator[str]:
    yield f"{title}: {len(items)}"
    groups: dict[str, list[str]] = defaultdict(list)
    for path, text in items.items():
        groups[text].append(path)
    for text, paths in groups.items():
        more = len(paths) - _MOST_NAMES
        names = ", ".join(paths[:_MOST_NAMES]) + (f" and {more} more" * (more > 0))
        yield f"  {text}: {names}"


def initialize(
    model: nn.Module,
    generator: torch.Generator | None = None,
    recipe: str = "deep",
    *,
    frozen: bool = False,
    tied: bool = False,
) -> Initialization:
    """Draws the weights of a model's layers anew, orthogonal, and sets their biases to 0.

    With ANAct between them such layers keep the variance: it is that of LeCun et al.
    (1998), 1 / fan_in, and a matrix with orthogonal rows or columns also keeps a deep
    network from losing directions (Saxe et al., 2014). PyTorch's own initial weights
    have a third of the variance, of which a layer with ANAct makes up only a quarter
    (in its logarithm) unless ``target="unit"``.

    Layers are every Linear, Conv1d, Conv2d and Conv3d; then every ConvTranspose, as the
    convolution of its outputs, times the root of its stride; every Bilinear, with
    in1_features · in2_features inputs; and the projections of every MultiheadAttention,
    of which each of query, key and value is a matrix of its own. All else is left: norms,
    embeddings, α.

    Under ``weight_norm`` the effective weight is the drawn one, under ``spectral_norm``
    the drawn one over its spectral norm, and a pruned weight is drawn and keeps its mask.
    Weights in half precision are drawn in single precision and rounded.

    Args:
        model: changed in place.
        generator: of the random numbers; the default one of each weight's device when
            left out.
        recipe: whose initial weights; see :func:`anact.recipes`. Those that are not
            orthogonal are normal, of the same variance.
        frozen: whether to draw parameters too that do not require a gradient: they may
            hold what was trained.
        tied: whether to draw parameters too that several modules share or whose memory
            overlaps, as that of a head and an embedding: another use may want other
            weights. Such a parameter is drawn once, as the first layer has it.

    Raises:
        ValueError: for an unknown recipe, a generator of another device than a weight's,
            and a layer whose weight cannot be drawn: lazy, on the meta device, quantized,
            a subclass of Tensor, or parametrized otherwise. Nothing has changed then.
        TypeError: for what is no module, or a ScriptModule.

    Returns:
        The model, which parameters were drawn, and which were left and why.

    >>> net = nn.Sequential(nn.Linear(400, 300), nn.BatchNorm1d(300))
    >>> print(initialize(net))
    drawn: 2
      orthogonal: 0.weight
      set to 0: 0.bias
    left: 2
      of a norm (BatchNorm1d): 1.weight, 1.bias
    >>> bool((net[0].weight.var() * 400 - 1).abs() < 0.05)
    True
    """
    weights = {info.name: info.weights for info in recipes()}
    if recipe not in weights:
        raise ValueError(f"no recipe {recipe!r}; expected one of {', '.join(weights)}")
    if generator is not None and not isinstance(generator, torch.Generator):
        kind = type(generator).__name__
        raise TypeError(f"expected a torch.Generator, not {kind}")
    plan = _Plan(model, generator, frozen=frozen, tied=tied)
    with torch.no_grad():
        updates = [
            update for draw in plan.draws for update in draw.updates(recipe, generator)
        ]
        # Nothing has changed so far, and nothing below can fail.
        for update in updates:
            update.tensor.copy_(update.value)
    for draw in plan.draws:
        draw.stored.refresh()
    return plan.report("orthogonal" if weights[recipe] == "orthogonal" else "normal")


# ---- How each layer's tensors are filled.


def _fill_matrices(count: int) -> _Fill:
    def fill(weight: Tensor, recipe: str, generator: torch.Generator | None) -> None:
        for matrix in weight.chunk(count):
            _C.initialize_weight(matrix, recipe, generator)

    return fill


def _fill_transposed(layer: _Transposed) -> _Fill:
    """As the convolution of which each output is a row."""

    def fill(weight: Tensor, recipe: str, generator: torch.Generator | None) -> None:
        inputs, outputs, *kernel = weight.shape
        groups = layer.groups
        drawn = weight.new_empty(groups * outputs, inputs // groups, *kernel)
        _C.initialize_weight(drawn, recipe, generator)
        turned = drawn.unflatten(0, (groups, outputs)).transpose(1, 2).flatten(0, 1)
        # An output takes, on average, one in so many of the kernel's values.
        weight.copy_(turned * math.sqrt(math.prod(layer.stride)))

    return fill


def _zero(bias: Tensor, recipe: str, generator: torch.Generator | None) -> None:
    bias.zero_()


@dataclass(frozen=True)
class _Layer:
    """The tensors of a layer: its weights, how they are filled, and its bias."""

    weights: dict[str, _Fill]
    bias: str = "bias"
    note: str = ""


def _layer(module: nn.Module) -> _Layer | None:
    if isinstance(module, (*_LAYERS, nn.Bilinear)):
        return _Layer({"weight": _fill_matrices(1)})
    if isinstance(module, _TRANSPOSED):
        return _Layer({"weight": _fill_transposed(module)})
    if isinstance(module, nn.MultiheadAttention):
        if module._qkv_same_embed_dim:
            fills = {"in_proj_weight": _fill_matrices(3)}
            return _Layer(fills, "in_proj_bias", "in three matrices")
        names = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
        return _Layer(dict.fromkeys(names, _fill_matrices(1)), "in_proj_bias")
    return None


@dataclass(frozen=True)
class _Draw:
    """A weight that is drawn, or a bias that is set to 0."""

    stored: Stored
    fill: _Fill
    note: str

    def updates(self, recipe: str, generator: torch.Generator | None) -> list[Update]:
        like = self.stored.shaped
        dtype = torch.float32 if like.dtype in _HALF else like.dtype
        value = torch.empty(like.shape, dtype=dtype, device=like.device)
        self.fill(value, recipe, generator)
        assert self.stored.updates is not None
        return self.stored.updates(value)

    def text(self, weights: str) -> str:
        what = "set to 0" if self.fill is _zero else weights
        return ", ".join(filter(None, (what, self.note, self.stored.note)))


# ---- What is drawn and what is left.


@dataclass(frozen=True)
class _Place:
    """Where a parameter stands."""

    path: str
    holder: nn.Module
    parameter: Tensor


class _Plan:
    """Which parameters are drawn, and how; raises ValueError if one cannot be."""

    def __init__(
        self,
        model: nn.Module,
        generator: torch.Generator | None,
        *,
        frozen: bool,
        tied: bool,
    ) -> None:
        self.draws: list[_Draw] = []
        self._model = model
        self._generator = generator
        self._frozen = frozen
        self._tied = tied
        modules = _modules_of(model)
        self._places = [
            _Place(_join(path, name), module, parameter)
            for path, module in modules.items()
            for name, parameter in module._parameters.items()
            if parameter is not None
        ]
        self._tied_to = _tied_to(self._places)
        # The draw of each parameter, or the path of the one with which it is drawn.
        self._drawn: dict[str, _Draw | str] = {}
        self._left: dict[str, str] = {}
        self._problems: list[str] = []
        # First what C++ draws too, so that both draw the same.
        for first in (True, False):
            for path, module in modules.items():
                if isinstance(module, _LAYERS) is first:
                    self._plan_layer(path, module)
        if self._problems:
            raise ValueError("nothing was drawn: " + "; ".join(self._problems))

    def report(self, weights: str) -> Initialization:
        drawn: dict[str, str] = {}
        left: dict[str, str] = {}
        for place in self._places:
            draw = self._drawn.get(place.path)
            if draw is None:
                why = self._left.get(place.path) or _why_left(place.holder)
                left[place.path] = why
            else:
                text = draw if isinstance(draw, str) else draw.text(weights)
                drawn[place.path] = text
        return Initialization(self._model, drawn, left)

    def _plan_layer(self, path: str, module: nn.Module) -> None:
        if is_quantized(module):
            where = repr(path) if path else "the model"
            self._problems.append(f"{where} is quantized")
        layer = _layer(module)
        if layer is None:
            return
        planned = [
            self._plan_tensor(path, module, name, fill, layer.note)
            for name, fill in layer.weights.items()
        ]
        bias = stored(module, layer.bias)
        if all(planned):
            self._plan_tensor(path, module, layer.bias, _zero, "")
        elif bias is not None:
            for key in bias.parameters:
                self._left[_join(path, key)] = "its weight is left"

    def _plan_tensor(
        self, path: str, module: nn.Module, name: str, fill: _Fill, note: str
    ) -> bool:
        """Whether the tensor is drawn, or is not there."""
        found = stored(module, name)
        if found is None:
            return True
        paths = [_join(path, key) for key in found.parameters]
        others = [
            other
            for own in paths
            for other in self._tied_to.get(own, ())
            if other not in paths
        ]
        why = ""
        if not self._frozen and not all(
            p.requires_grad for p in found.parameters.values()
        ):
            why = "frozen; frozen=True draws it"
        elif others and not self._tied:
            why = f"tied to {others[0]}; tied=True draws it"
        if why:
            self._left |= dict.fromkeys(paths, why)
            return False
        if any(own in self._drawn for own in paths):
            return True
        problem = found.problem or self._problem(found, fill)
        if problem:
            self._problems.append(f"{_join(path, name)!r} {problem}")
            return False
        draw = _Draw(found, fill, note)
        self.draws.append(draw)
        self._drawn |= dict.fromkeys(others, f"with {paths[-1]}")
        self._drawn |= dict.fromkeys(paths, draw)
        return True

    def _problem(self, found: Stored, fill: _Fill) -> str:
        """Why new values cannot be drawn and assigned."""
        for parameter in found.parameters.values():
            if isinstance(parameter, UninitializedParameter):
                return "is lazy: call the model on a batch first"
            if not is_plain(parameter):
                return f"is a {type(parameter).__name__}, not a plain tensor"
            if parameter.is_meta:
                return "is on the meta device: call to_empty(device=…) first"
            if parameter.dtype not in _DTYPES:
                return f"is of type {parameter.dtype}"
            if parameter.is_inference() and not torch.is_inference_mode_enabled():
                return "was made in inference mode"
            if any(
                stride == 0 and size > 1
                for stride, size in zip(parameter.stride(), parameter.shape)
            ):
                return "is an expanded tensor, whose elements share their memory"
        shaped = found.shaped
        if fill is _zero:
            return "is divided by its norm, and cannot be 0" if found.normalized else ""
        if shaped.dim() < 2:
            return f"has shape {[*shaped.shape]}; expected two or more dimensions"
        generator = self._generator
        if generator is not None and generator.device != shaped.device:
            return f"is on {shaped.device}, the generator on {generator.device}"
        return ""


def _modules_of(model: nn.Module) -> dict[str, nn.Module]:
    """Each module once, by its first path."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"expected a torch.nn.Module, not {type(model).__name__}")
    modules = dict(model.named_modules())
    for path, module in modules.items():
        if isinstance(module, torch.jit.ScriptModule):
            where = f"{path!r} is" if path else "the model is"
            raise TypeError(
                f"{where} a ScriptModule: initialize the model before it is scripted"
            )
    return modules


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _tied_to(places: list[_Place]) -> dict[str, list[str]]:
    """By its path, the paths with which each parameter shares memory, itself among them."""
    spans = sorted((_span(place.parameter), place.path) for place in places)
    groups: list[list[str]] = []
    where, end = "", 0
    for (kind, first, last), path in spans:
        if groups and kind == where and first < end:
            groups[-1].append(path)
            end = max(end, last)
        else:
            groups.append([path])
            where, end = kind, last
    return {path: group for group in groups if len(group) > 1 for path in group}


def _span(parameter: Tensor) -> tuple[str, int, int]:
    """Where a parameter's elements are: a memory, the first byte and the last + 1."""
    if not is_plain(parameter) or parameter.is_meta or parameter.numel() == 0:
        return "", id(parameter), id(parameter) + 1
    first = parameter.data_ptr()
    elements = 1 + sum(
        (size - 1) * stride for size, stride in zip(parameter.shape, parameter.stride())
    )
    return str(parameter.device), first, first + elements * parameter.element_size()


def _why_left(holder: nn.Module) -> str:
    kind = type(holder).__name__
    if isinstance(holder, ANAct):
        return "the α of an ANAct"
    if isinstance(holder, _NORMS):
        return f"of a norm ({kind})"
    if isinstance(holder, (nn.Embedding, nn.EmbeddingBag)):
        return f"of an embedding ({kind})"
    return f"not of a layer that is drawn ({kind})"
