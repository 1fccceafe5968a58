// Every combination of options against a plain re-implementation: PyTorch's own activation, and the formulas of the
// method in scalar algebra.

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <sstream>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "anact/anact.h"

namespace anact::nn {
namespace {

constexpr int kBatches = 50;

// E[f], E[f^2], Var(x) and E[f'^2].
struct Means {
  double mean, square, variance, gain;
};

struct Batch {
  torch::Tensor x;
  torch::Tensor f;
  Means means;
};

torch::Tensor torch_activation(const std::string& name, const torch::Tensor& x) {
  return name == "relu" ? torch::relu(x) : torch::silu(x);
}

Batch make_batch(const std::string& name, const torch::Tensor& x) {
  const auto leaf = x.clone().requires_grad_(true);
  const auto f = torch_activation(name, leaf);
  const auto slope = torch::autograd::grad({f.sum()}, {leaf})[0];
  return {x,
          f.detach(),
          {f.mean().item<double>(), f.square().mean().item<double>(), x.var(false).item<double>(),
           slope.square().mean().item<double>()}};
}

// Batches of changing scale and mean; some far outside the gate, some dead (all inputs negative), some not finite.
std::vector<Batch> make_batches(const std::string& name) {
  torch::manual_seed(3);
  std::vector<Batch> batches;
  for (int i = 0; i < kBatches; ++i) {
    auto x = torch::randn({6, 7}, torch::kDouble) * (1 + 0.01 * i) + 0.05 * (i % 5);
    if (i % 7 == 3) x = x * 4 + 3;
    if (i == 23) x = -x.abs() - 0.1;
    if (i % 11 == 10) x[2][3] = i % 2 == 0 ? NAN : INFINITY;
    batches.push_back(make_batch(name, x));
  }
  return batches;
}

// E[g(x)] under N(0, 1) in closed form or by the trapezoid rule.
Means normal_means(const std::string& name) {
  if (name == "relu") return {1 / std::sqrt(2 * M_PI), 0.5, 1, 0.5};
  Means means{0, 0, 1, 0};
  constexpr double kStep = 1.0 / 64;
  for (double x = -12; x <= 12; x += kStep) {
    const double weight = kStep * std::exp(-x * x / 2) / std::sqrt(2 * M_PI);
    const double sigmoid = 1 / (1 + std::exp(-x));
    const double slope = sigmoid * (1 + x * (1 - sigmoid));
    means.mean += weight * x * sigmoid;
    means.square += weight * x * sigmoid * x * sigmoid;
    means.gain += weight * slope * slope;
  }
  return means;
}

// The module in scalars: y = scale * f + offset.
class Plain {
 public:
  Plain(const ANActOptions& options, const Means& start) : options_(options), running_(start) {}

  std::pair<double, double> operator()(const Means& batch, double alpha) {
    const bool accepted = accepts(batch);
    const bool replaced = replaces(batch);
    const double weight = replaced ? 1 : std::max(options_.momentum(), 1.0 / static_cast<double>(tracked + 1));
    const auto mix = [&](double old, double fresh) { return accepted ? old + weight * (fresh - old) : old; };
    const Means moved{mix(running_.mean, batch.mean), mix(running_.square, batch.square),
                      mix(running_.variance, batch.variance), mix(running_.gain, batch.gain)};
    // The first batch of `previous` has no earlier one, nor has one unlike those before it at the start.
    Means used = replaced ? moved : running_;
    if (options_.statistics() == StatisticsSource::running) used = moved;
    if (options_.statistics() == StatisticsSource::batch && accepted) used = batch;
    running_ = moved;
    ++(accepted ? tracked : skipped);
    return map(used, alpha);
  }

  [[nodiscard]] const Means& running() const { return running_; }

  std::int64_t tracked = 0;
  std::int64_t skipped = 0;

 private:
  [[nodiscard]] bool accepts(const Means& batch) const {
    for (const double value : {batch.mean, batch.square, batch.variance, batch.gain}) {
      if (!std::isfinite(value)) return false;
    }
    if (batch.square == 0 || batch.variance == 0 || batch.gain == 0) return false;
    if (!options_.gate()) return true;
    const auto [low, high] = *options_.gate();
    const double forward = (batch.square / batch.variance) / (running_.square / running_.variance);
    const double backward = batch.gain / running_.gain;
    return low <= forward && forward <= high && low <= backward && backward <= high;
  }

  [[nodiscard]] bool replaces(const Means& batch) const {
    if (tracked == 0) return true;
    if (tracked >= 10) return false;
    const auto unlike = [](double old, double fresh) { return std::abs(std::log(fresh / old)) > std::log(4.0); };
    return unlike(running_.square, batch.square) || unlike(running_.variance, batch.variance) ||
           unlike(running_.gain, batch.gain);
  }

