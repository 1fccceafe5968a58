#include "ops/cuda/check.h"

#include <ATen/ATen.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <limits>
#include <utility>

#include "kernels/kernels.h"
#include "math/step.h"
#include "ops/cuda/kernels.h"
#include "ops/fallback/anact.h"
#include "ops/tensors.h"

namespace anact::ops::cuda {
namespace {

using kernels::cuda::Kernel;

// Neither modes of Python nor autocast see what a check computes.
struct Alone {
  at::AutoDispatchBelowADInplaceOrView below;
  c10::impl::ExcludeDispatchKeyGuard guard{c10::autocast_dispatch_keyset | c10::python_ks};
};

// What the last rounding of a result may add, beyond that of the arithmetic.
double rounding_of(at::ScalarType type) { return type == at::kBFloat16 ? 0x1p-8 : type == at::kHalf ? 0x1p-11 : 0; }

class Check {
 public:
  Check(Device& device, at::Device place, at::ScalarType type, ActivationKind kind)
      : device_(device),
        activation_(make_activation(kind)),
        type_(type),
        arithmetic_(type == at::kDouble ? 0x1p-52 : 0x1p-23),
        accuracy_(kernels::accuracy(kind)),
        wide_(at::TensorOptions().dtype(at::kDouble).device(place)),
        x_(at::linspace(-9, 11, kCheckedElements, wide_).to(type)),
        g_(at::cos(at::arange(kCheckedElements, wide_)).to(type)),
        map_(at::tensor({0.75, -0.25, 0.125}, at::kDouble).to(place)),
        value_(fallback::value(activation_, x_.to(at::kDouble))),
        slope_(fallback::derivative(activation_, x_.to(at::kDouble))) {}

  std::string run(Kernel kernel) {
    switch (kernel) {
      case Kernel::measure:
        return sums(measure(device_, x_, activation_, std::nullopt));
      case Kernel::apply:
        return outputs(std::get<0>(apply(device_, x_, map_, activation_, false)), map_);
      case Kernel::apply_measure: {
        const auto [y, moments] = apply(device_, x_, map_, activation_, true);
        return first(outputs(y, map_), sums(moments));
      }
      case Kernel::step:
        // Its moments come of another pass, and every batch after the first; then of statistics alone.
        return first(step(options_of(StatisticsSource::running), 20, true), step(Options(), 20, false));
      case Kernel::step_measure:
        return first(step(Options(), 0, true), step(Options(), 20, true));
      case Kernel::backward: {
        const auto [dx, sums] = apply_backward(device_, g_, x_, map_, activation_);
        return first(first(gradients(dx), gradient_sums(sums)), gradient_of_alpha(sums));
      }
      case Kernel::factors:
        return step_factors();
      case Kernel::update:
        return step_update();
    }
    return {};
  }

 private:
  static std::string first(std::string one, std::string other) { return one.empty() ? other : one; }

  // The largest of |found - expected| / allowed, where it is above 1.
  static std::string compare(const char* what, const at::Tensor& found, const at::Tensor& expected,
                             const at::Tensor& allowed) {
    const auto wide = found.to(at::kDouble);
    const auto ratio = at::nan_to_num((wide - expected).abs() / allowed, std::numeric_limits<double>::infinity());
    const auto worst = ratio.argmax();
    if (ratio.max().item<double>() <= 1) return {};
    const auto at_worst = [&](const at::Tensor& of) {
      return std::to_string(of.expand_as(ratio).reshape(-1)[worst.item<std::int64_t>()].item<double>());
    };
    return std::string(what) + " is " + at_worst(wide) + "; expected " + at_worst(expected);
  }

  // What rounding may do to factor * f + other, where f is within `ulp`, below the floor within that much of the floor.
  at::Tensor allowed(double ulp, double floor, const at::Tensor& f, const at::Tensor& factor,
                     const at::Tensor& other) const {
    // The plain version's own cancellation in the tails, and subnormal results.
    const auto least = 1e-14 * (1 + x_.to(at::kDouble).abs()) + (type_ == at::kHalf ? 0x1p-24 : 0x1p-126);
    // In double the bound is twice that and 2 (kernels/accuracy.h).
    const double bound = type_ == at::kDouble ? 2 * ulp + 2 : ulp;
    const auto error = arithmetic_ * (bound + 3) * at::clamp_min(f.abs(), floor) * factor.abs();
    return error + arithmetic_ * 3 * other.abs() + rounding_of(type_) * (factor * f + other).abs() + least;
  }

  std::string outputs(const at::Tensor& y, const at::Tensor& map) const {
    return compare("the output", y, map[0] * value_ + map[1],
                   allowed(accuracy_.value_ulp, accuracy_.value_floor, value_, map[0], map[1]));
  }

  std::string gradients(const at::Tensor& dx) const {
    const auto factor = g_.to(at::kDouble) * map_[0];
    return compare("the gradient", dx, factor * slope_,
                   allowed(accuracy_.slope_ulp, accuracy_.slope_floor, slope_, factor, at::zeros_like(factor)));
  }

  // Sums of so many terms, whose own rounding is theirs.
  std::string sum(const char* what, const at::Tensor& found, const at::Tensor& terms) const {
    return compare(what, found, terms.sum(), 64 * arithmetic_ * (1 + accuracy_.value_ulp) * terms.abs().sum() + 1e-12);
  }

