"""revert_activations gives back what a conversion found, through copies, pickles and states."""

import copy
import dataclasses
import functools
import io
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from anact import ANAct, convert_activations, revert_activations


class Same(nn.LeakyReLU):
    """A subclass with an attribute of its own."""

    def __init__(self, note):
        super().__init__(0.3, inplace=True)
        self.note = note


class Functions(nn.Module):
    def __init__(self):
        super().__init__()
        self.act = torch.tanh
        self.gate = functools.partial(F.leaky_relu, negative_slope=0.3)
        self.method = torch.Tensor.relu

    def forward(self, x):
        return self.method(self.gate(self.act(x)) + 0.1)


def net():
    return nn.Sequential(
        nn.Linear(5, 5),
        nn.ReLU(inplace=True),
        nn.SiLU(inplace=True),
        Same("kept"),
        nn.ReLU6(inplace=True),
        Functions(),
    )


def through_pickle(model):
    return pickle.loads(pickle.dumps(model))


def through_file(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def through_state(model):
    other = convert_activations(net()).model
    other.load_state_dict(model.state_dict())
    return other


@pytest.mark.parametrize(
    "carry",
    [
        lambda model: model,
        copy.copy,
        copy.deepcopy,
        through_pickle,
        through_file,
        through_state,
        lambda model: through_pickle(copy.deepcopy(through_pickle(model))),
        lambda model: model.double().float().eval().train(),
    ],
)
def test_class_arguments_and_functions_come_back(carry):
    model = net()
    shown, x = repr(model), torch.randn(7, 5)
    keys = model.state_dict().keys()
    expected = model(x)
    convert_activations(model)
    model(x)
    other = carry(model)
    revert_activations(other)
    assert repr(other) == shown
    assert all(other[i].inplace for i in (1, 2, 3, 4))
    assert type(other[3]) is Same and other[3].note == "kept"
    assert other[5].act is torch.tanh and other[5].method is torch.Tensor.relu
    assert other[5].gate.keywords == {"negative_slope": 0.3}
    assert "act" not in other[5]._modules
    assert other.state_dict().keys() == keys
    torch.testing.assert_close(other.eval().cpu()(x), expected)


def test_the_same_objects_come_back():
    relu = nn.ReLU()
    model = nn.Sequential(nn.Linear(5, 5), relu, nn.Linear(5, 5), relu, Functions())
    gate = model[4].gate
    convert_activations(model)
    assert model[1] is not model[3]
    model.eval()
    copied = revert_activations(model, inplace=False).model
    assert copied[1] is copied[3] is not relu
    revert_activations(model)
    assert model[1] is model[3] is relu and model[4].gate is gate
    assert not relu.training


def test_what_cannot_be_pickled_does_not_keep_the_model_from_it():
    class Local(nn.ReLU):
        pass

    model = convert_activations(nn.Sequential(nn.Linear(5, 5), Local())).model
    assert type(revert_activations(through_pickle(model)).model[1]) is nn.ReLU
    assert type(revert_activations(copy.deepcopy(model)).model[1]) is Local


def test_an_activation_that_was_changed_since_is_the_new_one():
    model = convert_activations(nn.Sequential(nn.Linear(5, 5), nn.ReLU())).model
    model[1].options = dataclasses.replace(model[1].options, activation="silu")
    assert revert_activations(model).replaced == {"1": "silu"}
    assert type(model[1]) is nn.SiLU
    model = nn.Sequential(ANAct("relu"))
    assert type(revert_activations(model).model[0]) is nn.ReLU


def test_the_original_is_no_child():
    act = convert_activations(nn.Sequential(nn.ReLU())).model[0]
    assert list(act.modules()) == [act]
    assert act.state_dict().keys() == ANAct("relu").state_dict().keys()


@pytest.mark.parametrize("activation", [F.relu, F.gelu, F.silu])
def test_functions_of_transformer_layers_come_back(activation):
    x = torch.randn(2, 3, 8)
    for layer, arguments in (
        (nn.TransformerEncoderLayer, (x,)),
        (nn.TransformerDecoderLayer, (x, x)),
    ):
        model = layer(8, 2, 16, activation=activation, batch_first=True).eval()
        before, expected = dict(vars(model)), model(*arguments)
        keys = model.state_dict().keys()
        convert_activations(model)
        for other in (through_pickle(model), model):
            revert_activations(other)
            assert other.activation is activation
            assert other.state_dict().keys() == keys
            torch.testing.assert_close(other(*arguments), expected)
        code = "activation_relu_or_gelu"
        assert vars(model).get(code) == before.get(code)
        assert "activation" not in model._modules


def test_activations_of_transformers_come_back():
    activations = pytest.importorskip("transformers.activations")
    x = torch.randn(40)
    for name in activations.ACT2CLS:
        model = nn.Sequential(nn.Identity(), activations.ACT2FN[name])
        kind, shown, expected = type(model[1]), repr(model), model(x)
        if not convert_activations(model, ["*", "identity"]).replaced.get("1"):
            continue
        for other in (through_pickle(model), model):
            revert_activations(other)
            assert type(other[1]) is kind and repr(other) == shown
            assert torch.equal(other(x), expected)
