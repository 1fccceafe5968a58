#include "io/safetensors.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "io/atomic_file.h"
#include "io/json.h"
#include "text/words.h"

namespace anact::io {
namespace {

using nlohmann::json;

constexpr std::array<std::pair<std::string_view, std::size_t>, 10> kElementSizes{{{"F64", 8},
                                                                                  {"F32", 4},
                                                                                  {"F16", 2},
                                                                                  {"BF16", 2},
                                                                                  {"I64", 8},
                                                                                  {"I32", 4},
                                                                                  {"I16", 2},
                                                                                  {"I8", 1},
                                                                                  {"U8", 1},
                                                                                  {"BOOL", 1}}};
constexpr std::string_view kMetadataKey = "__metadata__";
constexpr std::string_view kChecksumKey = "crc32";
constexpr const char* kNotJson = "the header is not JSON here";
constexpr std::size_t kLengthSize = 8;
// The format's own limit, so that no reader is made to parse more.
constexpr std::uint64_t kLargestHeader = 100'000'000;
// The object, a tensor's object, its shape or offsets.
constexpr int kDeepestHeader = 3;

std::string_view to_view(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string to_hexadecimal(std::uint32_t value) { return text::format("%08x", value); }

std::uint32_t add_to_crc32(std::uint32_t crc, std::string_view bytes) {
  if (bytes.empty()) return crc;  // zlib begins anew for a null pointer, which no bytes may come with
  return static_cast<std::uint32_t>(crc32_z(crc, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

// Bytes of a tensor; nothing when a dimension is negative or the size beyond what an offset can be.
std::optional<std::size_t> size_of(const std::string& dtype, const std::vector<std::int64_t>& shape) {
  auto size = static_cast<std::int64_t>(element_size(dtype));
  for (const auto dimension : shape) {
    if (dimension < 0 || __builtin_mul_overflow(size, dimension, &size)) return std::nullopt;
  }
  return static_cast<std::size_t>(size);
}

std::string to_text(const std::vector<std::int64_t>& shape) { return json(shape).dump(); }

// With a digit group every three digits, as places in a file are easier to read.
std::string grouped(std::uint64_t value) {
  auto text = std::to_string(value);
  for (std::size_t digits = 3; digits < text.size(); digits += 4) text.insert(text.size() - digits, 1, ',');
  return text;
}

// Finds a key that an object has twice, of which a parsed object would keep one.
class Keys : public nlohmann::json_sax<json> {
 public:
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override {
    keys_.emplace_back();
    return true;
  }
  bool key(string_t& name) override {
    if (keys_.back().insert(name).second) return true;
    twice = name;
    return false;
  }
  bool end_object() override {
    keys_.pop_back();
    return true;
  }
  bool start_array(std::size_t) override { return true; }
  bool end_array() override { return true; }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& exception) override {
    // The parser itself tells of a number beyond what a double holds.
    out_of_range = exception.id == kOutOfRange;
    error = position;
    return false;
  }

  std::optional<std::string> twice;
  bool out_of_range = false;
  std::size_t error = 0;

 private:
  static constexpr int kOutOfRange = 406;
  std::vector<std::set<std::string>> keys_;  // of the objects that enclose the place that is parsed
};

class Parser {
 public:
  Parser(const std::filesystem::path& path, std::string_view content) : path_(path), content_(content) {}

  void parse() {
    const auto header = parse_header();
    for (const auto& [name, value] : header.items()) {
      if (name == kMetadataKey) {
        parse_metadata(value);
      } else {
        parse_tensor(name, value);
      }
    }
    // The empty tensors at an offset stand before the one that begins there.
    std::ranges::sort(placed_, {}, [](const Placed& placed) { return std::pair(placed.begin, placed.end); });
    check_places();
    check_crc32();
  }

  [[nodiscard]] std::vector<NamedTensor> tensors() {
    std::vector<NamedTensor> tensors;
    tensors.reserve(placed_.size());
    for (auto& placed : placed_) tensors.push_back(std::move(placed.tensor));
    return tensors;
  }
  [[nodiscard]] Metadata metadata() { return std::move(metadata_); }

 private:
  struct Placed {
    NamedTensor tensor;
    std::uint64_t begin;  // in the data
    std::uint64_t end;
  };

  [[noreturn]] void fail(const std::string& what) const {
    throw std::runtime_error("'" + path_.string() + "': " + what);
  }
  [[noreturn]] void fail_at(std::uint64_t byte, const std::string& what) const {
    fail("byte " + grouped(byte) + ": " + what);
  }
  // A name can be anything that JSON can hold; it is shown with its control characters escaped.
  [[noreturn]] void fail_in(const std::string& name, const std::string& what) const {
    fail("tensor " + json(name).dump() + ": " + what);
  }

  json parse_header() {
    if (content_.size() < kLengthSize) {
      fail("it has " + std::to_string(content_.size()) + " bytes; expected 8 of the header's length");
    }
    std::uint64_t length = 0;
    for (std::size_t i = kLengthSize; i-- > 0;) length = length << 8 | static_cast<unsigned char>(content_[i]);
    const std::uint64_t left = content_.size() - kLengthSize;
    if (length > std::min(left, kLargestHeader)) {
      fail_at(0, "a header of " + grouped(length) + " bytes; expected at most " +
                     grouped(std::min(left, kLargestHeader)) +
                     (left < kLargestHeader ? ", which the file has after it" : ""));
    }
    const auto text = content_.substr(kLengthSize, length);
    data_ = content_.substr(kLengthSize + length);
    if (!text.starts_with('{')) fail_at(kLengthSize, "the header does not begin with '{'");
    // The JSON library takes a zero byte for the end.
    if (const auto zero = text.find('\0'); zero != text.npos) fail_at(kLengthSize + zero, kNotJson);
    if (is_deeper(text, kDeepestHeader)) fail("the header is nested deeper than a tensor's shape");
    Keys keys;
    try {
      // In a pass of its own: the library's parser with a callback takes time quadratic in the number of tensors.
      if (!json::sax_parse(text, &keys)) {
        if (keys.twice) fail("the header has " + json(*keys.twice).dump() + " twice");
        if (!keys.out_of_range) fail_at(kLengthSize + std::max<std::size_t>(keys.error, 1) - 1, kNotJson);
      }
      return json::parse(text);
    } catch (const json::parse_error& error) {
      fail_at(kLengthSize + std::max<std::size_t>(error.byte, 1) - 1, kNotJson);
    } catch (const json::exception&) {
      fail("the header has a number that is out of range");
    }
  }

  void parse_metadata(const json& value) {
    if (!value.is_object()) fail(std::string(kMetadataKey) + " is not an object of texts");
    for (const auto& [key, text] : value.items()) {
      if (!text.is_string()) fail(std::string(kMetadataKey) + ": " + json(key).dump() + " is not a text");
      metadata_[key] = text.get<std::string>();
    }
  }

  // A list of integers of at least 0 that int64 can hold.
  std::vector<std::int64_t> parse_integers(const std::string& name, const json& value, const char* key) const {
    const auto refuse = [&] { fail_in(name, std::string(key) + " is not a list of integers from 0 to 2^63 - 1"); };
    if (!value.contains(key) || !value.at(key).is_array()) refuse();
    std::vector<std::int64_t> integers;
    for (const auto& item : value.at(key)) {
      constexpr auto kLargest = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
      if (!item.is_number_unsigned() || item.get<std::uint64_t>() > kLargest) refuse();
      integers.push_back(item.get<std::int64_t>());
    }
    return integers;
  }

  void parse_tensor(const std::string& name, const json& value) {
    if (!value.is_object()) fail_in(name, "not an object of dtype, shape and data_offsets");
    if (!value.contains("dtype") || !value.at("dtype").is_string()) fail_in(name, "dtype is not a text");
    Placed placed{{.name = name,
                   .dtype = value.at("dtype").get<std::string>(),
                   .shape = parse_integers(name, value, "shape"),
                   .data = {}},
                  0,
                  0};
    const auto offsets = parse_integers(name, value, "data_offsets");
    if (offsets.size() != 2) fail_in(name, "data_offsets has " + std::to_string(offsets.size()) + " numbers, not 2");
    placed.begin = static_cast<std::uint64_t>(offsets[0]);
    placed.end = static_cast<std::uint64_t>(offsets[1]);
    if (std::ranges::find(kElementSizes, placed.tensor.dtype, [](const auto& pair) { return pair.first; }) ==
        kElementSizes.end()) {
      fail_in(name, "unknown dtype " + value.at("dtype").dump());
    }
    const auto size = size_of(placed.tensor.dtype, placed.tensor.shape);
    if (!size) fail_in(name, "shape " + to_text(placed.tensor.shape) + " has more bytes than a file can");
    if (placed.end > data_.size()) {
      fail_in(name, "data_offsets end at " + grouped(placed.end) + "; the file has " + grouped(data_.size()) +
                        " bytes after its header");
    }
    if (placed.begin > placed.end || placed.end - placed.begin != *size) {
      fail_in(name, "data_offsets " + to_text(offsets) + " do not span the " + grouped(*size) + " bytes of " +
                        placed.tensor.dtype + " " + to_text(placed.tensor.shape));
    }
    placed.tensor.data = std::as_bytes(std::span(data_).subspan(placed.begin, *size));
    placed_.push_back(std::move(placed));
  }

  void check_places() const {
    std::uint64_t next = 0;
    for (const auto& placed : placed_) {
      if (placed.begin != next) {
        fail_in(placed.tensor.name, "data begin at " + grouped(placed.begin) + "; expected " + grouped(next) +
                                        ", where the tensor before it ends");
      }
      next = placed.end;
    }
    if (next != data_.size()) {
      fail("the tensors end at " + grouped(next) + "; the file has " + grouped(data_.size()) +
           " bytes after its header");
    }
  }

  void check_crc32() const {
    const auto stated = metadata_.find(std::string(kChecksumKey));
    if (stated == metadata_.end()) return;
    const auto found = to_hexadecimal(add_to_crc32(0, data_));
    if (stated->second != found) {
      fail("the tensors' CRC-32 is " + found + "; expected " + json(stated->second).dump());
    }
  }

  const std::filesystem::path& path_;
  std::string_view content_;
  std::string_view data_;  // what follows the header
  std::vector<Placed> placed_;
  Metadata metadata_;
};

}  // namespace

std::size_t element_size(const std::string& dtype) {
  const auto found = std::ranges::find(kElementSizes, dtype, [](const auto& pair) { return pair.first; });
  if (found == kElementSizes.end()) throw std::invalid_argument("safetensors: unknown dtype '" + dtype + "'");
  return found->second;
}

void write_safetensors(const std::filesystem::path& path, std::span<const NamedTensor> tensors, Metadata metadata) {
  std::set<std::string_view> names{kMetadataKey};
  std::string entries;
  std::vector<std::string_view> parts(1);  // the first is the header's
  std::uint32_t crc = 0;
  std::size_t offset = 0;
  try {
    for (const auto& tensor : tensors) {
      if (!names.insert(tensor.name).second) {
        throw std::invalid_argument("safetensors: two tensors are named '" + tensor.name + "', or the format uses it");
      }
      if (size_of(tensor.dtype, tensor.shape) != tensor.data.size()) {
        throw std::invalid_argument("safetensors: '" + tensor.name + "' has " + std::to_string(tensor.data.size()) +
                                    " bytes, which is not what " + tensor.dtype + " " + to_text(tensor.shape) + " has");
      }
      const auto end = offset + tensor.data.size();
      const json entry{{"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {offset, end}}};
      entries += "," + json(tensor.name).dump() + ":" + entry.dump();
      parts.push_back(to_view(tensor.data));
      crc = add_to_crc32(crc, parts.back());
      offset = end;
    }
    metadata[std::string(kChecksumKey)] = to_hexadecimal(crc);
    entries = "{" + json(kMetadataKey).dump() + ":" + json(metadata).dump() + entries + "}";
  } catch (const json::type_error&) {
    throw std::invalid_argument("safetensors: a name or the metadata is not UTF-8");
  }
  // Blanks fill up to where the data may be mapped as any dtype.
  entries.append((kLengthSize - entries.size() % kLengthSize) % kLengthSize, ' ');
  if (entries.size() > kLargestHeader) {
    throw std::invalid_argument("safetensors: the names and shapes take " + grouped(entries.size()) +
                                " bytes; the format allows " + grouped(kLargestHeader));
  }
  std::string header;
  for (std::size_t i = 0; i < kLengthSize; ++i) header += static_cast<char>(entries.size() >> 8 * i & 0xff);
  header += entries;
  parts.front() = header;
  write_file(path, parts);
}

Safetensors::Safetensors(const std::filesystem::path& path) : content_(read_file(path)) {
  Parser parser(path, content_);
  parser.parse();
  tensors_ = parser.tensors();
  metadata_ = parser.metadata();
}

}  // namespace anact::io
