"""convert_activations and revert_activations, and how activations are recognized."""

import copy
import functools
import inspect
import pickle
import warnings
from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F
from torch import nn, relu

from anact import _C, ANAct, convert_activations, revert_activations
from anact._activations import activation_of, function_name, plain

TEXTS = [
    *(_C.canonical(name) for name in _C.activations()),
    "leaky_relu(negative_slope=0.2)",
    "elu(alpha=0.5)",
    "celu(alpha=0.1)",
    "softplus(beta=2, threshold=10)",
    "softplus(threshold=3.5)",
    "hardtanh(min_val=-0.30000000000000004, max_val=3)",
    "hardtanh(min_val=0, max_val=6)",
    "softshrink(lambd=0.25)",
]


def inputs(dtype=torch.float64):
    return torch.linspace(-12, 12, 1001, dtype=dtype)


# How activations are recognized.


@pytest.mark.parametrize("text", TEXTS)
def test_plain_module_is_the_activation_and_is_recognized(text):
    module = plain(text)
    assert activation_of(module) == text
    # An unseen ANAct in evaluation is an affine map of the activation, by another code.
    act = ANAct(text).eval().double()
    scale, offset = act.affine()
    torch.testing.assert_close(
        act(inputs()), scale * module(inputs()) + offset, rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (nn.ReLU(inplace=True), "relu"),
        (nn.GELU("tanh"), "gelu(approximate=tanh)"),
        (nn.ELU(2), "elu(alpha=2)"),
        (nn.Hardtanh(0, 6), "hardtanh(min_val=0, max_val=6)"),
        (nn.LogSigmoid(), "logsigmoid"),
        (nn.Dropout(), None),
        (nn.Softmax(-1), None),
        (nn.PReLU(), None),
        (nn.RReLU(), None),
        (nn.Linear(2, 2), None),
        (nn.ELU(float("inf")), None),
    ],
)
def test_modules_of_torch(module, expected):
    assert activation_of(module) == expected


def test_subclasses_count_only_with_the_forward_of_their_base():
    class Same(nn.LeakyReLU):
        pass

    class Other(nn.ReLU):
        def forward(self, input):
            return -super().forward(input)

    assert activation_of(Same(0.3)) == "leaky_relu(negative_slope=0.3)"
    assert activation_of(Other()) is None
    patched = nn.ReLU()
    patched.forward = torch.neg
    assert activation_of(patched) is None
    # nn.ReLU6 is a subclass of nn.Hardtanh with the same forward.
    changed = nn.ReLU6()
    changed.max_val = 4.0
    assert activation_of(changed) == "hardtanh(min_val=0, max_val=4)"


def test_squared_relu_is_recognized_after_pickling():
    module = pickle.loads(pickle.dumps(plain("relu2")))
    assert activation_of(module) == "relu2"
    assert torch.equal(module(inputs()), F.relu(inputs()) ** 2)
    assert (
        activation_of(torch.fx.symbolic_trace(nn.Sequential(nn.Linear(2, 2)))) is None
    )


def test_activations_of_transformers():
    activations = pytest.importorskip("transformers.activations")
    expected = {
        "gelu": "gelu",
        "gelu_python": "gelu",
        "gelu_fast": "gelu(approximate=tanh)",
        "gelu_new": "gelu(approximate=tanh)",
        "gelu_accurate": "gelu(approximate=tanh)",
        "gelu_pytorch_tanh": "gelu(approximate=tanh)",
        "gelu_python_tanh": "gelu(approximate=tanh)",
        "hardswish": "hardswish",
        "leaky_relu": "leaky_relu",
        "linear": "identity",
        "mish": "mish",
        "relu": "relu",
        "relu2": "relu2",
        "relu6": "relu6",
        "sigmoid": "sigmoid",
        "silu": "silu",
        "swish": "silu",
        "tanh": "tanh",
    }
    found = {}
    for name in activations.ACT2CLS:
        module = activations.ACT2FN[name]
        text = activation_of(module)
        if text is not None:
            found[name] = text
            # gelu_fast writes sqrt(2/pi) in ten digits.
            torch.testing.assert_close(
                module(inputs()), plain(text)(inputs()), rtol=1e-9, atol=1e-9
            )
    assert found == {
        name: text for name, text in expected.items() if name in activations.ACT2CLS
    }


