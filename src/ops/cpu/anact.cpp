// The operators on the CPU: the fused kernels where there is one, the plain version elsewhere.

#include "ops/fallback/anact.h"

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <sys/mman.h>
#include <torch/library.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "kernels/kernels.h"
#include "ops/arguments.h"
#include "ops/passes.h"
#include "ops/tensors.h"

namespace anact::ops {
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

bool fused(const at::Tensor& input, ActivationKind kind) {
  return visit_type(input.scalar_type(), [](auto*) {}) && kernels::has_kernel(kind);
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

ForwardResult forward_cpu(ANACT_FORWARD_PARAMETERS) {
  const auto chosen = decode_activation(activation, parameters);
  const auto configuration = decode_forward(ANACT_FORWARD_ARGUMENTS);
  if (!fused(input, chosen.kind)) return fallback::forward(ANACT_FORWARD_ARGUMENTS);

  const auto dense = input.is_non_overlapping_and_dense() ? input : input.contiguous();
  Moments moments;
  Statistics used = read(ANACT_RUNNING);
  const auto tracked = *num_batches_tracked.const_data_ptr<std::int64_t>();
  const bool uses_batch = configuration.uses_batch(tracked == 0);
  if (uses_batch && dense.numel() > 0) {
    pass(chosen, dense, {}, nullptr, &moments);
    const Statistics batch = to_statistics(moments);
    const auto [momentum, gate_low, gate_high] = configuration.options.update();
    if (accepts(used, batch, gate_low, gate_high)) {
      const bool alone = configuration.options.statistics == StatisticsSource::batch;
      used = alone ? batch : blend(used, batch, batch_weight(tracked, momentum));
    }
  }
  Factors map =
      known_factors ? to_factors(*known_factors) : factors(used, read(alpha), configuration.options.normalization());
  bool measure = training && !uses_batch;
  const bool again = training && !known_factors && runs_again();
  if (again) {
    // The moments tell which pass this is; only then are the factors known.
    if (measure) pass(chosen, dense, {}, nullptr, &moments);
    measure = false;
    map = find_pass(output_mean, moments).value_or(map);
  }
  const auto output = at::empty_like(dense);
  pass(chosen, dense, map, &output, measure ? &moments : nullptr);
  if (training && !known_factors && !again && may_run_again()) remember_pass(output_mean, moments, map);
  return {output, training ? to_tensor(moments) : at::empty({0}, at::kDouble), to_tensor(map)};
}

BackwardResult backward_cpu(ANACT_BACKWARD_PARAMETERS) {
  const auto chosen = decode_activation(activation, parameters);
  if (!fused(input, chosen.kind)) return fallback::backward(ANACT_BACKWARD_ARGUMENTS);
  check_backward(grad, input, factors);

  const auto dense = input.is_non_overlapping_and_dense() ? input : input.contiguous();
  const auto grad_input = at::empty_like(dense);
  // Element i of every tensor must be the same element.
  const auto g = grad.strides() == dense.strides() ? grad : at::empty_like(dense).copy_(grad);
  const Factors map = to_factors(factors);
  std::vector<kernels::GradientSums> parts(kernels::block_count(static_cast<std::size_t>(dense.numel())));
  visit_type(dense.scalar_type(), [&]<class T>(T*) {
    const auto* x = static_cast<const T*>(dense.const_data_ptr());
    const auto* dy = static_cast<const T*>(g.const_data_ptr());
    auto* dx = static_cast<T*>(grad_input.mutable_data_ptr());
    const bool streaming = prepare(grad_input);
    over_blocks(dense.numel(), [&](std::int64_t first, std::size_t count, std::int64_t block) {
      kernels::backward(chosen, x + first, dy + first, count, map.scale, dx + first, parts.data() + block, streaming);
    });
  });
  kernels::GradientSums sums;
  for (const auto& part : parts) {
    sums.gradient += part.gradient;
    sums.gradient_value += part.gradient_value;
  }
  auto grad_alpha = at::empty(alpha.sizes(), alpha.options());
  const double total = map.scale_slope * (sums.gradient_value - map.centre * sums.gradient);
  if (grad_alpha.scalar_type() == at::kFloat || grad_alpha.scalar_type() == at::kDouble) {
    write(grad_alpha, total);
  } else {
    grad_alpha.fill_(total);
  }
  return {grad_input, grad_alpha};
}

void update_statistics_cpu(ANACT_UPDATE_PARAMETERS) {
  const Options& chosen = decode_options(options);
  check_update(ANACT_RUNNING, num_skipped, moments, chosen);
  const Moments batch = to_moments(moments);
  if (batch.count == 0 || chosen.statistics == StatisticsSource::fixed || runs_again()) return;
  const auto [momentum, gate_low, gate_high] = chosen.update();
  const Statistics old = read(ANACT_RUNNING);
  const Statistics fresh = to_statistics(batch);
  if (!accepts(old, fresh, gate_low, gate_high)) {
    ++*num_skipped.mutable_data_ptr<std::int64_t>();
    return;
  }
  auto* tracked = num_batches_tracked.mutable_data_ptr<std::int64_t>();
  const Statistics mixed = blend(old, fresh, batch_weight(*tracked, momentum));
  write(output_mean, mixed.output_mean);
  write(output_square, mixed.output_square);
  write(input_variance, mixed.input_variance);
  write(backward_gain, mixed.backward_gain);
  ++*tracked;
}

}  // namespace

Moments moments_of(const at::Tensor& input, const Activation& activation) {
  Moments moments;
  if (input.numel() == 0) return moments;
  if (input.is_cpu() && fused(input, activation.kind)) {
    pass(activation, input.is_non_overlapping_and_dense() ? input : input.contiguous(), {}, nullptr, &moments);
    return moments;
  }
  const auto scalar = input.options().dtype(at::kFloat).memory_format(std::nullopt);
  const auto one = at::ones({}, scalar);
  const RunningStatistics unused{one, one, one, one, at::zeros({}, scalar.dtype(at::kLong))};
  const auto result = forward(input, at::zeros({1}, scalar), unused, activation, Options{}, /*training=*/true,
                              to_tensor(Factors{}).to(input.device()));
  return to_moments(std::get<1>(result).cpu());
}

TORCH_LIBRARY_IMPL(anact, CPU, m) {
  m.impl("forward", &forward_cpu);
  m.impl("backward", &backward_cpu);
  m.impl("update_statistics_", &update_statistics_cpu);
}

}  // namespace anact::ops
