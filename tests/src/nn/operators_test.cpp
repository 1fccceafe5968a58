// What decode_call makes of real calls, as the dispatcher passes them, and the gains it tells against brute force.

#include "nn/operators.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/record_function.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "anact/nn.h"
#include "ops/step.h"

namespace anact::nn {
namespace {

// The calls of all outermost operators that `run` makes.
struct Decoder {
  static inline thread_local int depth = 0;
  static inline thread_local std::vector<std::pair<std::string, std::optional<Call>>> calls;
  static inline thread_local torch::Tensor parameter;

  struct Context : at::ObserverContext {};
  static std::unique_ptr<at::ObserverContext> start(const at::RecordFunction& function) {
    if (depth++ == 0) {
      const at::DisableRecordFunctionGuard unrecorded;
      calls.emplace_back(function.name(), decode_call(function.name(), function.inputs(), [](const at::Tensor& tensor) {
                           return parameter.defined() && tensor.is_same(parameter);
                         }));
    }
    return std::make_unique<Context>();
  }
  static void end(const at::RecordFunction&, at::ObserverContext*) { --depth; }
};

std::vector<std::pair<std::string, std::optional<Call>>> decode_all(const std::function<void()>& run,
                                                                    const torch::Tensor& parameter = {}) {
  Decoder::calls.clear();
  Decoder::depth = 0;
  Decoder::parameter = parameter;
  const auto handle = at::addThreadLocalCallback(
      at::RecordFunctionCallback(&Decoder::start, &Decoder::end).needsInputs(true).scopes({at::RecordScope::FUNCTION}));
  run();
  at::removeCallback(handle);
  Decoder::parameter.reset();
  return std::exchange(Decoder::calls, {});
}

std::optional<Call> decode(const std::function<void()>& run, const torch::Tensor& parameter = {}) {
  auto calls = decode_all(run, parameter);
  EXPECT_EQ(calls.size(), 1U);
  return calls.empty() ? std::nullopt : std::move(calls.front().second);
}

TEST(Operators, ActivationsAreThoseOfTheCatalogue) {
  using Apply = std::function<torch::Tensor(torch::Tensor)>;
  const std::vector<std::pair<std::string, Apply>> cases = {
      {"relu", [](torch::Tensor x) { return torch::relu(x); }},
      {"relu", [](torch::Tensor x) { return torch::relu_(x); }},
      {"relu6", [](torch::Tensor x) { return at::relu6(x); }},
      {"leaky_relu(negative_slope=0.2)", [](torch::Tensor x) { return torch::leaky_relu(x, 0.2); }},
      {"leaky_relu", [](torch::Tensor x) { return torch::leaky_relu_(x); }},
      {"elu(alpha=0.5)", [](torch::Tensor x) { return torch::elu(x, 0.5); }},
      {"selu", [](torch::Tensor x) { return torch::selu(x); }},
      {"celu(alpha=2)", [](torch::Tensor x) { return torch::celu(x, 2); }},
      {"gelu", [](torch::Tensor x) { return torch::gelu(x); }},
      {"gelu_tanh", [](torch::Tensor x) { return torch::gelu(x, "tanh"); }},
      {"silu", [](torch::Tensor x) { return torch::silu(x); }},
      {"silu", [](torch::Tensor x) { return torch::silu_(x); }},
      {"mish", [](torch::Tensor x) { return torch::mish(x); }},
      {"softplus(beta=2, threshold=3)", [](torch::Tensor x) { return torch::softplus(x, 2, 3); }},
      {"tanh", [](torch::Tensor x) { return torch::tanh(x); }},
      {"sigmoid", [](torch::Tensor x) { return torch::sigmoid(x); }},
      {"logsigmoid", [](torch::Tensor x) { return torch::log_sigmoid(x); }},
      {"hardswish", [](torch::Tensor x) { return torch::hardswish(x); }},
      {"hardsigmoid", [](torch::Tensor x) { return torch::hardsigmoid(x); }},
      {"hardtanh(min_val=-2, max_val=3)", [](torch::Tensor x) { return torch::hardtanh(x, -2, 3); }},
      {"softshrink(lambd=0.25)", [](torch::Tensor x) { return at::softshrink(x, 0.25); }},
  };
  for (const auto& [name, apply] : cases) {
    const auto x = torch::linspace(-5, 5, 101, torch::kDouble) + 0.01;
    const auto before = x.clone();
    torch::Tensor y;
    const auto call = decode([&, &apply = apply] { y = apply(x); });
    ASSERT_TRUE(call && std::holds_alternative<ActivationCall>(*call)) << name;
    const auto& activation = std::get<ActivationCall>(*call).activation;
    EXPECT_EQ(activation, parse_activation(name)) << activation.to_string();
    for (std::int64_t i = 0; i < x.numel(); ++i) {
      ASSERT_NEAR(y[i].item<double>(), activation.value(before[i].item<double>()), 1e-12) << name << " " << i;
    }
  }
  // An ELU that scales its output or input is none of the catalogue's.
  const auto x = torch::randn({4});
  EXPECT_FALSE(decode([&] { (void)torch::elu(x, 1, 2); }));
}

TEST(Operators, ANActsTellTheirOptions) {
  const auto x = torch::randn({8, 4});
  ANAct module(ANActOptions("elu(alpha=0.5)").solution(Solution::geometric).centre(false).bounds({0.25, 4}));
  const auto calls = decode_all([&] { (void)module->forward(x); });
  ASSERT_FALSE(calls.empty());
  EXPECT_EQ(calls.front().first, "anact::step");
  const auto* call = std::get_if<ANActCall>(&*calls.front().second);
  ASSERT_NE(call, nullptr);
  EXPECT_TRUE(call->input.is_same(x));
  EXPECT_TRUE(call->alpha.is_same(module->alpha));
  EXPECT_EQ(call->activation, parse_activation("elu(alpha=0.5)"));
  EXPECT_EQ(call->normalization.solution, Solution::geometric);
  EXPECT_FALSE(call->normalization.centre);
  EXPECT_EQ(call->normalization.lambda_min, 0.25);
  EXPECT_EQ(call->normalization.lambda_max, 4);
  EXPECT_FALSE(call->statistics);

  // The operator of the Python package's evaluation, which returns no factors.
  const auto evaluate = c10::Dispatcher::singleton().findSchemaOrThrow("anact::evaluate", "");
  std::vector<c10::IValue> stack = {x,
                                    module->alpha,
                                    module->output_mean,
                                    module->output_square,
                                    module->input_variance,
                                    module->backward_gain,
                                    "elu",
                                    c10::List<double>({0.5}),
                                    "solution=geometric:target=input:centre=off:bounds=0.25,4"};
  const auto evaluated = decode([&] { evaluate.callBoxed(stack); });
  const auto* evaluation = std::get_if<ANActCall>(&*evaluated);
  ASSERT_NE(evaluation, nullptr);
  ASSERT_TRUE(evaluation->statistics);
  EXPECT_EQ(*evaluation->statistics, module->statistics());
  EXPECT_EQ(evaluation->normalization.solution, Solution::geometric);
}

TEST(Operators, LinearLayersAndProductsWithParameters) {
  const auto x = torch::randn({8, 4});
  const auto weight = torch::randn({6, 4});
  const auto bias = torch::randn({6});
  const auto linear = decode([&] { (void)torch::linear(x, weight, bias); });
  const auto* call = std::get_if<LinearCall>(&*linear);
  ASSERT_NE(call, nullptr);
  EXPECT_TRUE(call->input.is_same(x) && call->weight.is_same(weight) && call->bias.is_same(bias));
  EXPECT_EQ(weight_fans(*call).inputs, 4);
  EXPECT_EQ(weight_fans(*call).outputs, 6);
  const auto map = linear_map(*call, 0.5, 0.25);
  EXPECT_EQ(map.taps_in, 4);
  EXPECT_EQ(map.taps_out, 6);
  EXPECT_EQ(map.weight_second_moment, 0.5);
  EXPECT_EQ(map.bias_second_moment, 0.25);

  const auto right = torch::randn({4, 6});
  for (const auto& run :
       std::vector<std::function<void()>>{[&] { (void)torch::mm(x, right); }, [&] { (void)torch::matmul(x, right); },
                                          [&] { (void)torch::addmm(bias, x, right); }}) {
    EXPECT_FALSE(decode(run));  // not a parameter: some product of activations
    const auto product = decode(run, right);
    const auto* of = std::get_if<LinearCall>(&*product);
    ASSERT_NE(of, nullptr);
    EXPECT_TRUE(of->input.is_same(x) && of->weight.is_same(right));
    EXPECT_EQ(weight_fans(*of).inputs, 4);
    EXPECT_EQ(weight_fans(*of).outputs, 6);
  }
  EXPECT_FALSE(decode([&] { (void)torch::addmm(bias, x, right, /*beta=*/1, /*alpha=*/2); }, right));
}

TEST(Operators, ConvolutionsCountTheTapsThatPaddingAndStridesLeave) {
  struct Case {
    std::int64_t in, out, groups;
    std::vector<std::int64_t> size, kernel, stride, padding, dilation;
  };
  for (const auto& c : std::vector<Case>{{3, 8, 1, {9, 7}, {3, 3}, {1, 1}, {1, 1}, {1, 1}},
                                         {4, 6, 2, {10, 8}, {3, 5}, {2, 2}, {1, 2}, {1, 1}},
                                         {2, 2, 1, {12, 12}, {3, 3}, {1, 2}, {2, 0}, {2, 3}},
                                         {4, 4, 4, {11}, {4}, {3}, {2}, {1}},
                                         {2, 3, 1, {5, 6, 4}, {2, 3, 3}, {1, 2, 1}, {0, 1, 1}, {1, 1, 1}}}) {
    std::vector<std::int64_t> shape = {2, c.in};
    shape.insert(shape.end(), c.size.begin(), c.size.end());
    std::vector<std::int64_t> weight_shape = {c.out, c.in / c.groups};
    weight_shape.insert(weight_shape.end(), c.kernel.begin(), c.kernel.end());
    // With ones for weights, the sums count the taps.
    const auto x = torch::ones(shape, torch::kDouble).requires_grad_();
    const auto weight = torch::ones(weight_shape, torch::kDouble);
    torch::Tensor y;
    const auto decoded = decode([&] {
      y = c.size.size() == 1   ? torch::conv1d(x, weight, {}, c.stride, c.padding, c.dilation, c.groups)
          : c.size.size() == 2 ? torch::conv2d(x, weight, {}, c.stride, c.padding, c.dilation, c.groups)
                               : torch::conv3d(x, weight, {}, c.stride, c.padding, c.dilation, c.groups);
    });
    const auto* call = std::get_if<ConvolutionCall>(&*decoded);
    ASSERT_NE(call, nullptr);
    const auto map = linear_map(*call, y, 1, 0);
    const auto out_of_input = torch::autograd::grad({y.sum()}, {x})[0];
    EXPECT_NEAR(map.taps_in, y.mean().item<double>(), 1e-12);
    EXPECT_NEAR(map.taps_out, out_of_input.mean().item<double>(), 1e-12);
    const double area = static_cast<double>(weight[0][0].numel());
    EXPECT_EQ(weight_fans(*call).inputs, static_cast<double>(weight.size(1)) * area);
    EXPECT_EQ(weight_fans(*call).outputs, static_cast<double>(weight.size(0)) * area);
  }
}

TEST(Operators, ConvolutionsPadToTheSameSize) {
  const auto x = torch::ones({1, 2, 7, 7}, torch::kDouble).requires_grad_();
  const auto weight = torch::ones({3, 2, 3, 4}, torch::kDouble);  // an even one pads more after than before
  torch::Tensor y;
  const auto decoded = decode([&] { y = torch::conv2d(x, weight, {}, 1, "same", 1, 1); });
  const auto* call = std::get_if<ConvolutionCall>(&*decoded);
  ASSERT_NE(call, nullptr);
  const auto map = linear_map(*call, y, 1, 0);
  EXPECT_NEAR(map.taps_in, y.mean().item<double>(), 1e-12);
  EXPECT_NEAR(map.taps_out, torch::autograd::grad({y.sum()}, {x})[0].mean().item<double>(), 1e-12);
}

TEST(Operators, BatchNormTellsWhoseStatisticsItUses) {
  const auto x = torch::randn({8, 4});
  torch::nn::BatchNorm1d norm(torch::nn::BatchNorm1dOptions(4).eps(1e-3));
  std::vector<std::pair<std::string, std::optional<Call>>> calls;
  const auto find = [&]() -> const BatchNormCall* {
    for (const auto& [name, call] : calls) {
      if (call && std::holds_alternative<BatchNormCall>(*call)) return &std::get<BatchNormCall>(*call);
    }
    return nullptr;
  };
  for (const bool training : {true, false}) {
    norm->train(training);
    calls = decode_all([&] { (void)norm->forward(x); });
    const auto* call = find();
    ASSERT_NE(call, nullptr);
    EXPECT_EQ(call->batch_statistics, training);
    EXPECT_EQ(call->eps, 1e-3);
    EXPECT_TRUE(call->weight.is_same(norm->weight) && call->bias.is_same(norm->bias));
    EXPECT_TRUE(call->running_variance.is_same(norm->running_var));
  }
}

TEST(Operators, AnActivationWithALearntParameterIsOneCall) {
  const auto x = torch::randn({8, 4}), slope = torch::full({1}, 0.25), beta = torch::ones({});
  const auto prelu = decode([&] { (void)torch::prelu(x, slope); });
  ASSERT_TRUE(prelu && std::holds_alternative<LearntCall>(*prelu));
  EXPECT_TRUE(std::get<LearntCall>(*prelu).parameter.is_same(slope));
  EXPECT_EQ(std::get<LearntCall>(*prelu).name, "prelu");
  EXPECT_EQ(std::get<LearntCall>(*prelu).scale, 1);
  torch::Tensor y;
  const auto swish =
      decode([&] { y = ops::plain(x, beta, "swish-beta", 1.5, [&] { return x * torch::sigmoid(beta * x); }); });
  ASSERT_TRUE(swish && std::holds_alternative<LearntCall>(*swish));
  EXPECT_TRUE(std::get<LearntCall>(*swish).input.is_same(x));
  EXPECT_EQ(std::get<LearntCall>(*swish).name, "swish-beta");
  EXPECT_EQ(std::get<LearntCall>(*swish).scale, 1.5);
  EXPECT_TRUE(y.allclose(1.5 * torch::silu(x)));
}

TEST(Operators, SumsAreOfTwoTensorsOfOneShape) {
  const auto x = torch::randn({8, 4});
  const auto y = torch::randn({8, 4});
  for (const auto& run : std::vector<std::function<void()>>{[&] { (void)(x + y); }, [&] { (void)x.clone().add_(y); }}) {
    const auto calls = decode_all(run);
    const auto* call = std::get_if<SumCall>(&*calls.back().second);
    ASSERT_NE(call, nullptr);
    EXPECT_TRUE(call->right.is_same(y));
  }
  EXPECT_FALSE(decode([&] { (void)(x + x); }));
  EXPECT_FALSE(decode([&] { (void)torch::add(x, y, 2); }));
  EXPECT_FALSE(decode([&] { (void)(x + 1); }));
  const auto row = torch::randn({4});
  EXPECT_FALSE(decode([&] { (void)(x + row); }));
  EXPECT_FALSE(decode([&] { (void)(x + y); }, y));
  EXPECT_FALSE(decode([&] { (void)(x - y); }));
}

// The mean square of the gradient that comes back for one of independent N(0, 1), over many draws.
TEST(Operators, RearrangementsTellTheirBackwardGain) {
  torch::manual_seed(0);
  using Apply = std::function<torch::Tensor(const torch::Tensor&)>;
  const auto scalar = torch::tensor(3.0, torch::kDouble);
  const std::vector<std::pair<std::string, Apply>> cases = {
      {"flatten", [](const auto& x) { return x.flatten(1); }},
      {"view",
       [](const auto& x) {
         return x.view({-1, 8});
       }},
      {"permute",
       [](const auto& x) {
         return x.permute({0, 2, 3, 1});
       }},
      {"transpose", [](const auto& x) { return x.transpose(1, 2); }},
      {"clone", [](const auto& x) { return x.clone(); }},
      {"to", [](const auto& x) { return x.to(torch::kFloat); }},
      {"slice", [](const auto& x) { return x.slice(2, 1, 7); }},
      {"select", [](const auto& x) { return x.select(2, 3); }},
      {"pad",
       [](const auto& x) {
         return torch::constant_pad_nd(x, {1, 2, 0, 1});
       }},
      {"crop",
       [](const auto& x) {
         return torch::constant_pad_nd(x, {-1, -2});
       }},
      {"max_pool2d", [](const auto& x) { return torch::max_pool2d(x, 2); }},
      {"avg_pool2d", [](const auto& x) { return torch::avg_pool2d(x, 2); }},
      {"avg_pool2d, overlapping", [](const auto& x) { return torch::avg_pool2d(x, 3, 2); }},
      {"avg_pool2d, padded",
       [](const auto& x) {
         return torch::avg_pool2d(x, {3, 2}, {2, 1}, {1, 1});
       }},
      {"adaptive_avg_pool2d",
       [](const auto& x) {
         return torch::adaptive_avg_pool2d(x, {1, 1});
       }},
      {"adaptive_avg_pool2d, 4",
       [](const auto& x) {
         return torch::adaptive_avg_pool2d(x, {4, 2});
       }},
      {"mean",
       [](const auto& x) {
         return x.mean({2, 3});
       }},
      {"mul by a number", [](const auto& x) { return x * -0.5; }},
      {"mul by a scalar", [scalar](const auto& x) { return x * scalar; }},
      {"mul of a scalar", [scalar](const auto& x) { return scalar * x; }},
      {"dropout", [](const auto& x) { return torch::dropout(x, 0.3, true); }},
      {"dropout in evaluation", [](const auto& x) { return torch::dropout(x, 0.3, false); }},
  };
  for (const auto& [name, apply] : cases) {
    const auto x = torch::randn({200, 8, 8, 8}, torch::kDouble).requires_grad_();
    torch::Tensor y;
    const auto decoded = decode([&, &apply = apply] { y = apply(x); });
    ASSERT_TRUE(decoded && std::holds_alternative<RearrangeCall>(*decoded)) << name;
    const auto& call = std::get<RearrangeCall>(*decoded);
    const auto gradient = torch::randn_like(y);
    const auto back = torch::autograd::grad({y}, {x}, {gradient})[0];
    const double measured = back.square().mean().item<double>() / gradient.square().mean().item<double>();
    EXPECT_NEAR(call.backward ? call.backward(x, y) : 1, measured, 0.05 * measured) << name;
  }
}

TEST(Operators, WhatTheTheoryDoesNotDescribeIsNoCall) {
  const auto x = torch::randn({2, 3, 8, 8}), row = torch::randn({8}), one = torch::randn({1});
  for (const auto& run : std::vector<std::function<void()>>{
           [&] {
             (void)torch::adaptive_avg_pool2d(x, {3, 3});
           },  // windows of unequal size
           [&] { (void)torch::avg_pool2d(x, 3, 2, 0, /*ceil_mode=*/true); },
           [&] { (void)torch::avg_pool2d(x, 3, 2, 1, false, /*count_include_pad=*/false); },
           [&] { (void)torch::softmax(x, 1); },
           [&] { (void)(x * row); },
           [&] { (void)(x * one); },
           [&] { (void)torch::exp(x); },
           [&] {
             (void)torch::pad(x, {1, 1, 1, 1}, "reflect");
           },
           [&] { (void)torch::dropout(x, 1, true); },
           [&] {
             (void)torch::conv_transpose2d(x, torch::ones({3, 2, 2, 2}));
           },
       }) {
    for (const auto& [name, call] : decode_all(run)) EXPECT_TRUE(!call || name == "aten::ones") << name;
  }
  EXPECT_TRUE(is_closed("aten::lstm"));
  EXPECT_FALSE(is_closed("aten::linear"));
}

}  // namespace
}  // namespace anact::nn