def test_functions():
    x = inputs()
    for name in _C.activations():
        for space in (F, torch):
            function = getattr(space, name, None)
            if function is not None:
                assert function_name(function) == name
                torch.testing.assert_close(function(x), plain(name)(x))
    assert function_name(torch.relu_) == "relu"
    assert function_name(torch.Tensor.sigmoid) == "sigmoid"
    assert (
        function_name(functools.partial(F.gelu, approximate="tanh"))
        == "gelu(approximate=tanh)"
    )
    assert (
        function_name(functools.partial(F.elu, alpha=0.5, inplace=True))
        == "elu(alpha=0.5)"
    )
    assert function_name(functools.partial(F.elu, x)) is None
    for other in (F.prelu, torch.exp, "relu", [], None, nn.ReLU, F.dropout):
        assert function_name(other) is None


# What is replaced.


def net():
    return nn.Sequential(
        nn.Linear(8, 8),
        nn.ReLU(),
        nn.Sequential(nn.Linear(8, 8), nn.LeakyReLU(0.2), nn.Identity()),
        nn.Linear(8, 8),
        nn.GELU("tanh"),
        nn.Sigmoid(),
    )


# The sigmoid may be a gate.
CONVERTED = {
    "1": "relu",
    "2.1": "leaky_relu(negative_slope=0.2)",
    "4": "gelu(approximate=tanh)",
}
ALL = {**CONVERTED, "5": "sigmoid"}


def test_every_activation_becomes_an_anact_with_the_options():
    model = net()
    conversion = convert_activations(model, momentum=0.05, solution="forward")
    assert conversion.model is model
    assert conversion.replaced == CONVERTED
    (left,) = conversion.left
    assert (left.path, left.activation, left.reason) == ("5", "sigmoid", "maybe gate")
    assert type(model[5]) is nn.Sigmoid
    for path, text in CONVERTED.items():
        act = model.get_submodule(path)
        assert act.options.activation == text
        assert act.options.changed() == {"momentum": 0.05, "solution": "forward"}
    assert type(model[2][2]) is nn.Identity
    assert (
        not conversion.functional and not conversion.repeated and not conversion.unread
    )
    # Again: what is converted stays.
    before = model[1]
    assert convert_activations(model).replaced == {}
    assert model[1] is before


def test_a_copy_leaves_the_model_as_it_was():
    model = net()
    conversion = convert_activations(model, inplace=False)
    assert type(model[1]) is nn.ReLU
    assert type(conversion.model[1]) is ANAct
    assert conversion.model[0].weight is not model[0].weight


def test_output_is_that_of_the_affine_maps():
    torch.manual_seed(0)
    model = net().double().eval()
    converted = convert_activations(model, ["*", "sigmoid"], inplace=False).model
    x = expected = torch.randn(5, 8, dtype=torch.float64)

    def follow(module, act, x):
        scale, offset = act.affine()
        return scale * module(x) + offset

    expected = model[0](expected)
    expected = follow(model[1], converted[1], expected)
    expected = follow(model[2][1], converted[2][1], model[2][0](expected))
    expected = follow(model[4], converted[4], model[3](expected))
    expected = follow(model[5], converted[5], expected)
    torch.testing.assert_close(converted(x), expected)


def test_device_type_and_mode_follow_the_model():
    model = nn.ModuleDict(
        {
            "bf16": nn.Sequential(nn.Linear(2, 2, dtype=torch.bfloat16), nn.ReLU()),
            "f64": nn.Sequential(nn.Linear(2, 2, dtype=torch.float64), nn.ReLU()),
            "meta": nn.Sequential(nn.Linear(2, 2, device="meta"), nn.ReLU()),
            "without": nn.Sequential(nn.ReLU()),
        }
    )
    model["f64"].eval()
    convert_activations(model)
    acts = {name: child[-1] for name, child in model.items()}
    assert acts["bf16"].alpha.dtype == torch.bfloat16
    assert acts["bf16"].output_mean.dtype == torch.float32
    assert acts["f64"].alpha.dtype == acts["f64"].output_mean.dtype == torch.float64
    assert acts["meta"].alpha.device.type == "meta"
    assert acts["without"].alpha.dtype == torch.bfloat16  # the model's first parameter
    assert {name: act.training for name, act in acts.items()} == {
        "bf16": True,
        "f64": False,
        "meta": True,
        "without": True,
    }
    counts = nn.Parameter(torch.zeros(2, dtype=torch.int8), requires_grad=False)
    alone = nn.Sequential(nn.ReLU(), nn.ParameterList([counts]))
    convert_activations(alone)
    assert alone[0].alpha.dtype == torch.get_default_dtype()


