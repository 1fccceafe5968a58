#include "anact/propagation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <boost/math/quadrature/gauss_kronrod.hpp>
#include <cmath>
#include <functional>
#include <limits>
#include <numbers>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "anact/gaussian.h"
#include "anact/moments.h"
#include "math/message_of.h"

namespace anact {
namespace {

constexpr double kPi = std::numbers::pi;
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// Bounds that clamp nothing of interest.
NormalizationOptions make_options(Solution solution, Target target = Target::input, Gain gain = Gain::activation,
                                  bool centre = true) {
  return {solution, target, gain, centre, 1e-100, 1e100};
}

GaussianActivation plain(std::string_view name) { return {parse_activation(name), std::nullopt, 0}; }
GaussianActivation normalized(std::string_view name, const NormalizationOptions& options, double alpha = 0) {
  return {parse_activation(name), options, alpha};
}

// A network under construction; nodes are appended to the last one unless told otherwise.
class Network {
 public:
  std::size_t add(const PropagationNode::Map& map) { return add(map, {last()}); }
  std::size_t add(const PropagationNode::Map& map, std::vector<std::size_t> inputs) {
    nodes_.push_back({std::move(inputs), map});
    return last();
  }
  [[nodiscard]] std::size_t last() const { return nodes_.empty() ? kNetworkInput : nodes_.size() - 1; }
  void measured_input(double value) { nodes_.back().measured_input = value; }
  [[nodiscard]] std::vector<Propagation> run_anew(double second_moment = 1, double gradient = 1) const {
    return propagate_anew(nodes_, second_moment, gradient);
  }
  [[nodiscard]] std::vector<Propagation> run(double second_moment = 1, double gradient = 1) const {
    return propagate(nodes_, second_moment, gradient);
  }

 private:
  std::vector<PropagationNode> nodes_;
};

double square(double x) { return x * x; }

// A batch of vectors, by samples, for networks that are run by brute force.
struct Matrix {
  std::size_t rows = 0;
  std::size_t columns = 0;
  std::vector<double> values;

  Matrix(std::size_t row_count, std::size_t column_count)
      : rows(row_count), columns(column_count), values(row_count * column_count) {}
  double& operator()(std::size_t i, std::size_t j) { return values[i * columns + j]; }
  double operator()(std::size_t i, std::size_t j) const { return values[i * columns + j]; }
};

class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}
  Matrix normal(std::size_t rows, std::size_t columns, double second_moment) {
    Matrix matrix(rows, columns);
    for (double& x : matrix.values) x = std::sqrt(second_moment) * normal_(engine_);
    return matrix;
  }

 private:
  std::mt19937_64 engine_;
  std::normal_distribution<double> normal_;
};

double second_moment(const Matrix& matrix) {
  double sum = 0;
  for (const double x : matrix.values) sum += x * x;
  return sum / static_cast<double>(matrix.values.size());
}

// x W^T
Matrix forward(const Matrix& x, const Matrix& weight) {
  Matrix z(x.rows, weight.rows);
  for (std::size_t b = 0; b < x.rows; ++b) {
    for (std::size_t i = 0; i < weight.rows; ++i) {
      double sum = 0;
      for (std::size_t j = 0; j < weight.columns; ++j) sum += x(b, j) * weight(i, j);
      z(b, i) = sum;
    }
  }
  return z;
}

// g W
Matrix backward(const Matrix& gradient, const Matrix& weight) {
  Matrix result(gradient.rows, weight.columns);
  for (std::size_t b = 0; b < gradient.rows; ++b) {
    for (std::size_t i = 0; i < weight.rows; ++i) {
      for (std::size_t j = 0; j < weight.columns; ++j) result(b, j) += gradient(b, i) * weight(i, j);
    }
  }
  return result;
}

Matrix map(const Matrix& x, const std::function<double(double)>& f) {
  Matrix y = x;
  for (double& value : y.values) value = f(value);
  return y;
}

Matrix product(const Matrix& a, const Matrix& b) {
  Matrix result = a;
  for (std::size_t k = 0; k < a.values.size(); ++k) result.values[k] *= b.values[k];
  return result;
}

Matrix sum(const Matrix& a, const Matrix& b) {
  Matrix result = a;
  for (std::size_t k = 0; k < a.values.size(); ++k) result.values[k] += b.values[k];
  return result;
}

double relu(double x) { return std::max(x, 0.0); }
double step(double x) { return x > 0 ? 1 : 0; }

// Batch normalization of each column, and its whole gradient.
class BatchNorm {
 public:
  Matrix operator()(const Matrix& x) {
    const auto count = static_cast<double>(x.rows);
    normalized_ = x;
    inverse_.assign(x.columns, 0);
    for (std::size_t j = 0; j < x.columns; ++j) {
      double mean = 0;
      for (std::size_t b = 0; b < x.rows; ++b) mean += x(b, j) / count;
      double variance = 0;
      for (std::size_t b = 0; b < x.rows; ++b) variance += square(x(b, j) - mean) / count;
      inverse_[j] = 1 / std::sqrt(variance);
      for (std::size_t b = 0; b < x.rows; ++b) normalized_(b, j) = (x(b, j) - mean) * inverse_[j];
    }
    return normalized_;
  }

  [[nodiscard]] Matrix backward(const Matrix& gradient) const {
    const auto count = static_cast<double>(gradient.rows);
    Matrix result = gradient;
    for (std::size_t j = 0; j < gradient.columns; ++j) {
      double mean = 0;
      double along = 0;
      for (std::size_t b = 0; b < gradient.rows; ++b) {
        mean += gradient(b, j) / count;
        along += gradient(b, j) * normalized_(b, j) / count;
      }
      for (std::size_t b = 0; b < gradient.rows; ++b) {
        result(b, j) = inverse_[j] * (gradient(b, j) - mean - along * normalized_(b, j));
      }
    }
    return result;
  }

 private:
  Matrix normalized_{0, 0};
  std::vector<double> inverse_;
};

// --- Initializations as special cases -------------------------------------------------------------------------------

