// Streams of random numbers that depend on a key alone, whichever thread draws them and in which order.
#pragma once

#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <numbers>

namespace anact::data {

// SplitMix64 (Steele, Lea and Flood 2014): the n-th number is a mix of the key and n, so that nothing has to be drawn
// before it. Not for secrets.
class Random {
 public:
  static constexpr std::uint64_t kStep = 0x9e3779b97f4a7c15;  // 2^64 over the golden ratio, made odd

  // One step of SplitMix64: a bijection that scatters nearby numbers.
  static std::uint64_t mix(std::uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }

  explicit Random(std::initializer_list<std::uint64_t> key) {
    for (const auto word : key) state_ = mix(state_ + kStep) ^ mix(word + kStep);
    state_ = mix(state_);
  }

  // Uniform over all 64-bit numbers.
  std::uint64_t next() { return mix(state_ += kStep); }

  // Uniform in [0, 1), a multiple of 2^-53.
  double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }
  double uniform(double low, double high) { return low + (high - low) * uniform(); }

  // Uniform in 0…bound - 1, for a bound of 1 or more; each as likely as the other (Lemire 2019).
  std::int64_t below(std::int64_t bound) {
    const auto range = static_cast<std::uint64_t>(bound);
    auto product = static_cast<Wide>(next()) * range;
    if (static_cast<std::uint64_t>(product) < range) {
      const std::uint64_t uneven = (0 - range) % range;
      while (static_cast<std::uint64_t>(product) < uneven) product = static_cast<Wide>(next()) * range;
    }
    return static_cast<std::int64_t>(product >> 64);
  }

  bool coin() { return next() >> 63 != 0; }

  // Of the normal distribution, by Box and Muller.
  double normal() {
    const double radius = std::sqrt(-2 * std::log(1 - uniform()));
    return radius * std::cos(2 * std::numbers::pi * uniform());
  }

  // Of Beta(a, a) for a > 0, as G1 / (G1 + G2) of two Gamma variates of shape a. Logarithms throughout: for a small `a`
  // both variates are far below the smallest double.
  double symmetric_beta(double a) {
    // Gamma(a) is Gamma(a + 1) times the a-th root of a uniform variate.
    const double first = std::log(gamma(a + 1)), second = std::log(gamma(a + 1));
    const double roots = (std::log(1 - uniform()) - std::log(1 - uniform())) / a;
    return 1 / (1 + std::exp(second - first + roots));
  }

 private:
  __extension__ using Wide = unsigned __int128;
  // Of Gamma(shape, 1) for a shape of 1 or more (Marsaglia and Tsang 2000).
  double gamma(double shape) {
    const double d = shape - 1.0 / 3, c = 1 / std::sqrt(9 * d);
    for (;;) {
      const double x = normal(), root = 1 + c * x;
      if (root <= 0) continue;
      const double v = root * root * root;
      if (std::log(1 - uniform()) < x * x / 2 + d - d * v + d * std::log(v)) return d * v;
    }
  }

  std::uint64_t state_ = 0;
};

}  // namespace anact::data
