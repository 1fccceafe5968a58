#include "models/catalogue.h"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <utility>

#include "math/names.h"
#include "models/check.h"
#include "models/cnn.h"
#include "models/mlp.h"

namespace anact::models {
namespace {

constexpr std::array<NetworkInfo, 8> kNetworks{
    {{"mlp", "multilayer perceptron"},
     {"cnn", "plain convolutional network, in the manner of VGG"},
     {"resnet18", "ResNet-18: basic blocks, four stages of 64 to 512 channels"},
     {"resnet34", "ResNet-34: basic blocks, four stages of 64 to 512 channels"},
     {"resnet50", "ResNet-50: bottlenecks, four stages of 256 to 2048 channels"},
     {"resnet20", "ResNet-20 for CIFAR: basic blocks, three stages of 16 to 64 channels"},
     {"resnet56", "ResNet-56 for CIFAR: basic blocks, three stages of 16 to 64 channels"},
     {"resnet110", "ResNet-110 for CIFAR: basic blocks, three stages of 16 to 64 channels"}}};

struct ResidualNetwork {
  std::string_view name;
  std::int64_t depth;
  bool any_stem;  // otherwise that for CIFAR alone
};
constexpr std::array<ResidualNetwork, 6> kResidualNetworks{{{"resnet18", 18, true},
                                                            {"resnet34", 34, true},
                                                            {"resnet50", 50, true},
                                                            {"resnet20", 20, false},
                                                            {"resnet56", 56, false},
                                                            {"resnet110", 110, false}}};

constexpr std::array<std::pair<std::string_view, ResNetStem>, 3> kStems{
    {{"cifar", ResNetStem::cifar}, {"tiny-imagenet", ResNetStem::tiny_imagenet}, {"imagenet", ResNetStem::imagenet}}};

// Each stage of the CNN but the last halves the image.
void check_side(const NetworkOptions& options) {
  std::int64_t side = std::min(options.height, options.width);
  for (std::size_t stage = 1; stage < options.widths.size(); ++stage) side /= 2;
  if (side >= 1) return;
  throw std::invalid_argument("cnn: an image of " + std::to_string(options.height) + "x" +
                              std::to_string(options.width) + " is too small to be halved between " +
                              std::to_string(options.widths.size()) + " stages");
}

}  // namespace

std::span<const NetworkInfo> networks() { return kNetworks; }

const NetworkInfo& find_network(std::string_view name) {
  const auto found = std::ranges::find(kNetworks, name, &NetworkInfo::name);
  if (found != kNetworks.end()) return *found;
  throw std::invalid_argument(unknown_choice("network", name, names_of(kNetworks)));
}

std::shared_ptr<Network> make_network(const NetworkOptions& options) {
  const std::string_view name = find_network(options.name).name;
  for (const auto& [option, value] :
       {std::pair{"channels", options.channels}, {"height", options.height}, {"width", options.width}}) {
    check_positive(name, option, value);
  }
  if (name == "mlp") {
    return std::make_shared<MLPImpl>(MLPOptions{.inputs = options.channels * options.height * options.width,
                                                .classes = options.classes,
                                                .depth = options.depth,
                                                .width = options.units,
                                                .norm = options.norm.value_or(Norm::none),
                                                .standardization = options.standardization,
                                                .activation = options.activation});
  }
  if (name == "cnn") {
    check_side(options);
    return std::make_shared<CNNImpl>(CNNOptions{.channels = options.channels,
                                                .classes = options.classes,
                                                .widths = options.widths,
                                                .blocks = options.blocks,
                                                .norm = options.norm.value_or(Norm::none),
                                                .standardization = options.standardization,
                                                .activation = options.activation});
  }
  const auto& network = *std::ranges::find(kResidualNetworks, name, &ResidualNetwork::name);
  return std::make_shared<ResNetImpl>(ResNetOptions{.channels = options.channels,
                                                    .classes = options.classes,
                                                    .depth = network.depth,
                                                    .stem = network.any_stem ? options.stem : ResNetStem::cifar,
                                                    .norm = options.norm.value_or(Norm::batch),
                                                    .standardization = options.standardization,
                                                    .residual = options.residual,
                                                    .skip_init = options.skip_init,
                                                    .activation = options.activation});
}

std::string_view to_string(ResNetStem stem) { return kStems.at(static_cast<std::size_t>(stem)).first; }

ResNetStem parse_stem(std::string_view text) {
  std::array<std::string_view, kStems.size()> names;
  for (std::size_t i = 0; i < kStems.size(); ++i) {
    if (kStems[i].first == text) return kStems[i].second;
    names[i] = kStems[i].first;
  }
  throw std::invalid_argument(unknown_choice("stem", text, names));
}

}  // namespace anact::models
