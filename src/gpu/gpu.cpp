#include "gpu/gpu.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string_view>

#include "gpu/cache.h"
#include "gpu/driver.h"
#include "gpu/nvrtc.h"
#include "text/words.h"

namespace anact::gpu {
namespace {

std::string_view setting() {
  const char* value = std::getenv("ANACT_CUDA");
  return value != nullptr ? value : "";
}

// "2 × NVIDIA H100 (sm_90, 132 multiprocessors)"
std::string to_text(const std::vector<Device>& devices) {
  std::vector<std::pair<std::string, int>> kinds;
  for (const auto& device : devices) {
    auto text =
        device.name + " (" + device.architecture + ", " + std::to_string(device.multiprocessors) + " multiprocessors)";
    const auto at = std::find_if(kinds.begin(), kinds.end(), [&](const auto& kind) { return kind.first == text; });
    if (at == kinds.end()) {
      kinds.emplace_back(std::move(text), 1);
    } else {
      ++at->second;
    }
  }
  std::vector<std::string> texts;
  for (const auto& [text, count] : kinds) texts.push_back((count > 1 ? std::to_string(count) + " × " : "") + text);
  return text::join(texts, "; ");
}

std::string describe_cache() {
  const auto folder = cache_folder();
  if (folder.empty()) return "none: none of ANACT_CACHE, XDG_CACHE_HOME and HOME is set";
  const auto usage = Cache(folder).usage();
  return folder.string() + ", " + std::to_string(usage.entries) + (usage.entries == 1 ? " kernel, " : " kernels, ") +
         std::to_string(usage.bytes) + " bytes";
}

}  // namespace

bool enabled() { return setting() != "off"; }

Backend open_cuda(const std::vector<std::filesystem::path>& torch_folders) {
  auto driver = std::make_unique<CudaDriver>();
  auto compiler = find_nvrtc({.torch_folders = torch_folders, .newest_major = driver->major_version()});
  return {.driver = std::move(driver), .compiler = std::move(compiler)};
}

std::vector<std::pair<std::string, std::string>> describe(const std::vector<std::filesystem::path>& torch_folders) {
  std::vector<std::pair<std::string, std::string>> rows;
  int newest_major = 0;
  try {
    const CudaDriver driver;
    newest_major = driver.major_version();
    rows.emplace_back("gpu", to_text(driver.devices()));
    rows.emplace_back("gpu_driver", "CUDA " + std::to_string(newest_major) + "." +
                                        std::to_string(driver.minor_version()) + ", " + driver.path());
  } catch (const Error& error) {
    rows.emplace_back("gpu", std::string("none: ") + error.what());
  }
  try {
    const auto nvrtc = find_nvrtc({.torch_folders = torch_folders, .newest_major = newest_major});
    rows.emplace_back("gpu_compiler",
                      nvrtc->version() + ", " + nvrtc->path() +
                          (nvrtc->missing_builtins().empty() ? "" : ", unusable without " + nvrtc->missing_builtins()));
  } catch (const Error& error) {
    rows.emplace_back("gpu_compiler", std::string("none: ") + error.what());
  }
  rows.emplace_back("gpu_cache", describe_cache());
  if (!setting().empty()) {
    rows.emplace_back("gpu_kernels", enabled() ? "on; ANACT_CUDA is '" + std::string(setting()) + "', not 'off'"
                                               : "off, by ANACT_CUDA");
  }
  return rows;
}

}  // namespace anact::gpu
