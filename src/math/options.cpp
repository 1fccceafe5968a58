#include "anact/options.h"

#include <algorithm>
#include <array>
#include <sstream>
#include <stdexcept>

#include "math/names.h"
#include "math/step.h"
#include "text/words.h"

namespace anact {
namespace {

// What each type of an option is as text, in print and as a value.

template <class Enum>
constexpr bool kIsName = std::is_enum_v<Enum>;

auto all_values(Solution) { return all_solutions(); }
auto all_values(Target) { return all_targets(); }
auto all_values(Gain) { return all_gains(); }
auto all_values(StatisticsSource) { return all_statistics_sources(); }

void read(std::string_view text, Solution& value) { value = parse_solution(text); }
void read(std::string_view text, Target& value) { value = parse_target(text); }
void read(std::string_view text, Gain& value) { value = parse_gain(text); }
void read(std::string_view text, StatisticsSource& value) { value = parse_statistics_source(text); }

void read(std::string_view text, bool& value) {
  if (text != "on" && text != "off") {
    throw std::invalid_argument("expected on or off, found '" + std::string(text) + "'");
  }
  value = text == "on";
}

void read(std::string_view text, double& value) {
  const auto number = text::number<double>(text);
  if (!number) throw std::invalid_argument("expected a number, found '" + std::string(text) + "'");
  value = *number;
}

void read(std::string_view text, Interval& value) {
  const auto comma = text.find(',');
  if (comma == std::string_view::npos) {
    throw std::invalid_argument("expected two numbers L,U, found '" + std::string(text) + "'");
  }
  read(text.substr(0, comma), value.first);
  read(text.substr(comma + 1), value.second);
}

void read(std::string_view text, std::optional<Interval>& value) {
  if (text == "none") {
    value.reset();
  } else {
    read(text, value.emplace());
  }
}

std::string write(double value) { return text::shortest(value); }
std::string write(bool value) { return value ? "on" : "off"; }
std::string write(const Interval& value) { return write(value.first) + "," + write(value.second); }
std::string write(const std::optional<Interval>& value) { return value ? write(*value) : "none"; }

std::string print(double value) {
  std::ostringstream text;
  text << value;
  return text.str();
}
std::string print(bool value) { return value ? "true" : "false"; }
std::string print(const Interval& value) { return "[" + print(value.first) + ", " + print(value.second) + "]"; }
std::string print(const std::optional<Interval>& value) { return value ? print(*value) : "none"; }

std::optional<OptionValue> plain(double value) { return value; }
std::optional<OptionValue> plain(bool value) { return value; }
std::optional<OptionValue> plain(const Interval& value) { return std::vector{value.first, value.second}; }
std::optional<OptionValue> plain(const std::optional<Interval>& value) { return value ? plain(*value) : std::nullopt; }

template <class Enum>
requires kIsName<Enum> std::string write(Enum value) { return std::string(to_string(value)); }
template <class Enum>
requires kIsName<Enum> std::string print(Enum value) { return write(value); }
template <class Enum>
requires kIsName<Enum> std::optional<OptionValue> plain(Enum value) { return write(value); }

template <class Value>
std::vector<std::string_view> names_of() {
  std::vector<std::string_view> names;
  if constexpr (kIsName<Value>) {
    for (const auto value : all_values(Value{})) names.push_back(to_string(value));
  }
  return names;
}

OptionKind kind_of(bool) { return OptionKind::flag; }
OptionKind kind_of(double) { return OptionKind::number; }
OptionKind kind_of(const Interval&) { return OptionKind::interval; }
OptionKind kind_of(const std::optional<Interval>&) { return OptionKind::optional_interval; }
template <class Enum>
requires kIsName<Enum> OptionKind kind_of(Enum) { return OptionKind::name; }

std::string values_of(OptionKind kind, const std::vector<std::string_view>& names) {
  switch (kind) {
    case OptionKind::flag:
      return "on, off";
    case OptionKind::number:
      return "a number";
    case OptionKind::interval:
      return "L,U";
    case OptionKind::optional_interval:
      return "L,U or none";
    case OptionKind::name:
      break;
  }
  return text::join(names);
}

constexpr std::array<RecipeInfo, 4> kRecipes{{
    {Recipe::deep, "deep", "trains deep networks best: both gains exact, deviations of the variance damped", "",
     "orthogonal"},
    {Recipe::paper, "paper", "the map of arXiv 2208.13315", "solution=compromise:target=input:momentum=0.1", "lecun"},
    {Recipe::gpn, "gpn", "Gaussian-Poincar\u00e9 normalization: exact under N(0, 1), never updated, \u03b1 not learnt",
     "statistics=fixed:target=unit:learnable=off", "orthogonal"},
    {Recipe::gain, "gain", "a fixed gain under N(0, 1), without shift and \u03b1",
     "statistics=fixed:solution=forward:target=unit:centre=off:learnable=off", "lecun"},
}};

}  // namespace

NormalizationOptions Options::normalization() const {
  return {.solution = solution,
          .target = target,
          .gain = gain,
          .centre = centre,
          .lambda_min = bounds.first,
          .lambda_max = bounds.second};
}

StepOptions to_step_options(const Options& options) {
  return {.normalization = options.normalization(),
          .update = options.update(),
          .statistics = options.statistics,
          .init_batch = options.init_batch};
}

UpdateOptions Options::update() const {
  const auto [low, high] = gate.value_or(Interval(0, 0));
  return {.momentum = momentum, .gate_low = low, .gate_high = high};
}

bool Options::uses_batch(std::int64_t batches_tracked) const {
  return anact::uses_batch(to_step_options(*this), batches_tracked);
}

bool Options::updates(bool first) const { return anact::updates(to_step_options(*this), first); }

bool Options::follows() const {
  // A batch without a gate tells its factors alone.
  if (statistics == StatisticsSource::batch) return gate.has_value();
  return updates(true);
}

#define ANACT_OPTION_ROW(type, member, standard, text)                      \
  Option{.name = #member,                                                   \
         .help = text,                                                      \
         .kind = kind_of(type{}),                                           \
         .values = values_of(kind_of(type{}), names_of<type>()),            \
         .names = names_of<type>(),                                         \
         .write = [](const Options& o) { return write(o.member); },         \
         .read = [](Options& o, std::string_view t) { read(t, o.member); }, \
         .print = [](const Options& o) { return print(o.member); },         \
         .value = [](const Options& o) { return plain(o.member); }},

std::span<const Option> option_table() {
  static const std::vector<Option> table{ANACT_OPTIONS(ANACT_OPTION_ROW)};
  return table;
}

const Option& find_option(std::string_view name) {
  const auto table = option_table();
  const auto found = std::ranges::find(table, name, &Option::name);
  if (found != table.end()) return *found;
  throw std::invalid_argument(unknown_name("option", name, names_of(table)));
}

std::string to_text(const Options& options) {
  std::string text;
  for (const auto& option : option_table()) {
    text.append(text.empty() ? "" : ":").append(option.name).append("=").append(option.write(options));
  }
  return text;
}

Options parse_options(std::string_view text, const Options& base) {
  Options options = base;
  while (!text.empty()) {
    const auto setting = text.substr(0, text.find(':'));
    text.remove_prefix(std::min(text.size(), setting.size() + 1));
    const auto equals = std::min(setting.find('='), setting.size());
    const auto value = setting.substr(std::min(equals + 1, setting.size()));
    find_option(setting.substr(0, equals)).read(options, value);
  }
  return options;
}

void validate(const Options& options) {
  validate(options.normalization());
  if (!(options.momentum > 0 && options.momentum <= 1)) {
    throw std::invalid_argument("ANAct: momentum is " + print(options.momentum) + "; it must be in (0, 1]");
  }
  if (options.init_batch && options.statistics != StatisticsSource::fixed) {
    throw std::invalid_argument("ANAct: init_batch=on takes the first batch for statistics=fixed, not for statistics=" +
                                write(options.statistics) + ", which follows every batch");
  }
  if (const auto& gate = options.gate; gate && !(gate->first >= 0 && gate->first < gate->second)) {
    throw std::invalid_argument("ANAct: the gate is " + print(*gate) + "; it must be 0 <= low < high");
  }
}

std::span<const RecipeInfo> recipes() { return kRecipes; }

const RecipeInfo& recipe_info(Recipe recipe) { return kRecipes.at(static_cast<std::size_t>(recipe)); }

Options recipe_options(Recipe recipe) { return parse_options(recipe_info(recipe).options); }

std::string_view to_string(Recipe recipe) { return recipe_info(recipe).name; }

Recipe parse_recipe(std::string_view text) {
  for (const auto& info : kRecipes) {
    if (info.name == text) return info.recipe;
  }
  throw std::invalid_argument(unknown_name("recipe", text, names_of(kRecipes)));
}

}  // namespace anact
