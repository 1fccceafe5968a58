#include "anact/initialization.h"

#include <ATen/Parallel.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>

#include <cmath>
#include <set>
#include <sstream>
#include <stdexcept>

namespace anact::nn {
namespace {

// LAPACK's sums depend on the number of threads.
class OneThread {
 public:
  OneThread() { at::set_num_threads(1); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;
  ~OneThread() { at::set_num_threads(before_); }

 private:
  int before_ = at::get_num_threads();
};

template <class Holder>
bool initialize_as(torch::nn::Module& module, Recipe recipe, const std::optional<at::Generator>& generator) {
  auto* layer = module.as<Holder>();
  if (layer == nullptr) return false;
  initialize_weight(layer->weight, recipe, generator);
  const torch::NoGradGuard no_grad;
  if (layer->bias.defined()) layer->bias.zero_();
  return true;
}

}  // namespace

Fans fans(const torch::Tensor& weight) {
  if (weight.dim() < 2) {
    std::ostringstream message;
    message << "a layer's weight must have two or more dimensions; this one has shape " << weight.sizes();
    throw std::invalid_argument(message.str());
  }
  Fans result{.inputs = weight.size(1), .outputs = weight.size(0)};
  for (const auto size : weight.sizes().slice(2)) {
    result.inputs *= size;
    result.outputs *= size;
  }
  return result;
}

void draw_orthogonal(torch::Tensor weight, const std::optional<at::Generator>& generator) {
  const auto inputs = fans(weight).inputs;
  if (weight.numel() == 0) return;
  const torch::NoGradGuard no_grad;
  const OneThread one_thread;
  auto draws = weight.new_empty({weight.size(0), inputs}).normal_(0, 1, generator);
  const bool wide = draws.size(0) < draws.size(1);
  const auto [q, r] = torch::linalg_qr(wide ? draws.t() : draws);
  const auto orthogonal = q * r.diagonal().sign();
  weight.copy_((wide ? orthogonal.t() : orthogonal).reshape(weight.sizes()));
}

void initialize_weight(torch::Tensor weight, Recipe recipe, const std::optional<at::Generator>& generator) {
  const torch::NoGradGuard no_grad;
  const auto inputs = static_cast<double>(fans(weight).inputs);
  if (recipe_info(recipe).weights == "orthogonal") {
    draw_orthogonal(weight, generator);
    // Fewer inputs than outputs leave columns of norm 1, and so rows whose mean square is less than 1 / inputs.
    const auto rows = static_cast<double>(weight.size(0));
    if (rows > inputs) weight.mul_(std::sqrt(rows / inputs));
  } else {
    weight.copy_(weight.new_empty(weight.sizes()).normal_(0, 1 / std::sqrt(inputs), generator));
  }
}

void initialize(torch::nn::Module& model, Recipe recipe, const std::optional<at::Generator>& generator) {
  std::set<const torch::nn::Module*> seen;
  const auto visit = [&](torch::nn::Module& module) {
    if (!seen.insert(&module).second) return;
    (void)(initialize_as<torch::nn::Linear>(module, recipe, generator) ||
           initialize_as<torch::nn::Conv1d>(module, recipe, generator) ||
           initialize_as<torch::nn::Conv2d>(module, recipe, generator) ||
           initialize_as<torch::nn::Conv3d>(module, recipe, generator));
  };
  visit(model);
  // Without the model itself, which no pointer may own.
  for (const auto& module : model.modules(/*include_self=*/false)) visit(*module);
}

}  // namespace anact::nn
