"""Initial weights for a network that is trained from scratch with ANAct."""

import torch
from torch import nn

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def initialize(model: nn.Module, generator: torch.Generator | None = None) -> nn.Module:
    """Draws the weights of every Linear and Conv anew from N(0, 1 / fan_in), biases 0.

    With ANAct between them such layers keep the variance (LeCun et al., 1998). PyTorch's
    own initial weights have a third of it: a deep network without BatchNorm or LayerNorm
    shrinks its signal by as much at every layer, whatever the activation, unless
    ``target="unit"``.

    Args:
        model: changed in place.
        generator: of the random numbers; the global one when left out.

    Returns:
        The model.

    >>> layer = initialize(nn.Linear(400, 300))
    >>> bool((layer.weight.var() * 400 - 1).abs() < 0.05)
    True
    """
    for module in model.modules():
        if isinstance(module, _LAYERS):
            nn.init.kaiming_normal_(
                module.weight, nonlinearity="linear", generator=generator
            )
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return model
