// The dispatcher's operators. In Python they are torch.ops.anact.*.
//
//   anact::forward              y, the batch's moments, and the factors that made y
//   anact::backward             the gradients of the input and of alpha
//   anact::evaluate             y in evaluation, which whoever traces it sees as plain operators of ATen
//   anact::update_statistics_   takes a batch's moments into the running statistics, in place
//
// forward changes nothing: a step calls update_statistics_ after it. That separation keeps gradients right under graph
// capture, where a buffer saved for backward and updated later would be read in its updated state.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/ArrayRef.h>

#include <optional>
#include <string_view>
#include <tuple>

#include "anact/activation.h"
#include "anact/custom.h"
#include "anact/moments.h"
#include "anact/normalization.h"
#include "anact/options.h"

namespace anact::ops {

// The running statistics: five 0-dimensional tensors on the input's device. The first four are float32 or float64, of
// one type; the last is int64.
struct RunningStatistics {
  at::Tensor output_mean;
  at::Tensor output_square;
  at::Tensor input_variance;
  at::Tensor backward_gain;
  at::Tensor num_batches_tracked;
};

// Layout of the 1-dimensional float64 tensor `moments`; the members of anact::Moments in order.
inline constexpr std::int64_t kMomentsSize = 6;
// Layout of the 1-dimensional float64 tensor `factors`; the members of anact::Factors in order.
inline constexpr std::int64_t kFactorsSize = 4;

// y = scale * f(input) + offset.
//
// input: any shape, strides and floating type; alpha: floating, a scalar or of shape [1].
// Returns (output, moments, factors): output has the input's shape and type, and its strides when the input is dense
// and does not overlap (contiguous, channels_last, …), contiguous otherwise. moments has kMomentsSize elements in
// training and none in evaluation; an empty input has moments of 0.
//
// In evaluation (training false), for `previous` and for `fixed` the factors come from `running` as it is. For
// `running` and `batch` they come from this batch, with it taken in or alone, and so they do for `previous` while
// `running` has tracked no batch; a batch that accepts() refuses leaves `running` in force. `known_factors`, when
// given, are used as they are. A training pass that runs within a backward pass is one that runs again (activation
// checkpointing): it uses the factors of the first one. The gradient takes the factors for constants, except for alpha.
// Double backward works through the plain version.
std::tuple<at::Tensor, at::Tensor, at::Tensor> forward(const at::Tensor& input, const at::Tensor& alpha,
                                                       const RunningStatistics& running, const Activation& activation,
                                                       const Options& options, bool training,
                                                       const std::optional<at::Tensor>& known_factors = std::nullopt);

// The same for an activation of the user's own, in plain ATen; no operator of the dispatcher.
std::tuple<at::Tensor, at::Tensor, at::Tensor> forward(const at::Tensor& input, const at::Tensor& alpha,
                                                       const RunningStatistics& running,
                                                       const CustomActivation& activation, const Options& options,
                                                       bool training,
                                                       const std::optional<at::Tensor>& known_factors = std::nullopt);

// The gradients of input and alpha: grad * scale * f'(input), and the sum of grad * scale_slope * (f(input) - centre).
std::tuple<at::Tensor, at::Tensor> backward(const at::Tensor& grad, const at::Tensor& input, const at::Tensor& alpha,
                                            const at::Tensor& factors, const Activation& activation);
std::tuple<at::Tensor, at::Tensor> backward(const at::Tensor& grad, const at::Tensor& input, const at::Tensor& alpha,
                                            const at::Tensor& factors, const CustomActivation& activation);

// The sums of f over `input`, of any shape and floating type; alone, without an output where a kernel can (on the CPU).
// The same bits for every number of threads.
[[nodiscard]] Moments moments_of(const at::Tensor& input, const Activation& activation = {});

// Takes `moments` into `running`, in place. A batch that accepts() refuses changes nothing but adds 1 to `num_skipped`
// (int64, 0-dimensional); an empty batch changes nothing at all, and neither does a call within a backward pass or one
// for `fixed`.
void update_statistics(const RunningStatistics& running, const at::Tensor& num_skipped, const at::Tensor& moments,
                       const Options& options);

}  // namespace anact::ops