TEST(LayerGrowth, OfALinearLayerIsGlorots) {
  for (const auto& [n, m] : {std::pair{64.0, 64.0}, {100.0, 25.0}, {7.0, 1000.0}}) {
    const Growth fan_in = layer_growth(n, m, 1 / n, plain("identity"));
    EXPECT_NEAR(fan_in.forward, 1, 1e-13);
    EXPECT_NEAR(fan_in.backward, m / n, 1e-12 * m / n);
    const Growth fan_out = layer_growth(n, m, 1 / m, plain("identity"));
    EXPECT_NEAR(fan_out.forward, n / m, 1e-12 * n / m);
    EXPECT_NEAR(fan_out.backward, 1, 1e-13);
    const Growth both = layer_growth(n, m, 2 / (n + m), plain("identity"));
    EXPECT_NEAR(both.forward + both.backward, 2, 1e-12);
    EXPECT_EQ(std::abs(both.forward - 1) < 1e-12 && std::abs(both.backward - 1) < 1e-12, n == m);
  }
}

TEST(LayerGrowth, OfTanhNearZeroIsThatOfALinearLayer) {
  const Growth near_zero = layer_growth(50, 50, 0.02, plain("tanh"), 1e-8);
  EXPECT_NEAR(near_zero.forward, 1, 1e-7);
  EXPECT_NEAR(near_zero.backward, 1, 1e-7);
  const Growth far = layer_growth(50, 50, 0.02, plain("tanh"), 1);
  EXPECT_NEAR(far.forward, 0.394294, 1e-6);
  EXPECT_NEAR(far.backward, 0.464403, 1e-6);
}

TEST(LayerGrowth, OfReluIsHes) {
  for (const double v : {1e-4, 1.0, 37.0}) {
    const Growth fan_in = layer_growth(30, 80, 2.0 / 30, plain("relu"), v);
    EXPECT_NEAR(fan_in.forward, 1, 1e-12);
    EXPECT_NEAR(fan_in.backward, 80.0 / 30, 1e-11);
    const Growth fan_out = layer_growth(30, 80, 2.0 / 80, plain("relu"), v);
    EXPECT_NEAR(fan_out.forward, 30.0 / 80, 1e-12);
    EXPECT_NEAR(fan_out.backward, 1, 1e-12);
    // He's gain for a leaky ReLU is 2 / (1 + slope^2).
    const Growth leaky = layer_growth(30, 30, 2 / (1 + square(0.2)) / 30, plain("leaky_relu(0.2)"), v);
    EXPECT_NEAR(leaky.forward, 1, 1e-12);
    EXPECT_NEAR(leaky.backward, 1, 1e-12);
  }
}

TEST(LayerGrowth, OfSeluHasAFixedPointAtOne) {
  const Growth growth = layer_growth(200, 200, 1.0 / 200, plain("selu"));
  EXPECT_NEAR(growth.forward, 1, 1e-12);
  // lambda_S^2 (1/2 + alpha_S^2 e_2), docs/math.md, section 7.
  const double scale = 1.0507009873554804934193349852946;
  const double alpha = 1.6732632423543772848170429916717;
  const double e2 = std::exp(2.0) * 0.5 * std::erfc(2 / std::sqrt(2.0));
  EXPECT_NEAR(growth.backward, scale * scale * (0.5 + alpha * alpha * e2), 1e-12);
  EXPECT_NEAR(growth.backward, 1.07157, 1e-5);
}

TEST(Propagate, SeluConvergesToItsFixedPoint) {
  for (const double start : {0.5, 2.0}) {
    Network network;
    for (int layer = 0; layer < 50; ++layer) {
      network.add(plain("selu"));
      network.add(LinearMap{300, 300, 1.0 / 300, 0});
    }
    const auto result = network.run(start);
    EXPECT_NEAR(result.back().second_moment, 1, 1e-4);
    // Ever nearer, from the same side.
    for (std::size_t i = 1; i + 2 < result.size(); i += 2) {
      const double now = result[i].second_moment - 1;
      const double next = result[i + 2].second_moment - 1;
      EXPECT_LT(std::abs(next), std::abs(now)) << i;
      EXPECT_GT(next * (start - 1), 0) << i;
    }
  }
}

TEST(LayerGrowth, OfTheCentredForwardSolutionIsNfNets) {
  for (const char* name : {"relu", "gelu", "silu", "softplus", "tanh"}) {
    const Activation activation = parse_activation(name);
    const NormalizationOptions options = make_options(Solution::forward, Target::input, Gain::output);
    const Statistics statistics = gaussian_statistics(activation);
    const double variance = statistics.output_square - square(statistics.output_mean);
    EXPECT_NEAR(factors(statistics, 0, options).scale, 1 / std::sqrt(variance), 1e-12) << name;
    EXPECT_NEAR(layer_growth(90, 40, 1.0 / 90, {activation, options, 0}).forward, 1, 1e-12) << name;
  }
  const Statistics relu_statistics = gaussian_statistics(parse_activation("relu"));
  EXPECT_NEAR(lambda(relu_statistics, make_options(Solution::forward, Target::input, Gain::output)),
              std::sqrt(2 / (1 - 1 / kPi)), 1e-13);
}

// What makes subtracting the mean from f the same as taking it from each row of the weights.
TEST(LayerGrowth, OfNfNetsIsThatOfWeightsWithoutARowMean) {
  Random random(11);
  constexpr std::size_t kWidth = 256;
  const double scale = std::sqrt(2 / (1 - 1 / kPi));
  double total = 0;
  constexpr int kDraws = 10;
  for (int draw = 0; draw < kDraws; ++draw) {
    Matrix weight = random.normal(kWidth, kWidth, 1);
    for (std::size_t i = 0; i < kWidth; ++i) {
      double mean = 0;
      for (std::size_t j = 0; j < kWidth; ++j) mean += weight(i, j) / kWidth;
      double variance = 0;
      for (std::size_t j = 0; j < kWidth; ++j) variance += square(weight(i, j) - mean) / kWidth;
      for (std::size_t j = 0; j < kWidth; ++j) weight(i, j) = (weight(i, j) - mean) / std::sqrt(kWidth * variance);
    }
    const Matrix x = random.normal(64, kWidth, 1);
    total += second_moment(forward(map(x, [&](double value) { return scale * relu(value); }), weight)) / kDraws;
  }
  const NormalizationOptions options = make_options(Solution::forward, Target::input, Gain::output);
  EXPECT_NEAR(total, layer_growth(kWidth, kWidth, 1.0 / kWidth, normalized("relu", options)).forward, 0.02);
}

