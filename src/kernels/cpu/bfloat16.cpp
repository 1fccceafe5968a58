#define ANACT_ELEMENT BFloat16

#include "kernels/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/bfloat16.cpp"
#include <hwy/foreach_target.h>  // must precede highway.h

#include "kernels/cpu/entry-inl.h"
