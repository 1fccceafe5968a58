#include <ATen/ops/rsub.h>
#include <torch/nn/modules/container/functional.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/dropout.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/pooling.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <ranges>
#include <set>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <variant>
#include <vector>

#include "anact/nn.h"
#include "nn/step.h"
#include "nn/torch_names.h"
#include "ops/fallback/anact.h"

namespace anact::nn {
namespace {

// ---- What takes the place of an ANAct -----------------------------------------------------------------------------

// The activation by its definition, with 16-bit inputs computed in float32.
torch::nn::AnyModule by_definition(CustomActivation::Function value) {
  return torch::nn::AnyModule(torch::nn::Functional([value = std::move(value)](const torch::Tensor& x) {
    const auto type = x.scalar_type() == torch::kDouble ? torch::kDouble : torch::kFloat;
    return value(x.to(type)).to(x.scalar_type());
  }));
}

torch::nn::AnyModule plain_layer(const ANActOptions& options) {
  if (options.custom()) return by_definition(ops::fallback::to_functions(*options.custom()).value);
  const auto& activation = options.activation();
  const auto* row = torch_activation(activation.kind);
  if (row != nullptr && row->make != nullptr) return row->make(activation.parameters);
  return by_definition(ops::fallback::to_functions(activation).value);
}

torch::nn::AnyModule multiply_add(const Factors& map) {
  return torch::nn::AnyModule(torch::nn::Functional([scale = map.scale, offset = map.offset](const torch::Tensor& x) {
    // offset + scale x, in one pass over x.
    return at::rsub(x, offset, -scale);
  }));
}

// ---- The layers that an affine map can go into --------------------------------------------------------------------

// A layer of exactly one of these types: a derived one may compute something else.
template <class... Types>
bool is_exactly(const torch::nn::Module& module) {
  return ((typeid(module) == typeid(typename Types::ContainedType)) || ...);
}

template <std::size_t D>
bool pads_with_zeros(const torch::nn::detail::ConvNdOptions<D>& options) {
  if (!std::holds_alternative<torch::enumtype::kZeros>(options.padding_mode())) return false;
  const auto& padding = options.padding();
  if (std::holds_alternative<torch::enumtype::kValid>(padding)) return false;
  if (std::holds_alternative<torch::enumtype::kSame>(padding)) {
    return std::ranges::any_of(*options.kernel_size(), [](auto size) { return size > 1; });
  }
  return std::ranges::any_of(*std::get<torch::ExpandingArray<D>>(padding), [](auto size) { return size != 0; });
}

struct Layer {
  torch::nn::Module& module;
  torch::Tensor& weight;
  torch::Tensor& bias;
  bool& bias_option;
  bool pads_with_zeros;
};

template <class Holder>
std::optional<Layer> layer_as(torch::nn::Module& module) {
  if (!is_exactly<Holder>(module)) return std::nullopt;
  auto& layer = static_cast<typename Holder::ContainedType&>(module);
  bool zeros = false;
  if constexpr (!std::is_same_v<Holder, torch::nn::Linear>) zeros = pads_with_zeros(layer.options);
  return Layer{layer, layer.weight, layer.bias, layer.options.bias(), zeros};
}

std::optional<Layer> layer_of(torch::nn::Module& module) {
  if (const auto layer = layer_as<torch::nn::Linear>(module)) return layer;
  if (const auto layer = layer_as<torch::nn::Conv1d>(module)) return layer;
  if (const auto layer = layer_as<torch::nn::Conv2d>(module)) return layer;
  return layer_as<torch::nn::Conv3d>(module);
}

// Every element of the output is one of the input's, so any map of the elements can come after instead of before.
bool only_moves(const torch::nn::Module& module) {
  return is_exactly<torch::nn::Identity, torch::nn::Flatten, torch::nn::Dropout, torch::nn::Dropout2d,
                    torch::nn::Dropout3d, torch::nn::AlphaDropout, torch::nn::FeatureAlphaDropout>(module);
}

bool takes_maximum(const torch::nn::Module& module) {
  return is_exactly<torch::nn::MaxPool1d, torch::nn::MaxPool2d, torch::nn::MaxPool3d, torch::nn::AdaptiveMaxPool1d,
                    torch::nn::AdaptiveMaxPool2d, torch::nn::AdaptiveMaxPool3d>(module);
}

// A layer made without a bias holds that name for an undefined tensor, which Module has no public way to fill in.
struct Registry : torch::nn::Module {
  static torch::OrderedDict<std::string, torch::Tensor>& parameters_of(torch::nn::Module& module) {
    return module.*(&Registry::parameters_);
  }
};

// W (scale f + offset) + b = (scale W) f + (b + offset W 1). The tensors stay the objects that they are, so whoever
// holds one sees the new values.
void merge(const Factors& map, Layer& layer) {
  const auto type = layer.weight.scalar_type();
  const auto weight = layer.weight.to(torch::kDouble);
  if (map.offset != 0) {
    const auto constant = weight.flatten(1).sum(1) * map.offset;
    if (layer.bias.defined()) {
      layer.bias.set_data((layer.bias.to(torch::kDouble) + constant).to(layer.bias.scalar_type()));
    } else {
      layer.bias = constant.to(type).set_requires_grad(layer.weight.requires_grad());
      layer.bias_option = true;
      Registry::parameters_of(layer.module)["bias"] = layer.bias;
    }
  }
  layer.weight.set_data((weight * map.scale).to(type));
}

// ---- The tree -----------------------------------------------------------------------------------------------------

struct Child {
  std::string name;
  std::string path;
  std::shared_ptr<torch::nn::Module> module;
};

std::vector<Child> children_of(const torch::nn::Module& module, const std::string& path) {
  std::vector<Child> result;
  for (const auto& child : module.named_children()) {
    result.push_back({child.key(), path.empty() ? child.key() : path + "." + child.key(), child.value()});
  }
  return result;
}

std::string quoted(const std::string& path) { return path.empty() ? "the module itself" : "\"" + path + "\""; }

// The tensors that a module computes with, those too that a user put in the place of a registered one.
std::vector<torch::Tensor> tensors_of(torch::nn::Module& module) {
  auto result = module.parameters(/*recurse=*/false);
  const auto buffers = module.buffers(/*recurse=*/false);
  result.insert(result.end(), buffers.begin(), buffers.end());
  if (const auto layer = layer_of(module)) {
    result.push_back(layer->weight);
    result.push_back(layer->bias);
  }
  if (const auto* embedding = module.as<torch::nn::Embedding>()) result.push_back(embedding->weight);
  return result;
}

class Folder {
 public:
  explicit Folder(torch::nn::Module& root) {
    survey(root, "");
    if (root.as<ANAct>() != nullptr) {
      result.unreached.emplace_back();
    } else {
      plan(root, "");
    }
  }

