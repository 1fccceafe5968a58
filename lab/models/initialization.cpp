#include "models/initialization.h"

#include <torch/nn/modules/conv.h>

#include <array>
#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "anact/gaussian.h"
#include "text/words.h"

namespace anact::models {
namespace {

constexpr std::array<std::pair<std::string_view, Initialization>, 7> kNames{
    {{"he", Initialization::he},
     {"lecun", Initialization::lecun},
     {"glorot", Initialization::glorot},
     {"orthogonal", Initialization::orthogonal},
     {"pytorch", Initialization::pytorch},
     {"gain", Initialization::gain},
     {"orthogonal-gain", Initialization::orthogonal_gain}}};

double fixed_gain(const WeightInitialization& weights) {
  return lambda(gaussian_statistics(weights.activation), weights.normalization);
}

}  // namespace

std::string_view to_string(Initialization value) { return kNames.at(static_cast<std::size_t>(value)).first; }

Initialization parse_initialization(std::string_view given) {
  std::vector<std::string_view> names;
  for (const auto& [name, value] : kNames) {
    if (name == given) return value;
    names.push_back(name);
  }
  throw std::invalid_argument("unknown initialization '" + std::string(given) + "'; there are " + text::join(names));
}

double standard_deviation(const WeightInitialization& weights, std::int64_t inputs, std::int64_t outputs) {
  if (inputs < 1 || outputs < 1) throw std::invalid_argument("a layer must have inputs and outputs");
  const auto n = static_cast<double>(inputs);
  switch (weights.kind) {
    case Initialization::he:
      return std::sqrt(2 / n);
    case Initialization::lecun:
      return std::sqrt(1 / n);
    case Initialization::glorot:
      return std::sqrt(2 / (n + static_cast<double>(outputs)));
    case Initialization::gain:
      return fixed_gain(weights) / std::sqrt(n);
    case Initialization::orthogonal:
    case Initialization::orthogonal_gain:
    case Initialization::pytorch:
      break;
  }
  throw std::invalid_argument("initialization " + std::string(to_string(weights.kind)) + " is not normal");
}

void draw_normal(torch::Tensor weight, double standard_deviation, at::Generator generator) {
  const torch::NoGradGuard no_grad;
  const auto draws = torch::empty(weight.sizes(), weight.options()).normal_(0, 1, std::move(generator));
  weight.copy_(draws.mul_(standard_deviation));
}

void draw_uniform(torch::Tensor values, double bound, at::Generator generator) {
  const torch::NoGradGuard no_grad;
  values.copy_(torch::empty(values.sizes(), values.options()).uniform_(-bound, bound, std::move(generator)));
}

void initialize(torch::nn::Module& network, const torch::nn::Linear& output, const WeightInitialization& weights,
                const at::Generator& generator) {
  const auto draw = [&generator](const torch::Tensor& weight, torch::Tensor bias, const WeightInitialization& chosen) {
    const torch::NoGradGuard no_grad;
    const auto [inputs, outputs] = fans(weight);
    if (chosen.kind == Initialization::pytorch) {
      const double bound = 1 / std::sqrt(static_cast<double>(inputs));
      draw_uniform(weight, bound, generator);
      if (bias.defined()) draw_uniform(bias, bound, generator);
      return;
    }
    if (chosen.kind == Initialization::orthogonal || chosen.kind == Initialization::orthogonal_gain) {
      draw_orthogonal(weight, generator);
      // Fewer inputs than outputs leave columns of norm 1, and so rows whose mean square is less than 1 / inputs.
      if (weight.size(0) > inputs) {
        weight.mul_(std::sqrt(static_cast<double>(weight.size(0)) / static_cast<double>(inputs)));
      }
      if (chosen.kind == Initialization::orthogonal_gain) weight.mul_(fixed_gain(chosen));
    } else {
      draw_normal(weight, standard_deviation(chosen, inputs, outputs), generator);
    }
    if (bias.defined()) bias.zero_();
  };
  auto last = weights;
  if (last.kind != Initialization::pytorch) last.kind = Initialization::lecun;
  for (const auto& module : network.modules(false)) {
    if (const auto* conv = module->as<torch::nn::Conv2d>()) {
      draw(conv->weight, conv->bias, weights);
    } else if (const auto* linear = module->as<torch::nn::Linear>()) {
      draw(linear->weight, linear->bias, linear == output.get() ? last : weights);
    }
  }
}

}  // namespace anact::models
