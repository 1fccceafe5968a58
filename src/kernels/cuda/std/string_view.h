#pragma once

#include <cstddef>

namespace std {

// A member of what the device has no use for.
class string_view {
  const char* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace std
