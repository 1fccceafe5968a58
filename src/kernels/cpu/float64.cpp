#define ANACT_ELEMENT double

#include "kernels/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/float64.cpp"
#include <hwy/foreach_target.h>  // must precede highway.h

#include "kernels/cpu/entry-inl.h"
