#include "models/mlp.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>

#include "models/networks.h"

namespace anact::models {
namespace {

using namespace test;

MLP make(std::int64_t depth, std::int64_t width, ActivationFactory activation, Norm norm = Norm::none) {
  return MLP(MLPOptions{
      .inputs = 7, .classes = 3, .depth = depth, .width = width, .norm = norm, .activation = std::move(activation)});
}

torch::Tensor batch(std::int64_t size) {
  return at::randn({size, 7}, generator(5), torch::TensorOptions(torch::kDouble)) * 2 + 0.5;
}

torch::Tensor affine(const std::map<std::string, torch::Tensor>& parameters, const std::string& name,
                     const torch::Tensor& x) {
  return x.matmul(parameters.at(name + ".weight").t()) + parameters.at(name + ".bias");
}

torch::Tensor silu_of(const torch::Tensor& x) { return x / (1 + (-x).exp()); }

// Integral of g(x) under N(0, 1). The trapezoidal rule converges exponentially for what is smooth and dies out.
double expectation(const std::function<double(double)>& g) {
  constexpr double kStep = 1.0 / 64;
  double sum = 0;
  for (double x = -12; x <= 12; x += kStep) sum += g(x) * std::exp(-x * x / 2);
  return sum * kStep / std::sqrt(2 * M_PI);
}

double silu_value(double x) { return x / (1 + std::exp(-x)); }
double silu_slope(double x) {
  const double s = 1 / (1 + std::exp(-x));
  return s + x * s * (1 - s);
}

// 1 / sqrt(rho') of SiLU under N(0, 1).
double silu_lambda() {
  return 1 / std::sqrt(expectation([](double x) { return std::pow(silu_slope(x), 2); }));
}

TEST(MLP, HasTheShapesAndTheTraceOfItsOptions) {
  for (const std::int64_t depth : {1, 2, 5}) {
    auto model = make(depth, 11, plain("relu"));
    const auto trace = traced(model, batch(4).to(torch::kFloat));
    const auto& logits = trace.logits;
    EXPECT_EQ(logits.sizes(), (std::vector<std::int64_t>{4, 3}));
    ASSERT_EQ(trace.linear_outputs.size(), static_cast<std::size_t>(depth));
    ASSERT_EQ(trace.activations.size(), static_cast<std::size_t>(depth));
    ASSERT_EQ(model->activations().size(), static_cast<std::size_t>(depth));
    for (std::size_t i = 0; i < trace.activations.size(); ++i) {
      EXPECT_EQ(trace.linear_outputs[i].sizes(), (std::vector<std::int64_t>{4, 11}));
      EXPECT_TRUE(trace.activations[i].equal(trace.linear_outputs[i].clamp_min(0)));
    }
    EXPECT_TRUE(logits.equal(model->forward(batch(4).to(torch::kFloat))));
  }
}

TEST(MLP, FlattensImages) {
  MLP model(MLPOptions{.inputs = 2 * 3 * 5, .classes = 4, .depth = 2, .width = 8, .activation = plain("silu")});
  const auto input = at::randn({6, 2, 3, 5}, generator(1), torch::TensorOptions(torch::kFloat));
  const auto expected = model->forward(input.reshape({6, 30}));
  EXPECT_TRUE(model->forward(input).equal(expected));
  // The same values in the same order, whatever the layout.
  EXPECT_TRUE(model->forward(input.contiguous(torch::MemoryFormat::ChannelsLast)).equal(expected));
}

TEST(MLP, CountsItsParameters) {
  for (const std::int64_t depth : {1, 4}) {
    const std::int64_t width = 10, inputs = 7, classes = 3;
    const std::int64_t linear = (inputs + 1) * width + (depth - 1) * (width + 1) * width + (width + 1) * classes;
    EXPECT_EQ(parameter_count(*make(depth, width, plain("silu"))), linear);
    EXPECT_EQ(parameter_count(*make(depth, width, plain("silu"), Norm::batch)), linear + depth * 2 * width);
    EXPECT_EQ(parameter_count(*make(depth, width, normalized("silu"))), linear + depth);  // one alpha each
  }
}

TEST(MLP, EachPlaceHasStatisticsOfItsOwn) {
  auto model = make(3, 10, normalized("silu"));
  model->forward(batch(50).to(torch::kFloat));
  std::set<double> means;
  for (const auto& item : model->named_buffers()) {
    if (item.key().ends_with("output_mean")) means.insert(item.value().item<double>());
  }
  EXPECT_EQ(means.size(), 3u);
}

TEST(MLP, IsTheCompositionOfItsLayers) {
  auto model = make(3, 9, plain("silu"));
  model->to(torch::kDouble);
  const auto parameters = parameters_of(*model);
  auto x = batch(6);
  const auto logits = model->forward(x);
  for (const char* layer : {"linear0", "linear1", "linear2"}) x = silu_of(affine(parameters, layer, x));
  EXPECT_TRUE(logits.allclose(affine(parameters, "output", x), 1e-12, 1e-14));
}

TEST(MLP, NormalizesAfterTheActivation) {
  auto model = make(2, 9, normalized("silu"));
  model->to(torch::kDouble);
  const auto parameters = parameters_of(*model);
  // Evaluation before the first step uses the values under N(0, 1).
  model->eval();
  const double lambda = silu_lambda(), mean = expectation(silu_value);
  const double square = expectation([](double x) { return std::pow(silu_value(x), 2); });
  const double shift = -std::sqrt(1 - lambda * lambda * (square - mean * mean));
  auto x = batch(6);
  const auto logits = model->forward(x);
  for (const char* layer : {"linear0", "linear1"}) x = lambda * (silu_of(affine(parameters, layer, x)) - mean) + shift;
  EXPECT_TRUE(logits.allclose(affine(parameters, "output", x), 1e-6, 1e-6));  // the buffers began as float32
}

TEST(MLP, PutsBatchNormBetweenTheLinearLayerAndTheActivation) {
  auto model = make(2, 9, plain("silu"), Norm::batch);
  model->to(torch::kDouble);
  auto parameters = parameters_of(*model);
  {
    const torch::NoGradGuard no_grad;
    parameters.at("norm1.weight").fill_(1.5);
    parameters.at("norm1.bias").fill_(-0.25);
  }
  auto x = batch(20);
  const auto trace = traced(model, x);
  const auto& logits = trace.logits;
  for (const std::string layer : {"0", "1"}) {
    const auto z = affine(parameters, "linear" + layer, x);
    EXPECT_TRUE(trace.linear_outputs[static_cast<std::size_t>(layer[0] - '0')].allclose(z, 1e-12, 1e-14));
    const auto mean = z.mean(0), variance = (z - z.mean(0)).square().mean(0);
    x = silu_of((z - mean) / (variance + 1e-5).sqrt() * parameters.at("norm" + layer + ".weight") +
                parameters.at("norm" + layer + ".bias"));
  }
  EXPECT_TRUE(logits.allclose(affine(parameters, "output", x), 1e-10, 1e-12));
}

TEST(MLP, RefusesImpossibleSizes) {
  const auto message = [](std::int64_t inputs, std::int64_t classes, std::int64_t depth, std::int64_t width) {
    return refusal([&] {
      MLP(MLPOptions{
          .inputs = inputs, .classes = classes, .depth = depth, .width = width, .activation = plain("relu")});
    });
  };
  EXPECT_EQ(message(7, 3, 1, 1), "no error");
  EXPECT_EQ(message(0, 3, 1, 1), "MLP: inputs is 0; it must be at least 1");
  EXPECT_EQ(message(7, -1, 1, 1), "MLP: classes is -1; it must be at least 1");
  EXPECT_EQ(message(7, 3, 0, 1), "MLP: depth is 0; it must be at least 1");
  EXPECT_EQ(message(7, 3, 1, 0), "MLP: width is 0; it must be at least 1");
  EXPECT_EQ(refusal([] { MLP model(MLPOptions{.inputs = 7, .classes = 3, .activation = {}}); }),
            "MLP: activation is not set");
}

TEST(Initialization, DrawsWithTheFormulasDeviations) {
  const std::int64_t width = 400;
  const auto n = static_cast<double>(width);
  struct Case {
    Initialization initialization;
    double first, hidden;
  };
  for (const auto& [initialization, first, hidden] :
       {Case{Initialization::he, std::sqrt(2 / 7.0), std::sqrt(2 / n)},
        Case{Initialization::lecun, std::sqrt(1 / 7.0), std::sqrt(1 / n)},
        Case{Initialization::glorot, std::sqrt(2 / (7.0 + n)), std::sqrt(2 / (n + n))},
        Case{Initialization::gain, silu_lambda() / std::sqrt(7.0), silu_lambda() / std::sqrt(n)}}) {
    SCOPED_TRACE(std::string(to_string(initialization)));
    auto model = make(2, width, plain("silu"));
    model->initialize({.kind = initialization, .activation = parse_activation("silu")}, generator(11));
    const auto parameters = parameters_of(*model);
    expect_normal(parameters.at("linear0.weight"), first);
    expect_normal(parameters.at("linear1.weight"), hidden);
    expect_normal(parameters.at("output.weight"), std::sqrt(1 / n));
    for (const char* name : {"linear0.bias", "linear1.bias", "output.bias"}) {
      EXPECT_EQ(parameters.at(name).abs().max().item<double>(), 0) << name;
    }
  }
}

TEST(Initialization, StandardDeviationOfTheWellKnown) {
  const auto deviation = [](Initialization kind, std::int64_t inputs, std::int64_t outputs) {
    return standard_deviation({.kind = kind, .activation = parse_activation("relu")}, inputs, outputs);
  };
  EXPECT_DOUBLE_EQ(deviation(Initialization::he, 50, 9), 0.2);
  EXPECT_DOUBLE_EQ(deviation(Initialization::lecun, 25, 9), 0.2);
  EXPECT_DOUBLE_EQ(deviation(Initialization::glorot, 30, 20), 0.2);
  // ReLU's fixed gain is sqrt 2, so that it is He's.
  EXPECT_NEAR(deviation(Initialization::gain, 50, 9), 0.2, 1e-12);
  for (const auto kind : {Initialization::orthogonal, Initialization::pytorch}) {
    EXPECT_EQ(refusal([&] { (void)deviation(kind, 1, 1); }),
              "initialization " + std::string(to_string(kind)) + " is not normal");
  }
  EXPECT_THROW((void)deviation(Initialization::he, 0, 1), std::invalid_argument);
  EXPECT_THROW((void)deviation(Initialization::he, 1, 0), std::invalid_argument);
}

TEST(Initialization, ArmsStartFromTheSameDraws) {
  const auto weights = [](Initialization initialization, Norm norm, ActivationFactory activation) {
    auto model = make(3, 20, std::move(activation), norm);
    model->initialize({.kind = initialization, .activation = parse_activation("silu")}, generator(3));
    return parameters_of(*model);
  };
  const auto he = weights(Initialization::he, Norm::none, plain("silu"));
  const auto lecun = weights(Initialization::lecun, Norm::none, normalized("silu"));
  const auto batch_norm = weights(Initialization::he, Norm::batch, plain("silu"));
  for (const char* layer : {"linear0.weight", "linear1.weight", "linear2.weight"}) {
    const auto ratio = he.at(layer) / lecun.at(layer);
    EXPECT_LT((ratio - std::sqrt(2.0)).abs().max().item<double>(), 1e-6) << layer;
    EXPECT_TRUE(he.at(layer).equal(batch_norm.at(layer))) << layer;
  }
  EXPECT_TRUE(he.at("output.weight").equal(lecun.at("output.weight")));
  EXPECT_FALSE(he.at("linear1.weight").equal(he.at("linear2.weight")));
}

TEST(Initialization, NamesAreReadBackAndOthersRefused) {
  for (const auto value :
       {Initialization::he, Initialization::lecun, Initialization::glorot, Initialization::orthogonal,
        Initialization::pytorch, Initialization::gain, Initialization::orthogonal_gain}) {
    EXPECT_EQ(parse_initialization(to_string(value)), value);
  }
  try {
    (void)parse_initialization("hee");
    FAIL() << "no error";
  } catch (const std::invalid_argument& error) {
    EXPECT_STREQ(
        error.what(),
        "unknown initialization 'hee'; there are he, lecun, glorot, orthogonal, pytorch, gain, orthogonal-gain");
  }
}

TEST(PlainActivation, HasNoState) {
  PlainActivation module(parse_activation("elu(alpha=0.5)"));
  EXPECT_TRUE(module->parameters().empty());
  EXPECT_TRUE(module->buffers().empty());
  const auto x = batch(10);
  EXPECT_TRUE(module->forward(x).allclose(torch::where(x > 0, x, 0.5 * x.expm1()), 1e-14, 1e-15));
  std::ostringstream text;
  module->pretty_print(text);
  EXPECT_EQ(text.str(), "elu(alpha=0.5)");
}

}  // namespace
}  // namespace anact::models
