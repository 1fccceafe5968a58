// CUDA's driver, libcuda.so.1, opened when it is first needed. Its functions are declared here, so no CUDA header is
// needed.
#pragma once

#include <string>
#include <vector>

#include "gpu/backend.h"
#include "gpu/shared_library.h"

namespace anact::gpu {

// Works in each device's primary context, which is the one that PyTorch uses. What it loads stays loaded: PyTorch's own
// streams and a captured graph may use a function until the process ends, and by then the driver takes no more calls.
class CudaDriver final : public Driver {
 public:
  // Throws Error when there is no driver, when it lacks a function, and when it finds no device.
  explicit CudaDriver(const std::string& file = "libcuda.so.1");

  [[nodiscard]] const std::vector<Device>& devices() const override { return devices_; }
  [[nodiscard]] LoadedFunction load(int device, const Binary& binary) const override;
  void launch(const LoadedFunction& function, const LaunchSize& size, void* stream, void** arguments) const override;
  [[nodiscard]] void* allocate(const LoadedFunction& function, std::size_t bytes, void* stream) const override;
  [[nodiscard]] bool is_capturing(const LoadedFunction& function, void* stream) const override;

  // The newest CUDA that the driver knows: {13, 0}.
  [[nodiscard]] int major_version() const { return version_ / 1000; }
  [[nodiscard]] int minor_version() const { return version_ % 1000 / 10; }
  [[nodiscard]] std::string path() const { return library_.path(); }

 private:
  // As cuda.h of CUDA 11 to 13 has them; every function returns 0 for success.
  struct Api {
    int (*error_name)(int result, const char** text);
    int (*error_string)(int result, const char** text);
    int (*init)(unsigned flags);
    int (*version)(int* version);
    int (*device_count)(int* count);
    int (*device)(int* device, int ordinal);
    int (*device_name)(char* name, int size, int device);
    int (*device_attribute)(int* value, int attribute, int device);
    int (*retain_primary_context)(void** context, int device);
    int (*current_context)(void** context);
    int (*set_current_context)(void* context);
    int (*exchange_capture_mode)(int* mode);
    int (*capture_status)(void* stream, int* status);
    int (*allocate)(unsigned long long* memory, std::size_t bytes);
    int (*fill)(unsigned long long memory, unsigned char value, std::size_t bytes, void* stream);
    int (*load_module)(void** module, const void* code);
    int (*function)(void** function, void* module, const char* name);
    int (*launch)(void* function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
                  unsigned block_z, unsigned shared_bytes, void* stream, void** arguments, void** extra);
  };
  class Current;
  class RelaxedCapture;

  void check(int result, const char* function) const;
  [[nodiscard]] int handle_of(int device) const;

  SharedLibrary library_;
  Api api_{};
  int version_ = 0;
  std::vector<Device> devices_;
};

}  // namespace anact::gpu
