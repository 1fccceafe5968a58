#include "ops/arguments.h"

#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <deque>
#include <stdexcept>
#include <string>
#include <utility>

namespace anact::ops {
namespace {

std::string_view text(Name value) { return {value.data(), value.size()}; }

bool is_supported(at::ScalarType type) {
  return type == at::kDouble || type == at::kFloat || type == at::kBFloat16 || type == at::kHalf;
}

void check_running(const RunningStatistics& running) {
  const auto dtype = running.output_mean.scalar_type();
  TORCH_CHECK_TYPE(dtype == at::kFloat || dtype == at::kDouble, "anact: the statistics are ", dtype,
                   "; they must be float32 or float64");
  const std::pair<const char*, const at::Tensor*> all[] = {{"output_mean", &running.output_mean},
                                                           {"output_square", &running.output_square},
                                                           {"input_variance", &running.input_variance},
                                                           {"backward_gain", &running.backward_gain}};
  for (const auto& [name, tensor] : all) {
    TORCH_CHECK_VALUE(tensor->dim() == 0, "anact: ", name, " has shape ", tensor->sizes(),
                      "; it must be a scalar (0-dimensional)");
    TORCH_CHECK_TYPE(tensor->scalar_type() == dtype, "anact: ", name, " is ", tensor->scalar_type(),
                     " but output_mean is ", dtype);
  }
}

void check_count(const at::Tensor& count, const char* name) {
  TORCH_CHECK_TYPE(count.scalar_type() == at::kLong && count.dim() == 0, "anact: ", name, " must be an int64 scalar");
}

void check_moments(const at::Tensor& moments) {
  TORCH_CHECK_VALUE(moments.sym_numel() == kMomentsSize && moments.scalar_type() == at::kDouble,
                    "anact: moments must be ", kMomentsSize, " elements of float64");
}

}  // namespace

Activation decode_activation(Name name, Parameters parameters) {
  const std::string_view wanted = text(name);
  for (const ActivationInfo& info : activation_catalogue()) {
    if (info.name != wanted) continue;
    TORCH_CHECK_VALUE(parameters.size() == info.parameters.size(), "anact: ", info.name, " takes ",
                      info.parameters.size(), " parameters, ", parameters.size(), " were given");
    Activation activation{.kind = info.kind};
    std::copy(parameters.begin(), parameters.end(), activation.parameters.begin());
    return activation;
  }
  // Names the nearest ones.
  return parse_activation(wanted);
}

Parameters encode_parameters(const Activation& activation) {
  return {activation.parameters.data(), activation_info(activation.kind).parameters.size()};
}

const Options& decode_options(Name given) {
  // A network has one set of options or a few.
  constexpr std::size_t kMost = 16;
  thread_local std::deque<std::pair<std::string, Options>> known;
  const auto wanted = text(given);
  for (const auto& [written, options] : known) {
    if (written == wanted) return options;
  }
  const auto options = parse_options(wanted);
  if (known.size() == kMost) known.pop_back();
  return known.emplace_front(wanted, options).second;
}

Name encode_options(const Options& options) {
  constexpr std::size_t kMost = 16;
  thread_local std::deque<std::pair<Options, std::string>> known;
  for (const auto& [read, written] : known) {
    if (read == options) return {written.data(), written.size()};
  }
  if (known.size() == kMost) known.pop_back();
  const auto& written = known.emplace_front(options, to_text(options)).second;
  return {written.data(), written.size()};
}

void check_input(const at::Tensor& input) {
  TORCH_CHECK_TYPE(is_supported(input.scalar_type()), "anact: the input is ", input.scalar_type(),
                   "; it must be float64, float32, bfloat16 or float16");
}

void check_unless(const std::optional<at::Tensor>& unless) {
  TORCH_CHECK_TYPE(!unless || (unless->scalar_type() == at::kLong && unless->dim() == 0),
                   "anact: unless must be an int64 scalar");
}

void check_factors(const at::Tensor& alpha, const RunningStatistics& running, const std::optional<at::Tensor>& moments,
                   const Options& options) {
  TORCH_CHECK_TYPE(at::isFloatingType(alpha.scalar_type()), "anact: alpha is ", alpha.scalar_type(),
                   "; it must be of a floating type");
  TORCH_CHECK_VALUE(alpha.dim() == 0 || (alpha.dim() == 1 && alpha.size(0) == 1), "anact: alpha has shape ",
                    alpha.sizes(), "; it must be a scalar or of shape [1]");
  check_running(running);
  if (running.num_batches_tracked.defined()) check_count(running.num_batches_tracked, "num_batches_tracked");
  if (moments) check_moments(*moments);
  validate(options);
}

void check_map(const at::Tensor& map) {
  TORCH_CHECK_VALUE(map.sym_numel() == kMapSize && map.scalar_type() == at::kDouble, "anact: map must be ", kMapSize,
                    " elements of float64");
}

void check_device(const at::Tensor& input, const at::Tensor& other, const char* is_on) {
  TORCH_CHECK(input.device() == other.device(), "anact: the input is on ", input.device(), " but the ", is_on, " ",
              other.device());
}

void check_backward(const at::Tensor& grad, const at::Tensor& input, const at::Tensor& map) {
  TORCH_CHECK_VALUE(grad.sym_sizes() == input.sym_sizes(), "anact: the gradient has shape ", grad.sym_sizes(),
                    ", the input ", input.sym_sizes());
  TORCH_CHECK_TYPE(grad.scalar_type() == input.scalar_type(), "anact: the gradient is ", grad.scalar_type(),
                   ", the input ", input.scalar_type());
  check_map(map);
}

void check_counts(const RunningStatistics& running, const at::Tensor& num_skipped) {
  for (const auto& [tensor, name] : {std::pair(&running.num_batches_tracked, "num_batches_tracked"),
                                     std::pair(&num_skipped, "num_batches_skipped")}) {
    TORCH_CHECK(tensor->device() == running.output_mean.device(), "anact: a count of batches is on ", tensor->device(),
                " but the statistics are on ", running.output_mean.device());
    check_count(*tensor, name);
  }
}

void check_update(const RunningStatistics& running, const at::Tensor& num_skipped, const at::Tensor& moments,
                  const at::Tensor& map, const Options& options) {
  check_running(running);
  check_counts(running, num_skipped);
  check_moments(moments);
  check_map(map);
  validate(options);
}

at::Tensor to_dense(const at::Tensor& tensor) {
  return tensor.is_non_overlapping_and_dense() ? tensor : tensor.contiguous();
}

at::Tensor laid_out_as(const at::Tensor& dense, const at::Tensor& grad) {
  return grad.strides() == dense.strides() ? grad : at::empty_like(dense).copy_(grad);
}

at::Tensor empty_output(const at::Tensor& input) {
  return at::empty_like(
      input, input.is_non_overlapping_and_dense() ? at::MemoryFormat::Preserve : at::MemoryFormat::Contiguous);
}

}  // namespace anact::ops
