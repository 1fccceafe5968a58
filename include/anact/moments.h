// The statistics that one pass over an activation's input gathers, and how parts of them are merged.
#pragma once

#include <cstdint>

namespace anact {

// The sums of f over a set of inputs x, in double precision. The input is kept as (count, mean, M2), so that its
// variance survives a mean that is large beside the standard deviation; the outputs are kept as raw sums.
struct Moments {
  double count = 0;              // number of elements
  double input_mean = 0;         // E[x]
  double input_m2 = 0;           // sum of (x - E[x])^2
  double output_sum = 0;         // sum of f(x)
  double output_square_sum = 0;  // sum of f(x)^2
  double slope_square_sum = 0;   // sum of f'(x)^2

  // Adds one element.
  void add(double x, double fx, double dfx);

  // Adds the elements of `other`: Chan, Golub and LeVeque (1979) for the input, plain addition for the rest.
  // Merging in a fixed order gives the same bits every time.
  void merge(const Moments& other);
};

// Means over the elements, as the module's buffers hold them.
struct Statistics {
  double output_mean = 0;     // mu  = E[f(x)]
  double output_square = 1;   // s   = E[f(x)^2]
  double input_variance = 1;  // v   = Var(x), the population variance (divided by n)
  double backward_gain = 1;   // rho' = E[f'(x)^2]

  [[nodiscard]] bool is_finite() const;

  friend bool operator==(const Statistics&, const Statistics&) = default;
};

// Statistics of at least one element. All NaN when `moments.count` is 0.
[[nodiscard]] Statistics to_statistics(const Moments& moments);

// Whether `batch` may enter `running`: it is finite and, when a gate [low, high] is set (low < high; both 0 for no
// gate), batch rho / running rho and batch rho' / running rho' lie in it, with rho = s / v. Equal gains have ratio 1,
// also where both are 0.
[[nodiscard]] bool accepts(const Statistics& running, const Statistics& batch, double gate_low, double gate_high);

// The weight of a new batch after `batches_tracked` earlier ones: max(momentum, 1 / (batches_tracked + 1)). The first
// batch replaces the values from quadrature; later ones average, until the weight falls to `momentum`.
[[nodiscard]] double batch_weight(std::int64_t batches_tracked, double momentum);

// running + weight * (batch - running), member by member; exactly `batch` for weight 1.
[[nodiscard]] Statistics blend(const Statistics& running, const Statistics& batch, double weight);

}  // namespace anact
