// A network's weights as a file.
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "io/safetensors.h"

namespace anact::models {

using NamedTensors = std::vector<std::pair<std::string, torch::Tensor>>;

// Every parameter and buffer by its path ("layer1.0.conv1.weight"), as PyTorch's state_dict names them.
[[nodiscard]] NamedTensors state(const torch::nn::Module& module);

// What a file's metadata says of the ANActs in the module: for each "anact:" and its path, its activation and options.
[[nodiscard]] io::Metadata description(const torch::nn::Module& module);

// Tensors of any device and layout as a safetensors file. The metadata gets an entry "format" of "pt", without which
// Python's libraries refuse a file as one of another framework. Throws as io::write_safetensors does, and
// std::invalid_argument for a dtype that the format has not.
void save_tensors(const std::filesystem::path& path, const NamedTensors& tensors, const io::Metadata& metadata = {});

// The tensors of a file, on the CPU, with memory of their own.
[[nodiscard]] NamedTensors tensors_of(const io::Safetensors& file);

// Copies the file's tensors into the module's parameters and buffers of the same names, converting the dtype. Throws
// std::runtime_error that names the file and the tensors when one is missing in the file, has no place in the module,
// or has another shape, and when the file describes an ANAct (as description() does, or Python's state_dict) whose
// activation or options the module's has not; nothing is changed then. What belongs to an ANAct module may be missing,
// so that a network with ANAct can begin from weights that were trained without it; those keep their values, and their
// names are returned.
std::vector<std::string> load_weights(torch::nn::Module& module, const std::filesystem::path& path);
// The same for what was read already; `source_name` is what errors call it.
std::vector<std::string> load_weights(torch::nn::Module& module, const NamedTensors& tensors,
                                      const io::Metadata& metadata, const std::string& source_name);

}  // namespace anact::models
