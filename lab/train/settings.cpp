// The table of settings, and their values by flags.

#include <algorithm>
#include <array>
#include <stdexcept>

#include "text/words.h"
#include "train/config.h"

namespace anact::train {
namespace {

bool always(const Config& /*config*/) { return true; }
bool is_mlp(const Config& config) { return config.model == "mlp"; }
bool is_cnn(const Config& config) { return config.model == "cnn"; }
bool is_resnet(const Config& config) { return config.model.starts_with("resnet"); }
bool is_plain(const Config& config) { return !is_resnet(config); }
bool is_drawn(const Config& config) {
  return config.train_samples > 0 || config.test_samples > 0 || config.validation > 0;
}
bool is_sgd(const Config& config) { return config.optimizer == "sgd"; }
bool is_adamw(const Config& config) { return config.optimizer == "adamw"; }
bool by_steps(const Config& config) { return config.schedule == "step"; }

constexpr std::array kSettings = std::to_array<Setting>({
    {"experiment", "preset", "--preset", &Config::preset, "The preset that the other settings change",
     [](const Config& c) { return !c.preset.empty(); }},
    {"experiment", "arms", "--arms", &Config::arms,
     "What to train, such as silu nsilu 'nrelu:solution=exact:lr=0.01'; see docs/compare.md", always},
    {"experiment", "seeds", "--seeds", &Config::seeds, "Paired runs of each arm", always},
    {"experiment", "first_seed", "--first-seed", &Config::first_seed, "Seed of the first run", always},

    {"data", "name", "--data", &Config::data, "Data set, one of `anact data list`", always},
    {"data", "path", "--data-path", &Config::data_path, "Its folder, for the digits its file; empty: looked for",
     [](const Config& c) { return !c.data_path.empty(); }},
    {"data", "image_size", "--image-size", &Config::image_size,
     "Side of the images, which are shrunk to it by area; 0: the set's own, for `folder` 64",
     [](const Config& c) { return c.image_size > 0 || c.data == "folder"; }},
    {"data", "train_samples", "--train-samples", &Config::train_samples,
     "Train on so many, drawn at random with each class's share; 0: on all",
     [](const Config& c) { return c.train_samples > 0; }},
    {"data", "test_samples", "--test-samples", &Config::test_samples, "Test on so many, drawn likewise; 0: on all",
     [](const Config& c) { return c.test_samples > 0; }},
    {"data", "validation", "--validation", &Config::validation,
     "Share of the training images that is split off, for choices; 0: none",
     [](const Config& c) { return c.validation > 0; }},
    {"data", "subset_seed", "--subset-seed", &Config::subset_seed, "Seed of these draws", is_drawn},
    {"data", "input_scale", "--input-scale", &Config::input_scale, "What the standardized inputs are multiplied by",
     [](const Config& c) { return c.input_scale != 1; }},
    {"data", "input_shift", "--input-shift", &Config::input_shift, "What is then added to them, in deviations",
     [](const Config& c) { return c.input_shift != 0; }},
    {"data", "relabel_after", "--relabel-after", &Config::relabel_after,
     "After so many epochs each class takes the next one's label; 0: never",
     [](const Config& c) { return c.relabel_after > 0; }},

    {"augmentation", "crop_padding", "--crop-padding", &Config::crop_padding,
     "Random crop out of the image with so many pixels around it", [](const Config& c) { return c.crop_padding != 0; }},
    {"augmentation", "flip", "--flip", &Config::flip, "Flip left to right, one time in two",
     [](const Config& c) { return c.flip; }},
    {"augmentation", "resized_crop", "--resized-crop", &Config::resized_crop, "Random crop scaled to the image's size",
     [](const Config& c) { return c.resized_crop; }},
    {"augmentation", "erasing", "--erasing", &Config::erasing, "Probability of erasing a random rectangle",
     [](const Config& c) { return c.erasing != 0; }},
    {"augmentation", "mixup", "--mixup", &Config::mixup, "Mixup with this parameter; 0: off",
     [](const Config& c) { return c.mixup != 0; }},
    {"augmentation", "cutmix", "--cutmix", &Config::cutmix, "CutMix with this parameter; 0: off",
     [](const Config& c) { return c.cutmix != 0; }},

    {"model", "name", "--model", &Config::model, "Network, one of `anact models`", always},
    {"model", "depth", "--depth", &Config::depth, "mlp: hidden layers", is_mlp},
    {"model", "width", "--width", &Config::width, "mlp: units of each hidden layer", is_mlp},
    {"model", "widths", "--widths", &Config::widths, "cnn: channels of each stage", is_cnn},
    {"model", "blocks", "--blocks", &Config::blocks, "cnn: convolutions to a stage", is_cnn},
    {"model", "batch_norm", "--batch-norm", &Config::batch_norm, "mlp, cnn: BatchNorm before each activation",
     is_plain},
    {"model", "stem", "--stem", &Config::stem, "resnet18, 34, 50: cifar, tiny-imagenet or imagenet", is_resnet},
    {"model", "weight_scale", "--weight-scale", &Config::weight_scale,
     "What the initial weights are multiplied by, those of the last layer excepted",
     [](const Config& c) { return c.weight_scale != 1; }},
    {"model", "weights", "--weights", &Config::weights, "A safetensors file to begin from, or a checkpoint",
     [](const Config& c) { return !c.weights.empty(); }},

    {"training", "epochs", "--epochs", &Config::epochs, "Passes over the training samples; 0 only evaluates", always},
    {"training", "steps", "--steps", &Config::steps, "End after so many steps, if not earlier; 0: after all epochs",
     [](const Config& c) { return c.steps > 0; }},
    {"training", "batch_size", "--batch-size", &Config::batch_size, "Samples to a step", always},
    {"training", "accumulate", "--accumulate", &Config::accumulate, "Parts in which a step's gradient is computed",
     [](const Config& c) { return c.accumulate > 1; }},
    {"training", "optimizer", "--optimizer", &Config::optimizer, "sgd or adamw", always},
    {"training", "lr", "--lr", &Config::learning_rate, "Learning rate of the arms that set none", always},
    {"training", "momentum", "--momentum", &Config::momentum, "sgd: momentum", is_sgd},
    {"training", "nesterov", "--nesterov", &Config::nesterov, "sgd: Nesterov's momentum", is_sgd},
    {"training", "beta1", "--beta1", &Config::beta1, "adamw: decay of the first moment", is_adamw},
    {"training", "beta2", "--beta2", &Config::beta2, "adamw: decay of the second moment", is_adamw},
    {"training", "eps", "--eps", &Config::eps, "adamw: added to the denominator", is_adamw},
    {"training", "weight_decay", "--weight-decay", &Config::weight_decay, "Weight decay", always},
    {"training", "decay_all", "--decay-all", &Config::decay_all, "Of biases, norms and alpha too",
     [](const Config& c) { return c.weight_decay > 0; }},
    {"training", "schedule", "--schedule", &Config::schedule, "constant, cosine, step or one-cycle", always},
    {"training", "warmup_epochs", "--warmup-epochs", &Config::warmup_epochs, "The rate rises from 0 for so long",
     [](const Config& c) { return c.warmup_epochs > 0; }},
    {"training", "milestones", "--milestones", &Config::milestones, "step: epochs after which the rate falls",
     by_steps},
    {"training", "gamma", "--gamma", &Config::gamma, "step: what the rate is multiplied by", by_steps},
    {"training", "label_smoothing", "--label-smoothing", &Config::label_smoothing, "Share given to all classes alike",
     [](const Config& c) { return c.label_smoothing > 0; }},
    {"training", "clip_norm", "--clip-norm", &Config::clip_norm, "Largest norm of the gradient; 0: any",
     [](const Config& c) { return c.clip_norm > 0; }},
    {"training", "precision", "--precision", &Config::precision, "float32, or bfloat16 by autocast", always},
    {"training", "channels_last", "--channels-last", &Config::channels_last, "Images as height x width x channels",
     always},
    {"training", "device", "--device", &Config::device, "cpu or cuda", always},
    {"training", "threads", "--threads", &Config::threads, "Threads that compute; 0: as many as cores", always},
    {"training", "workers", "--workers", &Config::workers, "Threads that prepare batches; 0: none besides", always},

    {"output", "checkpoint_epochs", "--checkpoint-epochs", &Config::checkpoint_epochs,
     "Checkpoint after so many epochs; 0: never", always},
    {"output", "checkpoint_minutes", "--checkpoint-minutes", &Config::checkpoint_minutes,
     "Checkpoint after so many minutes; 0: never", always},
    {"output", "keep", "--keep", &Config::keep, "Checkpoints of a run that are kept",
     [](const Config& c) { return c.checkpoint_epochs > 0 || c.checkpoint_minutes > 0; }},
    {"output", "save_weights", "--save-weights", &Config::save_weights,
     "Keep the last and the best weights of each run", always},
    {"output", "layer_samples", "--layer-samples", &Config::layer_samples,
     "Samples on which the layers are measured after each epoch; 0: not", always},
    {"output", "tensorboard", "--tensorboard", &Config::tensorboard, "Write event files for TensorBoard", always},
});

template <class Number>
Number parse_number(std::string_view text, const char* what) {
  const auto value = text::number<Number>(text);
  if (!value) throw std::invalid_argument("expected " + std::string(what) + ", found '" + std::string(text) + "'");
  return *value;
}

void parse_value(const std::string& text, std::string& value) { value = text; }
void parse_value(const std::string& text, std::int64_t& value) {
  value = parse_number<std::int64_t>(text, "a whole number");
}
void parse_value(const std::string& text, double& value) { value = parse_number<double>(text, "a number"); }
// A flag alone is on.
void parse_value(const std::string& text, bool& value) {
  if (!text.empty() && text != "on" && text != "off") {
    throw std::invalid_argument("expected on or off, found '" + text + "'");
  }
  value = text != "off";
}

}  // namespace

data::Augmentation Config::augmentation() const {
  return {.crop_padding = crop_padding,
          .flip = flip,
          .resized_crop = resized_crop,
          .erasing = erasing,
          .mixup = mixup,
          .cutmix = cutmix};
}

std::span<const Setting> settings() { return kSettings; }

void set(Config& config, const Setting& setting, const std::vector<std::string>& values) {
  try {
    std::visit(
        [&](auto member) {
          auto& value = config.*member;
          using Value = std::remove_reference_t<decltype(value)>;
          if constexpr (std::is_same_v<Value, std::vector<std::string>> ||
                        std::is_same_v<Value, std::vector<std::int64_t>>) {
            value.clear();
            for (const auto& text : values) parse_value(text, value.emplace_back());
          } else {
            parse_value(values.back(), value);
          }
        },
        setting.member);
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(std::string(setting.flag) + ": " + error.what());
  }
}

std::vector<std::string> differences(const Config& there, const Config& here) {
  std::vector<std::string> result;
  for (const auto& setting : kSettings) {
    const auto old = to_text(there, setting), now = to_text(here, setting);
    if (old == now) continue;
    std::string text(setting.name);
    text.append(" is ").append(old).append(" there and ").append(now).append(" here");
    result.push_back(std::move(text));
  }
  return result;
}

}  // namespace anact::train
