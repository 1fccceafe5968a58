"""Three spirals, which the examples tell apart: points in the plane and their classes."""

import math

import torch
from torch import Tensor


def spirals(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Points of shape [count, 2] and classes of shape [count]."""
    generator = torch.Generator().manual_seed(seed)
    classes = torch.randint(3, (count,), generator=generator)
    radius = torch.rand(count, generator=generator) * 2 + 0.2
    noise = torch.randn(count, generator=generator) * 0.1
    angle = 2.5 * radius + classes * (2 * math.pi / 3) + noise
    return torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1), classes
