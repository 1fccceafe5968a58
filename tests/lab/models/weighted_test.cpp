#include "models/weighted.h"

#include <gtest/gtest.h>

#include <set>

#include "anact/gaussian.h"
#include "anact/probe.h"
#include "models/catalogue.h"
#include "models/cost.h"
#include "models/networks.h"
#include "models/reference.h"
#include "models/weights.h"
#include "support/temporary_folder.h"

namespace anact::models {
namespace {

using namespace test;
using torch::nn::Conv2dOptions;

torch::Tensor draws(torch::IntArrayRef sizes, std::uint64_t seed) {
  return at::randn(sizes, generator(seed), torch::TensorOptions(torch::kDouble));
}

TEST(WeightStandardization, NamesAreReadBackAndOthersRefused) {
  for (const auto value : {WeightStandardization::none, WeightStandardization::scaled}) {
    EXPECT_EQ(parse_weight_standardization(to_string(value)), value);
  }
  EXPECT_EQ(refusal([] { (void)parse_weight_standardization("on"); }), "expected none or scaled, found 'on'");
}

TEST(WeightStandardization, IsThePapersFormulaWithItsGradients) {
  for (const std::vector<std::int64_t>& shape :
       {std::vector<std::int64_t>{5, 7}, {3, 1}, {6, 2, 3, 3}, {4, 3, 1, 1}, {1, 3, 5, 1}}) {
    SCOPED_TRACE(shape);
    for (const double scale : {1.0, 300.0, 1e-5}) {
      auto weight = (0.5 + scale * draws(shape, 1)).requires_grad_();
      auto gain = draws({shape[0]}, 2).requires_grad_();
      const auto found = standardized(weight, gain), expected = standardized_by_sums(weight, gain);
      EXPECT_TRUE(found.allclose(expected, 1e-9, 1e-12));
      const auto along = draws(shape, 3);
      const auto of_found = torch::autograd::grad({(found * along).sum()}, {weight, gain});
      const auto of_expected = torch::autograd::grad({(expected * along).sum()}, {weight, gain});
      for (std::size_t i = 0; i < 2; ++i) {
        EXPECT_TRUE(of_found[i].allclose(of_expected[i], 1e-7, 1e-9 * of_expected[i].abs().max().item<double>()));
      }
    }
  }
}

TEST(WeightStandardization, GivesAnInputOfSecondMomentOneTheGainsVariance) {
  const auto weight = standardized(0.3 + 2 * draws({50, 40, 3, 3}, 4), torch::full({50}, 1.5, torch::kDouble));
  EXPECT_LT(weight.flatten(1).sum(1).abs().max().item<double>(), 1e-10);
  EXPECT_TRUE(weight.flatten(1).square().sum(1).allclose(torch::full({50}, 2.25, torch::kDouble)));
}

TEST(WeightedLayers, ArePyTorchsWithTheStandardizedWeight) {
  for (const auto standardization : {WeightStandardization::none, WeightStandardization::scaled}) {
    const bool scaled = standardization == WeightStandardization::scaled;
    WeightedConv2d conv(Conv2dOptions(4, 6, 3).stride(2).padding(1).groups(2), standardization);
    WeightedLinear linear(torch::nn::LinearOptions(5, 3), standardization);
    conv->to(torch::kDouble), linear->to(torch::kDouble);
    if (scaled) {
      const torch::NoGradGuard no_grad;
      EXPECT_TRUE(conv->gain.eq(1).all().item<bool>());
      conv->gain.copy_(draws({6}, 1));
      linear->gain.copy_(draws({3}, 2));
    }
    EXPECT_EQ(parameters_of(*conv).size(), scaled ? 3u : 2u);
    const auto x = draws({2, 4, 7, 5}, 3), y = draws({4, 5}, 4);
    const auto of_conv = scaled ? standardized_by_sums(conv->weight, conv->gain) : conv->weight;
    const auto of_linear = scaled ? standardized_by_sums(linear->weight, linear->gain) : linear->weight;
    EXPECT_TRUE(conv->forward(x).allclose(torch::conv2d(x, of_conv, conv->bias, 2, 1, 1, 2), 1e-10, 1e-12));
    EXPECT_TRUE(linear->forward(y).allclose(y.matmul(of_linear.t()) + linear->bias, 1e-10, 1e-12));
    EXPECT_NE(conv->as<torch::nn::Conv2d>(), nullptr);
    EXPECT_NE(linear->as<torch::nn::Linear>(), nullptr);
  }
}

NetworkOptions options(const std::string& name) {
  return {.name = name,
          .channels = 3,
          .height = 16,
          .width = 16,
          .classes = 5,
          .depth = 2,
          .units = 9,
          .widths = {4, 6},
          .blocks = 1,
          .norm = Norm::none,
          .standardization = WeightStandardization::scaled,
          .activation = plain("silu")};
}

TEST(WeightStandardization, IsOfEveryLayerButTheLast) {
  for (const std::string name : {"mlp", "cnn", "resnet20", "resnet18"}) {
    SCOPED_TRACE(name);
    auto given = options(name);
    const auto network = make_network(given);
    given.standardization = WeightStandardization::none;
    const auto other = parameters_of(*make_network(given));
    std::size_t gains = 0;
    for (const auto& [parameter, value] : parameters_of(*network)) {
      if (!parameter.ends_with(".gain")) {
        EXPECT_EQ(other.at(parameter).sizes(), value.sizes()) << parameter;
        continue;
      }
      ++gains;
      const auto layer = parameter.substr(0, parameter.size() - 5);
      EXPECT_TRUE(layer != "output" && layer != "fc") << layer;
      EXPECT_EQ(value.sizes(), (std::vector<std::int64_t>{other.at(layer + ".weight").size(0)})) << layer;
    }
    EXPECT_EQ(gains, network->main_path().size() + (name == "resnet18" ? 3 : 0));  // shortcuts
    EXPECT_EQ(parameters_of(*network).size(), other.size() + gains);
    network->initialize({.kind = Initialization::he}, generator(3));
    EXPECT_TRUE(network->named_parameters()[network->main_path().front() + ".gain"].eq(1).all().item<bool>());
    EXPECT_EQ(cost(*network, 3, 16, 16).multiply_adds, cost(*make_network(given), 3, 16, 16).multiply_adds);
  }
}

TEST(WeightStandardization, TheScaleOfTheWeightsDoesNotMatter) {
  const auto network = make_network(options("cnn"));
  network->to(torch::kDouble);
  network->initialize({.kind = Initialization::he}, generator(3));
  const auto input = images(2, 3, 16).to(torch::kDouble);
  const auto before = network->forward(input);
  {
    const torch::NoGradGuard no_grad;
    network->named_parameters()["conv1.weight"].mul_(7);
  }
  EXPECT_TRUE(network->forward(input).allclose(before, 1e-10, 1e-12));
}

TEST(WeightStandardization, ASavedNetworkIsReadBack) {
  const anact::test::TemporaryFolder folder;
  const auto network = make_network(options("resnet20")), other = make_network(options("resnet20"));
  network->initialize({}, generator(1));
  {
    const torch::NoGradGuard no_grad;
    network->named_parameters()["layer1.0.conv1.gain"].fill_(0.5);
  }
  save_tensors(folder / "w.safetensors", state(*network), description(*network));
  EXPECT_TRUE(load_weights(*other, folder / "w.safetensors").empty());
  const auto input = images(2, 3, 16);
  EXPECT_TRUE(network->forward(input).equal(other->forward(input)));
}

TEST(WeightStandardization, TheProbeNamesTheLayersAndKnowsTheirWeights) {
  for (const std::string name : {"mlp", "cnn", "resnet18"}) {
    SCOPED_TRACE(name);
    const auto network = make_network(options(name));
    network->initialize({}, generator(1));
    nn::VarianceProbe probe(*network);
    network->forward(images(4, 3, 16)).square().sum().backward();
    probe.finish();
    std::set<std::string> names;
    for (const auto& record : probe.records()) {
      if (record.kind != LayerKind::linear && record.kind != LayerKind::convolution) continue;
      names.insert(record.name);
      if (record.name == "output" || record.name == "fc") continue;
      EXPECT_NEAR(record.weight_second_moment, 1 / record.fan_in, 1e-6 / record.fan_in) << record.name;
      EXPECT_TRUE(std::isnan(record.update_ratio)) << record.name;
      EXPECT_TRUE(std::isfinite(record.predicted_second_moment)) << record.name;
    }
    for (const auto& layer : network->main_path()) EXPECT_TRUE(names.contains(layer)) << layer;
  }
}

TEST(WeightStandardization, KeepsChannelsLastAndPassesGradientsEverywhere) {
  for (const std::string name : {"cnn", "resnet20"}) {
    const Recorders recorders;
    auto given = options(name);
    given.activation = recorders.factory();
    auto network = make_network(given);
    expect_one_module_a_place_that_keeps_channels_last(network, recorders, images(2, 3, 16), name == "cnn" ? 2 : 19);
    given.activation = normalized("silu");
    network = make_network(given);
    for (auto& parameter : network->parameters()) {
      if (parameter.dim() == 4) parameter.set_data(parameter.contiguous(torch::MemoryFormat::ChannelsLast));
    }
    expect_gradients_everywhere(network, images(3, 3, 16));
  }
}

// E[f] and E[f^2] under N(0, 1) by the trapezoidal rule, which is exact to rounding for smooth functions.
double scale_by_summing(const std::function<double(double)>& f) {
  const double step = 1e-4;
  double first = 0, second = 0;
  for (double x = -12; x < 12; x += step) {
    const double weight = step * std::exp(-x * x / 2) / std::sqrt(2 * M_PI);
    first += weight * f(x);
    second += weight * f(x) * f(x);
  }
  return 1 / std::sqrt(second - first * first);
}

TEST(StandardizingScale, IsTheInverseOfTheDeviationUnderTheNormal) {
  EXPECT_NEAR(standardizing_scale(parse_activation("relu")), std::sqrt(2 / (1 - 1 / M_PI)), 1e-12);
  EXPECT_NEAR(standardizing_scale(parse_activation("identity")), 1, 1e-12);
  EXPECT_NEAR(standardizing_scale(parse_activation("silu")),
              scale_by_summing([](double x) { return x / (1 + std::exp(-x)); }), 1e-9);
  EXPECT_NEAR(standardizing_scale(parse_activation("tanh")), scale_by_summing([](double x) { return std::tanh(x); }),
              1e-9);
  // Those of the NFNets' code, which were measured on samples.
  for (const auto& [name, scale] : {std::pair{"silu", 1.7881293296813965},
                                    {"gelu", 1.7015043497085571},
                                    {"relu", 1.7139588594436646},
                                    {"elu", 1.2716004848480225},
                                    {"tanh", 1.5939117670059204}}) {
    EXPECT_NEAR(standardizing_scale(parse_activation(name)), scale, 2e-3) << name;
  }
  EXPECT_EQ(refusal([] { (void)standardizing_scale(parse_activation("softshrink(50)")); }),
            "the output of softshrink(lambd=50) does not vary under N(0, 1)");
}

TEST(StandardizingScale, FollowsTheActivationAndTheProbeSeesIt) {
  const auto f = parse_activation("silu");
  PlainActivation module(f, 1.75);
  const auto x = draws({4, 7}, 1);
  EXPECT_TRUE(module->forward(x).allclose(1.75 * torch::silu(x), 1e-14, 1e-15));
  LearntActivation swish(learnt_activations()[0], 1.75);
  EXPECT_TRUE(swish->forward(x).allclose(1.75 * torch::silu(x), 1e-14, 1e-15));
  auto given = options("mlp");
  given.activation = [f] { return torch::nn::AnyModule(PlainActivation(f, 1.75)); };
  const auto network = make_network(given);
  nn::VarianceProbe probe(*network);
  network->forward(images(4, 3, 16)).square().sum().backward();
  probe.finish();
  const auto& record = probe.records().at(1);
  EXPECT_EQ(record.activation, "silu");
  EXPECT_EQ(record.lambda, 1.75);
  EXPECT_NEAR(record.output.second_moment, 1.75 * 1.75 * record.forward_gain * record.input.variance,
              1e-5 * record.output.second_moment);
  EXPECT_TRUE(std::isfinite(record.predicted_gradient));
}

}  // namespace
}  // namespace anact::models
