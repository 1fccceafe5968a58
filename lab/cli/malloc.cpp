#include "cli/malloc.h"

#include <malloc.h>
#include <unistd.h>

#include <cstdlib>
#include <string_view>

namespace anact::cli {

bool malloc_is_set_by_user() {
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view text(*variable);
    if (text.starts_with("MALLOC_")) return true;
    if (text.starts_with("GLIBC_TUNABLES=") && text.find("glibc.malloc.") != std::string_view::npos) return true;
  }
  return false;
}

void tune_malloc() {
  // mallopt would override what the user has set.
  if (malloc_is_set_by_user()) return;
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  // LibTorch then asks for huge pages for tensors of 2 MiB and more; it reads the variable at its first allocation.
  setenv("THP_MEM_ALLOC_ENABLE", "1", 0);
}

}  // namespace anact::cli
