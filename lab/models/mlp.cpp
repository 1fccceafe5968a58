#include "models/mlp.h"

#include <string>
#include <utility>

#include "models/check.h"

namespace anact::models {

MLPImpl::MLPImpl(MLPOptions given) : options(std::move(given)) {
  check_positive("MLP", "inputs", options.inputs);
  check_positive("MLP", "classes", options.classes);
  check_positive("MLP", "depth", options.depth);
  check_positive("MLP", "width", options.width);
  check_activation("MLP", options.activation);
  std::int64_t inputs = options.inputs;
  for (std::int64_t layer = 0; layer < options.depth; ++layer) {
    const auto suffix = std::to_string(layer);
    linears_.push_back(register_module(
        "linear" + suffix, WeightedLinear(torch::nn::LinearOptions(inputs, options.width), options.standardization)));
    norms_.push_back(make_feature_norm(options.norm, options.width));
    if (!norms_.back().is_empty()) register_module("norm" + suffix, norms_.back().ptr());
    activations_.push_back(options.activation());
    register_module("activation" + suffix, activations_.back().ptr());
    inputs = options.width;
  }
  output_ = register_module("output", torch::nn::Linear(inputs, options.classes));
}

void MLPImpl::initialize(const WeightInitialization& weights, const at::Generator& generator) {
  models::initialize(*this, output_, weights, generator);
}

std::vector<std::string> MLPImpl::main_path() const {
  std::vector<std::string> path;
  for (std::size_t layer = 0; layer < linears_.size(); ++layer) path.push_back("linear" + std::to_string(layer));
  return path;
}

torch::Tensor MLPImpl::forward(const torch::Tensor& input) {
  auto x = input.flatten(1);
  for (std::size_t layer = 0; layer < linears_.size(); ++layer) {
    x = activations_[layer].forward(apply_norm(norms_[layer], linears_[layer]->forward(x)));
  }
  return output_->forward(x);
}

}  // namespace anact::models
