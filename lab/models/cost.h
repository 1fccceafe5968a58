// What a network costs.
#pragma once

#include <cstdint>

#include "models/network.h"

namespace anact::models {

struct Cost {
  std::int64_t parameters = 0;     // elements of all of them, those of the activations too
  std::int64_t multiply_adds = 0;  // of linear layers and convolutions, for one image; biases are not counted
  std::int64_t activations = 0;    // places that have one
};

// Counts on a forward pass, in evaluation, of one image of zeros. The network is left as it was. Throws as its forward
// does for an image that is too small.
[[nodiscard]] Cost cost(Network& network, std::int64_t channels, std::int64_t height, std::int64_t width);

}  // namespace anact::models
