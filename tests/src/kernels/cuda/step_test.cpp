// A training step, and the kernels of its parts, against the rules written out with the functions of src/math.

#include <cstring>
#include <limits>

#include "kernels/cuda/emulated_device.h"
#include "kernels/instruction_sets.h"

namespace anact::kernels::cuda::emulation {
namespace {

constexpr auto kSilu = ActivationKind::silu;

// A tensor of one element.
struct ScalarTensor {
  ElementType type = ElementType::float32;
  std::uint64_t bits = 0;

  [[nodiscard]] Scalar argument() { return {&bits, type}; }
  [[nodiscard]] double value() const {
    switch (type) {
      case ElementType::float32:
        return std::bit_cast<float>(static_cast<std::uint32_t>(bits));
      case ElementType::float64:
        return std::bit_cast<double>(bits);
      case ElementType::bfloat16:
        return widen(BFloat16{static_cast<std::uint16_t>(bits)});
      case ElementType::float16:
        return widen(Float16{static_cast<std::uint16_t>(bits)});
    }
    return 0;
  }
};

ScalarTensor scalar(ElementType type, double value) {
  switch (type) {
    case ElementType::float32:
      return {type, bits_of(static_cast<float>(value))};
    case ElementType::float64:
      return {type, bits_of(value)};
    case ElementType::bfloat16:
      return {type, narrow<BFloat16>(value).bits};
    case ElementType::float16:
      return {type, narrow<Float16>(value).bits};
  }
  return {};
}

// The buffers of a module.
struct Buffers {
  ScalarTensor output_mean, output_square, input_variance, backward_gain;
  std::int64_t tracked = 0;
  std::int64_t skipped = 0;

  explicit Buffers(ElementType type, const Statistics& s = {.output_mean = 0.2, .output_square = 0.36})
      : output_mean(scalar(type, s.output_mean)),
        output_square(scalar(type, s.output_square)),
        input_variance(scalar(type, s.input_variance)),
        backward_gain(scalar(type, s.backward_gain)) {}

