#include "train/arm.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <map>
#include <set>
#include <stdexcept>
#include <tuple>
#include <utility>

#include "math/names.h"
#include "text/words.h"

namespace anact::train {
namespace {

constexpr std::array<std::pair<std::string_view, std::string_view>, 2> kShortNames{
    {{"silu-gain", "silu:init=gain"}, {"silu-batchnorm", "silu:norm=batch"}}};

[[noreturn]] void fail(std::string_view arm, const std::string& what) {
  throw std::invalid_argument("arm '" + std::string(arm) + "': " + what);
}

bool is_utf8(std::string_view text) {
  try {
    (void)nlohmann::json(text).dump();
    return true;
  } catch (const nlohmann::json::type_error&) {
    return false;
  }
}

double parse_number(std::string_view text) {
  const auto value = text::number<double>(text);
  if (!value || !std::isfinite(*value)) {
    throw std::invalid_argument("expected a number, found '" + std::string(text) + "'");
  }
  return *value;
}

bool parse_switch(std::string_view text) {
  if (text != "on" && text != "off") {
    throw std::invalid_argument("expected on or off, found '" + std::string(text) + "'");
  }
  return text == "on";
}

// Of a plain activation.
models::Initialization default_initialization(const Arm& arm) {
  return arm.activation.kind == ActivationKind::selu ? models::Initialization::lecun : models::Initialization::he;
}

using Setting = std::function<void(Arm&, std::string_view)>;

// The settings that every arm has; ANAct's own are its options.
const std::map<std::string_view, Setting>& arm_settings() {
  static const std::map<std::string_view, Setting> settings{
      {"norm",
       [](Arm& arm, std::string_view v) {
         if (v == "anact") throw std::invalid_argument("norm=anact: put an n in front of the activation instead");
         arm.norm = models::parse_norm(v);
       }},
      {"ws", [](Arm& arm, std::string_view v) { arm.standardization = models::parse_weight_standardization(v); }},
      {"init", [](Arm& arm, std::string_view v) { arm.initialization = models::parse_initialization(v); }},
      {"residual", [](Arm& arm, std::string_view v) { arm.residual = models::parse_residual(v); }},
      {"skipinit", [](Arm& arm, std::string_view v) { arm.skip_init = parse_switch(v); }},
      {"lr",
       [](Arm& arm, std::string_view v) {
         const double rate = parse_number(v);
         if (rate <= 0) throw std::invalid_argument("the learning rate must be positive");
         arm.learning_rate = rate;
       }},
      {"name",
       [](Arm& arm, std::string_view v) {
         if (v.empty()) throw std::invalid_argument("expected a name");
         arm.name = v;
       }},
      {"vs", [](Arm& arm, std::string_view v) { arm.baseline = v; }},
  };
  return settings;
}

const models::LearntActivationInfo* find_learnt(std::string_view name) {
  const auto found = std::ranges::find(models::learnt_activations(), name, &models::LearntActivationInfo::name);
  return found == models::learnt_activations().end() ? nullptr : &*found;
}

// The names that an arm may begin with, for messages.
std::vector<std::string> head_names() {
  std::vector<std::string> names;
  for (const auto& learnt : models::learnt_activations()) names.emplace_back(learnt.name);
  for (const auto& info : activation_catalogue()) {
    names.emplace_back(info.name);
    names.emplace_back("n").append(info.name);
    for (const auto alias : info.aliases) {
      names.emplace_back(alias);
      names.emplace_back("n").append(alias);
    }
  }
  for (const auto& info : activation_catalogue()) {
    for (const auto& recipe : recipes()) {
      names.emplace_back("n").append(info.name).append("-").append(recipe.name);
    }
  }
  for (const auto& [name, meaning] : kShortNames) names.emplace_back(name);
  return names;
}

// Whether two arms set the same of the network.
bool same_network(const Arm& a, const Arm& b) {
  const auto settings = [](const Arm& arm) {
    return std::tie(arm.norm, arm.standardization, arm.residual, arm.skip_init);
  };
  return settings(a) == settings(b);
}

// The recipe that a head such as "nsilu-paper" ends in.
std::optional<Recipe> recipe_of(std::string_view head) {
  for (const auto& info : recipes()) {
    if (head.ends_with(info.name) && head.substr(0, head.size() - info.name.size()).ends_with('-')) return info.recipe;
  }
  return std::nullopt;
}

bool is_activation(std::string_view text) {
  if (find_learnt(text) != nullptr) return true;
  const auto name = text.substr(0, text.find('('));
  return std::ranges::any_of(activation_catalogue(), [&](const ActivationInfo& info) {
    return info.name == name || std::ranges::find(info.aliases, name) != info.aliases.end();
  });
}

}  // namespace

std::string Arm::activation_name() const {
  return learnt == nullptr ? activation.to_string() : std::string(learnt->name);
}

models::ActivationFactory Arm::factory() const {
  if (normalized) {
    return [options = anact] { return torch::nn::AnyModule(nn::ANAct(options)); };
  }
  const bool scaled = standardization == models::WeightStandardization::scaled;
  const double scale = scaled ? models::standardizing_scale(activation) : 1;
  if (learnt != nullptr) {
    return [info = learnt, scale] { return torch::nn::AnyModule(models::LearntActivation(*info, scale)); };
  }
  return [plain = activation, scale] { return torch::nn::AnyModule(models::PlainActivation(plain, scale)); };
}

models::NetworkOptions Arm::applied_to(models::NetworkOptions options) const {
  options.activation = factory();
  if (norm) options.norm = norm;
  options.standardization = standardization;
  options.residual = residual;
  options.skip_init = skip_init;
  return options;
}

models::WeightInitialization Arm::weights() const {
  return {.kind = initialization, .activation = activation, .normalization = anact.values().normalization()};
}

nlohmann::json Arm::to_json(double default_learning_rate) const {
  const auto before = norm.value_or(models::Norm::none);
  nlohmann::json result{{"name", name},
                        {"activation", activation_name()},
                        {"normalization", normalized ? "anact" : models::to_string(before)},
                        {"initialization", models::to_string(initialization)},
                        {"learning_rate", learning_rate.value_or(default_learning_rate)}};
  if (!baseline.empty()) result["baseline"] = baseline;
  // What "normalization" does not tell.
  if (norm && (normalized || *norm == models::Norm::none)) result["norm"] = models::to_string(*norm);
  if (standardization != models::WeightStandardization::none) result["ws"] = models::to_string(standardization);
  if (residual != models::Residual::post) result["residual"] = models::to_string(residual);
  if (skip_init) result["skipinit"] = true;
  if (normalized) {
    for (const auto& option : option_table()) {
      if (const auto value = option.value(anact.values())) {
        std::visit([&](const auto& plain) { result["anact"][std::string(option.name)] = plain; }, *value);
      }
    }
  }
  return result;
}

Arm parse_arm(std::string_view given) {
  Arm arm;
  arm.name = given;
  std::string expanded(given);
  for (const auto& [name, meaning] : kShortNames) {
    const auto rest = std::min(given.find(':'), given.size());
    if (given.substr(0, rest) == name) expanded = std::string(meaning).append(given.substr(rest));
  }
  std::string_view text = expanded;
  const auto head = text.substr(0, text.find(':'));
  const auto recipe = recipe_of(head);
  const auto stem = head.substr(0, head.size() - (recipe ? to_string(*recipe).size() + 1 : 0));
  const bool normalized = !is_activation(head) && stem.starts_with('n') && is_activation(stem.substr(1));
  try {
    if (!is_utf8(given)) throw std::invalid_argument("expected UTF-8");  // all that JSON can hold
    if (!normalized && !is_activation(head)) {
      const auto names = head_names();
      const std::vector<std::string_view> views(names.begin(), names.end());
      throw std::invalid_argument("unknown activation '" + std::string(head) + "'" + did_you_mean(head, views) +
                                  "; `anact gains` lists all; swish-beta and prelu have a learnt parameter");
    }
    const auto activation = normalized ? stem.substr(1) : head;
    arm.learnt = find_learnt(activation);
    arm.activation = arm.learnt == nullptr ? parse_activation(activation) : arm.learnt->start;
    arm.anact.activation(arm.activation);
    if (normalized && recipe) arm.anact.recipe(*recipe);
    arm.normalized = normalized;

    bool initialization_given = false;
    std::string_view anact_setting;
    text.remove_prefix(head.size());
    while (!text.empty()) {
      text.remove_prefix(1);
      const auto setting = text.substr(0, text.find(':'));
      text.remove_prefix(setting.size());
      const auto equals = setting.find('=');
      const auto key = setting.substr(0, equals);
      const auto value = equals == std::string_view::npos ? std::string_view() : setting.substr(equals + 1);
      if (const auto found = arm_settings().find(key); found != arm_settings().end()) {
        found->second(arm, value);
        initialization_given |= key == "init";
      } else if (const auto option = std::ranges::find(option_table(), key, &Option::name);
                 option != option_table().end()) {
        auto values = arm.anact.values();
        option->read(values, value);
        arm.anact.values(values);
        anact_setting = key;
      } else {
        std::vector<std::string_view> keys;
        for (const auto& [name, action] : arm_settings()) keys.push_back(name);
        for (const auto& other : option_table()) keys.push_back(other.name);
        throw std::invalid_argument(unknown_choice("setting", key, keys));
      }
    }
    if (!anact_setting.empty() && !normalized) {
      throw std::invalid_argument("the setting '" + std::string(anact_setting) +
                                  "' is ANAct's; put an n in front of the activation");
    }
    if (arm.learnt != nullptr && normalized) {
      throw std::invalid_argument("ANAct's activations have no learnt parameter, and " + arm.activation_name() +
                                  " has one");
    }
    if (!initialization_given) {
      arm.initialization = normalized ? models::parse_initialization(recipe_info(recipe.value_or(Recipe{})).weights)
                                      : default_initialization(arm);
    }
    (void)arm.factory()();  // checks the options together
  } catch (const std::invalid_argument& error) {
    fail(given, error.what());
  }
  return arm;
}

std::vector<Arm> parse_arms(const std::vector<std::string>& texts) {
  std::vector<Arm> arms;
  std::set<std::string> names;
  for (const auto& text : texts) {
    arms.push_back(parse_arm(text));
    if (!names.insert(arms.back().name).second)
      fail(text, "there are two arms of that name; tell them apart with name=");
  }
  for (auto& arm : arms) {
    if (!arm.baseline.empty()) {
      if (!names.contains(arm.baseline)) fail(arm.name, "vs=" + arm.baseline + " names no arm of this comparison");
      continue;
    }
    const auto find = [&](const Arm& network) {
      return std::ranges::find_if(arms, [&](const Arm& other) {
        return !other.normalized && other.activation_name() == arm.activation_name() &&
               other.initialization == default_initialization(other) && same_network(other, network);
      });
    };
    auto counterpart = arm.normalized ? find(arm) : arms.end();
    if (counterpart == arms.end()) counterpart = find({});
    // A plain arm is its own counterpart, and so is compared with nothing.
    if (counterpart != arms.end()) arm.baseline = counterpart->name;
  }
  return arms;
}

}  // namespace anact::train
