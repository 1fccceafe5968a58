#include "models/cost.h"

#include <ATen/record_function.h>

#include <memory>
#include <string_view>

namespace anact::models {
namespace {

// The total of the pass that this thread counts. RecordFunction's callbacks are plain functions.
thread_local std::int64_t counted = 0;

// The terms of the sum that each element of the call's output is: one for each weight that leads to it.
struct Terms : at::ObserverContext {
  explicit Terms(std::int64_t count) : count(count) {}
  std::int64_t count;
};

// The inputs are there when the call begins, the outputs when it ends.
std::unique_ptr<at::ObserverContext> begin(const at::RecordFunction& call) {
  const std::string_view name = call.name();
  if (name == "aten::convolution") {
    const auto weight = call.inputs().at(1).toTensor();  // input, weight, bias, …
    return std::make_unique<Terms>(weight.numel() / weight.size(0));
  }
  // What a linear layer comes down to.
  if (name == "aten::addmm") return std::make_unique<Terms>(call.inputs().at(1).toTensor().size(1));  // bias, input, …
  return nullptr;
}

void end(const at::RecordFunction& call, at::ObserverContext* context) {
  if (context == nullptr) return;
  counted += call.outputs().at(0).toTensor().numel() * static_cast<const Terms*>(context)->count;
}

class CountingGuard {
 public:
  CountingGuard()
      : handle_(
            at::addThreadLocalCallback(at::RecordFunctionCallback(begin, end).needsInputs(true).needsOutputs(true))) {
    counted = 0;
  }
  CountingGuard(const CountingGuard&) = delete;
  CountingGuard& operator=(const CountingGuard&) = delete;
  ~CountingGuard() { at::removeCallback(handle_); }

 private:
  at::CallbackHandle handle_;
};

// Puts the network in evaluation, and at the end back.
class EvaluationGuard {
 public:
  explicit EvaluationGuard(Network& network) : network_(network), training_(network.is_training()) { network_.eval(); }
  EvaluationGuard(const EvaluationGuard&) = delete;
  EvaluationGuard& operator=(const EvaluationGuard&) = delete;
  ~EvaluationGuard() { network_.train(training_); }

 private:
  Network& network_;
  bool training_;
};

}  // namespace

Cost cost(Network& network, std::int64_t channels, std::int64_t height, std::int64_t width) {
  const torch::NoGradGuard no_grad;
  const EvaluationGuard evaluation(network);
  Cost result;
  for (const auto& parameter : network.parameters()) result.parameters += parameter.numel();
  const CountingGuard counting;
  network.forward(torch::zeros({1, channels, height, width}, network.parameters().front().options()));
  result.multiply_adds = counted;
  result.activations = static_cast<std::int64_t>(network.main_path().size());
  return result;
}

}  // namespace anact::models
