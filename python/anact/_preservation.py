"""A model's state kept through a trial run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from anact._random_state import random_state


@contextmanager
def preserved(model: nn.Module) -> Iterator[None]:
    """Puts buffers, training flags, gradients and random states back, also on an error.

    Buffers come back as the same tensors, so that what refers to them still does. The
    random states are those of PyTorch on the CPU and the model's accelerators, of Python,
    and of NumPy where it is loaded.
    """
    modules = list(model.modules())
    flags = [module.training for module in modules]
    buffers = [
        (module, name, buffer, None if buffer is None else buffer.detach().clone())
        for module in modules
        for name, buffer in module._buffers.items()
    ]
    gradients = [
        (p, p.grad, None if p.grad is None else p.grad.detach().clone())
        for p in model.parameters()
    ]
    tensors = [*model.parameters(), *model.buffers()]
    put_random_states_back = random_state(
        {t.device for t in tensors if t.device.type not in ("cpu", "meta")}
    )
    try:
        yield
    finally:
        put_random_states_back()
        for module, flag in zip(modules, flags, strict=True):
            module.training = flag
        with torch.no_grad():
            for module, name, buffer, value in buffers:
                _put_back(buffer, value)
                module._buffers[name] = buffer
            for parameter, gradient, value in gradients:
                _put_back(gradient, value)
                parameter.grad = gradient


def _put_back(tensor: Tensor | None, value: Tensor | None) -> None:
    # Not written where nothing changed: a graph that is still to run backward may have
    # saved the tensor.
    if tensor is not None and value is not None and not torch.equal(tensor, value):
        tensor.copy_(value)
