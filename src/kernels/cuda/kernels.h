// The CUDA kernels as the host sees them: their sources for NVRTC, their names, their arguments and the shape of a
// launch. Nothing here calls CUDA.
//
// A kernel of kernels.cu is compiled for one element type and one activation:
//
//   nvrtcCreateProgram(program, main_source(), headers()…); nvrtcAddNameExpression(program, name_expression(…));
//   nvrtcCompileProgram(program, compile_options() and the architecture);
//   cuLaunchKernel(the lowered name, launch_shape(…), no dynamic shared memory, one argument: the struct below);
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "anact/activation.h"
#include "kernels/cuda/arguments.h"

namespace anact::kernels::cuda {

enum class Kernel : std::uint8_t {
  // Of PassArguments: moments of x; y of x and the map, without a workspace; both in one pass.
  measure,
  apply,
  apply_measure,
  // Of StepArguments: y by the map of the statistics, and of `moments` where there are. `step` takes `moments` into the
  // statistics if asked, and only then uses the workspace; `step_measure` measures them in the same pass first.
  step,
  step_measure,
  // Of BackwardArguments.
  backward,
  // Of FactorsArguments and UpdateArguments, by one thread.
  factors,
  update,
};

// Every kernel, in the order of the enumeration.
[[nodiscard]] std::span<const Kernel> all_kernels();
// "apply_measure"
[[nodiscard]] std::string_view to_string(Kernel kernel);
// "float32"
[[nodiscard]] std::string_view to_string(ElementType type);

// Whether the kernel is compiled for each element type and activation: all but `factors` and `update` are, for which
// both are ignored below.
[[nodiscard]] bool has_elements(Kernel kernel);

// The name to ask NVRTC for.
[[nodiscard]] std::string name_expression(Kernel kernel, ElementType type, ActivationKind activation);

// The activation as PassArguments and BackwardArguments take it. Throws std::invalid_argument where there is no kernel.
[[nodiscard]] EncodedActivation encode(const Activation& activation);

struct LaunchShape {
  std::uint32_t grid = 1;
  std::uint32_t block = 1;
};

// The same for the same size and number of multiprocessors, as the sums' bits depend on it. An empty tensor is one
// block, which writes what there is to write.
[[nodiscard]] LaunchShape launch_shape(Kernel kernel, ElementType type, std::uint64_t size,
                                       std::uint32_t multiprocessors);

// The bytes of the workspace for a grid. It is zeroed once, and left as it was by every launch that runs to its end.
// Launches that may run at the same time, as those of two streams, must not share one.
[[nodiscard]] constexpr std::size_t workspace_bytes(std::uint32_t grid) {
  return kPartialsOffset + grid * kPartialBytes;
}
// Enough for any launch on a device with so many multiprocessors.
[[nodiscard]] std::size_t largest_workspace_bytes(std::uint32_t multiprocessors);

// A file for NVRTC, under the name by which others include it. Both texts end with a zero.
struct Source {
  const char* name;
  const char* text;
};
[[nodiscard]] const Source& main_source();
[[nodiscard]] std::span<const Source> headers();
// All but the architecture.
[[nodiscard]] std::span<const char* const> compile_options();

}  // namespace anact::kernels::cuda