  void apply() {
    const torch::NoGradGuard no_grad;
    // From the back, since what is inserted moves the places behind it.
    for (auto& step : steps_ | std::views::reverse) {
      auto& sequential = *step.sequential;
      step.activation.ptr()->eval();
      // A Sequential keeps its modules twice: to call them, and as children.
      *(sequential.begin() + static_cast<std::ptrdiff_t>(step.index)) = step.activation;
      sequential.replace_module(step.name, step.activation.ptr());
      if (step.layer) {
        merge(step.map, *step.layer);
      } else {
        insert_after(sequential, step.index, step.name, multiply_add(step.map));
      }
    }
  }

  Folding result;

 private:
  // One ANAct in one place, and what becomes of it.
  struct Step {
    torch::nn::SequentialImpl* sequential;
    std::size_t index;
    std::string name;
    torch::nn::AnyModule activation;
    Factors map;
    std::optional<Layer> layer;
  };

  struct Owner {
    const torch::nn::Module* module;
    std::string path;
  };

  // In how many places each module stands, and which modules hold each tensor.
  void survey(torch::nn::Module& module, const std::string& path) {
    if (!surveyed_.insert(&module).second) return;
    if (module.is_training()) {
      throw std::invalid_argument("fold: " + quoted(path) + " is in training; expected a module in evaluation, eval()");
    }
    for (const auto& tensor : tensors_of(module)) {
      if (tensor.defined()) owners_[tensor.unsafeGetTensorImpl()].push_back({&module, path});
    }
    for (const auto& child : children_of(module, path)) {
      ++places_[child.module.get()];
      survey(*child.module, child.path);
    }
  }

  void plan(torch::nn::Module& module, const std::string& path) {
    // A module that is held twice is folded once.
    if (!planned_.insert(&module).second) return;
    const auto children = children_of(module, path);
    auto* sequential = module.as<torch::nn::Sequential>();
    // A class derived from Sequential can have children that forward does not call.
    if (sequential != nullptr && !std::ranges::equal(*sequential, children, [](const auto& called, const auto& child) {
          return called.ptr() == child.module;
        })) {
      sequential = nullptr;
    }
    for (std::size_t i = 0; i < children.size(); ++i) {
      const auto& child = children[i];
      const auto* act = child.module->as<ANAct>();
      if (act == nullptr) {
        plan(*child.module, child.path);
      } else if (sequential == nullptr) {
        result.unreached.push_back(child.path);
      } else {
        plan_place(*sequential, children, i, *act);
      }
    }
  }

