// A file descriptor that closes itself.
#pragma once

#include <unistd.h>

#include <utility>

namespace anact::io {

// Closes on every way out. A negative value is no descriptor.
class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  [[nodiscard]] int get() const { return value_; }
  // What the system's close() returns, for whoever must know that the content has been taken.
  [[nodiscard]] int close() { return ::close(std::exchange(value_, -1)); }

 private:
  int value_;
};

}  // namespace anact::io
