#include "io/event_file.h"

#include <array>
#include <bit>
#include <chrono>
#include <string>
#include <utility>

namespace anact::io {
namespace {

constexpr std::uint32_t kPolynomial = 0x82f63b78;  // Castagnoli's, its bits reversed

constexpr std::array<std::uint32_t, 256> make_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t byte = 0; byte < table.size(); ++byte) {
    std::uint32_t remainder = byte;
    for (int bit = 0; bit < 8; ++bit) remainder = remainder >> 1 ^ (remainder & 1 ? kPolynomial : 0);
    table[byte] = remainder;
  }
  return table;
}
constexpr auto kTable = make_table();

template <class Unsigned>
void put_little_endian(std::string& out, Unsigned value) {
  for (std::size_t i = 0; i < sizeof value; ++i) out += static_cast<char>(value >> 8 * i & 0xff);
}

// A checksum within checksummed data would weaken that data's own (tensorflow/core/lib/hash/crc32c.h).
std::uint32_t masked_crc(std::string_view bytes) { return std::rotr(crc32c(bytes), 15) + 0xa282ead8u; }

// A TFRecord (tensorflow/core/lib/io/record_writer.h).
std::string record(std::string_view data) {
  std::string out;
  put_little_endian(out, std::uint64_t{data.size()});
  put_little_endian(out, masked_crc(out));
  out += data;
  put_little_endian(out, masked_crc(data));
  return out;
}

// Protocol buffers' wire format: a field is its number and its wire type in one varint, then the value.
enum class WireType : std::uint64_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

void put_varint(std::string& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>((value & 0x7f) | 0x80);
  out += static_cast<char>(value);
}

void put_tag(std::string& out, std::uint64_t number, WireType type) {
  put_varint(out, number << 3 | static_cast<std::uint64_t>(type));
}

void put_bytes(std::string& out, std::uint64_t number, std::string_view bytes) {
  put_tag(out, number, WireType::bytes);
  put_varint(out, bytes.size());
  out += bytes;
}

// The first fields of tensorflow.Event: wall_time = 1, step = 2.
std::string event(double wall_time, std::int64_t step) {
  std::string out;
  put_tag(out, 1, WireType::fixed64);
  put_little_endian(out, std::bit_cast<std::uint64_t>(wall_time));
  put_tag(out, 2, WireType::varint);
  put_varint(out, static_cast<std::uint64_t>(step));
  return out;
}

}  // namespace

std::uint32_t crc32c(std::string_view bytes) {
  std::uint32_t crc = ~0u;
  for (const char byte : bytes) crc = crc >> 8 ^ kTable[(crc ^ static_cast<unsigned char>(byte)) & 0xff];
  return ~crc;
}

EventFile::EventFile(std::filesystem::path path, std::optional<std::int64_t> size) : file_(std::move(path), size) {
  if (file_.size() > 0) return;
  const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
  auto version = event(now.count(), 0);
  put_bytes(version, 3, "brain.Event:2");  // file_version = 3
  file_.append(record(version));
}

void EventFile::add_scalar(std::string_view tag, std::int64_t step, double value, double wall_time) {
  std::string scalar;  // tensorflow.Summary.Value: tag = 1, simple_value = 2
  put_bytes(scalar, 1, tag);
  put_tag(scalar, 2, WireType::fixed32);
  put_little_endian(scalar, std::bit_cast<std::uint32_t>(static_cast<float>(value)));
  std::string summary;  // tensorflow.Summary: value = 1
  put_bytes(summary, 1, scalar);
  auto scalar_event = event(wall_time, step);
  put_bytes(scalar_event, 5, summary);  // summary = 5
  file_.append(record(scalar_event));
}

}  // namespace anact::io
