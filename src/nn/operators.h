// Which of the dispatcher's operators are layers, and which pass on what layers made.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "anact/activation.h"
#include "anact/initialization.h"
#include "anact/normalization.h"
#include "anact/propagation.h"

namespace anact::nn {

struct LinearCall {
  at::Tensor input;
  at::Tensor weight;  // outputs x inputs; inputs x outputs when `transposed`
  at::Tensor bias;    // undefined without one
  bool transposed = false;
};

struct ConvolutionCall {
  at::Tensor input;
  at::Tensor weight;  // outputs x inputs / groups x kernel
  at::Tensor bias;
  // One for each dimension of the kernel.
  std::vector<std::int64_t> stride;
  std::vector<std::int64_t> padding;  // before the first element
  std::vector<std::int64_t> dilation;
};

struct BatchNormCall {
  at::Tensor input;
  at::Tensor weight;  // undefined without one, as the next
  at::Tensor bias;
  at::Tensor running_mean;
  at::Tensor running_variance;
  bool batch_statistics = false;
  double eps = 0;
};

struct ActivationCall {
  at::Tensor input;
  Activation activation;
  double scale = 1;  // which it is multiplied by
};

// An activation with a parameter that is learnt, which the theory does not follow.
struct LearntCall {
  at::Tensor input;
  at::Tensor parameter;
  std::string name;
  double scale = 1;  // which it is multiplied by
};

// anact::step and anact::evaluate.
struct ANActCall {
  at::Tensor input;
  at::Tensor alpha;
  Activation activation;
  std::string
      custom;  // the name of an activation of the user's own, in place of `activation`; of that, f' is not known
  NormalizationOptions normalization;
  std::optional<Statistics> statistics;  // of anact::evaluate, which does not return its map
};

struct SumCall {
  at::Tensor left;
  at::Tensor right;
};

// What moves, drops, repeats or averages elements.
struct RearrangeCall {
  at::Tensor input;
  // The backward factor of the mean square for this input and output, whose gradients are taken to be uncorrelated.
  // None: every element is passed on once.
  std::function<double(const at::Tensor& input, const at::Tensor& output)> backward;
};

using Call = std::variant<LinearCall, ConvolutionCall, BatchNormCall, ActivationCall, LearntCall, ANActCall, SumCall,
                          RearrangeCall>;

[[nodiscard]] inline const at::Tensor& input_of(const SumCall& call) { return call.left; }
template <class AnyCall>
[[nodiscard]] const at::Tensor& input_of(const AnyCall& call) {
  return call.input;
}

// Whether a tensor is a parameter of the model.
using IsParameter = std::function<bool(const at::Tensor&)>;

// The call of an operator, by its name with its namespace. None for an operator that is not known and for a use of it
// that the theory does not describe. A matrix product is one of these only with a parameter on its right.
[[nodiscard]] std::optional<Call> decode_call(std::string_view name, c10::ArrayRef<c10::IValue> arguments,
                                              const IsParameter& is_parameter);

// Whether what the operator calls is its own business: the gates of a recurrent layer are no activations of the model.
[[nodiscard]] bool is_closed(std::string_view name);

// How z = W x of this call propagates second moments; the weight's and the bias's are given.
[[nodiscard]] LinearMap linear_map(const LinearCall& call, double weight_second_moment, double bias_second_moment);
[[nodiscard]] LinearMap linear_map(const ConvolutionCall& call, const at::Tensor& output, double weight_second_moment,
                                   double bias_second_moment);

// Inputs and outputs of the weight.
[[nodiscard]] Fans weight_fans(const LinearCall& call);
[[nodiscard]] Fans weight_fans(const ConvolutionCall& call);

}  // namespace anact::nn
