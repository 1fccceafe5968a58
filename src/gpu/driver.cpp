#include "gpu/driver.h"

#include <array>
#include <cstddef>

namespace anact::gpu {
namespace {

// Of CUdevice_attribute and CUstreamCaptureMode.
constexpr int kMultiprocessorCount = 16;
constexpr int kComputeCapabilityMajor = 75;
constexpr int kComputeCapabilityMinor = 76;
constexpr int kCaptureRelaxed = 2;
constexpr int kNotCapturing = 0;  // of CUstreamCaptureStatus

SharedLibrary open_driver(const std::string& file) {
  try {
    return SharedLibrary(file);
  } catch (const Error& error) {
    throw Error(std::string("there is no NVIDIA driver here, or it cannot be opened: ") + error.what());
  }
}

}  // namespace

// Makes a context the thread's current one, unless it is already, and afterwards the one that was before.
class CudaDriver::Current {
 public:
  Current(const CudaDriver& driver, void* context) : driver_(driver) {
    driver_.check(driver_.api_.current_context(&before_), "cuCtxGetCurrent");
    if (before_ == context) return;
    driver_.check(driver_.api_.set_current_context(context), "cuCtxSetCurrent");
    changed_ = true;
  }
  Current(const Current&) = delete;
  Current& operator=(const Current&) = delete;
  ~Current() {
    if (changed_) driver_.api_.set_current_context(before_);
  }

 private:
  const CudaDriver& driver_;
  void* before_ = nullptr;
  bool changed_ = false;
};

// Lets this thread load code while a CUDA graph is captured, which would else end the capture.
class CudaDriver::RelaxedCapture {
 public:
  explicit RelaxedCapture(const CudaDriver& driver) : driver_(driver) {
    driver_.check(driver_.api_.exchange_capture_mode(&mode_), "cuThreadExchangeStreamCaptureMode");
  }
  RelaxedCapture(const RelaxedCapture&) = delete;
  RelaxedCapture& operator=(const RelaxedCapture&) = delete;
  ~RelaxedCapture() { driver_.api_.exchange_capture_mode(&mode_); }

 private:
  const CudaDriver& driver_;
  int mode_ = kCaptureRelaxed;  // the mode that the other call puts in place
};

CudaDriver::CudaDriver(const std::string& file) try : library_(open_driver(file)) {
  library_.bind(api_.error_name, "cuGetErrorName");
  library_.bind(api_.error_string, "cuGetErrorString");
  library_.bind(api_.init, "cuInit");
  library_.bind(api_.version, "cuDriverGetVersion");
  library_.bind(api_.device_count, "cuDeviceGetCount");
  library_.bind(api_.device, "cuDeviceGet");
  library_.bind(api_.device_name, "cuDeviceGetName");
  library_.bind(api_.device_attribute, "cuDeviceGetAttribute");
  library_.bind(api_.retain_primary_context, "cuDevicePrimaryCtxRetain");
  library_.bind(api_.current_context, "cuCtxGetCurrent");
  library_.bind(api_.set_current_context, "cuCtxSetCurrent");
  library_.bind(api_.exchange_capture_mode, "cuThreadExchangeStreamCaptureMode");
  library_.bind(api_.capture_status, "cuStreamIsCapturing");
  library_.bind(api_.allocate, "cuMemAlloc_v2");
  library_.bind(api_.fill, "cuMemsetD8Async");
  library_.bind(api_.load_module, "cuModuleLoadData");
  library_.bind(api_.function, "cuModuleGetFunction");
  library_.bind(api_.launch, "cuLaunchKernel");
  check(api_.init(0), "cuInit");
  check(api_.version(&version_), "cuDriverGetVersion");
  int count = 0;
  check(api_.device_count(&count), "cuDeviceGetCount");
  if (count == 0) throw Error("the driver finds no device");
  for (int ordinal = 0; ordinal < count; ++ordinal) {
    const int device = handle_of(ordinal);
    std::array<char, 256> name{};
    check(api_.device_name(name.data(), static_cast<int>(name.size()) - 1, device), "cuDeviceGetName");
    const auto attribute = [&](int which) {
      int value = 0;
      check(api_.device_attribute(&value, which, device), "cuDeviceGetAttribute");
      return value;
    };
    devices_.push_back({.name = name.data(),
                        .architecture = "sm_" + std::to_string(attribute(kComputeCapabilityMajor)) +
                                        std::to_string(attribute(kComputeCapabilityMinor)),
                        .multiprocessors = attribute(kMultiprocessorCount)});
  }
} catch (const Error& error) {
  throw Error(std::string("no NVIDIA GPU can be used: ") + error.what());
}

void CudaDriver::check(int result, const char* function) const {
  if (result == 0) return;
  const char *name = nullptr, *text = nullptr;
  api_.error_name(result, &name);
  api_.error_string(result, &text);
  throw Error(std::string(function) + ": " + (name != nullptr ? name : std::to_string(result)) +
              (text != nullptr ? std::string(", ") + text : ""));
}

int CudaDriver::handle_of(int device) const {
  int handle = 0;
  check(api_.device(&handle, device), "cuDeviceGet");
  return handle;
}

LoadedFunction CudaDriver::load(int device, const Binary& binary) const {
  LoadedFunction loaded;
  check(api_.retain_primary_context(&loaded.context, handle_of(device)), "cuDevicePrimaryCtxRetain");
  const Current current(*this, loaded.context);
  const RelaxedCapture relaxed(*this);
  void* module = nullptr;
  check(api_.load_module(&module, binary.code.c_str()), "cuModuleLoadData");
  check(api_.function(&loaded.function, module, binary.symbol.c_str()), "cuModuleGetFunction");
  return loaded;
}

void CudaDriver::launch(const LoadedFunction& function, const LaunchSize& size, void* stream, void** arguments) const {
  // A thread of autograd's may have no context yet.
  const Current current(*this, function.context);
  const auto& [grid, block, shared_bytes] = size;
  check(api_.launch(function.function, grid.x, grid.y, grid.z, block.x, block.y, block.z, shared_bytes, stream,
                    arguments, nullptr),
        "cuLaunchKernel");
}

void* CudaDriver::allocate(const LoadedFunction& function, std::size_t bytes, void* stream) const {
  const Current current(*this, function.context);
  unsigned long long memory = 0;
  check(api_.allocate(&memory, bytes), "cuMemAlloc");
  check(api_.fill(memory, 0, bytes, stream), "cuMemsetD8Async");
  return reinterpret_cast<void*>(memory);
}

bool CudaDriver::is_capturing(const LoadedFunction& function, void* stream) const {
  const Current current(*this, function.context);
  int status = 0;
  check(api_.capture_status(stream, &status), "cuStreamIsCapturing");
  return status != kNotCapturing;
}

}  // namespace anact::gpu
