"""What takes the rows of a probe, and the probe in other libraries' trainers."""

import math
import subprocess
import sys

import pytest
import torch
from torch import nn

import anact
from anact import integrations

torch.set_num_threads(1)


def make_model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), anact.NSwish(), nn.Linear(8, 2))


def probed(steps: int = 2, **options) -> anact.VarianceProbe:
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with anact.VarianceProbe(model, **options) as probe:
        for _ in range(steps):
            optimizer.zero_grad()
            model(torch.randn(16, 4)).square().mean().backward()
            optimizer.step()
            probe.step()
    return probe


def test_dataframe() -> None:
    pandas = pytest.importorskip("pandas")
    probe = probed()
    table = probe.to_dataframe()
    assert len(table) == 6
    assert list(table.columns) == list(probe.records[0])
    expected = [row["output_second_moment"] for row in probe.records]
    assert table["output_second_moment"].tolist() == expected
    assert table["alpha"].isna().tolist() == [True, False, True] * 2
    assert table["step"].dtype.kind == "i" and table["normalized"].dtype == bool
    with anact.VarianceProbe(nn.Linear(2, 2)) as empty:
        pass
    assert list(empty.to_dataframe().columns) == list(table.columns)
    assert isinstance(table, pandas.DataFrame)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    probe = probed(1)
    missing = ("pandas", "lightning.pytorch", "pytorch_lightning", "transformers")
    for name in missing:
        monkeypatch.setitem(sys.modules, name, None)
    for call, library in (
        (probe.to_dataframe, "pandas"),
        (integrations.lightning_callback, "lightning"),
        (integrations.trainer_callback, "transformers"),
    ):
        with pytest.raises(ImportError, match=f"pip install {library}"):
            call()


