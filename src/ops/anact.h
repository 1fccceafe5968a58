// The dispatcher's operators. In Python they are torch.ops.anact.*.
//
//   anact::measure          a batch's moments
//   anact::factors          the map (scale, offset) of the statistics, the options and alpha
//   anact::apply            y = scale * f(x) + offset, and the moments in the same pass
//   anact::apply_backward   the gradients of the input and of the map
//   anact::update_          takes a batch's moments into the running statistics, in place
//   anact::step             a module's training step: those above, one after the other, as whoever traces it sees them
//   anact::evaluate         y in evaluation, which whoever traces it sees as plain operators of ATen, so that what is
//                           exported runs without this library
//
// None but update_, and with it step, changes anything. That separation keeps gradients right under graph capture,
// where a buffer saved for backward and updated later would be read in its updated state.
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
// Layout of the 1-dimensional float64 tensor `map`: scale, offset, and the centre that the offset holds times the
// scale, by which alpha moves the offset: d offset / d alpha = -centre * d scale / d alpha.
inline constexpr std::int64_t kMapSize = 3;

// The moments of an input of any shape, strides and floating type: kMomentsSize elements, without a gradient; of an
// empty one they are 0. The same bits for every number of threads. With `unless`, an int64 scalar, nothing is read and
// the moments are those of an empty input from kStartBatches on; but within a backward pass, where the moments tell
// which pass it is that runs again.
at::Tensor measure(const at::Tensor& input, const Activation& activation,
                   const std::optional<at::Tensor>& unless = std::nullopt);

// The map of one step: kMapSize elements, differentiable in alpha (floating, a scalar or of shape [1]); the statistics
// are constants to the gradient.
//
// Without `moments`, that is in evaluation and for statistics that are never updated, it is made from `running` as it
// is. With them, for `running` and `batch` it is made from this batch, with it taken in or alone, and for `previous`
// and for init_batch from a batch that replaces() what was before it; a batch that accepts() refuses, and moments of an
// empty input, leave `running` in force. Within a backward pass it is the map of the first pass with the same moments
// (see find_pass).
at::Tensor factors(const at::Tensor& alpha, const RunningStatistics& running, const std::optional<at::Tensor>& moments,
                   const Options& options);

// y = scale * f(input) + offset, differentiable in input and map; double backward works through the plain version.
// Returns (output, moments): output has the input's shape and type, and its strides when the input is dense and does
// not overlap (contiguous, channels_last, …), contiguous otherwise. moments are those of measure() if `measure`, and
// have no element otherwise.
std::tuple<at::Tensor, at::Tensor> apply(const at::Tensor& input, const at::Tensor& map, const Activation& activation,
                                         bool measure);

// (grad * scale * f'(input), [sum of grad * f(input), sum of grad, 0]).
std::tuple<at::Tensor, at::Tensor> apply_backward(const at::Tensor& grad, const at::Tensor& input,
                                                  const at::Tensor& map, const Activation& activation);

// Takes `moments` into `running`, in place. A batch that accepts() refuses changes nothing but adds 1 to `num_skipped`
// (int64, 0-dimensional); an empty batch changes nothing at all, and neither does a call within a backward pass or one
// for `fixed`. Where the step may run again, it keeps `map` for that, under the module's `alpha`.
void update(const RunningStatistics& running, const at::Tensor& num_skipped, const at::Tensor& moments,
            const at::Tensor& alpha, const at::Tensor& map, const Options& options);

// measure() as numbers. Waits for the device.
[[nodiscard]] Moments moments_of(const at::Tensor& input, const Activation& activation = {});

}  // namespace anact::ops
