#include "train/environment.h"

#include <variant>

#include "ops/environment.h"

namespace anact::train {
nlohmann::ordered_json environment() {
  nlohmann::ordered_json result;
  for (const auto& [name, value] : ops::environment()) {
    std::visit([&](const auto& plain) { result[name] = plain; }, value);
  }
  return result;
}

}  // namespace anact::train
