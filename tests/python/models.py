"""Small models with random weights from many packages, and a batch for each."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass(frozen=True)
class Case:
    """How a model is made, and what it is given.

    Attributes:
        package: what the model comes from; "own" for those of this file.
        name: the model's, in its package.
        make: makes the model; its weights come from the random state.
        batch: makes its arguments, a tuple or a dict.
        rounds: the model computes partly in single precision even if it is double.
    """

    package: str
    name: str
    make: Callable[[], nn.Module]
    batch: Callable[[], object]
    rounds: bool = False


def images(size, channels=3):
    return lambda: (torch.randn(2, channels, size, size),)


def features(*shape):
    return lambda: (torch.randn(2, *shape),)


# ---- transformers

TOKENS = 53
SIZES = {
    "vocab_size": TOKENS,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 37,
    "max_position_embeddings": 32,
}
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
LANGUAGE = {**SIZES, **SPECIAL, "num_key_value_heads": 2, "use_cache": False}
EXPERTS = {"num_experts_per_tok": 2, "experts_implementation": "eager"}
GPT = {
    **SPECIAL,
    "vocab_size": TOKENS,
    "n_positions": 32,
    "n_embd": 16,
    "n_layer": 2,
    "n_head": 2,
    "n_inner": 37,
    "rotary_dim": 4,
    "use_cache": False,
}
PICTURE = {**SIZES, "image_size": 16, "patch_size": 4, "num_labels": 3}
TWO_STACKS = {
    **SPECIAL,
    "vocab_size": TOKENS,
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 37,
    "decoder_ffn_dim": 37,
    "max_position_embeddings": 32,
    "decoder_start_token_id": 1,
    "use_cache": False,
}
T5 = {
    **SPECIAL,
    "vocab_size": TOKENS,
    "d_model": 16,
    "d_kv": 8,
    "d_ff": 37,
    "num_layers": 2,
    "num_heads": 2,
    "decoder_start_token_id": 0,
    "use_cache": False,
}
SPEECH = {
    **SIZES,
    "conv_dim": (16, 16),
    "conv_kernel": (10, 3),
    "conv_stride": (5, 2),
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "mask_time_length": 2,
    "num_labels": 3,
}


def tokens():
    return {"input_ids": torch.randint(3, TOKENS, (2, 11))}


def source_and_target():
    return tokens() | {"decoder_input_ids": torch.randint(3, TOKENS, (2, 7))}


def pixels():
    return {"pixel_values": torch.randn(2, 3, 16, 16)}


def pixels_32():
    return {"pixel_values": torch.randn(2, 3, 32, 32)}


def pixels_64():
    return {"pixel_values": torch.randn(2, 3, 64, 64)}


def sound():
    return {"input_values": torch.randn(2, 400)}


def spectrogram():
    return {
        "input_features": torch.randn(2, 8, 32),
        "decoder_input_ids": torch.randint(3, TOKENS, (2, 7)),
    }


def pictures_and_texts():
    return tokens() | {"pixel_values": torch.randn(2, 3, 16, 16)}


def series():
    return {"past_values": torch.randn(2, 24, 3)}


def hugging_face(model, config, settings, batch, rounds=False):
    def make():
        library = importlib.import_module("transformers")
        return getattr(library, model)(getattr(library, config)(**settings))

    return Case("transformers", model, make, batch, rounds)


def clip(prefix):
    def make():
        library = importlib.import_module("transformers")
        config = getattr(library, f"{prefix}Config")(
            text_config={**SIZES, **SPECIAL, "projection_dim": 16},
            vision_config={**PICTURE, "projection_dim": 16},
            projection_dim=16,
        )
        return getattr(library, f"{prefix}Model")(config)

    return Case("transformers", f"{prefix}Model", make, pictures_and_texts)


ENCODERS = [
    hugging_face("BertForMaskedLM", "BertConfig", SIZES, tokens),
    hugging_face("RobertaForMaskedLM", "RobertaConfig", {**SIZES, **SPECIAL}, tokens),
    hugging_face(
        "DistilBertForSequenceClassification",
        "DistilBertConfig",
        {
            "vocab_size": TOKENS,
            "dim": 16,
            "n_layers": 2,
            "n_heads": 2,
            "hidden_dim": 37,
        },
        tokens,
    ),
    hugging_face(
        "AlbertForMaskedLM", "AlbertConfig", {**SIZES, "embedding_size": 8}, tokens
    ),
    hugging_face(
        "ElectraForPreTraining", "ElectraConfig", {**SIZES, "embedding_size": 8}, tokens
    ),
    hugging_face(
        "DebertaV2ForSequenceClassification", "DebertaV2Config", SIZES, tokens
    ),
    hugging_face(
        "ModernBertForMaskedLM",
        "ModernBertConfig",
        {**SIZES, **SPECIAL, "cls_token_id": 1, "sep_token_id": 2},
        tokens,
        rounds=True,
    ),
    hugging_face("FNetForMaskedLM", "FNetConfig", SIZES, tokens),
    hugging_face(
        "XLNetLMHeadModel",
        "XLNetConfig",
        {"vocab_size": TOKENS, "d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 37},
        tokens,
    ),
    hugging_face(
        "SqueezeBertModel",
        "SqueezeBertConfig",
        SIZES | {"embedding_size": 16, "intermediate_size": 32},
        tokens,
    ),
]

DECODERS = [
    hugging_face("GPT2LMHeadModel", "GPT2Config", GPT, tokens),
    hugging_face("GPTJForCausalLM", "GPTJConfig", GPT, tokens, rounds=True),
    hugging_face("GPTNeoXForCausalLM", "GPTNeoXConfig", LANGUAGE, tokens, rounds=True),
    hugging_face("LlamaForCausalLM", "LlamaConfig", LANGUAGE, tokens, rounds=True),
    hugging_face("MistralForCausalLM", "MistralConfig", LANGUAGE, tokens, rounds=True),
    hugging_face(
        "MixtralForCausalLM",
        "MixtralConfig",
        {**LANGUAGE, **EXPERTS, "num_local_experts": 4},
        tokens,
        rounds=True,
    ),
    hugging_face("Qwen3ForCausalLM", "Qwen3Config", LANGUAGE, tokens, rounds=True),
    hugging_face("Gemma2ForCausalLM", "Gemma2Config", LANGUAGE, tokens, rounds=True),
    hugging_face("PhiForCausalLM", "PhiConfig", LANGUAGE, tokens, rounds=True),
    hugging_face(
        "NemotronForCausalLM", "NemotronConfig", LANGUAGE, tokens, rounds=True
    ),
    hugging_face(
        "BloomForCausalLM",
        "BloomConfig",
        {"vocab_size": TOKENS, "hidden_size": 16, "n_layer": 2, "n_head": 2},
        tokens,
        rounds=True,
    ),
    hugging_face(
        "OPTForCausalLM",
        "OPTConfig",
        {**SIZES, **SPECIAL, "ffn_dim": 37, "word_embed_proj_dim": 16},
        tokens,
    ),
    hugging_face("FalconForCausalLM", "FalconConfig", LANGUAGE, tokens, rounds=True),
]

ENCODER_DECODERS = [
    hugging_face("T5ForConditionalGeneration", "T5Config", T5, source_and_target, True),
    hugging_face(
        "MT5ForConditionalGeneration", "MT5Config", T5, source_and_target, True
    ),
    hugging_face(
        "BartForConditionalGeneration", "BartConfig", TWO_STACKS, source_and_target
    ),
    hugging_face("MarianMTModel", "MarianConfig", TWO_STACKS, source_and_target),
]

VISION = [
    hugging_face("ViTForImageClassification", "ViTConfig", PICTURE, pixels),
    hugging_face("BeitForImageClassification", "BeitConfig", PICTURE, pixels),
    hugging_face("Dinov2ForImageClassification", "Dinov2Config", PICTURE, pixels),
    hugging_face(
        "SwinForImageClassification",
        "SwinConfig",
        {
            "image_size": 16,
            "patch_size": 2,
            "embed_dim": 8,
            "depths": [2, 2],
            "num_heads": [2, 2],
            "window_size": 4,
        },
        pixels,
    ),
    hugging_face(
        "ConvNextV2ForImageClassification",
        "ConvNextV2Config",
        {"hidden_sizes": [8, 16], "depths": [1, 2], "num_stages": 2, "patch_size": 2},
        pixels,
    ),
    hugging_face(
        "SegformerForSemanticSegmentation",
        "SegformerConfig",
        {
            "hidden_sizes": [8, 8, 16, 16],
            "depths": [1, 1, 1, 1],
            "num_attention_heads": [1, 1, 2, 2],
            "decoder_hidden_size": 16,
        },
        pixels_64,
    ),
    hugging_face(
        "MobileViTForImageClassification",
        "MobileViTConfig",
        {
            "image_size": 32,
            "hidden_sizes": [8, 12, 16],
            "neck_hidden_sizes": [8, 8, 8, 8, 8, 8, 16],
            "num_attention_heads": 2,
        },
        pixels_64,
    ),
    hugging_face(
        "ResNetForImageClassification",
        "ResNetConfig",
        {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 2]},
        pixels_32,
    ),
    clip("CLIP"),
    clip("Siglip"),
]

SOUND = [
    hugging_face("Wav2Vec2ForSequenceClassification", "Wav2Vec2Config", SPEECH, sound),
    hugging_face("HubertForSequenceClassification", "HubertConfig", SPEECH, sound),
    hugging_face(
        "WhisperForConditionalGeneration",
        "WhisperConfig",
        {
            **TWO_STACKS,
            "num_mel_bins": 8,
            "max_source_positions": 16,
            "max_target_positions": 16,
        },
        spectrogram,
    ),
    hugging_face(
        "ASTForAudioClassification",
        "ASTConfig",
        {
            **SIZES,
            "patch_size": 4,
            "max_length": 16,
            "num_mel_bins": 8,
            "frequency_stride": 4,
            "time_stride": 4,
        },
        lambda: {"input_values": torch.randn(2, 16, 8)},
    ),
]

OTHERS = [
    hugging_face(
        "MambaForCausalLM",
        "MambaConfig",
        {
            "vocab_size": TOKENS,
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "state_size": 4,
            "use_cache": False,
        },
        tokens,
        rounds=True,
    ),
    hugging_face(
        "Mamba2ForCausalLM",
        "Mamba2Config",
        {
            "vocab_size": TOKENS,
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "state_size": 4,
            "num_heads": 4,
            "head_dim": 8,
            "n_groups": 1,
            "chunk_size": 8,
            "use_cache": False,
        },
        tokens,
        rounds=True,
    ),
    hugging_face(
        "PatchTSTForPrediction",
        "PatchTSTConfig",
        {
            "num_input_channels": 3,
            "context_length": 24,
            "prediction_length": 4,
            "patch_length": 4,
            "patch_stride": 4,
            "d_model": 16,
            "num_attention_heads": 2,
            "num_hidden_layers": 2,
            "ffn_dim": 37,
            "loss": "mse",
        },
        series,
    ),
]

# ---- torchvision, in its own widths


def tv(name, size=64, **settings):
    def make():
        library = importlib.import_module("torchvision").models
        return getattr(library, name)(weights=None, num_classes=7, **settings)

    return Case("torchvision", name, make, images(size))


def tv_class(name, cls, **settings):
    def make():
        library = importlib.import_module("torchvision").models
        return getattr(library, cls)(num_classes=7, **settings)

    return Case("torchvision", name, make, images(32))


TORCHVISION = [
    tv("resnet18"),
    tv("squeezenet1_1"),
    tv("mobilenet_v2"),
    tv("mobilenet_v3_small"),
    tv("shufflenet_v2_x0_5"),
    tv("efficientnet_b0"),
    tv("mnasnet0_5"),
    tv("regnet_y_400mf"),
    tv("googlenet", aux_logits=False, init_weights=False),
    tv_class(
        "densenet",
        "DenseNet",
        growth_rate=4,
        block_config=(2, 2, 2),
        num_init_features=8,
    ),
    tv_class(
        "vit",
        "VisionTransformer",
        image_size=32,
        patch_size=8,
        num_layers=2,
        num_heads=2,
        hidden_dim=16,
        mlp_dim=37,
    ),
    tv_class(
        "swin",
        "SwinTransformer",
        patch_size=[2, 2],
        embed_dim=8,
        depths=[2, 2],
        num_heads=[2, 2],
        window_size=[4, 4],
    ),
]

# ---- timm


def timm(name, size=32, **settings):
    def make():
        library = importlib.import_module("timm")
        return library.create_model(name, pretrained=False, num_classes=7, **settings)

    return Case("timm", name, make, images(size))


def timm_class(name, **settings):
    def make():
        library = importlib.import_module("timm").models
        return getattr(library, name)(img_size=32, num_classes=7, **settings)

    return Case("timm", name, make, images(32))


TIMM = [
    timm("test_vit", img_size=32),
    timm("test_vit_relpos", img_size=32),
    timm("test_resnet"),
    timm("test_convnext2"),
    timm("test_efficientnet"),
    timm("test_efficientnet_evos"),
    timm("test_byobnet"),
    timm("test_mambaout"),
    timm("test_nfnet"),
    timm("test_coatnet", 64, img_size=64),
    timm("test_maxvit", 64, img_size=64),
    timm_class("MlpMixer", patch_size=8, embed_dim=16, num_blocks=2),
    timm_class(
        "Eva", patch_size=8, embed_dim=24, depth=2, num_heads=2, swiglu_mlp=True
    ),
    timm_class("Cait", patch_size=8, embed_dim=16, depth=2, num_heads=2),
]

# ---- diffusers


def diffusers(model, settings, batch):
    def make():
        return getattr(importlib.import_module("diffusers"), model)(**settings)

    return Case("diffusers", model, make, batch)


def noisy(size=8, channels=4, **others):
    def batch():
        arguments = {name: make() for name, make in others.items()}
        return {
            "sample": torch.randn(2, channels, size, size),
            "timestep": torch.tensor([3, 30]),
        } | arguments

    return batch


def latents(length, width):
    return lambda: torch.randn(2, length, width)


UNET = {
    "sample_size": 8,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (8, 16),
    "norm_num_groups": 4,
    "layers_per_block": 1,
}
DIFFUSERS = [
    diffusers(
        "UNet2DModel",
        UNET
        | {
            "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
            "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
            "attention_head_dim": 4,
        },
        noisy(),
    ),
    diffusers(
        "UNet2DConditionModel",
        UNET
        | {
            "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
            "cross_attention_dim": 12,
            "attention_head_dim": 4,
        },
        noisy(encoder_hidden_states=latents(5, 12)),
    ),
    diffusers(
        "AutoencoderKL",
        {
            "block_out_channels": (8, 16),
            "down_block_types": ("DownEncoderBlock2D",) * 2,
            "up_block_types": ("UpDecoderBlock2D",) * 2,
            "norm_num_groups": 4,
            "latent_channels": 2,
        },
        images(16),
    ),
    diffusers(
        "VQModel",
        {
            "block_out_channels": (8, 16),
            "down_block_types": ("DownEncoderBlock2D",) * 2,
            "up_block_types": ("UpDecoderBlock2D",) * 2,
            "norm_num_groups": 4,
            "num_vq_embeddings": 8,
        },
        images(16),
    ),
    diffusers(
        "DiTTransformer2DModel",
        {
            "num_attention_heads": 2,
            "attention_head_dim": 8,
            "num_layers": 2,
            "sample_size": 8,
            "num_embeds_ada_norm": 40,
            "norm_num_groups": 4,
        },
        lambda: {
            "hidden_states": torch.randn(2, 4, 8, 8),
            "timestep": torch.tensor([3, 30]),
            "class_labels": torch.tensor([0, 2]),
        },
    ),
    diffusers(
        "SD3Transformer2DModel",
        {
            "sample_size": 8,
            "patch_size": 2,
            "in_channels": 4,
            "num_layers": 2,
            "attention_head_dim": 8,
            "num_attention_heads": 2,
            "joint_attention_dim": 12,
            "caption_projection_dim": 16,
            "pooled_projection_dim": 12,
            "out_channels": 4,
            "pos_embed_max_size": 8,
        },
        lambda: {
            "hidden_states": torch.randn(2, 4, 8, 8),
            "encoder_hidden_states": torch.randn(2, 5, 12),
            "pooled_projections": torch.randn(2, 12),
            "timestep": torch.tensor([3, 30]),
        },
    ),
]

# ---- torch.nn


def torch_nn(name, make, batch):
    return Case("torch.nn", name, make, batch)


def encoder(**settings):
    layer = nn.TransformerEncoderLayer(16, 2, 37, batch_first=True, **settings)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def decoder(**settings):
    return nn.TransformerDecoder(nn.TransformerDecoderLayer(16, 2, 37, **settings), 2)


EVERY = """
    ReLU ReLU6 LeakyReLU ELU SELU CELU GELU SiLU Mish Softplus Tanh Sigmoid LogSigmoid
    Hardswish Hardsigmoid Hardtanh Softsign Softshrink Tanhshrink PReLU RReLU Hardshrink
    GLU
