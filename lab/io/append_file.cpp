#include "io/append_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>

namespace anact::io {
namespace {

[[noreturn]] void fail(const char* verb, const std::filesystem::path& path, int error) {
  throw std::runtime_error(std::string("cannot ") + verb + " '" + path.string() + "': " + std::strerror(error));
}

int open_or_throw(const std::filesystem::path& path, bool create) {
  const int descriptor = ::open(path.c_str(), O_WRONLY | O_CLOEXEC | (create ? O_CREAT | O_TRUNC : 0), 0666);
  if (descriptor < 0) fail(create ? "create" : "open", path, errno);
  return descriptor;
}

// Cuts the file to `size` bytes and goes to its end.
void cut_or_throw(int descriptor, const std::filesystem::path& path, std::int64_t size) {
  if (size < 0) throw std::invalid_argument("a file has no size of " + std::to_string(size) + " bytes");
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) fail("read the size of", path, errno);
  if (size > status.st_size) {
    throw std::runtime_error("'" + path.string() + "' has " + std::to_string(status.st_size) + " bytes; expected " +
                             std::to_string(size) + " or more");
  }
  if (::ftruncate(descriptor, size) != 0) fail("cut", path, errno);
  if (::lseek(descriptor, size, SEEK_SET) < 0) fail("go to the end of", path, errno);
}

}  // namespace

AppendFile::AppendFile(std::filesystem::path path, std::optional<std::int64_t> size)
    : path_(std::move(path)), descriptor_(open_or_throw(path_, !size)) {
  if (!size) return;
  try {
    cut_or_throw(descriptor_, path_, *size);
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
  size_ = *size;
}

AppendFile::~AppendFile() { ::close(descriptor_); }

void AppendFile::append(std::string_view content) {
  std::size_t done = 0;
  while (done < content.size()) {
    const ssize_t written = ::write(descriptor_, content.data() + done, content.size() - done);
    if (written < 0) {
      if (errno == EINTR) continue;
      const int error = errno;
      // A reader takes the file up to here for whole; if even this fails, it passes over a last line without its end.
      if (::ftruncate(descriptor_, size_) == 0) ::lseek(descriptor_, size_, SEEK_SET);
      fail("write", path_, error);
    }
    done += static_cast<std::size_t>(written);
  }
  size_ += static_cast<std::int64_t>(content.size());
}

void AppendFile::flush() {
  if (::fsync(descriptor_) != 0) fail("flush", path_, errno);
}

}  // namespace anact::io