  [[nodiscard]] std::pair<double, double> map(const Means& m, double alpha) const {
    const double held = options_.target() == Target::unit     ? 1
                        : options_.target() == Target::damped ? std::pow(m.variance, 0.75)
                                                              : m.variance;
    const double spread = std::max(0.0, m.square - m.mean * m.mean);
    const double emitted = options_.gain() == Gain::output && options_.centre() ? spread : m.square;
    const double rho = emitted / held;
    const double rho_back = m.variance * m.gain / held;
    double lambda = 0;
    switch (options_.solution()) {
      case Solution::compromise:
        lambda = std::sqrt((1 / rho + 1 / rho_back) / 2);
        break;
      case Solution::forward:
        lambda = std::sqrt(1 / rho);
        break;
      case Solution::geometric:
        lambda = std::pow(rho * rho_back, -0.25);
        break;
      case Solution::backward:
      case Solution::exact:
        lambda = std::sqrt(1 / rho_back);
        break;
    }
    lambda = std::clamp(lambda, options_.bounds().first, options_.bounds().second);
    double shift = 0;
    if (options_.solution() == Solution::exact) {
      shift = -std::sqrt(std::max(0.0, held - lambda * lambda * spread));
    }
    const double scale = lambda + 0.3 * std::tanh(alpha);
    return {scale, shift - scale * (options_.centre() ? m.mean : 0)};
  }

  ANActOptions options_;
  Means running_;
};

// The first element of which y is not scale * f + offset, or -1.
std::int64_t first_difference(const torch::Tensor& y, const torch::Tensor& f, double scale, double offset) {
  const auto* got = y.const_data_ptr<double>();
  const auto* value = f.const_data_ptr<double>();
  for (std::int64_t i = 0; i < y.numel(); ++i) {
    const double want = scale * value[i] + offset;
    const bool same = std::isfinite(want) ? std::abs(got[i] - want) <= 1e-11 * (1 + std::abs(want))
                      : std::isnan(want)  ? std::isnan(got[i])
                                          : got[i] == want;
    if (!same) return i;
  }
  return -1;
}

void expect_follows(const ANActOptions& options, const std::vector<Batch>& batches, const Means& start) {
  ANAct act(options);
  act->to(torch::kDouble);
  act->reset_running_stats();
  Plain plain(options, start);
  const torch::NoGradGuard no_grad;
  for (int i = 0; i < kBatches; ++i) {
    const double alpha = 0.05 * i - 1;
    act->alpha.fill_(alpha);
    const auto y = act->forward(batches[i].x);
    const auto [scale, offset] = plain(batches[i].means, alpha);
    ASSERT_EQ(first_difference(y, batches[i].f, scale, offset), -1) << "in batch " << i;
    const auto got = act->statistics();
    const auto& want = plain.running();
    ASSERT_NEAR(got.output_mean, want.mean, 1e-12) << "in batch " << i;
    ASSERT_NEAR(got.output_square, want.square, 1e-12 * (1 + want.square)) << "in batch " << i;
    ASSERT_NEAR(got.input_variance, want.variance, 1e-12 * (1 + want.variance)) << "in batch " << i;
    ASSERT_NEAR(got.backward_gain, want.gain, 1e-12) << "in batch " << i;
    ASSERT_EQ(act->num_batches_tracked.item<std::int64_t>(), plain.tracked) << "in batch " << i;
    ASSERT_EQ(act->num_batches_skipped.item<std::int64_t>(), plain.skipped) << "in batch " << i;
  }
  // Every kind of batch was met: four are not finite, one leaves no unit of a relu alive, and the gate refuses more.
  const std::int64_t mute = options.activation().kind == ActivationKind::relu ? 5 : 4;
  ASSERT_EQ(plain.skipped > mute, options.gate().has_value());
  ASSERT_GE(plain.skipped, mute);
  ASSERT_GT(plain.tracked, 20);
}

using Case = std::tuple<std::string, StatisticsSource, Solution, bool>;
class EveryOption : public testing::TestWithParam<Case> {};

TEST_P(EveryOption, FollowsAPlainImplementationOverFiftyBatches) {
  const auto& [name, source, solution, centre] = GetParam();
  if (solution == Solution::exact && !centre) {
    EXPECT_THROW(ANAct(ANActOptions(name).solution(solution).centre(centre)), std::invalid_argument);
    return;
  }
  const auto batches = make_batches(name);
  const auto start = normal_means(name);
  for (const auto target : {Target::damped, Target::input, Target::unit}) {
    for (const auto gain : {Gain::activation, Gain::output}) {
      for (const bool gated : {false, true}) {
        for (const double momentum : {0.1, 0.01}) {
          ANActOptions options(name);
          options.statistics(source).solution(solution).target(target).gain(gain).centre(centre).momentum(momentum);
          if (gated) options.gate(ANActOptions::Interval(0.6, 1.6));
          std::stringstream text;
          text << *ANAct(options);
          SCOPED_TRACE(text.str());
          expect_follows(options, batches, start);
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

std::string case_name(const testing::TestParamInfo<Case>& info) {
  const auto& [name, source, solution, centre] = info.param;
  return name + "_" + std::string(to_string(source)) + "_" + std::string(to_string(solution)) +
         (centre ? "_centred" : "_plain");
}

INSTANTIATE_TEST_SUITE_P(
    Combinations, EveryOption,
    testing::Combine(testing::Values("relu", "silu"),
                     testing::Values(StatisticsSource::previous, StatisticsSource::running, StatisticsSource::batch),
                     testing::ValuesIn(all_solutions().begin(), all_solutions().end()), testing::Bool()),
    case_name);

}  // namespace
}  // namespace anact::nn