def test_an_instance_in_several_places_is_an_anact_of_its_own_in_each():
    relu = nn.ReLU()
    shared = nn.Sequential(nn.Linear(4, 4), relu)
    model = nn.Sequential(shared, relu, nn.Linear(4, 4), relu, shared)
    conversion = convert_activations(model)
    # The parent that stands twice stays one module.
    assert conversion.replaced == {"0.1": "relu", "1": "relu", "3": "relu"}
    assert model[0] is model[4]
    assert len({id(m) for m in model.modules() if isinstance(m, ANAct)}) == 3


def test_identity_is_converted_only_on_demand():
    for include in (None, "*", lambda path, module: True):
        model = nn.Sequential(nn.Identity(), nn.ReLU())
        assert convert_activations(model, include).replaced == {"1": "relu"}
    for include in ("identity", nn.Identity, iter(["identity", "*"])):
        model = nn.Sequential(nn.Identity(), nn.ReLU())
        assert "0" in convert_activations(model, include).replaced


@pytest.mark.parametrize(
    ("include", "exclude", "paths"),
    [
        ("2.*", None, ["2.1"]),
        (["2.*", nn.ReLU], None, ["1", "2.1"]),
        ("leaky_relu", None, ["2.1"]),
        ("leaky_relu(0.2)", None, ["2.1"]),
        ("gelu", None, ["4"]),
        (nn.Module, [nn.ReLU, "5"], ["2.1", "4"]),
        (None, "sigmoid", ["1", "2.1", "4"]),
        (
            None,
            lambda path, module: isinstance(module, nn.GELU) or path == "1",
            ["2.1"],
        ),
        ([nn.Module, "sigmoid"], "1", ["2.1", "4", "5"]),
        (nn.Sigmoid, None, ["5"]),
        ("5", None, ["5"]),
        (["relu", "*5"], None, ["1"]),
        ("*", None, ["1", "2.1", "4"]),
        ("[45]", None, ["4"]),
        (lambda path, module: False, None, []),
        ([], None, []),
    ],
)
def test_include_and_exclude(include, exclude, paths):
    assert list(convert_activations(net(), include, exclude).replaced) == paths


def test_a_glob_sees_every_path_of_a_shared_parent():
    block = nn.Sequential(nn.ReLU())
    model = nn.ModuleDict({"first": block, "second": block})
    assert convert_activations(model, "second.*").replaced == {"first.0": "relu"}


@pytest.mark.parametrize(
    "pattern", ["head.*", nn.Tanh, "tanh", "leaky_relu(0.3)", nn.Linear, "Relu"]
)
@pytest.mark.parametrize("argument", ["include", "exclude"])
def test_a_selector_that_matches_nothing_is_an_error(pattern, argument):
    model = net()
    shown = pattern.__name__ if isinstance(pattern, type) else pattern
    with pytest.raises(ValueError, match=argument) as error:
        convert_activations(model, **{argument: ["relu", pattern]})
    assert repr(shown) in str(error.value)
    assert "'2.1' (leaky_relu(negative_slope=0.2))" in str(error.value)
    assert type(model[1]) is nn.ReLU


def test_wrong_arguments_change_nothing():
    model = net()
    with pytest.raises(ValueError, match="momentum"):
        convert_activations(model, momentum=2)
    with pytest.raises(ValueError, match="solution"):
        convert_activations(
            nn.Sequential(), solution="none"
        )  # also without activations
    with pytest.raises(TypeError):
        convert_activations(model, momentun=0.1)
    with pytest.raises(TypeError):
        convert_activations(model, activation="relu")
    with pytest.raises(TypeError, match="globs, classes"):
        convert_activations(model, [3])
    with pytest.raises(TypeError, match="globs, classes"):
        convert_activations(model, model[1])
    with pytest.raises(TypeError, match="Module"):
        convert_activations(torch.relu)
    assert type(model[1]) is nn.ReLU


def test_script_modules_are_refused():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        script = torch.jit.script(net())
    for function in (convert_activations, revert_activations):
        with pytest.raises(TypeError, match="the model is a ScriptModule"):
            function(script)
        with pytest.raises(TypeError, match="'0' is a ScriptModule"):
            function(nn.Sequential(script))


