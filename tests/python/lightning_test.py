"""Training by PyTorch Lightning: what is saved, resumed and counted."""

import pytest
import torch
from oracle import STATISTICS
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from anact import ANAct

torch.set_num_threads(1)

pytestmark = [
    pytest.mark.filterwarnings("ignore:You defined a `validation_step`"),
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated"),
]

BATCHES = 5


def make_layers(**options):
    return nn.Sequential(
        nn.Linear(7, 13),
        ANAct("silu", **options),
        nn.Linear(13, 11),
        ANAct("gelu(approximate=tanh)", gate=(0.05, 20.0), **options),
        nn.Linear(11, 3),
    )


@pytest.fixture(scope="module")
def lightning(torchvision):
    # Its metrics import torchvision.
    return pytest.importorskip("pytorch_lightning")


@pytest.fixture(scope="module")
def classifier(lightning):
    class Classifier(lightning.LightningModule):
        def __init__(self, seed=0, momentum=0.1):
            super().__init__()
            self.save_hyperparameters()
            torch.manual_seed(seed)
            self.layers = make_layers(momentum=momentum)
            self.losses = []

        def forward(self, x):
            return self.layers(x)

        def training_step(self, batch, _):
            x, y = batch
            loss = nn.functional.cross_entropy(self(x), y)
            self.losses.append(loss.item())
            return loss

        def validation_step(self, batch, _):
            assert not self.layers[1].training
            self(batch[0])

        def configure_optimizers(self):
            optimizer = torch.optim.AdamW(self.parameters(), lr=0.03)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)
            return [optimizer], [schedule]

    return Classifier


def make_data():
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(8 * BATCHES, 7, generator=generator)
    return DataLoader(TensorDataset(x, (x[:, 0] > 0).long()), batch_size=8)


@pytest.fixture
def make_trainer(lightning, tmp_path):
    def make(epochs, **options):
        return lightning.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            devices=1,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            default_root_dir=tmp_path,
            **options,
        )

    return make


def normalized(model):
    return [module for module in model.modules() if isinstance(module, ANAct)]


def assert_same_state(got, want):
    got, want = got.state_dict(), want.state_dict()
    assert got.keys() == want.keys()
    for name in want:
        assert torch.equal(got[name], want[name]), name


def test_fit_is_the_loop_written_out(classifier, make_trainer):
    """Validation before and between the epochs leaves the statistics alone."""
    model, reference = classifier(), classifier()
    make_trainer(3).fit(model, make_data(), make_data())

    (optimizer,), (schedule,) = reference.configure_optimizers()
    for _ in range(3):
        for batch in make_data():
            optimizer.zero_grad()
            reference.training_step(batch, 0).backward()
            optimizer.step()
        schedule.step()
    assert model.losses == reference.losses
    assert model.losses[-1] < 0.7 * model.losses[0]
    assert_same_state(model, reference)
    assert all(act.num_batches_tracked == 3 * BATCHES for act in normalized(model))


def test_a_resumed_run_is_the_uninterrupted_one(classifier, make_trainer, tmp_path):
    whole = classifier()
    make_trainer(4).fit(whole, make_data())

    first = classifier()
    trainer = make_trainer(2)
    trainer.fit(first, make_data())
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    second = classifier(seed=1)
    make_trainer(4).fit(second, make_data(), ckpt_path=tmp_path / "half.ckpt")
    assert [*first.losses, *second.losses] == whole.losses
    assert_same_state(second, whole)


def test_load_from_checkpoint(classifier, make_trainer, tmp_path):
    model = classifier(momentum=0.3)
    trainer = make_trainer(1)
    trainer.fit(model, make_data())
    trainer.save_checkpoint(tmp_path / "end.ckpt", weights_only=True)
    loaded = classifier.load_from_checkpoint(tmp_path / "end.ckpt", seed=1)
    assert_same_state(loaded, model)
    assert normalized(loaded)[0].options == normalized(model)[0].options
    x = next(iter(make_data()))[0]
    assert torch.equal(loaded.eval()(x), model.eval()(x))


def test_mixed_precision(classifier, make_trainer):
    """The layers before compute in bfloat16, the statistics stay in float32."""
    seen = []
    model = classifier()
    model.layers[1].register_forward_hook(
        lambda module, inputs, output: seen.append((inputs[0].dtype, output.dtype))
    )
    make_trainer(3, precision="bf16-mixed").fit(model, make_data())
    assert set(seen) == {(torch.bfloat16, torch.bfloat16)}
    assert model.losses[-1] < 0.7 * model.losses[0]
    for act in normalized(model):
        assert act.num_batches_tracked == 3 * BATCHES
        assert act.alpha.dtype == torch.float32
        assert all(getattr(act, name).dtype == torch.float32 for name in STATISTICS)

    # As in single precision but for the rounding of bfloat16.
    reference = classifier()
    make_trainer(3).fit(reference, make_data())
    for got, want in zip(normalized(model), normalized(reference)):
        torch.testing.assert_close(
            torch.tensor(got.statistics()),
            torch.tensor(want.statistics()),
            rtol=0.05,
            atol=0.02,
        )


def test_half_precision_throughout(classifier, make_trainer):
    """The module is made under another default type there."""
    trainer = make_trainer(1, precision="bf16-true")
    with trainer.init_module():
        model = classifier()
    trainer.fit(model, make_data())
    for act in normalized(model):
        assert act.alpha.dtype == torch.bfloat16
        assert act.num_batches_tracked == BATCHES
        assert all(getattr(act, name).dtype == torch.float32 for name in STATISTICS)


def test_accumulated_gradients_and_clipping(classifier, make_trainer):
    """Statistics are taken of every batch, not of every step of the optimizer."""
    model = classifier()
    trainer = make_trainer(2, accumulate_grad_batches=BATCHES, gradient_clip_val=0.5)
    trainer.fit(model, make_data())
    assert trainer.global_step == 2
    assert all(act.num_batches_tracked == 2 * BATCHES for act in normalized(model))
    assert all(act.alpha != 0 for act in normalized(model))


def test_averaged_weights(lightning, classifier, make_trainer):
    """The averages of alpha and of the statistics are what is left in the end."""
    steps = []

    class Record(lightning.Callback):
        def on_train_batch_end(self, trainer, module, *_):
            act = normalized(module)[0]
            steps.append(torch.stack([act.alpha.detach()[0], act.output_mean]))

    model = classifier()
    average = lightning.callbacks.EMAWeightAveraging(decay=0.75)
    make_trainer(2, callbacks=[average, Record()]).fit(model, make_data())
    expected = steps[0]
    for step in steps[1:]:
        expected = 0.75 * expected + 0.25 * step
    act = normalized(model)[0]
    torch.testing.assert_close(
        torch.stack([act.alpha.detach()[0], act.output_mean]), expected
    )
    assert not torch.allclose(expected, steps[-1], rtol=0.01)
