// What a network's options must be.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

#include "models/activation.h"

namespace anact::models {

// Throws std::invalid_argument that names the model, the option and its value unless that is at least 1.
inline void check_positive(std::string_view model, std::string_view name, std::int64_t value) {
  if (value >= 1) return;
  std::string message(model);
  message.append(": ").append(name).append(" is ").append(std::to_string(value)).append("; it must be at least 1");
  throw std::invalid_argument(message);
}

// Throws std::invalid_argument when there is no factory to make activations.
inline void check_activation(std::string_view model, const ActivationFactory& activation) {
  if (!activation) throw std::invalid_argument(std::string(model).append(": activation is not set"));
}

}  // namespace anact::models
