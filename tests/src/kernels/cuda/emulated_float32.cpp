#define ANACT_ELEMENT float
#define ANACT_FIND find_float32

#include "kernels/cuda/emulated_kernels-inl.h"
