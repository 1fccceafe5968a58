#define ANACT_ELEMENT Float16
#define ANACT_FIND find_float16

#include "kernels/cuda/emulated_kernels-inl.h"
