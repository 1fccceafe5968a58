"""Memory: what a network keeps from the forward pass for the backward pass."""

import copy

import pytest
import torch
from torch import nn

import anact

torch.set_num_threads(1)


def blocks(activation, count=4, channels=16):
    layers = []
    for i in range(count):
        inputs = channels if i else 3
        layers += [
            nn.Conv2d(inputs, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            activation(),
        ]
    return nn.Sequential(*layers)


def saved_maps(model):
    """Bytes of what is saved, each memory once, in maps of 16 channels; no parameters."""
    x = torch.randn(8, 3, 32, 32)
    held = {parameter.data_ptr() for parameter in model.parameters()}
    saved = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in held:
            # The tensor is kept, so that no later one has its memory.
            saved[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(x)
    return sum(size for size, _ in saved.values()) / (8 * 16 * 32 * 32 * 4)


@pytest.mark.parametrize(
    ("activation", "plain", "normalized"),
    [(nn.ReLU, 8.19, 11.19), (nn.SiLU, 11.19, 11.19)],
)
def test_what_is_saved_for_backward(activation, plain, normalized):
    model = blocks(activation)
    converted = copy.deepcopy(model)
    anact.convert_activations(converted)
    assert saved_maps(model) == pytest.approx(plain, abs=0.01)
    assert saved_maps(converted) == pytest.approx(normalized, abs=0.01)
