// Compiles every CUDA kernel with NVRTC and prints what it takes, as CSV: architecture, kernel, type, activation,
// registers, and the bytes of shared memory, of the stack, spilled, and of the cubin.
//
//   cuda_table PYTHON [ARCHITECTURE...]
//
// NVRTC is that of the environment of PYTHON, unless ANACT_NVRTC names a folder. All of sm_75 to sm_120 takes half an
// hour on one core.

#include <cstdio>
#include <exception>

#include "kernels/cuda/nvrtc.h"

namespace {

using namespace anact;
using namespace anact::kernels::cuda;

void print(const std::string& architecture, Kernel kernel, std::string_view type, std::string_view activation,
           const Resources& r) {
  std::printf("%s,%s,%s,%s,%d,%d,%d,%d,%d\n", architecture.c_str(), std::string(to_string(kernel)).c_str(),
              std::string(type).c_str(), std::string(activation).c_str(), r.registers, r.shared_bytes, r.stack_bytes,
              r.spilled_bytes, r.cubin_bytes);
}

int run(const std::string& python, std::vector<std::string> architectures) {
  const auto nvrtc = Nvrtc::find(python);
  if (!nvrtc) {
    std::fputs("cuda_table: there is no NVRTC\n", stderr);
    return 1;
  }
  if (architectures.empty()) architectures = {"sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"};
  std::fprintf(stderr, "NVRTC %s\n", nvrtc->version().c_str());
  std::puts("architecture,kernel,type,activation,registers,shared_bytes,stack_bytes,spilled_bytes,cubin_bytes");
  for (const auto& architecture : architectures) {
    for (const Kernel kernel : all_kernels()) {
      if (!has_elements(kernel)) {
        const auto name = name_expression(kernel, ElementType::float32, ActivationKind::identity);
        print(architecture, kernel, "", "", nvrtc->compile({name}, architecture)[0]);
        continue;
      }
      for (const auto type :
           {ElementType::float32, ElementType::float64, ElementType::bfloat16, ElementType::float16}) {
        std::vector<std::string> names;
        for (const auto& info : activation_catalogue()) names.push_back(name_expression(kernel, type, info.kind));
        const auto all = nvrtc->compile(names, architecture);
        for (std::size_t i = 0; i < all.size(); ++i) {
          print(architecture, kernel, to_string(type), activation_catalogue()[i].name, all[i]);
        }
        std::fflush(stdout);
      }
    }
  }
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 2) {
    std::fputs("usage: cuda_table PYTHON [ARCHITECTURE...]\n", stderr);
    return 2;
  }
  try {
    return run(arguments[1], {arguments + 2, arguments + count});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "cuda_table: %s\n", error.what());
    return 1;
  }
}
