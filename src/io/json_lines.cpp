#include "io/json_lines.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <string>

namespace anact::io {

nlohmann::json number(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  return value;
}

JsonLines::JsonLines(std::filesystem::path path)
    : path_(std::move(path)), descriptor_(::open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) {
  if (descriptor_ < 0) throw std::runtime_error("cannot create '" + path_.string() + "': " + std::strerror(errno));
}

JsonLines::~JsonLines() { ::close(descriptor_); }

void JsonLines::append(const nlohmann::json& object) {
  const std::string line = object.dump() + "\n";
  std::size_t done = 0;
  while (done < line.size()) {
    const ssize_t written = ::write(descriptor_, line.data() + done, line.size() - done);
    if (written < 0) {
      if (errno == EINTR) continue;
      const int error = errno;
      // A reader takes the file up to here for whole; if even this fails, it passes over a last line without its end.
      if (::ftruncate(descriptor_, size_) == 0) ::lseek(descriptor_, size_, SEEK_SET);
      throw std::runtime_error("cannot write '" + path_.string() + "': " + std::strerror(error));
    }
    done += static_cast<std::size_t>(written);
  }
  size_ += static_cast<std::int64_t>(line.size());
}

}  // namespace anact::io
