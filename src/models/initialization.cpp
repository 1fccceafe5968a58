#include "models/initialization.h"

#include <torch/nn/modules/conv.h>

#include <array>
#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>

#include "anact/gaussian.h"
#include "anact/normalization.h"

namespace anact::models {
namespace {

constexpr std::array<std::pair<std::string_view, Initialization>, 4> kNames{{{"he", Initialization::he},
                                                                             {"lecun", Initialization::lecun},
                                                                             {"glorot", Initialization::glorot},
                                                                             {"gain", Initialization::gain}}};

}  // namespace

std::string_view to_string(Initialization value) { return kNames.at(static_cast<std::size_t>(value)).first; }

Initialization parse_initialization(std::string_view text) {
  std::string known;
  for (const auto& [name, value] : kNames) {
    if (name == text) return value;
    known += (known.empty() ? "" : ", ") + std::string(name);
  }
  throw std::invalid_argument("unknown initialization '" + std::string(text) + "'; there are " + known);
}

double standard_deviation(Initialization initialization, const Activation& activation, std::int64_t inputs,
                          std::int64_t outputs) {
  if (inputs < 1 || outputs < 1) throw std::invalid_argument("a layer must have inputs and outputs");
  const auto n = static_cast<double>(inputs);
  switch (initialization) {
    case Initialization::he:
      return std::sqrt(2 / n);
    case Initialization::lecun:
      return std::sqrt(1 / n);
    case Initialization::glorot:
      return std::sqrt(2 / (n + static_cast<double>(outputs)));
    case Initialization::gain:
      return lambda(gaussian_statistics(activation), {}) / std::sqrt(n);
  }
  throw std::invalid_argument("unknown initialization");
}

Fans fans(const torch::Tensor& weight) {
  const std::int64_t kernel = weight.numel() / (weight.size(0) * weight.size(1));
  return {.inputs = weight.size(1) * kernel, .outputs = weight.size(0) * kernel};
}

void draw_normal(torch::Tensor weight, double standard_deviation, at::Generator generator) {
  const torch::NoGradGuard no_grad;
  const auto draws = torch::empty(weight.sizes(), weight.options()).normal_(0, 1, std::move(generator));
  weight.copy_(draws.mul_(standard_deviation));
}

void initialize(torch::nn::Module& network, const torch::nn::Linear& output, Initialization initialization,
                const Activation& activation, const at::Generator& generator) {
  const torch::NoGradGuard no_grad;
  const auto draw = [&](torch::Tensor weight, torch::Tensor bias, Initialization chosen) {
    const auto [inputs, outputs] = fans(weight);
    draw_normal(weight, standard_deviation(chosen, activation, inputs, outputs), generator);
    if (bias.defined()) bias.zero_();
  };
  for (const auto& module : network.modules(false)) {
    if (const auto* conv = module->as<torch::nn::Conv2d>()) {
      draw(conv->weight, conv->bias, initialization);
    } else if (const auto* linear = module->as<torch::nn::Linear>()) {
      draw(linear->weight, linear->bias, linear == output.get() ? Initialization::lecun : initialization);
    }
  }
}

}  // namespace anact::models