// --- ANAct's solutions ----------------------------------------------------------------------------------------------

const std::vector<std::string> kActivations{"relu", "leaky_relu(0.3)", "elu",  "selu",      "silu", "gelu",
                                            "mish", "softplus",        "tanh", "tanhshrink"};

TEST(LayerGrowth, OfEachSolutionMeetsItsProperty) {
  for (const std::string& name : kActivations) {
    for (const double v : {0.3, 1.0, 4.0}) {
      for (const bool centre : {true, false}) {
        // The gain of what is emitted, so that the property is that of the layer.
        const auto growth = [&](Solution solution) {
          return layer_growth(60, 60, 1.0 / 60,
                              normalized(name, make_options(solution, Target::input, Gain::output, centre)), v);
        };
        const Growth compromise = growth(Solution::compromise);
        EXPECT_NEAR(1 / compromise.forward + 1 / compromise.backward, 2, 1e-10) << name;
        EXPECT_NEAR(growth(Solution::forward).forward, 1, 1e-10) << name;
        EXPECT_NEAR(growth(Solution::backward).backward, 1, 1e-10) << name;
        const Growth geometric = growth(Solution::geometric);
        EXPECT_NEAR(geometric.forward * geometric.backward, 1, 1e-10) << name;
        if (centre) {
          EXPECT_NEAR(growth(Solution::exact).forward, 1, 1e-10) << name;
          EXPECT_NEAR(growth(Solution::exact).backward, 1, 1e-10) << name;
        }
      }
    }
  }
}

TEST(LayerGrowth, OfTheGainOfTheActivationShrinksWhenCentred) {
  const Growth growth = layer_growth(60, 60, 1.0 / 60, normalized("relu", make_options(Solution::compromise)));
  EXPECT_NEAR(growth.forward, 1 - 1 / kPi, 1e-12);
  EXPECT_NEAR(growth.backward, 1, 1e-12);
}

TEST(LayerGrowth, FollowsAlpha) {
  const NormalizationOptions options = make_options(Solution::forward, Target::input, Gain::output);
  const Growth growth = layer_growth(10, 10, 0.1, normalized("relu", options, 0.7));
  const double scale = std::sqrt(2 / (1 - 1 / kPi)) + 0.3 * std::tanh(0.7);
  EXPECT_NEAR(growth.forward, square(scale) * (1 - 1 / kPi) / 2, 1e-12);
  EXPECT_NEAR(growth.backward, square(scale) / 2, 1e-12);
}

TEST(Propagate, TargetUnitForgetsTheWeights) {
  const std::vector<double> gains{0.1, 5, 0.7, 20, 1};  // n weight_second_moment
  for (const std::string& name : kActivations) {
    for (const Solution solution : {Solution::forward, Solution::backward, Solution::exact}) {
      Network network;
      for (const double gain : gains) {
        network.add(LinearMap{40, 40, gain / 40, 0});
        network.add(normalized(name, make_options(solution, Target::unit, Gain::output)));
      }
      const auto result = network.run(1, 3);
      for (std::size_t layer = 0; layer < gains.size(); ++layer) {
        if (solution != Solution::backward) {
          EXPECT_NEAR(result[2 * layer + 1].second_moment, 1, 1e-9) << name;
          EXPECT_NEAR(result[2 * layer].second_moment, gains[layer], 1e-9 * gains[layer]) << name;
        }
        // For the gradient the layer below is what made v, and there v = gain only if 1 enters it.
        if (solution == Solution::exact) {
          EXPECT_NEAR(result[2 * layer].input_gradient, 3, 1e-9) << name;
        }
      }
    }
  }
}

// --- A whole network against brute force ----------------------------------------------------------------------------

TEST(Propagate, IsWhatWideRandomNetworksDo) {
  Random random(3);
  constexpr std::size_t kIn = 150;
  constexpr std::size_t kHidden = 250;
  constexpr std::size_t kOut = 200;
  constexpr std::size_t kBatch = 40;
  constexpr double kW1 = 1.7 / kIn;
  constexpr double kW2 = 0.8 / kHidden;
  constexpr double kBias = 0.3;
  const NormalizationOptions options = make_options(Solution::geometric, Target::unit);
  const Activation first = parse_activation("gelu");
  const Activation second = parse_activation("tanh");

  Network network;
  network.add(LinearMap{kIn, kHidden, kW1, kBias});
  network.add(GaussianActivation{first, options, 0.5});
  network.add(LinearMap{kHidden, kOut, kW2, 0});
  network.add(GaussianActivation{second, std::nullopt, 0});
  const auto predicted = network.run(0.6, 2);

  std::vector<double> moments(4);
  std::vector<double> gradients(4);
  constexpr int kDraws = 25;
  for (int draw = 0; draw < kDraws; ++draw) {
    const Matrix w1 = random.normal(kHidden, kIn, kW1);
    const Matrix w2 = random.normal(kOut, kHidden, kW2);
    const Matrix bias = random.normal(1, kHidden, kBias);
    Matrix z1 = forward(random.normal(kBatch, kIn, 0.6), w1);
    for (std::size_t b = 0; b < kBatch; ++b) {
      for (std::size_t i = 0; i < kHidden; ++i) z1(b, i) += bias(0, i);
    }
    Moments sums;
    for (const double x : z1.values) sums.add(x, first.value(x), first.derivative(x));
    const Factors affine = factors(to_statistics(sums), 0.5, options);
    const Matrix y1 = map(z1, [&](double x) { return affine.scale * first.value(x) + affine.offset; });
    const Matrix z2 = forward(y1, w2);
    const Matrix y2 = map(z2, [&](double x) { return second.value(x); });
    const Matrix g4 = random.normal(kBatch, kOut, 2);
    const Matrix g3 = product(g4, map(z2, [&](double x) { return second.derivative(x); }));
    const Matrix g2 = backward(g3, w2);
    const Matrix g1 = product(g2, map(z1, [&](double x) { return affine.scale * first.derivative(x); }));
    const Matrix g0 = backward(g1, w1);
    const std::vector<const Matrix*> outputs{&z1, &y1, &z2, &y2};
    const std::vector<const Matrix*> input_gradients{&g0, &g1, &g2, &g3};
    for (std::size_t i = 0; i < 4; ++i) {
      moments[i] += second_moment(*outputs[i]) / kDraws;
      gradients[i] += second_moment(*input_gradients[i]) / kDraws;
    }
  }
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_NEAR(moments[i] / predicted[i].second_moment, 1, 0.015) << i;
    EXPECT_NEAR(gradients[i] / predicted[i].input_gradient, 1, 0.015) << i;
  }
}

