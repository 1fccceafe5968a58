// The functions on vectors that the activations are written in: Highway's, or for CUDA the same on scalars. No guard
// here: Highway's are included anew for each instruction set.

#ifdef ANACT_CUDA
#include "kernels/cuda/scalar.h"
#else
#include "kernels/cpu/highway.h"
#endif
