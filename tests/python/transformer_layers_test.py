"""PyTorch's transformer layers: what becomes of an activation that is put in by hand."""

import pytest
import torch
from torch import nn

import anact

torch.set_num_threads(1)


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu"])
def test_the_fused_evaluation_of_an_encoder_layer(activation):
    torch.manual_seed(0)
    act = anact.ANAct(activation)
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
    layer.activation = act
    x = 3 * torch.randn(4, 5, 16)
    for _ in range(3):
        layer(x)
    layer.eval()
    want = layer(x)
    with torch.no_grad():
        assert not torch.allclose(layer(x), want, atol=0.1)
        layer.activation_relu_or_gelu = 0
        torch.testing.assert_close(layer(x), want)
    given = nn.TransformerEncoderLayer(16, 2, 32, activation=act)
    assert given.activation_relu_or_gelu == 0


def test_copies_of_a_decoder_layer():
    act = anact.ANAct("relu")
    given = nn.TransformerDecoderLayer(16, 2, 32, activation=act)
    assigned = nn.TransformerDecoderLayer(16, 2, 32)
    assigned.activation = act
    for layer in (given, assigned):
        for copied in nn.TransformerDecoder(layer, 2).layers:
            assert copied.activation is torch.nn.functional.relu
    decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(16, 2, 32), 2)
    anact.convert_activations(decoder)
    for copied in nn.TransformerDecoder(decoder.layers[0], 2).layers:
        assert isinstance(copied.activation, anact.ANAct)
