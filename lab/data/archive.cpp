#include "data/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data/source.h"
#include "io/descriptor.h"

namespace anact::data {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kBlock = std::size_t{1} << 16;

[[noreturn]] void fail_with_reason(const char* verb, const fs::path& path) {
  const int error = errno;
  throw std::runtime_error(std::string("cannot ") + verb + " " + quote_path(path) + ": " + std::strerror(error));
}

// What is there of the folder so far; removed on every way out.
class Aside {
 public:
  explicit Aside(fs::path path) : path_(std::move(path)) {
    // An earlier process that was killed may have left it.
    fs::remove_all(path_);
    fs::create_directories(path_);
  }
  Aside(const Aside&) = delete;
  Aside& operator=(const Aside&) = delete;
  ~Aside() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  [[nodiscard]] const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

class Unpacking {
 public:
  Unpacking(const fs::path& archive, const fs::path& aside, const std::string& top, const UnpackOptions& options)
      : path_(archive), aside_(aside), top_(top), options_(options), reader_(archive_read_new(), &archive_read_free) {
    if (!reader_) throw std::bad_alloc();
    archive_read_support_filter_gzip(reader_.get());
    archive_read_support_format_tar(reader_.get());
    archive_read_support_format_zip(reader_.get());
  }

  void run(int descriptor) {
    const auto size = ::lseek(descriptor, 0, SEEK_END);
    if (size < 0 || ::lseek(descriptor, 0, SEEK_SET) < 0) fail_with_reason("read", path_);
    if (archive_read_open_fd(reader_.get(), descriptor, kBlock) != ARCHIVE_OK) fail_as_damaged("");
    for (std::int64_t entries = 0;; ++entries) {
      archive_entry* entry = nullptr;
      const int result = archive_read_next_header(reader_.get(), &entry);
      if (result == ARCHIVE_EOF) break;
      if (result != ARCHIVE_OK && result != ARCHIVE_WARN)
        fail_as_damaged(entries == 0 ? "" : "after entry " + grouped(entries) + ": ");
      if (entries == options_.most_entries) {
        fail(path_, "more than " + grouped(static_cast<std::uint64_t>(options_.most_entries)) +
                        " entries, which is the limit");
      }
      unpack_entry(entry);
      if (options_.progress) options_.progress(archive_filter_bytes(reader_.get(), -1), size);
    }
    if (!fs::is_directory(aside_ / top_)) fail(path_, "no entries; expected a folder " + quote_path(top_));
  }

 private:
  [[noreturn]] void fail_as_damaged(const std::string& where) const {
    const char* reason = archive_error_string(reader_.get());
    fail(path_, where + (reason == nullptr ? "damaged" : reason) + "; expected a whole .tar, .tar.gz or .zip archive");
  }

  // Where the entry goes.
  [[nodiscard]] fs::path place_of(const char* name, const std::string& where) const {
    if (name == nullptr || *name == '\0') fail(path_, where + "has no name");
    fs::path relative;
    const fs::path given(name);
    if (given.is_absolute()) fail(path_, where + "an absolute path; expected one within " + quote_path(top_));
    for (const auto& part : given) {
      if (part == "..") fail(path_, where + "leads out of the archive by '..'");
      if (part != "." && !part.empty()) relative /= part;
    }
    if (!relative.empty() && *relative.begin() != top_) {
      fail(path_, where + "lies outside the folder " + quote_path(top_) + ", which should hold everything");
    }
    return relative;
  }

  void unpack_entry(archive_entry* entry) {
    const char* name = archive_entry_pathname(entry);
    const auto where = "entry " + quote_path(name == nullptr ? "" : name) + ": ";
    const auto relative = place_of(name, where);
    const auto type = archive_entry_filetype(entry);
    // No link is ever made, so that no path below can lead out.
    if (archive_entry_hardlink(entry) != nullptr || (type != AE_IFREG && type != AE_IFDIR)) {
      fail(path_, where + (type == AE_IFLNK || archive_entry_hardlink(entry) != nullptr ? "a link" : "a device") +
                      "; expected files and folders only");
    }
    const auto place = aside_ / relative;
    if (type == AE_IFDIR) {
      if (fs::exists(place) && !fs::is_directory(place)) fail(path_, where + "is there twice");
      fs::create_directories(place);
    } else if (relative == top_ || relative.empty()) {
      fail(path_, where + "a file; expected a folder");
    } else {
      unpack_file(place, where);
    }
  }

  void unpack_file(const fs::path& place, const std::string& where) {
    std::error_code error;
    fs::create_directories(place.parent_path(), error);
    if (error) fail(path_, where + "its folder cannot be made: " + error.message());
    io::Descriptor file(::open(place.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    if (file.get() < 0) {
      if (errno == EEXIST) fail(path_, where + "is there twice");
      fail_with_reason("create", place);
    }
    for (;;) {
      const auto count = archive_read_data(reader_.get(), buffer_.data(), buffer_.size());
      if (count < 0) fail_as_damaged(where);
      if (count == 0) break;
      bytes_ += count;
      if (bytes_ > options_.most_bytes) {
        fail(path_, where + "more than " + grouped(static_cast<std::uint64_t>(options_.most_bytes)) +
                        " bytes when unpacked, which is the limit");
      }
      for (std::string_view rest(buffer_.data(), static_cast<std::size_t>(count)); !rest.empty();) {
        const auto written = ::write(file.get(), rest.data(), rest.size());
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) fail_with_reason("write", place);
        rest.remove_prefix(static_cast<std::size_t>(written));
      }
    }
    if (file.close() != 0) fail_with_reason("close", place);
  }

  const fs::path& path_;
  const fs::path& aside_;
  const fs::path top_;
  const UnpackOptions& options_;
  std::unique_ptr<archive, int (*)(archive*)> reader_;
  std::vector<char> buffer_ = std::vector<char>(kBlock);
  std::int64_t bytes_ = 0;
};

}  // namespace

void unpack(const fs::path& archive, const fs::path& folder, const UnpackOptions& options) {
  io::Descriptor file(::open(archive.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) fail_with_reason("open", archive);
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) fail(archive, "another process is unpacking it");
  if (fs::exists(folder)) fail(folder, "is there already");
  const auto top = folder.filename().string();
  const Aside aside(folder.parent_path() / ("." + top + ".unpacking"));
  Unpacking(archive, aside.path(), top, options).run(file.get());
  // All at once: a call for each of a hundred thousand small files would take minutes.
  const io::Descriptor place(::open(aside.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (place.get() < 0 || ::syncfs(place.get()) != 0) fail_with_reason("flush", aside.path());
  if (::rename((aside.path() / top).c_str(), folder.c_str()) != 0) fail_with_reason("put in place", folder);
}

}  // namespace anact::data
