#include "models/norm.h"

#include <gtest/gtest.h>

#include "models/cnn.h"
#include "models/mlp.h"
#include "models/networks.h"
#include "models/reference.h"
#include "models/resnet.h"

namespace anact::models {
namespace {

using namespace test;

constexpr std::array kNorms{Norm::none, Norm::batch, Norm::group, Norm::layer};

TEST(Norm, NamesAreReadBackAndOthersRefused) {
  for (const auto norm : kNorms) EXPECT_EQ(parse_norm(to_string(norm)), norm);
  EXPECT_EQ(refusal([] { (void)parse_norm("Batch"); }), "expected none, batch, group or layer, found 'Batch'");
  EXPECT_EQ(refusal([] { (void)parse_norm(""); }), "expected none, batch, group or layer, found ''");
}

TEST(Norm, GroupsDivideTheChannelsAndAreThePapersWhereTheyCanBe) {
  for (const std::int64_t channels : {64, 128, 256, 512, 2048}) EXPECT_EQ(norm_groups(channels, 2), 32);
  for (const auto& [channels, groups] :
       {std::pair<std::int64_t, std::int64_t>{16, 8}, {32, 16}, {6, 3}, {7, 1}, {1, 1}, {2, 1}, {96, 32}, {100, 25}}) {
    EXPECT_EQ(norm_groups(channels, 2), groups) << channels;
  }
  for (const auto& [features, groups] : {std::pair<std::int64_t, std::int64_t>{128, 8}, {512, 32}, {9, 1}, {100, 5}}) {
    EXPECT_EQ(norm_groups(features, 16), groups) << features;
  }
  for (std::int64_t channels = 1; channels < 200; ++channels) EXPECT_EQ(channels % norm_groups(channels, 2), 0);
}

// The scale and shift of each channel, which are 1 and 0 at the start.
void randomize(const torch::nn::Module& model) {
  const torch::NoGradGuard no_grad;
  for (auto& item : model.named_parameters()) item.value().normal_(0.1, 0.5, generator(item.key().size()));
}

torch::Tensor per_channel(const torch::Tensor& values, std::int64_t dims) {
  return dims == 2 ? values : values.view({-1, 1, 1});
}

TEST(Norm, ModulesAreTheFormulasOnImagesAndFeatures) {
  for (const auto norm : kNorms) {
    for (const bool image : {true, false}) {
      SCOPED_TRACE(std::string(to_string(norm)) + (image ? " of images" : " of features"));
      const std::int64_t channels = image ? 6 : 34;
      auto module = image ? make_image_norm(norm, channels) : make_feature_norm(norm, channels);
      EXPECT_EQ(module.is_empty(), norm == Norm::none);
      const auto options = torch::TensorOptions(torch::kDouble);
      const auto x = image ? at::randn({3, channels, 5, 7}, generator(1), options)
                           : at::randn({9, channels}, generator(1), options);
      auto expected = normed_by_formula(norm, x, image ? 3 : 2);
      if (!module.is_empty()) {
        module.ptr()->to(torch::kDouble);
        randomize(*module.ptr());
        const auto parameters = parameters_of(*module.ptr());
        ASSERT_EQ(parameters.size(), 2u);
        EXPECT_EQ(parameters.at("weight").sizes(), (std::vector<std::int64_t>{channels}));
        expected =
            expected * per_channel(parameters.at("weight"), x.dim()) + per_channel(parameters.at("bias"), x.dim());
      }
      EXPECT_TRUE(apply_norm(module, x).allclose(expected, 1e-11, 1e-12));
    }
  }
}

TEST(Norm, StandsBetweenLayerAndActivationOfPlainNetworks) {
  for (const auto norm : kNorms) {
    SCOPED_TRACE(to_string(norm));
    const auto input = images(5, 3, 6).to(torch::kDouble);
    CNN cnn(CNNOptions{.classes = 4, .widths = {6}, .blocks = 1, .norm = norm, .activation = plain("silu")});
    MLP mlp(
        MLPOptions{.inputs = 108, .classes = 4, .depth = 1, .width = 34, .norm = norm, .activation = plain("silu")});
    cnn->to(torch::kDouble), mlp->to(torch::kDouble);
    const auto of_cnn = parameters_of(*cnn), of_mlp = parameters_of(*mlp);
    // A convolution has a bias or a norm.
    EXPECT_EQ(of_cnn.contains("conv0.bias"), norm == Norm::none);
    EXPECT_EQ(of_cnn.contains("norm0.weight"), norm != Norm::none);
    auto z = torch::conv2d(input, of_cnn.at("conv0.weight"),
                           norm == Norm::none ? of_cnn.at("conv0.bias") : torch::Tensor(), 1, 1);
    auto x = torch::silu(normed_by_formula(norm, z, 3)).mean({2, 3});
    auto expected = x.matmul(of_cnn.at("output.weight").t()) + of_cnn.at("output.bias");
    EXPECT_TRUE(cnn->forward(input).allclose(expected, 1e-11, 1e-12));
    z = input.flatten(1).matmul(of_mlp.at("linear0.weight").t()) + of_mlp.at("linear0.bias");
    expected =
        torch::silu(normed_by_formula(norm, z, 2)).matmul(of_mlp.at("output.weight").t()) + of_mlp.at("output.bias");
    EXPECT_TRUE(mlp->forward(input).allclose(expected, 1e-11, 1e-12));
  }
}

TEST(Norm, ReplacesTheBatchNormsOfAResNetOneByOne) {
  for (const auto& [depth, bottleneck] : {std::pair<std::int64_t, bool>{18, false}, {50, true}}) {
    const auto make = [depth = depth](Norm norm) {
      return ResNet(ResNetOptions{.classes = 10, .depth = depth, .norm = norm, .activation = plain("relu")});
    };
    const auto batch = parameters_of(*make(Norm::batch));
    for (const auto norm : {Norm::group, Norm::layer}) {
      const auto other = parameters_of(*make(norm));
      ASSERT_EQ(other.size(), batch.size());
      for (const auto& [name, value] : batch) EXPECT_EQ(other.at(name).sizes(), value.sizes()) << name;
    }
    // A bias for each scale and shift that there was.
    const auto none = parameters_of(*make(Norm::none));
    std::int64_t norms = 0;
    for (const auto& [name, value] : batch) norms += value.dim() == 4 ? 1 : 0;
    EXPECT_EQ(none.size(), batch.size() - static_cast<std::size_t>(norms));
    EXPECT_TRUE(none.contains("layer2.0.downsample.0.bias"));
    for (const auto& [name, value] : none) EXPECT_EQ(name.find("bn"), std::string::npos) << name;
  }
}

TEST(Norm, KeepsChannelsLastAndPassesGradientsEverywhere) {
  for (const auto norm : {Norm::none, Norm::group, Norm::layer}) {
    SCOPED_TRACE(to_string(norm));
    {
      const Recorders recorders;
      CNN model(CNNOptions{.classes = 5, .widths = {6, 10}, .norm = norm, .activation = recorders.factory()});
      expect_one_module_a_place_that_keeps_channels_last(model, recorders, images(2, 3, 16), 4);
    }
    const Recorders recorders;
    ResNet model(ResNetOptions{.classes = 5, .depth = 20, .norm = norm, .activation = recorders.factory()});
    expect_one_module_a_place_that_keeps_channels_last(model, recorders, images(2, 3, 16), 19);
    ResNet trained(ResNetOptions{.classes = 5, .depth = 18, .norm = norm, .activation = normalized("silu")});
    expect_gradients_everywhere(trained, images(3, 3, 16));
  }
}

}  // namespace
}  // namespace anact::models
