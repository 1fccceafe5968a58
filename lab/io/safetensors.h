// Files of named tensors in the format of safetensors (github.com/huggingface/safetensors, README, "Format"): eight
// bytes of the header's length, a JSON header, then the tensors' bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace anact::io {

struct NamedTensor {
  std::string name;
  std::string dtype;                // as the format calls it: F64, F32, F16, BF16, I64, I32, I16, I8, U8, BOOL
  std::vector<std::int64_t> shape;  // empty for a scalar
  std::span<const std::byte> data;  // row-major, little-endian
};

using Metadata = std::map<std::string, std::string>;

// Bytes of an element. Throws std::invalid_argument for a dtype that is not listed above.
[[nodiscard]] std::size_t element_size(const std::string& dtype);

// Writes the tensors in the order given, whole or not at all (io::write_file). The metadata gets an entry "crc32" of
// the tensors' bytes, 8 hexadecimal digits. Throws std::runtime_error that names the path and the system's reason, and
// std::invalid_argument when two tensors have one name or data does not fit dtype and shape.
void write_safetensors(const std::filesystem::path& path, std::span<const NamedTensor> tensors, Metadata metadata = {});

// A file in memory; the tensors refer to it.
class Safetensors {
 public:
  // Reads and checks the whole file: the header's length, every dtype, shape and offset, that no tensors overlap, that
  // nothing is missing or left over, and the CRC-32 where the metadata has one. Throws std::runtime_error that names
  // the path, the place and what was expected.
  explicit Safetensors(const std::filesystem::path& path);
  Safetensors(const Safetensors&) = delete;
  Safetensors& operator=(const Safetensors&) = delete;

  [[nodiscard]] const std::vector<NamedTensor>& tensors() const { return tensors_; }  // in the order of their offsets
  [[nodiscard]] const Metadata& metadata() const { return metadata_; }

 private:
  std::string content_;
  std::vector<NamedTensor> tensors_;
  Metadata metadata_;
};

}  // namespace anact::io