@pytest.mark.parametrize(
    "register",
    [
        "register_forward_hook",
        "register_forward_pre_hook",
        "register_full_backward_hook",
    ],
)
def test_hooks_are_not_lost(register):
    for function, model in (
        (convert_activations, net()),
        (revert_activations, convert_activations(net()).model),
    ):
        before = model[4]
        handle = getattr(model[4], register)(lambda *arguments: None)
        with pytest.raises(ValueError, match="'4' has hooks"):
            function(model)
        assert model[4] is before
        assert not isinstance(
            model[1], ANAct if function is convert_activations else nn.ReLU
        )
        function(model, exclude="4")
        handle.remove()
        assert list(function(model).replaced) == ["4"]


def test_parametrizations_are_not_lost():
    model = nn.Sequential(ANAct("relu"))
    nn.utils.parametrize.register_parametrization(model[0], "alpha", nn.Tanh())
    with pytest.raises(ValueError, match="'0' has parametrizations"):
        revert_activations(model)


def test_a_model_that_is_an_activation():
    relu = nn.ReLU()
    with pytest.raises(ValueError, match="inplace=False"):
        convert_activations(relu)
    conversion = convert_activations(relu, inplace=False)
    assert conversion.model.options.activation == "relu"
    assert conversion.replaced == {"": "relu"}
    with pytest.raises(ValueError, match="inplace=False"):
        revert_activations(conversion.model)
    assert type(revert_activations(conversion.model, inplace=False).model) is nn.ReLU


def test_revert_gives_the_plain_modules_back():
    model = net()
    model[2].eval()
    plain_text = repr(model)
    convert_activations(model)
    reverted = revert_activations(model)
    assert reverted.replaced == CONVERTED
    assert repr(model) == plain_text
    assert not model[2][1].training and model[1].training
    convert_activations(model)
    assert list(revert_activations(model, ["relu", "4"]).replaced) == ["1", "4"]
    assert type(model[2][1]) is ANAct
    with pytest.raises(ValueError, match="matches no activation"):
        revert_activations(model, "relu")


@pytest.mark.parametrize("text", TEXTS)
def test_round_trip(text):
    model = nn.Sequential(nn.Identity(), plain(text))
    x = inputs()
    expected = model(x)
    include = "1"
    if text == "identity":
        include = nn.Identity
    assert convert_activations(model, include).replaced["1"] == text
    assert isinstance(model[1], ANAct)
    assert revert_activations(model).replaced["1"] == text
    assert torch.equal(model(x), expected)


def test_a_subclass_with_a_forward_of_its_own_is_left_alone():
    class Doubled(ANAct):
        def forward(self, input):
            return 2 * super().forward(input)

    model = nn.Sequential(Doubled("relu"), ANAct("tanh"))
    assert revert_activations(model).replaced == {"1": "tanh"}
    assert type(model[0]) is Doubled


# Attributes that hold a function.


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.act = F.silu
        self.gate = functools.partial(F.leaky_relu, negative_slope=0.3)
        self.loss = F.mse_loss

    def forward(self, x):
        return self.gate(self.act(self.linear(x)))


def test_attributes_that_hold_a_function():
    model = nn.Sequential(Functional())
    x = torch.randn(3, 4)
    expected = model(x)
    conversion = convert_activations(model)
    assert conversion.replaced == {
        "0.act": "silu",
        "0.gate": "leaky_relu(negative_slope=0.3)",
    }
    assert isinstance(model[0].act, ANAct) and "0.act.alpha" in model.state_dict()
    assert model[0].loss is F.mse_loss
    assert int(model(x).numel()) == 12 and int(model[0].act.num_batches_tracked) == 1
    revert_activations(model)
    assert torch.equal(model(x), expected)
    assert list(convert_activations(nn.Sequential(Functional()), nn.SiLU).replaced) == [
        "0.act"
    ]


