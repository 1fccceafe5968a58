// One instruction set for all contenders.
#pragma once

#include <string>

namespace anact::bench {

// Makes ANAct's kernels use the instruction set of that name, as kernels::instruction_sets() has it, and holds PyTorch,
// oneDNN and MKL to the same. Those three read environment variables when they are first used, so this must be called
// before anything of ATen runs; a variable that is set already stays as it is. Lasts until the process ends.
//
// Throws std::invalid_argument, naming those there are, for an unknown name, and std::runtime_error when PyTorch does
// not use what it was told.
void use_instruction_set(const std::string& name);

// What PyTorch's own kernels use, as PyTorch calls it: "AVX512", "AVX2", "DEFAULT", …
[[nodiscard]] std::string torch_instruction_set();

}  // namespace anact::bench
