#include "models/activation.h"

#include <array>
#include <cmath>
#include <stdexcept>

#include "anact/gaussian.h"
#include "ops/step.h"

namespace anact::models {
namespace {

constexpr std::array<LearntActivationInfo, 2> kLearnt{
    {{.name = "swish-beta",
      .parameter = "beta",
      .start = {.kind = ActivationKind::silu, .parameters = {}},
      .initial = [] { return torch::ones({}); },
      .value = [](const torch::Tensor& x, const torch::Tensor& beta) { return x * torch::sigmoid(beta * x); }},
     {.name = "prelu",
      .parameter = "weight",
      .start = {.kind = ActivationKind::leaky_relu, .parameters = {0.25}},
      .initial = [] { return torch::full({1}, 0.25); },
      .value = [](const torch::Tensor& x, const torch::Tensor& slope) { return torch::prelu(x, slope); }}}};

}  // namespace

void PlainActivationImpl::pretty_print(std::ostream& stream) const { stream << activation.to_string(); }

torch::Tensor PlainActivationImpl::forward(const torch::Tensor& input) { return ops::plain(input, activation, scale); }

std::span<const LearntActivationInfo> learnt_activations() { return kLearnt; }

LearntActivationImpl::LearntActivationImpl(const LearntActivationInfo& info, double scale) : info(&info), scale(scale) {
  reset();
}

void LearntActivationImpl::reset() { parameter = register_parameter(std::string(info->parameter), info->initial()); }

void LearntActivationImpl::pretty_print(std::ostream& stream) const { stream << info->name; }

torch::Tensor LearntActivationImpl::forward(const torch::Tensor& input) {
  return ops::plain(input, parameter, info->name, scale, [&] { return info->value(input, parameter); });
}

double standardizing_scale(const Activation& activation) {
  const auto statistics = gaussian_statistics(activation);
  const double variance = statistics.output_square - statistics.output_mean * statistics.output_mean;
  if (!(variance > 0) || !std::isfinite(variance)) {
    throw std::invalid_argument("the output of " + activation.to_string() + " does not vary under N(0, 1)");
  }
  return 1 / std::sqrt(variance);
}

}  // namespace anact::models