  void plan_place(torch::nn::SequentialImpl& sequential, const std::vector<Child>& children, std::size_t index,
                  const ANActImpl& act) {
    const auto& place = children[index];
    const auto map = factors(act.statistics(), act.alpha.item<double>(), act.options.values().normalization());
    if (!std::isfinite(map.scale) || !std::isfinite(map.offset)) {
      throw std::invalid_argument("fold: the statistics or alpha of " + quoted(place.path) + " are not finite");
    }
    std::optional<Layer> layer;
    const auto target = find_layer(children, index, map);
    if (const auto* found = std::get_if<const Child*>(&target)) {
      result.merged.emplace_back(place.path, (*found)->path);
      layer.emplace(*layer_of(*(*found)->module));
    } else {
      result.kept.emplace_back(place.path, std::get<std::string>(target));
    }
    steps_.push_back({&sequential, index, place.name, plain_layer(act.options), map, layer});
  }

  // The layer that the map of the ANAct at `index` goes into, or why there is none.
  [[nodiscard]] std::variant<const Child*, std::string> find_layer(const std::vector<Child>& children,
                                                                   std::size_t index, const Factors& map) const {
    for (const auto& next : children | std::views::drop(index + 1)) {
      if (only_moves(*next.module)) continue;
      if (takes_maximum(*next.module)) {
        if (map.scale > 0) continue;
        return quoted(next.path) + " takes the maximum, but the map's scale is not positive";
      }
      const auto layer = layer_of(*next.module);
      if (!layer) {
        return quoted(next.path) + " follows, a " + next.module->name() + "; expected a Linear or a Conv1d, 2d or 3d";
      }
      if (!layer->weight.is_floating_point() || layer->weight.is_meta()) {
        return quoted(next.path) + " has weights that cannot be scaled, of type " + layer->weight.toString();
      }
      if (places_.at(next.module.get()) > 1) return quoted(next.path) + " stands in several places";
      if (layer->pads_with_zeros && map.offset != 0) {
        return quoted(next.path) + " pads with zeros, but the map has an offset";
      }
      if (const auto* other = other_owner(*layer)) {
        return quoted(next.path) + " shares its weight or bias with " + quoted(other->path);
      }
      return &next;
    }
    return "no layer follows in the same Sequential";
  }

  [[nodiscard]] const Owner* other_owner(const Layer& layer) const {
    for (const auto* tensor : {&layer.weight, &layer.bias}) {
      if (!tensor->defined()) continue;
      const auto& owners = owners_.at(tensor->unsafeGetTensorImpl());
      const auto found = std::ranges::find_if(owners, [&](const auto& o) { return o.module != &layer.module; });
      if (found != owners.end()) return &*found;
    }
    return nullptr;
  }

  // Behind `name`, which the Sequential calls at `index`.
  static void insert_after(torch::nn::SequentialImpl& sequential, std::size_t index, const std::string& name,
                           torch::nn::AnyModule module) {
    const auto children = children_of(sequential, "");
    auto inserted = name + "_affine";
    while (std::ranges::find(children, inserted, &Child::name) != children.end()) inserted += "_";
    module.ptr()->eval();
    sequential.push_back(inserted, std::move(module));
    const auto place = sequential.begin() + static_cast<std::ptrdiff_t>(index) + 1;
    std::rotate(place, sequential.end() - 1, sequential.end());
    // The children in the order of the calls, each with its old name.
    for (const auto& child : children | std::views::drop(index + 1)) {
      sequential.unregister_module(child.name);
      sequential.register_module(child.name, child.module);
    }
  }

  std::map<const torch::nn::Module*, std::size_t> places_;
  std::map<const c10::TensorImpl*, std::vector<Owner>> owners_;
  std::set<const torch::nn::Module*> surveyed_;
  std::set<const torch::nn::Module*> planned_;
  std::vector<Step> steps_;
};

}  // namespace

Folding fold(torch::nn::Module& root) {
  // Everything that can fail is done before the first change.
  Folder folder(root);
  folder.apply();
  return std::move(folder.result);
}

}  // namespace anact::nn
