// The table of docs/math.md, section 10: what an activation after the sum does to the shortcut.

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "anact/gaussian.h"
#include "anact/normalization.h"

namespace anact {
namespace {

// Of the shortcut after so many blocks, whose branches each add a variance of 1.
struct Shortcut {
  double mean = 0;
  double variance = 0;
  double scale = 0;          // of the last block
  double gradient_gain = 1;  // of the second moment, along the shortcut alone, over all blocks
};

struct Map {
  std::string activation;
  NormalizationOptions options;
  bool normalized = true;
  bool frozen = false;  // under N(0, 1)
};

Shortcut after(const Map& map, int blocks) {
  const Activation activation = parse_activation(map.activation);
  Shortcut result;
  double mean = 0, variance = 1;
  for (int block = 0; block < blocks; ++block) {
    const auto statistics = gaussian_statistics(activation, mean, std::sqrt(variance));
    const auto known = map.frozen ? gaussian_statistics(activation) : statistics;
    const auto factors = map.normalized ? anact::factors(known, 0, map.options) : Factors{};
    const double square = factors.scale * factors.scale;
    result.mean = factors.scale * statistics.output_mean + factors.offset;
    result.variance = square * (statistics.output_square - statistics.output_mean * statistics.output_mean);
    result.scale = factors.scale;
    result.gradient_gain *= square * statistics.backward_gain;
    mean = result.mean;
    variance = result.variance + 1;
  }
  return result;
}

NormalizationOptions options(Solution solution, bool centre, Target target = Target::input) {
  NormalizationOptions result;
  result.solution = solution;
  result.target = target;
  result.centre = centre;
  return result;
}

TEST(Residual, AnActivationAfterTheSum) {
  struct Row {
    Map map;
    double mean, variance, scale, gradient_gain;
  };
  const std::vector<Row> rows{
      {{"relu", {}, false}, 1.96, 2.41, 1.00, 0.060},
      {{"silu", {}, false}, 0.96, 1.38, 1.00, 0.006},
      {{"silu", options(Solution::compromise, true)}, 0.00, 3.09, 1.49, 1.33},
      {{"silu", options(Solution::compromise, false)}, 1.51, 2.37, 0.99, 0.230},
      {{"silu", options(Solution::backward, false)}, 2.67, 5.42, 1.07, 1.00},
      {{"silu", options(Solution::compromise, false), true, true}, 46.5, 781, 1.65, 504},
      {{"silu", options(Solution::compromise, true, Target::unit)}, 0.00, 0.81, 1.16, 0.0113},
      {{"silu", options(Solution::exact, true)}, -1.00, 1.61, 2.12, 1.00},
  };
  for (const auto& row : rows) {
    const auto found = after(row.map, 9);
    // As many digits as the document has.
    EXPECT_NEAR(found.mean, row.mean, 0.006 * std::max(1.0, std::abs(row.mean)));
    EXPECT_NEAR(found.variance, row.variance, 0.006 * std::max(1.0, row.variance));
    EXPECT_NEAR(found.scale, row.scale, 0.006);
    EXPECT_NEAR(found.gradient_gain, row.gradient_gain, 0.01 * row.gradient_gain + 0.0005);
  }
}

}  // namespace
}  // namespace anact