// A convolution with zero padding and stride, by brute force.
TEST(Propagate, TapsOfAConvolutionCountPaddingAndStride) {
  struct Case {
    int channels_in, channels_out, height, width, kernel, stride, padding, dilation;
  };
  Random random(5);
  for (const Case& c : {Case{3, 4, 7, 6, 3, 2, 1, 1}, Case{2, 3, 5, 4, 3, 1, 1, 1}, Case{2, 2, 8, 7, 3, 1, 2, 2},
                        Case{1, 5, 6, 6, 1, 2, 0, 1}}) {
    const int reach = c.dilation * (c.kernel - 1) + 1;
    const int rows = (c.height + 2 * c.padding - reach) / c.stride + 1;
    const int columns = (c.width + 2 * c.padding - reach) / c.stride + 1;
    // Every pair of an output and an input place that a weight joins: (output, input, place in the kernel).
    struct Tap {
      int output, input, kernel;
    };
    std::vector<Tap> taps;
    for (int i = 0; i < rows * columns; ++i) {
      for (int k = 0; k < c.kernel * c.kernel; ++k) {
        const int y = i / columns * c.stride - c.padding + k / c.kernel * c.dilation;
        const int x = i % columns * c.stride - c.padding + k % c.kernel * c.dilation;
        if (y >= 0 && y < c.height && x >= 0 && x < c.width) taps.push_back({i, y * c.width + x, k});
      }
    }
    const auto count = static_cast<double>(taps.size());
    constexpr double kWeight = 0.2;
    Network network;
    network.add(
        LinearMap{c.channels_in * count / (rows * columns), c.channels_out * count / (c.height * c.width), kWeight, 0});
    const Propagation predicted = network.run(1.5, 0.7)[0];

    double output = 0;
    double gradient = 0;
    constexpr int kDraws = 6000;
    for (int draw = 0; draw < kDraws; ++draw) {
      const Matrix weight = random.normal(c.channels_out * c.channels_in, c.kernel * c.kernel, kWeight);
      const Matrix x = random.normal(c.channels_in, c.height * c.width, 1.5);
      const Matrix gz = random.normal(c.channels_out, rows * columns, 0.7);
      Matrix z(c.channels_out, rows * columns);
      Matrix gx(c.channels_in, c.height * c.width);
      for (int o = 0; o < c.channels_out; ++o) {
        for (int i = 0; i < c.channels_in; ++i) {
          for (const Tap& tap : taps) {
            const double w = weight(o * c.channels_in + i, tap.kernel);
            z(o, tap.output) += w * x(i, tap.input);
            gx(i, tap.input) += w * gz(o, tap.output);
          }
        }
      }
      output += second_moment(z) / kDraws;
      gradient += second_moment(gx) / kDraws;
    }
    EXPECT_NEAR(output / predicted.second_moment, 1, 0.02) << c.kernel << c.stride << c.padding;
    EXPECT_NEAR(gradient / predicted.input_gradient, 1, 0.02) << c.kernel << c.stride << c.padding;
  }
}

// --- Sums -----------------------------------------------------------------------------------------------------------

TEST(Propagate, ResidualBlocksOfGainOneDoubleBothMoments) {
  constexpr int kDepth = 12;
  Network network;
  network.add(Sum{});
  for (int block = 0; block < kDepth; ++block) {
    const std::size_t shortcut = network.last();
    const std::size_t branch = network.add(LinearMap{32, 32, 1.0 / 32, 0});
    network.add(Sum{}, {shortcut, branch});
  }
  const auto result = network.run(3, 5);
  EXPECT_NEAR(result.back().second_moment, 3 * std::pow(2, kDepth), 1e-8);
  EXPECT_NEAR(result.front().gradient, 5 * std::pow(2, kDepth), 1e-8);
}

TEST(Propagate, BranchesOfAFixedSizeAddUp) {
  constexpr int kDepth = 12;
  Network network;
  network.add(Sum{});
  for (int block = 0; block < kDepth; ++block) {
    const std::size_t shortcut = network.last();
    network.add(normalized("silu", make_options(Solution::exact, Target::unit)));
    const std::size_t branch = network.add(LinearMap{32, 32, 0.25 / 32, 0});
    network.add(Sum{}, {shortcut, branch});
    EXPECT_NEAR(network.run(2).back().second_moment, 2 + 0.25 * (block + 1), 1e-9);
  }
  // Going back, block l multiplies by 1 + 0.25 / v_l, v_l being what enters it: for this the product telescopes.
  EXPECT_NEAR(network.run(2, 1).front().gradient, (2 + 0.25 * kDepth) / 2, 1e-9);
}

TEST(Propagate, AScaledShortcutKeepsBothMoments) {
  constexpr double kShortcut = 0.8;
  Network network;
  network.add(Sum{});
  for (int block = 0; block < 30; ++block) {
    const std::size_t input = network.last();
    const std::size_t shortcut = network.add(MeasuredMap{square(kShortcut), square(kShortcut)}, {input});
    const std::size_t branch = network.add(LinearMap{16, 16, (1 - square(kShortcut)) / 16, 0}, {input});
    network.add(Sum{}, {shortcut, branch});
  }
  const auto result = network.run(0.4, 7);
  EXPECT_NEAR(result.back().second_moment, 0.4, 1e-12);
  EXPECT_NEAR(result.front().gradient, 7, 1e-11);
}

