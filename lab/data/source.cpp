#include "data/source.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>
#include <stdexcept>
#include <system_error>

#include "io/atomic_file.h"
#include "text/words.h"

namespace anact::data {
namespace {

__extension__ using Wide = unsigned __int128;

// The length of the character that UTF-8 text begins with (RFC 3629), 0 where it is none.
std::size_t character_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  const std::size_t length = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
  for (std::size_t i = 1; i < length; ++i) {
    // The second byte also bars overlong forms, surrogates and what is beyond U+10FFFF.
    const unsigned least = i > 1 ? 0x80 : first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    const unsigned most = i > 1 ? 0xbf : first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (byte(i) < least || byte(i) > most) return 0;
  }
  return length;
}

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

}  // namespace

void Summary::add_train_pixels(std::span<const std::uint8_t> pixels) {
  add_bytes(pixels.data(), pixels.size());
  const auto plane = static_cast<std::size_t>(shape_.height * shape_.width);
  for (std::size_t channel = 0; !pixels.empty(); channel = (channel + 1) % sums_.size()) {
    std::uint64_t values = 0, squares = 0;
    for (const std::uint64_t value : pixels.first(plane)) {
      values += value;
      squares += value * value;
    }
    sums_[channel].values += values;
    sums_[channel].squares += squares;
    if (channel == 0) count_ += plane;
    pixels = pixels.subspan(plane);
  }
}

std::vector<double> Summary::mean() const {
  std::vector<double> result;
  for (const auto& sums : sums_) result.push_back(static_cast<double>(sums.values) / static_cast<double>(count_));
  return result;
}

std::vector<double> Summary::deviation() const {
  std::vector<double> result;
  for (const auto& sums : sums_) {
    const Wide scaled = Wide{count_} * sums.squares - Wide{sums.values} * sums.values;
    if (scaled == 0) {
      throw std::runtime_error("channel " + std::to_string(result.size() + 1) +
                               ": all pixels of the training images are the same; expected images that differ");
    }
    const auto count = static_cast<double>(count_);
    result.push_back(std::sqrt(static_cast<double>(scaled) / count / (count - 1)));
  }
  return result;
}

std::string Summary::checksum() const { return text::format("%08lx", crc_); }

void Summary::add_bytes(const void* data, std::size_t size) {
  crc_ = crc32_z(crc_, static_cast<const Bytef*>(data), size);
}

std::string quote_path(const std::filesystem::path& path) {
  std::string shown = "'";
  std::string_view rest = path.native();
  while (!rest.empty()) {
    const auto length = character_length(rest);
    if (length == 0 || is_control(rest.front())) {
      shown += '?';
    } else {
      shown += rest.substr(0, length);
    }
    rest.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return shown + "'";
}

std::string quote_text(std::string_view text) {
  std::string shown(text.substr(0, 12));
  std::ranges::replace_if(
      shown, [](char c) { return c < ' ' || c > '~'; }, '?');
  return "'" + shown + "'";
}

std::string grouped(std::uint64_t number) {
  std::string text = std::to_string(number);
  for (std::size_t i = text.size(); i > 3;) text.insert(i -= 3, 1, ',');
  return text;
}

void fail(const std::filesystem::path& path, const std::string& what) {
  throw std::runtime_error(quote_path(path) + ": " + what);
}

bool is_text(std::string_view text) {
  while (!text.empty()) {
    const auto length = character_length(text);
    if (length == 0 || is_control(text.front())) return false;
    text.remove_prefix(length);
  }
  return true;
}

std::vector<std::string_view> split_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const auto end = text.find('\n');
    auto line = text.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    lines.push_back(line);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return lines;
}

Listing list_folder(const std::filesystem::path& folder, const std::filesystem::path& tree) {
  std::error_code error;
  std::filesystem::directory_iterator entries(folder, error);
  if (error) throw std::runtime_error("cannot open " + quote_path(folder) + ": " + error.message());
  const auto root = std::filesystem::canonical(tree);
  Listing listing;
  for (const auto& entry : entries) {
    auto name = entry.path().filename().string();
    if (name.starts_with('.')) continue;
    if (entry.is_symlink()) {
      const auto target = std::filesystem::canonical(entry.path(), error);
      if (error) fail(entry.path(), "a symbolic link that leads nowhere");
      if (std::ranges::mismatch(root, target).in1 != root.end()) {
        fail(entry.path(), "a symbolic link out of " + quote_path(tree));
      }
    }
    if (!entry.is_regular_file() && !entry.is_directory()) fail(entry.path(), "expected a file or a folder");
    (entry.is_directory() ? listing.folders : listing.files).push_back(std::move(name));
  }
  std::ranges::sort(listing.files);
  std::ranges::sort(listing.folders);
  return listing;
}

std::string read_small_file(const std::filesystem::path& path, std::uint64_t limit) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) {
    throw std::runtime_error("cannot open " + quote_path(path) + ": " +
                             (error ? error.message() : std::strerror(ENOENT)));
  }
  if (!std::filesystem::is_regular_file(status)) fail(path, "expected a regular file");
  const auto size = std::filesystem::file_size(path);
  if (size > limit) fail(path, grouped(size) + " bytes; expected at most " + grouped(limit));
  return io::read_file(path);
}

std::vector<std::string> read_class_names(const std::filesystem::path& path, std::size_t count) {
  const auto text = read_small_file(path, 1 << 20);
  auto lines = split_lines(text);
  while (!lines.empty() && lines.back().empty()) lines.pop_back();
  std::vector<std::string> names;
  std::set<std::string_view> known;
  for (const auto line : lines) {
    const auto where = "line " + grouped(names.size() + 1) + ": ";
    if (line.empty() || !is_text(line))
      fail(path, where + quote_text(line) + "; expected the name of a class, in UTF-8");
    if (!known.insert(line).second) fail(path, where + "the class " + quote_text(line) + " a second time");
    names.emplace_back(line);
  }
  if (names.size() != count) {
    fail(path, grouped(names.size()) + " names of classes; expected " + grouped(count));
  }
  return names;
}

}  // namespace anact::data
