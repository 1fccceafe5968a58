#include "bench/validation.h"

#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#include "anact/normalization.h"
#include "kernels/kernels.h"
#include "text/words.h"

namespace anact::bench {
namespace {

// Elements that are looked at together, so that the float64 tensors stay small.
constexpr std::int64_t kPiece = std::int64_t{1} << 20;

// f and f' of a piece by the specification.
class Exact {
 public:
  explicit Exact(const Activation& activation) : activation_(activation) {}

  // A large input repeats one piece, which is worked out once.
  void of(const torch::Tensor& piece) {
    if (input.defined() && torch::equal(piece, piece_)) return;
    piece_ = piece;
    input = piece.to(torch::kDouble);
    value = torch::empty_like(input);
    slope = torch::empty_like(input);
    const double* x = input.const_data_ptr<double>();
    for (std::int64_t i = 0; i < input.numel(); ++i) {
      value.mutable_data_ptr<double>()[i] = activation_.value(x[i]);
      slope.mutable_data_ptr<double>()[i] = activation_.derivative(x[i]);
    }
  }

  torch::Tensor input, value, slope;

 private:
  Activation activation_;
  torch::Tensor piece_;
};

struct Precision {
  double of_type;        // the distance from 1 to the next number
  double of_arithmetic;  // the same of what it is computed in
  double smallest;       // the smallest number above 0
};

Precision precision_of(torch::Dtype type) {
  constexpr double kFloat = std::numeric_limits<float>::epsilon();
  constexpr double kFloatSmallest = std::numeric_limits<float>::min();
  switch (type) {
    case torch::kDouble:
      return {std::numeric_limits<double>::epsilon(), std::numeric_limits<double>::epsilon(),
              std::numeric_limits<double>::min()};
    case torch::kFloat:
      return {kFloat, kFloat, kFloatSmallest};
    case torch::kBFloat16:
      return {std::ldexp(1.0, -7), kFloat, kFloatSmallest};
    case torch::kHalf:
      return {std::ldexp(1.0, -10), kFloat, std::ldexp(1.0, -24)};
    default:
      throw std::invalid_argument("check_first_step: not a type that is timed");
  }
}

// The statistics of the whole input.
Statistics statistics_of(const torch::Tensor& input, Exact& exact) {
  double sum = 0, square = 0, f = 0, f_square = 0, slope_square = 0;
  for (std::int64_t begin = 0; begin < input.numel(); begin += kPiece) {
    exact.of(input.slice(0, begin, begin + kPiece));
    sum += exact.input.sum().item<double>();
    square += exact.input.square().sum().item<double>();
    f += exact.value.sum().item<double>();
    f_square += exact.value.square().sum().item<double>();
    slope_square += exact.slope.square().sum().item<double>();
  }
  const auto count = static_cast<double>(input.numel());
  const double mean = sum / count;
  return {.output_mean = f / count,
          .output_square = f_square / count,
          .input_variance = square / count - mean * mean,
          .backward_gain = slope_square / count};
}

void compare(const torch::Tensor& found, const torch::Tensor& exact, const torch::Tensor& bound, std::int64_t begin,
             const std::string& what) {
  const auto excess = (found.to(torch::kDouble) - exact).abs() - bound;
  const auto worst = excess.argmax().item<std::int64_t>();
  if (excess[worst].item<double>() <= 0) return;
  throw std::runtime_error(text::format("bench: the %s is %.9g at element %lld, but %.9g is right, to within %.3g",
                                        what.c_str(), found[worst].item<double>(),
                                        static_cast<long long>(begin + worst), exact[worst].item<double>(),
                                        bound[worst].item<double>()));
}

}  // namespace

void check_first_step(const Activation& activation, const torch::Tensor& input, const torch::Tensor& gradient,
                      const torch::Tensor& output, const torch::Tensor& input_gradient,
                      const torch::Tensor& alpha_gradient) {
  const torch::NoGradGuard no_grad;
  const auto flat = [](const torch::Tensor& t) { return t.detach().flatten(); };
  const auto x = flat(input), g = flat(gradient), y = flat(output), dx = flat(input_gradient);
  const auto [of_type, of_arithmetic, smallest] = precision_of(input.scalar_type());
  const bool is_double = input.scalar_type() == torch::kDouble;
  const auto accuracy = kernels::accuracy(activation.kind);
  // In double the errors are at most twice the bound plus 2 (kernels/accuracy.h).
  const auto ulps = [&](double bound) { return is_double ? 2 * bound + 2 : bound; };

  Exact exact(activation);
  const auto statistics = statistics_of(x, exact);
  const NormalizationOptions options;
  const auto map = factors(statistics, 0, options);
  // How far the map can be off: the means by some units in the last place of what is added, the shift by the root of a
  // difference of such.
  const double off = 16 * of_arithmetic;
  const double deviation = std::sqrt(statistics.output_square);
  const double shift = output_shift(statistics, options);
  const double square_off = 8 * off * (shift * shift + map.scale * map.scale * statistics.output_square);
  const double shift_off = std::min(std::sqrt(square_off), shift == 0 ? std::sqrt(square_off) : square_off / -shift);
  const double offset_off = 2 * off * std::abs(map.scale) * deviation + shift_off;

  const double mean_off = off * deviation;
  double alpha_exact = 0, alpha_off = 0;
  for (std::int64_t begin = 0; begin < x.numel(); begin += kPiece) {
    const auto piece = [&](const torch::Tensor& t) { return t.slice(0, begin, begin + kPiece); };
    exact.of(piece(x));
    const auto value = exact.value.abs();
    const auto value_off = ulps(accuracy.value_ulp) * of_arithmetic * value.clamp_min(accuracy.value_floor);
    const auto y_exact = exact.value * map.scale + map.offset;
    const auto y_off = map.scale * (value_off + off * value) + offset_off + 2 * of_arithmetic * std::abs(map.offset);
    compare(piece(y), y_exact, (y_exact.abs() + y_off) * (of_type / 2) + y_off + smallest, begin,
            "output of " + activation.to_string());
    const auto slope = exact.slope.abs();
    const auto slope_off = ulps(accuracy.slope_ulp) * of_arithmetic * slope.clamp_min(accuracy.slope_floor);
    const auto wide = piece(g).to(torch::kDouble);
    const auto dx_exact = wide * exact.slope * map.scale;
    const auto dx_off = wide.abs() * map.scale * (slope_off + off * slope);
    compare(piece(dx), dx_exact, (dx_exact.abs() + dx_off) * (of_type / 2) + dx_off + smallest, begin,
            "input's gradient of " + activation.to_string());
    // The kernel sums g f and g, each for itself.
    alpha_exact += (wide * (exact.value - statistics.output_mean)).sum().item<double>();
    const auto term_off = value_off + off * (value + std::abs(statistics.output_mean)) + mean_off;
    alpha_off += (wide.abs() * term_off).sum().item<double>();
  }
  alpha_exact *= kAlphaRange;
  alpha_off *= kAlphaRange;
  const double alpha_unit = precision_of(alpha_gradient.scalar_type()).of_type;
  const auto scalar = [](double number) { return torch::full({1}, number, torch::kDouble); };
  compare(flat(alpha_gradient), scalar(alpha_exact),
          scalar((std::abs(alpha_exact) + alpha_off) * (alpha_unit / 2) + alpha_off), 0,
          "alpha's gradient of " + activation.to_string());
}

}  // namespace anact::bench
