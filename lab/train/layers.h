// How activations and gradients grow from layer to layer.
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "anact/nn.h"
#include "models/network.h"

namespace anact::train {

// The ANAct modules of a network, first layer first.
[[nodiscard]] std::vector<const nn::ANActImpl*> anact_modules(const torch::nn::Module& network);

// The members of a `layers` event (docs/run-folder.md) that describe the network as it is, in training mode, on these
// inputs and labels. The network is left as it was.
[[nodiscard]] nlohmann::json measure_layers(models::Network& network, const torch::Tensor& inputs,
                                            const torch::Tensor& labels);

}  // namespace anact::train
