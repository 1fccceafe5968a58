// A lock on a file that the system gives back when the process ends, however it ends.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include "io/descriptor.h"

namespace anact::io {

class FileLock {
 public:
  // Makes the file when it is not there. Waits for the lock, or returns nothing when another process, or another lock
  // of this one, holds it. Throws std::runtime_error that names the path and the system's reason.
  [[nodiscard]] static std::optional<FileLock> take(const std::filesystem::path& path, bool wait);

  // Of the file, which is open for reading and writing.
  [[nodiscard]] int descriptor() const { return descriptor_->get(); }

 private:
  explicit FileLock(std::unique_ptr<Descriptor> descriptor) : descriptor_(std::move(descriptor)) {}

  std::unique_ptr<Descriptor> descriptor_;
};

}  // namespace anact::io
