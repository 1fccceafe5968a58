"""Initial weights for a network that is trained from scratch with ANAct."""

import torch
from torch import nn

from anact import _C
from anact._options import recipes

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def initialize(
    model: nn.Module, generator: torch.Generator | None = None, recipe: str = "deep"
) -> nn.Module:
    """Draws the weights of every Linear and Conv anew, orthogonal, biases 0.

    With ANAct between them such layers keep the variance: it is that of LeCun et al.
    (1998), 1 / fan_in, and a matrix with orthogonal rows or columns also keeps a deep
    network from losing directions (Saxe et al., 2014). PyTorch's own initial weights
    have a third of the variance, of which a layer with ANAct makes up only a quarter
    (in its logarithm) unless ``target="unit"``.

    Args:
        model: changed in place.
        generator: of the random numbers; the global one when left out.
        recipe: whose initial weights; see :func:`anact.recipes`. Those that are not
            orthogonal are normal, of the same variance.

    Raises:
        ValueError: for an unknown recipe.

    Returns:
        The model.

    >>> layer = initialize(nn.Linear(400, 300))
    >>> bool((layer.weight.var() * 400 - 1).abs() < 0.05)
    True
    """
    names = [info.name for info in recipes()]
    if recipe not in names:
        raise ValueError(f"no recipe {recipe!r}; expected one of {', '.join(names)}")
    for module in model.modules():
        if isinstance(module, _LAYERS):
            _C.initialize_weight(module.weight, recipe, generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return model
