#define ANACT_ELEMENT Float16

#include "kernels/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/float16.cpp"
#include <hwy/foreach_target.h>  // must precede highway.h

#include "kernels/cpu/entry-inl.h"
