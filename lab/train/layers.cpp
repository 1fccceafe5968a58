#include "train/layers.h"

#include <torch/csrc/autograd/autograd.h>
#include <torch/nn/functional/loss.h>

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

// The mean of f over all elements, added up in order on one thread: the same bits for every number of threads.
template <class F>
double mean_of(const torch::Tensor& tensor, F f) {
  const auto values = tensor.detach().to(torch::kCPU, torch::kDouble).contiguous();
  const double* data = values.const_data_ptr<double>();
  double sum = 0;
  for (std::int64_t i = 0; i < values.numel(); ++i) sum += f(data[i]);
  return sum / static_cast<double>(values.numel());
}

double second_moment(const torch::Tensor& tensor) {
  return mean_of(tensor, [](double x) { return x * x; });
}

double variance(const torch::Tensor& tensor) {
  const double mean = mean_of(tensor, [](double x) { return x; });
  return mean_of(tensor, [mean](double x) { return (x - mean) * (x - mean); });
}

}  // namespace

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
  models::Trace trace;
  const auto loss = torch::nn::functional::cross_entropy(network.forward(inputs, &trace), labels);
  const auto gradients = torch::autograd::grad({loss}, trace.linear_outputs);

  std::vector<double> second_moments;
  std::vector<double> gradient_variances;
  for (const auto& output : trace.activations) second_moments.push_back(second_moment(output));
  for (const auto& gradient : gradients) gradient_variances.push_back(variance(gradient));
  nlohmann::json result{{"activation_second_moment", numbers(second_moments)},
                        {"gradient_variance", numbers(gradient_variances)}};
  if (!lambdas.empty()) result["lambda"] = numbers(lambdas);
  return result;
}

}  // namespace anact::train
