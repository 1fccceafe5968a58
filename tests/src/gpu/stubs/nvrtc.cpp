// A library with NVRTC's functions, for machines that have none. A source that holds "#error" does not compile; what
// another becomes says for what it was compiled. From the environment:
//   ANACT_STUB_VERSION        "13.0"
//   ANACT_STUB_ARCHITECTURES  "75 80 86 90 100 120"
//   ANACT_STUB_SLEEP          milliseconds that a compilation takes
#include <dlfcn.h>

#include <chrono>
#include <cstddef>
#include <cstring>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "stubs/log.h"

namespace {

struct Unit {
  std::string source, expression, log, cubin, ptx, lowered;
};

Unit& unit_of(void* program) { return *static_cast<Unit*>(program); }

std::string version_text() { return anact::test::variable("ANACT_STUB_VERSION", "13.0"); }

std::vector<int> architectures() {
  std::istringstream stream(anact::test::variable("ANACT_STUB_ARCHITECTURES", "75 80 86 90 100 120"));
  std::vector<int> values;
  for (int value = 0; stream >> value;) values.push_back(value);
  return values;
}

int copy(const std::string& text, char* to) {
  std::memcpy(to, text.c_str(), text.size() + 1);
  return 0;
}

enum Result { kSuccess = 0, kCompilation = 6, kBuiltin = 7 };

}  // namespace

extern "C" {

const char* nvrtcGetErrorString(int result) {
  return result == kCompilation ? "NVRTC_ERROR_COMPILATION"
         : result == kBuiltin   ? "NVRTC_ERROR_BUILTIN_OPERATION_FAILURE"
                                : "NVRTC_ERROR unknown";
}

int nvrtcVersion(int* major, int* minor) {
  std::istringstream stream(version_text());
  char point = 0;
  stream >> *major >> point >> *minor;
  return kSuccess;
}

int nvrtcGetNumSupportedArchs(int* count) {
  *count = static_cast<int>(architectures().size());
  return kSuccess;
}

int nvrtcGetSupportedArchs(int* values) {
  for (const int value : architectures()) *values++ = value;
  return kSuccess;
}

int nvrtcCreateProgram(void** program, const char* source, const char* name, int headers, const char* const* texts,
                       const char* const* include_names) {
  auto* unit = new Unit{.source = std::string(name) + "\n" + source + "\n"};
  for (int i = 0; i < headers; ++i) unit->source += std::string(include_names[i]) + "\n" + texts[i] + "\n";
  *program = unit;
  return kSuccess;
}

int nvrtcDestroyProgram(void** program) {
  delete &unit_of(*program);
  *program = nullptr;
  return kSuccess;
}

int nvrtcAddNameExpression(void* program, const char* expression) {
  unit_of(program).expression = expression;
  return kSuccess;
}

int nvrtcCompileProgram(void* program, int count, const char* const* options) {
  auto& unit = unit_of(program);
  std::string words;
  for (int i = 0; i < count; ++i) words += std::string(i == 0 ? "" : " ") + options[i];
  anact::test::log_call("compile " + unit.expression + " " + words);
  std::this_thread::sleep_for(std::chrono::milliseconds(std::stoi(anact::test::variable("ANACT_STUB_SLEEP", "0"))));
  const auto builtins = "libnvrtc-builtins.so." + version_text();
  if (::dlopen(builtins.c_str(), RTLD_NOW | RTLD_NOLOAD) == nullptr) {
    unit.log = "nvrtc: error: failed to open " + builtins + ".\n";
    return kBuiltin;
  }
  if (const auto at = unit.source.find("#error"); at != std::string::npos) {
    unit.log = "kernel.cu(1): error: " + unit.source.substr(at + 7, unit.source.find('\n', at) - at - 7) + "\n";
    return kCompilation;
  }
  const std::string option = "--gpu-architecture=";
  const auto target = words.substr(option.size(), words.find(' ') - option.size());
  unit.lowered = "lowered(" + unit.expression + ")";
  unit.ptx = "PTX " + target + " " + unit.lowered;
  anact::test::log_call("done " + unit.expression);
  if (target.starts_with("sm_")) unit.cubin = "CUBIN " + target + " " + unit.lowered;
  return kSuccess;
}

int nvrtcGetProgramLogSize(void* program, std::size_t* size) {
  *size = unit_of(program).log.size() + 1;
  return kSuccess;
}

int nvrtcGetProgramLog(void* program, char* text) { return copy(unit_of(program).log, text); }

int nvrtcGetPTXSize(void* program, std::size_t* size) {
  *size = unit_of(program).ptx.size() + 1;
  return kSuccess;
}

int nvrtcGetPTX(void* program, char* code) { return copy(unit_of(program).ptx, code); }

#ifndef ANACT_STUB_WITHOUT_CUBIN
int nvrtcGetCUBINSize(void* program, std::size_t* size) {
  *size = unit_of(program).cubin.size() + 1;
  return kSuccess;
}

int nvrtcGetCUBIN(void* program, char* code) { return copy(unit_of(program).cubin, code); }
#endif

int nvrtcGetLoweredName(void* program, const char*, const char** name) {
  *name = unit_of(program).lowered.c_str();
  return kSuccess;
}

}  // extern "C"
