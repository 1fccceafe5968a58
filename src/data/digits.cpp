#include "data/digits.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/randperm.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string_view>
#include <vector>

namespace anact::data {
namespace {

constexpr std::int64_t kPixels = 64;
constexpr int kLargestPixel = 16;
constexpr std::int64_t kClasses = 10;
constexpr std::int64_t kImages = 1797;
constexpr std::int64_t kTestImages = 360;
constexpr std::uint64_t kSplitSeed = 1797;

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& what) {
  throw std::runtime_error("'" + path.string() + "': " + what);
}

// The beginning of what was found, fit for one line of a message whatever bytes it holds.
std::string quote(std::string_view text) {
  std::string shown(text.substr(0, 12));
  std::ranges::replace_if(
      shown, [](char c) { return c < ' ' || c > '~'; }, '?');
  return "'" + shown + "'";
}

// The file's content, decompressed if it is compressed.
std::string read_gzip(const std::filesystem::path& path) {
  errno = 0;
  const std::unique_ptr<gzFile_s, int (*)(gzFile)> file(gzopen(path.c_str(), "rb"), &gzclose);
  if (!file) throw std::runtime_error("cannot open '" + path.string() + "': " + std::strerror(errno));
  std::string content;
  std::array<char, 1 << 16> buffer;
  for (;;) {
    const int count = gzread(file.get(), buffer.data(), buffer.size());
    if (count > 0) content.append(buffer.data(), static_cast<std::size_t>(count));
    int code = Z_OK;
    std::string_view message = gzerror(file.get(), &code);
    // A file that ends within the compressed stream reads as shorter, with this code.
    if (count < 0 || code == Z_BUF_ERROR) {
      if (code == Z_ERRNO) message = std::strerror(errno);
      if (message.starts_with(path.native() + ": ")) message.remove_prefix(path.native().size() + 2);
      fail(path, "after " + std::to_string(content.size()) + " bytes: " + std::string(message) +
                     "; expected a whole gzip file");
    }
    if (count == 0) return content;
    if (content.size() > std::size_t{1} << 24) fail(path, "more than 16 MiB; the digits take 0.3 MiB");
  }
}

// The line's numbers. Throws with `where` unless they are kPixels pixels and a label.
void parse_line(const std::filesystem::path& path, std::size_t line, std::string_view text, float* pixels,
                std::int64_t* label) {
  const auto where = "line " + std::to_string(line) + ": ";
  for (std::int64_t column = 0; column <= kPixels; ++column) {
    const bool last = column == kPixels;
    int value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    const int largest = last ? static_cast<int>(kClasses) - 1 : kLargestPixel;
    if (error != std::errc() || value < 0 || value > largest) {
      fail(path, where + "column " + std::to_string(column + 1) + ": expected " +
                     (last ? "a label of 0…9" : "a value of 0…16") + ", found " + quote(text));
    }
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    if (last ? !text.empty() : text.empty() || text.front() != ',') {
      fail(path, where + "expected 65 whole numbers separated by commas; column " + std::to_string(column + 1) +
                     " is followed by " + quote(text));
    }
    if (last) {
      *label = value;
    } else {
      pixels[column] = static_cast<float>(value);
      text.remove_prefix(1);
    }
  }
}

}  // namespace

Dataset load_digits(const std::filesystem::path& path) {
  const std::string content = read_gzip(path);
  auto pixels = at::empty({kImages, kPixels}, at::kFloat);
  auto labels = at::empty({kImages}, at::kLong);
  std::int64_t images = 0;
  std::string_view rest = content;
  while (!rest.empty()) {
    const auto end = rest.find('\n');
    auto line = rest.substr(0, end);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (images == kImages) fail(path, "line " + std::to_string(images + 1) + ": expected the end; the set has 1797");
    parse_line(path, static_cast<std::size_t>(images + 1), line, pixels.mutable_data_ptr<float>() + images * kPixels,
               labels.mutable_data_ptr<std::int64_t>() + images);
    ++images;
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  }
  if (images != kImages) {
    fail(path, "ends after " + std::to_string(images) + " lines; expected 1797");
  }

  const auto order = at::randperm(kImages, at::detail::createCPUGenerator(kSplitSeed), at::kLong);
  const auto test = order.slice(0, 0, kTestImages);
  const auto train = order.slice(0, kTestImages);
  auto train_pixels = pixels.index_select(0, train);
  const double mean = train_pixels.mean().item<double>();
  const double deviation = train_pixels.std().item<double>();
  const auto standardize = [&](const torch::Tensor& values) { return (values - mean) / deviation; };

  std::array<char, 9> checksum{};
  std::snprintf(checksum.data(), checksum.size(), "%08lx",
                crc32_z(0, reinterpret_cast<const Bytef*>(content.data()), content.size()));
  return {.name = "digits",
          .classes = kClasses,
          .train = {.inputs = standardize(train_pixels), .labels = labels.index_select(0, train)},
          .test = {.inputs = standardize(pixels.index_select(0, test)), .labels = labels.index_select(0, test)},
          .source = path.string(),
          .checksum = checksum.data()};
}

std::filesystem::path find_digits() {
  std::vector<std::filesystem::path> folders;
  if (const char* folder = std::getenv("ANACT_DATA"); folder != nullptr && *folder != '\0') {
    folders.emplace_back(folder);
  } else {
    folders.emplace_back(ANACT_DATA_FOLDER);
    std::error_code ignored;
    const auto program = std::filesystem::read_symlink("/proc/self/exe", ignored);
    if (!program.empty()) folders.push_back(program.parent_path().parent_path() / "share" / "anact");
  }
  std::string tried;
  for (const auto& folder : folders) {
    auto path = folder / "digits.csv.gz";
    if (std::filesystem::exists(path)) return path;
    tried += (tried.empty() ? "'" : "' or '") + path.string();
  }
  throw std::runtime_error(
      "no digits at " + tried +
      "'; `make setup` puts them there, or name the file with --data or its folder with ANACT_DATA");
}

}  // namespace anact::data
