"""Conversion by rules."""

import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from anact import ANAct, convert_activations
from anact._rules import RuleSet

torch.set_num_threads(1)


def net():
    return nn.ModuleDict(
        {
            "features": nn.Sequential(nn.ReLU(), nn.Tanh(), nn.ReLU()),
            "head": nn.Sequential(nn.LeakyReLU(0.2), nn.Identity()),
            "gate": nn.Sequential(nn.Hardsigmoid()),
        }
    )


TOML = """
["gate.*"]
convert = false

["features.0"]
momentum = 0.5

[relu]
recipe = "paper"
bounds = [0.5, 2]

["leaky_relu(negative_slope=0.2)"]
learnable = false
"""

RULES = {
    "gate.*": {"convert": False},
    "features.0": {"momentum": 0.5},
    nn.ReLU: {"recipe": "paper", "bounds": (0.5, 2)},
    "leaky_relu": {"learnable": False},
}


def written(tmp_path, text):
    file = tmp_path / "rules.toml"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize("form", ["dict", "path", "text"])
def test_the_first_rule_that_matches_decides(form, tmp_path):
    file = written(tmp_path, TOML)
    rules = {"dict": RULES, "path": file, "text": str(file)}[form]
    model = net()
    conversion = convert_activations(model, rules=rules, momentum=0.2)
    assert list(conversion.replaced) == [
        *("features.0", "features.1", "features.2", "head.0")
    ]
    assert type(model["gate"][0]) is nn.Hardsigmoid
    expected = {
        ("features", 0): ANAct("relu", momentum=0.5),
        ("features", 1): ANAct("tanh", momentum=0.2),
        ("features", 2): ANAct("relu", recipe="paper", bounds=(0.5, 2), momentum=0.2),
        ("head", 0): ANAct(
            "leaky_relu(negative_slope=0.2)", learnable=False, momentum=0.2
        ),
    }
    for (part, number), act in expected.items():
        assert model[part][number].options == act.options


def test_rules_are_for_what_is_selected():
    model = net()
    rules = {"features.*": {"momentum": 0.5}}
    conversion = convert_activations(model, "features.*", exclude="tanh", rules=rules)
    assert list(conversion.replaced) == ["features.0", "features.2"]
    with pytest.raises(ValueError, match=r"rules: rule 'head.0': .*matches no"):
        convert_activations(net(), "features.*", rules={"head.0": {}})


def test_no_rules_change_nothing():
    assert convert_activations(net(), rules={}).replaced == (
        convert_activations(net()).replaced
    )


def test_a_rule_can_ask():
    rules = {"identity": {"convert": True}}
    assert "head.1" in convert_activations(net(), rules=rules).replaced
    assert "head.1" not in convert_activations(net(), rules={"*": {}}).replaced

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(2, 2)

        def forward(self, x):
            return self.fc(F.relu(x)) * torch.sigmoid(x)

    def replaced(**rule):
        rules = {"sigmoid": rule}
        return convert_activations(Net(), functions=True, rules=rules).replaced

    assert list(replaced(convert=True)) == ["relu", "sigmoid"]
    assert list(replaced(momentum=0.5)) == ["relu"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("momentum = 0.1", "rule 'momentum': expected a table of options, found 0.1"),
        (
            "[features.0]\nmomentum = 0.1",
            "rule 'features': expected options.*in quotes",
        ),
        ("[relu]\nmomentun = 1", "rule 'relu': unknown option 'momentun'.*momentum?"),
        ("[relu]\nxyz = 1", "rule 'relu': unknown option 'xyz'; expected convert"),
        ("[relu]\nmomentum = 2", "rule 'relu': .*momentum"),
        ("[relu]\nmomentum = 'a'", "rule 'relu': .*momentum"),
        ("[relu]\nbounds = [1]", "rule 'relu': .*bounds"),
        ("[relu]\nrecipe = 'depe'", "rule 'relu': .*depe"),
        ("[relu]\nconvert = 'no'", "rule 'relu': convert: expected true or false"),
        ("[relu]\nconvert = false\nmomentum = 0.1", "rule 'relu': expected no options"),
        ("['classifier.*']", "rule 'classifier.*': .*matches no activation; there are"),
        ("[mish]", "rule 'mish': .*matches no activation"),
        ("[relu", "no TOML"),
    ],
)
def test_errors_name_file_rule_and_what_was_expected(text, message, tmp_path):
    file = written(tmp_path, text)
    model = net()
    with pytest.raises((ValueError, TypeError), match=rf"rules\.toml: {message}"):
        convert_activations(model, rules=file)
    assert not any(isinstance(m, ANAct) for m in model.modules())


@pytest.mark.parametrize("rules", [[("relu", {})], 3, {3: {}}, {"relu": None}])
def test_what_are_no_rules(rules):
    with pytest.raises(TypeError, match="rules: .*expected a"):
        convert_activations(net(), rules=rules)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.toml"):
        convert_activations(net(), rules=tmp_path / "nothing.toml")


def test_a_python_without_toml(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "version_info", (3, 10, 14))
    with pytest.raises(RuntimeError, match=r"rules\.toml: .*Python 3\.11.*as a dict"):
        RuleSet(written(tmp_path, TOML))
    assert RuleSet(RULES).source == "rules"
