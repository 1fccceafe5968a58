#include "models/activation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <sstream>

#include "anact/probe.h"
#include "models/mlp.h"
#include "models/networks.h"

namespace anact::models {
namespace {

using namespace test;

const LearntActivationInfo& learnt(std::string_view name) {
  return *std::ranges::find(learnt_activations(), name, &LearntActivationInfo::name);
}

ActivationFactory factory(const LearntActivationInfo& info) {
  return [&info] { return torch::nn::AnyModule(LearntActivation(info)); };
}

// What autograd gives for the weighted sum of f(x): by x and by the parameter, which is set to `value`.
struct Gradients {
  torch::Tensor output, input, parameter;
};
Gradients gradients_of(const LearntActivationInfo& info, double value, const torch::Tensor& x,
                       const torch::Tensor& weights) {
  LearntActivation module(info);
  module->to(torch::kDouble);
  const auto parameters = module->parameters();
  EXPECT_EQ(parameters.size(), 1u);
  {
    const torch::NoGradGuard no_grad;
    parameters[0].fill_(value);
  }
  const auto leaf = x.clone().requires_grad_();
  const auto output = module->forward(leaf);
  const auto found = torch::autograd::grad({(output * weights).sum()}, {leaf, parameters[0]});
  return {.output = output, .input = found[0], .parameter = found[1]};
}

// Element by element in plain C++; `slope` by x and `change` by the parameter.
struct Formula {
  double (*value)(double x, double parameter);
  double (*slope)(double x, double parameter);
  double (*change)(double x, double parameter);
};
const Formula kSwishBeta{[](double x, double b) { return x / (1 + std::exp(-b * x)); },
                         [](double x, double b) {
                           const double t = std::tanh(b * x / 2);
                           return (1 + t) / 2 + b * x * (1 - t * t) / 4;
                         },
                         [](double x, double b) {
                           const double t = std::tanh(b * x / 2);
                           return x * x * (1 - t * t) / 4;
                         }};
const Formula kPRelu{[](double x, double a) { return x > 0 ? x : a * x; },
                     [](double x, double a) { return x > 0 ? 1 : a; },
                     [](double x, double) { return std::min(x, 0.0); }};

TEST(LearntActivation, HasTheValueAndTheGradientsOfItsFormula) {
  for (const auto& [name, formula] : {std::pair{"swish-beta", kSwishBeta}, {"prelu", kPRelu}}) {
    for (const double parameter : {1.0, 0.25, 0.0, -0.75, 3.5}) {
      SCOPED_TRACE(std::string(name) + " at " + std::to_string(parameter));
      const auto x = 3 * at::randn({3, 7, 5}, generator(1), torch::TensorOptions(torch::kDouble));
      const auto weights = at::randn({3, 7, 5}, generator(2), torch::TensorOptions(torch::kDouble));
      const auto found = gradients_of(learnt(name), parameter, x, weights);
      double by_parameter = 0;
      for (std::int64_t i = 0; i < x.numel(); ++i) {
        const auto at = [i](const torch::Tensor& tensor) { return tensor.flatten()[i].item<double>(); };
        EXPECT_NEAR(at(found.output), formula.value(at(x), parameter), 1e-13);
        EXPECT_NEAR(at(found.input), at(weights) * formula.slope(at(x), parameter), 1e-13);
        by_parameter += at(weights) * formula.change(at(x), parameter);
      }
      EXPECT_NEAR(found.parameter.item<double>(), by_parameter, 1e-11);
    }
  }
}

TEST(LearntActivation, BeginsAsTheActivationThatItsRowNames) {
  const auto x = at::randn({4, 9}, generator(3), torch::TensorOptions(torch::kFloat));
  for (const auto& activation : learnt_activations()) {
    LearntActivation module(activation);
    PlainActivation start(activation.start);
    EXPECT_TRUE(module->forward(x).allclose(start->forward(x), 1e-6, 1e-7)) << activation.name;
    EXPECT_EQ(module->forward(torch::empty({0, 3})).numel(), 0) << activation.name;
  }
  EXPECT_TRUE(learnt("prelu").start == parse_activation("leaky_relu(0.25)"));
  std::ostringstream text;
  LearntActivation(learnt("swish-beta"))->pretty_print(text);
  EXPECT_EQ(text.str(), "swish-beta");
}

TEST(LearntActivation, EachPlaceHasAParameterOfItsOwn) {
  for (const auto& activation : learnt_activations()) {
    MLP model(MLPOptions{.inputs = 5, .classes = 3, .depth = 3, .width = 7, .activation = factory(activation)});
    EXPECT_EQ(parameter_count(*model), 6 * 7 + 2 * 8 * 7 + 8 * 3 + 3) << activation.name;
    expect_gradients_everywhere(model, images(6, 1, 5).flatten(1).slice(1, 0, 5));
  }
  // Of fewer than two dimensions, and so not decayed; PReLU's is PyTorch's.
  EXPECT_EQ(LearntActivation(learnt("swish-beta"))->named_parameters()["beta"].dim(), 0);
  EXPECT_EQ(LearntActivation(learnt("prelu"))->named_parameters()["weight"].sizes(), (std::vector<std::int64_t>{1}));
}

TEST(LearntActivation, TheProbeMeasuresItAsOneLayer) {
  for (const auto& activation : learnt_activations()) {
    SCOPED_TRACE(activation.name);
    MLP model(MLPOptions{.inputs = 5, .classes = 3, .depth = 2, .width = 7, .activation = factory(activation)});
    const auto x = at::randn({6, 5}, generator(4), torch::TensorOptions(torch::kFloat));
    nn::VarianceProbe probe(*model);
    model->forward(x).square().sum().backward();
    probe.finish();
    std::vector<std::string> names;
    for (const auto& record : probe.records()) names.push_back(record.name);
    ASSERT_EQ(names, (std::vector<std::string>{"linear0", "activation0", "linear1", "activation1", "output"}));
    const auto& record = probe.records()[1];
    EXPECT_EQ(record.kind, LayerKind::activation);
    EXPECT_EQ(record.activation, activation.name);
    EXPECT_FALSE(record.normalized);
    EXPECT_EQ(record.lambda, 1);
    const auto z = torch::nn::functional::linear(x, parameters_of(*model).at("linear0.weight"),
                                                 parameters_of(*model).at("linear0.bias"));
    const auto y = PlainActivation(activation.start)->forward(z);
    EXPECT_NEAR(record.input.second_moment, z.square().mean().item<double>(), 1e-5);
    EXPECT_NEAR(record.output.second_moment, y.square().mean().item<double>(), 1e-5);
    EXPECT_GT(record.output_gradient.second_moment, 0);
    // The prediction begins anew behind it, and says nothing of the gradient before it.
    EXPECT_TRUE(std::isfinite(probe.records()[2].predicted_second_moment));
    EXPECT_TRUE(std::isnan(record.predicted_second_moment));
    EXPECT_TRUE(std::isnan(probe.records()[0].predicted_gradient));
  }
}

}  // namespace
}  // namespace anact::models
