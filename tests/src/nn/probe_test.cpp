// The probe against plain ATen on the tensors themselves, and its promises about what it leaves alone.

#include "anact/probe.h"

#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <ATen/record_function.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <iostream>
#include <limits>
#include <map>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "anact/nn.h"

namespace anact::nn {
namespace {

namespace F = torch::nn::functional;
using Function = std::function<torch::Tensor(const torch::Tensor&)>;

std::map<std::string, LayerRecord> by_name(const std::vector<LayerRecord>& records) {
  std::map<std::string, LayerRecord> result;
  for (const auto& record : records) EXPECT_TRUE(result.emplace(record.name, record).second) << record.name;
  return result;
}

std::vector<std::string> names(const std::vector<LayerRecord>& records) {
  std::vector<std::string> result;
  for (const auto& record : records) result.push_back(record.name);
  return result;
}

double mean_square(const torch::Tensor& tensor) {
  return tensor.detach().to(torch::kDouble).square().mean().item<double>();
}

void expect_near(double value, double expected, double tolerance, const std::string& what) {
  EXPECT_NEAR(value, expected, tolerance * std::abs(expected)) << what;
}

void expect_spread(const Spread& spread, const torch::Tensor& tensor, double tolerance, const std::string& what) {
  ASSERT_TRUE(tensor.defined()) << what;
  const auto x = tensor.detach().to(torch::kDouble);
  const double square = mean_square(x);
  EXPECT_NEAR(spread.mean, x.mean().item<double>(), tolerance * std::sqrt(square)) << what;
  EXPECT_NEAR(spread.variance, x.var(/*unbiased=*/false).item<double>(), tolerance * square) << what;
  EXPECT_NEAR(spread.second_moment, square, tolerance * square) << what;
}

void expect_not_measured(const Spread& spread, const std::string& what) {
  EXPECT_TRUE(std::isnan(spread.mean) && std::isnan(spread.variance) && std::isnan(spread.second_moment)) << what;
}

// E[f'(x)^2] by autograd.
double slope_square(const Function& f, const torch::Tensor& x) {
  const auto leaf = x.detach().to(torch::kDouble).requires_grad_();
  return mean_square(torch::autograd::grad({f(leaf).sum()}, {leaf})[0]);
}

// The share of the columns in which no |f'| reaches 1e-3.
double dead_share(const Function& f, const torch::Tensor& columns) {
  const auto leaf = columns.detach().to(torch::kDouble).requires_grad_();
  const auto slope = torch::autograd::grad({f(leaf).sum()}, {leaf})[0].abs();
  return slope.lt(1e-3).all(0).to(torch::kDouble).mean().item<double>();
}

// A step of gradient descent; the weights before it.
std::map<std::string, torch::Tensor> descend(const torch::nn::Module& model, double rate = 0.1) {
  const torch::NoGradGuard no_grad;
  std::map<std::string, torch::Tensor> before;
  for (const auto& item : model.named_parameters()) {
    before[item.key()] = item.value().clone();
    if (item.value().grad().defined()) item.value().sub_(item.value().grad() * rate);
  }
  return before;
}

void expect_weight(const LayerRecord& record, const torch::Tensor& before, const torch::Tensor& after, double in,
                   double out, double tolerance) {
  EXPECT_EQ(record.fan_in, in) << record.name;
  EXPECT_EQ(record.fan_out, out) << record.name;
  const auto old = before.detach().to(torch::kDouble);
  expect_near(record.weight_second_moment, mean_square(old), tolerance, record.name);
  const auto change = after.detach().to(torch::kDouble) - old;
  // A difference of floats has their rounding in it.
  expect_near(record.update_ratio, (change.norm() / old.norm()).item<double>(), 10 * tolerance, record.name);
}

void expect_finite_predictions(const LayerRecord& record, bool gradient = true) {
  EXPECT_TRUE(std::isfinite(record.predicted_second_moment)) << record.name;
  EXPECT_TRUE(std::isfinite(record.gaussian_second_moment)) << record.name;
  EXPECT_EQ(std::isfinite(record.predicted_gradient), gradient) << record.name;
  EXPECT_EQ(std::isfinite(record.gaussian_gradient), gradient) << record.name;
}

class ProbeTypes : public testing::TestWithParam<torch::Dtype> {
 protected:
  [[nodiscard]] double tolerance() const { return GetParam() == torch::kDouble ? 1e-11 : 2e-6; }
};

TEST_P(ProbeTypes, MeasuresEveryColumnOfAPerceptron) {
  torch::manual_seed(1);
  const auto dtype = GetParam();
  torch::nn::Sequential net(torch::nn::Linear(12, 16), torch::nn::SiLU(), torch::nn::Linear(16, 24), ANAct("silu"),
                            torch::nn::Linear(24, 20), torch::nn::ReLU(),
                            torch::nn::Linear(torch::nn::LinearOptions(20, 10).bias(false)));
  net->to(dtype);
  {
    // One of 20 units is dead.
    const torch::NoGradGuard no_grad;
    net->ptr<ANActImpl>(3)->alpha.fill_(0.4);
    auto last = net->ptr<torch::nn::LinearImpl>(4);
    last->weight[7].zero_();
    last->bias[7].fill_(-1);
  }
  const auto x = torch::randn({50, 12}, dtype) + 0.25;

  VarianceProbe probe(*net);
  EXPECT_TRUE(probe.measures());
  std::vector<torch::Tensor> values = {x.clone().requires_grad_()};
  for (std::size_t i = 0; i < net->size(); ++i) {
    values[i].retain_grad();
    values.push_back((*(net->begin() + static_cast<std::ptrdiff_t>(i))).forward(values[i]));
  }
  // The first batch's own statistics, which are the running ones now.
  const double lambda = net->ptr<ANActImpl>(3)->factor();
  values.back().retain_grad();
  (values.back().square().mean() + values.back().sum()).backward();
  const auto before = descend(*net);
  probe.finish();

  const auto& records = probe.records();
  EXPECT_EQ(names(records), (std::vector<std::string>{"0", "0/silu", "2", "3", "4", "4/relu", "6"}));
  ASSERT_EQ(records.size(), 7U);
  const auto after = net->named_parameters();
  for (std::size_t i = 0; i < 7; ++i) {
    const auto& record = records[i];
    const auto label = record.name;
    EXPECT_EQ(record.step, 0) << label;
    EXPECT_EQ(record.layer, static_cast<std::int64_t>(i)) << label;
    expect_spread(record.input, values[i], tolerance(), label + " input");
    expect_spread(record.output, values[i + 1], tolerance(), label + " output");
    expect_spread(record.input_gradient, values[i].grad(), tolerance(), label + " input gradient");
    expect_spread(record.output_gradient, values[i + 1].grad(), tolerance(), label + " output gradient");
    if (i % 2 == 0) {
      EXPECT_EQ(record.kind, LayerKind::linear) << label;
      EXPECT_EQ(record.activation, "") << label;
      EXPECT_FALSE(record.normalized) << label;
      const auto weight = before.at(label + ".weight");
      expect_weight(record, weight, after[label + ".weight"], static_cast<double>(weight.size(1)),
                    static_cast<double>(weight.size(0)), tolerance());
      EXPECT_GT(record.update_ratio, 0) << label;
      for (const double value : {record.forward_gain, record.backward_gain, record.lambda, record.forward_property,
                                 record.backward_property, record.output_mean, record.alpha, record.dead_share}) {
        EXPECT_TRUE(std::isnan(value)) << label;
      }
      continue;
    }
    EXPECT_EQ(record.kind, LayerKind::activation) << label;
    const Function f = i == 5 ? Function([](const auto& t) { return torch::relu(t); })
                              : Function([](const auto& t) { return torch::silu(t); });
    EXPECT_EQ(record.activation, i == 5 ? "relu" : "silu") << label;
    EXPECT_EQ(record.normalized, i == 3) << label;
    const auto in = values[i].detach().to(torch::kDouble);
    const double rho = mean_square(f(in)) / in.var(false).item<double>();
    const double slope = slope_square(f, in);
    const double scale = i == 3 ? lambda : 1;
    expect_near(record.forward_gain, rho, tolerance(), label + " rho");
    expect_near(record.backward_gain, slope, tolerance(), label + " rho'");
    expect_near(record.lambda, scale, 1e-6, label + " lambda");  // the statistics are float32
    expect_near(record.forward_property, scale * scale * rho, 3e-6, label);
    expect_near(record.backward_property, scale * scale * slope, 3e-6, label);
    EXPECT_NEAR(record.output_mean, f(in).mean().item<double>(), tolerance()) << label;
    if (i == 3) {
      EXPECT_EQ(record.alpha, dtype == torch::kDouble ? 0.4 : double{0.4F}) << label;
    } else {
      EXPECT_TRUE(std::isnan(record.alpha)) << label;
    }
    EXPECT_EQ(record.dead_share, dead_share(f, values[i])) << label;
    if (i == 5) {
      EXPECT_GE(record.dead_share, 1.0 / 20) << label;
    }
    EXPECT_TRUE(std::isnan(record.fan_in) && std::isnan(record.update_ratio)) << label;
  }
}

TEST_P(ProbeTypes, MeasuresAConvolutionalNetwork) {
  for (const bool channels_last : {false, true}) {
    torch::manual_seed(2);
    const auto dtype = GetParam();
    torch::nn::Sequential net(torch::nn::Conv2d(torch::nn::Conv2dOptions(3, 8, 3).stride(2).padding(1).bias(false)),
                              torch::nn::BatchNorm2d(8), torch::nn::ReLU(torch::nn::ReLUOptions().inplace(true)),
                              torch::nn::MaxPool2d(torch::nn::MaxPool2dOptions(2)),
                              torch::nn::Conv2d(torch::nn::Conv2dOptions(8, 6, 3)), ANAct("gelu"),
                              torch::nn::AdaptiveAvgPool2d(torch::nn::AdaptiveAvgPool2dOptions({1, 1})),
                              torch::nn::Flatten(), torch::nn::Linear(6, 4));
    net->to(dtype);
    {
      const torch::NoGradGuard no_grad;
      auto* norm = net->ptr(1)->as<torch::nn::BatchNorm2dImpl>();
      norm->weight.normal_(1, 0.3);
      norm->bias.normal_(0, 0.3);
      norm->weight[3].zero_();
      norm->bias[3].fill_(-0.5);
    }
    auto x = torch::randn({10, 3, 16, 16}, dtype);
    if (channels_last) x = x.contiguous(torch::MemoryFormat::ChannelsLast);
    x.requires_grad_();

    VarianceProbe probe(*net);
    std::vector<torch::Tensor> values = {x};
    std::vector<torch::Tensor> contents;  // what was in them before the next layer changed it
    std::vector<torch::Tensor> gradients(net->size() + 1);
    for (std::size_t i = 0; i <= net->size(); ++i) {
      contents.push_back(values[i].detach().clone());
      values[i].register_hook([&gradients, i](const torch::Tensor& g) { gradients[i] = g.detach().clone(); });
      if (i < net->size()) values.push_back((*(net->begin() + static_cast<std::ptrdiff_t>(i))).forward(values[i]));
    }
    (values.back() * torch::randn_like(values.back())).sum().backward();
    const auto before = descend(*net);
    probe.finish();

    const auto records = by_name(probe.records());
    EXPECT_EQ(names(probe.records()), (std::vector<std::string>{"0", "1", "1/relu", "4", "5", "8"}));
    const std::map<std::string, std::size_t> places = {{"0", 0}, {"1", 1}, {"1/relu", 2}, {"4", 4}, {"5", 5}, {"8", 8}};
    for (const auto& [name, i] : places) {
      const auto& record = records.at(name);
      expect_spread(record.input, contents[i], tolerance(), name + " input");
      expect_spread(record.output, contents[i + 1], tolerance(), name + " output");
      expect_spread(record.input_gradient, gradients[i], 2 * tolerance(), name + " input gradient");
      expect_spread(record.output_gradient, gradients[i + 1], 2 * tolerance(), name + " output gradient");
      expect_finite_predictions(record);
    }
    const auto after = net->named_parameters();
    expect_weight(records.at("0"), before.at("0.weight"), after["0.weight"], 27, 72, tolerance());
    expect_weight(records.at("4"), before.at("4.weight"), after["4.weight"], 72, 54, tolerance());
    EXPECT_EQ(records.at("0").kind, LayerKind::convolution);
    EXPECT_EQ(records.at("1").kind, LayerKind::normalization);
    const auto dead = [](const Function& f, const torch::Tensor& images) {
      return dead_share(f, images.permute({0, 2, 3, 1}).reshape({-1, images.size(1)}));
    };
    EXPECT_EQ(records.at("1/relu").dead_share, dead([](const auto& t) { return torch::relu(t); }, contents[2]));
    EXPECT_GE(records.at("1/relu").dead_share, 1.0 / 8);
    EXPECT_EQ(records.at("5").dead_share, dead([](const auto& t) { return torch::gelu(t); }, contents[5]));
    EXPECT_EQ(records.at("5").activation, "gelu");
    const auto in = contents[2].to(torch::kDouble);
    expect_near(records.at("1/relu").forward_gain, mean_square(torch::relu(in)) / in.var(false).item<double>(),
                tolerance(), "rho");
    expect_near(records.at("1/relu").backward_gain, in.gt(0).to(torch::kDouble).mean().item<double>(), tolerance(),
                "rho'");
  }
}

INSTANTIATE_TEST_SUITE_P(, ProbeTypes, testing::Values(torch::kDouble, torch::kFloat),
                         [](const auto& info) { return std::string(torch::toString(info.param)); });

TEST(Probe, CountsAUnitAsDeadOnlyIfNoSampleMovesIt) {
  // Units of x: no sample lives; only the last one does; all do; slopes of silu below 1e-3 without being 0.
  auto x = torch::full({40, 4}, -1.0);
  x[39][1] = 1.0;
  x.select(1, 2).fill_(1.0);
  torch::nn::Sequential none;
  VarianceProbe probe(*none);
  (void)torch::relu(x);
  (void)torch::silu(x * torch::tensor({20.0F, 20.0F, 1.0F, 20.0F}));
  // Three dimensions: a sequence of features, as no convolution came before.
  (void)torch::relu(x.view({4, 10, 4}));
  probe.finish();
  ASSERT_EQ(probe.records().size(), 3U);
  EXPECT_EQ(probe.records()[0].dead_share, 0.5);
  EXPECT_EQ(probe.records()[1].dead_share, 0.5);
  EXPECT_EQ(probe.records()[2].dead_share, 0.5);
}

TEST(Probe, CountsTheChannelsOfAConvolutionInOneDimension) {
  torch::nn::Conv1d conv(torch::nn::Conv1dOptions(2, 4, 1));
  {
    const torch::NoGradGuard no_grad;
    conv->weight[1].zero_();
    conv->bias[1].fill_(-1);
  }
  VarianceProbe probe(*conv);
  const auto x = conv->forward(torch::randn({30, 2, 12}));
  (void)torch::relu(x);
  probe.finish();
  const double dead = dead_share([](const auto& t) { return torch::relu(t); }, x.transpose(1, 2).reshape({-1, 4}));
  EXPECT_GE(dead, 0.25);
  EXPECT_EQ(probe.records().at(1).dead_share, dead);
}

TEST(Probe, TakesAllUsesOfATensorTogether) {
  torch::manual_seed(3);
  torch::nn::Sequential net(torch::nn::Linear(8, 8), torch::nn::Linear(8, 8), torch::nn::Linear(8, 3));
  net->to(torch::kDouble);
  const auto layer = [&](std::size_t i, const torch::Tensor& t) {
    return net->ptr<torch::nn::LinearImpl>(i)->forward(t);
  };
  VarianceProbe probe(*net);
  const auto first = layer(0, torch::randn({16, 8}, torch::kDouble));
  const auto y = torch::tanh(first);
  const auto sum = y + layer(1, y);
  const auto out = layer(2, sum);
  for (const auto& tensor : {first, y, sum, out}) tensor.retain_grad();
  out.square().sum().backward();
  probe.finish();
  const auto records = by_name(probe.records());
  expect_spread(records.at("0/tanh").output_gradient, y.grad(), 1e-11, "y");
  expect_spread(records.at("1").input_gradient, y.grad(), 1e-11, "y");
  expect_spread(records.at("2").input_gradient, sum.grad(), 1e-11, "sum");
  expect_spread(records.at("1").output_gradient, sum.grad(), 1e-11, "sum");
  expect_not_measured(records.at("0").input_gradient, "the data");
  EXPECT_TRUE(std::isnan(records.at("0").predicted_gradient));

  // The prediction, written out: the sum passes its gradient to both, and the branch back to y.
  const auto weight = [&](std::size_t i) { return net->ptr<torch::nn::LinearImpl>(i)->weight; };
  const auto bias = [&](std::size_t i) { return net->ptr<torch::nn::LinearImpl>(i)->bias; };
  const double at_sum = 3 * mean_square(weight(2)) * mean_square(out.grad());
  expect_near(records.at("2").predicted_gradient, at_sum, 1e-11, "sum");
  const double at_y = at_sum + 8 * mean_square(weight(1)) * at_sum;
  expect_near(records.at("1").predicted_gradient, at_y, 1e-11, "y");
  const double slope = slope_square([](const auto& t) { return torch::tanh(t); }, first);
  expect_near(records.at("0/tanh").predicted_gradient, slope * at_y, 1e-11, "first");
  const double q_first = 8 * mean_square(weight(0)) * records.at("0").input.second_moment + mean_square(bias(0));
  expect_near(records.at("0").predicted_second_moment, q_first, 1e-11, "first");
  const double q_y = q_first * mean_square(y) / mean_square(first);
  expect_near(records.at("0/tanh").predicted_second_moment, q_y, 1e-11, "y");
  const double q_branch = 8 * mean_square(weight(1)) * q_y + mean_square(bias(1));
  expect_near(records.at("1").predicted_second_moment, q_branch, 1e-11, "branch");
  expect_near(records.at("2").predicted_second_moment,
              8 * mean_square(weight(2)) * (q_y + q_branch) + mean_square(bias(2)), 1e-11, "out");
  // And under the normal distribution, by the activation's own expectation.
  const auto grid = torch::linspace(-12, 12, 200001, torch::kDouble);
  const auto density = torch::exp(-0.5 * grid.square());
  const auto emitted = torch::tanh(grid * std::sqrt(q_first)).square();
  const double normal = ((emitted * density).sum() / density.sum()).item<double>();
  expect_near(records.at("0/tanh").gaussian_second_moment, normal, 1e-7, "normal");
}

TEST(Probe, FollowsActivationsInPlace) {
  torch::manual_seed(4);
  torch::nn::Linear first(6, 9);
  torch::nn::Linear second(9, 2);
  torch::nn::Sequential net(first, second);
  net->to(torch::kDouble);
  VarianceProbe probe(*net);
  auto z = first->forward(torch::randn({20, 6}, torch::kDouble));
  const auto before = z.detach().clone();
  torch::Tensor gradient_before, gradient_after;
  z.register_hook([&](const torch::Tensor& g) { gradient_before = g.clone(); });
  torch::relu_(z);
  const auto after = z.detach().clone();
  z.register_hook([&](const torch::Tensor& g) { gradient_after = g.clone(); });
  second->forward(z).square().sum().backward();
  probe.finish();
  const auto records = by_name(probe.records());
  expect_spread(records.at("0").output, before, 1e-11, "before");
  expect_spread(records.at("0").output_gradient, gradient_before, 1e-11, "before");
  expect_spread(records.at("0/relu").input, before, 1e-11, "before");
  expect_spread(records.at("0/relu").input_gradient, gradient_before, 1e-11, "before");
  expect_spread(records.at("0/relu").output, after, 1e-11, "after");
  expect_spread(records.at("0/relu").output_gradient, gradient_after, 1e-11, "after");
  expect_spread(records.at("1").input, after, 1e-11, "after");
  expect_spread(records.at("1").input_gradient, gradient_after, 1e-11, "after");
  expect_finite_predictions(records.at("0/relu"));
}

TEST(Probe, WorksUnderAutocast) {
  torch::manual_seed(5);
  torch::nn::Sequential net(torch::nn::Conv2d(torch::nn::Conv2dOptions(3, 8, 3).padding(1)), ANAct("silu"),
                            torch::nn::Flatten(), torch::nn::Linear(8 * 36, 16), torch::nn::ReLU(),
                            torch::nn::Linear(16, 4));
  VarianceProbe probe(*net);
  at::autocast::increment_nesting();
  at::autocast::set_autocast_dtype(at::kCPU, at::kBFloat16);
  at::autocast::set_autocast_enabled(at::kCPU, true);
  const auto y = net->forward(torch::randn({12, 3, 6, 6}));
  at::autocast::set_autocast_enabled(at::kCPU, false);
  if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
  EXPECT_EQ(y.scalar_type(), at::kBFloat16);
  y.to(torch::kFloat).square().sum().backward();
  descend(*net);
  probe.finish();
  EXPECT_EQ(names(probe.records()), (std::vector<std::string>{"0", "1", "3", "3/relu", "5"}));
  for (const auto& record : probe.records()) {
    for (const auto* spread : {&record.input, &record.output, &record.output_gradient}) {
      EXPECT_TRUE(std::isfinite(spread->second_moment)) << record.name;
    }
    expect_finite_predictions(record, record.name != "0");
    if (record.kind != LayerKind::activation) {
      EXPECT_GT(record.update_ratio, 0) << record.name;
    }
  }
}

TEST(Probe, MeasuresEvaluationThatKeepsGradients) {
  torch::manual_seed(5);
  torch::nn::Sequential net(torch::nn::Linear(8, 8), ANAct("silu"), torch::nn::BatchNorm1d(8));
  net->to(torch::kDouble);
  net->forward(torch::randn({40, 8}, torch::kDouble));
  net->eval();
  VarianceProbe probe(*net);
  const auto x = net->ptr<torch::nn::LinearImpl>(0)->forward(torch::randn({40, 8}, torch::kDouble));
  const auto norm = net->ptr(2)->as<torch::nn::BatchNorm1dImpl>();
  norm->forward(net->ptr<ANActImpl>(1)->forward(x)).sum().backward();
  probe.finish();
  const auto records = by_name(probe.records());
  EXPECT_NEAR(records.at("1").lambda, net->ptr<ANActImpl>(1)->factor(), 1e-11);
  expect_near(records.at("1").forward_gain, mean_square(torch::silu(x)) / x.var(false).item<double>(), 1e-11, "rho");
  // A fixed map by now: its slope is known.
  expect_near(records.at("2").predicted_gradient, mean_square((norm->running_var + norm->options.eps()).rsqrt()), 1e-11,
              "slope");
}

TEST(Probe, MeasuresHalfPrecisionWeights) {
  torch::manual_seed(5);
  torch::nn::Linear net(32, 16);
  net->to(torch::kBFloat16);
  VarianceProbe probe(*net);
  net->forward(torch::randn({12, 32}, torch::kBFloat16)).sum().backward();
  const auto before = descend(*net);
  probe.finish();
  const auto& record = probe.records().at(0);
  expect_weight(record, before.at("weight"), net->weight, 32, 16, 1e-6);
}

// Names, and which steps are measured.

TEST(Probe, NamesLayersByTheirWeightsElseByWhatRunsElseByWhatCameBefore) {
  const auto weight = torch::randn({4, 4}).requires_grad_();
  const auto kernel = torch::randn({4, 4, 1}).requires_grad_();
  VarianceProbe probe({{"body.encoder.weight", weight}, {"kernel", kernel}});
  auto x = torch::randn({5, 4});
  x = torch::sigmoid(x);
  x = torch::relu(torch::linear(x, weight));
  x = torch::relu(x);
  probe.enter("body.outer");
  probe.enter("body.outer.act");
  x = torch::tanh(x);
  probe.leave();
  x = torch::silu(x);
  x = torch::linear(x, weight);
  probe.leave();
  x = torch::matmul(x, weight);
  x = torch::conv1d(x.unsqueeze(2), kernel);
  x = torch::linear(x.squeeze(2), torch::randn({4, 4}));
  x = torch::batch_norm(x, {}, {}, {}, {}, true, 0.1, 1e-5, false);
  (void)functional::anact(x, "gelu");
  probe.finish();
  EXPECT_EQ(
      names(probe.records()),
      (std::vector<std::string>{"sigmoid", "body.encoder", "body.encoder/relu", "body.encoder/relu#2", "body.outer.act",
                                "body.outer", "body.encoder#2", "body.encoder#3", "kernel", "kernel/linear",
                                "kernel/linear/normalization", "kernel/linear/normalization/gelu"}));
}

TEST(Probe, MeasuresEveryNthStep) {
  torch::nn::Linear net(4, 2);
  VarianceProbe probe(*net, VarianceProbeOptions().every(3));
  std::vector<bool> measured;
  for (int step = 0; step < 7; ++step) {
    measured.push_back(probe.measures());
    EXPECT_EQ(at::hasThreadLocalCallbacks(), probe.measures());
    net->forward(torch::randn({5, 4})).sum().backward();
    EXPECT_EQ(probe.records().size(), static_cast<std::size_t>((step + 2) / 3));
    probe.step();
  }
  EXPECT_EQ(measured, (std::vector<bool>{true, false, false, true, false, false, true}));
  probe.finish();
  EXPECT_FALSE(probe.measures());
  std::vector<std::int64_t> steps;
  for (const auto& record : probe.take_records()) steps.push_back(record.step);
  EXPECT_EQ(steps, (std::vector<std::int64_t>{0, 3, 6}));
  EXPECT_TRUE(probe.records().empty());
  // Nothing is going on: to finish again ends no step, and the next one is step 8.
  probe.finish();
  probe.step();
  EXPECT_FALSE(probe.measures());
  probe.step();
  EXPECT_TRUE(probe.measures());
  net->forward(torch::randn({5, 4}));
  probe.finish();
  EXPECT_EQ(probe.records().at(0).step, 9);
}

TEST(Probe, RefusesWhatItCannotDo) {
  torch::nn::Linear net(4, 2);
  EXPECT_THROW(VarianceProbe(*net, VarianceProbeOptions().every(0)), std::invalid_argument);
  EXPECT_FALSE(at::hasThreadLocalCallbacks());
  VarianceProbe first(*net, VarianceProbeOptions().every(2));
  EXPECT_THROW(VarianceProbe{*net}, std::logic_error);
  EXPECT_TRUE(first.measures());
  first.step();
  VarianceProbe second(*net, VarianceProbeOptions().every(2));
  EXPECT_THROW(first.step(), std::logic_error);
  // The refused step counts, and the one after it goes well.
  second.step();
  first.step();
  first.step();
  EXPECT_TRUE(first.measures());
  net->forward(torch::randn({5, 4}));
  first.finish();
  EXPECT_EQ(first.records().back().step, 4);
}

TEST(Probe, IsGoneWhenItIsDestroyedInTheMiddleOfAStep) {
  torch::nn::Sequential net(torch::nn::Linear(4, 4), torch::nn::ReLU(), torch::nn::Linear(4, 2));
  const auto x = torch::randn({5, 4}).requires_grad_();
  torch::Tensor y;
  {
    VarianceProbe probe(*net);
    y = net->forward(x);
    EXPECT_TRUE(at::hasThreadLocalCallbacks());
  }
  EXPECT_FALSE(at::hasThreadLocalCallbacks());
  y.sum().backward();
  EXPECT_TRUE(x.grad().defined());
  VarianceProbe again(*net);
  net->forward(x);
  again.finish();
  EXPECT_EQ(again.records().size(), 3U);
}

TEST(Probe, IsGoneFromTensorsThatLiveOn) {
  torch::nn::Linear net(4, 2);
  const auto x = torch::randn({5, 4}).requires_grad_();
  VarianceProbe probe(*net);
  const auto y = net->forward(x).sum();
  y.backward({}, /*retain_graph=*/true);
  probe.step();
  // The old graph's hooks are silent in the next step: only its own gradient, a thousand times as large, is measured.
  net->forward(x).sum().mul(1000).backward();
  y.backward();
  probe.finish();
  ASSERT_EQ(probe.records().size(), 2U);
  const double first = probe.records()[0].output_gradient.second_moment;
  EXPECT_EQ(first, 1);
  EXPECT_EQ(probe.records()[1].output_gradient.second_moment, 1e6);
  EXPECT_FALSE(at::hasThreadLocalCallbacks());
}

TEST(Probe, LeavesOutWhatRunsWithoutGradients) {
  torch::manual_seed(6);
  torch::nn::Sequential net(torch::nn::Linear(4, 4), ANAct("silu"), torch::nn::Linear(4, 2));
  const auto x = torch::randn({9, 4});
  VarianceProbe probe(*net);
  net->forward(x).sum().backward();
  {
    const torch::NoGradGuard no_grad;
    net->eval();
    net->forward(torch::randn({100, 4}) * 50);
    net->train();
  }
  {
    const c10::InferenceMode inference;
    net->ptr<torch::nn::LinearImpl>(0)->forward(x);
  }
  probe.step();
  {
    const torch::NoGradGuard no_grad;
    net->forward(x);
  }
  probe.finish();
  EXPECT_EQ(names(probe.records()), (std::vector<std::string>{"0", "1", "2"}));
  expect_spread(probe.records()[0].input, x, 1e-6, "x");
}

TEST(Probe, MergesThePassesOfGradientAccumulation) {
  torch::manual_seed(7);
  torch::nn::Sequential net(torch::nn::Linear(4, 6), torch::nn::ReLU(), torch::nn::Linear(6, 2));
  net->to(torch::kDouble);
  {
    const torch::NoGradGuard no_grad;
    // Dead in the first pass, whose inputs are positive, and not in the second.
    net->ptr<torch::nn::LinearImpl>(0)->weight[2].fill_(-1);
    net->ptr<torch::nn::LinearImpl>(0)->bias[2].zero_();
  }
  VarianceProbe probe(*net);
  std::vector<torch::Tensor> inputs, hidden, activated, outputs;
  for (const std::int64_t samples : {10, 30}) {
    const auto sign = samples == 10 ? 1 : -1;
    inputs.push_back(torch::rand({samples, 4}, torch::kDouble) * sign);
    hidden.push_back(net->ptr<torch::nn::LinearImpl>(0)->forward(inputs.back()));
    activated.push_back(torch::relu(hidden.back()));
    outputs.push_back(net->ptr<torch::nn::LinearImpl>(2)->forward(activated.back()));
    for (const auto* all : {&hidden, &activated, &outputs}) all->back().retain_grad();
    outputs.back().square().sum().backward();
  }
  const auto before = descend(*net);
  probe.finish();
  const auto merged = [](const std::vector<torch::Tensor>& parts, bool gradients) {
    std::vector<torch::Tensor> flat;
    for (const auto& part : parts) flat.push_back((gradients ? part.grad() : part).flatten());
    return torch::cat(flat);
  };
  EXPECT_EQ(names(probe.records()), (std::vector<std::string>{"0", "0/relu", "2"}));
  const auto& records = probe.records();
  expect_spread(records[0].input, merged(inputs, false), 1e-11, "input");
  expect_spread(records[0].output, merged(hidden, false), 1e-11, "hidden");
  expect_spread(records[0].output_gradient, merged(hidden, true), 1e-11, "hidden gradient");
  expect_spread(records[1].output, merged(activated, false), 1e-11, "activated");
  expect_spread(records[1].output_gradient, merged(activated, true), 1e-11, "activated gradient");
  expect_spread(records[2].output_gradient, merged(outputs, true), 1e-11, "output gradient");
  EXPECT_LT(records[1].dead_share, 1.0 / 6 + 1e-9);
  const auto dead = merged(hidden, false).view({40, 6}).gt(0).any(0).logical_not();
  EXPECT_EQ(records[1].dead_share, dead.to(torch::kDouble).mean().item<double>());
  EXPECT_FALSE(dead[2].item<bool>());
  expect_weight(records[0], before.at("0.weight"), net->named_parameters()["0.weight"], 4, 6, 1e-11);
  // The prediction is the first pass's.
  expect_near(records[0].predicted_second_moment,
              4 * mean_square(before.at("0.weight")) * mean_square(inputs[0]) + mean_square(before.at("0.bias")), 1e-11,
              "prediction");
}

TEST(Probe, CountsTheGradientOfAReusedLeafOnce) {
  torch::nn::Linear net(4, 2);
  const auto x = torch::randn({5, 4}).requires_grad_();
  VarianceProbe probe(*net);
  std::vector<torch::Tensor> gradients;
  x.register_hook([&](const torch::Tensor& g) { gradients.push_back(g.clone()); });
  for (const double scale : {1.0, 10.0}) (net->forward(x).sum() * scale).backward();
  probe.finish();
  ASSERT_EQ(gradients.size(), 2U);
  expect_spread(probe.records()[0].input_gradient, torch::cat(gradients), 1e-6, "x");
}

TEST(Probe, NumbersTheRunsOfOneLayer) {
  torch::nn::Linear net(4, 4);
  VarianceProbe probe(*net);
  auto x = torch::randn({5, 4});
  std::vector<torch::Tensor> values = {x};
  for (int run = 0; run < 3; ++run) values.push_back(net->forward(values.back()));
  values.back().sum().backward();
  probe.finish();
  EXPECT_EQ(names(probe.records()), (std::vector<std::string>{"weight", "weight#2", "weight#3"}));
}

// What it must not change.

TEST(Probe, LeavesTrainingAsItIs) {
  const auto train = [](bool probed) {
    torch::manual_seed(8);
    torch::nn::Sequential net(torch::nn::Conv2d(torch::nn::Conv2dOptions(3, 8, 3).padding(1)),
                              torch::nn::BatchNorm2d(8), torch::nn::ReLU(torch::nn::ReLUOptions().inplace(true)),
                              ANAct("silu"), torch::nn::Dropout(0.2), torch::nn::MaxPool2d(2), torch::nn::Flatten(),
                              torch::nn::Linear(8 * 16, 32), ANAct("gelu"), torch::nn::Linear(32, 5));
    torch::optim::SGD optimizer(net->parameters(), torch::optim::SGDOptions(0.05).momentum(0.9));
    std::unique_ptr<VarianceProbe> probe;
    if (probed) probe = std::make_unique<VarianceProbe>(*net, VarianceProbeOptions().every(2));
    for (int step = 0; step < 8; ++step) {
      optimizer.zero_grad();
      const auto x = torch::randn({16, 3, 8, 8});
      const auto target = torch::randint(5, {16}, torch::kLong);
      F::cross_entropy(net->forward(x), target).backward();
      optimizer.step();
      if (probe) probe->step();
    }
    std::vector<torch::Tensor> result;
    for (const auto& item : net->parameters()) result.push_back(item.detach().clone());
    for (const auto& item : net->buffers()) result.push_back(item.detach().clone());
    if (probe) {
      EXPECT_EQ(probe->records().size(), 4U * 7U);
    }
    return result;
  };
  const auto plain = train(false);
  const auto probed = train(true);
  ASSERT_EQ(plain.size(), probed.size());
  for (std::size_t i = 0; i < plain.size(); ++i) EXPECT_TRUE(torch::equal(plain[i], probed[i])) << i;
}

TEST(Probe, TellsTheSameBitsForEveryNumberOfThreads) {
  const int threads = at::get_num_threads();
  const auto measure = [](int count) {
    at::set_num_threads(count);
    torch::manual_seed(9);
    // Many elements, and sums too short for a matrix product to be split.
    torch::nn::Sequential net(torch::nn::Linear(2, 600), ANAct("silu"), torch::nn::ReLU());
    VarianceProbe probe(*net);
    const auto x = torch::randn({700, 2}).requires_grad_();
    const auto y = net->forward(x);
    y.backward(torch::randn_like(y));
    {
      const torch::NoGradGuard no_grad;
      for (const auto& p : net->parameters()) p.add_(torch::randn_like(p), 0.01);
    }
    probe.finish();
    return probe.take_records();
  };
  const auto one = measure(1);
  const auto two = measure(2);
  at::set_num_threads(threads);
  ASSERT_EQ(one.size(), 3U);
  ASSERT_EQ(two.size(), 3U);
  for (std::size_t i = 0; i < one.size(); ++i) {
    for (const auto& column : layer_columns()) {
      const auto first = column.get(one[i]);
      const auto second = column.get(two[i]);
      ASSERT_EQ(first.index(), second.index());
      if (const auto* a = std::get_if<double>(&first)) {
        const double b = std::get<double>(second);
        EXPECT_EQ(std::memcmp(a, &b, sizeof b), 0) << one[i].name << " " << column.name << " " << *a << " " << b;
      } else {
        EXPECT_EQ(first, second) << column.name;
      }
    }
  }
}

// Predictions.

torch::nn::Sequential perceptron(std::int64_t width, std::size_t depth, const Function& activation, double gain) {
  torch::nn::Sequential net;
  for (std::size_t i = 0; i < depth; ++i) {
    torch::nn::Linear linear(torch::nn::LinearOptions(width, width).bias(false));
    const torch::NoGradGuard no_grad;
    linear->weight.normal_(0, std::sqrt(gain / static_cast<double>(width)));
    net->push_back(linear);
    if (activation) net->push_back(torch::nn::Functional(activation));
  }
  return net;
}

TEST(Probe, PredictsAWideRandomNetwork) {
  torch::manual_seed(10);
  auto net = perceptron(
      512, 6, [](const auto& x) { return torch::relu(x); }, 2);
  VarianceProbe probe(*net);
  const auto x = torch::randn({64, 512}).requires_grad_();
  const auto y = net->forward(x);
  y.backward(torch::randn_like(y));
  probe.finish();
  ASSERT_EQ(probe.records().size(), 12U);
  for (const auto& record : probe.records()) {
    EXPECT_NEAR(std::log(record.predicted_second_moment / record.output.second_moment), 0, std::log(1.25))
        << record.name;
    EXPECT_NEAR(std::log(record.gaussian_second_moment / record.output.second_moment), 0, std::log(1.25))
        << record.name;
    EXPECT_NEAR(std::log(record.predicted_gradient / record.input_gradient.second_moment), 0, std::log(1.25))
        << record.name;
    EXPECT_NEAR(std::log(record.gaussian_gradient / record.input_gradient.second_moment), 0, std::log(1.25))
        << record.name;
  }
}

TEST(Probe, PredictsThroughConvolutionsPoolingBatchNormAndSums) {
  torch::manual_seed(11);
  torch::nn::Sequential net(torch::nn::Conv2d(torch::nn::Conv2dOptions(8, 64, 3).padding(1).bias(false)),
                            torch::nn::BatchNorm2d(64),
                            torch::nn::Conv2d(torch::nn::Conv2dOptions(64, 64, 3).padding(1).bias(false)),
                            torch::nn::BatchNorm2d(64), torch::nn::Linear(64 * 16, 32));
  const auto conv = [&](std::size_t i, const torch::Tensor& x) {
    return net->ptr<torch::nn::Conv2dImpl>(i)->forward(x);
  };
  const auto norm = [&](std::size_t i, const torch::Tensor& x) {
    return net->ptr(i)->as<torch::nn::BatchNorm2dImpl>()->forward(x);
  };
  VarianceProbe probe(*net);
  const auto x = torch::randn({32, 8, 16, 16});
  auto h = torch::relu(norm(1, conv(0, x)));
  h = h + norm(3, conv(2, h));
  h = torch::avg_pool2d(torch::max_pool2d(torch::relu(h), 2), 2);
  const auto y = net->ptr<torch::nn::LinearImpl>(4)->forward(h.flatten(1));
  y.backward(torch::randn_like(y));
  probe.finish();
  EXPECT_EQ(names(probe.records()), (std::vector<std::string>{"0", "1", "1/relu", "2", "3", "3/relu", "4"}));
  for (const auto& record : probe.records()) {
    expect_finite_predictions(record, record.name != "0");
    EXPECT_NEAR(std::log(record.predicted_second_moment / record.output.second_moment), 0, std::log(2)) << record.name;
    if (record.name == "0") continue;
    EXPECT_NEAR(std::log(record.predicted_gradient / record.input_gradient.second_moment), 0, std::log(2))
        << record.name;
  }
}

// SiLU under another name: what the catalogue's own shows, but for what needs f'.
TEST(Probe, MeasuresAnActivationOfTheUsersOwn) {
  const CustomActivation own{"own", [](const torch::Tensor& x) { return x * x.sigmoid(); },
                             [](const torch::Tensor& x) {
                               const auto s = x.sigmoid();
                               return s * (1 + x * (1 - s));
                             }};
  const auto measure = [](const ANActOptions& options, bool training) {
    torch::manual_seed(31);
    torch::nn::Sequential net;
    for (int i = 0; i < 3; ++i) {
      net->push_back(torch::nn::Linear(24, 24));
      net->push_back(ANAct(options));
    }
    net->to(torch::kDouble);
    net->train(training);
    VarianceProbe probe(*net);
    net->forward(torch::randn({16, 24}, torch::kDouble)).square().sum().backward();
    probe.finish();
    return probe.take_records();
  };
  const auto expected = measure("silu", true), found = measure(own, true);
  ASSERT_EQ(names(found), names(expected));
  for (std::size_t i = 0; i < found.size(); ++i) {
    const auto& a = found[i];
    const auto& b = expected[i];
    for (const auto column :
         {&LayerRecord::lambda, &LayerRecord::alpha, &LayerRecord::output_mean, &LayerRecord::forward_gain,
          &LayerRecord::backward_gain, &LayerRecord::forward_property, &LayerRecord::backward_property,
          &LayerRecord::predicted_second_moment, &LayerRecord::predicted_gradient}) {
      if (std::isnan(b.*column)) {
        EXPECT_TRUE(std::isnan(a.*column)) << a.name;
      } else {
        expect_near(a.*column, b.*column, 1e-10, a.name);
      }
    }
    expect_near(a.output.second_moment, b.output.second_moment, 1e-10, a.name);
    if (i > 0) expect_near(a.input_gradient.second_moment, b.input_gradient.second_moment, 1e-10, a.name);
    if (a.kind != LayerKind::activation) continue;
    EXPECT_EQ(a.activation, "own");
    EXPECT_TRUE(a.normalized);
    EXPECT_TRUE(std::isnan(a.dead_share));
  }
  // In evaluation nothing measures it.
  for (const auto& record : measure(own, false)) EXPECT_EQ(record.kind, LayerKind::linear);
}

TEST(Probe, BeginsAnewAfterWhatItDoesNotKnow) {
  for (const bool shortcut : {false, true}) {
    torch::manual_seed(12);
    torch::nn::Sequential net(torch::nn::Linear(32, 32), torch::nn::Linear(32, 32), torch::nn::Linear(32, 32));
    const auto layer = [&](std::size_t i, const torch::Tensor& t) {
      return net->ptr<torch::nn::LinearImpl>(i)->forward(t);
    };
    VarianceProbe probe(*net);
    const auto x = torch::randn({64, 32}).requires_grad_();
    const auto first = layer(0, x);
    const auto squared = torch::relu(layer(1, first)).square();
    // With a shortcut the layers above are reached by another way too, by which only a part of their gradient comes.
    const auto last = layer(2, shortcut ? squared + first : squared);
    last.square().sum().backward();
    probe.finish();
    const auto records = by_name(probe.records());
    for (const auto& name : {"0", "1", "1/relu"}) expect_finite_predictions(records.at(name), false);
    expect_finite_predictions(records.at("2"), true);
    if (!shortcut) {
      const auto weight = net->ptr<torch::nn::LinearImpl>(2)->weight;
      const auto bias = net->ptr<torch::nn::LinearImpl>(2)->bias;
      expect_near(records.at("2").predicted_second_moment,
                  32 * mean_square(weight) * mean_square(squared) + mean_square(bias), 1e-5, "anew");
    }
  }
}

TEST(Probe, BeginsAnewAfterAChangeInPlace) {
  torch::manual_seed(13);
  torch::nn::Sequential net(torch::nn::Linear(torch::nn::LinearOptions(32, 32).bias(false)),
                            torch::nn::Linear(torch::nn::LinearOptions(32, 32).bias(false)));
  VarianceProbe probe(*net);
  auto h = net->ptr<torch::nn::LinearImpl>(0)->forward(torch::randn({64, 32}).requires_grad_());
  h.slice(1, 0, 16).mul_(30);  // by way of a view
  const auto y = net->ptr<torch::nn::LinearImpl>(1)->forward(h);
  y.sum().backward();
  probe.finish();
  const auto records = by_name(probe.records());
  expect_spread(records.at("1").input, h, 1e-6, "changed");
  expect_near(records.at("1").predicted_second_moment,
              32 * mean_square(net->ptr<torch::nn::LinearImpl>(1)->weight) * mean_square(h), 1e-5, "anew");
  expect_finite_predictions(records.at("0"), false);
}

TEST(Probe, PredictsNoGradientWhereSomeOfItComesFromElsewhere) {
  torch::manual_seed(14);
  torch::nn::Sequential net(torch::nn::Linear(8, 8), torch::nn::Linear(8, 8), torch::nn::Linear(8, 8));
  const auto layer = [&](std::size_t i, const torch::Tensor& t) {
    return net->ptr<torch::nn::LinearImpl>(i)->forward(t);
  };
  VarianceProbe probe(*net);
  const auto trunk = layer(0, torch::randn({16, 8}).requires_grad_());
  const auto head = layer(1, trunk);
  const auto other = layer(2, trunk);
  (head.square().sum() + other.sum()).backward();
  probe.finish();
  const auto records = by_name(probe.records());
  expect_finite_predictions(records.at("0"), false);
  for (const auto& name : {"1", "2"}) expect_finite_predictions(records.at(name), false);  // both feed on the trunk

  // The loss after a sum that comes after the last layer.
  VarianceProbe again(*net);
  const auto x = layer(0, torch::randn({16, 8}).requires_grad_());
  (x + layer(1, x)).sum().backward();
  again.finish();
  for (const auto& record : again.records()) expect_finite_predictions(record, false);
}

TEST(Probe, PredictsNothingWhenItIsTold) {
  torch::nn::Linear net(4, 2);
  VarianceProbe probe(*net, VarianceProbeOptions().predict(false));
  net->forward(torch::randn({5, 4}).requires_grad_()).sum().backward();
  probe.finish();
  const auto& record = probe.records().at(0);
  EXPECT_TRUE(std::isnan(record.predicted_second_moment) && std::isnan(record.predicted_gradient));
  EXPECT_TRUE(std::isfinite(record.input_gradient.second_moment));
}

TEST(Probe, LivesWithEmptyBatchesAndWithNumbersThatAreNotFinite) {
  torch::nn::Sequential net(torch::nn::Linear(4, 4), torch::nn::ReLU(), torch::nn::Linear(4, 2));
  VarianceProbe probe(*net);
  net->forward(torch::randn({0, 4})).sum().backward();
  probe.step();
  net->forward(torch::full({3, 4}, std::numeric_limits<float>::infinity())).sum().backward();
  probe.step();
  net->forward(torch::randn({3, 4})).sum().backward();
  probe.finish();
  ASSERT_EQ(probe.records().size(), 9U);
  EXPECT_TRUE(std::isnan(probe.records()[0].input.second_moment));
  EXPECT_FALSE(std::isfinite(probe.records()[3].input.second_moment));
  EXPECT_TRUE(std::isnan(probe.records()[3].predicted_second_moment));
  EXPECT_TRUE(std::isfinite(probe.records()[6].predicted_second_moment));
}

// Freed memory that is full of NaN, for kernels that ask for a buffer.
void dirty_memory(std::initializer_list<std::int64_t> sizes) {
  for (const auto size : sizes) {
    std::vector<torch::Tensor> tensors;
    for (int i = 0; i < 16; ++i) tensors.push_back(torch::full({size}, std::nan("")));
  }
}

// What the theory says of a linear layer (or a convolution of one tap) by its own definition, without the probe.
double linear_by_hand(const torch::nn::Module& layer, const torch::Tensor& input) {
  const auto parameters = layer.named_parameters();
  const auto weight = parameters["weight"];
  // LibTorch's function adds the bias to anything but a matrix by itself, behind the layer.
  const bool biased = weight.dim() > 2 || input.dim() == 2;
  return static_cast<double>(weight.size(1)) * mean_square(weight) * mean_square(input) +
         (biased ? mean_square(parameters["bias"]) : 0);
}

// A layer, something that the theory does not know, and another layer. Repeats tell the same; both are predicted as
// from their own inputs.
void expect_anew(const std::string& what, const torch::nn::AnyModule& first, const Function& between,
                 const torch::nn::AnyModule& second, const torch::Tensor& x) {
  torch::nn::Sequential net;
  net->push_back(first);
  net->push_back(second);
  std::vector<LayerRecord> once;
  for (int repeat = 0; repeat < 3; ++repeat) {
    VarianceProbe probe(*net);
    auto layer = net->begin();
    const torch::Tensor a = layer->forward(x);
    dirty_memory({a.numel(), 2 * a.numel(), 4 * a.numel()});
    const torch::Tensor b = between(a);
    const torch::Tensor c = (++layer)->forward(b);
    c.square().sum().backward();
    probe.finish();
    const auto records = probe.take_records();
    ASSERT_EQ(records.size(), 2U) << what;
    expect_near(records[0].predicted_second_moment, linear_by_hand(*first.ptr(), x), 1e-5, what);
    expect_near(records[1].predicted_second_moment, linear_by_hand(*second.ptr(), b), 1e-5, what);
    for (const auto& record : records) {
      EXPECT_NEAR(std::log(record.predicted_second_moment / record.output.second_moment), 0, std::log(1.5))
          << what << ' ' << record.name;
      EXPECT_EQ(record.predicted_second_moment, record.gaussian_second_moment) << what;
    }
    EXPECT_EQ(records[0].unpredicted, "") << what;
    EXPECT_EQ(records[1].unpredicted, "") << what;
    if (repeat == 0) once = records;
    for (std::size_t i = 0; i < records.size(); ++i) {
      EXPECT_EQ(records[i].predicted_second_moment, once[i].predicted_second_moment) << what;
      if (i > 0) {
        EXPECT_EQ(records[i].predicted_gradient, once[i].predicted_gradient) << what;
      }
    }
  }
}

TEST(Probe, ReadsNoMemoryThatAKernelHasYetToFill) {
  torch::manual_seed(40);
  const auto linear = [](std::int64_t in, std::int64_t out) {
    return torch::nn::AnyModule(torch::nn::Linear(in, out));
  };
  const auto conv = [](std::int64_t in, std::int64_t out) {
    return torch::nn::AnyModule(torch::nn::Conv2d(in, out, 1));
  };
  for (const bool causal : {false, true}) {
    const auto attention = [&](const torch::Tensor& t) {
      const auto heads = t.view({7, 9, 2, 16}).transpose(1, 2);
      return at::scaled_dot_product_attention(heads, heads, heads, {}, 0, causal).transpose(1, 2).reshape({7, 9, 32});
    };
    expect_anew("attention", linear(32, 32), attention, linear(32, 64), torch::randn({7, 9, 32}));
  }
  const auto masked = [](const torch::Tensor& t) {
    const auto mask = torch::full({9, 9}, -std::numeric_limits<float>::infinity()).triu(1) + torch::zeros({9, 9});
    return at::scaled_dot_product_attention(t, t, t, mask);
  };
  expect_anew("attention with a mask", linear(32, 32), masked, linear(32, 64), torch::randn({7, 9, 32}));
  const auto image = torch::randn({3, 32, 11, 13});
  expect_anew(
      "bilinear", conv(32, 64),
      [](const torch::Tensor& t) {
        return at::upsample_bilinear2d(t, {21, 30}, false);
      },
      conv(64, 48), image);
  expect_anew(
      "nearest", conv(32, 64),
      [](const torch::Tensor& t) {
        return at::upsample_nearest2d(t, {22, 26});
      },
      conv(64, 48), image);
  // Is a clone within, and then no longer.
  expect_anew(
      "masked_fill", linear(32, 64), [](const torch::Tensor& t) { return t.masked_fill(t > 0, 3); }, linear(64, 64),
      torch::randn({33, 32}));
  expect_anew(
      "cumsum", linear(32, 64), [](const torch::Tensor& t) { return t.cumsum(0); }, linear(64, 64),
      torch::randn({33, 32}));
  for (const bool gated : {false, true}) {
    auto lstm = torch::nn::LSTM(torch::nn::LSTMOptions(64, 64).batch_first(true));
    auto gru = torch::nn::GRU(torch::nn::GRUOptions(64, 64).batch_first(true));
    const auto recurrent = [&](const torch::Tensor& t) {
      return gated ? std::get<0>(gru->forward(t)) : std::get<0>(lstm->forward(t));
    };
    expect_anew(gated ? "gru" : "lstm", linear(32, 64), recurrent, linear(64, 64), torch::randn({7, 9, 32}));
  }
}

TEST(Probe, PredictsThroughPoolingWithPadding) {
  torch::manual_seed(41);
  const auto x = torch::randn({8, 32, 13, 13});
  for (const bool average : {false, true}) {
    torch::nn::Sequential net(torch::nn::Conv2d(32, 64, 1), torch::nn::Conv2d(64, 48, 1));
    VarianceProbe probe(*net);
    const auto a = net->ptr<torch::nn::Conv2dImpl>(0)->forward(x);
    const auto b = average ? torch::avg_pool2d(a, 3, 2, 1) : torch::max_pool2d(a, 3, 2, 1);
    const auto c = net->ptr<torch::nn::Conv2dImpl>(1)->forward(b);
    c.backward(torch::randn_like(c));
    probe.finish();
    const auto& record = probe.records().at(1);
    EXPECT_EQ(record.unpredicted, "");
    // By way of the first layer's prediction, which differs from what it emits.
    EXPECT_NEAR(std::log(record.predicted_second_moment / record.output.second_moment), 0, std::log(1.3));
    EXPECT_NEAR(std::log(record.predicted_gradient / record.input_gradient.second_moment), 0, std::log(1.3));
  }
}

// Whatever stands beside the network is its own business.
TEST(Probe, IsNotMisledByTensorsBesideTheNetwork) {
  const double kInf = std::numeric_limits<double>::infinity();
  const std::map<std::string, Function> befores{{"nothing", [](const auto& x) { return x; }},
                                                {"zeros + x", [](const auto& x) { return torch::zeros_like(x) + x; }},
                                                {"an empty sum",
                                                 [](const auto& x) {
                                                   (void)(torch::zeros({0}) + torch::zeros({0}));
                                                   return x;
                                                 }},
                                                {"a mask",
                                                 [&](const auto& x) {
                                                   (void)(torch::zeros({4, 4}) + torch::full({4, 4}, -kInf).triu(1));
                                                   return x;
                                                 }},
                                                {"memory without values", [](const auto& x) {
                                                   dirty_memory({x.numel()});
                                                   auto buffer = torch::empty_like(x);
                                                   buffer.slice(0, 0, 8).copy_(x.slice(0, 0, 8));
                                                   buffer.slice(0, 8).copy_(x.slice(0, 8));
                                                   return buffer;
                                                 }}};
  std::map<std::string, double> expected;
  for (const auto& [what, before] : befores) {
    torch::manual_seed(42);
    torch::nn::Sequential net(torch::nn::Linear(64, 64), ANAct("silu"), torch::nn::Linear(64, 64));
    const auto x = torch::randn({256, 64});
    VarianceProbe probe(*net);
    net->forward(before(x)).square().mean().backward();
    probe.finish();
    for (const auto& record : probe.records()) {
      EXPECT_NEAR(std::log(record.predicted_second_moment / record.output.second_moment), 0, std::log(1.2)) << what;
      EXPECT_EQ(record.unpredicted, "") << what;
      const auto [first, fresh] = expected.emplace(record.name, record.predicted_second_moment);
      expect_near(record.predicted_second_moment, first->second, 1e-6, what + " " + record.name);
    }
  }
}

TEST(Probe, BeginsAnewWhereSomethingIsNotFinite) {
  torch::manual_seed(43);
  torch::nn::Sequential net(torch::nn::Linear(64, 64), torch::nn::Linear(64, 64), torch::nn::Linear(64, 64));
  const auto layer = [&](std::size_t i, const torch::Tensor& t) {
    return net->ptr<torch::nn::LinearImpl>(i)->forward(t);
  };
  const auto inf = torch::full({32, 64}, std::numeric_limits<float>::infinity());
  VarianceProbe probe(*net);
  const auto x = torch::randn({32, 64});
  const auto a = layer(0, x);
  const auto b = layer(1, a + inf);  // by a sum of which one part is known
  const auto c = b.nan_to_num(1, 1, 1);
  const auto y = layer(2, c);
  y.square().sum().backward();
  probe.finish();
  const auto& records = probe.records();
  expect_near(records[0].predicted_second_moment, linear_by_hand(*net->ptr(0), x), 1e-5, "before");
  EXPECT_TRUE(std::isnan(records[1].predicted_second_moment));
  EXPECT_EQ(records[1].unpredicted.rfind("second moment: the input is not finite", 0), 0U) << records[1].unpredicted;
  expect_near(records[2].predicted_second_moment, linear_by_hand(*net->ptr(2), c), 1e-5, "behind");
  EXPECT_EQ(records[2].unpredicted, "");
}

TEST(Probe, SaysWhyThereIsNoPrediction) {
  torch::manual_seed(44);
  torch::nn::Sequential net(torch::nn::Linear(16, 16), torch::nn::Linear(16, 16), torch::nn::PReLU());
  const auto layer = [&](std::size_t i, const torch::Tensor& t) {
    return net->ptr<torch::nn::LinearImpl>(i)->forward(t);
  };
  const auto run = [&](const std::function<torch::Tensor()>& forward) {
    VarianceProbe probe(*net);
    forward().square().sum().backward();
    probe.finish();
    return by_name(probe.take_records());
  };
  const auto x = torch::randn({8, 16});
  auto records = run([&] { return layer(1, torch::sigmoid(torch::zeros({8, 16}).requires_grad_())); });
  const auto& zero = records.begin()->second.kind == LayerKind::activation ? records.begin()->second
                                                                           : std::next(records.begin())->second;
  EXPECT_EQ(zero.unpredicted, "second moment: the input is 0, which tells no gain");
  EXPECT_NEAR(zero.gaussian_second_moment, 0.25, 1e-12);
  expect_near(records.at("1").predicted_second_moment, linear_by_hand(*net->ptr(1), torch::full({8, 16}, 0.5)), 1e-5,
              "");

  records = run([&] { return layer(0, torch::zeros({0, 16})); });
  EXPECT_EQ(records.at("0").unpredicted, "second moment: the input is empty");

  records = run([&] { return net->ptr<torch::nn::PReLUImpl>(2)->forward(layer(0, x)); });
  EXPECT_EQ(records.at("2").unpredicted, "the activation has a learnt parameter");
  EXPECT_EQ(records.at("0").unpredicted, "");

  // What comes back by the sine is not told, though it came before the theory began there.
  for (const bool before : {true, false}) {
    records = run([&] {
      const auto h = (x.clone().requires_grad_() * 2).exp();
      const auto sine = before ? h.view({4, 32}).sin() : torch::Tensor();
      const auto y = layer(0, h);
      return y + (before ? sine : h.sin()).view({8, 16});
    });
    EXPECT_TRUE(std::isnan(records.at("0").predicted_gradient));
    EXPECT_EQ(records.at("0").unpredicted, "gradient: the theory does not follow all of it to the last layer");
  }
  VarianceProbe unasked(*net, VarianceProbeOptions().predict(false));
  layer(0, x).sum().backward();
  unasked.finish();
  EXPECT_EQ(unasked.records().at(0).unpredicted, "");
}

// Twice the same values do not add up as uncorrelated ones do.
TEST(Probe, DoesNotTakeATensorAndItsCopyForUncorrelated) {
  torch::nn::Sequential net(torch::nn::Linear(16, 16), torch::nn::Linear(16, 16));
  const std::vector<Function> sums{
      [](const auto& t) { return t + t.clone(); }, [](const auto& t) { return t + 0.5 * t; },
      [](const auto& t) { return torch::relu(t) + t; }, [](const auto& t) { return t.sin() + t; },
      [](const auto& t) { return t.view(torch::kInt).view(torch::kFloat) + t; }};
  for (const auto& sum : sums) {
    VarianceProbe probe(*net);
    const auto a = net->ptr<torch::nn::LinearImpl>(0)->forward(torch::randn({32, 16}).requires_grad_());
    const auto b = sum(a);
    net->ptr<torch::nn::LinearImpl>(1)->forward(b).square().sum().backward();
    probe.finish();
    const auto records = by_name(probe.records());
    expect_near(records.at("1").predicted_second_moment, linear_by_hand(*net->ptr(1), b), 1e-5, "the sum");
    EXPECT_TRUE(std::isnan(records.at("0").predicted_gradient));
  }
}

TEST(Probe, MeasuresTheChosenLayersOnly) {
  torch::manual_seed(45);
  torch::nn::Sequential net(torch::nn::Linear(16, 32), torch::nn::ReLU(), torch::nn::Linear(32, 32), torch::nn::SiLU(),
                            torch::nn::Linear(32, 4));
  std::vector<std::pair<std::string, std::string>> asked;
  VarianceProbe probe(*net, VarianceProbeOptions().choose([&](const std::string& name, const std::string& activation) {
    asked.emplace_back(name, activation);
    return name == "2" || activation == "silu";
  }));
  const auto x = torch::randn({8, 16});
  const auto h = torch::relu(net->ptr<torch::nn::LinearImpl>(0)->forward(x));
  net->forward(x).square().sum().backward();
  probe.finish();
  EXPECT_EQ(names(probe.records()), (std::vector<std::string>{"2", "2/silu"}));
  EXPECT_EQ(asked.at(3), (std::pair<std::string, std::string>{"0/relu", "relu"}));
  expect_near(probe.records()[0].predicted_second_moment, linear_by_hand(*net->ptr(2), h), 1e-5, "anew");
}

// The theory against draws of whole networks: of the averages over the draws, since one draw has its own luck.

// Of one column over the draws, and of its prediction.
struct Draws {
  std::vector<double> measured, predicted;

