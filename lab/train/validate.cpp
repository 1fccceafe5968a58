// What the settings must be.

#include <ATen/Context.h>

#include <algorithm>
#include <cmath>
#include <sstream>
#include <stdexcept>

#include "data/sets.h"
#include "math/names.h"
#include "models/catalogue.h"
#include "text/words.h"
#include "train/config.h"
#include "train/optimizer.h"
#include "train/schedule.h"

namespace anact::train {
namespace {

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
    for (const auto& setting : settings()) {
      if (const auto* other = std::get_if<Value Config::*>(&setting.member); other != nullptr && *other == member) {
        return spoken(setting);
      }
    }
    throw std::logic_error("a member without a setting");
  }

  const Config& config_;
};

}  // namespace

void validate(const Config& config) {
  const Checker check(config);
  check.whole(&Config::seeds, 1, 10000);
  check.whole(&Config::first_seed, 0, 1000000000);
  check.one_of(&Config::data, names_of(data::sets()));
  check.whole(&Config::image_size, 0, 1024);
  check.whole(&Config::train_samples, 0, 1000000000);
  check.whole(&Config::test_samples, 0, 1000000000);
  check.number(&Config::validation, config.validation >= 0 && config.validation < 1, "in [0, 1)");
  check.whole(&Config::subset_seed, 0, 1000000000);
  check.number(&Config::input_scale, config.input_scale > 0, "positive and finite");
  check.number(&Config::input_shift, true, "finite");
  check.whole(&Config::relabel_after, 0, 1000000);
  // Of the image's size too, where the images are known.
  constexpr std::int64_t kLargestImage = 1 << 20;
  data::validate(config.augmentation(), {.channels = 1, .height = kLargestImage, .width = kLargestImage});
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
  check.number(&Config::weight_scale, config.weight_scale > 0, "positive and finite");
  check.whole(&Config::epochs, 0, 1000000);
  check.whole(&Config::steps, 0, 1000000000);
  check.whole(&Config::batch_size, 2, 1000000);
  check.whole(&Config::accumulate, 1, config.batch_size / 2);
  check.one_of(&Config::optimizer, names_of(optimizers()));
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
  for (const auto& arm : parse_arms(config.arms)) {
    const bool residual = arm.residual != models::Residual::post;
    if ((residual || arm.skip_init) && !config.model.starts_with("resnet")) {
      throw std::invalid_argument("arm '" + arm.name + "': " + (residual ? "residual" : "skipinit") +
                                  " is a setting of ResNets, and the model is " + config.model);
    }
  }
}

}  // namespace anact::train
