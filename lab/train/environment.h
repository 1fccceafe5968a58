// ops::environment as JSON.
#pragma once

#include <nlohmann/json.hpp>

namespace anact::train {

// The members of environment.json, docs/run-folder.md, in the order in which `anact info` prints them.
[[nodiscard]] nlohmann::ordered_json environment();

// ops::gpu_environment, the same way.
[[nodiscard]] nlohmann::ordered_json gpu_environment();

}  // namespace anact::train