TEST(Propagate, ANodeUsedTwiceGathersBothGradients) {
  Network network;
  const std::size_t trunk = network.add(LinearMap{4, 8, 0.5, 0.25});
  const std::size_t left = network.add(MeasuredMap{2, 3}, {trunk});
  const std::size_t right = network.add(MeasuredMap{5, 7}, {trunk});
  const std::size_t unused = network.add(MeasuredMap{11, 13}, {right});
  network.add(Sum{}, {left, right});
  const auto result = network.run(10, 100);
  EXPECT_DOUBLE_EQ(result[trunk].second_moment, 4 * 0.5 * 10 + 0.25);
  EXPECT_DOUBLE_EQ(result[left].second_moment, 2 * 20.25);
  EXPECT_DOUBLE_EQ(result.back().second_moment, 7 * 20.25);
  EXPECT_DOUBLE_EQ(result[left].gradient, 100);
  EXPECT_DOUBLE_EQ(result[left].input_gradient, 300);
  EXPECT_DOUBLE_EQ(result[right].input_gradient, 700);
  EXPECT_DOUBLE_EQ(result[trunk].gradient, 1000);
  EXPECT_DOUBLE_EQ(result[trunk].input_gradient, 8 * 0.5 * 1000);
  EXPECT_EQ(result[unused].gradient, 0);
  EXPECT_EQ(result[unused].input_gradient, 0);
  EXPECT_DOUBLE_EQ(result[unused].second_moment, 11 * 5 * 20.25);
}

// --- BatchNorm ------------------------------------------------------------------------------------------------------

TEST(Propagate, BatchNormGivesOneWhateverCame) {
  for (const double v : {1e-3, 1.0, 400.0}) {
    Network network;
    network.add(BatchNormMap{1, 0, 0});
    const Propagation result = network.run(v, 6)[0];
    EXPECT_DOUBLE_EQ(result.second_moment, 1);
    EXPECT_DOUBLE_EQ(result.input_gradient, 6 / v);
  }
  Network network;
  network.add(BatchNormMap{0.5, 0.2, 0.1});
  const Propagation result = network.run(0.3, 6)[0];
  EXPECT_DOUBLE_EQ(result.second_moment, 0.5 * 0.3 / 0.4 + 0.2);
  EXPECT_DOUBLE_EQ(result.input_gradient, 6 * 0.5 / 0.4);
}

// Yang et al. (2019): in a plain network of BatchNorm and ReLU the gradient grows by pi / (pi - 1) a layer, in the
// limit of large batches, whatever the weights' scale.
TEST(Propagate, BatchNormAndReluExplodeTheGradient) {
  const double weight = 0.037;
  Network network;
  constexpr int kDepth = 20;
  for (int layer = 0; layer < kDepth; ++layer) {
    network.add(LinearMap{64, 64, weight, 0});
    network.add(BatchNormMap{1, 0, 0});
    network.add(plain("relu"));
  }
  const auto result = network.run();
  for (std::size_t layer = 1; layer + 1 < kDepth; ++layer) {
    EXPECT_NEAR(result[3 * layer].input_gradient / result[3 * layer + 3].input_gradient, kPi / (kPi - 1), 1e-10);
    EXPECT_NEAR(result[3 * layer].second_moment, 64 * weight / 2, 1e-12);
  }
}

TEST(Propagate, BatchNormAndReluByBruteForce) {
  Random random(17);
  constexpr std::size_t kWidth = 160;
  constexpr std::size_t kBatch = 160;
  constexpr int kDepth = 4;
  constexpr double kWeight = 3.0 / kWidth;
  Network network;
  for (int layer = 0; layer < kDepth; ++layer) {
    network.add(LinearMap{kWidth, kWidth, kWeight, 0});
    network.add(BatchNormMap{1, 0, 0});
    network.add(plain("relu"));
  }
  const auto predicted = network.run();

  std::vector<double> gradients(kDepth);
  constexpr int kDraws = 4;
  for (int draw = 0; draw < kDraws; ++draw) {
    std::vector<Matrix> weights;
    std::vector<BatchNorm> norms(kDepth);
    std::vector<Matrix> slopes;
    Matrix x = random.normal(kBatch, kWidth, 1);
    for (int layer = 0; layer < kDepth; ++layer) {
      weights.push_back(random.normal(kWidth, kWidth, kWeight));
      const Matrix y = norms[layer](forward(x, weights.back()));
      slopes.push_back(map(y, step));
      x = map(y, relu);
    }
    Matrix gradient = random.normal(kBatch, kWidth, 1);
    for (int layer = kDepth; layer-- > 0;) {
      gradient = backward(norms[layer].backward(product(gradient, slopes[layer])), weights[layer]);
      gradients[layer] += second_moment(gradient) / kDraws;
    }
  }
  for (std::size_t layer = 0; layer < kDepth; ++layer) {
    // The projections that are left out are of the order of one over the batch, in each of the layers.
    EXPECT_NEAR(gradients[layer] / predicted[3 * layer].input_gradient, 1, 0.06) << layer;
  }
}

// What several layers without BatchNorm add to the means that the next BatchNorm takes away. The variance that is left
// is compared, and not its inverse, whose mean over the units is larger in a network of finite width.
TEST(Propagate, BatchNormAfterSeveralActivationsByBruteForce) {
  Random random(19);
  constexpr std::size_t kWidth = 200;
  constexpr std::size_t kBatch = 160;
  constexpr double kWeight = 2.0 / kWidth;
  constexpr int kDepth = 4;
  Network network;
  for (int layer = 0; layer < kDepth; ++layer) {
    if (layer > 0) network.add(plain("relu"));
    network.add(LinearMap{kWidth, kWidth, kWeight, 0});
  }
  const std::size_t norm = network.add(BatchNormMap{1, 0, 0});
  const double predicted = 1 / network.run(0.5)[norm].input_gradient;
  EXPECT_LT(predicted, 0.5);

  double measured = 0;
  constexpr int kDraws = 16;
  for (int draw = 0; draw < kDraws; ++draw) {
    Matrix x = random.normal(kBatch, kWidth, 0.5);
    for (int layer = 0; layer < kDepth; ++layer) {
      if (layer > 0) x = map(x, relu);
      x = forward(x, random.normal(kWidth, kWidth, kWeight));
    }
    double common = 0;
    for (std::size_t j = 0; j < kWidth; ++j) {
      double mean = 0;
      for (std::size_t b = 0; b < kBatch; ++b) mean += x(b, j) / kBatch;
      common += square(mean) / kWidth;
    }
    measured += (second_moment(x) - common) / kDraws;
  }
  EXPECT_NEAR(measured / predicted, 1, 0.04);
}

