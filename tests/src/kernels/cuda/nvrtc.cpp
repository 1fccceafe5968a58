#include "kernels/cuda/nvrtc.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <regex>
#include <sstream>
#include <stdexcept>

namespace anact::kernels::cuda {
namespace {

namespace fs = std::filesystem;

// The prototypes of nvrtc.h that are used here.
using Program = void*;
using Version = int(int*, int*);
using Create = int(Program*, const char*, const char*, int, const char* const*, const char* const*);
using AddName = int(Program, const char*);
using Compile = int(Program, int, const char* const*);
using GetLoweredName = int(Program, const char*, const char**);
using GetLogSize = int(Program, std::size_t*);
using GetLog = int(Program, char*);
using GetCubinSize = int(Program, std::size_t*);
using Destroy = int(Program*);

// Files of a folder and those below it whose names begin so, the newest name first.
std::vector<fs::path> files(const fs::path& folder, const std::string& beginning) {
  std::vector<fs::path> found;
  std::error_code none;
  for (const auto& entry : fs::recursive_directory_iterator(folder, none)) {
    if (entry.path().filename().string().starts_with(beginning)) found.push_back(entry.path());
  }
  std::ranges::sort(found, std::greater());
  return found;
}

void* open(const fs::path& folder) {
  const auto libraries = files(folder, "libnvrtc.so");
  if (libraries.empty()) return nullptr;
  // NVRTC looks for its built-in functions by name alone.
  for (const auto& builtins : files(folder, "libnvrtc-builtins.so")) dlopen(builtins.c_str(), RTLD_NOW | RTLD_GLOBAL);
  return dlopen(libraries.front().c_str(), RTLD_NOW);
}

int number(const std::string& line, const char* pattern) {
  std::smatch match;
  return std::regex_search(line, match, std::regex(pattern)) ? std::stoi(match[1]) : 0;
}

// What ptxas says, by the kernels' lowered names.
std::map<std::string, Resources> read_log(const std::string& log) {
  std::map<std::string, Resources> all;
  std::istringstream lines(log);
  std::string entry;
  std::string properties_of;
  for (std::string line; std::getline(lines, line);) {
    std::smatch match;
    if (std::regex_search(line, match, std::regex("entry function '([^']+)'"))) {
      entry = match[1];
      all[entry] = {};
    } else if (std::regex_search(line, match, std::regex("Function properties for (\\S+)"))) {
      properties_of = match[1];
    } else if (line.find("bytes stack frame") != line.npos) {
      // Those of a function that is called count for the kernels that may call it: all of this log.
      for (auto& [name, resources] : all) {
        if (all.contains(properties_of) && name != properties_of) continue;
        resources.stack_bytes += number(line, "(\\d+) bytes stack frame");
        resources.spilled_bytes += number(line, "(\\d+) bytes spill stores") + number(line, "(\\d+) bytes spill loads");
      }
    } else if (line.find(" registers") != line.npos && !entry.empty()) {
      all[entry].registers = number(line, "Used (\\d+) registers");
      all[entry].shared_bytes = number(line, "(\\d+) bytes smem");
    }
  }
  return all;
}

}  // namespace

Nvrtc::Nvrtc(void* library) : library_(library) {}

template <class Function>
Function* Nvrtc::function(const char* name) const {
  auto* found = reinterpret_cast<Function*>(dlsym(library_, name));
  if (found == nullptr) throw std::runtime_error(std::string("NVRTC has no ") + name);
  return found;
}

std::optional<Nvrtc> Nvrtc::find(const std::string& python) {
  std::vector<fs::path> folders;
  if (const char* named = std::getenv("ANACT_NVRTC")) folders.emplace_back(named);
  std::error_code none;
  // <prefix>/bin/python; <prefix>/lib/python3.x/site-packages
  const fs::path prefix = fs::path(python).parent_path().parent_path();
  for (const auto& entry : fs::directory_iterator(prefix / "lib", none)) {
    folders.push_back(entry.path() / "site-packages" / "nvidia");
  }
  folders.emplace_back("/usr/local/cuda/lib64");
  for (const auto& folder : folders) {
    if (void* library = open(folder)) return Nvrtc(library);
  }
  return std::nullopt;
}

std::string Nvrtc::version() const {
  int major = 0;
  int minor = 0;
  function<Version>("nvrtcVersion")(&major, &minor);
  return std::to_string(major) + "." + std::to_string(minor);
}

std::vector<Resources> Nvrtc::compile(const std::vector<std::string>& names, const std::string& architecture) const {
  std::vector<const char*> texts;
  std::vector<const char*> include_names;
  for (const Source& header : headers()) {
    texts.push_back(header.text);
    include_names.push_back(header.name);
  }
  Program program = nullptr;
  const auto check = [&](int status, const char* what) {
    if (status != 0) throw std::runtime_error(std::string(what) + " returned " + std::to_string(status));
  };
  check(function<Create>("nvrtcCreateProgram")(&program, main_source().text, main_source().name,
                                               static_cast<int>(texts.size()), texts.data(), include_names.data()),
        "nvrtcCreateProgram");
  for (const auto& name : names)
    check(function<AddName>("nvrtcAddNameExpression")(program, name.c_str()), name.c_str());
  std::vector<const char*> options(compile_options().begin(), compile_options().end());
  const std::string architecture_option = "--gpu-architecture=" + architecture;
  options.push_back(architecture_option.c_str());
  options.push_back("--ptxas-options=-v");
  const int status =
      function<Compile>("nvrtcCompileProgram")(program, static_cast<int>(options.size()), options.data());
  std::size_t size = 0;
  function<GetLogSize>("nvrtcGetProgramLogSize")(program, &size);
  std::string log(size, '\0');
  function<GetLog>("nvrtcGetProgramLog")(program, log.data());
  if (status != 0) throw std::runtime_error("NVRTC for " + architecture + ":\n" + log);

  const auto all = read_log(log);
  function<GetCubinSize>("nvrtcGetCUBINSize")(program, &size);
  std::vector<Resources> result;
  for (const auto& name : names) {
    const char* lowered = nullptr;
    check(function<GetLoweredName>("nvrtcGetLoweredName")(program, name.c_str(), &lowered), name.c_str());
    const auto found = all.find(lowered);
    if (found == all.end()) throw std::runtime_error("NVRTC's log has no " + std::string(lowered) + ":\n" + log);
    result.push_back(found->second);
    result.back().kernel = name;
    result.back().cubin_bytes = static_cast<int>(size / names.size());
  }
  function<Destroy>("nvrtcDestroyProgram")(&program);
  return result;
}

}  // namespace anact::kernels::cuda
