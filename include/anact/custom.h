// An activation of the user's own.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>

namespace anact {

// f and f' as functions on tensors, for an activation that the catalogue does not have.
//
// Each is given a float32 or float64 tensor of any shape, empty ones included, which it must not change, and returns f
// or f' of every element in a tensor of that shape; another type than the argument's is converted. For a 16-bit input
// the argument is a float32 copy of it. Neither is run with gradients on, except f and f' in a double backward, which
// goes through their own operations.
struct CustomActivation {
  using Function = std::function<at::Tensor(const at::Tensor&)>;

  std::string name;  // as the module prints it
  Function value;
  Function derivative;
};

// Throws std::invalid_argument for an empty name or a function that is not set.
void validate(const CustomActivation& activation);

}  // namespace anact