// E[relu(x) relu(x')] for a correlation r is (sqrt(1 - r^2) + r (pi - acos r)) / (2 pi) (Cho and Saul 2009).
TEST(Propagate, BatchNormAfterReluOfCommonMeansIsTheArcCosineKernel) {
  for (const double r : {0.0, 1e-6, 0.2, 0.5, 0.9, 0.999}) {
    Network network;
    network.add(BatchNormMap{1 - r, r, 0});
    network.add(plain("relu"));
    network.add(BatchNormMap{1, 0, 0});
    const double common = (std::sqrt(1 - r * r) + r * (kPi - std::acos(r))) / (2 * kPi);
    EXPECT_NEAR(network.run()[2].input_gradient * (0.5 - common), 1, 1e-6) << r;
  }
  // A normalized ReLU is an affine map of it, whose offset is common to all samples.
  Network network;
  network.add(BatchNormMap{0.6, 0.4, 0});
  network.add(normalized("relu", make_options(Solution::exact)));
  network.add(BatchNormMap{1, 0, 0});
  const double common = (std::sqrt(1 - 0.16) + 0.4 * (kPi - std::acos(0.4))) / (2 * kPi);
  EXPECT_NEAR(network.run()[2].input_gradient * 2 * (0.5 - common), 1, 1e-6);
}

TEST(Propagate, BatchNormTakesAwayABias) {
  Network network;
  network.add(LinearMap{10, 10, 0.1, 5});
  network.add(BatchNormMap{1, 0, 0});
  EXPECT_DOUBLE_EQ(network.run(2, 3)[1].input_gradient, 1.5);
}

TEST(Propagate, AMeasuredGainPassesTheCommonPartOn) {
  Network network;
  network.add(plain("relu"));
  network.add(MeasuredMap{3, 1});
  network.add(BatchNormMap{1, 0, 0});
  EXPECT_NEAR(network.run()[2].input_gradient, 1 / (1.5 * (1 - 1 / kPi)), 1e-12);
}

// Pre-activation blocks x + W relu(BN(x)): the gradient grows like a power of the depth.
TEST(Propagate, BatchNormInResidualBranchesByBruteForce) {
  Random random(23);
  constexpr std::size_t kWidth = 160;
  constexpr std::size_t kBatch = 160;
  constexpr int kDepth = 6;
  constexpr double kWeight = 2.0 / kWidth;
  const auto build = [&](int depth) {
    Network network;
    network.add(Sum{});
    for (int block = 0; block < depth; ++block) {
      const std::size_t shortcut = network.last();
      network.add(BatchNormMap{1, 0, 0});
      network.add(plain("relu"));
      const std::size_t branch = network.add(LinearMap{kWidth, kWidth, kWeight, 0});
      network.add(Sum{}, {shortcut, branch});
    }
    return network;
  };
  const auto predicted = build(kDepth).run();
  double expected = 1;
  for (int block = 0; block < kDepth; ++block) {
    EXPECT_NEAR(predicted[4 * block].second_moment, 1 + block, 1e-12);
    expected *= 1 + 1 / (1 + block * (1 - 1 / kPi));
  }
  EXPECT_NEAR(predicted[0].gradient, expected, 1e-11 * expected);
  // Twice the depth, 2^(pi / (pi - 1)) times the gradient.
  const double growth = build(400).run()[0].gradient / build(200).run()[0].gradient;
  EXPECT_NEAR(std::log2(growth), kPi / (kPi - 1), 0.02);

  double moment = 0;
  double measured = 0;
  constexpr int kDraws = 6;
  for (int draw = 0; draw < kDraws; ++draw) {
    std::vector<Matrix> weights;
    std::vector<BatchNorm> norms(kDepth);
    std::vector<Matrix> slopes;
    Matrix x = random.normal(kBatch, kWidth, 1);
    for (int block = 0; block < kDepth; ++block) {
      weights.push_back(random.normal(kWidth, kWidth, kWeight));
      const Matrix y = norms[block](x);
      slopes.push_back(map(y, step));
      x = sum(x, forward(map(y, relu), weights.back()));
    }
    moment += second_moment(x) / kDraws;
    Matrix gradient = random.normal(kBatch, kWidth, 1);
    for (int block = kDepth; block-- > 0;) {
      gradient = sum(gradient, norms[block].backward(product(backward(gradient, weights[block]), slopes[block])));
    }
    measured += second_moment(gradient) / kDraws;
  }
  EXPECT_NEAR(moment / predicted.back().second_moment, 1, 0.04);
  EXPECT_NEAR(measured / predicted[0].gradient, 1, 0.08);
}

// --- Bad input ------------------------------------------------------------------------------------------------------

TEST(Propagate, OfNothingIsNothing) {
  Network network;
  network.add(LinearMap{4, 4, 0.5, 0});
  network.add(plain("gelu"));
  network.add(normalized("softplus", make_options(Solution::forward, Target::input, Gain::output)));
  network.add(BatchNormMap{});
  const auto result = network.run(0, 0);
  for (const Propagation& node : result) EXPECT_EQ(node.gradient, 0);
  EXPECT_EQ(result[1].second_moment, 0);
  EXPECT_EQ(result.back().second_moment, 0);
}

