#include "bench/instruction_set.h"

#include <ATen/Version.h>

#include <cstdlib>
#include <stdexcept>

#include "kernels/kernels.h"

namespace anact::bench {
namespace {

// What the others call an instruction set; null where there is nothing to set.
struct Names {
  const char* torch;      // ATEN_CPU_CAPABILITY
  const char* torch_own;  // at::get_cpu_capability()
  const char* onednn;     // ONEDNN_MAX_CPU_ISA
  const char* mkl;        // MKL_ENABLE_INSTRUCTIONS
};

Names names_of(const std::string& set) {
  // AVX3, AVX3_DL, AVX3_ZEN4, AVX10_2, …: all of them are AVX-512.
  if (set.starts_with("AVX3") || set.starts_with("AVX10")) return {"avx512", "AVX512", nullptr, "AVX512"};
  if (set == "AVX2") return {"avx2", "AVX2", "AVX2", "AVX2"};
  if (set.starts_with("SS")) return {"default", "DEFAULT", "SSE41", "SSE4_2"};
  return {"default", "DEFAULT", nullptr, nullptr};
}

void set_unless_set(const char* variable, const char* value) {
  if (value != nullptr) ::setenv(variable, value, 0);
}

}  // namespace

void use_instruction_set(const std::string& name) {
  kernels::use_instruction_set(name);
  const auto names = names_of(name);
  set_unless_set("ATEN_CPU_CAPABILITY", names.torch);
  set_unless_set("ONEDNN_MAX_CPU_ISA", names.onednn);
  set_unless_set("MKL_ENABLE_INSTRUCTIONS", names.mkl);
  if (const auto used = torch_instruction_set(); used != names.torch_own) {
    throw std::runtime_error("PyTorch uses " + used + " and not " + names.torch_own + ", as the instruction set " +
                             name + " needs for a fair comparison; ATEN_CPU_CAPABILITY is '" +
                             std::getenv("ATEN_CPU_CAPABILITY") + "'");
  }
}

std::string torch_instruction_set() { return at::get_cpu_capability(); }

}  // namespace anact::bench
