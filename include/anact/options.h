// The options of ANAct, all but the activation: one table, from which they are read, written, checked and documented.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "anact/normalization.h"

namespace anact {

using Interval = std::pair<double, double>;

// OPTION(type, name, default, help) for each option. docs/choices.md has the evidence for the defaults.
#define ANACT_OPTIONS(OPTION)                                                                                          \
  OPTION(StatisticsSource, statistics, StatisticsSource::previous,                                                     \
         "where the factors of a training step come from: the running statistics before the batch (the first batch "   \
         "uses its own), those with the batch in, the batch alone, or the statistics as they are, never updated")      \
  OPTION(bool, init_batch, false,                                                                                      \
         "whether statistics that are never updated are those of the first batch, and not those under N(0, 1)")        \
  OPTION(Solution, solution, NormalizationOptions{}.solution,                                                          \
         "which scale \u03bb: 1/\u221a\u03c1\u2032 with a shift that corrects both gains at once, the paper's "        \
         "compromise, 1/\u221a\u03c1, 1/\u221a\u03c1\u2032, or the geometric mean of both")                            \
  OPTION(Target, target, NormalizationOptions{}.target,                                                                \
         "what E[y\u00b2] is held to: v^0.75 for an input of variance v, v, or 1")                                     \
  OPTION(Gain, gain, NormalizationOptions{}.gain,                                                                      \
         "whether \u03c1 is the gain of the activation or of what is emitted once the mean is subtracted")             \
  OPTION(bool, centre, NormalizationOptions{}.centre, "whether the mean \u03bc is subtracted")                         \
  OPTION(double, momentum, UpdateOptions{}.momentum, "the weight of a new batch in the running statistics, in (0, 1]") \
  OPTION(std::optional<Interval>, gate, std::nullopt,                                                                  \
         "low and high; a batch whose \u03c1 or \u03c1\u2032, divided by the running one, lies outside does not "      \
         "update the statistics")                                                                                      \
  OPTION(Interval, bounds, Interval(NormalizationOptions{}.lambda_min, NormalizationOptions{}.lambda_max),             \
         "low and high of \u03bb")                                                                                     \
  OPTION(bool, learnable, true, "whether \u03b1 is learnt; it stays 0 otherwise")

#define ANACT_OPTION_MEMBER(type, name, standard, help) type name = standard;
struct Options {
  ANACT_OPTIONS(ANACT_OPTION_MEMBER)

  [[nodiscard]] NormalizationOptions normalization() const;
  [[nodiscard]] UpdateOptions update() const;

  // Whether a training step's factors may come from its batch, after `batches_tracked` earlier ones: for `previous`
  // while the start lasts, since the batch may replace what was before it.
  [[nodiscard]] bool uses_batch(std::int64_t batches_tracked) const;
  // Whether a training step takes its batch into the running statistics.
  [[nodiscard]] bool updates(bool first) const;
  // Whether the factors of a training step depend on running statistics that later steps change.
  [[nodiscard]] bool follows() const;

  friend bool operator==(const Options&, const Options&) = default;
};
#undef ANACT_OPTION_MEMBER

// A value as a file of settings or a script holds it.
using OptionValue = std::variant<std::string, bool, double, std::vector<double>>;

enum class OptionKind : std::uint8_t { name, flag, number, interval, optional_interval };

// A row of the table.
struct Option {
  std::string_view name;
  std::string_view help;
  OptionKind kind;
  std::string values;  // what it can be, in words: "on, off", "exact, compromise, …", "a number", "L,U", "L,U or none"
  std::vector<std::string_view> names;  // all that an option of the kind `name` can be
  // Its text, which read takes: "exact", "on", "0.01", "0.1,10", "none".
  std::string (*write)(const Options&);
  // Throws std::invalid_argument that says what was expected.
  void (*read)(Options&, std::string_view text);
  // As the module prints it: "exact", "true", "0.01", "[0.1, 10]".
  std::string (*print)(const Options&);
  // None for an option that is not set.
  std::optional<OptionValue> (*value)(const Options&);
};

// Every option, in the order in which they are printed.
[[nodiscard]] std::span<const Option> option_table();

// The row of that name. Throws std::invalid_argument with the nearest names and those that there are.
[[nodiscard]] const Option& find_option(std::string_view name);

// All options as one text, "statistics=previous:solution=exact:…"; the inverse reads any of them, over `base`, and
// throws std::invalid_argument as find_option and Option::read do. The operators carry their options like this.
[[nodiscard]] std::string to_text(const Options& options);
[[nodiscard]] Options parse_options(std::string_view text, const Options& base = {});

// Throws std::invalid_argument for options that are out of range or contradict each other.
void validate(const Options& options);

// A named set of options, and the initial weights that go with it.
enum class Recipe : std::uint8_t {
  deep,   // what trains deep networks best: the default of every option
  paper,  // the map of arXiv 2208.13315, as its abstract and a third party have it
  gpn,    // Gaussian-Poincare normalization (Lu, Gould and Ajanthan, 2020): exact under N(0, 1), never updated
  gain,   // a fixed gain under N(0, 1), as networks without normalization have it (He et al., 2015, for any f)
};

struct RecipeInfo {
  Recipe recipe;
  std::string_view name;
  std::string_view help;
  std::string_view options;  // those that are not the default, as parse_options reads them
  std::string_view weights;  // the initial weights' name: "orthogonal" or "lecun", both of variance 1 / inputs
};

// Every recipe, the default first.
[[nodiscard]] std::span<const RecipeInfo> recipes();
[[nodiscard]] const RecipeInfo& recipe_info(Recipe recipe);
[[nodiscard]] Options recipe_options(Recipe recipe);

[[nodiscard]] std::string_view to_string(Recipe recipe);
// Throws std::invalid_argument with the accepted names.
[[nodiscard]] Recipe parse_recipe(std::string_view text);

}  // namespace anact
