"""anact.summary: what it says of a model's ANActs."""

import sys

import pytest
import torch
from oracle import STATISTICS, OracleANAct
from torch import nn

import anact
from anact import ANAct, NReLU, NSiLU

torch.set_num_threads(1)


def make_model():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(5, 7),
        NSiLU(momentum=0.3),
        ANAct("softplus(beta=2, threshold=5)", solution="compromise", centre=False),
        nn.ModuleDict({"unused": NReLU()})["unused"],
    )
    for step in range(3):
        model[:3](torch.randn(11, 5) * (1 + step))
    nn.init.constant_(model[1].alpha, 0.4)
    return model


@pytest.mark.parametrize("training", [True, False])
def test_each_layer_is_told_as_it_is(training):
    model = make_model().train(training)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    report = anact.summary(model)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert [row.name for row in report.layers] == ["1", "2", "3"]
    oracles = [
        OracleANAct("silu"),
        OracleANAct(
            "softplus(beta=2, threshold=5)", solution="compromise", centre=False
        ),
        OracleANAct("relu"),
    ]
    for row, oracle in zip(report.layers, oracles, strict=True):
        act = model.get_submodule(row.name)
        assert row.activation == act.options.activation
        statistics = [getattr(act, name) for name in STATISTICS]
        assert [getattr(row, name) for name in STATISTICS] == [
            s.item() for s in statistics
        ]
        factor, mean, shift = oracle.factors([s.double() for s in statistics])
        got = torch.tensor([row.factor, row.mean, row.shift, row.alpha]).double()
        want = torch.stack([factor, mean, shift, act.alpha.detach()[0]]).double()
        torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-6)
        # y = (λ + 0.3·tanh α)·(f(x) − μ) + b
        x = torch.linspace(-2, 2, 9).double()
        scale = row.factor + 0.3 * torch.tanh(torch.tensor(row.alpha).double())
        y = scale * (oracle.f(x) - row.mean) + row.shift
        want = act.eval()(x.float()).detach().double()
        torch.testing.assert_close(y, want, rtol=1e-5, atol=1e-5)
        assert row.num_batches_tracked == (0 if row.name == "3" else 3)


def test_it_warns():
    model = make_model()
    report = anact.summary(model)
    assert list(report.warnings) == ["3"] and "never ran" in report.warnings["3"][0]
    assert "3: never ran in training" in str(report)
    model[1](torch.full((2, 2), float("nan")))
    model[2].input_variance.fill_(1e6)
    model[2].options = anact.ANActOptions("relu", bounds=(0.5, 1.5), target="unit")
    model[3](torch.full((2, 2), float("inf")))
    warnings = anact.summary(model).warnings
    assert warnings["1"] == ("refused 1 of 4 batches",)
    assert len(warnings["2"]) == 1 and "λ stands at its" in warnings["2"][0]
    assert warnings["3"] == ("every batch was refused", "refused 1 of 1 batches")


def test_fixed_statistics_never_run():
    assert not anact.summary(NReLU(statistics="fixed")).warnings
    assert anact.summary(NReLU(statistics="fixed", init_batch=True)).warnings
    assert anact.summary(NReLU()).warnings[""]


def test_text():
    text = str(anact.summary(make_model()))
    lines = text.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["layer", "1", "2", "3"]
    assert "softplus(beta=2, threshold=5)" in lines[2]
    assert "(the model)" in str(anact.summary(NReLU()))
    assert str(anact.summary(nn.Linear(2, 2))) == "no ANAct"


def test_a_shared_module_is_listed_once():
    act = NReLU()
    assert len(anact.summary(nn.Sequential(act, act)).layers) == 1


def test_a_function_of_ones_own_goes_by_its_name():
    def snake(x):
        return x + torch.sin(x).square()

    (row,) = anact.summary(ANAct(snake)).layers
    assert row.activation.endswith("snake")


def test_dictionary():
    report = anact.summary(make_model())
    rows = report.to_dict()
    assert list(rows) == ["1", "2", "3"]
    assert rows["1"]["factor"] == report.layers[0].factor and "name" not in rows["1"]


def test_dataframe():
    pytest.importorskip("pandas")
    report = anact.summary(make_model())
    frame = report.to_dataframe()
    assert list(frame.index) == ["1", "2", "3"]
    assert frame.loc["2", "factor"] == report.layers[1].factor
    assert frame["num_batches_tracked"].dtype.kind == "i"
    empty = anact.summary(nn.Linear(2, 2)).to_dataframe()
    assert empty.empty and list(empty.columns) == list(frame.columns)


def test_pandas_is_needed_for_the_dataframe_alone(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    report = anact.summary(make_model())
    with pytest.raises(ImportError, match="pandas"):
        report.to_dataframe()


def test_the_meta_device_has_no_numbers():
    with pytest.raises(ValueError, match="summary: 1 is on the meta device"):
        anact.summary(make_model().to("meta"))
