#include "models/mlp.h"

#include <stdexcept>
#include <string>
#include <utility>

namespace anact::models {

MLPImpl::MLPImpl(MLPOptions given) : options(std::move(given)) {
  const std::pair<const char*, std::int64_t> sizes[] = {
      {"inputs", options.inputs}, {"classes", options.classes}, {"depth", options.depth}, {"width", options.width}};
  for (const auto& [name, value] : sizes) {
    if (value < 1) {
      throw std::invalid_argument("MLP: " + std::string(name) + " is " + std::to_string(value) +
                                  "; it must be at least 1");
    }
  }
  std::int64_t inputs = options.inputs;
  for (std::int64_t layer = 0; layer < options.depth; ++layer) {
    const auto suffix = std::to_string(layer);
    linears_.push_back(register_module("linear" + suffix, torch::nn::Linear(inputs, options.width)));
    if (options.batch_norm) {
      norms_.push_back(register_module("norm" + suffix, torch::nn::BatchNorm1d(options.width)));
    }
    activations_.push_back(options.activation());
    register_module("activation" + suffix, activations_.back().ptr());
    inputs = options.width;
  }
  output_ = register_module("output", torch::nn::Linear(inputs, options.classes));
}

void MLPImpl::initialize(Initialization initialization, const Activation& activation, const at::Generator& generator) {
  const torch::NoGradGuard no_grad;
  for (auto& linear : linears_) {
    const auto deviation =
        standard_deviation(initialization, activation, linear->weight.size(1), linear->weight.size(0));
    draw_normal(linear->weight, deviation, generator);
    linear->bias.zero_();
  }
  draw_normal(output_->weight,
              standard_deviation(Initialization::lecun, activation, output_->weight.size(1), output_->weight.size(0)),
              generator);
  output_->bias.zero_();
}

torch::Tensor MLPImpl::forward(torch::Tensor input, Trace* trace) {
  for (std::size_t layer = 0; layer < linears_.size(); ++layer) {
    const auto linear = linears_[layer]->forward(input);
    const auto normalized = norms_.empty() ? linear : norms_[layer]->forward(linear);
    input = activations_[layer].forward(normalized);
    if (trace != nullptr) {
      trace->linear_outputs.push_back(linear);
      trace->activations.push_back(input);
    }
  }
  return output_->forward(input);
}

}  // namespace anact::models
