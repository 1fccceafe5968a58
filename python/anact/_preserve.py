"""A conversion after which the model computes what it computed before."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from anact._activations import activation_of
from anact._following import layers_after
from anact._functions import CalledFunction, take_back
from anact._places import Place, places, update_encoders
from anact._selection import Candidate
from anact._trace import arguments_of
from anact.calibration import measure
from anact.modules import ANAct


def check_preservable(model: nn.Module, example: object) -> None:
    """Raises ValueError where :func:`preserve_function` has nothing to work with."""
    if example is None:
        raise ValueError("preserve=True needs an example to calibrate with")
    if activation_of(model) is not None:
        raise ValueError(
            "preserve=True: no layer follows a model that is an activation"
        )


def preserve_function(
    model: nn.Module, new: Sequence[tuple[Place, object]], example: object
) -> dict[str, str]:
    """Calibrates new ANActs and undoes their maps in the layers that follow.

    y = scale·f(x) + offset goes into a layer whose weight W becomes W / scale, and whose
    bias gives up offset / scale times the sum of W over the inputs: what comes out is as
    if f(x) had gone in. That is the reverse of :func:`anact.fold`, and possible where that
    is, if the layer has a bias. Every ANAct then has the input that the plain activation
    had, so that all statistics are measured with plain activations.

    Args:
        model: the model, converted.
        new: the places that were converted, and the ANAct in each.
        example: a batch, as :func:`anact.convert_activations` takes it.

    Returns:
        The paths of those that nothing can make up for, and why. They are plain again.
    """
    acts = [(place, act) for place, act in new if isinstance(act, ANAct)]
    arguments, named = arguments_of(example)
    try:
        batch = named or arguments
        measure(model, [act for _, act in acts], [batch], as_plain=True)
        after = _following(model, [act for _, act in acts])
    except BaseException:
        _put_back(model, acts)
        raise
    kept: dict[str, str] = {}
    plain: list[tuple[Place, ANAct]] = []
    for place, act in acts:
        why = _make_up(act, after[id(act)])
        if why:
            kept[place.path] = why
            plain.append((place, act))
    _put_back(model, plain)
    return kept


def _following(model: nn.Module, acts: list[ANAct]) -> dict[int, Place | str]:
    # Dropout between an activation and a layer counts as in evaluation.
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        maps = {id(act): act.affine() for act in acts}
        return layers_after(model, places(model), maps)
    finally:
        for module, training in modes:
            module.training = training


def _make_up(act: ANAct, after: Place | str) -> str:
    """Changes the layer after an ANAct, or says why it is not changed."""
    scale, offset = act.affine()
    if not int(act.num_batches_tracked):
        return "the example does not reach it, or is not finite there"
    if (scale, offset) == (1, 0):
        return ""
    if isinstance(after, str):
        return after
    layer = after.held
    assert isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d))
    if offset and layer.bias is None:
        return f"{after.path!r} has no bias"
    with torch.no_grad():
        weight = layer.weight.to("cpu", torch.float64) / scale
        # In place: optimizers made before go on with the same parameters.
        layer.weight.copy_(weight)
        if layer.bias is not None:
            shift = offset * weight.flatten(1).sum(1)
            layer.bias.copy_(layer.bias.to("cpu", torch.float64) - shift)
    return ""


def _put_back(model: nn.Module, acts: Sequence[tuple[Place, ANAct]]) -> None:
    """Puts what was converted back where it was."""
    for place, act in acts:
        if isinstance(place.held, CalledFunction):
            take_back([Candidate(place, place.held.activation, act)])
        else:
            place.put(place.held)
    update_encoders(model, [place for place, _ in acts])
