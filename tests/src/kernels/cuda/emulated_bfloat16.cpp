#define ANACT_ELEMENT BFloat16
#define ANACT_FIND find_bfloat16

#include "kernels/cuda/emulated_kernels-inl.h"
