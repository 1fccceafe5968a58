// One call of a module in eager mode: all operators in one call, with one node of autograd.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string_view>

#include "anact/custom.h"
#include "ops/anact.h"

namespace anact::ops {

// y, as the operators have it one after the other: in training of the batch's moments where the options ask for them,
// else of `running`, which is updated in place. Throws c10::Error or std::invalid_argument that says what is wrong.
// Whatever traces (a mode or a subclass of Tensor in Python, torch.jit.trace) sees the operators.
at::Tensor step(const at::Tensor& input, const at::Tensor& alpha, const RunningStatistics& running,
                const at::Tensor& num_skipped, const Activation& activation, const Options& options, bool training);

// The same for an activation of the user's own, in plain ATen.
at::Tensor step(const at::Tensor& input, const at::Tensor& alpha, const RunningStatistics& running,
                const at::Tensor& num_skipped, const CustomActivation& activation, const Options& options,
                bool training);

// What a step shows to those who observe operators (profilers, the variance probe), as the call of an operator of this
// name with these arguments, which returns y, the map, and the moments if a pass of their own measured them.
inline constexpr const char* kStepName = "anact::step";
enum StepArgument : std::size_t {
  step_input,
  step_alpha,
  step_activation,  // the activation's name
  step_parameters,  // None for an activation of the user's own
  step_options,
  step_training,
};

// scale f(x) in PyTorch's own operators, which observers see as one call of this name: those operators do not tell
// every activation of the catalogue.
inline constexpr const char* kPlainName = "anact::plain";
enum PlainArgument : std::size_t {
  plain_input,
  plain_activation,  // the activation's name
  plain_parameters,  // None for an activation with a parameter that is learnt
  plain_scale,
  plain_learnt,  // that parameter; None without one
};
at::Tensor plain(const at::Tensor& input, const Activation& activation, double scale = 1);

// scale value(), value() being an activation of this name with a learnt parameter.
at::Tensor plain(const at::Tensor& input, const at::Tensor& learnt, std::string_view name, double scale,
                 const std::function<at::Tensor()>& value);

// What a step made; `moments` is undefined if they were not measured, or with the output in one pass.
struct StepResult {
  at::Tensor output;
  at::Tensor map;
  at::Tensor moments;
};

}  // namespace anact::ops