TEST(Propagate, RefusesBadInput) {
  const auto message = [](const std::vector<PropagationNode>& network, double second_moment = 1, double gradient = 1) {
    return message_of([&] { (void)propagate(network, second_moment, gradient); });
  };
  const auto one = [](const PropagationNode::Map& map) {
    return std::vector<PropagationNode>{{{kNetworkInput}, Sum{}}, {{0}, map}};
  };
  EXPECT_EQ(message({}), "the network has no nodes; expected at least one");
  EXPECT_EQ(message({{{}, LinearMap{}}}), "node 0 has 0 inputs; expected one");
  EXPECT_EQ(message({{{}, Sum{}}}), "node 0 has 0 inputs; expected at least one");
  EXPECT_EQ(message({{{kNetworkInput, kNetworkInput}, MeasuredMap{}}}), "node 0 has 2 inputs; expected one");
  EXPECT_EQ(message({{{0}, Sum{}}}), "node 0: its input is node 0; expected one that comes before it");
  EXPECT_EQ(message({{{kNetworkInput}, Sum{}}, {{0, 7}, Sum{}}}),
            "node 1: its input is node 7; expected one that comes before it");
  EXPECT_EQ(message(one(LinearMap{-1, 1, 1, 0})),
            "node 1: the taps_in is -1.000000; expected a finite number that is not negative");
  for (const double bad : {-1.0, kNaN, kInfinity}) {
    EXPECT_NE(message(one(Sum{}), bad).find("network input: the second moment"), std::string::npos);
    EXPECT_NE(message(one(Sum{}), 1, bad).find("network output: the gradient"), std::string::npos);
    for (const auto& [map, what] :
         std::vector<std::pair<PropagationNode::Map, std::string>>{{LinearMap{bad, 1, 1, 0}, "taps_in"},
                                                                   {LinearMap{1, bad, 1, 0}, "taps_out"},
                                                                   {LinearMap{1, 1, bad, 0}, "weight_second_moment"},
                                                                   {LinearMap{1, 1, 1, bad}, "bias_second_moment"},
                                                                   {MeasuredMap{bad, 1}, "forward factor"},
                                                                   {MeasuredMap{1, bad}, "backward factor"},
                                                                   {BatchNormMap{bad, 0, 0}, "scale_second_moment"},
                                                                   {BatchNormMap{1, bad, 0}, "shift_second_moment"},
                                                                   {BatchNormMap{1, 0, bad}, "eps"}}) {
      const std::string text = message(one(map));
      EXPECT_NE(text.find("node 1: the " + what), std::string::npos) << text;
    }
  }
  EXPECT_NE(message(one(normalized("relu", {}, kNaN))).find("node 1: alpha is nan"), std::string::npos);
  EXPECT_NE(message(one(normalized("relu", {.lambda_min = 2, .lambda_max = 1}))).find("node 1: lambda bounds"),
            std::string::npos);
  EXPECT_NE(message(one(BatchNormMap{1, 0, 0}), 0).find("node 1: the second moment"), std::string::npos);
  // What overflows on the way.
  const std::vector<PropagationNode> explosion{{{kNetworkInput}, MeasuredMap{1e200, 1e200}},
                                               {{0}, MeasuredMap{1e200, 1}}};
  EXPECT_NE(message(explosion).find("node 1: the second moment is inf"), std::string::npos);
  EXPECT_NE(message({{{kNetworkInput}, MeasuredMap{1, 1e200}}, {{0}, MeasuredMap{1, 1e200}}}).find("node 0: the grad"),
            std::string::npos);
  for (const double bad : {0.0, -1.0, kNaN, kInfinity}) {
    EXPECT_THROW((void)layer_growth(1, 1, 1, plain("relu"), bad), std::invalid_argument);
  }
}

// --- The depth view: docs/math.md, section 10 -----------------------------------------------------------------------

// E[g(x)] under N(0, v), by a rule of its own: panels of half a standard deviation that also end at 0.
template <typename Function>
double expectation(const Function& g, double v) {
  double total = 0;
  for (int panel = -20; panel < 20; ++panel) {
    total += boost::math::quadrature::gauss_kronrod<double, 61>::integrate(
        [&](double z) { return std::exp(-0.5 * z * z) / std::sqrt(2 * kPi) * g(std::sqrt(v) * z); }, 0.5 * panel,
        0.5 * panel + 0.5, 0);
  }
  return total;
}

constexpr std::array<double, 4> kSecondMoments{0.01, 0.1, 1, 10};

struct Sensitivity {
  std::string activation;
  std::array<double, 4> uncentred;
  std::array<double, 4> centred;
};

// d log E[y^2] / d log v: the table of docs/math.md.
const std::vector<Sensitivity> kSensitivities{
    {"relu", {1, 1, 1, 1}, {1, 1, 1, 1}},
    {"leaky_relu", {1, 1, 1, 1}, {1, 1, 1, 1}},
    {"elu", {0.965, 0.918, 0.891, 0.951}, {0.965, 0.913, 0.860, 0.889}},
    {"selu", {0.947, 0.865, 0.783, 0.878}, {0.950, 0.874, 0.783, 0.816}},
    {"silu", {1.007, 1.060, 1.173, 1.057}, {1.005, 1.040, 1.101, 1.000}},
    {"gelu", {1.018, 1.120, 1.144, 1.015}, {1.012, 1.079, 1.062, 0.983}},
    {"mish", {1.007, 1.047, 1.076, 1.011}, {1.004, 1.025, 1.001, 0.956}},
    {"softplus", {0.009, 0.082, 0.492, 0.936}, {1.001, 1.011, 1.056, 1.053}},
    {"tanh", {0.981, 0.850, 0.461, 0.149}, {0.981, 0.850, 0.461, 0.149}},
};

// By E[x h'(x)] = v E[h''(x)] = 2 v dE[h]/dv, the sensitivity is E[x (f - c) f'] / E[(f - c)^2].
TEST(Sensitivity, IsTheDocumentedTable) {
  for (const Sensitivity& row : kSensitivities) {
    const Activation f = parse_activation(row.activation);
    for (std::size_t i = 0; i < kSecondMoments.size(); ++i) {
      const double v = kSecondMoments[i];
      for (const bool centred : {false, true}) {
        const double c = centred ? expectation([&](double x) { return f.value(x); }, v) : 0;
        const double sensitivity = expectation([&](double x) { return x * (f.value(x) - c) * f.derivative(x); }, v) /
                                   expectation([&](double x) { return square(f.value(x) - c); }, v);
        EXPECT_NEAR(sensitivity, centred ? row.centred[i] : row.uncentred[i], 6e-4) << row.activation << ' ' << v;
      }
    }
  }
}

// One factor for the whole batch: a sample whose second moment is a little off is off by kappa as much after the layer.
TEST(Sensitivity, IsHowASampleLeavesTheBatch) {
  constexpr double kStep = 1e-4;
  for (const Sensitivity& row : kSensitivities) {
    const Activation f = parse_activation(row.activation);
    for (std::size_t i = 0; i < kSecondMoments.size(); ++i) {
      const double v = kSecondMoments[i];
      const Factors affine = factors(gaussian_statistics(f, 0, std::sqrt(v)), 0,
                                     make_options(Solution::forward, Target::unit, Gain::output));
      const auto emitted = [&](double log_step) {
        const Statistics sample = gaussian_statistics(f, 0, std::sqrt(v * std::exp(log_step)));
        return square(affine.scale) * sample.output_square + 2 * affine.scale * affine.offset * sample.output_mean +
               square(affine.offset);
      };
      EXPECT_NEAR(std::log(emitted(kStep) / emitted(-kStep)) / (2 * kStep), row.centred[i], 6e-4) << row.activation;
    }
  }
}

