"""A run of a model that leaves the model, and the random state, as they were."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from anact._random_state import random_state


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Restores the model and the random state at the end, also after an error.

    Of each module: its attributes, what its lists and dictionaries hold, and the values
    of its tensors, bit for bit. The random state is that of Python, of NumPy if it is
    imported, of the CPU, and of CUDA's devices where CUDA is in use.

    Raises:
        ValueError: for lazy parameters, which a run would give a shape for good.
    """
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if is_lazy(tensor):
            raise ValueError(f"{name!r} is lazy: run the model once before")
    used = torch.cuda.device_count() if torch.cuda.is_initialized() else 0
    restore = [random_state(torch.device("cuda", index) for index in range(used))]
    tensors: dict[int, Tensor] = {}
    for module in model.modules():
        restore.append(_attributes(module))
        for value in vars(module).values():
            for held in _contents(value) or (value,):
                if isinstance(held, Tensor):
                    tensors[id(held)] = held
                elif isinstance(held, torch.Generator):
                    restore.append(_generator(held))
    restore += [_values(tensor) for tensor in tensors.values() if not _overlaps(tensor)]
    try:
        yield
    finally:
        for step in restore:
            step()


def _generator(generator: torch.Generator) -> Callable[[], None]:
    state = generator.get_state()

    def restore() -> None:
        generator.set_state(state)

    return restore


def _contents(value: object) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, (list, set)) else ()


def _attributes(module: nn.Module) -> Callable[[], None]:
    attributes = dict(vars(module))
    containers = [
        (value, value.copy())
        for value in attributes.values()
        if isinstance(value, (dict, list, set))
    ]

    def restore() -> None:
        now = vars(module)
        for name in now.keys() - attributes.keys():
            del now[name]
        now.update(attributes)
        for container, held in containers:
            # Compared by identity: tensors have no truth value.
            if not _same(container, held):
                container.clear()
                if isinstance(container, list):
                    container.extend(held)
                else:
                    container.update(held)

    return restore


def _same(one: Any, other: Any) -> bool:
    if len(one) != len(other):
        return False
    if isinstance(one, dict):
        return all(
            a is c and b is d
            for (a, b), (c, d) in zip(one.items(), other.items(), strict=True)
        )
    if isinstance(one, list):
        return all(a is b for a, b in zip(one, other, strict=True))
    return {id(a) for a in one} == {id(b) for b in other}


def _overlaps(tensor: Tensor) -> bool:
    """Whether it is expanded: PyTorch refuses to change such a tensor in place."""
    return tensor.layout == torch.strided and any(
        stride == 0 and size > 1
        for stride, size in zip(tensor.stride(), tensor.size(), strict=True)
    )


def _values(tensor: Tensor) -> Callable[[], None]:
    # `data` has a version counter of its own, so that a graph that has saved the tensor
    # for its backward pass does not take the restoration for a change.
    data, before = tensor.data, tensor.detach().clone()
    requires_grad = tensor.requires_grad

    def restore() -> None:
        with torch.no_grad():
            tensor.data = data
            data.copy_(before)
        if tensor.requires_grad != requires_grad and tensor.is_leaf:
            tensor.requires_grad_(requires_grad)

    return restore
