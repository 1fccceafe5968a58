#include "models/weights.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <set>
#include <stdexcept>
#include <string_view>

#include "anact/nn.h"

namespace anact::models {
namespace {

constexpr std::array<std::pair<const char*, torch::Dtype>, 10> kDtypes{{{"F64", torch::kDouble},
                                                                        {"F32", torch::kFloat},
                                                                        {"F16", torch::kHalf},
                                                                        {"BF16", torch::kBFloat16},
                                                                        {"I64", torch::kLong},
                                                                        {"I32", torch::kInt},
                                                                        {"I16", torch::kShort},
                                                                        {"I8", torch::kChar},
                                                                        {"U8", torch::kByte},
                                                                        {"BOOL", torch::kBool}}};
// So many names an error message gives at most.
constexpr std::size_t kMostNames = 3;

const char* name_of(torch::Dtype dtype) {
  const auto found = std::ranges::find(kDtypes, dtype, [](const auto& pair) { return pair.second; });
  if (found == kDtypes.end()) {
    throw std::invalid_argument(std::string("safetensors has no dtype for ") + c10::toString(dtype));
  }
  return found->first;
}

torch::Dtype dtype_of(const std::string& name) {
  return std::ranges::find(kDtypes, std::string_view(name),
                           [](const auto& pair) { return std::string_view(pair.first); })
      ->second;
}

std::string to_text(torch::IntArrayRef shape) {
  std::string text;
  for (const auto size : shape) text.append(text.empty() ? "" : "x").append(std::to_string(size));
  return text.empty() ? "a scalar" : text;
}

// Names and how many more there are.
class Names {
 public:
  void add(const std::string& name) {
    if (++count_ <= kMostNames) text_.append(text_.empty() ? "" : ", ").append(name);
  }
  [[nodiscard]] bool empty() const { return count_ == 0; }
  [[nodiscard]] std::string text() const {
    return count_ <= kMostNames ? text_ : text_ + " and " + std::to_string(count_ - kMostNames) + " more";
  }

