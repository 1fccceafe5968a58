#include "models/cnn.h"

#include <gtest/gtest.h>

#include "models/networks.h"

namespace anact::models {
namespace {

using namespace test;

CNN make(ActivationFactory activation, Norm norm = Norm::none, std::vector<std::int64_t> widths = {6, 10, 14},
         std::int64_t blocks = 2) {
  return CNN(CNNOptions{.channels = 3,
                        .classes = 5,
                        .widths = std::move(widths),
                        .blocks = blocks,
                        .norm = norm,
                        .activation = std::move(activation)});
}

// A 3x3 convolution of padding 1 as nine products of shifted images.
torch::Tensor convolve(const torch::Tensor& x, const torch::Tensor& weight) {
  const auto padded = torch::constant_pad_nd(x, {1, 1, 1, 1});
  const std::int64_t height = x.size(2), width = x.size(3);
  auto sum = torch::zeros({x.size(0), weight.size(0), height, width}, x.options());
  for (std::int64_t i = 0; i < 3; ++i) {
    for (std::int64_t j = 0; j < 3; ++j) {
      const auto shifted = padded.slice(2, i, i + height).slice(3, j, j + width);
      sum += torch::einsum("nchw,oc->nohw", {shifted, weight.select(3, j).select(2, i)});
    }
  }
  return sum;
}

torch::Tensor silu_of(const torch::Tensor& x) { return x / (1 + (-x).exp()); }

TEST(CNN, DefaultsAreThoseOfTheHeader) {
  const CNN model(CNNOptions{.classes = 10, .activation = plain("relu")});
  const std::int64_t convolutions = 3 * 32 + 32 * 32 + 32 * 64 + 64 * 64 + 64 * 128 + 128 * 128;
  EXPECT_EQ(parameter_count(*model), 9 * convolutions + 2 * (32 + 64 + 128) + 129 * 10);
}

TEST(CNN, CountsItsParameters) {
  const std::int64_t convolutions = 9 * (3 * 6 + 6 * 6 + 6 * 10 + 10 * 10 + 10 * 14 + 14 * 14), channels = 60;
  EXPECT_EQ(parameter_count(*make(plain("silu"))), convolutions + channels + 15 * 5);
  EXPECT_EQ(parameter_count(*make(plain("silu"), Norm::batch)), convolutions + 2 * channels + 15 * 5);
  EXPECT_EQ(parameter_count(*make(normalized("silu"))), convolutions + channels + 15 * 5 + 6);  // one alpha each
  EXPECT_EQ(parameter_count(*make(plain("silu"), Norm::none, {4}, 1)), 9 * 3 * 4 + 4 + 5 * 5);
}

TEST(CNN, NamesItsParameters) {
  std::vector<std::string> names;
  for (const auto& item : make(normalized("silu"), Norm::batch, {4}, 1)->named_parameters())
    names.push_back(item.key());
  EXPECT_EQ(names, (std::vector<std::string>{"conv0.weight", "norm0.weight", "norm0.bias", "activation0.alpha",
                                             "output.weight", "output.bias"}));
}

TEST(CNN, IsTheCompositionOfItsLayers) {
  for (const auto norm : {Norm::none, Norm::batch}) {
    auto model = make(plain("silu"), norm, {4, 6}, 2);
    model->to(torch::kDouble);
    const auto parameters = parameters_of(*model);
    const auto input = images(3, 3, 9).to(torch::kDouble);
    const auto logits = model->forward(input);
    auto x = input;
    for (const std::string layer : {"0", "1", "2", "3"}) {
      // 9x9 becomes 4x4: the last row and column are left out.
      if (layer == "2") x = x.slice(2, 0, 8).slice(3, 0, 8).reshape({3, 4, 4, 2, 4, 2}).amax({3, 5});
      x = convolve(x, parameters.at("conv" + layer + ".weight"));
      if (norm == Norm::batch) {
        const auto mean = x.mean({0, 2, 3}, true), variance = (x - mean).square().mean({0, 2, 3}, true);
        x = (x - mean) / (variance + 1e-5).sqrt();
      } else {
        x = x + parameters.at("conv" + layer + ".bias").view({-1, 1, 1});
      }
      x = silu_of(x);
    }
    const auto expected = x.mean({2, 3}).matmul(parameters.at("output.weight").t()) + parameters.at("output.bias");
    EXPECT_EQ(logits.sizes(), (std::vector<std::int64_t>{3, 5}));
    EXPECT_TRUE(logits.allclose(expected, 1e-10, 1e-12)) << to_string(norm);
  }
}

TEST(CNN, TracesEveryConvolutionAndActivation) {
  for (const auto norm : {Norm::none, Norm::batch}) {
    auto model = make(plain("relu"), norm);
    model->eval();
    const auto input = images(2, 3, 9);
    const auto trace = traced(model, input);
    EXPECT_TRUE(trace.logits.equal(model->forward(input)));
    ASSERT_EQ(trace.linear_outputs.size(), 6u);
    ASSERT_EQ(trace.activations.size(), 6u);
    // A new BatchNorm in evaluation divides by sqrt(1 + eps) alone.
    const double scale = norm == Norm::batch ? 1 / std::sqrt(1 + 1e-5) : 1;
    for (std::size_t i = 0; i < 6; ++i) {
      EXPECT_TRUE(trace.activations[i].allclose((scale * trace.linear_outputs[i]).clamp_min(0), 1e-5, 1e-6)) << i;
    }
    EXPECT_EQ(trace.activations[1].sizes(), (std::vector<std::int64_t>{2, 6, 9, 9}));
    EXPECT_EQ(trace.activations[2].sizes(), (std::vector<std::int64_t>{2, 10, 4, 4}));
  }
}

TEST(CNN, OneModuleAPlaceAndChannelsLastThroughout) {
  for (const auto norm : {Norm::none, Norm::batch}) {
    const Recorders recorders;
    auto model = make(recorders.factory(), norm);
    expect_one_module_a_place_that_keeps_channels_last(model, recorders, images(2, 3, 16), 6);
  }
}

TEST(CNN, TheGradientReachesEveryParameter) {
  for (const auto norm : {Norm::none, Norm::batch}) {
    auto model = make(normalized("silu"), norm);
    expect_gradients_everywhere(model, images(4, 3, 16));
  }
}

TEST(CNN, DrawsItsWeightsByTheirFans) {
  auto model = make(plain("relu"), Norm::none, {40, 50}, 2);
  model->initialize({.kind = Initialization::he}, generator(7));
  const auto parameters = parameters_of(*model);
  expect_normal(parameters.at("conv0.weight"), std::sqrt(2.0 / 27));
  expect_normal(parameters.at("conv1.weight"), std::sqrt(2.0 / 360));
  expect_normal(parameters.at("conv2.weight"), std::sqrt(2.0 / 360));
  expect_normal(parameters.at("conv3.weight"), std::sqrt(2.0 / 450));
  expect_normal(parameters.at("output.weight"), std::sqrt(1.0 / 50));
  for (const char* layer : {"conv0", "conv3", "output"}) {
    EXPECT_EQ(parameters.at(std::string(layer) + ".bias").abs().max().item<double>(), 0) << layer;
  }
}

TEST(CNN, RefusesImpossibleOptions) {
  const auto message = [](const CNNOptions& options) { return refusal([&] { CNN model(options); }); };
  const auto relu = plain("relu");
  EXPECT_EQ(message({.classes = 1, .activation = relu}), "no error");
  EXPECT_EQ(message({.channels = 0, .classes = 1, .activation = relu}), "CNN: channels is 0; it must be at least 1");
  EXPECT_EQ(message({.activation = relu}), "CNN: classes is 0; it must be at least 1");
  EXPECT_EQ(message({.classes = 1, .blocks = -1, .activation = relu}), "CNN: blocks is -1; it must be at least 1");
  EXPECT_EQ(message({.classes = 1, .widths = {4, 0}, .activation = relu}), "CNN: a width is 0; it must be at least 1");
  EXPECT_EQ(message({.classes = 1, .widths = {}, .activation = relu}),
            "CNN: widths is empty; it must have a width for each stage");
  EXPECT_EQ(message({.classes = 1, .activation = {}}), "CNN: activation is not set");
}

}  // namespace
}  // namespace anact::models
