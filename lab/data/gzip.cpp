#include "data/gzip.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string_view>

#include "data/source.h"

namespace anact::data {

GzipFile::GzipFile(std::filesystem::path path) : path_(std::move(path)), file_(nullptr, &gzclose) {
  errno = 0;
  file_.reset(gzopen(path_.c_str(), "rb"));
  if (!file_) throw std::runtime_error("cannot open " + quote_path(path_) + ": " + std::strerror(errno));
}

std::size_t GzipFile::read(std::span<std::uint8_t> bytes) {
  constexpr std::size_t kMostAtOnce = 1 << 30;
  std::size_t filled = 0;
  while (filled < bytes.size()) {
    errno = 0;
    const auto wanted = static_cast<unsigned>(std::min(bytes.size() - filled, kMostAtOnce));
    const int count = gzread(file_.get(), bytes.data() + filled, wanted);
    int code = Z_OK;
    std::string_view message = gzerror(file_.get(), &code);
    if (count > 0) {
      filled += static_cast<std::size_t>(count);
      position_ += static_cast<std::uint64_t>(count);
    }
    // A file that ends within the compressed stream reads as shorter, with this code.
    if (count < 0 || code == Z_BUF_ERROR) {
      if (code == Z_ERRNO) message = std::strerror(errno);
      if (message.starts_with(path_.native() + ": ")) message.remove_prefix(path_.native().size() + 2);
      fail(path_,
           "after " + std::to_string(position_) + " bytes: " + std::string(message) + "; expected a whole gzip file");
    }
    if (count == 0) break;
  }
  return filled;
}

std::uint64_t GzipFile::largest_size() {
  const auto size = std::filesystem::file_size(path_);
  return gzdirect(file_.get()) != 0 ? size : size * 1032;
}

std::string read_gzip(const std::filesystem::path& path, std::size_t limit, const std::string& expectation) {
  GzipFile file(path);
  std::string content;
  std::array<std::uint8_t, 1 << 16> buffer;
  for (;;) {
    const auto count = file.read(buffer);
    content.append(buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(count));
    if (content.size() > limit) fail(path, expectation);
    if (count < buffer.size()) return content;
  }
}

}  // namespace anact::data
