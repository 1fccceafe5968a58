#include "train/probing.h"

#include <torch/csrc/autograd/autograd.h>
#include <torch/nn/functional/loss.h>

#include <algorithm>
#include <utility>

#include "io/json_lines.h"

namespace anact::train {
namespace {

// Puts a module's buffers back as they were, so that measuring it in training mode leaves no trace.
class KeepBuffers {
 public:
  explicit KeepBuffers(const torch::nn::Module& module) {
    for (const auto& buffer : module.buffers()) saved_.emplace_back(buffer, buffer.clone());
  }
  KeepBuffers(const KeepBuffers&) = delete;
  KeepBuffers& operator=(const KeepBuffers&) = delete;
  ~KeepBuffers() {
    const torch::NoGradGuard no_grad;
    for (auto& [buffer, copy] : saved_) buffer.copy_(copy);
  }

 private:
  std::vector<std::pair<torch::Tensor, torch::Tensor>> saved_;
};

nlohmann::json numbers(const std::vector<double>& values) {
  auto result = nlohmann::json::array();
  for (const double value : values) result.push_back(io::number(value));
  return result;
}

}  // namespace

ProbingObserver::ProbingObserver(Observer& next, const nn::VarianceProbeOptions& options, Take take)
    : next_(next), options_(options), take_(std::move(take)) {}

void ProbingObserver::run_started(const torch::nn::Module& network, const Progress& progress) {
  probe_ = std::make_unique<nn::VarianceProbe>(network, options_);
  next_.run_started(network, progress);
}

void ProbingObserver::step(const Progress& progress) {
  probe_->step();
  next_.step(progress);
}

void ProbingObserver::epoch_ended(const std::string& line, double seconds) { next_.epoch_ended(line, seconds); }

void ProbingObserver::run_ended(const Progress& progress, const RunResult& result) {
  auto records = probe_->take_records();
  probe_.reset();
  take_(result, std::move(records));
  next_.run_ended(progress, result);
}

std::vector<LayerRecord> ProbingObserver::take_interrupted() {
  auto records = probe_ ? probe_->take_records() : std::vector<LayerRecord>();
  probe_.reset();
  return records;
}

std::vector<const nn::ANActImpl*> anact_modules(const torch::nn::Module& network) {
  std::vector<const nn::ANActImpl*> found;
  for (const auto& module : network.modules(false)) {
    if (const auto* normalized = module->as<nn::ANAct>()) found.push_back(normalized);
  }
  return found;
}

nlohmann::json measure_layers(models::Network& network, const torch::Tensor& inputs, const torch::Tensor& labels) {
  const KeepBuffers keep(network);
  std::vector<double> lambdas;  // before the pass below changes the statistics
  for (const auto* normalized : anact_modules(network)) lambdas.push_back(normalized->factor());

  nn::VarianceProbe probe(network, nn::VarianceProbeOptions().predict(false));
  const auto loss = torch::nn::functional::cross_entropy(network.forward(inputs), labels);
  // The gradient passes through every layer on its way to the first; no parameter's is computed but that one's, and no
  // parameter has it added.
  (void)torch::autograd::grad({loss}, {network.parameters().front()});
  probe.finish();

  const auto path = network.main_path();
  std::vector<double> second_moments, gradient_variances;
  for (const auto& record : probe.records()) {
    if (record.kind == LayerKind::activation) {
      second_moments.push_back(record.output.second_moment);
    } else if (std::ranges::find(path, record.name) != path.end()) {
      gradient_variances.push_back(record.output_gradient.variance);
    }
  }
  nlohmann::json result{{"activation_second_moment", numbers(second_moments)},
                        {"gradient_variance", numbers(gradient_variances)}};
  if (!lambdas.empty()) result["lambda"] = numbers(lambdas);
  return result;
}

}  // namespace anact::train
