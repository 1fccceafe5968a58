#define ANACT_ELEMENT float

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/float32.cpp"
#include <hwy/foreach_target.h>  // must precede highway.h

#include "kernels/cpu/entry-inl.h"
