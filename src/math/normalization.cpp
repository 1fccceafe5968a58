#include "anact/normalization.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <stdexcept>
#include <string>

#include "math/names.h"

namespace anact {
namespace {

// The names of each enumeration, in its order.
constexpr std::array<std::string_view, 5> kSolutionNames{"exact", "compromise", "forward", "backward", "geometric"};
constexpr std::array<std::string_view, 3> kTargetNames{"damped", "input", "unit"};
constexpr std::array<std::string_view, 2> kGainNames{"activation", "output"};
constexpr std::array<std::string_view, 4> kSourceNames{"previous", "running", "batch", "fixed"};

template <typename Enum, std::size_t N>
constexpr std::array<Enum, N> all(const std::array<std::string_view, N>&) {
  std::array<Enum, N> values{};
  for (std::size_t i = 0; i < N; ++i) values[i] = static_cast<Enum>(i);
  return values;
}
constexpr auto kSolutions = all<Solution>(kSolutionNames);
constexpr auto kTargets = all<Target>(kTargetNames);
constexpr auto kGains = all<Gain>(kGainNames);
constexpr auto kSources = all<StatisticsSource>(kSourceNames);

template <typename Enum, std::size_t N>
std::string_view name_of(const std::array<std::string_view, N>& names, Enum value) {
  const auto index = static_cast<std::size_t>(value);
  return index < N ? names[index] : "unknown";
}

template <typename Enum, std::size_t N>
Enum parse_name(const std::array<std::string_view, N>& names, std::string_view what, std::string_view text) {
  const auto found = std::ranges::find(names, text);
  if (found != names.end()) return static_cast<Enum>(found - names.begin());
  throw std::invalid_argument(unknown_name(what, text, names));
}

}  // namespace

void validate(const NormalizationOptions& options) {
  if (!(options.lambda_min > 0 && options.lambda_min <= options.lambda_max && std::isfinite(options.lambda_max))) {
    throw std::invalid_argument("lambda bounds [" + std::to_string(options.lambda_min) + ", " +
                                std::to_string(options.lambda_max) +
                                "] are not valid; expected 0 < lambda_min <= lambda_max < inf");
  }
  if (options.solution == Solution::exact && !options.centre) {
    throw std::invalid_argument(
        "solution \"exact\" without centre is not valid: its shift takes the place of the mean; expected centre on, or "
        "another solution");
  }
}

std::string_view to_string(Solution value) { return name_of(kSolutionNames, value); }
std::string_view to_string(Target value) { return name_of(kTargetNames, value); }
std::string_view to_string(Gain value) { return name_of(kGainNames, value); }
std::string_view to_string(StatisticsSource value) { return name_of(kSourceNames, value); }

Solution parse_solution(std::string_view text) { return parse_name<Solution>(kSolutionNames, "solution", text); }
Target parse_target(std::string_view text) { return parse_name<Target>(kTargetNames, "target", text); }
Gain parse_gain(std::string_view text) { return parse_name<Gain>(kGainNames, "gain", text); }
StatisticsSource parse_statistics_source(std::string_view text) {
  return parse_name<StatisticsSource>(kSourceNames, "statistics source", text);
}

std::span<const Solution> all_solutions() { return kSolutions; }
std::span<const Target> all_targets() { return kTargets; }
std::span<const Gain> all_gains() { return kGains; }
std::span<const StatisticsSource> all_statistics_sources() { return kSources; }

}  // namespace anact
