#include "study/plan.h"

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <stdexcept>
#include <utility>

#include "data/digest.h"
#include "io/atomic_file.h"
#include "math/names.h"
#include "text/words.h"
#include "train/arm.h"
#include "train/toml.h"

namespace anact::study {
namespace {

// An experiment as the file has it, before its trials are made of two lists.
struct Draft {
  Experiment experiment;
  std::vector<double> learning_rates;
  std::vector<double> weight_decays;
};

using Member = std::variant<std::string Experiment::*, std::vector<std::string> Experiment::*,
                            std::int64_t Experiment::*, double Experiment::*, std::vector<double> Draft::*>;

struct Key {
  std::string_view name;
  Member member;
};

constexpr std::array kKeys = std::to_array<Key>({
    {"name", &Experiment::name},
    {"title", &Experiment::title},
    {"arms", &Experiment::arms},
    {"lrs", &Draft::learning_rates},
    {"weight_decays", &Draft::weight_decays},
    {"seeds", &Experiment::seeds},
    {"first_seed", &Experiment::first_seed},
    {"trial_seeds", &Experiment::trial_seeds},
    {"finalists", &Experiment::finalists},
    {"keep", &Experiment::keep},
    {"measure_every", &Experiment::measure_every},
    {"works_within", &Experiment::works_within},
});
// Sections that a plan has itself, and the training's own that mean something else in one.
constexpr std::string_view kPreset = "preset";
constexpr std::string_view kExperiment = "experiment";

// The sections of settings that a run's numbers depend on.
bool is_of_run(const train::Setting& setting) {
  static constexpr std::array<std::string_view, 4> kSections{"data", "augmentation", "model", "training"};
  return std::ranges::find(kSections, setting.section) != kSections.end();
}

bool take(const toml::node& node, std::string& value) {
  const auto text = node.value_exact<std::string>();
  if (text) value = *text;
  return text.has_value();
}
bool take(const toml::node& node, std::int64_t& value) {
  const auto whole = node.value_exact<std::int64_t>();
  if (whole) value = *whole;
  return whole.has_value();
}
bool take(const toml::node& node, double& value) {
  const auto number = node.value<double>();
  if (number) value = *number;
  return number.has_value();
}
template <class Item>
bool take(const toml::node& node, std::vector<Item>& value) {
  const auto* array = node.as_array();
  if (array == nullptr) return false;
  std::vector<Item> items;
  for (const auto& item : *array) {
    if (!take(item, items.emplace_back())) return false;
  }
  value = std::move(items);
  return true;
}

template <class Value>
const char* expected() {
  if constexpr (std::is_same_v<Value, std::string>) return "a text";
  if constexpr (std::is_same_v<Value, std::int64_t>) return "a whole number";
  if constexpr (std::is_same_v<Value, double>) return "a number";
  if constexpr (std::is_same_v<Value, std::vector<double>>) return "a list of numbers";
  return "a list of texts";
}

void apply_keys(Draft& draft, const toml::table& table, std::string_view source) {
  for (const auto& key : kKeys) {
    const auto* node = table.get(key.name);
    if (node == nullptr) continue;
    std::visit(
        [&](auto member) {
          const auto read = [&](auto& value) {
            if (take(*node, value)) return;
            train::fail_at(source, node->source(),
                           std::string(key.name) + ": expected " + expected<std::remove_cvref_t<decltype(value)>>());
          };
          if constexpr (std::is_same_v<decltype(member), std::vector<double> Draft::*>) {
            read(draft.*member);
          } else {
            read(draft.experiment.*member);
          }
        },
        key.member);
  }
  std::vector<std::string_view> own;
  for (const auto& key : kKeys) own.push_back(key.name);
  own.push_back(kPreset);
  // What follows are sections of settings; `experiment` is not one of them here.
  own.push_back(kExperiment);
  if (const auto* node = table.get(kExperiment)) {
    train::fail_at(source, node->source(), "expected none of the settings of [experiment]; a plan has keys for them");
  }
  if (const auto* node = table.get(kPreset)) {
    std::string preset;
    if (!take(*node, preset)) train::fail_at(source, node->source(), "preset: expected a text");
    try {
      train::apply_preset(draft.experiment.config, preset);
    } catch (const std::invalid_argument& error) {
      train::fail_at(source, node->source(), error.what());
    }
  }
  train::apply_sections(draft.experiment.config, table, source, own);
}

// The arm's text without what means something only beside other arms.
std::string alone(std::string_view text) {
  std::string result;
  for (bool first = true; first || !text.empty(); first = false) {
    if (!first) text.remove_prefix(1);
    const auto part = text.substr(0, text.find(':'));
    if (!part.starts_with("vs=")) {
      if (!first) result += ':';
      result += part;
    }
    text.remove_prefix(part.size());
  }
  return result;
}

[[noreturn]] void refuse(const Experiment& experiment, const std::string& what) {
  throw std::invalid_argument("experiment '" + experiment.name + "': " + what);
}

void check(const Experiment& experiment) {
  const auto whole = [&](const char* name, std::int64_t value, std::int64_t least, std::int64_t most) {
    if (value >= least && value <= most) return;
    refuse(experiment, std::string(name) + " is " + std::to_string(value) + "; it must be from " +
                           std::to_string(least) + " to " + std::to_string(most));
  };
  whole("seeds", experiment.seeds, 1, 10000);
  whole("first_seed", experiment.first_seed, 0, 1000000000);
  whole("trial_seeds", experiment.trial_seeds, 1, experiment.seeds);
  whole("finalists", experiment.finalists, 0, static_cast<std::int64_t>(experiment.arms.size()));
  whole("measure_every", experiment.measure_every, 0, 1000000000);
  if (!(experiment.works_within > 0 && experiment.works_within <= 1)) {
    refuse(experiment, "works_within is " + text::shortest(experiment.works_within) + "; it must be in (0, 1]");
  }
  if (experiment.config.epochs < 1) refuse(experiment, "epochs is 0; a study needs at least 1");
  if ((experiment.trials.size() > 1 || experiment.finalists > 0) && experiment.config.validation == 0) {
    refuse(experiment,
           "there is a choice to make, and validation is 0; choices are made on validation images, such as "
           "validation = 0.1 in [data]");
  }
  auto config = experiment.config;
  config.arms = experiment.arms;
  std::vector<train::Arm> arms;
  try {
    for (const auto& trial : experiment.trials) {
      config.learning_rate = trial.learning_rate;
      config.weight_decay = trial.weight_decay;
      train::validate(config);
    }
    arms = train::parse_arms(experiment.arms);
  } catch (const std::invalid_argument& error) {
    refuse(experiment, error.what());
  }
  for (const auto& arm : arms) {
    if (arm.learning_rate) refuse(experiment, "arm '" + arm.name + "' has lr=; a plan has lrs for all arms");
  }
  for (const auto& name : experiment.keep) {
    if (std::ranges::find(arms, name, &train::Arm::name) == arms.end()) {
      std::vector<std::string_view> names;
      for (const auto& arm : arms) names.push_back(arm.name);
      refuse(experiment, "keep: " + unknown_choice("arm", name, names));
    }
  }
}

Experiment finish(Draft draft) {
  auto& experiment = draft.experiment;
  if (draft.learning_rates.empty()) draft.learning_rates = {experiment.config.learning_rate};
  if (draft.weight_decays.empty()) draft.weight_decays = {experiment.config.weight_decay};
  std::set<report::TrialSetting> trials;
  for (const double rate : draft.learning_rates) {
    for (const double decay : draft.weight_decays) trials.insert({.learning_rate = rate, .weight_decay = decay});
  }
  experiment.trials.assign(trials.begin(), trials.end());
  if (experiment.title.empty()) experiment.title = experiment.name;
  // A run of a study leaves its row, and nothing else.
  auto& config = experiment.config;
  config.seeds = 1;
  config.layer_samples = 0;
  config.save_weights = false;
  config.tensorboard = false;
  config.keep = 1;
  if (experiment.measure_every > 0) config.checkpoint_minutes = 0;  // what was measured is not in a checkpoint
  check(experiment);
  return std::move(experiment);
}

const toml::table* table_at(const toml::table& file, std::string_view name, std::string_view source) {
  const auto* node = file.get(name);
  if (node == nullptr) return nullptr;
  if (!node->is_table()) train::fail_at(source, node->source(), "expected [" + std::string(name) + "], a table");
  return node->as_table();
}

PlannedRun planned(const Experiment& experiment, const train::Arm& arm, const std::string& text,
                   const report::TrialSetting& setting, std::int64_t seed) {
  PlannedRun run{.experiment = &experiment,
                 .arm = arm.name,
                 .setting = setting,
                 .seed = seed,
                 .config = experiment.config,
                 .key = {}};
  run.config.arms = {alone(text)};
  run.config.first_seed = seed;
  run.config.learning_rate = setting.learning_rate;
  run.config.weight_decay = setting.weight_decay;
  run.key = key_of(run.config);
  return run;
}

report::StudyExperiment describe(const Experiment& experiment) {
  report::StudyExperiment described;
  described.name = experiment.name;
  described.title = experiment.title;
  for (const auto& setting : train::settings()) {
    const bool shown = is_of_run(setting) && setting.flag != "--lr" && setting.flag != "--weight-decay" &&
                       setting.flag != "--data-path";
    if (!shown || !setting.applies(experiment.config)) continue;
    described.settings.emplace_back(std::string(setting.section) + "." + std::string(setting.name),
                                    train::to_text(experiment.config, setting));
  }
  const auto arms = train::parse_arms(experiment.arms);
  for (std::size_t i = 0; i < arms.size(); ++i) {
    described.arms.push_back({.name = arms[i].name,
                              .baseline = arms[i].baseline == arms[i].name ? "" : arms[i].baseline,
                              .text = experiment.arms[i],
                              .activation = arms[i].activation_name(),
                              .normalized = arms[i].normalized});
  }
  described.trials = experiment.trials;
  described.first_seed = static_cast<std::uint64_t>(experiment.first_seed);
  described.seeds = static_cast<std::size_t>(experiment.seeds);
  described.trial_seeds = static_cast<std::size_t>(experiment.trial_seeds);
  described.keep = experiment.keep;
  described.finalists = static_cast<std::size_t>(experiment.finalists);
  described.works_within = experiment.works_within;
  return described;
}

using RowsByKey = std::map<std::string, const report::StudyRow*, std::less<>>;

RowsByKey by_key(std::span<const report::StudyRow> rows) {
  RowsByKey known;
  for (const auto& row : rows) known.emplace(row.key, &row);
  return known;
}

// Appends the experiment's runs that can be told. Returns whether these are all.
bool add_runs(std::vector<PlannedRun>& runs, const Experiment& experiment, const RowsByKey& known) {
  const auto arms = train::parse_arms(experiment.arms);
  bool whole = true;
  std::vector<report::StudyRow> rows;
  for (auto seed = experiment.first_seed; seed < experiment.first_seed + experiment.trial_seeds; ++seed) {
    for (std::size_t i = 0; i < arms.size(); ++i) {
      for (const auto& setting : experiment.trials) {
        runs.push_back(planned(experiment, arms[i], experiment.arms[i], setting, seed));
        const auto row = known.find(runs.back().key);
        whole &= row != known.end();
        if (row == known.end()) continue;
        // Two experiments can have a run in common, under whatever names.
        auto mine = *row->second;
        mine.experiment = experiment.name;
        mine.arm = arms[i].name;
        rows.push_back(std::move(mine));
      }
    }
  }
  if (experiment.trial_seeds == experiment.seeds) return true;
  if (!whole) return false;

  const auto go_on = report::finalists(describe(experiment), rows);
  if (!go_on) return false;
  std::map<std::string, report::TrialSetting, std::less<>> chosen;
  for (const auto& name : *go_on) {
    if (const auto choice = report::choose(report::tried(rows, experiment.name, name),
                                           static_cast<std::uint64_t>(experiment.first_seed),
                                           static_cast<std::size_t>(experiment.trial_seeds))) {
      chosen[name] = *choice;
    }
  }
  for (auto seed = experiment.first_seed + experiment.trial_seeds; seed < experiment.first_seed + experiment.seeds;
       ++seed) {
    for (std::size_t i = 0; i < arms.size(); ++i) {
      const auto setting = chosen.find(arms[i].name);
      if (setting != chosen.end())
        runs.push_back(planned(experiment, arms[i], experiment.arms[i], setting->second, seed));
    }
  }
  return true;
}

}  // namespace

Plan parse_plan(std::string_view text, std::string_view source) {
  const auto file = train::parse_toml(text, source);
  constexpr std::array<std::string_view, 4> kMembers{"title", "question", "defaults", "experiment"};
  for (const auto& [name, node] : file) {
    if (std::ranges::find(kMembers, name.str()) == kMembers.end()) {
      train::fail_at(source, node.source(), unknown_choice("key", name.str(), kMembers));
    }
  }
  Plan plan;
  plan.name = std::filesystem::path(source).stem().string();
  for (auto [name, value] : {std::pair{"title", &plan.title}, {"question", &plan.question}}) {
    const auto* node = file.get(name);
    if (node != nullptr && !take(*node, *value)) {
      train::fail_at(source, node->source(), std::string(name) + ": expected a text");
    }
  }
  if (plan.title.empty()) plan.title = plan.name;
  Draft defaults;
  if (const auto* table = table_at(file, "defaults", source)) apply_keys(defaults, *table, source);
  const auto* list = file["experiment"].as_array();
  if (list == nullptr || list->empty()) {
    throw std::invalid_argument("'" + std::string(source) + "': expected at least one [[experiment]]");
  }
  std::set<std::string> names;
  for (const auto& node : *list) {
    const auto* table = node.as_table();
    if (table == nullptr) train::fail_at(source, node.source(), "expected [[experiment]], a table");
    auto draft = defaults;
    draft.experiment.name.clear();
    apply_keys(draft, *table, source);
    if (draft.experiment.name.empty()) train::fail_at(source, node.source(), "expected a name for the experiment");
    if (!names.insert(draft.experiment.name).second) {
      train::fail_at(source, node.source(), "there is an experiment '" + draft.experiment.name + "' already");
    }
    try {
      plan.experiments.push_back(finish(std::move(draft)));
    } catch (const std::invalid_argument& error) {
      train::fail_at(source, node.source(), error.what());
    }
  }
  return plan;
}

Plan load_plan(const std::filesystem::path& path) { return parse_plan(io::read_file(path), path.string()); }

std::vector<PlannedRun> planned_runs(const Plan& plan, std::span<const report::StudyRow> rows) {
  const auto known = by_key(rows);
  std::vector<PlannedRun> runs;
  for (const auto& experiment : plan.experiments) (void)add_runs(runs, experiment, known);
  return runs;
}

std::size_t run_count(const Experiment& experiment, std::span<const report::StudyRow> rows) {
  std::vector<PlannedRun> runs;
  if (add_runs(runs, experiment, by_key(rows))) return runs.size();
  // An arm that diverges at every setting has fewer, and so have arms that do not go on.
  const auto arms = experiment.arms.size();
  const auto go_on = experiment.finalists == 0
                         ? arms
                         : std::min(arms, static_cast<std::size_t>(experiment.finalists) + experiment.keep.size());
  return runs.size() + go_on * static_cast<std::size_t>(experiment.seeds - experiment.trial_seeds);
}

std::string key_of(const train::Config& config) {
  // Where the data lie and what computes is not part of it; the learning rate is the arm's.
  static constexpr std::array<std::string_view, 5> kOthers{"--data-path", "--lr", "--device", "--threads", "--workers"};
  std::string text;
  for (const auto& setting : train::settings()) {
    const bool other = std::ranges::find(kOthers, setting.flag) != kOthers.end();
    if (!is_of_run(setting) || other || !setting.applies(config)) continue;
    text.append(setting.section).append(".").append(setting.name).append("=");
    text.append(train::to_text(config, setting)).append("\n");
  }
  auto arm = train::parse_arm(config.arms.front()).to_json(config.learning_rate);
  arm.erase("name");
  text += arm.dump() + "\n" + std::to_string(config.first_seed) + "\n";
  return data::text_digest(text, "sha256").substr(0, 12);
}

report::Study describe(const Plan& plan, std::span<const report::StudyRow> rows, const std::string& command) {
  report::Study study{.title = plan.title, .question = plan.question, .command = command, .experiments = {}};
  for (const auto& experiment : plan.experiments) {
    study.experiments.push_back(describe(experiment));
    study.experiments.back().planned_runs = run_count(experiment, rows);
  }
  return study;
}

}  // namespace anact::study
