// The way into the room: what there is to run kernels on.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "gpu/backend.h"

namespace anact::gpu {

// False where the environment has ANACT_CUDA=off; read at each call.
[[nodiscard]] bool enabled();

// CUDA's driver and compiler. `torch_folders` are absolute paths of folders with LibTorch's libraries, beside which
// PyTorch's wheels have NVRTC. Throws Error that says what is missing and where it was looked for.
[[nodiscard]] Backend open_cuda(const std::vector<std::filesystem::path>& torch_folders);

// Names and values for a bug report: the GPUs, the driver, the compiler and the cache, or why there is none. Starts the
// driver, so it is not for a process that will fork and then use the GPU.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> describe(
    const std::vector<std::filesystem::path>& torch_folders);

}  // namespace anact::gpu
