#include "models/activation.h"

#include <torch/nn/modules/activation.h>

#include <array>

#include "ops/step.h"

namespace anact::models {
namespace {

constexpr std::array<LearntActivation, 2> kLearnt{{{.name = "swish-beta",
                                                    .start = {.kind = ActivationKind::silu, .parameters = {}},
                                                    .make = [] { return torch::nn::AnyModule(SwishBeta()); }},
                                                   {.name = "prelu",
                                                    .start = {.kind = ActivationKind::leaky_relu, .parameters = {0.25}},
                                                    .make = [] { return torch::nn::AnyModule(torch::nn::PReLU()); }}}};

}  // namespace

void PlainActivationImpl::pretty_print(std::ostream& stream) const { stream << activation.to_string(); }

torch::Tensor PlainActivationImpl::forward(const torch::Tensor& input) { return ops::plain(input, activation); }

void SwishBetaImpl::reset() { beta = register_parameter("beta", torch::ones({})); }

void SwishBetaImpl::pretty_print(std::ostream& stream) const { stream << "swish-beta"; }

torch::Tensor SwishBetaImpl::forward(const torch::Tensor& input) {
  return ops::plain(input, beta, "swish-beta", [&] { return input * torch::sigmoid(beta * input); });
}

std::span<const LearntActivation> learnt_activations() { return kLearnt; }

}  // namespace anact::models