ACTIVATIONS = {
    "relu": F.relu,
    "gelu": F.gelu,
    "relu module": nn.ReLU(),
    "tanh": nn.GELU("tanh"),
}


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("masked", [False, True])
def test_transformer_encoder_evaluates_its_anacts(activation, masked):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(
        16, 2, 32, activation=ACTIVATIONS[activation], batch_first=True
    )
    model = nn.TransformerEncoder(layer, 2).eval()
    code = model.layers[0].activation_relu_or_gelu
    assert code and model.use_nested_tensor
    original = copy.deepcopy(model)
    # The first layer alone would let the encoder use nested tensors. For tanh, its fused
    # evaluation has the other GELU.
    first = 0 if activation == "tanh" else 1
    conversion = convert_activations(model, f"layers.[{first}1].*")
    assert list(conversion.replaced) == [
        f"layers.{i}.activation" for i in range(first, 2)
    ]
    assert not model.use_nested_tensor
    for act in (m for m in model.modules() if isinstance(m, ANAct)):
        act.alpha.data.fill_(0.3)
    x = torch.randn(3, 5, 16)
    mask = torch.zeros(3, 5, dtype=torch.bool)
    mask[1, 3:] = True
    arguments = {"src_key_padding_mask": mask} if masked else {}
    with torch.no_grad():
        fast = model(x, **arguments)
    slow = model(x, **arguments)  # gradients rule the fused evaluation out
    torch.testing.assert_close(fast[~mask], slow[~mask])
    assert (slow[~mask] - original(x, **arguments)[~mask]).abs().max() > 1e-2
    revert_activations(model)
    restored = 0 if activation == "tanh" else code
    assert [m.activation_relu_or_gelu for m in model.layers] == [restored, restored]
    assert model.use_nested_tensor == bool(restored)
    with torch.no_grad():
        after = model(x, **arguments)
    torch.testing.assert_close(after[~mask], original(x, **arguments)[~mask])


def test_transformer_decoder_keeps_its_anact_in_copies():
    model = nn.TransformerDecoder(
        nn.TransformerDecoderLayer(8, 2, 16, batch_first=True), 1
    ).eval()
    x, memory = torch.randn(2, 3, 8), torch.randn(2, 4, 8)
    convert_activations(model)
    assert isinstance(model.layers[0].activation, ANAct)
    assert [n for n, m in model.named_modules() if isinstance(m, ANAct)] == [
        "layers.0.activation"
    ]
    expected = model(x, memory)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        act = other.layers[0].activation
        assert isinstance(act, ANAct) and act is other.layers[0]._modules["activation"]
        assert torch.equal(other(x, memory), expected)
        act.alpha.data.fill_(1)
        assert not torch.equal(other(x, memory), expected)
    revert_activations(model)
    assert copy.deepcopy(model).layers[0].activation is F.relu


# What could not be replaced.


def helper(x):
    return x


class Base(nn.Module):
    def inherited(self, x):
        return F.elu(x, 0.5)

    def unused(self, x):
        return F.selu(x)


class Calls(Base):
    def __init__(self):
        super().__init__()
        self.act = nn.Tanh()
        self.other = nn.ReLU()
        self.block = nn.Sequential(OrderedDict(relu=nn.SiLU()))

    def forward(self, x, relu=helper):
        x = F.relu(x)
        x = torch.nn.functional.gelu(x, approximate="tanh")
        x = self.method(x).sigmoid()
        x = relu(helper(self.act(x)))
        y = [f(x) for f in (F.silu,)]
        return F.dropout(self.inherited(x + y[0]), 0.1) + self.other(self.block.relu(x))

    def method(self, x):
        text = """
no indentation F.mish(x)
"""
        return self.act(x) + relu(self.weight().tanh()) + len(text)

    def weight(self):
        return torch.ones(())


def test_calls_of_functions_are_reported():
    model = nn.Sequential(Calls(), nn.Sequential(Calls()))
    conversion = convert_activations(model)
    lines, first = inspect.getsourcelines(Calls)
    base_lines, base_first = inspect.getsourcelines(Base)

    def line(text, lines=lines, first=first):
        return first + next(i for i, line in enumerate(lines) if text in line)

    expected = {
        ("F.relu(x)", "relu", line("F.relu(x)")),
        (
            "torch.nn.functional.gelu(x, approximate='tanh')",
            "gelu(approximate=tanh)",
            line("gelu"),
        ),
        ("self.method(x).sigmoid()", "sigmoid", line("sigmoid()")),
        ("relu(self.weight().tanh())", "relu", line("tanh()")),
        ("F.silu", "silu", line("(F.silu,)")),
        ("self.weight().tanh()", "tanh", line("tanh()")),
        ("F.elu(x, 0.5)", "elu(alpha=0.5)", line("F.elu", base_lines, base_first)),
    }
    for path in ("0", "1.0"):
        found = [c for c in conversion.functional if c.path == path]
        assert {(c.text, c.activation, c.line) for c in found} == expected
        assert len(found) == len(expected)
        assert {(c.module, c.file) for c in found} == {("Calls", __file__)}
    assert f"F.relu(x) in Calls ({__file__}:{line('F.relu(x)')}), in 2 modules" in str(
        conversion
    )
    assert conversion.unread == []


