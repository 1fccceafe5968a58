#include "anact/gaussian.h"

#include <algorithm>
#include <boost/math/quadrature/gauss_kronrod.hpp>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

namespace anact {
namespace {

using Rule = boost::math::quadrature::gauss_kronrod<double, 31>;

// The normal density underflows beyond this many standard deviations.
constexpr double kReach = 38.6;
constexpr double kTolerance = 1e-13;
// Far more than any finite integrand here takes; it bounds the work where rounding keeps the tolerance out of reach.
constexpr std::size_t kMaxPanels = 2000;

constexpr double kInvSqrt2Pi = 0.39894228040143267793994605993438;

struct Panel {
  double begin = 0;
  double end = 0;
  double integral = 0;
  double absolute = 0;  // of |integrand|
  double error = 0;
};

template <typename Integrand>
Panel integrate_panel(const Integrand& integrand, double begin, double end) {
  const double half = 0.5 * (end - begin);
  const double middle = 0.5 * (begin + end);
  Panel panel{begin, end, 0, 0, 0};
  // On [-1, 1] and at depth 0, because Boost's releases differ in whether the error it returns is scaled by the width,
  // and because only the sum over all panels says which panel is worth halving.
  panel.integral = half * Rule::integrate([&](double t) { return integrand(middle + half * t); }, -1.0, 1.0, 0,
                                          kTolerance, &panel.error, &panel.absolute);
  panel.error *= half;
  panel.absolute *= half;
  return panel;
}

// The integral over [breaks.front(), breaks.back()], by halving the panel of the largest error estimate.
template <typename Integrand>
double integrate(const Integrand& integrand, const std::vector<double>& breaks) {
  const auto by_error = [](const Panel& a, const Panel& b) { return a.error < b.error; };
  std::vector<Panel> panels;
  for (std::size_t i = 0; i + 1 < breaks.size(); ++i) {
    panels.push_back(integrate_panel(integrand, breaks[i], breaks[i + 1]));
  }
  std::ranges::make_heap(panels, by_error);
  for (;;) {
    double integral = 0;
    double absolute = 0;
    double error = 0;
    for (const Panel& panel : panels) {
      integral += panel.integral;
      absolute += panel.absolute;
      error += panel.error;
    }
    if (!(error > kTolerance * absolute) || panels.size() >= kMaxPanels) {
      // What is left of parts that cancel, as those of an odd function, is rounding.
      return std::abs(integral) <= std::numeric_limits<double>::epsilon() * absolute ? 0 : integral;
    }
    std::ranges::pop_heap(panels, by_error);
    const Panel worst = panels.back();
    const double middle = 0.5 * (worst.begin + worst.end);
    panels.back() = integrate_panel(integrand, worst.begin, middle);
    std::ranges::push_heap(panels, by_error);
    panels.push_back(integrate_panel(integrand, middle, worst.end));
    std::ranges::push_heap(panels, by_error);
  }
}

// The width of x over which f bends.
double bend_width(const Activation& activation) {
  switch (activation.kind) {
    case ActivationKind::softplus:
      return 1 / std::abs(activation.parameters[0]);
    case ActivationKind::celu:
      return std::abs(activation.parameters[0]);
    default:
      return 1;
  }
}

// Ends of panels in z = (x - mean) / standard_deviation: the kinks; every standard deviation, for the density; and x =
// 0 with geometrically growing distances from it, for the bend of f, which a large standard deviation makes narrow in
// z.
std::vector<double> panel_ends(const Activation& activation, double mean, double standard_deviation) {
  std::vector<double> ends;
  const auto add = [&](double z) {
    if (std::abs(z) < kReach) ends.push_back(z);
  };
  for (double z = 0; z < kReach; ++z) {
    add(z);
    add(-z);
  }
  const auto add_x = [&](double x) { add((x - mean) / standard_deviation); };
  add_x(0);
  const double farthest = std::abs(mean) + kReach * standard_deviation;
  for (double x = bend_width(activation); x < farthest; x *= 2) {
    add_x(x);
    add_x(-x);
  }
  const std::vector<double> kinks = activation.kinks();
  std::ranges::for_each(kinks, add_x);
  ends.push_back(-kReach);
  ends.push_back(kReach);
  std::ranges::sort(ends);
  const auto duplicates = std::ranges::unique(ends);
  ends.erase(duplicates.begin(), duplicates.end());
  return ends;
}

}  // namespace

Statistics gaussian_statistics(const Activation& activation, double mean, double standard_deviation) {
  if (!std::isfinite(mean)) throw std::invalid_argument("the mean of a normal distribution must be finite");
  if (!(standard_deviation > 0 && std::isfinite(standard_deviation))) {
    throw std::invalid_argument("the standard deviation of a normal distribution must be positive and finite, not " +
                                std::to_string(standard_deviation));
  }
  const std::vector<double> ends = panel_ends(activation, mean, standard_deviation);
  const auto expectation = [&](const auto& g) {
    return integrate(
        [&](double z) {
          const double density = kInvSqrt2Pi * std::exp(-0.5 * z * z);
          return density * g(mean + standard_deviation * z);
        },
        ends);
  };
  const auto square = [](double y) { return y * y; };
  return {expectation([&](double x) { return activation.value(x); }),
          expectation([&](double x) { return square(activation.value(x)); }), standard_deviation * standard_deviation,
          expectation([&](double x) { return square(activation.derivative(x)); })};
}

}  // namespace anact
