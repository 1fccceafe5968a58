#include "anact/propagation.h"

#include <algorithm>
#include <boost/math/quadrature/gauss_kronrod.hpp>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#include "anact/gaussian.h"

namespace anact {
namespace {

// What leaves a node.
struct Signal {
  double second_moment = 0;
  // The part of it that is the same for every sample of a batch, which BatchNorm takes away: the mean over the units of
  // the square of a unit's mean over the batch.
  double common = 0;
};

struct Step {
  Signal output;
  double backward = 1;  // E[gx^2] / E[gy^2]
};

void check(double value, const std::string& where, const char* what) {
  if (value >= 0 && std::isfinite(value)) return;
  throw std::invalid_argument(where + ": the " + what + " is " + std::to_string(value) +
                              "; expected a finite number that is not negative");
}

double square(double x) { return x * x; }

// The statistics of f under N(0, v), and of a constant 0 for v = 0.
Statistics normal_statistics(const Activation& activation, double v) {
  if (v > 0) return gaussian_statistics(activation, 0, std::sqrt(v));
  const double value = activation.value(0);
  return {value, square(value), 0, square(activation.derivative(0))};
}

// E[f(x) f(x')] for x and x' of N(0, v) with the covariance `common`: x = sqrt(common) u + sqrt(v - common) z with the
// same u in both.
double normal_product(const Activation& activation, const Statistics& statistics, const Signal& input) {
  const auto& [v, common] = input;
  if (common <= 0) return square(statistics.output_mean);
  if (common >= v) return statistics.output_square;
  const double deviation = std::sqrt(v - common);
  const auto integrand = [&](double u) {
    const double mean = gaussian_statistics(activation, std::sqrt(common) * u, deviation).output_mean;
    return std::exp(-0.5 * u * u) * square(mean);
  };
  using Rule = boost::math::quadrature::gauss_kronrod<double, 21>;
  constexpr double kReach = 8;  // the density is below 1e-14 beyond
  constexpr double kInvSqrt2Pi = 0.39894228040143267793994605993438;
  constexpr unsigned kDepth = 8;
  constexpr double kTolerance = 1e-7;
  return kInvSqrt2Pi * (Rule::integrate(integrand, -kReach, 0.0, kDepth, kTolerance) +
                        Rule::integrate(integrand, 0.0, kReach, kDepth, kTolerance));
}

// Whether the common part of each node's output is needed: where a BatchNorm comes after it and none between.
std::vector<bool> needs_common(std::span<const PropagationNode> network) {
  std::vector<bool> needed(network.size(), false);
  for (std::size_t i = network.size(); i-- > 0;) {
    if (!needed[i] && !std::holds_alternative<BatchNormMap>(network[i].map)) continue;
    for (const std::size_t input : network[i].inputs) {
      if (input != kNetworkInput) needed[input] = true;
    }
  }
  return needed;
}

// One node's map for the signal that enters it (the sum of all, for a Sum).
class Mapper {
 public:
  Mapper(const Signal& input, bool common_needed, const std::string& where)
      : input_(input), common_needed_(common_needed), where_(where) {}

  Step operator()(const LinearMap& map) const {
    check(map.taps_in, where_, "taps_in");
    check(map.taps_out, where_, "taps_out");
    check(map.weight_second_moment, where_, "weight_second_moment");
    check(map.bias_second_moment, where_, "bias_second_moment");
    const double forward = map.taps_in * map.weight_second_moment;
    return {{forward * input_.second_moment + map.bias_second_moment, forward * input_.common + map.bias_second_moment},
            map.taps_out * map.weight_second_moment};
  }

  Step operator()(const MeasuredMap& map) const {
    check(map.forward, where_, "forward factor");
    check(map.backward, where_, "backward factor");
    return {{map.forward * input_.second_moment, map.forward * input_.common}, map.backward};
  }

  Step operator()(const GaussianActivation& map) const {
    if (!std::isfinite(map.alpha)) {
      throw std::invalid_argument(where_ + ": alpha is " + std::to_string(map.alpha) + "; expected a finite number");
    }
    Factors affine;
    const Statistics statistics = normal_statistics(map.activation, input_.second_moment);
    if (map.normalization) {
      try {
        validate(*map.normalization);
      } catch (const std::invalid_argument& error) {
        throw std::invalid_argument(where_ + ": " + error.what());
      }
      affine = factors(statistics, map.alpha, *map.normalization);
    }
    const double scale = square(affine.scale);
    const double mean = statistics.output_mean;
    const double constant = square(affine.scale * mean + affine.offset);
    const auto emitted = [&](double product) { return scale * std::max(0.0, product - square(mean)) + constant; };
    return {{emitted(statistics.output_square),
             common_needed_ ? emitted(normal_product(map.activation, statistics, input_)) : 0},
            scale * statistics.backward_gain};
  }

  Step operator()(const BatchNormMap& map) const {
    check(map.scale_second_moment, where_, "scale_second_moment");
    check(map.shift_second_moment, where_, "shift_second_moment");
    check(map.eps, where_, "eps");
    const double variance = std::max(0.0, input_.second_moment - input_.common);
    const double scale = map.scale_second_moment / (variance + map.eps);
    return {{scale * variance + map.shift_second_moment, map.shift_second_moment}, scale};
  }

