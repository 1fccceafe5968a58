// How the program uses glibc's malloc.
#pragma once

namespace anact::cli {

// Whether the environment sets anything of malloc: a variable MALLOC_…, or a glibc.malloc.… in GLIBC_TUNABLES.
[[nodiscard]] bool malloc_is_set_by_user();

// Makes malloc keep freed memory, and LibTorch ask for huge pages, unless malloc_is_set_by_user(): glibc gives big
// blocks back to the system at every step of a training, and taking them again costs page faults. Call it before
// LibTorch allocates anything.
void tune_malloc();

}  // namespace anact::cli
