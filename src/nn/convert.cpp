#include <torch/nn/modules/activation.h>
#include <torch/nn/modules/container/sequential.h>

#include <algorithm>
#include <optional>
#include <set>
#include <stdexcept>

#include "anact/nn.h"

namespace anact::nn {
namespace {

// The activation of a module of torch::nn; nothing if it is another kind of module.
std::optional<Activation> activation_of(const torch::nn::Module& module) {
  const auto make = [](ActivationKind kind, double first = 0, double second = 0) {
    return Activation{.kind = kind, .parameters = {first, second}};
  };
  if (module.as<torch::nn::ReLU>() != nullptr) return make(ActivationKind::relu);
  if (module.as<torch::nn::ReLU6>() != nullptr) return make(ActivationKind::relu6);
  if (module.as<torch::nn::SELU>() != nullptr) return make(ActivationKind::selu);
  if (module.as<torch::nn::SiLU>() != nullptr) return make(ActivationKind::silu);
  if (module.as<torch::nn::Mish>() != nullptr) return make(ActivationKind::mish);
  if (module.as<torch::nn::Softsign>() != nullptr) return make(ActivationKind::softsign);
  if (module.as<torch::nn::Tanh>() != nullptr) return make(ActivationKind::tanh);
  if (module.as<torch::nn::Sigmoid>() != nullptr) return make(ActivationKind::sigmoid);
  if (module.as<torch::nn::LogSigmoid>() != nullptr) return make(ActivationKind::logsigmoid);
  if (module.as<torch::nn::Tanhshrink>() != nullptr) return make(ActivationKind::tanhshrink);
  if (const auto* m = module.as<torch::nn::LeakyReLU>()) {
    return make(ActivationKind::leaky_relu, m->options.negative_slope());
  }
  if (const auto* m = module.as<torch::nn::ELU>()) return make(ActivationKind::elu, m->options.alpha());
  if (const auto* m = module.as<torch::nn::CELU>()) return make(ActivationKind::celu, m->options.alpha());
  if (const auto* m = module.as<torch::nn::GELU>()) {
    return make(m->options.approximate() == "tanh" ? ActivationKind::gelu_tanh : ActivationKind::gelu);
  }
  if (const auto* m = module.as<torch::nn::Softplus>()) {
    return make(ActivationKind::softplus, m->options.beta(), m->options.threshold());
  }
  if (const auto* m = module.as<torch::nn::Hardtanh>()) {
    return make(ActivationKind::hardtanh, m->options.min_val(), m->options.max_val());
  }
  if (const auto* m = module.as<torch::nn::Softshrink>()) {
    return make(ActivationKind::softshrink, m->options.lambda());
  }
  return std::nullopt;
}

class Converter {
 public:
  explicit Converter(const ANActOptions& options) : options_(options) {}

  void visit(torch::nn::Module& module, const std::string& path) {
    // A module that is held twice is converted once.
    if (!seen_.insert(&module).second) return;
    auto* sequential = module.as<torch::nn::Sequential>();
    for (const auto& child : module.named_children()) {
      const auto child_path = path.empty() ? child.key() : path + "." + child.key();
      const auto activation = activation_of(*child.value());
      if (!activation) {
        visit(*child.value(), child_path);
        continue;
      }
      // A Sequential keeps its modules twice: to call them, and as children, among which a derived class can have more.
      const auto is_child = [&](const torch::nn::AnyModule& called) { return called.ptr() == child.value(); };
      torch::nn::AnyModule* place = nullptr;
      if (sequential != nullptr) {
        const auto found = std::find_if(sequential->begin(), sequential->end(), is_child);
        if (found != sequential->end()) place = &*found;
      }
      if (place == nullptr) {
        result.unreached.push_back(child_path);
      } else {
        auto options = options_;
        ANAct replacement(options.activation(*activation));
        replacement->train(child.value()->is_training());
        *place = torch::nn::AnyModule(replacement);
        sequential->replace_module(child.key(), replacement.ptr());
        result.replaced.push_back(child_path);
      }
    }
  }

  Conversion result;

 private:
  ANActOptions options_;
  std::set<const torch::nn::Module*> seen_;
};

}  // namespace

Conversion convert_activations(torch::nn::Module& root, const ANActOptions& options) {
  if (options.custom()) {
    throw std::invalid_argument(
        "convert_activations: the options hold the custom activation \"" + options.custom()->name +
        "\", but each activation is replaced by an ANAct of the same " + "activation; expected options without one");
  }
  Converter converter(options);
  converter.visit(root, "");
  return std::move(converter.result);
}

}  // namespace anact::nn