  Step operator()(const Sum&) const { return {input_, 1}; }

 private:
  const Signal& input_;
  bool common_needed_;
  const std::string& where_;
};

// What a network must be for either walk.
void check_inputs(std::span<const PropagationNode> network) {
  if (network.empty()) throw std::invalid_argument("the network has no nodes; expected at least one");
  for (std::size_t i = 0; i < network.size(); ++i) {
    const std::string where = "node " + std::to_string(i);
    const std::size_t count = network[i].inputs.size();
    const bool is_sum = std::holds_alternative<Sum>(network[i].map);
    if (count == 0 || (count > 1 && !is_sum)) {
      throw std::invalid_argument(where + " has " + std::to_string(count) + " inputs; expected " +
                                  (is_sum ? "at least one" : "one"));
    }
    for (const std::size_t input : network[i].inputs) {
      if (input != kNetworkInput && input >= i) {
        throw std::invalid_argument(where + ": its input is node " + std::to_string(input) +
                                    "; expected one that comes before it");
      }
    }
  }
}

bool usable(double value) { return value >= 0 && std::isfinite(value); }

// `take(node, entering)` is the node's step; `passed_back(node, gradient)` looks at what it passes back.
template <class Take, class PassedBack>
std::vector<Propagation> walk(std::span<const PropagationNode> network, double input_second_moment,
                              double output_gradient, Take take, PassedBack passed_back) {
  std::vector<Step> steps(network.size());
  for (std::size_t i = 0; i < network.size(); ++i) {
    Signal entering;
    for (const std::size_t input : network[i].inputs) {
      const Signal signal = input == kNetworkInput ? Signal{input_second_moment, 0} : steps[input].output;
      entering.second_moment += signal.second_moment;
      entering.common += signal.common;
    }
    steps[i] = take(i, entering);
  }

  std::vector<Propagation> result(network.size());
  result.back().gradient = output_gradient;
  for (std::size_t i = network.size(); i-- > 0;) {
    Propagation& node = result[i];
    node.second_moment = steps[i].output.second_moment;
    // Where no gradient comes, none goes, whatever the factor.
    node.input_gradient = node.gradient == 0 ? 0 : passed_back(i, steps[i].backward * node.gradient);
    for (const std::size_t input : network[i].inputs) {
      if (input != kNetworkInput) result[input].gradient += node.input_gradient;
    }
  }
  return result;
}

// The step of a node, of which every number is usable.
Step checked_step(const PropagationNode& node, std::size_t i, const Signal& entering, bool common_needed) {
  const std::string where = "node " + std::to_string(i);
  check(entering.second_moment, where, "second moment that enters");
  const Step step = std::visit(Mapper(entering, common_needed, where), node.map);
  check(step.output.second_moment, where, "second moment");
  check(step.backward, where, "backward factor");
  return step;
}

}  // namespace

std::vector<Propagation> propagate(std::span<const PropagationNode> network, double input_second_moment,
                                   double output_gradient) {
  check_inputs(network);
  check(input_second_moment, "network input", "second moment");
  check(output_gradient, "network output", "gradient");
  const std::vector<bool> common_needed = needs_common(network);
  return walk(
      network, input_second_moment, output_gradient,
      [&](std::size_t i, const Signal& entering) { return checked_step(network[i], i, entering, common_needed[i]); },
      [](std::size_t i, double gradient) {
        check(gradient, "node " + std::to_string(i), "gradient");
        return gradient;
      });
}

std::vector<Propagation> propagate_anew(std::span<const PropagationNode> network, double input_second_moment,
                                        double output_gradient) {
  check_inputs(network);
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  const auto or_none = [](double value) { return usable(value) ? value : kNone; };
  const std::vector<bool> common_needed = needs_common(network);
  return walk(
      network, or_none(input_second_moment), or_none(output_gradient),
      [&](std::size_t i, Signal entering) {
        if (!usable(entering.second_moment)) entering = {network[i].measured_input.value_or(kNone), 0};
        try {
          return checked_step(network[i], i, entering, common_needed[i]);
        } catch (const std::invalid_argument&) {
          const auto* measured = std::get_if<MeasuredMap>(&network[i].map);
          return Step{{kNone, kNone}, measured == nullptr ? kNone : or_none(measured->backward)};
        }
      },
      [&](std::size_t, double gradient) { return or_none(gradient); });
}

Growth layer_growth(double inputs, double outputs, double weight_second_moment, const GaussianActivation& activation,
                    double input_second_moment) {
  if (!(input_second_moment > 0)) {
    throw std::invalid_argument("the second moment of a layer's input is " + std::to_string(input_second_moment) +
                                "; expected a positive number");
  }
  const std::vector<PropagationNode> layer{{{kNetworkInput}, activation},
                                           {{0}, LinearMap{inputs, outputs, weight_second_moment, 0}}};
  const std::vector<Propagation> result = propagate(layer, input_second_moment, 1);
  return {result[1].second_moment / input_second_moment, result[0].input_gradient};
}

}  // namespace anact
