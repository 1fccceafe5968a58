#define ANACT_ELEMENT Float16

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/float16.cpp"
#include <hwy/foreach_target.h>  // must precede highway.h

#include "kernels/cpu/entry-inl.h"
