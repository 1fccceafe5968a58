// What a result depends on besides its configuration: versions, build, processor, threads.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace anact::ops {

// Names and values in the order in which `anact info` prints them; docs/run-folder.md says what each is.
using Environment = std::vector<std::pair<std::string, std::variant<std::string, std::int64_t>>>;
[[nodiscard]] Environment environment();

// The GPU, its driver and compiler and the cache of kernels, or why there is none, which `anact info` prints below.
// Apart from the rest because it starts the driver, which would be of no use in a process forked later.
[[nodiscard]] Environment gpu_environment();

// The folder that LibTorch was loaded from; empty where the system does not tell.
[[nodiscard]] std::filesystem::path torch_folder();

}  // namespace anact::ops
