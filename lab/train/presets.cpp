// Settings that belong together. What a preset does not set has the default of Config.

#include <array>
#include <stdexcept>

#include "math/names.h"
#include "train/config.h"

namespace anact::train {
namespace {

constexpr std::array kPresets = std::to_array<Preset>({
    {"digits", "MLP of 20 layers on the handwritten digits: a minute on two cores", R"(
[experiment]
arms = ["silu", "nsilu", "relu", "nrelu", "elu", "nelu", "selu", "silu-gain", "silu-batchnorm"]
seeds = 3
[training]
epochs = 12
[output]
save_weights = false
tensorboard = false
)"},
    {"mnist-mlp", "MLP of 8 layers on MNIST: minutes on two cores", R"(
[experiment]
arms = ["silu", "nsilu", "relu", "nrelu"]
[data]
name = "mnist"
[model]
name = "mlp"
depth = 8
width = 256
[training]
epochs = 10
batch_size = 128
lr = 0.05
schedule = "cosine"
weight_decay = 0.0001
clip_norm = 1.0
)"},
    {"fashion-mnist-cnn", "plain CNN without BatchNorm on Fashion-MNIST: minutes on two cores", R"(
[experiment]
arms = ["silu", "nsilu"]
[data]
name = "fashion-mnist"
[augmentation]
crop_padding = 2
flip = true
[model]
name = "cnn"
widths = [16, 32, 64]
[training]
epochs = 10
batch_size = 64
lr = 0.05
schedule = "cosine"
warmup_epochs = 0.5
weight_decay = 0.0005
clip_norm = 1.0
channels_last = true
[output]
layer_samples = 128
)"},
    {"cifar100-cnn", "plain CNN without BatchNorm on CIFAR-100: an hour on two cores", R"(
[experiment]
arms = ["silu", "nsilu"]
seeds = 3
[data]
name = "cifar100"
[augmentation]
crop_padding = 4
flip = true
[model]
name = "cnn"
widths = [32, 64, 128]
[training]
epochs = 10
batch_size = 64
lr = 0.05
schedule = "cosine"
warmup_epochs = 0.5
weight_decay = 0.0005
clip_norm = 1.0
channels_last = true
[output]
layer_samples = 128
)"},
    {"tinyimagenet-cnn", "plain CNN without BatchNorm on Tiny ImageNet, also a subset of its classes", R"(
[experiment]
arms = ["silu", "nsilu"]
[data]
name = "tiny-imagenet"
[augmentation]
crop_padding = 8
flip = true
[model]
name = "cnn"
widths = [32, 64, 128, 256]
[training]
epochs = 20
batch_size = 64
lr = 0.05
schedule = "cosine"
warmup_epochs = 0.5
weight_decay = 0.0005
clip_norm = 1.0
channels_last = true
[output]
layer_samples = 64
)"},
    {"cifar10-resnet20", "ResNet-20 on CIFAR-10 as in He et al. (2016): for a GPU", R"(
[experiment]
arms = ["relu", "nrelu", "silu", "nsilu"]
seeds = 3
[data]
name = "cifar10"
[augmentation]
crop_padding = 4
flip = true
[model]
name = "resnet20"
[training]
epochs = 164
batch_size = 128
lr = 0.1
schedule = "step"
milestones = [82, 123]
weight_decay = 0.0001
channels_last = true
[output]
layer_samples = 64
)"},
    {"cifar100-resnet50", "the paper's ResNet-50 on CIFAR-100, Swish against NSwish: for a GPU", R"(
[experiment]
arms = ["silu", "nsilu"]
seeds = 3
[data]
name = "cifar100"
[augmentation]
crop_padding = 4
flip = true
[model]
name = "resnet50"
stem = "cifar"
[training]
epochs = 200
batch_size = 128
lr = 0.1
schedule = "cosine"
warmup_epochs = 1.0
weight_decay = 0.0005
precision = "bfloat16"
channels_last = true
workers = 4
[output]
layer_samples = 64
)"},
    {"tinyimagenet-resnet50", "the paper's ResNet-50 on Tiny ImageNet, Swish against NSwish: for a GPU", R"(
[experiment]
arms = ["silu", "nsilu"]
seeds = 3
[data]
name = "tiny-imagenet"
[augmentation]
crop_padding = 8
flip = true
[model]
name = "resnet50"
stem = "tiny-imagenet"
[training]
epochs = 100
batch_size = 128
lr = 0.1
schedule = "cosine"
warmup_epochs = 1.0
weight_decay = 0.0005
precision = "bfloat16"
channels_last = true
workers = 4
[output]
layer_samples = 64
)"},
});

}  // namespace

std::span<const Preset> presets() { return kPresets; }

void apply_preset(Config& config, std::string_view name) {
  for (const auto& preset : presets()) {
    if (preset.name == name) {
      apply_toml(config, preset.toml, preset.name);
      config.preset = name;
      return;
    }
  }
  throw std::invalid_argument(unknown_choice("preset", name, names_of(presets())));
}

}  // namespace anact::train
