"""Freezing: parts of a model that training leaves as they are."""

from torch import nn

from anact.modules import ANAct


def freeze(model: nn.Module) -> nn.Module:
    """Stops every ANAct in the model: α gets no gradient, the statistics stay.

    Training mode then computes what evaluation does. ``requires_grad_(False)`` on a model
    does the same to an ANAct whose α is learnt; this also stops those with
    ``learnable=False``, and leaves all other modules as they are.

    Args:
        model: changed in place; any module, an ANAct too.

    Returns:
        The model.

    >>> act = ANAct("silu")
    >>> _ = freeze(act)(torch.randn(8))
    >>> int(act.num_batches_tracked), act.alpha.requires_grad
    (0, False)
    """
    return _set(model, True)


def unfreeze(model: nn.Module) -> nn.Module:
    """Lets every ANAct in the model follow again; α is learnt where ``learnable`` says so.

    >>> act = unfreeze(freeze(ANAct("silu")))
    >>> _ = act(torch.randn(8))
    >>> int(act.num_batches_tracked), act.alpha.requires_grad
    (1, True)
    """
    return _set(model, False)


def _set(model: nn.Module, frozen: bool) -> nn.Module:
    for module in model.modules():
        if isinstance(module, ANAct):
            module._frozen = frozen
            module.alpha.requires_grad_(module.options.learnable and not frozen)
    return model
