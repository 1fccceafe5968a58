"""A model's state kept through a trial run."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


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
    # Any from here on: NumPy is no requirement of the package, nor of its types.
    numpy: Any = sys.modules.get("numpy")
    drawn = random.getstate()
    numpy_drawn = numpy.random.get_state() if numpy else None
    accelerators = {t.device for t in tensors if t.device.type not in ("cpu", "meta")}
    try:
        with torch.random.fork_rng(devices=[]):
            states = [(d, torch.get_device_module(d)) for d in accelerators]
            before = [(m, d, m.get_rng_state(d)) for d, m in states]
            try:
                yield
            finally:
                for module_of_device, device, state in before:
                    module_of_device.set_rng_state(state, device)
    finally:
        random.setstate(drawn)
        if numpy:
            numpy.random.set_state(numpy_drawn)
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