  [[nodiscard]] RunningStatistics argument() {
    return {output_mean.argument(),
            output_square.argument(),
            input_variance.argument(),
            backward_gain.argument(),
            &tracked,
            &skipped};
  }
  [[nodiscard]] Statistics statistics() const {
    return {output_mean.value(), output_square.value(), input_variance.value(), backward_gain.value()};
  }
};

// The rules, as docs/math.md and the header files have them.
Statistics used_by(const StepOptions& options, const Statistics& running, std::int64_t tracked, const Moments& batch) {
  const auto [momentum, low, high] = options.update;
  const auto fresh = to_statistics(batch);
  if (batch.count == 0 || !accepts(running, fresh, low, high)) return running;
  const auto blended = blend(running, fresh, batch_weight(running, fresh, tracked, momentum));
  switch (options.statistics) {
    case StatisticsSource::previous:
      return replaces(running, fresh, tracked) ? fresh : running;
    case StatisticsSource::running:
      return blended;
    case StatisticsSource::batch:
      return fresh;
    case StatisticsSource::fixed:
      return options.init_batch && tracked == 0 ? fresh : running;
  }
  return running;
}

struct Expected {
  Statistics statistics;
  std::int64_t tracked = 0;
  std::int64_t skipped = 0;
};
Expected after(const StepOptions& options, const Expected& before, const Moments& batch) {
  const auto [momentum, low, high] = options.update;
  Expected result = before;
  const bool follows = options.statistics != StatisticsSource::fixed || (options.init_batch && before.tracked == 0);
  if (batch.count == 0 || !follows) return result;
  const auto fresh = to_statistics(batch);
  if (!accepts(before.statistics, fresh, low, high)) {
    ++result.skipped;
    return result;
  }
  const double weight = batch_weight(before.statistics, fresh, before.tracked, momentum);
  result.statistics = blend(before.statistics, fresh, weight);
  ++result.tracked;
  return result;
}

double stored(ElementType type, double value) { return scalar(type, value).value(); }

// What a training step launches.
template <typename T>
std::vector<Launch> launches_of(ForwardPass<T>& pass, Buffers& buffers, ScalarTensor& alpha, const StepOptions& options,
                                bool training) {
  const auto kernels = kernels_of(kType<T>, kSilu);
  StepArguments a;
  a.pass = pass.arguments(make_activation(kSilu));
  a.running = buffers.argument();
  a.alpha = alpha.argument();
  a.options = options;
  const bool fixed = options.statistics == StatisticsSource::fixed;
  a.has_moments = a.updates = training && (!fixed || options.init_batch);
  std::vector<Launch> launches;
  if (a.has_moments) {
    auto measuring = a.pass;
    if (fixed || options.statistics == StatisticsSource::previous) {
      measuring.unless = &buffers.tracked;
      measuring.limit = fixed ? 1 : kStartBatches;
    }
    launches.push_back(shaped(kernels.measure, Kernel::measure, kType<T>, pass.size(), measuring));
  }
  const bool measures = training && options.statistics == StatisticsSource::previous;
  launches.push_back(measures ? shaped(kernels.step_measure, Kernel::step_measure, kType<T>, pass.size(), a)
                              : shaped(kernels.step, Kernel::step, kType<T>, pass.size(), a));
  return launches;
}

// Batches that are like one another, unlike, dead, constant, not finite and empty.
std::vector<std::vector<float>> batches() {
  std::vector<std::vector<float>> all;
  const auto add_alike = [&](int count) {
    for (int i = 0; i < count; ++i) all.push_back(normal_draws(2100 + 7 * all.size(), 0.1F, 1.0F));
  };
  add_alike(2);
  all.push_back(normal_draws(2050, 0, 5));
  add_alike(1);
  all.emplace_back();
  all.emplace_back(2500, 1.0F);
  add_alike(1);
  all.push_back(normal_draws(2600));
  all.back().back() = std::numeric_limits<float>::quiet_NaN();
  add_alike(6);
  // The start is over before these.
  all.push_back(normal_draws(2700, 0, 6));
  all.push_back(normal_draws(4100, -0.2F, 0.9F));
  all.emplace_back(1, 0.5F);
  all.push_back(normal_draws(3, 0.2F, 1.1F));
  return all;
}

template <typename T>
void expect_steps(const StepOptions& options, ElementType statistics_type, ElementType alpha_type) {
  Buffers buffers(statistics_type);
  auto alpha = scalar(alpha_type, 0.375);
  Expected expected{buffers.statistics()};
  int batch_number = 0;
  for (const auto& batch : batches()) {
    SCOPED_TRACE("batch " + std::to_string(batch_number++));
    ForwardPass<T> pass(narrow<T>(batch));
    ForwardPass<T> measured(pass.x);
    measured.run(make_activation(kSilu), Kernel::measure);
    const auto moments = to_moments(measured.moments.data());

    const auto map =
        factors(used_by(options, expected.statistics, expected.tracked, moments), alpha.value(), options.normalization);
    expected = after(options, expected, moments);
    for (double* member : {&expected.statistics.output_mean, &expected.statistics.output_square,
                           &expected.statistics.input_variance, &expected.statistics.backward_gain}) {
      *member = stored(statistics_type, *member);
    }

    run_cleanly({launches_of(pass, buffers, alpha, options, true)});
    EXPECT_EQ(pass.map[0], map.scale);
    EXPECT_EQ(pass.map[1], map.offset);
    EXPECT_EQ(pass.map[2], map.centre);
    EXPECT_TRUE(buffers.statistics() == expected.statistics);
    EXPECT_EQ(buffers.tracked, expected.tracked);
    EXPECT_EQ(buffers.skipped, expected.skipped);
    if (options.statistics == StatisticsSource::previous) {
      EXPECT_EQ(std::memcmp(pass.moments.data(), measured.moments.data(), sizeof(Moments)), 0);
    }
    ForwardPass<T> applied(pass.x);
    applied.map = pass.map;
    applied.run(make_activation(kSilu), Kernel::apply);
    EXPECT_EQ(bits_of(pass.y), bits_of(applied.y));
  }
  if (options.statistics != StatisticsSource::fixed) {
    EXPECT_GE(buffers.tracked, 8);
    EXPECT_GE(buffers.skipped, 2);
  }
}

TEST(CudaStep, FollowsTheRules) {
  for (const auto source : all_statistics_sources()) {
    for (const bool gated : {false, true}) {
      SCOPED_TRACE(std::string(to_string(source)) + (gated ? ", gated" : ""));
      StepOptions options;
      options.statistics = source;
      options.init_batch = source == StatisticsSource::fixed && gated;
      options.update.momentum = 0.1;
      if (gated) {
        options.update.gate_low = 0.25;
        options.update.gate_high = 4;
      }
      expect_steps<float>(options, ElementType::float32, ElementType::float32);
      expect_steps<BFloat16>(options, ElementType::float32, ElementType::bfloat16);
      expect_steps<double>(options, ElementType::float64, ElementType::float64);
      expect_steps<Float16>(options, ElementType::float64, ElementType::float16);
    }
  }
}

TEST(CudaStep, TakesEverySolutionTargetAndGain) {
  for (const auto solution : all_solutions()) {
    for (const auto target : all_targets()) {
      for (const auto gain : all_gains()) {
        StepOptions options;
        options.normalization = {.solution = solution, .target = target, .gain = gain};
        options.normalization.centre = solution == Solution::exact || gain == Gain::output;
        Buffers buffers(ElementType::float32);
        auto alpha = scalar(ElementType::float32, -0.5);
        std::vector<double> map(3);
        FactorsArguments a;
        a.running = buffers.argument();
        a.alpha = alpha.argument();
        a.map = map.data();
        a.options = options;
        run_cleanly({{launch(scalar_kernels().factors, 1, 1, a)}});
        const auto expected = factors(buffers.statistics(), alpha.value(), options.normalization);
        EXPECT_EQ(map, (std::vector{expected.scale, expected.offset, expected.centre}));
      }
    }
  }
}

TEST(CudaStep, ItsPartsAreTheStep) {
  for (const auto source : {StatisticsSource::previous, StatisticsSource::running, StatisticsSource::batch}) {
    StepOptions options;
    options.statistics = source;
    Buffers whole(ElementType::float32);
    Buffers parts(ElementType::float32);
    auto alpha = scalar(ElementType::float32, 0.25);
    for (const auto& batch : batches()) {
      ForwardPass<float> step(batch);
      run_cleanly({launches_of(step, whole, alpha, options, true)});

      ForwardPass<float> pass(batch);
      auto kernels = kernels_of(ElementType::float32, kSilu);
      const auto arguments = pass.arguments(make_activation(kSilu));
      FactorsArguments f;
      f.running = parts.argument();
      f.alpha = alpha.argument();
      f.moments = pass.moments.data();
      f.map = pass.map.data();
      f.options = options;
      UpdateArguments u;
      u.running = parts.argument();
      u.moments = pass.moments.data();
      u.options = options;
      run_cleanly({{shaped(kernels.measure, Kernel::measure, ElementType::float32, pass.size(), arguments),
                    launch(scalar_kernels().factors, 1, 1, f),
                    shaped(kernels.apply, Kernel::apply, ElementType::float32, pass.size(), arguments),
                    launch(scalar_kernels().update, 1, 1, u)}});
      EXPECT_EQ(step.map, pass.map);
      EXPECT_EQ(bits_of(step.y), bits_of(pass.y));
      EXPECT_TRUE(whole.statistics() == parts.statistics());
      EXPECT_EQ(whole.tracked, parts.tracked);
      EXPECT_EQ(whole.skipped, parts.skipped);
    }
  }
}

TEST(CudaStep, EvaluationMovesNothing) {
  StepOptions options;
  Buffers buffers(ElementType::float32);
  buffers.tracked = 3;
  const auto before = buffers.statistics();
  auto alpha = scalar(ElementType::float32, 0.25);
  ForwardPass<float> pass(normal_draws(9001, 0, 3));
  run_cleanly({launches_of(pass, buffers, alpha, options, false)});
  const auto map = factors(before, alpha.value(), options.normalization);
  EXPECT_EQ(pass.map, (std::vector{map.scale, map.offset, map.centre}));
  EXPECT_TRUE(buffers.statistics() == before);
  EXPECT_EQ(buffers.tracked, 3);
  EXPECT_EQ(buffers.skipped, 0);
  EXPECT_EQ(pass.moments, std::vector<double>(6, -1));
}

TEST(CudaStep, BackwardGivesTheGradientOfAlphaInItsType) {
  for (const auto type : {ElementType::float32, ElementType::float64, ElementType::bfloat16, ElementType::float16}) {
    BackwardPass<float> pass(normal_draws(9001), normal_draws(9001, 0.1F));
    pass.map = {1.5, -0.25, 0.2};
    auto alpha = scalar(type, 0.5);
    auto gradient = scalar(type, 0);
    auto arguments = pass.arguments(make_activation(kSilu));
    arguments.alpha = alpha.argument();
    arguments.grad_alpha = &gradient.bits;
    run_cleanly({{shaped(kernels_of(ElementType::float32, kSilu).backward, Kernel::backward, ElementType::float32,
                         pass.size(), arguments)}});
    const double expected = scale_slope(alpha.value()) * (pass.sums[0] - 0.2 * pass.sums[1]);
    EXPECT_EQ(gradient.value(), type == ElementType::bfloat16 || type == ElementType::float16
                                    ? stored(type, static_cast<float>(expected))
                                    : stored(type, expected));
  }
}

TEST(CudaMutation, EveryBarrierAndFenceOfAStepIsNeeded) {
  for (const auto source : {StatisticsSource::previous, StatisticsSource::running}) {
    StepOptions options;
    options.statistics = source;
    Buffers buffers(ElementType::float32);
    auto alpha = scalar(ElementType::float32, 0.25);
    ForwardPass<float> pass(normal_draws(9001));
    const auto launch = [&] {
      pass.workspace = Workspace();
      buffers = Buffers(ElementType::float32);
      return launches_of(pass, buffers, alpha, options, true).back();
    };
    expect_all_needed(launch, source == StatisticsSource::previous ? 6 : 2);
  }
}

}  // namespace
}  // namespace anact::kernels::cuda::emulation
