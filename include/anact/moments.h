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

// Whether `batch` may enter `running`. Its v, s and rho' must be positive, for a constant input or a dead layer says
// nothing of gains, and all must be normal numbers of float32, as the buffers hold them. With a gate [low, high] (low <
// high; both 0 for no gate), batch rho / running rho and batch rho' / running rho' must lie in it, with rho = s / v.
[[nodiscard]] bool accepts(const Statistics& running, const Statistics& batch, double gate_low, double gate_high);

// What the running statistics and the sources `running` and `batch` go by.
struct UpdateOptions {
  double momentum = 0.01;  // weight of a new batch, in (0, 1]
  double gate_low = 0;     // 0, 0: no gate
  double gate_high = 0;
};

// How many batches are the start, in which a batch unlike those before it replaces them: v, s or rho' more than
// kUnlike times as large or as small. docs/choices.md has the evidence.
inline constexpr std::int64_t kStartBatches = 10;
inline constexpr double kUnlike = 4;

// Whether `batch` replaces `running`: it is the first, or unlike it while the start lasts.
[[nodiscard]] bool replaces(const Statistics& running, const Statistics& batch, std::int64_t batches_tracked);

// The weight of a new batch after `batches_tracked` earlier ones: 1 if it replaces them, max(momentum,
// 1 / (batches_tracked + 1)) otherwise: they average until the weight falls to `momentum`.
[[nodiscard]] double batch_weight(const Statistics& running, const Statistics& batch, std::int64_t batches_tracked,
                                  double momentum);

// running + weight * (batch - running), member by member; exactly `batch` for weight 1.
[[nodiscard]] Statistics blend(const Statistics& running, const Statistics& batch, double weight);

}  // namespace anact