"""


def every_activation():
    """A layer and an activation in turn, of every class that takes one signal."""
    layers = []
    for kind in EVERY.split():
        layers += [nn.Linear(16, 32 if kind == "GLU" else 16), getattr(nn, kind)()]
    return nn.Sequential(*layers, nn.Linear(16, 3))


TORCH_NN = [
    torch_nn("TransformerEncoder-relu", encoder, features(5, 16)),
    torch_nn(
        "TransformerEncoder-gelu-norm_first",
        lambda: encoder(activation=F.gelu, norm_first=True),
        features(5, 16),
    ),
    torch_nn(
        "TransformerDecoder-module",
        lambda: decoder(activation=nn.SiLU()),
        lambda: (torch.randn(4, 2, 16), torch.randn(5, 2, 16)),
    ),
    torch_nn(
        "Transformer",
        lambda: nn.Transformer(16, 2, 1, 1, 37, batch_first=True),
        lambda: (torch.randn(2, 4, 16), torch.randn(2, 5, 16)),
    ),
    torch_nn("Sequential-every-activation", every_activation, features(16)),
    torch_nn(
        "LSTM-and-head",
        lambda: Then(nn.LSTM(6, 8, batch_first=True), nn.ReLU(), nn.Linear(8, 3)),
        features(5, 6),
    ),
]

# ---- Written here


class Then(nn.Module):
    """A recurrent layer, and layers on its states."""

    def __init__(self, recurrent, *head):
        super().__init__()
        self.recurrent = recurrent
        self.head = nn.Sequential(*head)

    def forward(self, x):
        states, _ = self.recurrent(x)
        return self.head(states)


class Residual(nn.Module):
    """Blocks with one activation that works in place, called twice."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(3)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x):
        return self.act(x + self.second(self.act(self.norm(self.first(x)))))


