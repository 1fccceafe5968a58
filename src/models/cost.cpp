#include "models/cost.h"

#include <ATen/record_function.h>

#include <memory>
#include <string_view>

namespace anact::models {
namespace {

// The total of the pass that this thread counts. RecordFunction's callbacks are plain functions.
thread_local std::int64_t counted = 0;

// An element of the output is a sum of one product for each of the weights that lead to it.
void count(const at::RecordFunction& call, at::ObserverContext* /*context*/) {
  const std::string_view name = call.name();
  if (name != "aten::linear" && name != "aten::convolution") return;
  const auto weight = call.inputs().at(1).toTensor();
  const auto output = call.outputs().at(0).toTensor();
  counted += output.numel() * (weight.numel() / weight.size(0));
}

class CountingGuard {
 public:
  CountingGuard()
      : handle_(at::addThreadLocalCallback(
            at::RecordFunctionCallback(
                [](const at::RecordFunction&) -> std::unique_ptr<at::ObserverContext> { return nullptr; }, count)
                .needsInputs(true)
                .needsOutputs(true)
                .scopes({at::RecordScope::FUNCTION}))) {
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
  Trace trace;
  const CountingGuard counting;
  network.forward(torch::zeros({1, channels, height, width}, network.parameters().front().options()), &trace);
  result.multiply_adds = counted;
  result.activations = static_cast<std::int64_t>(trace.activations.size());
  return result;
}

}  // namespace anact::models
