// A library with the CUDA driver's functions, for machines that have none. It loads what the stub of NVRTC makes, and
// a launch adds the threads of the grid to the counter that its first argument points to. From the environment:
//   ANACT_STUB_DEVICES        compute capabilities, "9.0 8.6"; "" for no device
//   ANACT_STUB_DRIVER         the version, "13000"
//   ANACT_STUB_LAUNCH_ERROR   what cuLaunchKernel returns
#include <cstdint>
#include <cstring>
#include <new>
#include <sstream>
#include <string>
#include <vector>

#include "stubs/log.h"

namespace {

struct Capability {
  int major = 0, minor = 0;
};

std::vector<Capability> devices() {
  std::istringstream stream(anact::test::variable("ANACT_STUB_DEVICES", "9.0"));
  std::vector<Capability> values;
  char point = 0;
  for (Capability value; stream >> value.major >> point >> value.minor;) values.push_back(value);
  return values;
}

struct Context {
  int device = 0;
};
Context contexts[16];

thread_local Context* current = nullptr;
thread_local int capture_mode = 0;

struct Function {
  Context* context;
  std::string name;
};

enum Result {
  kSuccess = 0,
  kInvalidValue = 1,
  kNoDevice = 100,
  kInvalidImage = 200,
  kInvalidContext = 201,
  kNoBinaryForGpu = 209,
  kNotFound = 500,
  kCaptureUnsupported = 900
};

}  // namespace

extern "C" {

int cuGetErrorName(int result, const char** text) {
  switch (result) {
    case kNoDevice:
      *text = "CUDA_ERROR_NO_DEVICE";
      return kSuccess;
    case kNoBinaryForGpu:
      *text = "CUDA_ERROR_NO_BINARY_FOR_GPU";
      return kSuccess;
    default:
      *text = nullptr;
      return kInvalidValue;
  }
}

int cuGetErrorString(int result, const char** text) {
  *text = result == kNoDevice ? "no CUDA-capable device is detected" : nullptr;
  return result == kNoDevice ? kSuccess : kInvalidValue;
}

int cuInit(unsigned) { return devices().empty() ? kNoDevice : kSuccess; }

int cuDriverGetVersion(int* version) {
  *version = std::stoi(anact::test::variable("ANACT_STUB_DRIVER", "13000"));
  return kSuccess;
}

int cuDeviceGetCount(int* count) {
  *count = static_cast<int>(devices().size());
  return kSuccess;
}

int cuDeviceGet(int* device, int ordinal) {
  *device = ordinal;
  return kSuccess;
}

int cuDeviceGetName(char* name, int size, int) {
  std::strncpy(name, "Stub", static_cast<std::size_t>(size));
  return kSuccess;
}

int cuDeviceGetAttribute(int* value, int attribute, int device) {
  const auto capability = devices().at(static_cast<std::size_t>(device));
  *value = attribute == 16 ? 4 : attribute == 75 ? capability.major : attribute == 76 ? capability.minor : -1;
  return kSuccess;
}

int cuDevicePrimaryCtxRetain(void** context, int device) {
  contexts[device].device = device;
  *context = &contexts[device];
  return kSuccess;
}

int cuCtxGetCurrent(void** context) {
  *context = current;
  return kSuccess;
}

int cuCtxSetCurrent(void* context) {
  current = static_cast<Context*>(context);
  return kSuccess;
}

int cuThreadExchangeStreamCaptureMode(int* mode) {
  std::swap(*mode, capture_mode);
  return kSuccess;
}

// The stream of this number is being captured.
int cuStreamIsCapturing(void* stream, int* status) {
  if (current == nullptr) return kInvalidContext;
  *status = reinterpret_cast<std::uintptr_t>(stream) == 7 ? 1 : 0;
  return kSuccess;
}

int cuMemAlloc_v2(unsigned long long* memory, std::size_t bytes) {
  if (current == nullptr) return kInvalidContext;
  *memory = reinterpret_cast<unsigned long long>(::operator new(bytes));
  std::memset(reinterpret_cast<void*>(*memory), 0xff, bytes);
  return kSuccess;
}

int cuMemsetD8Async(unsigned long long memory, unsigned char value, std::size_t bytes, void*) {
  if (current == nullptr) return kInvalidContext;
  std::memset(reinterpret_cast<void*>(memory), value, bytes);
  return kSuccess;
}

int cuModuleLoadData(void** module, const void* code) {
  const std::string text(static_cast<const char*>(code));
  anact::test::log_call("load " + text);
  if (current == nullptr) return kInvalidContext;
  if (capture_mode != 2) return kCaptureUnsupported;
  const auto capability = devices().at(static_cast<std::size_t>(current->device));
  const auto own = "CUBIN sm_" + std::to_string(capability.major) + std::to_string(capability.minor) + " ";
  if (!text.starts_with("CUBIN ") && !text.starts_with("PTX ")) return kInvalidImage;
  if (text.starts_with("CUBIN ") && !text.starts_with(own)) return kNoBinaryForGpu;
  *module = new Function{current, text.substr(text.find(' ', text.find(' ') + 1) + 1)};
  return kSuccess;
}

int cuModuleGetFunction(void** function, void* module, const char* name) {
  if (static_cast<Function*>(module)->name != name) return kNotFound;
  *function = module;
  return kSuccess;
}

#ifndef ANACT_STUB_WITHOUT_LAUNCH
int cuLaunchKernel(void* function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                   unsigned block_y, unsigned block_z, unsigned shared_bytes, void* stream, void** arguments,
                   void** extra) {
  if (const int error = std::stoi(anact::test::variable("ANACT_STUB_LAUNCH_ERROR", "0")); error != 0) return error;
  if (current == nullptr || current != static_cast<Function*>(function)->context) return kInvalidContext;
  anact::test::log_call("launch " + static_cast<Function*>(function)->name + " on " + std::to_string(current->device) +
                        " shared " + std::to_string(shared_bytes) + " stream " +
                        std::to_string(reinterpret_cast<std::uintptr_t>(stream)));
  if (extra != nullptr) return kInvalidValue;
  **static_cast<std::uint64_t**>(arguments[0]) += std::uint64_t{grid_x} * grid_y * grid_z * block_x * block_y * block_z;
  return kSuccess;
}
#endif

}  // extern "C"
