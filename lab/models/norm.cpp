#include "models/norm.h"

#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/normalization.h>

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string>

namespace anact::models {
namespace {

constexpr std::array<std::string_view, 4> kNames{"none", "batch", "group", "layer"};
constexpr std::int64_t kMostGroups = 32;
constexpr std::int64_t kLeastChannels = 2;
constexpr std::int64_t kLeastFeatures = 16;

torch::nn::AnyModule group_norm(std::int64_t groups, std::int64_t channels) {
  return torch::nn::AnyModule(torch::nn::GroupNorm(groups, channels));
}

}  // namespace

std::string_view to_string(Norm value) { return kNames.at(static_cast<std::size_t>(value)); }

Norm parse_norm(std::string_view text) {
  const auto found = std::ranges::find(kNames, text);
  if (found != kNames.end()) return static_cast<Norm>(found - kNames.begin());
  throw std::invalid_argument("expected none, batch, group or layer, found '" + std::string(text) + "'");
}

std::int64_t norm_groups(std::int64_t channels, std::int64_t least) {
  std::int64_t groups = std::min(kMostGroups, channels / least);
  while (groups > 1 && channels % groups != 0) --groups;
  return std::max<std::int64_t>(groups, 1);
}

torch::nn::AnyModule make_image_norm(Norm norm, std::int64_t channels) {
  switch (norm) {
    case Norm::none:
      break;
    case Norm::batch:
      return torch::nn::AnyModule(torch::nn::BatchNorm2d(channels));
    case Norm::group:
      return group_norm(norm_groups(channels, kLeastChannels), channels);
    case Norm::layer:
      return group_norm(1, channels);
  }
  return {};
}

torch::nn::AnyModule make_feature_norm(Norm norm, std::int64_t features) {
  switch (norm) {
    case Norm::none:
      break;
    case Norm::batch:
      return torch::nn::AnyModule(torch::nn::BatchNorm1d(features));
    case Norm::group:
      return group_norm(norm_groups(features, kLeastFeatures), features);
    case Norm::layer:
      return torch::nn::AnyModule(torch::nn::LayerNorm(torch::nn::LayerNormOptions({features})));
  }
  return {};
}

torch::Tensor apply_norm(torch::nn::AnyModule& norm, const torch::Tensor& input) {
  return norm.is_empty() ? input : norm.forward(input);
}

}  // namespace anact::models
