// What a result depends on besides its configuration: versions, build, processor, threads.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace anact::ops {

// Names and values in the order in which `anact info` prints them; docs/run-folder.md says what each is.
using Environment = std::vector<std::pair<std::string, std::variant<std::string, std::int64_t>>>;
[[nodiscard]] Environment environment();

}  // namespace anact::ops