  std::string sums(const at::Tensor& moments) const {
    const auto x = x_.to(at::kDouble);
    const auto deviation = x - x.mean();
    if (moments[0].item<double>() != static_cast<double>(kCheckedElements)) return "the moments' count is wrong";
    return first(
        first(sum("the sum of x", moments[1] * moments[0], x),
              sum("the sum of squares", moments[2], deviation * deviation)),
        first(sum("the sum of f", moments[3], value_), first(sum("the sum of f^2", moments[4], value_ * value_),
                                                             sum("the sum of f'^2", moments[5], slope_ * slope_))));
  }

  std::string gradient_sums(const at::Tensor& found) const {
    const auto g = g_.to(at::kDouble);
    return first(sum("the sum of g f", found[0], g * value_), sum("the sum of g", found[1], g));
  }

  std::string gradient_of_alpha(const at::Tensor& sums) {
    const auto alpha = at::full({}, kAlpha, wide_.dtype(at::kFloat));
    const auto found = std::get<1>(step_backward(device_, g_, x_, alpha, map_, activation_));
    return near("the gradient of alpha", found.item<double>(), fallback::grad_alpha(sums, alpha, map_).item<double>());
  }

  static Options options_of(StatisticsSource statistics) {
    Options options;
    options.statistics = statistics;
    return options;
  }

  struct State {
    at::Tensor alpha;
    RunningStatistics running;
    at::Tensor skipped;
  };
  static constexpr Statistics kBefore{
      .output_mean = 0.25, .output_square = 0.5, .input_variance = 1.5, .backward_gain = 0.375};
  static constexpr double kAlpha = 0.5;

  State state(std::int64_t tracked) const {
    const auto scalar = [&](double value) { return at::full({}, value, wide_.dtype(at::kFloat)); };
    const auto count = [&](std::int64_t value) { return at::full({}, value, wide_.dtype(at::kLong)); };
    return {scalar(kAlpha),
            {scalar(kBefore.output_mean), scalar(kBefore.output_square), scalar(kBefore.input_variance),
             scalar(kBefore.backward_gain), count(tracked)},
            count(0)};
  }

  static std::string near(const char* what, double found, double expected) {
    return compare(what, at::tensor(found, at::kDouble), at::tensor(expected, at::kDouble),
                   at::tensor(1e-5 * std::abs(expected) + 1e-12, at::kDouble));
  }

  std::string same_map(const at::Tensor& map, const Factors& expected) const {
    const auto found = to_factors(map.cpu());
    // The shift of `exact` is the root of a difference, in which the sums' rounding weighs more.
    const double shift = expected.offset + expected.scale * expected.centre;
    const double found_shift = found.offset + found.scale * found.centre;
    return first(near("the scale", found.scale, expected.scale),
                 first(near("the centre", found.centre, expected.centre),
                       near("the shift", 1 + found_shift * found_shift, 1 + shift * shift)));
  }

  std::string same_state(const State& state, const Statistics& expected, std::int64_t tracked) const {
    const auto& running = state.running;
    const auto read = [](const at::Tensor& scalar) { return scalar.item<double>(); };
    if (running.num_batches_tracked.item<std::int64_t>() != tracked || state.skipped.item<std::int64_t>() != 0) {
      return "the number of batches is wrong";
    }
    return first(first(near("output_mean", read(running.output_mean), expected.output_mean),
                       near("output_square", read(running.output_square), expected.output_square)),
                 first(near("input_variance", read(running.input_variance), expected.input_variance),
                       near("backward_gain", read(running.backward_gain), expected.backward_gain)));
  }

  // The batch's moments are the plain version's: those of the kernel have been compared with them to less than what the
  // float32 statistics hold.
  Moments batch() const {
    const auto wide = x_.to(at::kDouble);
    return to_moments(fallback::measure(wide, fallback::to_functions(activation_)).cpu());
  }

  std::string step(const Options& options, std::int64_t tracked, bool training) {
    const auto state = this->state(tracked);
    const auto result =
        cuda::step(device_, x_, state.alpha, state.running, state.skipped, activation_, options, training);
    const auto rules = to_step_options(options);
    auto used = kBefore, after = kBefore;
    if (training) {
      used = statistics_of_step(rules, kBefore, tracked, batch());
      (void)take_batch(rules, after, tracked, batch());
    }
    return first(first(outputs(result.output, result.map),
                       same_map(result.map, anact::factors(used, kAlpha, rules.normalization))),
                 same_state(state, after, training ? tracked + 1 : tracked));
  }

  std::string step_factors() {
    const auto state = this->state(20);
    const auto options = options_of(StatisticsSource::batch);
    const auto moments = to_tensor(batch()).to(x_.device());
    const auto rules = to_step_options(options);
    return same_map(cuda::factors(device_, state.alpha, state.running, moments, options),
                    anact::factors(statistics_of_step(rules, kBefore, 20, batch()), kAlpha, rules.normalization));
  }

  std::string step_update() {
    const auto state = this->state(20);
    const Options options;
    cuda::update(device_, state.running, state.skipped, to_tensor(batch()).to(x_.device()), state.alpha, map_, options);
    auto after = kBefore;
    (void)take_batch(to_step_options(options), after, 20, batch());
    return same_state(state, after, 21);
  }

  Device& device_;
  Activation activation_;
  at::ScalarType type_;
  double arithmetic_;  // what the last bit of the type of the arithmetic is worth
  kernels::Accuracy accuracy_;
  at::TensorOptions wide_;
  at::Tensor x_, g_, map_;
  at::Tensor value_, slope_;  // of x, in float64
};

}  // namespace

std::string difference(Device& device, at::Device place, Kernel kernel, at::ScalarType type,
                       ActivationKind activation) {
  const Alone alone;
  return Check(device, place, type, activation).run(kernel);
}

}  // namespace anact::ops::cuda