 private:
  std::size_t count_ = 0;
  std::string text_;
};

// Calls f with each module's path, followed by a dot unless it is the root's, and the module.
template <class F>
void visit(const torch::nn::Module& module, F f) {
  for (const auto& item : module.named_modules())
    f(item.key().empty() ? std::string() : item.key() + ".", *item.value());
}

// The names of what belongs to the ANAct modules in `module`.
std::set<std::string> names_of_anact(const torch::nn::Module& module) {
  std::set<std::string> names;
  visit(module, [&](const std::string& prefix, const torch::nn::Module& part) {
    if (part.as<nn::ANActImpl>() == nullptr) return;
    for (const auto& items : {part.named_parameters(false), part.named_buffers(false)}) {
      for (const auto& item : items) names.insert(prefix + item.key());
    }
  });
  return names;
}

// Before the path of an ANAct in a file's metadata.
constexpr std::string_view kAnact = "anact:";

// The end of the name of the tensor in which Python's state_dict describes an ANAct, the text in bytes.
constexpr std::string_view kExtraState = "_extra_state";

// The file's tensors, and the descriptions of the ANActs by their paths, each followed by a dot unless it is the
// root's.
std::pair<NamedTensors, std::map<std::string, std::string>> split(const NamedTensors& all,
                                                                  const io::Metadata& metadata) {
  std::map<std::string, std::string> saved;
  for (const auto& [key, text] : metadata) {
    if (!key.starts_with(kAnact)) continue;
    const auto path = key.substr(kAnact.size());
    saved[path.empty() ? path : path + "."] = text;
  }
  NamedTensors tensors;
  for (const auto& [name, tensor] : all) {
    if (name.ends_with(kExtraState) && tensor.scalar_type() == torch::kByte) {
      const auto bytes = tensor.contiguous();
      saved[name.substr(0, name.size() - kExtraState.size())] =
          std::string(reinterpret_cast<const char*>(bytes.const_data_ptr<std::uint8_t>()), bytes.nbytes());
    } else {
      tensors.emplace_back(name, tensor);
    }
  }
  return {tensors, saved};
}

}  // namespace

NamedTensors state(const torch::nn::Module& module) {
  NamedTensors tensors;
  // PyTorch's order: a module's parameters, its buffers, then its children.
  visit(module, [&](const std::string& prefix, const torch::nn::Module& part) {
    for (const auto& items : {part.named_parameters(false), part.named_buffers(false)}) {
      for (const auto& item : items) {
        if (item.value().defined()) tensors.emplace_back(prefix + item.key(), item.value());
      }
    }
  });
  return tensors;
}

io::Metadata description(const torch::nn::Module& module) {
  io::Metadata metadata;
  for (const auto& item : module.named_modules()) {
    if (const auto* act = item.value()->as<nn::ANActImpl>(); act != nullptr) {
      metadata[std::string(kAnact) + item.key()] = nn::to_text(act->options);
    }
  }
  return metadata;
}

void save_tensors(const std::filesystem::path& path, const NamedTensors& tensors, const io::Metadata& metadata) {
  auto with_format = metadata;
  with_format["format"] = "pt";
  const torch::NoGradGuard no_grad;
  std::vector<torch::Tensor> dense;  // owns what `named` refers to
  std::vector<io::NamedTensor> named;
  for (const auto& [name, tensor] : tensors) {
    dense.push_back(tensor.cpu().contiguous());
    named.push_back({.name = name,
                     .dtype = name_of(tensor.scalar_type()),
                     .shape = tensor.sizes().vec(),
                     .data = {static_cast<const std::byte*>(dense.back().const_data_ptr()), dense.back().nbytes()}});
  }
  io::write_safetensors(path, named, with_format);
}

NamedTensors tensors_of(const io::Safetensors& file) {
  NamedTensors tensors;
  for (const auto& named : file.tensors()) {
    const auto dtype = dtype_of(named.dtype);
    // What others wrote as bool may hold bytes that are no bool in C++.
    auto tensor = torch::empty(named.shape, dtype == torch::kBool ? torch::kByte : dtype);
    if (!named.data.empty()) std::memcpy(tensor.mutable_data_ptr(), named.data.data(), named.data.size());
    tensors.emplace_back(named.name, dtype == torch::kBool ? tensor.ne(0) : tensor);
  }
  return tensors;
}

std::vector<std::string> load_weights(torch::nn::Module& module, const std::filesystem::path& path) {
  const io::Safetensors file(path);
  return load_weights(module, tensors_of(file), file.metadata(), path.string());
}

std::vector<std::string> load_weights(torch::nn::Module& module, const NamedTensors& all, const io::Metadata& metadata,
                                      const std::string& source_name) {
  const auto [tensors, saved] = split(all, metadata);
  const std::map<std::string, torch::Tensor> found(tensors.begin(), tensors.end());
  const auto of_anact = names_of_anact(module);
  const auto places = state(module);
  std::vector<std::string> kept;
  Names missing, misshapen, spare;
  std::set<std::string_view> known;
  for (const auto& [name, tensor] : places) {
    known.insert(name);
    const auto source = found.find(name);
    if (source == found.end()) {
      if (of_anact.contains(name)) {
        kept.push_back(name);
      } else {
        missing.add(name);
      }
    } else if (source->second.sizes() != tensor.sizes()) {
      misshapen.add(name + " is " + to_text(source->second.sizes()) + ", expected " + to_text(tensor.sizes()));
    }
  }
  for (const auto& [name, tensor] : found) {
    if (!known.contains(name)) spare.add(name);
  }
  Names others;
  visit(module, [&](const std::string& prefix, const torch::nn::Module& part) {
    const auto* act = part.as<nn::ANActImpl>();
    const auto text = saved.find(prefix);
    if (act == nullptr || text == saved.end()) return;
    const auto wrong = nn::mismatch(act->options, text->second);
    if (!wrong.empty())
      others.add("of " + (prefix.empty() ? "the module" : prefix.substr(0, prefix.size() - 1)) + ": " + wrong);
  });
  std::string problems;
  for (const auto& [what, names] : {std::pair<const char*, const Names&>{"it lacks ", missing},
                                    {"the network has no place for ", spare},
                                    {"", misshapen},
                                    {"", others}}) {
    if (!names.empty()) problems.append(problems.empty() ? "" : "; ").append(what).append(names.text());
  }
  if (!problems.empty()) throw std::runtime_error("'" + source_name + "': " + problems);
  const torch::NoGradGuard no_grad;
  for (auto [name, tensor] : places) {
    if (const auto source = found.find(name); source != found.end()) tensor.copy_(source->second);
  }
  return kept;
}

}  // namespace anact::models
