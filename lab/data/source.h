// What the readers of data sets have in common: a set as it lies on the disk, and how they complain.
#pragma once

#include <zlib.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/dataset.h"

namespace anact::data {

// The training or the test samples of a set whose pixels have yet to be read.
struct Split {
  std::vector<std::int32_t> labels;
  // Writes the image's channels x height x width values. Called from several threads at a time. Throws
  // std::runtime_error that names the file, the place in it and what was expected.
  std::function<void(std::int64_t index, std::span<std::uint8_t> pixels)> read;
};

struct Content {
  Shape shape;
  std::vector<std::string> class_names;  // valid UTF-8, all different
  Split train;
  Split test;
};

struct Source {
  std::string name;                          // of the set
  std::filesystem::path path;                // the folder
  std::vector<std::filesystem::path> files;  // within `path`: all that the samples depend on
  std::string options;                       // what else they depend on; may be empty
  std::function<Content()> read;
};

// Statistics and checksum of a data set, from its images in the order train, test.
class Summary {
 public:
  explicit Summary(const Shape& shape) : shape_(shape), sums_(static_cast<std::size_t>(shape.channels)) {}

  // Whole images.
  void add_train_pixels(std::span<const std::uint8_t> pixels);
  // Once, after all training images.
  void add_train_labels(std::span<const std::int32_t> labels) { add_labels(labels); }
  void add_test_pixels(std::span<const std::uint8_t> pixels) { add_bytes(pixels.data(), pixels.size()); }
  void add_test_labels(std::span<const std::int32_t> labels) { add_labels(labels); }

  // Of each channel, from exact integer sums; the deviation has n - 1 in the denominator. Throws std::runtime_error
  // when all pixels of a channel are the same.
  [[nodiscard]] std::vector<double> mean() const;
  [[nodiscard]] std::vector<double> deviation() const;
  // As Dataset::checksum.
  [[nodiscard]] std::string checksum() const;

 private:
  struct Sums {
    std::uint64_t values = 0;
    std::uint64_t squares = 0;
  };

  void add_bytes(const void* data, std::size_t size);
  void add_labels(std::span<const std::int32_t> labels) { add_bytes(labels.data(), labels.size_bytes()); }

  Shape shape_;
  std::vector<Sums> sums_;
  std::uint64_t count_ = 0;  // pixels of each channel
  uLong crc_ = 0;
};

// The path in single quotation marks, on one line whatever bytes it holds.
[[nodiscard]] std::string quote_path(const std::filesystem::path& path);

// The beginning of what was found, in single quotation marks, fit for one line of a message whatever bytes it holds.
[[nodiscard]] std::string quote_text(std::string_view text);

// "12,296".
[[nodiscard]] std::string grouped(std::uint64_t number);

// Throws std::runtime_error("'path': what").
[[noreturn]] void fail(const std::filesystem::path& path, const std::string& what);

// Whether the text is UTF-8 without control characters.
[[nodiscard]] bool is_text(std::string_view text);

// The lines, without their ends (LF or CRLF); the last one may lack its end.
[[nodiscard]] std::vector<std::string_view> split_lines(std::string_view text);

// What lies in a folder, sorted by the names' bytes; hidden entries are left out.
struct Listing {
  std::vector<std::string> files;
  std::vector<std::string> folders;
};

// Throws std::runtime_error that names the entry which is neither a file nor a folder, or is a symbolic link to a place
// outside `tree`.
[[nodiscard]] Listing list_folder(const std::filesystem::path& folder, const std::filesystem::path& tree);

// A file of at most `limit` bytes. Throws std::runtime_error that names the path, also when it is not a regular file.
[[nodiscard]] std::string read_small_file(const std::filesystem::path& path, std::uint64_t limit);

// The names of `count` classes, one a line; empty lines may follow. Throws std::runtime_error that names the line.
[[nodiscard]] std::vector<std::string> read_class_names(const std::filesystem::path& path, std::size_t count);

}  // namespace anact::data
