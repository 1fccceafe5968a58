#include "io/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>

namespace anact::io {
namespace {

[[noreturn]] void fail(const char* verb, const std::filesystem::path& path) {
  throw std::runtime_error("cannot " + std::string(verb) + " '" + path.string() + "': " + std::strerror(errno));
}

// Whether the path still leads to the open file. The holder before may have removed it when it was done.
bool is_at(int descriptor, const std::filesystem::path& path) {
  struct stat open {
  }, there{};
  return ::fstat(descriptor, &open) == 0 && ::stat(path.c_str(), &there) == 0 && open.st_dev == there.st_dev &&
         open.st_ino == there.st_ino;
}

}  // namespace

std::optional<FileLock> FileLock::take(const std::filesystem::path& path, bool wait) {
  while (true) {
    auto descriptor = std::make_unique<Descriptor>(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
    if (descriptor->get() < 0) fail("open", path);
    while (::flock(descriptor->get(), LOCK_EX | (wait ? 0 : LOCK_NB)) != 0) {
      if (errno == EWOULDBLOCK) return std::nullopt;
      if (errno != EINTR) fail("lock", path);
    }
    if (is_at(descriptor->get(), path)) return FileLock(std::move(descriptor));
  }
}

}  // namespace anact::io
