"""Models of Hugging Face's transformers: converted, trained, saved and loaded again."""

import os

# A graph of an earlier definition of the operators must not come back from the disk.
os.environ["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"

import pytest
import torch
from oracle import STATISTICS, OracleANAct, assert_same_statistics
from safetensors.torch import load_model, save_model

import anact
from anact import ANAct

torch.set_num_threads(1)

STEPS = 20


@pytest.fixture(scope="module")
def transformers(torchvision):
    # Its models import torchvision if it is installed.
    library = pytest.importorskip("transformers")
    library.utils.logging.set_verbosity_error()
    library.utils.logging.disable_progress_bar()
    return library


# ---- Small models with random weights, a batch for each, and their activations


def bert(transformers):
    config = transformers.BertConfig(
        vocab_size=53,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=37,
        max_position_embeddings=16,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        num_labels=3,
    )
    return transformers.BertForSequenceClassification(config)


def gpt2(transformers):
    config = transformers.GPT2Config(
        vocab_size=53,
        n_positions=16,
        n_embd=16,
        n_layer=2,
        n_head=2,
        n_inner=37,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    model = transformers.GPT2LMHeadModel(config)
    # The class's name does not tell it; the warning about that does not compile.
    model.loss_type = "ForCausalLM"
    return model


def vit(transformers):
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=37,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        image_size=12,
        patch_size=4,
        num_labels=3,
    )
    return transformers.ViTForImageClassification(config)


def batch_of(make):
    generator = torch.Generator().manual_seed(5)
    labels = torch.tensor([0, 1, 2, 0, 1])
    if make is vit:
        return {
            "pixel_values": torch.randn(5, 3, 12, 12, generator=generator),
            "labels": labels,
        }
    tokens = torch.randint(53, (5, 11), generator=generator)
    return {"input_ids": tokens, "labels": tokens if make is gpt2 else labels}


ACTIVATIONS = {
    bert: {
        "bert.encoder.layer.0.intermediate.intermediate_act_fn": "gelu",
        "bert.encoder.layer.1.intermediate.intermediate_act_fn": "gelu",
        "bert.pooler.activation": "tanh",
    },
    gpt2: {
        "transformer.h.0.mlp.act": "gelu(approximate=tanh)",
        "transformer.h.1.mlp.act": "gelu(approximate=tanh)",
    },
    vit: {
        "vit.layers.0.mlp.activation_fn": "gelu",
        "vit.layers.1.mlp.activation_fn": "gelu",
    },
}
models = pytest.mark.parametrize("make", ACTIVATIONS, ids=lambda make: make.__name__)


def make_converted(make, transformers, seed=0, **options):
    torch.manual_seed(seed)
    model = make(transformers).train()
    anact.convert_activations(model, **options)
    return model


def normalized(model):
    return {n: m for n, m in model.named_modules() if isinstance(m, ANAct)}


def train(model, batch, steps=STEPS):
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return torch.tensor(losses)


def logits_of(model, batch):
    with torch.no_grad():
        return model.eval()(**batch).logits


def assert_same_state(model, reference):
    """Of parameters and buffers, those that are not saved too."""
    for kind in ("named_parameters", "named_buffers"):
        mine, theirs = dict(getattr(model, kind)()), dict(getattr(reference, kind)())
        assert mine.keys() == theirs.keys()
        for name, want in theirs.items():
            assert mine[name].dtype == want.dtype, name
            assert torch.equal(mine[name], want), name


# ---- Conversion and training


@models
def test_converted_places(transformers, make):
    model = make(transformers)
    before = {name for name, _ in model.named_modules()}
    conversion = anact.convert_activations(model, momentum=0.05)
    assert conversion.replaced == ACTIVATIONS[make]
    assert normalized(model).keys() == ACTIVATIONS[make].keys()
    assert {name for name, _ in model.named_modules()} == before
    for path, act in normalized(model).items():
        assert act.options == anact.ANActOptions(ACTIVATIONS[make][path], momentum=0.05)
    # And back, to what the model computed.
    torch.manual_seed(0)
    plain = make(transformers)
    torch.manual_seed(0)
    reverted = make_converted(make, transformers)
    anact.revert_activations(reverted)
    batch = batch_of(make)
    torch.testing.assert_close(logits_of(reverted, batch), logits_of(plain, batch))


@models
def test_training(transformers, make):
    model, batch = make_converted(make, transformers), batch_of(make)
    inputs = {path: [] for path in normalized(model)}
    for path, act in normalized(model).items():
        act.register_forward_hook(
            lambda act, given, output, path=path: inputs[path].append(
                given[0].detach().clone()
            )
        )
    losses = train(model, batch)
    assert losses[-1] < 0.9 * losses[0]
    assert losses.isfinite().all()
    for path, act in normalized(model).items():
        assert act.alpha != 0
        assert act.num_batches_tracked == STEPS
        oracle = OracleANAct(
            "gelu_tanh" if "tanh)" in act.options.activation else act.options.activation
        )
        for x in inputs[path]:
            oracle(x)
        assert_same_statistics(act, oracle, 1e-5)


@pytest.mark.slow
@models
def test_compiled_training(transformers, make):
    """Losses agree to a relative 1e-4 with those of eager mode over the whole run."""
    torch._dynamo.reset()
    model, reference = (make_converted(make, transformers) for _ in range(2))
    batch = batch_of(make)
    compiled = torch.compile(model, fullgraph=True)
    losses = train(compiled, batch)
    expected = train(reference, batch)
    torch.testing.assert_close(losses, expected, rtol=1e-4, atol=1e-5)
    for path, act in normalized(model).items():
        assert act.num_batches_tracked == STEPS
        torch.testing.assert_close(
            torch.tensor(act.statistics()),
            torch.tensor(normalized(reference)[path].statistics()),
            rtol=1e-3,
            atol=1e-5,
        )
    want = logits_of(reference, batch)
    torch.testing.assert_close(logits_of(model, batch), want, rtol=1e-3, atol=1e-3)


@models
@pytest.mark.parametrize("use_reentrant", [True, False])
def test_activation_checkpointing(transformers, make, use_reentrant):
    model, reference = (make_converted(make, transformers) for _ in range(2))
    batch = batch_of(make)
    model.activation_checkpointing_enable({"use_reentrant": use_reentrant})
    assert model.is_activation_checkpointing
    assert torch.equal(train(model, batch, 5), train(reference, batch, 5))
    assert_same_state(model, reference)
    assert all(act.num_batches_tracked == 5 for act in normalized(model).values())


def test_generation(transformers):
    """In evaluation: tokens one by one see the statistics that all of them see."""
    model = make_converted(gpt2, transformers)
    train(model, batch_of(gpt2))
    before = {path: act.statistics() for path, act in normalized(model).items()}
    prompt = batch_of(gpt2)["input_ids"][:1, :4]
    options = {"max_new_tokens": 6, "do_sample": False}
    with_cache = model.eval().generate(prompt, use_cache=True, **options)
    without = model.generate(prompt, use_cache=False, **options)
    assert torch.equal(with_cache, without)
    tokens = prompt
    for _ in range(6):
        following = logits_of(model, {"input_ids": tokens})[:, -1].argmax(-1)
        tokens = torch.cat([tokens, following[:, None]], 1)
    assert torch.equal(tokens, with_cache)
    assert {p: a.statistics() for p, a in normalized(model).items()} == before


# ---- Saving and loading


@models
def test_converting_a_pretrained_model(transformers, make, tmp_path):
    """from_pretrained first, then the conversion: the weights are those of the file."""
    torch.manual_seed(3)
    plain = make(transformers)
    plain.save_pretrained(tmp_path)
    model = type(plain).from_pretrained(tmp_path)
    anact.convert_activations(model)
    state, expected = model.state_dict(), plain.state_dict()
    for name in expected:
        assert torch.equal(state[name], expected[name]), name
    for act in normalized(model).values():
        fresh = ANAct(act.options.activation)
        assert_same_state(act, fresh)
    batch = batch_of(make)
    assert train(model.train(), batch, 5)[-1].isfinite()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_pretrained_model_in_half_precision(transformers, tmp_path, dtype):
    torch.manual_seed(3)
    bert(transformers).save_pretrained(tmp_path)
    load = transformers.BertForSequenceClassification.from_pretrained
    model = load(tmp_path, dtype=dtype)
    anact.convert_activations(model)
    model.train()
    for _ in range(3):
        model(**batch_of(bert)).loss.backward()
    for act in normalized(model).values():
        assert act.alpha.dtype == dtype
        assert all(getattr(act, name).dtype == torch.float32 for name in STATISTICS)
        assert act.num_batches_tracked == 3


def converting_class(make, transformers):
    """A class of models that are converted, for from_pretrained."""

    base = type(make(transformers))

    class Normalized(base):
        def __init__(self, config):
            super().__init__(config)
            anact.convert_activations(self, momentum=0.2)

    # The library chooses the loss by the class's name.
    Normalized.__name__ += base.__name__
    return Normalized


def save_trained(make, transformers, folder, dtype=torch.float32):
    """A trained model of such a class, saved."""
    torch.manual_seed(0)
    model = converting_class(make, transformers)(make(transformers).config)
    train(model.train(), batch_of(make))
    model.to(dtype).save_pretrained(folder)
    return model


@models
def test_a_class_that_converts(transformers, make, tmp_path):
    model = save_trained(make, transformers, tmp_path)
    loaded, info = type(model).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for name, want in model.state_dict().items():
        got = loaded.state_dict()[name]
        assert got.dtype == want.dtype, name
        assert torch.equal(got, want), name
    for path, act in normalized(loaded).items():
        assert act.options == normalized(model)[path].options
        assert act.num_batches_tracked == STEPS
    batch = batch_of(make)
    assert torch.equal(logits_of(loaded, batch), logits_of(model, batch))
    assert torch.equal(train(loaded.train(), batch, 3), train(model.train(), batch, 3))


@models
def test_buffers_that_are_not_saved(transformers, make, tmp_path):
    """from_pretrained makes a model without storage, and fills what the file has."""
    model = save_trained(make, transformers, tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    for path, act in normalized(loaded).items():
        assert act.num_batches_skipped == 0, path


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("saved", [torch.float32, torch.bfloat16])
def test_a_class_that_converts_in_half_precision(transformers, tmp_path, dtype, saved):
    """The statistics are in single precision and as they were, whatever the weights are."""
    model = save_trained(bert, transformers, tmp_path, saved)
    loaded = type(model).from_pretrained(tmp_path, dtype=dtype)
    assert loaded.bert.pooler.dense.weight.dtype == dtype
    for path, act in normalized(loaded).items():
        assert act.alpha.dtype == dtype
        for name in (*STATISTICS, "num_batches_tracked"):
            got, want = getattr(act, name), getattr(normalized(model)[path], name)
            assert got.dtype == want.dtype, name
            assert torch.equal(got, want), name


@models
def test_a_class_that_converts_and_a_plain_file(transformers, make, tmp_path):
    """What the file lacks is reported, and not initialized: the library knows only its own.

    Converting what from_pretrained returns is the way without this trap.
    """
    plain = make(transformers)
    plain.save_pretrained(tmp_path)
    load = converting_class(make, transformers).from_pretrained
    model, info = load(tmp_path, output_loading_info=True)
    acts = normalized(model)
    lacking = {f"{path}.{key}" for path in acts for key in acts[path].state_dict()}
    assert info["missing_keys"] == lacking

    for act in acts.values():
        act.reset_parameters()
        act.reset_running_stats()
        assert_same_state(act, ANAct(act.options.activation))
    for name, want in plain.state_dict().items():
        assert torch.equal(model.state_dict()[name], want), name


@models
def test_the_state_of_a_converted_model(transformers, make, tmp_path):
    """Without a class of one's own: configuration, conversion, and the whole state."""
    model, batch = make_converted(make, transformers), batch_of(make)
    train(model, batch)
    model.config.save_pretrained(tmp_path)
    save_model(model, tmp_path / "converted.safetensors")

    loaded = type(model)(transformers.AutoConfig.from_pretrained(tmp_path))
    anact.convert_activations(loaded)
    load_model(loaded, tmp_path / "converted.safetensors", strict=True)
    assert_same_state(loaded, model)
    assert torch.equal(logits_of(loaded, batch), logits_of(model, batch))
