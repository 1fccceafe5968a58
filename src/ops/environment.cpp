#include "ops/environment.h"

#include <ATen/Parallel.h>
#include <dlfcn.h>
#include <sys/utsname.h>
#include <torch/headeronly/version.h>

#include <chrono>
#include <ctime>
#include <fstream>
#include <system_error>
#include <thread>
#include <utility>

#include "gpu/gpu.h"
#include "kernels/kernels.h"

namespace anact::ops {
namespace {

std::string processor() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name") || line.starts_with("Model")) {
      const auto colon = line.find(": ");
      if (colon != std::string::npos) return line.substr(colon + 2);
    }
  }
  return "unknown";
}

std::string operating_system() {
  utsname names{};
  if (uname(&names) != 0) return "unknown";
  return std::string(names.sysname) + " " + names.release + " " + names.machine;
}

std::string now() {
  const std::time_t time = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm utc{};
  gmtime_r(&time, &utc);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

#if defined(__clang__)
constexpr const char* kCompiler = __VERSION__;  // names itself
#else
constexpr const char* kCompiler = "g++ " __VERSION__;
#endif

}  // namespace

Environment environment() {
  std::string sets;
  for (const auto& name : kernels::instruction_sets()) sets += (sets.empty() ? "" : " ") + name;
  return {{"anact", ANACT_VERSION},
          {"libtorch", TORCH_VERSION},
          {"compiler", kCompiler},
          {"build_type", ANACT_BUILD_TYPE},
          {"build_flags", ANACT_BUILD_FLAGS},
          {"cpu", processor()},
          {"cores", std::thread::hardware_concurrency()},
          {"instruction_set", kernels::instruction_set()},
          {"instruction_sets", sets},
          {"threads", at::get_num_threads()},
          {"os", operating_system()},
          {"started", now()}};
}

Environment gpu_environment() {
  Environment rows;
  for (auto& [name, value] : gpu::describe({torch_folder()})) rows.emplace_back(name, std::move(value));
  return rows;
}

std::filesystem::path torch_folder() {
  Dl_info info{};
  if (::dladdr(reinterpret_cast<void*>(&at::get_num_threads), &info) == 0 || info.dli_fname == nullptr) return {};
  std::error_code error;
  const auto path = std::filesystem::absolute(info.dli_fname, error);
  return error ? std::filesystem::path() : path.parent_path();
}

}  // namespace anact::ops
