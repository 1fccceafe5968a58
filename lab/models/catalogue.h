// The networks by their names.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/activation.h"
#include "models/network.h"
#include "models/norm.h"
#include "models/resnet.h"
#include "models/weighted.h"

namespace anact::models {

struct NetworkInfo {
  std::string_view name;
  std::string_view title;  // what it is, for a list
};

// mlp, cnn, resnet18, resnet34, resnet50, resnet20, resnet56, resnet110.
[[nodiscard]] std::span<const NetworkInfo> networks();

// The one of that name. Throws std::invalid_argument for a name that there is not, with the nearest ones.
[[nodiscard]] const NetworkInfo& find_network(std::string_view name);

// What an option means for which network stands behind it; the others have no use for it.
struct NetworkOptions {
  std::string name = "mlp";
  // Of the images.
  std::int64_t channels = 0;
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::int64_t classes = 0;
  std::int64_t depth = 20;                        // mlp: hidden layers
  std::int64_t units = 128;                       // mlp: units of each
  std::vector<std::int64_t> widths{32, 64, 128};  // cnn: channels of each stage
  std::int64_t blocks = 2;                        // cnn: convolutions to a stage
  std::optional<Norm> norm = std::nullopt;        // the network's own when not set: batch in a ResNet, else none
  ResNetStem stem = ResNetStem::cifar;            // resnet…
  WeightStandardization standardization = WeightStandardization::none;  // of all layers but the last
  Residual residual = Residual::post;                                   // resnet…
  bool skip_init = false;                                               // resnet…
  ActivationFactory activation;
};

// Throws std::invalid_argument as find_network and the network's own constructor do.
[[nodiscard]] std::shared_ptr<Network> make_network(const NetworkOptions& options);

// "cifar", "tiny-imagenet", "imagenet".
[[nodiscard]] std::string_view to_string(ResNetStem stem);
[[nodiscard]] ResNetStem parse_stem(std::string_view text);

}  // namespace anact::models
