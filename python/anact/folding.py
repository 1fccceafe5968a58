"""Folding for inference: an ANAct's affine map into the layer that follows."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from anact._following import LAYERS, Layer, layers_after
from anact._places import Place, check_model, places, put_all
from anact._plain import is_anact, plain_of
from anact.modules import ANAct


@dataclass(frozen=True)
class Folding:
    """What :func:`fold` did. ``print`` shows a short report.

    Attributes:
        model: the folded model, which needs PyTorch alone.
        merged: the path of each ANAct whose affine map went into the weight and bias of a
            layer, and that layer's path.
        kept: the path of each other ANAct, and why its map stays as one multiply-add.
    """

    model: nn.Module
    merged: dict[str, str]
    kept: dict[str, str]

    def __str__(self) -> str:
        lines = [f"merged: {len(self.merged)}"]
        lines += [f"  {path} into {layer}" for path, layer in self.merged.items()]
        lines += [f"kept: {len(self.kept)}"]
        lines += [f"  {path}: {why}" for path, why in self.kept.items()]
        return "\n".join(lines)


def fold(model: nn.Module, *, inplace: bool = True) -> Folding:
    """For inference: replaces every ANAct by its plain activation.

    The affine map, as evaluation applies it, is merged into the nn.Linear or nn.Conv1d,
    nn.Conv2d or nn.Conv3d that alone takes the ANAct's output, where that is exact: seen by
    torch.fx, in the whole model or in those of its parts that it can trace. Identity,
    dropout, reshaping, average pooling without padding, and max pooling (where the map's
    scale is positive) may stand between. It is not exact where a convolution pads with zeros
    and the map has an offset, or where the layer or its weight is used elsewhere; and a
    layer that is quantized, parametrized or has a subclass of Tensor for a weight is not
    changed. A layer without a bias gets one if the map has an offset.

    Elsewhere the map stays, as one multiply-add after the activation. In half precision the
    activation's value and the offset are then rounded to that type, where an ANAct computes
    in single precision throughout.

    Outputs agree with the evaluation before, up to rounding; that of merged weights too where
    they are in half precision. The folded model can be saved whole and loaded where this
    package is not installed.

    Args:
        model: the model, in evaluation.
        inplace: whether `model` itself is changed, or a copy.

    Returns:
        The model, what was merged and what was not.

    Raises:
        ValueError: for a module in training, an ANAct whose statistics are not finite or
            that has hooks or parametrizations, and for a model that is an ANAct itself if
            `inplace`.
        TypeError: for a ScriptModule.

    After any error the model is as it was.

    >>> from anact import convert_activations
    >>> net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Tanh()).eval()
    >>> print(fold(convert_activations(net).model))
    merged: 1
      1 into 2
    kept: 1
      3: its value leaves the model
    """
    check_model(model)
    for path, module in model.named_modules():
        if module.training and not _ignores_training(module):
            where = f"{path!r}" if path else "the model"
            raise ValueError(
                f"{where} is in training; folding is for evaluation: call eval()"
            )
    if not inplace:
        model = copy.deepcopy(model)
    found = places(model)
    acts = [place for place in found if is_anact(place.held)]
    maps = {id(place.held): _affine(place) for place in acts}
    for place in acts:
        place.check_replaceable()
        if inplace and place.holder is None:
            raise ValueError(
                "the model is itself an ANAct: pass inplace=False and take the result's model"
            )
    layers = layers_after(model, found, maps) if acts else {}

    merged: dict[str, str] = {}
    kept: dict[str, str] = {}
    new: dict[int, nn.Module] = {}
    changes: list[_Change] = []
    for place in acts:
        act = place.held
        assert isinstance(act, ANAct)
        after = layers[id(act)]
        if isinstance(after, Place):
            merged[place.path] = after.path
        else:
            kept[place.path] = after
        if id(act) in new:
            continue
        activation = plain_of(act)
        if isinstance(after, Place):
            assert isinstance(after.held, LAYERS)
            changes.append(_merge(after.held, *maps[id(act)]))
        else:
            activation = _scaled(activation, *maps[id(act)])
        new[id(act)] = activation.eval()
    # Nothing in the model has changed so far.
    folded = _put(model, [(place, new[id(place.held)]) for place in acts])
    for change in changes:
        change.make()
    return Folding(folded, merged, kept)


def _ignores_training(module: nn.Module) -> bool:
    """Whether it is of PyTorch's quantized modules, which are made as if in training."""
    name = type(module).__module__
    return name.startswith("torch.ao.nn.") and "quantized" in name


def _put(model: nn.Module, new: list[tuple[Place, nn.Module]]) -> nn.Module:
    """As put_all, with nothing changed if a holder refuses."""
    try:
        return put_all(model, new)
    except BaseException:
        for place, module in new:
            if getattr(place.holder, place.name) is module:
                assert isinstance(place.held, nn.Module)
                place.put(place.held)
        raise


def _affine(place: Place) -> tuple[float, float]:
    act = place.held
    assert isinstance(act, ANAct)
    scale, offset = act.affine()
    if not all(map(math.isfinite, (*act.statistics(), scale, offset))):
        raise ValueError(
            f"{place.path or 'the model'!r} has statistics that are not finite: "
            f"{act.statistics()}"
        )
    return scale, offset


def _scaled(activation: nn.Module, scale: float, offset: float) -> nn.Module:
    """The activation and one multiply-add, in a module that needs PyTorch alone."""
    if (scale, offset) == (1, 0):
        return activation
    graph = fx.Graph()
    value = graph.call_module("activation", (graph.placeholder("input"),))
    if offset:
        value = graph.call_function(torch.rsub, (value, offset), {"alpha": -scale})
    else:
        value = graph.call_function(torch.mul, (value, scale))
    graph.output(value)
    return fx.GraphModule({"activation": activation}, graph, "ScaledActivation")


@dataclass(frozen=True)
class _Change:
    """A layer's parameters with a map merged into them."""

    layer: Layer
    weight: nn.Parameter
    bias: Tensor | None

    def make(self) -> None:
        # New parameters: whatever else refers to the old ones goes on seeing their values.
        self.layer.weight = self.weight
        self.layer.bias = self.bias


def _merge(layer: Layer, scale: float, offset: float) -> _Change:
    weight = layer.weight.detach().to("cpu", torch.float64)
    merged = layer.bias
    if offset:
        bias = offset * weight.flatten(1).sum(1)
        if layer.bias is not None:
            bias += layer.bias.detach().to("cpu", torch.float64)
        merged = _like(layer.weight if layer.bias is None else layer.bias, bias)
    return _Change(layer, _like(layer.weight, scale * weight), merged)


def _like(old: Tensor, value: Tensor) -> nn.Parameter:
    return nn.Parameter(value.to(old.device, old.dtype), old.requires_grad)
