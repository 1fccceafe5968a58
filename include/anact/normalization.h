// From the statistics of an activation to the affine map that normalizes it.
//
// The derivation, with the sources of each formula, is in docs/math.md.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "anact/moments.h"

namespace anact {

// Which scale lambda. rho is the forward gain, rho' the backward gain.
enum class Solution : std::uint8_t {
  exact,       // lambda^2 = 1/rho', and the output mean b that meets the target: both properties hold
  compromise,  // lambda^2 = (1/rho + 1/rho') / 2, the paper's
  forward,     // lambda^2 = 1/rho
  backward,    // lambda^2 = 1/rho'
  geometric,   // lambda^2 = 1/sqrt(rho rho')
};

// What E[y^2] is held to.
enum class Target : std::uint8_t {
  damped,  // v^kDamping: a deviation of v from 1 decays by this power from layer to layer
  input,   // v, the variance that came in (the paper): deviations add up
  unit,    // 1: deviations end at the layer that made them
};

// log E[y^2] = kDamping log v: what the weights add to log v is forgotten over about 1 / (1 - kDamping) = 4 layers.
inline constexpr double kDamping = 0.75;

// What E[y^2] is held to for an input of variance `input_variance` (at least 0).
[[nodiscard]] double target_moment(Target target, double input_variance);

// Which forward gain rho is.
enum class Gain : std::uint8_t {
  activation,  // s / v (the paper)
  output,      // (s - mu^2) / v: the gain of what is emitted when the mean is subtracted; s / v when it is not
};

// Which statistics the factors of a training step come from. Always constants to the gradient.
enum class StatisticsSource : std::uint8_t {
  previous,  // the running statistics as they stood before this batch; one pass over the input. The first batch uses
             // its own
  running,   // the running statistics with this batch in
  batch,     // this batch alone
  fixed,     // the statistics as they are, never updated: of N(0, 1), unless others were loaded or, with the option
             // init_batch, of the first batch
};

struct NormalizationOptions {
  Solution solution = Solution::exact;
  Target target = Target::damped;
  Gain gain = Gain::activation;
  bool centre = true;
  double lambda_min = 0.1;
  double lambda_max = 10;
};

// The largest that the learnable alpha can add to or take from lambda: scale = lambda + kAlphaRange * tanh(alpha).
inline constexpr double kAlphaRange = 0.3;

// The affine map y = scale * f(x) + offset of one step, and what its gradient needs.
struct Factors {
  double scale = 1;        // lambda + 0.3 tanh(alpha)
  double offset = 0;       // b - scale * centre
  double centre = 0;       // mu, or 0 when the mean is not subtracted
  double scale_slope = 0;  // d scale / d alpha = 0.3 (1 - tanh^2 alpha); d y / d alpha = scale_slope * (f(x) - centre)
};

// rho and rho' as the options define them, for the target `input`.
struct Gains {
  double forward = 1;
  double backward = 1;
};
[[nodiscard]] Gains gains(const Statistics& statistics, const NormalizationOptions& options);

// lambda for these statistics, clamped to the bounds. A zero gain (a dead layer) gives lambda_max; statistics that are
// all zero give lambda_max too; never NaN for finite statistics.
[[nodiscard]] double lambda(const Statistics& statistics, const NormalizationOptions& options);

// The output mean b of `exact`, -sqrt(max(0, target - lambda^2 (s - mu^2))): below 0, which draws the samples' norms
// together where f bends upwards (docs/math.md, section 10). Zero for every other solution.
[[nodiscard]] double output_shift(const Statistics& statistics, const NormalizationOptions& options);

[[nodiscard]] Factors factors(const Statistics& statistics, double alpha, const NormalizationOptions& options);

// Factors::scale_slope, which depends on alpha alone.
[[nodiscard]] double scale_slope(double alpha);

// Throws std::invalid_argument for bounds that are not 0 < lambda_min <= lambda_max < inf, and for `exact` without
// centre (its shift replaces the mean, so there is nothing to leave in).
void validate(const NormalizationOptions& options);

// Names as users type them: "compromise", "input", "activation", "previous", …
[[nodiscard]] std::string_view to_string(Solution value);
[[nodiscard]] std::string_view to_string(Target value);
[[nodiscard]] std::string_view to_string(Gain value);
[[nodiscard]] std::string_view to_string(StatisticsSource value);

// The inverse. Each throws std::invalid_argument with the accepted names.
[[nodiscard]] Solution parse_solution(std::string_view text);
[[nodiscard]] Target parse_target(std::string_view text);
[[nodiscard]] Gain parse_gain(std::string_view text);
[[nodiscard]] StatisticsSource parse_statistics_source(std::string_view text);

// Every value, the default first.
[[nodiscard]] std::span<const Solution> all_solutions();
[[nodiscard]] std::span<const Target> all_targets();
[[nodiscard]] std::span<const Gain> all_gains();
[[nodiscard]] std::span<const StatisticsSource> all_statistics_sources();

}  // namespace anact
