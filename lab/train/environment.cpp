#include "train/environment.h"

#include <variant>

#include "ops/environment.h"

namespace anact::train {
namespace {

nlohmann::ordered_json to_json(const ops::Environment& environment) {
  nlohmann::ordered_json result;
  for (const auto& [name, value] : environment) {
    std::visit([&, &key = name](const auto& plain) { result[key] = plain; }, value);
  }
  return result;
}

}  // namespace

nlohmann::ordered_json environment() { return to_json(ops::environment()); }

nlohmann::ordered_json gpu_environment() { return to_json(ops::gpu_environment()); }

}  // namespace anact::train