class ReusedInPlace(nn.Module):
    """An activation whose change of its input the shortcut sees."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
        self.inplace, self.act = nn.ReLU(inplace=True), nn.Tanh()

    def forward(self, x):
        x = self.first(x)
        return self.first(self.act(x + self.second(self.inplace(x))))


class Siamese(nn.Module):
    def __init__(self):
        super().__init__()
        self.tower = nn.Sequential(
            nn.Linear(6, 9), nn.GELU(), nn.Linear(9, 9), nn.ELU(0.5), nn.Linear(9, 4)
        )

    def forward(self, one, other):
        return F.cosine_similarity(self.tower(one), self.tower(other))


class UNet(nn.Module):
    def __init__(self, width=6):
        super().__init__()
        self.enter = self.block(3, width)
        self.down = self.block(width, 2 * width)
        self.up = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.leave = self.block(2 * width, width)
        self.head = nn.Conv2d(width, 2, 1)

    @staticmethod
    def block(inputs, outputs):
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1),
            nn.SiLU(inplace=True),
        )

    def forward(self, x):
        x = self.enter(x)
        below = self.up(self.down(F.max_pool2d(x, 2)))
        return torch.sigmoid(self.head(self.leave(torch.cat([x, below], 1))))


class Mixer(nn.Module):
    def __init__(self, tokens=5, width=8):
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(2)])
        self.tokens = nn.Sequential(
            nn.Linear(tokens, 12), nn.GELU(), nn.Linear(12, tokens)
        )
        self.channels = nn.Sequential(
            nn.Linear(width, 12), nn.GELU(), nn.Linear(12, width)
        )

    def forward(self, x):
        x = x + self.tokens(self.norms[0](x).mT).mT
        return x + self.channels(self.norms[1](x))


class Gated(nn.Module):
    """SwiGLU, a highway, squeeze-and-excitation, and attention by softmax over tanh."""

    def __init__(self, width=8):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(width, width) for _ in range(8)])
        self.silu, self.gate, self.tanh = nn.SiLU(), nn.Sigmoid(), nn.Tanh()
        self.excite, self.relu = nn.Hardsigmoid(), nn.ReLU()

    def forward(self, x):
        a, b, c, d, e, f, g, h = self.layers
        x = x + c(self.silu(a(x)) * b(x))
        gate = self.gate(d(x))
        x = gate * F.mish(e(x)) + (1 - gate) * x
        x = x * self.excite(f(self.relu(g(x.mean(1, keepdim=True)))))
        return torch.softmax(self.tanh(h(x)), 1) * x


TABLE = {"elu": F.elu, "made": nn.Softplus()}


class Functional(nn.Module):
    """Activations that stand nowhere: called as functions, methods, and by a table."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(6, 6) for _ in range(7)])

    def forward(self, x):
        a, b, c, d, e, f, g = self.layers
        x = a(x).relu()
        x = torch.tanh(b(x))
        x = TABLE["elu"](c(x))
        x = TABLE["made"](d(x))
        x = nn.Hardswish()(e(x))
        x = f(x)
        x = x * torch.sigmoid(x)
        return g(F.leaky_relu_(x.clone(), 0.3))


