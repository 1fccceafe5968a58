// What stands between a weighted layer and its activation, whether that is an ANAct or a plain one.
#pragma once

#include <torch/nn/modules/container/any.h>
#include <torch/types.h>

#include <cstdint>
#include <string_view>

namespace anact::models {

enum class Norm {
  none,
  batch,  // BatchNorm (Ioffe and Szegedy, 2015)
  group,  // GroupNorm (Wu and He, 2018), of norm_groups() groups
  layer,  // LayerNorm (Ba, Kiros and Hinton, 2016): over the features, of images over channels, height and width, which
          // is a GroupNorm of one group
};

// "none", "batch", "group", "layer".
[[nodiscard]] std::string_view to_string(Norm value);
// Throws std::invalid_argument with the accepted names.
[[nodiscard]] Norm parse_norm(std::string_view text);

// The groups of a GroupNorm: as many as divide the channels, up to the paper's 32, while each keeps `least` channels;
// 1 when there are no more. Images keep the 2 channels that the paper's smallest groups have; of features, which are
// single values, a group keeps 16, the paper's other setting.
[[nodiscard]] std::int64_t norm_groups(std::int64_t channels, std::int64_t least);

// A new module for batch x channels x height x width, or for batch x features; each with a learnt scale and shift of
// every channel. Empty for Norm::none.
[[nodiscard]] torch::nn::AnyModule make_image_norm(Norm norm, std::int64_t channels);
[[nodiscard]] torch::nn::AnyModule make_feature_norm(Norm norm, std::int64_t features);

// Passes on what an empty module is given.
[[nodiscard]] torch::Tensor apply_norm(torch::nn::AnyModule& norm, const torch::Tensor& input);

}  // namespace anact::models
