#include "io/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <system_error>
#include <vector>

#include "io/descriptor.h"

namespace anact::io {
namespace {

// Between a file's name and the number of the process that writes it aside.
constexpr const char* kAside = ".tmp";

[[noreturn]] void fail(const char* verb, const std::filesystem::path& path, int error) {
  throw std::runtime_error(std::string("cannot ") + verb + " '" + path.string() + "': " + std::strerror(error));
}

// Removes the file aside unless it has been renamed into place.
class Aside {
 public:
  explicit Aside(std::string path) : path_(std::move(path)) {}
  Aside(const Aside&) = delete;
  Aside& operator=(const Aside&) = delete;
  ~Aside() {
    if (!path_.empty()) ::unlink(path_.c_str());
  }
  void keep() { path_.clear(); }

 private:
  std::string path_;
};

void write_or_throw(int descriptor, const std::filesystem::path& path, std::string_view content) {
  while (!content.empty()) {
    const ssize_t written = ::write(descriptor, content.data(), content.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      fail("write", path, errno);
    }
    content.remove_prefix(static_cast<std::size_t>(written));
  }
}

}  // namespace

void write_file(const std::filesystem::path& path, std::string_view content) {
  write_file(path, std::span(&content, 1));
}

void write_file(const std::filesystem::path& path, std::span<const std::string_view> parts) {
  const std::string aside = path.string() + kAside + std::to_string(::getpid());
  Descriptor file(::open(aside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (file.get() < 0) fail("create", aside, errno);
  Aside remover(aside);
  for (const auto part : parts) write_or_throw(file.get(), aside, part);
  if (::fsync(file.get()) != 0) fail("flush", aside, errno);
  if (file.close() != 0) fail("close", aside, errno);
  if (::rename(aside.c_str(), path.c_str()) != 0) fail("put in place", path, errno);
  remover.keep();
}

void remove_unfinished(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> unfinished;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    const auto name = entry.path().filename().string();
    const auto at = name.rfind(kAside);
    if (!entry.is_regular_file() || at == std::string::npos) continue;
    const auto process = name.substr(at + std::string_view(kAside).size());
    if (!process.empty() && process.find_first_not_of("0123456789") == std::string::npos) {
      unfinished.push_back(entry.path());
    }
  }
  for (const auto& path : unfinished) std::filesystem::remove(path);
}

std::string read_file(const std::filesystem::path& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) fail("open", path, errno);
  std::string content;
  struct stat status {};
  if (::fstat(file.get(), &status) == 0 && S_ISREG(status.st_mode)) {
    content.reserve(static_cast<std::size_t>(status.st_size));
  }
  char buffer[1 << 16];
  for (;;) {
    const ssize_t count = ::read(file.get(), buffer, sizeof buffer);
    if (count < 0) {
      if (errno == EINTR) continue;
      fail("read", path, errno);
    }
    if (count == 0) return content;
    content.append(buffer, static_cast<std::size_t>(count));
  }
}

}  // namespace anact::io
