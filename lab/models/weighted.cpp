#include "models/weighted.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

namespace anact::models {
namespace {

constexpr std::array<std::string_view, 2> kNames{"none", "scaled"};
constexpr double kLeastSum = 1e-4;

// Registers the layer's gain where it has one.
template <class Layer>
torch::Tensor add_gain(Layer& layer, WeightStandardization standardization) {
  if (standardization == WeightStandardization::none) return {};
  return layer.register_parameter("gain", torch::ones({layer.weight.size(0)}));
}

}  // namespace

std::string_view to_string(WeightStandardization value) { return kNames.at(static_cast<std::size_t>(value)); }

WeightStandardization parse_weight_standardization(std::string_view text) {
  const auto found = std::ranges::find(kNames, text);
  if (found != kNames.end()) return static_cast<WeightStandardization>(found - kNames.begin());
  throw std::invalid_argument("expected none or scaled, found '" + std::string(text) + "'");
}

torch::Tensor standardized(const torch::Tensor& weight, const torch::Tensor& gain) {
  std::vector<std::int64_t> inputs(static_cast<std::size_t>(weight.dim()) - 1);
  std::iota(inputs.begin(), inputs.end(), 1);
  const auto [variance, mean] = torch::var_mean(weight, inputs, /*unbiased=*/false, /*keepdim=*/true);
  const double count = static_cast<double>(weight.numel()) / static_cast<double>(weight.size(0));
  return (weight - mean) * (torch::rsqrt(torch::clamp_min(variance * count, kLeastSum)) * gain.view_as(variance));
}

WeightedConv2dImpl::WeightedConv2dImpl(const torch::nn::Conv2dOptions& options, WeightStandardization standardization)
    : torch::nn::Conv2dImpl(options), gain(add_gain(*this, standardization)) {}

torch::Tensor WeightedConv2dImpl::forward(const torch::Tensor& input) {
  return gain.defined() ? _conv_forward(input, standardized(weight, gain)) : torch::nn::Conv2dImpl::forward(input);
}

WeightedLinearImpl::WeightedLinearImpl(const torch::nn::LinearOptions& options, WeightStandardization standardization)
    : torch::nn::LinearImpl(options), gain(add_gain(*this, standardization)) {}

torch::Tensor WeightedLinearImpl::forward(const torch::Tensor& input) {
  return gain.defined() ? torch::linear(input, standardized(weight, gain), bias)
                        : torch::nn::LinearImpl::forward(input);
}

}  // namespace anact::models