  void add(double m, double p) {
    measured.push_back(m);
    predicted.push_back(p);
  }
  [[nodiscard]] static double sum(const std::vector<double>& values) {
    return std::accumulate(values.begin(), values.end(), 0.0);
  }
  // The predicted average over the measured one, and its standard error.
  [[nodiscard]] double ratio() const { return sum(predicted) / sum(measured); }
  [[nodiscard]] double deviation() const {
    double squares = 0;
    for (std::size_t i = 0; i < measured.size(); ++i) squares += std::pow(predicted[i] - ratio() * measured[i], 2);
    return std::sqrt(squares) / sum(measured);
  }
};

class SlowProbe : public testing::Test {
 protected:
  static constexpr int kDraws = 200;
  static constexpr std::int64_t kWidth = 512;
  static constexpr std::size_t kDepth = 30;
  static constexpr std::int64_t kBatch = 48;
  using Tolerance = std::function<double(std::size_t layer)>;

  // Averages are arithmetic: in theory those of the measured moments are what is predicted, where a geometric mean of
  // 30 layers of 512 is lower by 30 / 512.
  void compare(const std::string& label, torch::nn::Sequential net,
               const std::function<void(torch::Tensor weight)>& draw_weight, const std::function<void()>& reset,
               const Tolerance& forward_tolerance, const Tolerance& backward_tolerance) {
    torch::manual_seed(15);
    std::vector<Draws> forward(kDepth), backward(kDepth), gaussian_forward(kDepth), gaussian_backward(kDepth);
    const auto direction = torch::randn({kBatch, kWidth});
    for (int draw = 0; draw < kDraws; ++draw) {
      reset();
      {
        const torch::NoGradGuard no_grad;
        for (const auto& item : net->named_parameters()) {
          if (item.value().dim() != 2) continue;
          draw_weight(item.value());
          item.value().mutable_grad().reset();
        }
      }
      VarianceProbe probe(*net);
      const auto x = torch::randn({kBatch, kWidth}).requires_grad_();
      (net->forward(x) * direction).sum().backward();
      probe.finish();
      std::size_t layer = 0;
      for (const auto& record : probe.records()) {
        if (record.kind != LayerKind::linear) continue;
        ASSERT_LT(layer, kDepth);
        forward[layer].add(record.output.second_moment, record.predicted_second_moment);
        backward[layer].add(record.input_gradient.second_moment, record.predicted_gradient);
        gaussian_forward[layer].add(record.output.second_moment, record.gaussian_second_moment);
        gaussian_backward[layer].add(record.input_gradient.second_moment, record.gaussian_gradient);
        ++layer;
      }
      ASSERT_EQ(layer, kDepth);
    }
    report(label + "_forward", forward, gaussian_forward, forward_tolerance);
    report(label + "_backward", backward, gaussian_backward, backward_tolerance);
  }

