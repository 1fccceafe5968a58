#include "models/catalogue.h"

#include <gtest/gtest.h>

#include <set>

#include "models/cnn.h"
#include "models/mlp.h"
#include "models/networks.h"

namespace anact::models {
namespace {

using namespace test;

NetworkOptions options(const std::string& name) {
  return {.name = name, .channels = 3, .height = 32, .width = 32, .classes = 10, .activation = plain("relu")};
}

std::map<std::string, torch::Tensor> parameters_of(const NetworkOptions& given) {
  return test::parameters_of(*make_network(given));
}

TEST(Catalogue, MakesEveryNetworkItNames) {
  const std::map<std::string, std::int64_t> parameters{
      {"mlp", 3073 * 128 + 19 * 129 * 128 + 129 * 10},
      {"cnn", 9 * (3 * 32 + 32 * 32 + 32 * 64 + 64 * 64 + 64 * 128 + 128 * 128) + 2 * (32 + 64 + 128) + 129 * 10},
      {"resnet18", 11'173'962},
      {"resnet34", 21'282'122},
      {"resnet50", 23'520'842},
      {"resnet20", 269'722},
      {"resnet56", 853'018},
      {"resnet110", 1'727'962}};
  std::set<std::string> names;
  for (const auto& info : networks()) {
    names.emplace(info.name);
    EXPECT_FALSE(info.title.empty());
    const auto network = make_network(options(std::string(info.name)));
    EXPECT_EQ(parameter_count(*network), parameters.at(std::string(info.name))) << info.name;
    network->eval();
    EXPECT_EQ(network->forward(images(1, 3, 32)).sizes(), (std::vector<std::int64_t>{1, 10})) << info.name;
  }
  EXPECT_EQ(names.size(), parameters.size());
  EXPECT_EQ(networks().size(), parameters.size());
}

TEST(Catalogue, OptionsReachTheNetworkTheyAreOf) {
  auto mlp = options("mlp");
  mlp.depth = 2;
  mlp.units = 5;
  mlp.norm = Norm::layer;
  const auto mlp_options = std::dynamic_pointer_cast<MLPImpl>(make_network(mlp))->options;
  EXPECT_EQ(mlp_options.inputs, 3 * 32 * 32);
  EXPECT_EQ(mlp_options.depth, 2);
  EXPECT_EQ(mlp_options.width, 5);
  EXPECT_EQ(mlp_options.norm, Norm::layer);
  auto cnn = options("cnn");
  cnn.widths = {4, 6};
  cnn.blocks = 3;
  cnn.norm = Norm::batch;
  cnn.channels = 1;
  const auto cnn_options = std::dynamic_pointer_cast<CNNImpl>(make_network(cnn))->options;
  EXPECT_EQ(cnn_options.widths, (std::vector<std::int64_t>{4, 6}));
  EXPECT_EQ(cnn_options.blocks, 3);
  EXPECT_EQ(cnn_options.channels, 1);
  EXPECT_EQ(cnn_options.norm, Norm::batch);
  auto resnet = options("resnet18");
  resnet.stem = ResNetStem::imagenet;
  EXPECT_EQ(parameters_of(resnet).at("conv1.weight").size(2), 7);
  // Those for CIFAR have one stem.
  resnet.name = "resnet20";
  EXPECT_EQ(parameters_of(resnet).at("conv1.weight").size(2), 3);
  EXPECT_EQ(std::dynamic_pointer_cast<ResNetImpl>(make_network(resnet))->options.norm, Norm::batch);
  resnet.norm = Norm::none;
  EXPECT_EQ(std::dynamic_pointer_cast<ResNetImpl>(make_network(resnet))->options.norm, Norm::none);
  EXPECT_EQ(std::dynamic_pointer_cast<MLPImpl>(make_network(options("mlp")))->options.norm, Norm::none);
  EXPECT_EQ(std::dynamic_pointer_cast<CNNImpl>(make_network(options("cnn")))->options.norm, Norm::none);
}

TEST(Catalogue, RefusesWhatItHasNot) {
  const auto message = [](NetworkOptions given, auto change) {
    change(given);
    return refusal([&] { (void)make_network(given); });
  };
  const auto unknown = message(options("resnet51"), [](auto&) {});
  EXPECT_TRUE(unknown.starts_with("unknown network 'resnet51'; did you mean resnet50")) << unknown;
  EXPECT_TRUE(unknown.ends_with("; there are mlp, cnn, resnet18, resnet34, resnet50, resnet20, resnet56, resnet110"))
      << unknown;
  EXPECT_EQ(message(options("transformer"), [](auto&) {}).find("did you mean"), std::string::npos);
  EXPECT_EQ(message(options("resnet20"), [](auto& o) { o.channels = 0; }),
            "resnet20: channels is 0; it must be at least 1");
  EXPECT_EQ(message(options("mlp"), [](auto& o) { o.height = -1; }), "mlp: height is -1; it must be at least 1");
  EXPECT_EQ(message(options("cnn"), [](auto& o) { o.width = 0; }), "cnn: width is 0; it must be at least 1");
  EXPECT_EQ(message(options("cnn"), [](auto& o) { o.width = 3; }),
            "cnn: an image of 32x3 is too small to be halved between 3 stages");
  EXPECT_EQ(message(options("cnn"), [](auto& o) { o.width = 4; }), "no error");
  EXPECT_EQ(message(options("mlp"), [](auto& o) { o.depth = 0; }), "MLP: depth is 0; it must be at least 1");
  EXPECT_EQ(message(options("resnet18"), [](auto& o) { o.classes = 0; }),
            "ResNet: classes is 0; it must be at least 1");
  EXPECT_EQ(message(options("cnn"), [](auto& o) { o.activation = {}; }), "CNN: activation is not set");
}

TEST(Catalogue, StemsHaveNames) {
  for (const auto stem : {ResNetStem::cifar, ResNetStem::tiny_imagenet, ResNetStem::imagenet}) {
    EXPECT_EQ(parse_stem(to_string(stem)), stem);
  }
  EXPECT_EQ(refusal([] { (void)parse_stem("cifra"); }),
            "unknown stem 'cifra'; did you mean cifar; there are cifar, tiny-imagenet, imagenet");
}

}  // namespace
}  // namespace anact::models
