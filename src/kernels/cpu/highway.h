// Highway for our choice of instruction sets. No guard here: it is included anew for each of them.

// clang-format off
#include "kernels/cpu/targets.h"
#include <hwy/highway.h>
// clang-format on