class Iterated(nn.Module):
    """One layer applied until the end, as in a deep equilibrium."""

    def __init__(self, steps=5):
        super().__init__()
        self.steps, self.layer, self.act = steps, nn.Linear(6, 6), nn.Tanh()
        self.head, self.spare = nn.Linear(6, 3), nn.ReLU()

    def forward(self, x):
        state = torch.zeros_like(x)
        for _ in range(self.steps):
            state = self.act(self.layer(state) + x)
        return self.head(state)


def mlp():
    return nn.Sequential(
        nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 16), nn.Softplus()
    ).append(nn.Linear(16, 3))


def generator():
    return nn.Sequential(
        nn.ConvTranspose2d(8, 8, 4, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(True),
        nn.ConvTranspose2d(8, 4, 4, 2, 1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(True),
        nn.ConvTranspose2d(4, 3, 4, 2, 1, bias=False),
        nn.Tanh(),
    )


def critic():
    norm = nn.utils.parametrizations.spectral_norm
    return nn.Sequential(
        norm(nn.Conv2d(3, 6, 4, 2, 1)),
        nn.LeakyReLU(0.2, True),
        norm(nn.Conv2d(6, 6, 4, 2, 1)),
        nn.LeakyReLU(0.2, True),
        nn.Flatten(),
        nn.Linear(96, 1),
        nn.Sigmoid(),
    )


def shared():
    """The same module in two places."""
    act = nn.GELU()
    return nn.Sequential(nn.Linear(6, 8), act, nn.Linear(8, 8), act, nn.Linear(8, 2))


OWN = [
    Case("own", "mlp", mlp, features(6)),
    Case("own", "residual", lambda: nn.Sequential(Residual(), Residual()), images(8)),
    Case("own", "reused-in-place", ReusedInPlace, features(6)),
    Case("own", "siamese", Siamese, lambda: (torch.randn(3, 6), torch.randn(3, 6))),
    Case("own", "unet", UNet, images(8)),
    Case("own", "mixer", Mixer, features(5, 8)),
    Case("own", "gated", Gated, features(5, 8)),
    Case("own", "functional", Functional, features(6)),
    Case("own", "iterated", Iterated, features(6)),
    Case("own", "generator", generator, features(8, 1, 1)),
    Case("own", "critic", critic, images(16)),
    Case("own", "shared", shared, features(6)),
]

CASES = [
    *OWN,
    *TORCH_NN,
    *TORCHVISION,
    *TIMM,
    *ENCODERS,
    *DECODERS,
    *ENCODER_DECODERS,
    *VISION,
    *SOUND,
    *OTHERS,
    *DIFFUSERS,
]
