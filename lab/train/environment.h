// ops::environment as JSON.
#pragma once

#include <nlohmann/json.hpp>

namespace anact::train {

// The members of environment.json, docs/run-folder.md, in the order in which `anact info` prints them.
[[nodiscard]] nlohmann::ordered_json environment();

}  // namespace anact::train
