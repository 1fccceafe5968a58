// The operators against the double-precision oracle, over types, layouts, sizes and special values.

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <limits>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "kernels/kernels.h"
#include "ops/oracle.h"
#include "ops/step.h"
#include "support/message.h"

namespace anact::ops::test {
namespace {

const Statistics kSome{.output_mean = 0.3, .output_square = 0.7, .input_variance = 1.4, .backward_gain = 0.45};
constexpr double kAlpha = 0.4;

at::Tensor alpha_tensor(double value = kAlpha) { return at::full({}, value); }

// Relative rounding of a type.
double precision(at::ScalarType dtype) {
  switch (dtype) {
    case at::kDouble:
      return 1e-14;
    case at::kFloat:
      return 2e-6;
    case at::kBFloat16:
      return std::ldexp(1.0, -8);
    default:
      return std::ldexp(1.0, -11);
  }
}

// Layouts by name, of the same values.
at::Tensor laid_out(const std::string& layout, at::ScalarType dtype) {
  const auto x = at::randn({3, 5, 7, 11}, at::kDouble).mul(2).to(dtype);
  if (layout == "contiguous") return x;
  if (layout == "channels_last") return x.contiguous(at::MemoryFormat::ChannelsLast);
  if (layout == "channels_last_3d") {
    return at::randn({2, 3, 5, 7, 11}, at::kDouble).mul(2).to(dtype).contiguous(at::MemoryFormat::ChannelsLast3d);
  }
  if (layout == "transposed") return x.transpose(0, 2);
  if (layout == "sliced") return x.slice(3, 1, 10, 2);
  if (layout == "expanded") return x.slice(1, 0, 1).expand({3, 5, 7, 11});
  if (layout == "offset") return x.flatten().slice(0, 1);  // not aligned to a vector
  if (layout == "scalar") return x.flatten()[7];
  throw std::invalid_argument(layout);
}

// Not `exact`, whose shift is the root of a difference: 0 but for rounding where f is linear.
const NormalizationOptions kPaper{.solution = Solution::compromise, .target = Target::input};

struct Step {
  at::Tensor y, moments, factors, dx, dalpha, g;
};
Step step(const at::Tensor& x, const Activation& activation, StatisticsSource source = StatisticsSource::previous,
          const NormalizationOptions& options = kPaper, const RunningStatistics& running = make_running(kSome),
          const UpdateOptions& update = {}, bool training = true) {
  auto leaf = x.detach().requires_grad_(true);
  auto alpha = alpha_tensor().requires_grad_(true);
  auto [y, moments, factors] = forward(leaf, alpha, running, activation, options_of(source, options, update), training);
  at::manual_seed(5);
  const auto g = at::randn(y.sizes(), at::kDouble).to(y.scalar_type());
  Step result{y.detach(), moments, factors, {}, {}, g};
  const auto gradients = torch::autograd::grad({y}, {leaf, alpha}, {g});
  result.dx = gradients[0];
  result.dalpha = gradients[1];
  return result;
}

// Asserts a whole step against the oracle, for factors made from `used`.
void expect_matches(const Step& got, const at::Tensor& x, const Activation& activation, const Statistics& used,
                    const NormalizationOptions& options = kPaper) {
  const auto map = factors(used, static_cast<float>(kAlpha), options);
  const auto [f, slope] = reference(activation, x);
  const auto g = got.g.to(at::kDouble);
  // PyTorch keeps the slope of its hardsigmoid in float32, so that its double is off by this much.
  const bool inexact = activation.kind == ActivationKind::hardsigmoid;
  const double unit = std::max(precision(x.scalar_type()), inexact ? 2e-8 : 0);
  const auto y = f * map.scale + map.offset;
  const auto dx = g * slope * map.scale;
  ASSERT_EQ(got.y.scalar_type(), x.scalar_type());
  ASSERT_EQ(got.y.sizes(), x.sizes());
  if (x.numel() > 0) {
    EXPECT_LE(((got.y.to(at::kDouble) - y).abs() / (y.abs() + 1)).max().item<double>(), unit);
    EXPECT_LE(((got.dx.to(at::kDouble) - dx).abs() / (dx.abs() + 1)).max().item<double>(), unit);
  }
  const auto terms = g * (f - map.centre);
  const double dalpha = map.scale_slope * terms.sum().item<double>();
  const double size = terms.abs().sum().item<double>() + g.abs().sum().item<double>();
  EXPECT_NEAR(got.dalpha.item<double>(), dalpha, 1e-6 * (size + 1e-3));
}

// Asserts the moments that a training step returned against PyTorch's.
void expect_moments(const Step& got, const at::Tensor& x, const Activation& activation) {
  const auto expected = reference_statistics(activation, x);
  const auto* m = got.moments.const_data_ptr<double>();
  const auto measured = to_statistics({m[0], m[1], m[2], m[3], m[4], m[5]});
  EXPECT_EQ(m[0], static_cast<double>(x.numel()));
  EXPECT_NEAR(measured.output_mean, expected.output_mean, 1e-6 * (1 + std::abs(expected.output_mean)));
  EXPECT_NEAR(measured.output_square, expected.output_square, 1e-6 * (1 + expected.output_square));
  EXPECT_NEAR(measured.input_variance, expected.input_variance, 1e-6 * (1 + expected.input_variance));
  EXPECT_NEAR(measured.backward_gain, expected.backward_gain, 1e-6 * (1 + expected.backward_gain));
}

std::vector<std::string> names() {
  std::vector<std::string> all;
  for (const auto& info : activation_catalogue()) all.emplace_back(info.name);
  return all;
}

const std::vector<at::ScalarType> kTypes{at::kDouble, at::kFloat, at::kBFloat16, at::kHalf};

using Case = std::tuple<std::string, at::ScalarType, std::string>;
class Matrix : public testing::TestWithParam<Case> {};

TEST_P(Matrix, ForwardBackwardAndStatisticsMatchTheOracle) {
  const auto& [name, dtype, layout] = GetParam();
  const auto activation = parse_activation(name);
  at::manual_seed(1);
  const auto x = laid_out(layout, dtype);
  const auto got = step(x, activation);
  expect_matches(got, x, activation, read(make_running(kSome)));
  expect_moments(got, x, activation);
  const bool dense = x.is_non_overlapping_and_dense();
  EXPECT_EQ(got.y.strides(), dense ? x.strides() : x.contiguous().strides());
}

INSTANTIATE_TEST_SUITE_P(All, Matrix,
                         testing::Combine(testing::ValuesIn(names()), testing::ValuesIn(kTypes),
                                          testing::Values("contiguous", "channels_last", "channels_last_3d",
                                                          "transposed", "sliced", "expanded", "offset", "scalar")),
                         [](const auto& info) {
                           return std::get<0>(info.param) + "_" + c10::toString(std::get<1>(info.param)) + "_" +
                                  std::get<2>(info.param);
                         });

// The instruction sets that were compiled in and that this processor has, each forced.
class EveryInstructionSet : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { kernels::use_instruction_set(GetParam()); }
  void TearDown() override { kernels::use_instruction_set(""); }
};
INSTANTIATE_TEST_SUITE_P(Every, EveryInstructionSet, testing::ValuesIn(kernels::instruction_sets()),
                         [](const auto& info) { return info.param; });

TEST_P(EveryInstructionSet, ForwardBackwardAndStatisticsMatchTheOracle) {
  for (const auto& name : names()) {
    for (const auto dtype : kTypes) {
      SCOPED_TRACE(name + " " + c10::toString(dtype));
      const auto activation = parse_activation(name);
      at::manual_seed(17);
      const auto x = at::randn({12'347}, at::kDouble).mul(2).to(dtype);
      for (const auto source : {StatisticsSource::previous, StatisticsSource::batch}) {
        const auto got = step(x, activation, source);
        const bool alone = source == StatisticsSource::batch;
        expect_matches(got, x, activation, alone ? reference_statistics(activation, x) : read(make_running(kSome)));
        expect_moments(got, x, activation);
      }
    }
  }
}

class EveryType : public testing::TestWithParam<at::ScalarType> {};
INSTANTIATE_TEST_SUITE_P(Types, EveryType, testing::ValuesIn(kTypes),
                         [](const auto& info) { return std::string(c10::toString(info.param)); });

TEST_P(EveryType, OddSizes) {
  for (const char* name : {"relu", "silu", "gelu", "softplus"}) {
    for (const std::int64_t size : {0, 1, 31, 32, 33, 4099, 40961}) {
      at::manual_seed(size);
      const auto x = at::randn({size}).to(GetParam());
      const auto activation = parse_activation(name);
      const auto got = step(x, activation);
      expect_matches(got, x, activation, read(make_running(kSome)));
    }
  }
}

TEST_P(EveryType, SpecialValuesAreTorchsOwn) {
  const float inf = std::numeric_limits<float>::infinity();
  const auto x = at::tensor({0.0F, -0.0F, inf, -inf, NAN, 1e-40F, -1e-40F, 100.0F, -100.0F}).to(GetParam());
  const Statistics plain{.output_mean = 0, .output_square = 1, .input_variance = 1, .backward_gain = 1};
  for (const char* name : {"relu", "silu"}) {
    const auto activation = parse_activation(name);
    const auto y = std::get<0>(forward(x, alpha_tensor(0), make_running(plain), activation,
                                       options_of(StatisticsSource::previous, {}, {}), false));
    const auto expected = fallback::value(activation, x.to(at::kDouble));
    for (std::int64_t i = 0; i < x.numel(); ++i) {
      // silu(-inf) is 0 as a limit and NaN as the formula has it; PyTorch's is NaN.
      if (std::string(name) == "silu" && i == 3) continue;
      const double want = expected[i].item<double>();
      const double got = y[i].item<double>();
      EXPECT_TRUE(std::isnan(want) ? std::isnan(got) : got == want || std::abs(got - want) < 1e-7) << name << " " << i;
    }
  }
}

TEST(Forward, AMillionAndSevenElements) {
  at::manual_seed(3);
  const auto x = at::randn({10'000'007});
  const auto activation = parse_activation("silu");
  const auto got = step(x, activation);
  expect_matches(got, x, activation, read(make_running(kSome)));
}

TEST_P(EveryType, BitsDoNotDependOnTheThreads) {
  const int before = at::get_num_threads();
  // One block and a bit, and seventy-four, which is ten to each of seven threads.
  for (const std::int64_t size : {4099, 300'001}) {
    at::manual_seed(size);
    const auto x = at::randn({size}).mul(2).to(GetParam());
    for (const auto& name : names()) {
      std::vector<Step> steps;
      for (const int threads : {1, 2, 3, 7}) {
        at::set_num_threads(threads);
        steps.push_back(step(x, parse_activation(name)));
      }
      for (const auto& other : steps) {
        EXPECT_TRUE(at::equal(other.y, steps[0].y)) << name;
        EXPECT_TRUE(at::equal(other.moments, steps[0].moments)) << name;
        EXPECT_TRUE(at::equal(other.dx, steps[0].dx)) << name;
        EXPECT_TRUE(at::equal(other.dalpha, steps[0].dalpha)) << name;
      }
    }
  }
  at::set_num_threads(before);
}

TEST_P(EveryType, MemoryFormatsAreKept) {
  const auto silu = parse_activation("silu");
  for (const auto& [layout, format] : {std::pair("channels_last", at::MemoryFormat::ChannelsLast),
                                       std::pair("channels_last_3d", at::MemoryFormat::ChannelsLast3d)}) {
    const auto x = laid_out(layout, GetParam());
    ASSERT_TRUE(x.is_contiguous(format) && !x.is_contiguous());
    const auto got = step(x, silu);
    EXPECT_TRUE(got.y.is_contiguous(format)) << layout;
    EXPECT_TRUE(got.dx.is_contiguous(format)) << layout;
    EXPECT_EQ(got.y.strides(), x.strides());
    EXPECT_EQ(got.dx.strides(), x.strides());
  }
}

// What the system could give to a new program, 0 where it does not say.
double available_gib() {
  std::ifstream file("/proc/meminfo");
  for (std::string key; file >> key;) {
    double kib = 0;
    if (key == "MemAvailable:" && file >> kib) return kib / (1 << 20);
  }
  return 0;
}

// 32-bit indices end at 2^31 elements. The input is 1/2 up to there and -2 in the few elements beyond.
TEST(SlowForward, MoreThanTwoToThe31Elements) {
  constexpr double kNeeded = 12;
  if (available_gib() < kNeeded) {
    GTEST_SKIP() << "needs " << kNeeded << " GiB of free memory, there are " << available_gib();
  }
  constexpr std::int64_t kHead = std::int64_t{1} << 31;
  constexpr std::int64_t kTail = 4099;
  constexpr double kHeadValue = 0.5;
  constexpr double kTailValue = -2;
  const auto silu = parse_activation("silu");
  const at::NoGradGuard no_grad;
  const auto x = at::full({kHead + kTail}, kHeadValue, at::kBFloat16);
  x.slice(0, kHead).fill_(kTailValue);
  // Every element of a result, without a comparison as large as the result.
  const auto expect_pieces = [&](const at::Tensor& result, double head, double tail) {
    const auto rounded = [](double value) { return at::full({}, value).to(at::kBFloat16); };
    for (const auto& part : result.slice(0, 0, kHead).split(kHead / 16)) {
      ASSERT_TRUE(part.eq(rounded(head)).all().item<bool>());
    }
    ASSERT_TRUE(result.slice(0, kHead).eq(rounded(tail)).all().item<bool>());
  };

  auto [y, moments, map] =
      forward(x, alpha_tensor(), make_running(kSome), silu, options_of(StatisticsSource::previous, {}, {}), true);
  const auto want = factors(read(make_running(kSome)), static_cast<float>(kAlpha), {});
  const auto at_input = [&](double value) { return want.scale * silu.value(value) + want.offset; };
  expect_pieces(y, at_input(kHeadValue), at_input(kTailValue));
  y.reset();  // makes room for the gradient

  constexpr double kSize = kHead + kTail;
  const auto sum = [&](double head, double tail) { return kHead * head + kTail * tail; };
  const auto square = [](double value) { return value * value; };
  const auto* m = moments.const_data_ptr<double>();
  const auto expect_close = [](double got, double expected, double tolerance) {
    EXPECT_NEAR(got, expected, tolerance * std::abs(expected));
  };
  EXPECT_EQ(m[0], kSize);
  expect_close(m[1], sum(kHeadValue, kTailValue) / kSize, 1e-12);
  expect_close(m[2], (kHead / kSize) * kTail * square(kHeadValue - kTailValue), 1e-9);
  expect_close(m[3], sum(silu.value(kHeadValue), silu.value(kTailValue)), 4e-7);
  expect_close(m[4], sum(square(silu.value(kHeadValue)), square(silu.value(kTailValue))), 4e-7);
  expect_close(m[5], sum(square(silu.derivative(kHeadValue)), square(silu.derivative(kTailValue))), 4e-7);

  // The input serves as the gradient too.
  const auto [dx, dalpha] = backward(x, x, alpha_tensor(), map, silu);
  const auto slope = [&](double value) { return value * want.scale * silu.derivative(value); };
  expect_pieces(dx, slope(kHeadValue), slope(kTailValue));
  const auto term = [&](double value) { return value * (silu.value(value) - want.centre); };
  expect_close(dalpha.item<double>(), want.scale_slope * sum(term(kHeadValue), term(kTailValue)), 1e-5);
}

// Every combination of options, fused and plain, against the factors of the specification.
using Options = std::tuple<std::string, StatisticsSource, Solution, Target, Gain, bool, bool>;
class EveryOption : public testing::TestWithParam<Options> {};

TEST_P(EveryOption, FactorsComeFromTheRightStatistics) {
  const auto& [name, source, solution, target, gain, centre, training] = GetParam();
  const auto activation = parse_activation(name);
  const NormalizationOptions options{.solution = solution, .target = target, .gain = gain, .centre = centre};
  at::manual_seed(9);
  const auto x = at::randn({64, 33}) * 1.5 + 0.25;
  const auto running = make_running(kSome, 3);
  if (solution == Solution::exact && !centre) {
    EXPECT_ANY_THROW(step(x, activation, source, options, running, {}, training));
    return;
  }
  const auto got = step(x, activation, source, options, running, {.momentum = 0.1}, training);
  const auto batch = reference_statistics(activation, x);
  auto used = read(running);
  if (training && source == StatisticsSource::batch) used = batch;
  if (training && source == StatisticsSource::running) used = blend(used, batch, 0.25);
  const auto want = factors(used, static_cast<float>(kAlpha), options);
  const auto* map = got.factors.const_data_ptr<double>();
  EXPECT_NEAR(map[0], want.scale, 2e-6 * want.scale);
  EXPECT_NEAR(map[1], want.offset, 4e-6 * (1 + std::abs(want.offset)));
  EXPECT_NEAR(map[2], want.centre, 1e-6);
  expect_matches(got, x, activation, used, options);
  EXPECT_EQ(got.moments.numel(), training ? kMomentsSize : 0);
}

std::string option_name(const testing::TestParamInfo<Options>& info) {
  const auto& [name, source, solution, target, gain, centre, training] = info.param;
  std::string text = name;
  for (const auto part : {to_string(source), to_string(solution), to_string(target), to_string(gain)}) {
    text.append("_").append(part);
  }
  return text + (centre ? "_centred" : "_plain") + (training ? "_training" : "_evaluation");
}

INSTANTIATE_TEST_SUITE_P(
    Combinations, EveryOption,
    testing::Combine(testing::Values("silu", "gelu"),
                     testing::Values(StatisticsSource::previous, StatisticsSource::running, StatisticsSource::batch),
                     testing::ValuesIn(all_solutions().begin(), all_solutions().end()),
                     testing::ValuesIn(all_targets().begin(), all_targets().end()),
                     testing::Values(Gain::activation, Gain::output), testing::Bool(), testing::Bool()),
    option_name);

TEST(FirstBatch, OfPreviousIsNormalizedByItself) {
  at::manual_seed(10);
  const auto x = at::randn({64, 33}) * 1.5 + 0.25;
  const auto silu = parse_activation("silu");
  const auto fresh = make_running(kSome, 0);
  const auto batch = reference_statistics(silu, x);
  expect_matches(step(x, silu, StatisticsSource::previous, {}, fresh), x, silu, batch, {});
  const auto evaluated = step(x, silu, StatisticsSource::previous, {}, fresh, {}, /*training=*/false);
  expect_matches(evaluated, x, silu, kSome, {});
  // A batch that is refused leaves the statistics in force.
  // One that is never updated takes no batch, not the first either.
  expect_matches(step(x, silu, StatisticsSource::fixed, {}, fresh), x, silu, kSome, {});
  const UpdateOptions gate{.momentum = 0.1, .gate_low = 0.999999, .gate_high = 1.000001};
  expect_matches(step(x, silu, StatisticsSource::previous, {}, fresh, gate), x, silu, kSome, {});
  auto broken = x.clone();
  broken[0][0] = std::numeric_limits<float>::infinity();
  const auto map = std::get<2>(forward(broken, alpha_tensor(), fresh, silu, anact::Options{}, /*training=*/true));
  EXPECT_NEAR(map[0].item<double>(), factors(kSome, static_cast<float>(kAlpha), {}).scale, 1e-6);
}

TEST(Fallback, AgreesWithTheFusedOperators) {
  at::manual_seed(11);
  const auto x = at::randn({257, 19});
  for (const auto& [name, tracked] : {std::pair("relu", 3), {"silu", 3}, {"silu", 0}}) {
    const auto running = make_running(kSome, tracked);
    const auto activation = parse_activation(name);
    for (const char* source : {"previous", "running", "batch"}) {
      const auto [y, moments, map] =
          forward(x, alpha_tensor(), running, activation, options_of(parse_statistics_source(source), {}, {}), true);
      const auto functions = fallback::to_functions(activation);
      const auto plain_map = plain_factors(alpha_tensor(), running, fallback::measure(x, functions),
                                           options_of(parse_statistics_source(source)));
      const auto [plain_y, plain_moments] = fallback::apply(x, plain_map, functions, /*measure=*/true);
      EXPECT_LE(largest_difference(y, plain_y), 2e-6);
      EXPECT_LE((moments / plain_moments - 1).abs().max().item<double>(), 1e-4);
      EXPECT_LE(largest_difference(map, plain_map), 1e-6);
    }
  }
}

// The update in C++ scalars and in tensor algebra, both against the specification, over a run of batches.
TEST(UpdateStatistics, FollowsTheSpecificationOverFiftyBatches) {
  const auto activation = parse_activation("silu");
  for (const bool gated : {false, true}) {
    const UpdateOptions update{.momentum = 0.1, .gate_low = gated ? 0.7 : 0, .gate_high = gated ? 1.4 : 0};
    auto fast = make_running(kSome, 0, at::kDouble);
    auto plain = make_running(kSome, 0, at::kDouble);
    const auto fast_skipped = at::zeros({}, at::kLong);
    const auto plain_skipped = at::zeros({}, at::kLong);
    Statistics expected = kSome;
    std::int64_t tracked = 0;
    std::int64_t skipped = 0;
    at::manual_seed(21);
    for (int i = 0; i < 50; ++i) {
      auto x = at::randn({500}, at::kDouble) * (i % 7 == 3 ? 4.0 : 1.0) + 0.1 * (i % 5);
      if (i % 11 == 10) x[3] = i % 2 == 0 ? NAN : INFINITY;
      const auto moments = std::get<1>(
          forward(x, alpha_tensor(), fast, activation, options_of(StatisticsSource::previous, {}, update), true));
      const anact::Options chosen = options_of(StatisticsSource::previous, {}, update);
      fused_update(fast, fast_skipped, moments, chosen);
      plain_update(plain, plain_skipped, moments, chosen);
      const auto batch = reference_statistics(activation, x);
      if (accepts(expected, batch, update.gate_low, update.gate_high)) {
        expected = blend(expected, batch, batch_weight(expected, batch, tracked, update.momentum));
        ++tracked;
      } else {
        ++skipped;
      }
      for (const auto& running : {fast, plain}) {
        const auto got = read(running);
        ASSERT_NEAR(got.output_mean, expected.output_mean, 1e-12);
        ASSERT_NEAR(got.output_square, expected.output_square, 1e-12);
        ASSERT_NEAR(got.input_variance, expected.input_variance, 1e-12);
        ASSERT_NEAR(got.backward_gain, expected.backward_gain, 1e-12);
        ASSERT_EQ(running.num_batches_tracked.item<std::int64_t>(), tracked);
      }
      ASSERT_EQ(fast_skipped.item<std::int64_t>(), skipped);
      ASSERT_EQ(plain_skipped.item<std::int64_t>(), skipped);
    }
    EXPECT_GT(skipped, gated ? 8 : 3);
    EXPECT_GT(tracked, 10);
  }
}

TEST(UpdateStatistics, AnEmptyBatchChangesNothing) {
  const auto running = make_running(kSome, 7);
  const auto skipped = at::zeros({}, at::kLong);
  const auto moments = std::get<1>(forward(at::empty({0, 4}), alpha_tensor(), running, parse_activation("silu"),
                                           options_of(StatisticsSource::batch, {}, {}), true));
  fused_update(running, skipped, moments, {});
  const auto filled = std::get<1>(
      forward(at::ones({3}), alpha_tensor(), running, parse_activation("relu"), anact::Options{}, /*training=*/true));
  fused_update(running, skipped, filled, options_of(StatisticsSource::fixed));
  EXPECT_EQ(read(running), read(make_running(kSome)));
  EXPECT_EQ(running.num_batches_tracked.item<std::int64_t>(), 7);
  EXPECT_EQ(skipped.item<std::int64_t>(), 0);
}

// A gate, a layer that dies, and a first batch far smaller than the statistics that it replaces.
TEST(Fallback, UpdatesAsTheFastOneAtTheEdges) {
  const UpdateOptions gated{.momentum = 0.1, .gate_low = 0.5, .gate_high = 2};
  const Statistics dead{.output_mean = 0, .output_square = 0, .input_variance = 1, .backward_gain = 0};
  const Statistics huge{.output_mean = 1e30, .output_square = 1e30, .input_variance = 1e30, .backward_gain = 1e30};
  // Count, mean, M2, sum of f, of f^2, of f'^2.
  const auto dead_batch = at::tensor({10.0, -1.0, 10.0, 0.0, 0.0, 0.0}, at::kDouble);
  const auto live_batch = at::tensor({10.0, 0.1, 10.0, 3.0, 5.0, 6.0}, at::kDouble);
  const auto constant_batch = at::tensor({10.0, 2.0, 0.0, 3.0, 5.0, 6.0}, at::kDouble);
  const auto tiny_batch = at::tensor({10.0, 0.0, 1e-50, 1.0, 1.0, 1.0}, at::kDouble);
  const auto wide_batch = at::tensor({10.0, 0.1, 1e3, 30.0, 5e2, 6.0}, at::kDouble);
  for (const auto& [start, tracked, batch, update] :
       {std::tuple(dead, 3, dead_batch, gated), std::tuple(dead, 3, live_batch, gated),
        std::tuple(kSome, 3, dead_batch, gated), std::tuple(huge, 0, live_batch, UpdateOptions{}),
        std::tuple(kSome, 0, constant_batch, UpdateOptions{}), std::tuple(kSome, 3, tiny_batch, UpdateOptions{}),
        std::tuple(kSome, 3, wide_batch, UpdateOptions{}), std::tuple(kSome, 9, wide_batch, UpdateOptions{}),
        std::tuple(kSome, 10, wide_batch, UpdateOptions{}), std::tuple(kSome, 3, wide_batch, gated)}) {
    const auto fast = make_running(start, tracked, at::kDouble);
    const auto plain = make_running(start, tracked, at::kDouble);
    const auto fast_skipped = at::zeros({}, at::kLong);
    const auto plain_skipped = at::zeros({}, at::kLong);
    const anact::Options chosen = options_of(StatisticsSource::previous, {}, update);
    fused_update(fast, fast_skipped, batch, chosen);
    plain_update(plain, plain_skipped, batch, chosen);
    EXPECT_EQ(read(plain), read(fast));
    EXPECT_TRUE(at::equal(plain.num_batches_tracked, fast.num_batches_tracked));
    EXPECT_TRUE(at::equal(plain_skipped, fast_skipped));
  }
}

// A module's step in one call is the operators one after the other, bit for bit.
TEST_P(EveryType, AStepIsTheOperatorsOneAfterTheOther) {
  for (const char* layout : {"contiguous", "channels_last", "transposed", "sliced", "offset", "scalar"}) {
    for (const char* how :
         {"", "momentum=0.1:gate=0.1,10", "statistics=running", "statistics=batch", "statistics=fixed",
          "statistics=fixed:init_batch=on", "solution=compromise:target=input:gain=output"}) {
      for (const std::int64_t tracked : {0, 3, 10}) {
        for (const bool training : {true, false}) {
          SCOPED_TRACE(std::string(layout) + " " + how + " " + std::to_string(tracked));
          const auto options = parse_options(how);
          const auto activation = parse_activation("gelu");
          at::manual_seed(31);
          const auto x = laid_out(layout, GetParam());
          const auto g = at::randn_like(x);
          const auto leaf = [](const at::Tensor& of) { return of.detach().clone().requires_grad_(true); };
          std::vector<std::vector<at::Tensor>> results;
          for (const bool whole : {true, false}) {
            const auto input = x.detach().requires_grad_(true);
            const auto alpha = leaf(alpha_tensor());
            const auto running = make_running(kSome, tracked);
            const auto skipped = at::zeros({}, at::kLong);
            at::Tensor y;
            if (whole) {
              y = ops::step(input, alpha, running, skipped, activation, options, training);
            } else {
              at::Tensor moments;
              at::Tensor map;
              std::tie(y, moments, map) = forward(input, alpha, running, activation, options, training);
              if (training) ops::update(running, skipped, moments, alpha, map, options);
            }
            const auto gradients = torch::autograd::grad({y}, {input, alpha}, {g});
            results.push_back({y.detach(), gradients[0], gradients[1], running.output_mean, running.output_square,
                               running.input_variance, running.backward_gain, running.num_batches_tracked, skipped});
          }
          for (std::size_t i = 0; i < results[0].size(); ++i) {
            EXPECT_TRUE(at::equal(results[0][i], results[1][i])) << i;
            EXPECT_EQ(results[0][i].strides(), results[1][i].strides()) << i;
          }
        }
      }
    }
  }
}

TEST(Step, StatisticsOfTheFirstBatchStay) {
  const auto options = parse_options("statistics=fixed:init_batch=on");
  const auto silu = parse_activation("silu");
  const auto running = make_running(kSome, 0, at::kDouble);
  const auto skipped = at::zeros({}, at::kLong);
  at::manual_seed(8);
  const auto first = at::randn({100}, at::kDouble) * 2 + 1;
  const auto broken = at::full({100}, NAN, at::kDouble);
  for (const auto& batch : {broken, first, first * 3}) {
    (void)ops::step(batch, alpha_tensor(), running, skipped, silu, options, /*training=*/true);
  }
  const auto want = reference_statistics(silu, first);
  const auto got = read(running);
  EXPECT_NEAR(got.output_mean, want.output_mean, 1e-12);
  EXPECT_NEAR(got.output_square, want.output_square, 1e-12);
  EXPECT_NEAR(got.input_variance, want.input_variance, 1e-12);
  EXPECT_NEAR(got.backward_gain, want.backward_gain, 1e-12);
  EXPECT_EQ(running.num_batches_tracked.item<std::int64_t>(), 1);
  EXPECT_EQ(skipped.item<std::int64_t>(), 1);
}

TEST(Forward, ForwardModeIsRefusedAndLosesNoTangent) {
  const auto level = torch::autograd::forward_ad::enter_dual_level();
  const auto x = at::randn({4});
  const auto dual = at::_make_dual(x, at::ones({4}), static_cast<std::int64_t>(level));
  const auto silu = parse_activation("silu");
  const auto factors = at::tensor({2.0, -0.5, 0.1}, at::kDouble);
  for (const bool gradients : {false, true}) {
    const at::AutoGradMode mode(gradients);
    EXPECT_THROW((void)forward(dual, alpha_tensor(), make_running(kSome), silu,
                               options_of(StatisticsSource::previous, {}, {}), false),
                 c10::NotImplementedError);
    EXPECT_THROW((void)backward(x, dual, alpha_tensor(), factors, silu), c10::NotImplementedError);
  }
  torch::autograd::forward_ad::exit_dual_level(level);
}

TEST(Forward, ANonFiniteBatchIsNormalizedByTheRunningStatistics) {
  auto x = at::randn({100});
  x[50] = NAN;
  const auto running = make_running(kSome);
  const auto map = std::get<2>(
      forward(x, alpha_tensor(), running, parse_activation("silu"), options_of(StatisticsSource::batch, {}, {}), true));
  EXPECT_NEAR(map[0].item<double>(), factors(read(running), static_cast<float>(kAlpha), {}).scale, 1e-12);
}

TEST(Forward, TakesKnownFactorsAsTheyAre) {
  const auto x = at::randn({40}, at::kDouble);
  const auto known = at::tensor({2.0, -0.5, 0.1}, at::kDouble);
  for (const auto dtype : {at::kFloat, at::kDouble}) {
    for (const auto source : {StatisticsSource::previous, StatisticsSource::batch}) {
      const auto input = x.to(dtype);
      const auto [y, moments, map] = forward(input, alpha_tensor(), make_running(kSome), parse_activation("silu"),
                                             options_of(source), true, known);
      EXPECT_LE(largest_difference(y, 2 * at::silu(x) - 0.5), 1e-6);
      EXPECT_TRUE(at::equal(map, known));
      EXPECT_EQ(moments[0].item<double>(), 40);
    }
  }
}

TEST(Forward, DoubleBackwardMatchesFiniteDifferences) {
  const auto activation = parse_activation("silu");
  const auto running = make_running(kSome, 3, at::kDouble);
  at::manual_seed(4);
  const auto x = at::randn({12}, at::kDouble);
  const auto g = at::randn({12}, at::kDouble);
  const auto w = at::randn({12}, at::kDouble);
  // h(x, alpha) = sum(w * dx) + dalpha, a function of first derivatives.
  const auto h = [&](const at::Tensor& at_x, const at::Tensor& at_alpha, bool graph) {
    const auto y =
        std::get<0>(forward(at_x, at_alpha, running, activation, options_of(StatisticsSource::previous, {}, {}), true));
    const auto first = torch::autograd::grad({y}, {at_x, at_alpha}, {g}, std::nullopt, graph);
    return (w * first[0]).sum() + first[1];
  };
  const auto leaf = [](const at::Tensor& t) { return t.detach().clone().requires_grad_(true); };
  const auto x0 = leaf(x);
  const auto a0 = leaf(at::full({}, 0.3, at::kDouble));
  const auto second = torch::autograd::grad({h(x0, a0, true)}, {x0, a0});
  constexpr double kStep = 1e-5;
  for (std::int64_t i = 0; i < x.numel(); ++i) {
    auto high = x.clone();
    auto low = x.clone();
    high[i] += kStep;
    low[i] -= kStep;
    const double expected =
        (h(leaf(high), leaf(a0), false) - h(leaf(low), leaf(a0), false)).item<double>() / (2 * kStep);
    EXPECT_NEAR(second[0][i].item<double>(), expected, 1e-7);
  }
  const double expected =
      (h(x0, leaf(a0 + kStep), false) - h(x0, leaf(a0 - kStep), false)).item<double>() / (2 * kStep);
  EXPECT_NEAR(second[1].item<double>(), expected, 1e-7);
}

TEST(Forward, WorksWithoutGradients) {
  const auto x = at::randn({50});
  const auto running = make_running(kSome);
  const auto expected = step(x, parse_activation("silu")).y;
  {
    const at::NoGradGuard no_grad;
    const auto y = std::get<0>(forward(x, alpha_tensor(), running, parse_activation("silu"),
                                       options_of(StatisticsSource::previous, kPaper, {}), true));
    EXPECT_FALSE(y.requires_grad());
    EXPECT_TRUE(at::equal(y, expected));
  }
  const c10::InferenceMode inference;
  const auto y = std::get<0>(forward(at::randn({50}), alpha_tensor(), make_running(kSome), parse_activation("silu"),
                                     options_of(StatisticsSource::previous, {}, {}), true));
  EXPECT_TRUE(y.is_inference());
}

TEST(Forward, MetaGivesTheSameShapesTypesAndStrides) {
  for (const char* layout : {"contiguous", "channels_last", "transposed", "sliced", "expanded", "scalar"}) {
    const auto x = laid_out(layout, at::kFloat);
    const auto meta = at::empty_strided(x.sizes(), x.strides(), x.options().device(at::kMeta));
    const auto on_meta = [](const at::Tensor& t) { return t.to(at::kMeta); };
    const auto running = make_running(kSome);
    const RunningStatistics meta_running{on_meta(running.output_mean), on_meta(running.output_square),
                                         on_meta(running.input_variance), on_meta(running.backward_gain),
                                         on_meta(running.num_batches_tracked)};
    for (const bool training : {false, true}) {
      const auto silu = parse_activation("silu");
      const auto got = forward(meta, on_meta(alpha_tensor()), meta_running, silu,
                               options_of(StatisticsSource::previous, {}, {}), training);
      const auto want =
          forward(x, alpha_tensor(), running, silu, options_of(StatisticsSource::previous, {}, {}), training);
      EXPECT_EQ(std::get<0>(got).strides(), std::get<0>(want).strides()) << layout;
      EXPECT_EQ(std::get<1>(got).sizes(), std::get<1>(want).sizes());
      EXPECT_EQ(std::get<2>(got).sizes(), std::get<2>(want).sizes());
      EXPECT_EQ(std::get<1>(got).scalar_type(), at::kDouble);
    }
  }
}

TEST(Forward, Refuses) {
  const auto silu = parse_activation("silu");
  const auto running = make_running(kSome);
  const auto x = at::randn({4});
  const auto call = [&](const at::Tensor& input, const at::Tensor& alpha, const RunningStatistics& statistics,
                        const NormalizationOptions& options = {}, const UpdateOptions& update = {}) {
    return message([&] {
      (void)ops::step(input, alpha, statistics, at::zeros({}, at::kLong), silu,
                      options_of(StatisticsSource::previous, options, update), true);
    });
  };
  const auto contains = [](const std::string& text, const char* part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  contains(call(x.to(at::kInt), alpha_tensor(), running), "the input is Int");
  contains(call(x.to(at::kFloat8_e4m3fn), alpha_tensor(), running), "the input is Float8_e4m3fn");
  contains(call(x.to(at::kComplexFloat), alpha_tensor(), running), "the input is ComplexFloat");
  contains(call(x, at::zeros({2}), running), "alpha has shape [2]");
  contains(call(x, at::zeros({}, at::kInt), running), "alpha is Int");
  auto wrong = running;
  wrong.input_variance = at::ones({3});
  contains(call(x, alpha_tensor(), wrong), "input_variance has shape [3]");
  wrong = running;
  wrong.output_square = at::ones({}, at::kDouble);
  contains(call(x, alpha_tensor(), wrong), "output_square is Double but output_mean is Float");
  wrong = running;
  wrong.num_batches_tracked = at::zeros({});
  contains(call(x, alpha_tensor(), wrong), "num_batches_tracked must be an int64 scalar");
  contains(call(x, alpha_tensor(), running, {.solution = Solution::exact, .centre = false}), "exact");
  contains(call(x, alpha_tensor(), running, {.lambda_min = 2, .lambda_max = 1}), "lambda");
  contains(call(x, alpha_tensor(), running, {}, {.momentum = 0}), "momentum is 0");
  contains(call(x, alpha_tensor(), running, {}, {.gate_low = 2, .gate_high = 1}), "the gate is [2, 1]");
  contains(message([&] { (void)backward(at::randn({3}), x, alpha_tensor(), at::zeros({3}, at::kDouble), silu); }),
           "the gradient has shape [3], the input [4]");
}

}  // namespace
}  // namespace anact::ops::test
