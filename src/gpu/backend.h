// What compiles a kernel's source and what runs it, on one vendor's GPUs. CUDA's are NVRTC (gpu/nvrtc.h) and the driver
// (gpu/driver.h); HIP's hipRTC and runtime have the same shape.
#pragma once

#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace anact::gpu {

// What is missing or failed, by its name.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A source in memory, under the name by which others include it and messages call it.
struct Source {
  std::string name;
  std::string text;
};

struct Program {
  Source main;
  std::vector<Source> headers;
  std::vector<std::string> options;  // without the architecture
};

struct Binary {
  std::string code;    // for one architecture, or PTX, which the driver translates when it loads it
  std::string symbol;  // the name of the function in `code`
};

class Compiler {
 public:
  virtual ~Compiler() = default;

  // All that tells one compiler's output from another's: "NVRTC 13.0".
  [[nodiscard]] virtual std::string version() const = 0;

  // Compiles the function that `expression` names in the program, for an architecture as Device has it. May be called
  // on several threads at once. Throws Error with the compiler's log.
  [[nodiscard]] virtual Binary compile(const Program& program, const std::string& expression,
                                       const std::string& architecture) const = 0;
};

struct Device {
  std::string name;          // "NVIDIA H100 80GB HBM3"
  std::string architecture;  // "sm_90"
  int multiprocessors = 0;
};

// A function on a device, valid for the rest of the process.
struct LoadedFunction {
  void* function = nullptr;
  void* context = nullptr;
};

struct Extent {
  unsigned x = 1, y = 1, z = 1;
};

struct LaunchSize {
  Extent grid;                // blocks
  Extent block;               // threads of a block
  unsigned shared_bytes = 0;  // besides what the function declares
};

class Driver {
 public:
  virtual ~Driver() = default;

  // Devices in the order of the frameworks: CUDA_VISIBLE_DEVICES has been applied.
  [[nodiscard]] virtual const std::vector<Device>& devices() const = 0;

  // Throws Error, as where the code is for another architecture or newer than the driver.
  [[nodiscard]] virtual LoadedFunction load(int device, const Binary& binary) const = 0;

  // Puts one launch into the stream, 0 for the default one, and returns before it has run. `arguments` point to the
  // function's arguments, which are copied. Throws Error for what the driver refuses, and for what failed on the device
  // before.
  virtual void launch(const LoadedFunction& function, const LaunchSize& size, void* stream, void** arguments) const = 0;

  // Zeroed memory on the function's device that is never freed. The framework's own allocator may lend out a second
  // time what was made while a graph's memory was in use. Not for a stream that is captured.
  [[nodiscard]] virtual void* allocate(const LoadedFunction& function, std::size_t bytes, void* stream) const = 0;

  // Whether launches into the stream of the function's device are recorded for a graph, and do not run yet.
  [[nodiscard]] virtual bool is_capturing(const LoadedFunction& function, void* stream) const = 0;
};

struct Backend {
  std::unique_ptr<Driver> driver;
  std::unique_ptr<Compiler> compiler;
};

}  // namespace anact::gpu
