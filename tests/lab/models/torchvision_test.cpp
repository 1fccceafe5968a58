// Weights to and from torchvision's networks.

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "models/catalogue.h"
#include "models/networks.h"
#include "models/weights.h"
#include "support/python.h"
#include "support/temporary_folder.h"

namespace anact::models {
namespace {

using namespace test;
using anact::test::TemporaryFolder;

std::shared_ptr<Network> make(const std::string& name, ActivationFactory activation) {
  return make_network({.name = name,
                       .channels = 3,
                       .height = 224,
                       .width = 224,
                       .classes = 1000,
                       .stem = ResNetStem::imagenet,
                       .activation = std::move(activation)});
}

TEST(SlowTorchvision, WeightsGoBothWays) {
  const TemporaryFolder folder;
  const auto exchange = anact::test::script(__FILE__, "torchvision_exchange.py");
  ANACT_RUN_PYTHON(exchange, "make", folder.path().string());
  const torch::NoGradGuard no_grad;
  for (const std::string name : {"resnet18", "resnet50"}) {
    SCOPED_TRACE(name);
    const auto network = make(name, plain("relu"));
    const io::Safetensors file(folder / (name + ".safetensors"));
    EXPECT_TRUE(load_weights(*network, folder / (name + ".safetensors")).empty());
    network->eval();
    std::map<std::string, torch::Tensor> example;
    for (const auto& [key, tensor] : tensors_of(io::Safetensors(folder / (name + "-example.safetensors")))) {
      example[key] = tensor;
    }
    const auto& logits = example.at("logits");
    const auto found = network->forward(example.at("input"));
    EXPECT_LT(((found - logits).norm() / logits.norm()).item<double>(), 1e-4);
    // The state_dict's order too.
    std::vector<std::string> names;
    for (const auto& [key, tensor] : state(*network)) names.push_back(key);
    EXPECT_EQ(nlohmann::json(names), nlohmann::json::parse(file.metadata().at("names")));
    save_tensors(folder / (name + "-back.safetensors"), state(*network));
    // A network with ANAct begins from the same weights.
    const auto normalizing = make(name, normalized("relu"));
    EXPECT_EQ(load_weights(*normalizing, folder / (name + ".safetensors")).size(),
              name == "resnet18" ? 17u * 7 : 49 * 7);
    EXPECT_TRUE(state(*normalizing).front().second.equal(state(*network).front().second));
  }
  ANACT_RUN_PYTHON(exchange, "check", folder.path().string());
}

}  // namespace
}  // namespace anact::models
