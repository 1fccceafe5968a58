// The fused kernels: raw pointers in and out, one thread, chosen at run time for the processor's instruction set.
//
// The input is processed in blocks of kBlockSize elements. A block's results depend on nothing but the block, so
// callers may hand blocks to threads as they like and still get the same bits.
//
// Arithmetic is in float for float and the 16-bit types, in double for double; at most 16 pairs of vectors are added in
// float before a sum is carried on in double. An activation's parameters are rounded to the type of the arithmetic.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "anact/activation.h"
#include "anact/moments.h"
#include "kernels/accuracy.h"
#include "kernels/element_types.h"

namespace anact::kernels {

// Elements to a block: 16 KiB of float, so that a block's input and output stay in the first-level cache.
inline constexpr std::size_t kBlockSize = 4096;

[[nodiscard]] constexpr std::size_t block_count(std::size_t size) { return (size + kBlockSize - 1) / kBlockSize; }

// Whether `forward` and `backward` know the activation.
[[nodiscard]] bool has_kernel(ActivationKind kind);

// The bounds of the activation's error in float, which tests/src/kernels asserts. Throws std::invalid_argument where
// there is no kernel.
[[nodiscard]] const Accuracy& accuracy(ActivationKind kind);

// y = scale * f(x) + offset for `size` elements. `moments`, unless null, receives one entry a block. `y` may be null
// when `moments` is not: the sums alone are then computed. `y` may be `x`. With `streaming` the output goes past the
// caches, which pays when it is larger than they are; that needs a `y` aligned to 64 bytes and is ignored for any
// other.
//
// f(NaN) is NaN. At an infinity the result is the limit, or what the formula gives; either makes the block's moments
// non-finite where f is unbounded.
void forward(const Activation& activation, const float* x, std::size_t size, double scale, double offset, float* y,
             Moments* moments, bool streaming = false);
void forward(const Activation& activation, const double* x, std::size_t size, double scale, double offset, double* y,
             Moments* moments, bool streaming = false);
void forward(const Activation& activation, const BFloat16* x, std::size_t size, double scale, double offset,
             BFloat16* y, Moments* moments, bool streaming = false);
void forward(const Activation& activation, const Float16* x, std::size_t size, double scale, double offset, Float16* y,
             Moments* moments, bool streaming = false);

// The sums that the gradient of alpha needs.
struct GradientSums {
  double gradient = 0;        // sum of g
  double gradient_value = 0;  // sum of g * f(x)
};

// dx = scale * g * f'(x) for `size` elements, with one GradientSums a block in `sums`. `dx` may be `g`. `streaming` is
// for `dx` what it is for `y` above. f'(NaN) is NaN unless f' takes constant values by comparisons alone, as relu's.
void backward(const Activation& activation, const float* x, const float* g, std::size_t size, double scale, float* dx,
              GradientSums* sums, bool streaming = false);
void backward(const Activation& activation, const double* x, const double* g, std::size_t size, double scale,
              double* dx, GradientSums* sums, bool streaming = false);
void backward(const Activation& activation, const BFloat16* x, const BFloat16* g, std::size_t size, double scale,
              BFloat16* dx, GradientSums* sums, bool streaming = false);
void backward(const Activation& activation, const Float16* x, const Float16* g, std::size_t size, double scale,
              Float16* dx, GradientSums* sums, bool streaming = false);

// The name of the instruction set in use, as Highway calls it: "AVX3", "AVX2", "SSSE3", "NEON", …
[[nodiscard]] std::string instruction_set();

// Every instruction set that was compiled in and that this processor has, best first.
[[nodiscard]] std::vector<std::string> instruction_sets();

// Uses the named instruction set from now on, or the best one again for "". Not for use while kernels run. Throws
// std::invalid_argument, naming those there are, for one that is not among instruction_sets().
void use_instruction_set(const std::string& name);

}  // namespace anact::kernels
