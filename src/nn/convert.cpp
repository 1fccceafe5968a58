#include <torch/nn/modules/container/sequential.h>

#include <algorithm>
#include <optional>
#include <set>
#include <stdexcept>

#include "anact/nn.h"
#include "nn/torch_names.h"

namespace anact::nn {
namespace {

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
