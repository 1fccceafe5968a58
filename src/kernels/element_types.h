// The 16-bit types as they lie in memory.
#pragma once

#include <cstdint>

namespace anact::kernels {

// The bits of a bfloat16 (float's upper half) and of an IEEE binary16. Results are those of float, rounded to nearest,
// ties to even; beyond the largest finite number to infinity.
struct BFloat16 {
  std::uint16_t bits = 0;
};
struct Float16 {
  std::uint16_t bits = 0;
};

}  // namespace anact::kernels