def test_repeated_calls_are_reported():
    model = nn.Sequential(Calls())
    conversion = convert_activations(model)
    (repeated,) = conversion.repeated
    lines, first = inspect.getsourcelines(Calls)
    at = [first + i for i, line in enumerate(lines) if "self.act(x)" in line]
    assert repeated.path == "0.act"
    assert sorted(repeated.lines) == at and repeated.count == 2
    assert "0.act (" in str(conversion)


def test_a_call_by_super_is_followed():
    class Derived(Calls):
        def forward(self, x):
            return F.mish(super().forward(x))

    texts = {c.text for c in convert_activations(Derived()).functional}
    assert {"F.mish(super().forward(x))", "F.relu(x)", "F.elu(x, 0.5)"} <= texts


def test_classes_without_source_are_listed():
    space = {"nn": nn, "F": F, "__name__": "nowhere"}
    exec(  # noqa: S102
        "class Unread(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.act = nn.ReLU()\n"
        "    def forward(self, x):\n"
        "        return F.relu(self.act(x))\n",
        space,
    )
    conversion = convert_activations(nn.Sequential(space["Unread"]()))
    assert conversion.replaced == {"0.act": "relu"}
    assert conversion.unread == ["nowhere.Unread"]
    assert conversion.functional == []


def test_activations_without_a_normalized_form_are_listed():
    class Twice(nn.ReLU):
        def forward(self, input):
            return 2 * super().forward(input)

    model = nn.Sequential(
        nn.PReLU(),
        nn.GLU(),
        nn.Hardshrink(),
        nn.Threshold(0, 0),
        nn.RReLU(),
        Twice(),
        nn.Softmax(0),
    )
    conversion = convert_activations(model)
    assert conversion.replaced == {}
    assert list(conversion.unsupported.values()) == [
        "PReLU",
        "GLU",
        "Hardshrink",
        "Threshold",
        "RReLU",
        f"{test_activations_without_a_normalized_form_are_listed.__name__}.<locals>.Twice",
    ]
    assert "0: PReLU" in str(conversion)


# Whole networks.


def test_resnet18(torchvision):
    model = torchvision.models.resnet18(weights=None)
    conversion = convert_activations(model)
    assert len(conversion.replaced) == 9 and set(conversion.replaced.values()) == {
        "relu"
    }
    assert conversion.functional == [] and conversion.unread == []
    assert [c.path for c in conversion.repeated] == [
        f"layer{i}.{j}.relu" for i in range(1, 5) for j in range(2)
    ]
    assert {c.count for c in conversion.repeated} == {2}
    model(torch.randn(2, 3, 33, 33)).sum().backward()
    assert all(
        m.alpha.grad is not None for m in model.modules() if isinstance(m, ANAct)
    )
    assert int(model.layer1[0].relu.num_batches_tracked) == 2


def test_mobilenet_v3_and_densenet(torchvision):
    model = torchvision.models.mobilenet_v3_small(weights=None)
    kinds = [type(m) for m in model.modules()]
    conversion = convert_activations(model)
    assert {(c.activation, c.reason) for c in conversion.left} == {
        ("hardsigmoid", "maybe gate")
    }
    counts = [
        list(conversion.replaced.values()).count(name)
        for name in ("relu", "hardswish", "hardsigmoid")
    ]
    assert counts == [kinds.count(nn.ReLU), kinds.count(nn.Hardswish), 0]
    conversion = convert_activations(torchvision.models.densenet121(weights=None))
    assert [c.text for c in conversion.functional] == ["F.relu(features, inplace=True)"]


@pytest.mark.slow
def test_bert(torchvision):
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
    )
    model = transformers.BertModel(config)
    conversion = convert_activations(model)
    assert conversion.replaced == {
        "encoder.layer.0.intermediate.intermediate_act_fn": "gelu",
        "encoder.layer.1.intermediate.intermediate_act_fn": "gelu",
        "pooler.activation": "tanh",
    }
    out = model(torch.randint(50, (2, 7))).pooler_output
    out.sum().backward()
    assert model.pooler.activation.alpha.grad is not None
