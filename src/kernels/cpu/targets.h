// The instruction sets to compile for, the same in every file; must precede Highway's headers.
#pragma once

// SVE's vectors have no size at compile time and so cannot be members of the structs that the functions here return.
// NEON serves those processors. Where there is no AVX2, SSSE3 gives the bits that SSE4 would, as fast.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_SSE4)
