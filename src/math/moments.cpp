#include "anact/moments.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace anact {
namespace {

// numerator / denominator of two statistics that are not negative, with 0 / 0 = 0.
double ratio(double numerator, double denominator) { return numerator == 0 ? 0 : numerator / denominator; }

bool is_inside_gate(double running, double batch, double low, double high) {
  // Equal gains have ratio 1, also where both are 0 or both are infinite.
  const double change = batch == running ? 1 : batch / running;
  return low <= change && change <= high;
}

}  // namespace

void Moments::add(double x, double fx, double dfx) {
  count += 1;
  const double delta = x - input_mean;
  input_mean += delta / count;
  input_m2 += delta * (x - input_mean);
  output_sum += fx;
  output_square_sum += fx * fx;
  slope_square_sum += dfx * dfx;
}

void Moments::merge(const Moments& other) {
  if (other.count == 0) return;
  if (count == 0) {
    *this = other;
    return;
  }
  const double total = count + other.count;
  const double delta = other.input_mean - input_mean;
  const double fraction = other.count / total;
  input_mean += delta * fraction;
  input_m2 += other.input_m2 + delta * delta * (count * fraction);
  output_sum += other.output_sum;
  output_square_sum += other.output_square_sum;
  slope_square_sum += other.slope_square_sum;
  count = total;
}

bool Statistics::is_finite() const {
  return std::isfinite(output_mean) && std::isfinite(output_square) && std::isfinite(input_variance) &&
         std::isfinite(backward_gain);
}

Statistics to_statistics(const Moments& moments) {
  if (moments.count == 0) {
    constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
    return {kNaN, kNaN, kNaN, kNaN};
  }
  return {moments.output_sum / moments.count, moments.output_square_sum / moments.count,
          moments.input_m2 / moments.count, moments.slope_square_sum / moments.count};
}

bool accepts(const Statistics& running, const Statistics& batch, double gate_low, double gate_high) {
  if (!batch.is_finite()) return false;
  if (gate_low == 0 && gate_high == 0) return true;
  return is_inside_gate(ratio(running.output_square, running.input_variance),
                        ratio(batch.output_square, batch.input_variance), gate_low, gate_high) &&
         is_inside_gate(running.backward_gain, batch.backward_gain, gate_low, gate_high);
}

double batch_weight(std::int64_t batches_tracked, double momentum) {
  return std::max(momentum, 1 / (static_cast<double>(batches_tracked) + 1));
}

Statistics blend(const Statistics& running, const Statistics& batch, double weight) {
  // running + (batch - running) need not round to batch.
  if (weight == 1) return batch;
  const auto step = [weight](double from, double to) { return from + weight * (to - from); };
  return {step(running.output_mean, batch.output_mean), step(running.output_square, batch.output_square),
          step(running.input_variance, batch.input_variance), step(running.backward_gain, batch.backward_gain)};
}

}  // namespace anact
