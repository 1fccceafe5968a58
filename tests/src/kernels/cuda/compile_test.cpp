// That NVRTC compiles every kernel, for architectures that this machine need not have, and that none spills.

#include <gtest/gtest.h>

#include "kernels/cuda/nvrtc.h"

namespace anact::kernels::cuda {
namespace {

constexpr const char* kNoNvrtc =
    "there is no NVRTC; `pip install nvidia-cuda-nvrtc` in the environment that has PyTorch, or name its folder in "
    "ANACT_NVRTC";

std::vector<std::string> names_of(Kernel kernel, ElementType type) {
  std::vector<std::string> names;
  for (const auto& info : activation_catalogue()) names.push_back(name_expression(kernel, type, info.kind));
  return names;
}

void expect_room(const Nvrtc& nvrtc, const std::vector<std::string>& names, const std::string& architecture) {
  for (const auto& kernel : nvrtc.compile(names, architecture)) {
    EXPECT_EQ(kernel.spilled_bytes, 0) << kernel.kernel << " for " << architecture;
    EXPECT_EQ(kernel.stack_bytes, 0) << kernel.kernel << " for " << architecture;
    // What lets kBlocksPerMultiprocessor of them reside.
    EXPECT_GT(kernel.registers, 0) << kernel.kernel;
    EXPECT_LE(kernel.registers, 80) << kernel.kernel << " for " << architecture;
  }
}

void expect_room_in_all(const std::vector<ElementType>& types, const std::vector<std::string>& architectures) {
  const auto nvrtc = Nvrtc::find(ANACT_PYTHON);
  if (!nvrtc) GTEST_SKIP() << kNoNvrtc;
  for (const auto& architecture : architectures) {
    for (const Kernel kernel : all_kernels()) {
      if (!has_elements(kernel)) {
        expect_room(*nvrtc, {name_expression(kernel, types[0], ActivationKind::identity)}, architecture);
        continue;
      }
      for (const ElementType type : types) expect_room(*nvrtc, names_of(kernel, type), architecture);
    }
  }
}

TEST(CudaCompile, EveryArchitectureTakesTheKernels) {
  const auto nvrtc = Nvrtc::find(ANACT_PYTHON);
  if (!nvrtc) GTEST_SKIP() << kNoNvrtc;
  const auto silu = [](Kernel kernel, ElementType type) { return name_expression(kernel, type, ActivationKind::silu); };
  for (const char* architecture : {"sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"}) {
    expect_room(*nvrtc,
                {silu(Kernel::step_measure, ElementType::bfloat16), silu(Kernel::backward, ElementType::float32),
                 silu(Kernel::factors, ElementType::float32), silu(Kernel::update, ElementType::float32)},
                architecture);
  }
}

// `cuda_table` compiles those of every type for every architecture, in half an hour.
TEST(SlowCudaCompile, EveryKernelOfTwoTypes) {
  expect_room_in_all({ElementType::float32, ElementType::bfloat16}, {"sm_90"});
}

TEST(CudaCompile, AnErrorComesWithTheCompilersLog) {
  const auto nvrtc = Nvrtc::find(ANACT_PYTHON);
  if (!nvrtc) GTEST_SKIP() << kNoNvrtc;
  try {
    (void)nvrtc->compile({"anact::kernels::N_CUDA::Missing<float>"}, "sm_80");
    FAIL() << "compiled";
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("Missing"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace anact::kernels::cuda
