// The configuration of a training: one table of settings, from which TOML files, flags and documents are made.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "data/augmentation.h"
#include "train/arm.h"

namespace anact::train {

// Members are described in settings(); those that a preset does not set have the values here.
struct Config {
  // [experiment]
  std::string preset;
  std::vector<std::string> arms{"silu", "nsilu"};
  std::int64_t seeds = 1;
  std::int64_t first_seed = 0;
  // [data]
  std::string data = "digits";
  std::string data_path;
  std::int64_t image_size = 0;
  std::int64_t train_samples = 0;
  std::int64_t test_samples = 0;
  double validation = 0;
  std::int64_t subset_seed = 0;
  double input_scale = 1;
  double input_shift = 0;
  std::int64_t relabel_after = 0;
  // [augmentation]
  std::int64_t crop_padding = 0;
  bool flip = false;
  bool resized_crop = false;
  double erasing = 0;
  double mixup = 0;
  double cutmix = 0;
  // [model]
  std::string model = "mlp";
  std::int64_t depth = 20;
  std::int64_t width = 128;
  std::vector<std::int64_t> widths{32, 64, 128};
  std::int64_t blocks = 2;
  bool batch_norm = false;
  std::string stem = "cifar";
  double weight_scale = 1;
  std::string weights;
  // [training]
  std::int64_t epochs = 12;
  std::int64_t steps = 0;
  std::int64_t batch_size = 64;
  std::int64_t accumulate = 1;
  std::string optimizer = "sgd";
  double learning_rate = 0.001;
  double momentum = 0.9;
  bool nesterov = false;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;
  bool decay_all = false;
  std::string schedule = "constant";
  double warmup_epochs = 0;
  std::vector<std::int64_t> milestones;
  double gamma = 0.1;
  double label_smoothing = 0;
  double clip_norm = 0;
  std::string precision = "float32";
  bool channels_last = false;
  std::string device = "cpu";
  std::int64_t threads = 0;
  std::int64_t workers = 1;
  // [output]
  std::int64_t checkpoint_epochs = 0;
  double checkpoint_minutes = 5;
  std::int64_t keep = 2;
  bool save_weights = true;
  std::int64_t layer_samples = 256;
  bool tensorboard = true;

  bool operator==(const Config&) const = default;

  [[nodiscard]] data::Augmentation augmentation() const;
};

using Member = std::variant<std::string Config::*, std::int64_t Config::*, double Config::*, bool Config::*,
                            std::vector<std::string> Config::*, std::vector<std::int64_t> Config::*>;

struct Setting {
  std::string_view section;
  std::string_view name;  // in its section of the TOML file
  std::string_view flag;  // --…
  Member member;
  std::string_view help;
  bool (*applies)(const Config&);  // whether it changes anything under the others; config.json has those that do
};

// Every setting, section by section in the file's order.
[[nodiscard]] std::span<const Setting> settings();

// The setting's value as TOML: 0.1, "cosine", [32, 64].
[[nodiscard]] std::string to_text(const Config& config, const Setting& setting);

// Sets one setting from what followed its flag: one text a value. Throws std::invalid_argument that names the flag.
void set(Config& config, const Setting& setting, const std::vector<std::string>& values);

// Every setting, in TOML; `parse_config` of it gives `config` again.
[[nodiscard]] std::string to_toml(const Config& config);

// Takes over what the text sets: first the preset it names, then its own settings. Throws std::invalid_argument that
// names `source`, the line and what was expected, and the nearest settings for one that there is not.
void apply_toml(Config& config, std::string_view text, std::string_view source);

struct Preset {
  std::string_view name;
  std::string_view title;
  std::string_view toml;
};
[[nodiscard]] std::span<const Preset> presets();

// Takes over the settings of a preset. Throws std::invalid_argument with the nearest names for one that there is not.
void apply_preset(Config& config, std::string_view name);

// Throws std::invalid_argument that names the setting and its range, or the arm and what is wrong in it.
void validate(const Config& config);

// The settings that differ, as "lr is 0.1 there and 0.2 here", for a message.
[[nodiscard]] std::vector<std::string> differences(const Config& there, const Config& here);

}  // namespace anact::train
