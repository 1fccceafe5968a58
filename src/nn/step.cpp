#include "nn/step.h"

#include <numbers>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "anact/gaussian.h"
#include "ops/fallback/anact.h"

namespace anact::nn {
namespace {

// The statistics under N(0, 1), by the midpoint rule, which converges exponentially for a smooth f. An f with kinks has
// most often one at 0, which lies between two nodes.
Statistics gaussian_statistics(const CustomActivation& activation) {
  constexpr std::int64_t kNodes = 1 << 15;
  constexpr double kReach = 12;
  constexpr double kStep = 2 * kReach / kNodes;
  const torch::NoGradGuard no_grad;
  const auto [value, derivative] = ops::fallback::to_functions(activation);
  const auto x = (torch::arange(kNodes, torch::kDouble) + 0.5) * kStep - kReach;
  const auto weight = torch::exp(x.square() * -0.5) * (kStep * std::numbers::inv_sqrtpi / std::numbers::sqrt2);
  const auto f = value(x);
  const Statistics result{.output_mean = (weight * f).sum().item<double>(),
                          .output_square = (weight * f.square()).sum().item<double>(),
                          .input_variance = 1,
                          .backward_gain = (weight * derivative(x).square()).sum().item<double>()};
  if (!result.is_finite()) {
    throw std::invalid_argument("ANAct: the custom activation \"" + activation.name +
                                "\" is not finite under N(0, 1); f and f' must be on [-12, 12]");
  }
  return result;
}

}  // namespace

Statistics gaussian_statistics(const ANActOptions& options) {
  if (options.custom()) return gaussian_statistics(*options.custom());
  // The functional form asks in every call.
  thread_local std::optional<std::pair<Activation, Statistics>> last;
  if (!last || last->first != options.activation()) {
    last.emplace(options.activation(), anact::gaussian_statistics(options.activation()));
  }
  return last->second;
}

bool is_frozen(const torch::Tensor& alpha, const ANActOptions& options) {
  return options.values().learnable && !alpha.requires_grad();
}

torch::Tensor step(const torch::Tensor& input, const torch::Tensor& alpha, const ops::RunningStatistics& running,
                   const torch::Tensor& num_skipped, const ANActOptions& options, bool training) {
  const auto of = [&](const auto& activation) {
    return ops::step(input, alpha, running, num_skipped, activation, options.values(), training);
  };
  return options.custom() ? of(*options.custom()) : of(options.activation());
}

torch::Tensor normalize(const torch::Tensor& input, const ANActOptions& options) {
  const auto scalar = torch::TensorOptions()
                          .dtype(input.scalar_type() == torch::kDouble ? torch::kDouble : torch::kFloat)
                          .device(input.device());
  const auto normal = gaussian_statistics(options);
  const auto count = scalar.dtype(torch::kLong);
  const ops::RunningStatistics running{torch::full({}, normal.output_mean, scalar),
                                       torch::full({}, normal.output_square, scalar),
                                       torch::full({}, normal.input_variance, scalar),
                                       torch::full({}, normal.backward_gain, scalar), torch::zeros({}, count)};
  auto of_batch = options;
  of_batch.statistics(StatisticsSource::batch).init_batch(false).momentum(1).gate(std::nullopt);
  return step(input, torch::zeros({}, scalar), running, torch::zeros({}, count), of_batch, /*training=*/true);
}

}  // namespace anact::nn