// docs/math.md, section 10: kappa of `exact` with the shift of either sign, at v = 1 and target `unit`.
TEST(Sensitivity, OfExactDependsOnTheSignOfTheShift) {
  struct Row {
    const char* activation;
    double sign_of_mean;
    double opposite;
  };
  for (const Row& row :
       {Row{"relu", 1.000, 0.363}, Row{"silu", 1.147, 0.670}, Row{"gelu", 1.113, 0.497}, Row{"mish", 1.056, 0.592},
        Row{"elu", 0.884, 0.711}, Row{"selu", 0.775, 0.686}, Row{"tanh", 0.391, 0.391}}) {
    const Activation f = parse_activation(row.activation);
    const Factors affine = factors(gaussian_statistics(f), 0, make_options(Solution::exact, Target::unit));
    const double mean = expectation([&](double x) { return f.value(x); }, 1);
    const double opposite = -affine.offset / affine.scale;
    for (const bool as_it_is : {true, false}) {
      const double c = as_it_is ? opposite : 2 * mean - opposite;
      const double sensitivity = expectation([&](double x) { return x * (f.value(x) - c) * f.derivative(x); }, 1) /
                                 expectation([&](double x) { return square(f.value(x) - c); }, 1);
      EXPECT_NEAR(sensitivity, as_it_is ? row.opposite : row.sign_of_mean, 6e-4) << row.activation;
    }
  }
}

// A chain of ANActs of relu: by how much larger the deviation of log E[y^2] behind the last one is than that of the
// first one's input, which is off upwards and downwards in turn.
double alternating_amplitude(int layers, double momentum, StatisticsSource source, Target target = Target::unit) {
  constexpr double kAmplitude = 1e-6;
  constexpr int kBatches = 6000;
  const NormalizationOptions options = make_options(Solution::forward, target, Gain::activation, false);
  std::vector<Statistics> running(layers, Statistics{0, 0.5, 1, 0.5});
  double largest = 0;
  for (int batch = 0; batch < kBatches; ++batch) {
    double deviation = batch % 2 == 0 ? kAmplitude : -kAmplitude;
    for (Statistics& stored : running) {
      const double v = std::exp(deviation);
      const Statistics now{0, v / 2, v, 0.5};
      const Statistics updated = blend(stored, now, momentum);
      const double scale = lambda(source == StatisticsSource::previous  ? stored
                                  : source == StatisticsSource::running ? updated
                                                                        : now,
                                  options);
      deviation = std::log(square(scale) * now.output_square);
      stored = updated;
    }
    if (batch >= kBatches - 10) largest = std::max(largest, std::abs(deviation));
  }
  return largest / kAmplitude;
}

TEST(Lag, OfTheStatisticsAmplifiesWhatAlternates) {
  for (const auto& [layers, momentum] : {std::pair{1, 0.1}, {20, 0.1}, {100, 0.1}, {20, 0.3}}) {
    const double previous = std::pow(2 / (2 - momentum), layers);
    EXPECT_NEAR(alternating_amplitude(layers, momentum, StatisticsSource::previous) / previous, 1, 0.01) << layers;
    const double running = std::pow(2 * (1 - momentum) / (2 - momentum), layers);
    EXPECT_NEAR(alternating_amplitude(layers, momentum, StatisticsSource::running) / running, 1, 0.01) << layers;
    EXPECT_NEAR(alternating_amplitude(layers, momentum, StatisticsSource::batch), 0, 1e-8) << layers;
    EXPECT_NEAR(alternating_amplitude(layers, momentum, StatisticsSource::previous, Target::input), 1, 1e-6) << layers;
  }
}

TEST(PropagateAnew, IsPropagateForNumbersThatAreFinite) {
  Network network;
  network.add(LinearMap{8, 4, 0.25, 0.1});
  network.add(plain("silu"));
  network.add(Sum{}, {0, 1});
  network.add(BatchNormMap{2, 0.5, 1e-5});
  network.measured_input(100);
  const auto expected = network.run(3, 2), found = network.run_anew(3, 2);
  for (std::size_t i = 0; i < found.size(); ++i) {
    EXPECT_EQ(found[i].second_moment, expected[i].second_moment);
    EXPECT_EQ(found[i].gradient, expected[i].gradient);
    EXPECT_EQ(found[i].input_gradient, expected[i].input_gradient);
  }
}

TEST(PropagateAnew, LeavesOutOnlyWhatFollowsFromWhatIsNotFinite) {
  for (const double bad : {kNaN, kInfinity, -1.0}) {
    Network network;
    const auto good = network.add(MeasuredMap{4, 0}, {kNetworkInput});
    const auto source = network.add(MeasuredMap{bad, 0}, {kNetworkInput});
    const auto sum = network.add(Sum{}, {good, source});
    const auto lost = network.add(LinearMap{2, 2, 1, 0}, {sum});
    const auto anew = network.add(LinearMap{2, 3, 1, 1}, {lost});
    network.measured_input(5);
    const auto beside = network.add(LinearMap{2, 2, 1, 0}, {good});
    const auto last = network.add(Sum{}, {anew, beside});
    const auto result = network.run_anew(1, 7);
    for (const auto node : {source, sum, lost}) EXPECT_TRUE(std::isnan(result[node].second_moment)) << node;
    EXPECT_EQ(result[anew].second_moment, 11);
    EXPECT_EQ(result[beside].second_moment, 8);
    EXPECT_EQ(result[last].second_moment, 19);
    EXPECT_EQ(result[lost].gradient, 21);
    EXPECT_TRUE(std::isnan(result[sum].gradient));  // by a linear map of which nothing is known
    EXPECT_THROW((void)network.run(1, 7), std::invalid_argument);
  }
}

TEST(PropagateAnew, RefusesWhatIsNoNetwork) {
  EXPECT_THROW((void)propagate_anew({}, 1, 1), std::invalid_argument);
  Network network;
  network.add(MeasuredMap{}, {3});
  EXPECT_THROW((void)network.run_anew(), std::invalid_argument);
}

}  // namespace
}  // namespace anact
