// NVRTC, CUDA's compiler as a library: in PyTorch's CUDA wheels by way of nvidia-cuda-nvrtc, and in the CUDA toolkit.
// It is opened when it is first needed, and its functions are declared here, so no CUDA header is.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "gpu/backend.h"
#include "gpu/shared_library.h"

namespace anact::gpu {

class Nvrtc final : public Compiler {
 public:
  // The library at a path, or of a name on the system's library path. Throws Error when it cannot be opened or lacks a
  // function.
  explicit Nvrtc(const std::string& file);

  [[nodiscard]] std::string version() const override;

  // A cubin for an architecture that this NVRTC knows; PTX of the newest older one where it does not.
  [[nodiscard]] Binary compile(const Program& program, const std::string& expression,
                               const std::string& architecture) const override;

  [[nodiscard]] int major_version() const { return major_; }
  [[nodiscard]] std::string path() const { return library_.path(); }

  // The library of CUDA's own headers that NVRTC cannot compile without, where it was not found; else empty.
  [[nodiscard]] const std::string& missing_builtins() const { return missing_builtins_; }

 private:
  // As nvrtc.h of CUDA 11.2 to 13 has them; every function returns 0 for success.
  struct Api {
    const char* (*error_string)(int result);
    int (*version)(int* major, int* minor);
    int (*architecture_count)(int* count);
    int (*architectures)(int* values);
    int (*create)(void** program, const char* source, const char* name, int headers, const char* const* texts,
                  const char* const* include_names);
    int (*destroy)(void** program);
    int (*add_name)(void* program, const char* expression);
    int (*compile)(void* program, int count, const char* const* options);
    int (*log_size)(void* program, std::size_t* size);
    int (*log)(void* program, char* text);
    int (*cubin_size)(void* program, std::size_t* size);
    int (*cubin)(void* program, char* code);
    int (*ptx_size)(void* program, std::size_t* size);
    int (*ptx)(void* program, char* code);
    int (*lowered_name)(void* program, const char* expression, const char** name);
  };
  class Unit;

  void check(int result, const char* function) const;

  SharedLibrary library_;
  Api api_{};
  int major_ = 0, minor_ = 0;
  std::vector<int> architectures_;  // ascending: 75 is sm_75
  std::string missing_builtins_;
};

struct NvrtcSearch {
  // Folders of libtorch; those of the wheels beside it are found from them.
  std::vector<std::filesystem::path> torch_folders;
  // The CUDA version of the driver, for which a newer NVRTC is of no use; 0 for any.
  int newest_major = 0;
};

// Looks among the libraries that the process has loaded, then in the wheels beside libtorch, on the system's library
// path (LD_LIBRARY_PATH, ldconfig), and in the toolkit's folders (CUDA_HOME, CUDA_PATH, /usr/local/cuda). Throws Error
// that says where it looked and why it took nothing of what it found.
[[nodiscard]] std::unique_ptr<Nvrtc> find_nvrtc(const NvrtcSearch& search);

// Whether a file's name is that of NVRTC itself: neither its builtins nor the wheels' alternative build.
[[nodiscard]] bool is_nvrtc_name(std::string_view name);

}  // namespace anact::gpu
