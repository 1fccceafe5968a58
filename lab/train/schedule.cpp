#include "train/schedule.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <stdexcept>

#include "math/names.h"

namespace anact::train {
namespace {

// OneCycleLR's pct_start, div_factor and final_div_factor.
constexpr double kRise = 0.3;
constexpr double kInitialDivisor = 25;
constexpr double kFinalDivisor = 1e4;

// From `begin` at share 0 to `end` at share 1 along half a cosine.
double anneal(double begin, double end, double share) {
  return end + (begin - end) * (1 + std::cos(std::numbers::pi * share)) / 2;
}

double one_cycle(double largest, std::int64_t steps, std::int64_t step) {
  const double initial = largest / kInitialDivisor;
  const double peak = kRise * static_cast<double>(steps) - 1;
  const double last = static_cast<double>(steps) - 1;
  const auto t = static_cast<double>(step);
  if (t <= peak) return anneal(initial, largest, t / peak);
  return anneal(largest, initial / kFinalDivisor, std::min(1.0, (t - peak) / (last - peak)));
}

}  // namespace

ScheduleKind parse_schedule(std::string_view text) {
  constexpr std::array<std::string_view, 4> kNames{"constant", "cosine", "step", "one-cycle"};  // as the enumeration
  const auto found = std::ranges::find(kNames, text);
  if (found != kNames.end()) return static_cast<ScheduleKind>(found - kNames.begin());
  throw std::invalid_argument(unknown_choice("schedule", text, kNames));
}

double Schedule::rate(std::int64_t step) const {
  if (kind == ScheduleKind::one_cycle) return one_cycle(learning_rate, steps, step);
  if (step < warmup_steps) {
    return learning_rate * static_cast<double>(step + 1) / static_cast<double>(warmup_steps);
  }
  switch (kind) {
    case ScheduleKind::cosine: {
      const auto length = static_cast<double>(std::max<std::int64_t>(1, steps - warmup_steps));
      return anneal(learning_rate, 0, static_cast<double>(step - warmup_steps) / length);
    }
    case ScheduleKind::step: {
      const auto passed = std::ranges::count_if(milestones, [&](std::int64_t milestone) { return milestone <= step; });
      return learning_rate * std::pow(gamma, static_cast<double>(passed));
    }
    default:
      return learning_rate;
  }
}

}  // namespace anact::train
