// A user's own activation: a pair (f, f') through the plain version.

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "anact/anact.h"
#include "ops/fallback/anact.h"
#include "support/message.h"

namespace anact::nn {
namespace {

torch::Tensor silu_value(const torch::Tensor& x) { return torch::silu(x); }
torch::Tensor silu_slope(const torch::Tensor& x) {
  const auto sigmoid = torch::sigmoid(x);
  return sigmoid * (1 + x * (1 - sigmoid));
}

CustomActivation own_silu() { return {"own_silu", silu_value, silu_slope}; }

// x + sin(x)^2, an activation that the catalogue does not have.
CustomActivation snake() {
  return {"snake", [](const torch::Tensor& x) { return x + torch::sin(x).square(); },
          [](const torch::Tensor& x) { return 1 + torch::sin(2 * x); }};
}

CustomActivation square_relu() {
  return {"square_relu", [](const torch::Tensor& x) { return torch::relu(x).square(); },
          [](const torch::Tensor& x) { return 2 * torch::relu(x); }};
}

// f' by autograd of f, as one who does not want to write it down would have it.
CustomActivation by_autograd(const CustomActivation& activation) {
  const auto value = activation.value;
  const auto derivative = [value](const torch::Tensor& x) {
    const bool graph = torch::GradMode::is_enabled();
    const torch::AutoGradMode enable(true);
    const auto leaf = graph && x.requires_grad() ? x : x.detach().requires_grad_(true);
    return torch::autograd::grad({value(leaf).sum()}, {leaf}, {}, std::nullopt, graph)[0];
  };
  return {activation.name, value, derivative};
}

double difference(const torch::Tensor& a, const torch::Tensor& b) {
  const auto x = a.detach().to(torch::kDouble);
  const auto y = b.detach().to(torch::kDouble);
  return ((x - y).abs() / (y.abs() + 1)).max().item<double>();
}

using Case = std::tuple<torch::Dtype, StatisticsSource, bool>;
class CustomSilu : public testing::TestWithParam<Case> {};

TEST_P(CustomSilu, AgreesWithTheCataloguesOverThirtySteps) {
  const auto& [dtype, source, special] = GetParam();
  const auto make = [&](ANActOptions options) {
    options.statistics(source).momentum(0.05);
    if (special) options.solution(Solution::exact).target(Target::unit).gate(ANActOptions::Interval(0.8, 1.25));
    ANAct act(options);
    act->to(dtype);
    act->reset_running_stats();
    return act;
  };
  auto known = make("silu");
  auto own = make(own_silu());
  // Of a value in the type, and of a double or float sum.
  const double unit = dtype == torch::kDouble ? 1e-12 : dtype == torch::kFloat ? 4e-6 : std::ldexp(1.0, -7);
  const double of_sums = dtype == torch::kDouble ? 1e-12 : 4e-6;
  torch::manual_seed(0);
  for (int step = 0; step < 30; ++step) {
    auto x = torch::randn({3, 17, 5, 4}, torch::kDouble) * (step % 7 == 6 ? 5.0 : 1.2) + 0.02 * step;
    if (step == 11) x.flatten()[3] = NAN;
    x = x.to(dtype).contiguous(step % 2 == 0 ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous);
    const auto g = torch::randn(x.sizes(), torch::kDouble).to(dtype);
    std::vector<torch::Tensor> y, dx;
    for (auto* act : {known.get(), own.get()}) {
      const auto leaf = x.detach().clone().requires_grad_(true);
      act->zero_grad();
      y.push_back(act->forward(leaf));
      y.back().backward(g);
      dx.push_back(leaf.grad());
    }
    ASSERT_EQ(y[1].scalar_type(), dtype);
    ASSERT_EQ(y[1].strides(), x.strides());
    if (step != 11) {
      ASSERT_LE(difference(y[1], y[0]), unit) << step;
      ASSERT_LE(difference(dx[1], dx[0]), unit) << step;
      const double size = (g.to(torch::kDouble).abs() * (x.to(torch::kDouble).abs() + 1)).sum().item<double>();
      ASSERT_NEAR(own->alpha.grad().item<double>(), known->alpha.grad().item<double>(),
                  of_sums * size + unit * std::abs(known->alpha.grad().item<double>()))
          << step;
    }
    const auto want = known->statistics();
    const auto got = own->statistics();
    ASSERT_NEAR(got.output_mean, want.output_mean, of_sums) << step;
    ASSERT_NEAR(got.output_square, want.output_square, of_sums * (1 + want.output_square)) << step;
    ASSERT_NEAR(got.input_variance, want.input_variance, of_sums * (1 + want.input_variance)) << step;
    ASSERT_NEAR(got.backward_gain, want.backward_gain, of_sums) << step;
    ASSERT_EQ(own->num_batches_tracked.item<std::int64_t>(), known->num_batches_tracked.item<std::int64_t>()) << step;
    ASSERT_EQ(own->num_batches_skipped.item<std::int64_t>(), known->num_batches_skipped.item<std::int64_t>()) << step;
    const torch::NoGradGuard no_grad;
    if (step != 11) known->alpha -= 1e-3 * known->alpha.grad();
    own->alpha.copy_(known->alpha);
  }
  EXPECT_EQ(own->num_batches_skipped.item<std::int64_t>() > 1, special);
  known->eval();
  own->eval();
  const auto x = torch::randn({40}).to(dtype);
  EXPECT_LE(difference(own->forward(x), known->forward(x)), unit);
}

INSTANTIATE_TEST_SUITE_P(All, CustomSilu,
                         testing::Combine(testing::Values(torch::kDouble, torch::kFloat, torch::kBFloat16),
                                          testing::Values(StatisticsSource::previous, StatisticsSource::running,
                                                          StatisticsSource::batch),
                                          testing::Bool()),
                         [](const auto& info) {
                           return std::string(c10::toString(std::get<0>(info.param))) + "_" +
                                  std::string(to_string(std::get<1>(info.param))) +
                                  (std::get<2>(info.param) ? "_special" : "_default");
                         });

TEST(Custom, GradientsMatchFiniteDifferences) {
  for (const auto& activation : {snake(), by_autograd(snake()), square_relu()}) {
    ANAct act(ANActOptions(activation).solution(Solution::exact));
    act->to(torch::kDouble);
    torch::manual_seed(1);
    act->forward(torch::randn({500}, torch::kDouble));
    act->eval();
    const auto x = torch::randn({20}, torch::kDouble);
    const auto w = torch::randn({20}, torch::kDouble);
    const auto loss = [&](const torch::Tensor& at, double alpha) {
      const torch::NoGradGuard no_grad;
      act->alpha.fill_(alpha);
      return (w * act->forward(at)).sum().item<double>();
    };
    constexpr double kStep = 1e-6;
    constexpr double kAlpha = 0.3;
    loss(x, kAlpha);
    const auto leaf = x.clone().requires_grad_(true);
    (w * act->forward(leaf)).sum().backward();
    for (std::int64_t i = 0; i < x.numel(); ++i) {
      const auto shift = torch::zeros_like(x);
      shift[i] = kStep;
      EXPECT_NEAR(leaf.grad()[i].item<double>(), (loss(x + shift, kAlpha) - loss(x - shift, kAlpha)) / (2 * kStep),
                  1e-8)
          << activation.name;
    }
    EXPECT_NEAR(act->alpha.grad().item<double>(), (loss(x, kAlpha + kStep) - loss(x, kAlpha - kStep)) / (2 * kStep),
                1e-8)
        << activation.name;
  }
}

TEST(Custom, DoubleBackwardMatchesFiniteDifferences) {
  for (const auto& activation : {snake(), by_autograd(snake())}) {
    ANAct act{ANActOptions(activation)};
    act->to(torch::kDouble);
    act->eval();
    torch::manual_seed(2);
    const auto x = torch::randn({12}, torch::kDouble);
    const auto g = torch::randn({12}, torch::kDouble);
    const auto w = torch::randn({12}, torch::kDouble);
    // A function of first derivatives.
    const auto h = [&](const torch::Tensor& at_x, double at_alpha, bool graph) {
      {
        const torch::NoGradGuard no_grad;
        act->alpha.fill_(at_alpha);
      }
      const auto first = torch::autograd::grad({act->forward(at_x)}, {at_x, act->alpha}, {g}, std::nullopt, graph);
      return (w * first[0]).sum() + first[1];
    };
    constexpr double kStep = 1e-5;
    constexpr double kAlpha = 0.3;
    const auto moved = [&](std::int64_t i, double by) {
      auto at = x.clone();
      at[i] += by;
      return h(at.requires_grad_(true), kAlpha, false).item<double>();
    };
    const auto leaf = x.clone().requires_grad_(true);
    const auto second = torch::autograd::grad({h(leaf, kAlpha, true)}, {leaf, act->alpha});
    for (std::int64_t i = 0; i < x.numel(); ++i) {
      EXPECT_NEAR(second[0][i].item<double>(), (moved(i, kStep) - moved(i, -kStep)) / (2 * kStep), 1e-7);
    }
    const auto at_alpha = [&](double alpha) { return h(leaf, alpha, false).item<double>(); };
    EXPECT_NEAR(second[1].item<double>(), (at_alpha(kAlpha + kStep) - at_alpha(kAlpha - kStep)) / (2 * kStep), 1e-7);
  }
}

TEST(Custom, StartsWithTheStatisticsUnderTheNormalDistribution) {
  const auto of = [](const CustomActivation& activation) {
    ANAct act{ANActOptions(activation)};
    act->to(torch::kDouble);
    act->reset_running_stats();
    return act->statistics();
  };
  const auto expect_near = [](const Statistics& got, const Statistics& want, double tolerance) {
    EXPECT_NEAR(got.output_mean, want.output_mean, tolerance);
    EXPECT_NEAR(got.output_square, want.output_square, tolerance);
    EXPECT_NEAR(got.input_variance, want.input_variance, tolerance);
    EXPECT_NEAR(got.backward_gain, want.backward_gain, tolerance);
  };
  expect_near(of(own_silu()), gaussian_statistics(parse_activation("silu")), 1e-14);
  expect_near(of(square_relu()), {.output_mean = 0.5, .output_square = 1.5, .input_variance = 1, .backward_gain = 2},
              1e-7);
  // f' jumps at 0; a comparison for f' is taken as 0 and 1.
  const CustomActivation relu{"own_relu", [](const torch::Tensor& x) { return torch::relu(x); },
                              [](const torch::Tensor& x) { return x > 0; }};
  expect_near(of(relu),
              {.output_mean = 1 / std::sqrt(2 * M_PI), .output_square = 0.5, .input_variance = 1, .backward_gain = 0.5},
              1e-7);
  // E[x + sin^2 x] = (1 - exp(-2)) / 2, and E[(1 + sin 2x)^2] = 1 + (1 - exp(-8)) / 2.
  const auto got = of(snake());
  EXPECT_NEAR(got.output_mean, (1 - std::exp(-2.0)) / 2, 1e-14);
  EXPECT_NEAR(got.backward_gain, 1 + (1 - std::exp(-8.0)) / 2, 1e-14);
}

TEST(Custom, FunctionsAreGivenSingleOrDoublePrecision) {
  std::vector<torch::Dtype> seen;
  const CustomActivation spy{"spy",
                             [&](const torch::Tensor& x) {
                               seen.push_back(x.scalar_type());
                               return silu_value(x);
                             },
                             silu_slope};
  ANAct act{ANActOptions(spy)};
  for (const auto dtype : {torch::kDouble, torch::kFloat, torch::kBFloat16, torch::kHalf}) {
    const auto x = torch::randn({30}).to(dtype);
    EXPECT_EQ(act->forward(x).scalar_type(), dtype);
    EXPECT_EQ(seen.back(), dtype == torch::kDouble ? torch::kDouble : torch::kFloat);
  }
}

TEST(Custom, TakesAnyStridesAndEmptyInputs) {
  ANAct own{ANActOptions(own_silu())};
  ANAct known("silu");
  const auto base = torch::randn({6, 8, 10});
  for (const auto& x : {base.transpose(0, 2), base.slice(2, 1, 9, 2), base.slice(1, 0, 1).expand({6, 8, 10}),
                        base.flatten()[3], torch::empty({0, 4}), torch::empty({0})}) {
    const auto y = own->forward(x);
    const auto expected = known->forward(x);
    EXPECT_EQ(y.sizes(), expected.sizes());
    EXPECT_EQ(y.strides(), expected.strides());
    EXPECT_TRUE(torch::allclose(y, expected, 1e-5, 1e-5));
  }
  EXPECT_EQ(own->num_batches_tracked.item<std::int64_t>(), 3);
  EXPECT_EQ(own->num_batches_skipped.item<std::int64_t>(), 1) << "one element has no variance; an empty batch is none";
}

TEST(Custom, TakesKnownFactorsAsTheyAre) {
  const auto x = torch::randn({40}, torch::kDouble);
  const auto known = torch::tensor({2.0, -0.5, 0.1}, torch::kDouble);
  const auto [y, moments] = ops::fallback::apply(x, known, ops::fallback::to_functions(own_silu()), /*measure=*/true);
  EXPECT_LE(difference(y, 2 * torch::silu(x) - 0.5), 1e-14);
  EXPECT_EQ(moments[0].item<double>(), 40);
}

TEST(Custom, FunctionalAgreesWithTheCatalogues) {
  const auto x = torch::randn({50}, torch::kDouble).requires_grad_(true);
  const auto y = functional::anact(x, ANActOptions(own_silu()).solution(Solution::geometric));
  const auto expected = functional::anact(x, ANActOptions("silu").solution(Solution::geometric));
  EXPECT_LE(difference(y, expected), 1e-12);
  EXPECT_LE(difference(torch::autograd::grad({y.sum()}, {x})[0], torch::autograd::grad({expected.sum()}, {x})[0]),
            1e-12);
}

TEST(Custom, WorksWithoutGradients) {
  ANAct act{ANActOptions(snake())};
  const torch::NoGradGuard no_grad;
  EXPECT_FALSE(act->forward(torch::randn({9})).requires_grad());
  EXPECT_EQ(act->num_batches_tracked.item<std::int64_t>(), 1);
}

TEST(Custom, IsPrintedClonedAndSaved) {
  ANAct act(ANActOptions(snake()).momentum(0.05));
  std::stringstream text;
  text << *act;
  EXPECT_EQ(text.str(), "ANAct(snake, momentum=0.05)");

  act->forward(torch::randn({32}));
  const auto copy = std::dynamic_pointer_cast<ANActImpl>(act->clone());
  EXPECT_EQ(copy->statistics(), act->statistics());
  const auto before = act->statistics();
  copy->forward(torch::randn({32}) * 9);
  EXPECT_EQ(act->statistics(), before);

  std::stringstream stream;
  torch::save(act, stream);
  ANAct other(ANActOptions(snake()).momentum(0.05));
  torch::load(other, stream);
  act->eval();
  other->eval();
  const auto x = torch::randn({16});
  EXPECT_TRUE(torch::equal(act->forward(x), other->forward(x)));
}

TEST(Custom, ConvertingToItIsRefused) {
  torch::nn::Sequential net(torch::nn::Linear(2, 2), torch::nn::ReLU());
  EXPECT_THROW(convert_activations(*net, ANActOptions(snake())), std::invalid_argument);
  EXPECT_NE(net[1]->as<torch::nn::ReLU>(), nullptr);
}

TEST(Custom, IncompleteOnesAreRefused) {
  EXPECT_THROW(ANAct(ANActOptions({"", silu_value, silu_slope})), std::invalid_argument);
  EXPECT_THROW(ANAct(ANActOptions({"half", silu_value, nullptr})), std::invalid_argument);
  EXPECT_THROW(ANAct(ANActOptions({"half", nullptr, silu_slope})), std::invalid_argument);
  EXPECT_THROW(functional::anact(torch::ones({3}), ANActOptions({"half", silu_value, nullptr})), std::invalid_argument);
  EXPECT_EQ(message([] {
              ANAct(ANActOptions({"half", silu_value, nullptr}));
            }),
            "the derivative of the custom activation \"half\" is not set");
  // Not a number for x < 0.
  EXPECT_THROW(ANAct(ANActOptions({"log", [](const torch::Tensor& x) { return torch::log(x); },
                                   [](const torch::Tensor& x) { return 1 / x; }})),
               std::invalid_argument);
}

TEST(Custom, AWrongResultIsOneClearError) {
  const auto contains = [](const std::string& text, const char* part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  contains(message([] {
             ANAct(ANActOptions({"total", [](const torch::Tensor& x) { return x.sum(); }, silu_slope}));
           }),
           "the value of \"total\" returned shape [] for an argument of shape [32768]");
  contains(message([] {
             ANAct(ANActOptions({"none", silu_value, [](const torch::Tensor&) { return torch::Tensor(); }}));
           }),
           "the derivative of \"none\" returned an undefined tensor");
  // Right for the vector that the module is made with, wrong for a matrix.
  ANAct flat(ANActOptions({"flat", [](const torch::Tensor& x) { return torch::silu(x).flatten(); }, silu_slope}));
  contains(message([&] {
             flat->forward(torch::randn({3, 4}));
           }),
           "the value of \"flat\" returned shape [12] for an argument of shape [3, 4]");
  EXPECT_EQ(flat->num_batches_tracked.item<std::int64_t>(), 0);
}

}  // namespace
}  // namespace anact::nn
