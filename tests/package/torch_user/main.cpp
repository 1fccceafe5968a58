// Uses a symbol of each library that anact::torch links.
#include <ATen/Parallel.h>
#include <c10/core/CPUAllocator.h>

int main() { return at::get_num_threads() > 0 && c10::GetCPUAllocator() != nullptr ? 0 : 1; }
