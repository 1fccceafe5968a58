#include "train/config.h"

#include <ATen/Context.h>
#include <toml++/toml.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <sstream>
#include <stdexcept>

#include "anact/activation.h"
#include "data/sets.h"
#include "models/catalogue.h"
#include "text/words.h"
#include "train/schedule.h"

namespace anact::train {
namespace {

constexpr std::array kSettings = std::to_array<Setting>({
    {"experiment", "preset", "--preset", &Config::preset, "The preset that the other settings change"},
    {"experiment", "arms", "--arms", &Config::arms,
     "What to train, such as silu nsilu 'nrelu:solution=exact:lr=0.01'; see docs/compare.md"},
    {"experiment", "seeds", "--seeds", &Config::seeds, "Paired runs of each arm"},
    {"experiment", "first_seed", "--first-seed", &Config::first_seed, "Seed of the first run"},

    {"data", "name", "--data", &Config::data, "Data set, one of `anact data list`"},
    {"data", "path", "--data-path", &Config::data_path, "Its folder, for the digits its file; empty: looked for"},
    {"data", "image_size", "--image-size", &Config::image_size, "Side of the images of the set `folder`, in pixels"},
    {"data", "train_samples", "--train-samples", &Config::train_samples, "Use the first ones only; 0: all"},
    {"data", "test_samples", "--test-samples", &Config::test_samples, "Use the first ones only; 0: all"},

    {"augmentation", "crop_padding", "--crop-padding", &Config::crop_padding,
     "Random crop out of the image with so many pixels around it"},
    {"augmentation", "flip", "--flip", &Config::flip, "Flip left to right, one time in two"},
    {"augmentation", "resized_crop", "--resized-crop", &Config::resized_crop, "Random crop scaled to the image's size"},
    {"augmentation", "erasing", "--erasing", &Config::erasing, "Probability of erasing a random rectangle"},
    {"augmentation", "mixup", "--mixup", &Config::mixup, "Mixup with this parameter; 0: off"},
    {"augmentation", "cutmix", "--cutmix", &Config::cutmix, "CutMix with this parameter; 0: off"},

    {"model", "name", "--model", &Config::model, "Network, one of `anact models`"},
    {"model", "depth", "--depth", &Config::depth, "mlp: hidden layers"},
    {"model", "width", "--width", &Config::width, "mlp: units of each hidden layer"},
    {"model", "widths", "--widths", &Config::widths, "cnn: channels of each stage"},
    {"model", "blocks", "--blocks", &Config::blocks, "cnn: convolutions to a stage"},
    {"model", "batch_norm", "--batch-norm", &Config::batch_norm, "mlp, cnn: BatchNorm before each activation"},
    {"model", "stem", "--stem", &Config::stem, "resnet18, 34, 50: cifar, tiny-imagenet or imagenet"},
    {"model", "weights", "--weights", &Config::weights, "A safetensors file to begin from, or a checkpoint"},

    {"training", "epochs", "--epochs", &Config::epochs, "Passes over the training samples; 0 only evaluates"},
    {"training", "steps", "--steps", &Config::steps, "End after so many steps, if not earlier; 0: after all epochs"},
    {"training", "batch_size", "--batch-size", &Config::batch_size, "Samples to a step"},
    {"training", "accumulate", "--accumulate", &Config::accumulate, "Parts in which a step's gradient is computed"},
    {"training", "optimizer", "--optimizer", &Config::optimizer, "sgd or adamw"},
    {"training", "lr", "--lr", &Config::learning_rate, "Learning rate of the arms that set none"},
    {"training", "momentum", "--momentum", &Config::momentum, "sgd: momentum"},
    {"training", "nesterov", "--nesterov", &Config::nesterov, "sgd: Nesterov's momentum"},
    {"training", "beta1", "--beta1", &Config::beta1, "adamw: decay of the first moment"},
    {"training", "beta2", "--beta2", &Config::beta2, "adamw: decay of the second moment"},
    {"training", "eps", "--eps", &Config::eps, "adamw: added to the denominator"},
    {"training", "weight_decay", "--weight-decay", &Config::weight_decay, "Weight decay"},
    {"training", "decay_all", "--decay-all", &Config::decay_all, "Of biases, norms and alpha too"},
    {"training", "schedule", "--schedule", &Config::schedule, "constant, cosine, step or one-cycle"},
    {"training", "warmup_epochs", "--warmup-epochs", &Config::warmup_epochs, "The rate rises from 0 for so long"},
    {"training", "milestones", "--milestones", &Config::milestones, "step: epochs after which the rate falls"},
    {"training", "gamma", "--gamma", &Config::gamma, "step: what the rate is multiplied by"},
    {"training", "label_smoothing", "--label-smoothing", &Config::label_smoothing, "Share given to all classes alike"},
    {"training", "clip_norm", "--clip-norm", &Config::clip_norm, "Largest norm of the gradient; 0: any"},
    {"training", "precision", "--precision", &Config::precision, "float32, or bfloat16 by autocast"},
    {"training", "channels_last", "--channels-last", &Config::channels_last, "Images as height x width x channels"},
    {"training", "device", "--device", &Config::device, "cpu or cuda"},
    {"training", "threads", "--threads", &Config::threads, "Threads that compute; 0: as many as cores"},
    {"training", "workers", "--workers", &Config::workers, "Threads that prepare batches; 0: none besides"},

    {"output", "checkpoint_epochs", "--checkpoint-epochs", &Config::checkpoint_epochs,
     "Checkpoint after so many epochs; 0: never"},
    {"output", "checkpoint_minutes", "--checkpoint-minutes", &Config::checkpoint_minutes,
     "Checkpoint after so many minutes; 0: never"},
    {"output", "keep", "--keep", &Config::keep, "Checkpoints of a run that are kept"},
    {"output", "save_weights", "--save-weights", &Config::save_weights,
     "Keep the last and the best weights of each run"},
    {"output", "layer_samples", "--layer-samples", &Config::layer_samples,
     "Samples on which the layers are measured after each epoch; 0: not"},
    {"output", "tensorboard", "--tensorboard", &Config::tensorboard, "Write event files for TensorBoard"},
});

std::string did_you_mean(std::string_view text, const std::vector<std::string_view>& candidates) {
  const auto names = nearest_names(text, candidates);
  return names.empty() ? "" : "; did you mean " + text::join(names);
}

// --- TOML
// -------------------------------------------------------------------------------------------------------------

// The shortest text that reads as the same double.
std::string number_text(double value) {
  auto text = text::shortest(value);
  if (std::isfinite(value) && text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

std::string quoted(const std::string& text) {
  std::ostringstream stream;
  stream << toml::toml_formatter(toml::value(text), toml::toml_formatter::default_flags &
                                                        ~toml::format_flags::allow_literal_strings &
                                                        ~toml::format_flags::allow_multi_line_strings);
  return stream.str();
}

template <class Value>
std::string value_text(const Value& value) {
  if constexpr (std::is_same_v<Value, bool>) {
    return value ? "true" : "false";
  } else if constexpr (std::is_same_v<Value, double>) {
    return number_text(value);
  } else if constexpr (std::is_same_v<Value, std::int64_t>) {
    return std::to_string(value);
  } else if constexpr (std::is_same_v<Value, std::string>) {
    return quoted(value);
  } else {
    std::string text;
    for (const auto& item : value) text.append(text.empty() ? "" : ", ").append(value_text(item));
    return "[" + text + "]";
  }
}

// What a TOML node is expected to be, in words.
template <class Value>
constexpr const char* expected() {
  if constexpr (std::is_same_v<Value, bool>) {
    return "true or false";
  } else if constexpr (std::is_same_v<Value, double>) {
    return "a number";
  } else if constexpr (std::is_same_v<Value, std::int64_t>) {
    return "a whole number";
  } else if constexpr (std::is_same_v<Value, std::string>) {
    return "a text";
  } else if constexpr (std::is_same_v<Value, std::vector<std::string>>) {
    return "an array of texts";
  } else {
    return "an array of whole numbers";
  }
}

// Whether the node is of the type; takes its value over if so.
template <class Value>
bool take(const toml::node& node, Value& value) {
  if constexpr (std::is_same_v<Value, double>) {
    const auto number = node.is_number() ? node.value<double>() : std::nullopt;
    if (number) value = *number;
    return number.has_value();
  } else if constexpr (std::is_same_v<Value, bool> || std::is_same_v<Value, std::int64_t> ||
                       std::is_same_v<Value, std::string>) {
    const auto exact = node.value_exact<Value>();
    if (exact) value = *exact;
    return exact.has_value();
  } else {
    const auto* array = node.as_array();
    if (array == nullptr) return false;
    Value items;
    for (const auto& item : *array) {
      if (!take(item, items.emplace_back())) return false;
    }
    value = std::move(items);
    return true;
  }
}

[[noreturn]] void fail_at(std::string_view source, const toml::source_region& place, const std::string& what) {
  throw std::invalid_argument("'" + std::string(source) + "', line " + std::to_string(place.begin.line) + ", column " +
                              std::to_string(place.begin.column) + ": " + what);
}

const Setting* find_setting(std::string_view section, std::string_view name) {
  const auto found = std::ranges::find_if(
      kSettings, [&](const Setting& setting) { return setting.section == section && setting.name == name; });
  return found == kSettings.end() ? nullptr : &*found;
}

// --- Flags
// ------------------------------------------------------------------------------------------------------------

template <class Number>
Number parse_number(std::string_view text, const char* what) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    throw std::invalid_argument("expected " + std::string(what) + ", found '" + std::string(text) + "'");
  }
  return value;
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

// --- Checks
// -----------------------------------------------------------------------------------------------------------

// How a message calls a setting: "batch size".
std::string spoken(const Setting& setting) {
  std::string text(setting.flag.substr(2));
  std::ranges::replace(text, '-', ' ');
  return text == "lr" ? "learning rate" : text;
}

template <class Value>
std::string plain(const Value& value) {
  if constexpr (std::is_same_v<Value, double>) {
    std::ostringstream text;
    text << value;
    return text.str();
  } else {
    return std::to_string(value);
  }
}

class Checker {
 public:
  explicit Checker(const Config& config) : config_(config) {}

  void whole(std::int64_t Config::*member, std::int64_t least, std::int64_t most) const {
    const auto value = config_.*member;
    if (value >= least && value <= most) return;
    refuse(name_of(member), plain(value), "from " + std::to_string(least) + " to " + std::to_string(most));
  }
  // `good` must be false for NaN.
  void number(double Config::*member, bool good, const char* range) const {
    if (!good || !std::isfinite(config_.*member)) refuse(name_of(member), plain(config_.*member), range);
  }
  void one_of(std::string Config::*member, const std::vector<std::string_view>& names) const {
    const auto& value = config_.*member;
    if (std::ranges::find(names, value) != names.end()) return;
    throw std::invalid_argument(name_of(member) + " is '" + value + "'" + did_you_mean(value, names) + "; there are " +
                                text::join(names));
  }

 private:
  [[noreturn]] static void refuse(const std::string& name, const std::string& value, const std::string& range) {
    throw std::invalid_argument(name + " is " + value + "; it must be " + range);
  }
  template <class Value>
  static std::string name_of(Value Config::*member) {
    for (const auto& setting : kSettings) {
      if (const auto* other = std::get_if<Value Config::*>(&setting.member); other != nullptr && *other == member) {
        return spoken(setting);
      }
    }
    throw std::logic_error("a member without a setting");
  }

  const Config& config_;
};

template <class Infos>
std::vector<std::string_view> names_of(const Infos& infos) {
  std::vector<std::string_view> names;
  for (const auto& info : infos) names.push_back(info.name);
  return names;
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

std::string to_text(const Config& config, const Setting& setting) {
  return std::visit([&](auto member) { return value_text(config.*member); }, setting.member);
}

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

std::string to_toml(const Config& config) {
  std::string text;
  std::string_view section;
  for (const auto& setting : kSettings) {
    if (setting.section != section) {
      section = setting.section;
      text.append(text.empty() ? "[" : "\n[").append(section).append("]\n");
    }
    std::string line(setting.name);
    line.append(" = ").append(to_text(config, setting));
    line.append(line.size() < 32 ? 32 - line.size() : 1, ' ').append("# ").append(setting.help).append("\n");
    text += line;
  }
  return text;
}

void apply_toml(Config& config, std::string_view text, std::string_view source) {
  toml::table file;
  try {
    file = toml::parse(text);
  } catch (const toml::parse_error& error) {
    fail_at(source, error.source(), std::string(error.description()));
  }
  if (const auto preset = file["experiment"]["preset"].value<std::string>(); preset && !preset->empty()) {
    try {
      apply_preset(config, *preset);
    } catch (const std::invalid_argument& error) {
      fail_at(source, file["experiment"]["preset"].node()->source(), error.what());
    }
  }
  std::vector<std::string_view> sections;
  for (const auto& setting : kSettings) {
    if (sections.empty() || sections.back() != setting.section) sections.push_back(setting.section);
  }
  for (const auto& [section, content] : file) {
    const auto* table = content.as_table();
    if (table == nullptr || std::ranges::find(sections, section.str()) == sections.end()) {
      fail_at(source, content.source(),
              "unknown section '" + std::string(section.str()) + "'" + did_you_mean(section.str(), sections) +
                  "; there are " + text::join(sections));
    }
    for (const auto& [name, node] : *table) {
      const auto* setting = find_setting(section.str(), name.str());
      if (setting == nullptr) {
        std::vector<std::string_view> names;
        for (const auto& other : kSettings) {
          if (other.section == section.str()) names.push_back(other.name);
        }
        fail_at(source, node.source(),
                "unknown setting '" + std::string(name.str()) + "'" + did_you_mean(name.str(), names) + "; [" +
                    std::string(section.str()) + "] has " + text::join(names));
      }
      std::visit(
          [&, &node = node, &name = name](auto member) {
            using Value = std::remove_reference_t<decltype(config.*member)>;
            if (!take(node, config.*member)) {
              fail_at(source, node.source(), std::string(name.str()) + ": expected " + expected<Value>());
            }
          },
          setting->member);
    }
  }
}

void apply_preset(Config& config, std::string_view name) {
  for (const auto& preset : presets()) {
    if (preset.name == name) {
      apply_toml(config, preset.toml, preset.name);
      config.preset = name;
      return;
    }
  }
  const auto names = names_of(presets());
  throw std::invalid_argument("unknown preset '" + std::string(name) + "'" + did_you_mean(name, names) +
                              "; there are " + text::join(names));
}

void validate(const Config& config) {
  const Checker check(config);
  check.whole(&Config::seeds, 1, 10000);
  check.whole(&Config::first_seed, 0, 1000000000);
  check.one_of(&Config::data, names_of(data::sets()));
  check.whole(&Config::image_size, 8, 1024);
  check.whole(&Config::train_samples, 0, 1000000000);
  check.whole(&Config::test_samples, 0, 1000000000);
  check.one_of(&Config::model, names_of(models::networks()));
  check.whole(&Config::depth, 1, 10000);
  check.whole(&Config::width, 1, 100000);
  check.whole(&Config::blocks, 1, 1000);
  for (const auto width : config.widths) {
    if (width < 1 || width > 100000) {
      throw std::invalid_argument("widths has " + std::to_string(width) + "; each must be from 1 to 100000");
    }
  }
  if (config.widths.empty()) throw std::invalid_argument("widths is empty; it must have a width for each stage");
  (void)models::parse_stem(config.stem);
  check.whole(&Config::epochs, 0, 1000000);
  check.whole(&Config::steps, 0, 1000000000);
  check.whole(&Config::batch_size, 2, 1000000);
  check.whole(&Config::accumulate, 1, config.batch_size / 2);
  check.one_of(&Config::optimizer, {"sgd", "adamw"});
  check.number(&Config::learning_rate, config.learning_rate > 0, "positive and finite");
  check.number(&Config::momentum, config.momentum >= 0 && config.momentum < 1, "in [0, 1)");
  if (config.nesterov && config.momentum == 0) {
    throw std::invalid_argument("nesterov is on and momentum is 0; it must be more");
  }
  check.number(&Config::beta1, config.beta1 >= 0 && config.beta1 < 1, "in [0, 1)");
  check.number(&Config::beta2, config.beta2 >= 0 && config.beta2 < 1, "in [0, 1)");
  check.number(&Config::eps, config.eps >= 0, "0 or more, and finite");
  check.number(&Config::weight_decay, config.weight_decay >= 0, "0 or more, and finite");
  (void)parse_schedule(config.schedule);
  check.number(&Config::warmup_epochs, config.warmup_epochs >= 0, "0 or more, and finite");
  for (std::size_t i = 0; i < config.milestones.size(); ++i) {
    if (config.milestones[i] < 1 || (i > 0 && config.milestones[i] <= config.milestones[i - 1])) {
      throw std::invalid_argument("milestones must be ascending and at least 1");
    }
  }
  check.number(&Config::gamma, config.gamma > 0, "positive and finite");
  check.number(&Config::label_smoothing, config.label_smoothing >= 0 && config.label_smoothing < 1, "in [0, 1)");
  check.number(&Config::clip_norm, config.clip_norm >= 0, "0 or more, and finite");
  check.one_of(&Config::precision, {"float32", "bfloat16"});
  check.one_of(&Config::device, {"cpu", "cuda"});
  if (config.device == "cuda" && !at::hasCUDA()) {
    throw std::invalid_argument("device is cuda, and this LibTorch or this machine has none");
  }
  check.whole(&Config::threads, 0, 4096);
  check.whole(&Config::workers, 0, 256);
  check.whole(&Config::checkpoint_epochs, 0, 1000000);
  check.number(&Config::checkpoint_minutes, config.checkpoint_minutes >= 0, "0 or more, and finite");
  check.whole(&Config::keep, 1, 1000000);
  check.whole(&Config::layer_samples, 0, 1000000);
  if (config.arms.empty()) throw std::invalid_argument("there are no arms to compare");
  const auto arms = parse_arms(config.arms);
  for (const auto& arm : arms) {
    if (arm.normalization == Normalization::batch && config.model.starts_with("resnet")) {
      throw std::invalid_argument("arm '" + arm.name + "': norm=batch; a " + config.model + " has BatchNorm already");
    }
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