def test_nothing_is_imported_unless_used() -> None:
    code = (
        "import sys, anact, anact.integrations;"
        "print([n for n in ('pandas', 'lightning', 'pytorch_lightning',"
        " 'transformers', 'tensorboard') if n in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_log_hands_over_each_step_once() -> None:
    model = make_model()
    logged: list[dict[str, float]] = []
    with anact.VarianceProbe(model, every=2) as probe:
        for _ in range(4):
            model(torch.randn(16, 4)).square().mean().backward()
            probe.step()
            probe.log(logged.append)
    assert [values["anact/step"] for values in logged] == [0, 2]
    for values, rows in zip(logged, (probe.records[:3], probe.records[3:])):
        for row in rows:
            for column in ("output_second_moment", "lambda", "predicted_gradient"):
                key = f"anact/{row['name']}/{column}"
                if math.isnan(float(row[column])):
                    assert key not in values
                else:
                    assert values[key] == row[column]
        assert "anact/1/lambda" in values and "anact/0/lambda" not in values
        assert all(type(value) in (int, float) for value in values.values())
    probe.log(logged.append)
    assert len(logged) == 2
    again = probed(1)
    again.log(logged.append, columns=["alpha"])
    assert logged[2] == {"anact/step": 0, "anact/1/alpha": 0.0}
    for columns in ("name", ["unpredicted"], ["step"], ["lamda"]):
        with pytest.raises(ValueError, match="is no column of numbers"):
            again.log(logged.append, columns=columns)


def test_tensorboard(tmp_path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    probe = probed(3)
    with SummaryWriter(tmp_path) as writer:
        for _ in range(2):  # the second time there is nothing new
            probe.to_tensorboard(writer, columns=["output_second_moment"])
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert sorted(events.Tags()["scalars"]) == [
        f"anact/{layer}/output_second_moment" for layer in "012"
    ]
    scalars = events.Scalars("anact/1/output_second_moment")
    expected = [r["output_second_moment"] for r in probe.records if r["name"] == "1"]
    assert [s.step for s in scalars] == [0, 1, 2]
    assert [s.value for s in scalars] == pytest.approx(expected, rel=1e-6)


@pytest.fixture(scope="module")
def lightning(torchvision):
    # Its metrics import torchvision.
    return pytest.importorskip("pytorch_lightning")


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated")
@pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers")
def test_lightning(lightning, tmp_path, fails: bool) -> None:
    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = make_model()

        def training_step(self, batch, index):
            if fails and index == 5:
                raise RuntimeError("a batch is bad")
            return self.net(batch[0]).square().mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    logged: list[dict[str, float]] = []
    callback = integrations.lightning_callback(
        every=2, exclude="net.2", log=logged.append, columns="update_ratio"
    )
    assert isinstance(callback, lightning.Callback)
    data = torch.utils.data.TensorDataset(torch.randn(64, 4))
    module = Module()
    trainer = lightning.Trainer(
        max_epochs=1,
        accumulate_grad_batches=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        callbacks=[callback],
        accelerator="cpu",
    )
    loader = torch.utils.data.DataLoader(data, batch_size=8)
    if fails:
        with pytest.raises(RuntimeError, match="a batch is bad"):
            trainer.fit(module, loader)
        assert [values["anact/step"] for values in logged] == [0]
    else:
        trainer.fit(module, loader)
        # 8 batches are 4 steps.
        assert [values["anact/step"] for values in logged] == [0, 2]
        assert all(values["anact/net.0/update_ratio"] > 0 for values in logged)
        rows = callback.probe.records
        assert [(r["step"], r["name"]) for r in rows] == [
            (step, name) for step in (0, 2) for name in ("net.0", "net.1")
        ]
    assert not any(m._forward_pre_hooks for m in module.modules())
    probed(1)  # none is measuring any more


@pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated")
@pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers")
def test_lightning_loggers(lightning, tmp_path) -> None:
    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = make_model()

        def training_step(self, batch, _):
            return self.net(batch[0]).square().mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    class Logger(lightning.loggers.logger.DummyLogger):
        def __init__(self) -> None:
            super().__init__()
            self.seen = []

        def log_metrics(self, metrics, step=None) -> None:
            self.seen.append((step, metrics))

    logger = Logger()
    data = torch.utils.data.TensorDataset(torch.randn(16, 4))
    lightning.Trainer(
        max_epochs=1,
        logger=logger,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        callbacks=[integrations.lightning_callback(every=1)],
        accelerator="cpu",
    ).fit(Module(), torch.utils.data.DataLoader(data, batch_size=8))
    ours = [(step, m) for step, m in logger.seen if "anact/step" in m]
    assert [(step, m["anact/step"]) for step, m in ours] == [(1, 0), (2, 1)]
    assert "anact/net.1/lambda" in ours[0][1]


@pytest.mark.parametrize("compiled", [False, True])
def test_transformers(torchvision, tmp_path, compiled: bool) -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = make_model()

        def forward(self, x, labels=None):
            return {"loss": (self.net(x) - labels).square().mean()}

    data = [{"x": torch.randn(4), "labels": torch.zeros(2)} for _ in range(32)]
    logged: list[dict[str, float]] = []
    callback = integrations.trainer_callback(
        every=2, log=logged.append, compiled=compiled
    )
    assert isinstance(callback, transformers.TrainerCallback)
    trainer = transformers.Trainer(
        model=Model(),
        args=transformers.TrainingArguments(
            output_dir=str(tmp_path),
            per_device_train_batch_size=4,
            gradient_accumulation_steps=2,
            num_train_epochs=1,
            report_to=[],
            save_strategy="no",
            use_cpu=True,
            disable_tqdm=True,
        ),
        train_dataset=data,
        callbacks=[callback],
    )
    trainer.train()
    # 8 batches are 4 steps.
    assert [values["anact/step"] for values in logged] == [0, 2]
    assert logged[0]["anact/net.0/update_ratio"] > 0
    names = [row["name"] for row in callback.probe.records]
    assert names == ["net.0", "net.1", "net.2"] * 2
    probed(1)


def test_settings_are_checked_when_a_callback_is_made(torchvision) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(ValueError, match="every is 0"):
        integrations.trainer_callback(every=0)
    with pytest.raises(ValueError, match="no column of numbers"):
        integrations.trainer_callback(columns="name")
