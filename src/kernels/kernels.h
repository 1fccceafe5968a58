// The fused kernels: raw pointers in and out, one thread, chosen at run time for the processor's instruction set.
//
// The input is processed in blocks of kBlockSize elements. A block's results depend on nothing but the block, so
// callers may hand blocks to threads as they like and still get the same bits.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "anact/activation.h"
#include "anact/moments.h"

namespace anact::kernels {

// Elements to a block: 16 KiB of float, so that a block's input and output stay in the first-level cache.
inline constexpr std::size_t kBlockSize = 4096;

[[nodiscard]] constexpr std::size_t block_count(std::size_t size) { return (size + kBlockSize - 1) / kBlockSize; }

// Whether forward_f32 and backward_f32 know the activation.
[[nodiscard]] bool has_float32(ActivationKind kind);

// y = scale * f(x) + offset for `size` elements. `moments`, unless null, receives one entry a block. `y` may be null
// when `moments` is not: the sums alone are then computed. `y` may be `x`.
//
// Arithmetic is in float; at most 16 vectors are added in float before a sum is carried on in double. NaN and
// infinities go through as in the formula, and make the block's moments non-finite.
//
// Accuracy of f and f', in units in the last place of float, over every float (asserted by tests/kernels):
//   relu  0, 0
//   silu  f: 4 where |f| >= 1e-34; f': 4 units in the last place of max(|f'|, 1/4) (f' has a zero at -1.278)
void forward_f32(const Activation& activation, const float* x, std::size_t size, float scale, float offset, float* y,
                 Moments* moments);

// The sums that the gradient of alpha needs.
struct GradientSums {
  double gradient = 0;        // sum of g
  double gradient_value = 0;  // sum of g * f(x)
};

// dx = scale * g * f'(x) for `size` elements, with one GradientSums a block in `sums`. `dx` may be `g`.
void backward_f32(const Activation& activation, const float* x, const float* g, std::size_t size, float scale,
                  float* dx, GradientSums* sums);

// The name of the instruction set in use, as Highway calls it: "AVX3", "AVX2", "SSE4", "NEON", …
[[nodiscard]] std::string instruction_set();

// Every instruction set that was compiled in and that this processor has, best first.
[[nodiscard]] std::vector<std::string> instruction_sets();

// Uses the named instruction set from now on, or the best one again for "". Not for use while kernels run. Throws
// std::invalid_argument, naming those there are, for one that is not among instruction_sets().
void use_instruction_set(const std::string& name);

}  // namespace anact::kernels
