// NVRTC, where there is one: compiles kernels for an architecture, and says what they take.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kernels/cuda/kernels.h"

namespace anact::kernels::cuda {

struct Resources {
  std::string kernel;
  int registers = 0;
  int shared_bytes = 0;
  int stack_bytes = 0;
  int spilled_bytes = 0;  // stores and loads
  int cubin_bytes = 0;    // an equal part of the program's
};

class Nvrtc {
 public:
  // The library of $ANACT_NVRTC, that of the nvidia-cuda-nvrtc package beside the Python that `python` names, or the
  // system's; none where there is none. Stays loaded.
  static std::optional<Nvrtc> find(const std::string& python);

  [[nodiscard]] std::string version() const;

  // One entry for each name. Throws std::runtime_error with the compiler's log.
  [[nodiscard]] std::vector<Resources> compile(const std::vector<std::string>& names,
                                               const std::string& architecture) const;

 private:
  explicit Nvrtc(void* library);
  template <class Function>
  Function* function(const char* name) const;

  void* library_;
};

}  // namespace anact::kernels::cuda
