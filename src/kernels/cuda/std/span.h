#pragma once

#include <cstddef>

namespace std {

// A member of what the device has no use for.
template <class T>
class span {
  const T* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace std
