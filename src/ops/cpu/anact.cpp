// The operators on the CPU: the fused kernels where there is one, the plain version elsewhere.

#include "ops/cpu/anact.h"

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <sys/mman.h>
#include <torch/library.h>
#include <unistd.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "kernels/kernels.h"
#include "math/step.h"
#include "ops/arguments.h"
#include "ops/fallback/anact.h"
#include "ops/passes.h"
#include "ops/tensors.h"

namespace anact::ops::cpu {
namespace {

// Blocks to a task: below 32 Ki elements a second thread costs more than it saves.
constexpr std::int64_t kGrain = 32768 / kernels::kBlockSize;

double read(const at::Tensor& scalar) {
  switch (scalar.scalar_type()) {
    case at::kFloat:
      return *scalar.const_data_ptr<float>();
    case at::kDouble:
      return *scalar.const_data_ptr<double>();
    case at::kLong:
      return static_cast<double>(*scalar.const_data_ptr<std::int64_t>());
    default:
      return scalar.item<double>();
  }
}

void write(const at::Tensor& scalar, double value) {
  if (scalar.scalar_type() == at::kDouble) {
    *scalar.mutable_data_ptr<double>() = value;
  } else {
    *scalar.mutable_data_ptr<float>() = static_cast<float>(value);
  }
}

Statistics read(const RunningStatistics& running) {
  return {.output_mean = read(running.output_mean),
          .output_square = read(running.output_square),
          .input_variance = read(running.input_variance),
          .backward_gain = read(running.backward_gain)};
}

constexpr std::int64_t kHugePage = std::int64_t{2} << 20;
// Outputs of at least this many bytes go past the caches, which could not hold them anyway.
constexpr std::int64_t kStreamingBytes = std::int64_t{32} << 20;

// Calls visit with a null pointer of the kernels' element type for `dtype`; false if they have none.
template <class Visit>
bool visit_type(at::ScalarType dtype, Visit visit) {
  switch (dtype) {
    case at::kFloat:
      visit(static_cast<float*>(nullptr));
      return true;
    case at::kDouble:
      visit(static_cast<double*>(nullptr));
      return true;
    case at::kBFloat16:
      visit(static_cast<kernels::BFloat16*>(nullptr));
      return true;
    case at::kHalf:
      visit(static_cast<kernels::Float16*>(nullptr));
      return true;
    default:
      return false;
  }
}

// Readies the memory of an output, and says whether to store past the caches.
//
// Fresh memory, which glibc's malloc takes anew for every big tensor, costs more in page faults than the pass itself:
// it is asked for in huge pages. The kernel clears a page when it is first touched, so that it is in the cache already,
// and storing past the cache would be slower.
bool prepare(const at::Tensor& output) {
  if (static_cast<std::int64_t>(output.nbytes()) < kHugePage) return false;
  const auto begin = reinterpret_cast<std::uintptr_t>(output.const_data_ptr());
  const auto end = begin + output.nbytes();
  const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  unsigned char resident = 0;
  if (mincore(reinterpret_cast<void*>((begin + end) / 2 / page * page), 1, &resident) == 0 && (resident & 1) == 0) {
    const auto first = (begin + kHugePage - 1) / kHugePage * kHugePage;
    const auto last = end / kHugePage * kHugePage;
    // A kernel without huge pages refuses, which is no harm.
    if (first < last) (void)madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
    return false;
  }
  return static_cast<std::int64_t>(output.nbytes()) >= kStreamingBytes;
}

// Runs body(first element, number of elements, first block) over all blocks, on several threads.
template <class Body>
void over_blocks(std::int64_t size, const Body& body) {
  constexpr auto length = static_cast<std::int64_t>(kernels::kBlockSize);
  const auto blocks = static_cast<std::int64_t>(kernels::block_count(static_cast<std::size_t>(size)));
  at::parallel_for(0, blocks, kGrain, [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t first = begin * length;
    body(first, static_cast<std::size_t>(std::min(size, end * length) - first), begin);
  });
}

// One pass over dense memory. Writes to `output` unless it is null, measures unless `moments` is null.
void pass(const Activation& activation, const at::Tensor& input, const Factors& map, const at::Tensor* output,
          Moments* moments) {
  const std::int64_t size = input.numel();
  std::vector<Moments> parts;
  if (moments != nullptr) parts.resize(kernels::block_count(static_cast<std::size_t>(size)));
  visit_type(input.scalar_type(), [&]<class T>(T*) {
    const auto* x = static_cast<const T*>(input.const_data_ptr());
    auto* y = output == nullptr ? nullptr : static_cast<T*>(output->mutable_data_ptr());
    const bool streaming = output != nullptr && prepare(*output);
    over_blocks(size, [&](std::int64_t first, std::size_t count, std::int64_t block) {
      kernels::forward(activation, x + first, count, map.scale, map.offset, y == nullptr ? nullptr : y + first,
                       moments == nullptr ? nullptr : parts.data() + block, streaming);
    });
  });
  // In the order of the blocks, so that the bits do not depend on the threads.
  for (const Moments& part : parts) moments->merge(part);
}

Moments measure(const at::Tensor& dense, const Activation& activation) {
  Moments moments;
  pass(activation, dense, {}, nullptr, &moments);
  return moments;
}

void update(const RunningStatistics& running, const at::Tensor& num_skipped, const Moments& moments,
            const Options& options) {
  auto* tracked = running.num_batches_tracked.mutable_data_ptr<std::int64_t>();
  Statistics statistics = read(running);
  switch (take_batch(to_step_options(options), statistics, *tracked, moments)) {
    case Fate::ignored:
      break;
    case Fate::skipped:
      ++*num_skipped.mutable_data_ptr<std::int64_t>();
      break;
    case Fate::accepted:
      write(running.output_mean, statistics.output_mean);
      write(running.output_square, statistics.output_square);
      write(running.input_variance, statistics.input_variance);
      write(running.backward_gain, statistics.backward_gain);
      ++*tracked;
      break;
  }
}

std::int64_t count_of(const at::Tensor& num_batches) { return *num_batches.const_data_ptr<std::int64_t>(); }

at::Tensor measure_cpu(const at::Tensor& input, Name activation, Parameters parameters,
                       const std::optional<at::Tensor>& unless) {
  const auto chosen = decode_activation(activation, parameters);
  if (!fused(input, chosen)) return fallback::measure(input, activation, parameters, unless);
  check_unless(unless);
  if (unless && count_of(*unless) >= kStartBatches && !runs_again()) return to_tensor(Moments{});
  return to_tensor(measure(to_dense(input), chosen));
}

at::Tensor factors_cpu(const at::Tensor& alpha, const at::Tensor& output_mean, const at::Tensor& output_square,
                       const at::Tensor& input_variance, const at::Tensor& backward_gain,
                       const at::Tensor& num_batches_tracked, const std::optional<at::Tensor>& moments, Name options) {
  const RunningStatistics running{output_mean, output_square, input_variance, backward_gain, num_batches_tracked};
  const Options& chosen = decode_options(options);
  check_factors(alpha, running, moments, chosen);
  if (moments && runs_again() && chosen.follows()) return find_pass(alpha, *moments);
  Statistics used = read(running);
  if (moments) {
    used = statistics_of_step(to_step_options(chosen), used, count_of(num_batches_tracked), to_moments(*moments));
  }
  return to_tensor(factors(used, read(alpha), chosen.normalization()));
}

TensorPair apply_cpu(const at::Tensor& input, const at::Tensor& map, Name activation, Parameters parameters,
                     bool measure) {
  const auto chosen = decode_activation(activation, parameters);
  if (!fused(input, chosen)) return fallback::apply(input, map, activation, parameters, measure);
  check_map(map);
  check_device(input, map, "map is on");
  const auto dense = to_dense(input);
  const auto output = at::empty_like(dense);
  Moments moments;
  pass(chosen, dense, to_factors(map), &output, measure ? &moments : nullptr);
  return {output, measure ? to_tensor(moments) : at::empty({0}, at::kDouble)};
}

// The gradient of the input, and sums of the gradient for that of the map.
std::pair<at::Tensor, kernels::GradientSums> backward(const at::Tensor& grad, const at::Tensor& input, double scale,
                                                      const Activation& activation) {
  const auto dense = to_dense(input);
  const auto grad_input = at::empty_like(dense);
  const auto g = laid_out_as(dense, grad);
  std::vector<kernels::GradientSums> parts(kernels::block_count(static_cast<std::size_t>(dense.numel())));
  visit_type(dense.scalar_type(), [&]<class T>(T*) {
    const auto* x = static_cast<const T*>(dense.const_data_ptr());
    const auto* dy = static_cast<const T*>(g.const_data_ptr());
    auto* dx = static_cast<T*>(grad_input.mutable_data_ptr());
    const bool streaming = prepare(grad_input);
    over_blocks(dense.numel(), [&](std::int64_t first, std::size_t count, std::int64_t block) {
      kernels::backward(activation, x + first, dy + first, count, scale, dx + first, parts.data() + block, streaming);
    });
  });
  kernels::GradientSums sums;
  for (const auto& part : parts) {
    sums.gradient += part.gradient;
    sums.gradient_value += part.gradient_value;
  }
  return {grad_input, sums};
}

TensorPair apply_backward_cpu(const at::Tensor& grad, const at::Tensor& input, const at::Tensor& map, Name activation,
                              Parameters parameters) {
  const auto chosen = decode_activation(activation, parameters);
  if (!fused(input, chosen)) return fallback::apply_backward(grad, input, map, activation, parameters);
  check_backward(grad, input, map);
  const auto [grad_input, sums] = backward(grad, input, to_factors(map).scale, chosen);
  return {grad_input, to_tensor({sums.gradient_value, sums.gradient, 0})};
}

void update_cpu(const at::Tensor& output_mean, const at::Tensor& output_square, const at::Tensor& input_variance,
                const at::Tensor& backward_gain, const at::Tensor& num_batches_tracked, const at::Tensor& num_skipped,
                const at::Tensor& moments, const at::Tensor& alpha, const at::Tensor& map, Name options) {
  const RunningStatistics running{output_mean, output_square, input_variance, backward_gain, num_batches_tracked};
  const Options& chosen = decode_options(options);
  check_update(running, num_skipped, moments, map, chosen);
  if (runs_again()) return;
  if (chosen.follows() && may_run_again()) remember_pass(alpha, moments, map);
  update(running, num_skipped, to_moments(moments), chosen);
}

}  // namespace

bool fused(const at::Tensor& input, const Activation& activation) {
  return visit_type(input.scalar_type(), [](auto*) {}) && kernels::has_kernel(activation.kind);
}

StepResult step(const at::Tensor& input, const at::Tensor& alpha, const RunningStatistics& running,
                const at::Tensor& num_skipped, const Activation& activation, const Options& options, bool training) {
  const auto dense = to_dense(input);
  const bool second = training && options.follows() && runs_again();
  const auto tracked = count_of(running.num_batches_tracked);
  const bool uses_batch = training && options.uses_batch(tracked);
  Moments moments;
  if (second || uses_batch) moments = measure(dense, activation);
  Factors map;
  if (second) {
    map = to_factors(find_pass(alpha, to_tensor(moments)));
  } else {
    Statistics used = read(running);
    if (uses_batch) used = statistics_of_step(to_step_options(options), used, tracked, moments);
    map = factors(used, read(alpha), options.normalization());
  }
  const bool first = training && !runs_again();
  const bool updates = first && options.updates(tracked == 0);
  const bool keeps = first && options.follows() && may_run_again();
  StepResult result{at::empty_like(dense), to_tensor(map), {}};
  pass(activation, dense, map, &result.output, (updates || keeps) && !uses_batch ? &moments : nullptr);
  if (keeps) remember_pass(alpha, to_tensor(moments), result.map);
  if (updates) update(running, num_skipped, moments, options);
  return result;
}

TensorPair step_backward(const at::Tensor& grad, const at::Tensor& input, const at::Tensor& alpha,
                         const at::Tensor& map, const Activation& activation) {
  check_backward(grad, input, map);
  const Factors used = to_factors(map);
  auto [grad_input, sums] = backward(grad, input, used.scale, activation);
  auto grad_alpha = at::empty(alpha.sizes(), alpha.options());
  const double total = scale_slope(read(alpha)) * (sums.gradient_value - used.centre * sums.gradient);
  if (grad_alpha.scalar_type() == at::kFloat || grad_alpha.scalar_type() == at::kDouble) {
    write(grad_alpha, total);
  } else {
    grad_alpha.fill_(total);
  }
  return {std::move(grad_input), std::move(grad_alpha)};
}

TORCH_LIBRARY_IMPL(anact, CPU, m) {
  m.impl("measure", &measure_cpu);
  m.impl("factors", &factors_cpu);
  m.impl("apply", &apply_cpu);
  m.impl("apply_backward", &apply_backward_cpu);
  m.impl("update_", &update_cpu);
}

}  // namespace anact::ops::cpu