 private:
  static void report(const std::string& label, const std::vector<Draws>& measured, const std::vector<Draws>& gaussian,
                     const Tolerance& tolerance) {
    std::cout << label << ": average, predicted / measured by measured gains, and under the normal distribution\n";
    double worst = 0;
    double gaussian_worst = 0;
    for (std::size_t layer = 0; layer < kDepth; ++layer) {
      const double ratio = measured[layer].ratio();
      std::cout << "  layer " << layer << ": " << Draws::sum(measured[layer].measured) / kDraws << ", " << ratio
                << " ± " << measured[layer].deviation() << ", " << gaussian[layer].ratio() << "\n";
      EXPECT_NEAR(ratio, 1, tolerance(layer)) << label << " layer " << layer;
      EXPECT_TRUE(std::isfinite(gaussian[layer].ratio())) << label << " layer " << layer;
      worst = std::max(worst, std::abs(ratio - 1));
      gaussian_worst = std::max(gaussian_worst, std::abs(gaussian[layer].ratio() - 1));
    }
    std::cout << "  largest error: " << worst << " by measured gains, " << gaussian_worst
              << " under the normal distribution\n";
    RecordProperty(label + "_error", std::to_string(worst));
    RecordProperty(label + "_gaussian_error", std::to_string(gaussian_worst));
  }
};

TEST_F(SlowProbe, PredictsReluWithHe) {
  const auto within = [](std::size_t) { return 0.05; };
  compare(
      "relu",
      perceptron(
          kWidth, kDepth, [](const auto& x) { return torch::relu(x); }, 2),
      [](torch::Tensor weight) { weight.normal_(0, std::sqrt(2 / static_cast<double>(kWidth))); }, [] {}, within,
      within);
}

class SlowProbeOfANAct : public SlowProbe {
 protected:
  void compare_silu(const std::string& label, const std::function<void(torch::Tensor weight)>& draw_weight,
                    const Tolerance& forward_tolerance, const Tolerance& backward_tolerance) {
    torch::nn::Sequential net;
    std::vector<ANAct> activations;
    for (std::size_t i = 0; i < kDepth; ++i) {
      net->push_back(torch::nn::Linear(torch::nn::LinearOptions(kWidth, kWidth).bias(false)));
      activations.emplace_back("silu");
      if (i + 1 < kDepth) net->push_back(activations.back());
    }
    const auto reset = [&] {
      for (auto& activation : activations) activation->reset_parameters();
    };
    compare(label, net, draw_weight, reset, forward_tolerance, backward_tolerance);
  }
};

TEST_F(SlowProbeOfANAct, PredictsSiluWithOrthogonalWeights) {
  const auto within = [](std::size_t) { return 0.05; };
  compare_silu(
      "orthogonal", [](torch::Tensor weight) { torch::nn::init::orthogonal_(weight); }, within, within);
}

// Not within 5 % everywhere. Where a draw's second moment is low ANAct raises its gain, which the prediction, low or
// not, is multiplied by: over layers it strays from the draws, whose deviations decay. Independent weights make the
// draws differ; orthogonal ones hardly do.
TEST_F(SlowProbeOfANAct, PredictsSiluWithLeCun) {
  compare_silu(
      "lecun", [](torch::Tensor weight) { weight.normal_(0, std::sqrt(1 / static_cast<double>(kWidth))); },
      [](std::size_t layer) { return layer < 20 ? 0.05 : 0.09; }, [](std::size_t) { return 0.07; });
}

}  // namespace
}  // namespace anact::nn
