// CUDA compiles this file too.

#include "anact/moments.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace anact {
namespace {

constexpr double kLargest = std::numeric_limits<float>::max();
constexpr double kSmallest = std::numeric_limits<float>::min();

bool is_normal(double positive) { return kSmallest <= positive && positive <= kLargest; }

bool is_inside_gate(double running, double batch, double low, double high) {
  const double change = batch / running;
  return low <= change && change <= high;
}

bool is_unlike(double running, double batch) { return batch > kUnlike * running || kUnlike * batch < running; }

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
  if (!(std::abs(batch.output_mean) <= kLargest) || !is_normal(batch.output_square) ||
      !is_normal(batch.input_variance) || !is_normal(batch.backward_gain)) {
    return false;
  }
  if (gate_low == 0 && gate_high == 0) return true;
  return is_inside_gate(running.output_square / running.input_variance, batch.output_square / batch.input_variance,
                        gate_low, gate_high) &&
         is_inside_gate(running.backward_gain, batch.backward_gain, gate_low, gate_high);
}

bool replaces(const Statistics& running, const Statistics& batch, std::int64_t batches_tracked) {
  if (batches_tracked == 0) return true;
  return batches_tracked < kStartBatches && (is_unlike(running.output_square, batch.output_square) ||
                                             is_unlike(running.input_variance, batch.input_variance) ||
                                             is_unlike(running.backward_gain, batch.backward_gain));
}

double batch_weight(const Statistics& running, const Statistics& batch, std::int64_t batches_tracked, double momentum) {
  if (replaces(running, batch, batches_tracked)) return 1;
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
