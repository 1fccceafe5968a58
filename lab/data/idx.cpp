#include "data/idx.h"

#include <algorithm>
#include <array>
#include <memory>
#include <utility>

#include "data/gzip.h"

namespace anact::data {
namespace {

constexpr std::uint32_t kLargestSide = 4096;
constexpr std::uint64_t kLargestContent = std::uint64_t{1} << 31;

struct Values {
  std::vector<std::uint32_t> dimensions;
  std::vector<std::uint8_t> bytes;
};

// Reads a file of `rank` dimensions, and checks all that is declared before memory is taken for it.
Values read_idx(const std::filesystem::path& path, std::size_t rank) {
  GzipFile file(path);
  std::array<std::uint8_t, 16> header{};
  const std::size_t header_size = 4 + 4 * rank;
  const auto got = file.read(std::span(header).first(header_size));
  if (got < header_size) {
    fail(path, "ends after " + grouped(got) + " bytes; expected a header of " + grouped(header_size));
  }
  if (header[0] != 0 || header[1] != 0) fail(path, "byte 0: expected the two zero bytes that an IDX file begins with");
  if (header[2] != 8) fail(path, "byte 2: type " + std::to_string(header[2]) + "; expected 8, unsigned bytes");
  if (header[3] != rank) {
    fail(path, "byte 3: " + std::to_string(header[3]) + " dimensions; expected " + std::to_string(rank));
  }
  Values values;
  std::uint64_t size = 1;
  for (std::size_t i = 0; i < rank; ++i) {
    const auto* bytes = header.data() + 4 + 4 * i;
    const std::uint32_t dimension = std::uint32_t{bytes[0]} << 24 | std::uint32_t{bytes[1]} << 16 |
                                    std::uint32_t{bytes[2]} << 8 | std::uint32_t{bytes[3]};
    const auto where = "byte " + std::to_string(4 + 4 * i) + ": ";
    if (i > 0 && (dimension == 0 || dimension > kLargestSide)) {
      fail(path, where + "images with a side of " + grouped(dimension) + "; expected 1…4,096");
    }
    if (dimension == 0) fail(path, where + "no images; expected at least one");
    values.dimensions.push_back(dimension);
    size *= dimension;
  }
  if (const auto most = std::min(file.largest_size(), kLargestContent); header_size + size > most) {
    fail(path, "declares " + grouped(header_size + size) + " bytes; the file can hold at most " + grouped(most));
  }
  values.bytes.resize(size);
  if (const auto count = file.read(values.bytes); count < size) {
    fail(path, "ends after " + grouped(header_size + count) + " bytes; expected " + grouped(header_size + size));
  }
  if (file.read(std::span(header).first(1)) != 0) {
    fail(path, "goes on after " + grouped(header_size + size) + " bytes; expected the end");
  }
  return values;
}

struct IdxSplit {
  Shape shape;
  Split split;
};

IdxSplit read_split(const std::filesystem::path& images_path, const std::filesystem::path& labels_path,
                    std::size_t classes) {
  constexpr std::size_t kLabelsHeader = 8;
  const auto labels = read_idx(labels_path, 1);
  for (std::size_t i = 0; i < labels.bytes.size(); ++i) {
    if (labels.bytes[i] >= classes) {
      fail(labels_path, "byte " + grouped(kLabelsHeader + i) + ": label " + std::to_string(labels.bytes[i]) +
                            "; expected 0…" + std::to_string(classes - 1));
    }
  }
  const auto images = std::make_shared<Values>(read_idx(images_path, 3));
  if (images->dimensions[0] != labels.dimensions[0]) {
    fail(images_path, grouped(images->dimensions[0]) + " images; expected " + grouped(labels.dimensions[0]) +
                          ", as many as there are labels in " + quote_path(labels_path));
  }
  return {.shape = {.channels = 1, .height = images->dimensions[1], .width = images->dimensions[2]},
          .split = {.labels{labels.bytes.begin(), labels.bytes.end()},
                    .read = [images](std::int64_t index, std::span<std::uint8_t> pixels) {
                      std::copy_n(images->bytes.begin() + index * static_cast<std::int64_t>(pixels.size()),
                                  pixels.size(), pixels.begin());
                    }}};
}

// The file's name, with .gz where only that is there.
std::filesystem::path find_file(const std::filesystem::path& folder, const std::string& name) {
  for (const auto& candidate : {name, name + ".gz"}) {
    if (std::filesystem::is_regular_file(folder / candidate)) return candidate;
  }
  fail(folder, "no file " + name + " or " + name + ".gz");
}

}  // namespace

Source idx_source(std::string name, const std::filesystem::path& folder, std::vector<std::string> class_names) {
  std::vector<std::filesystem::path> files;
  for (const char* file :
       {"train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"}) {
    files.push_back(find_file(folder, file));
  }
  return {.name = std::move(name),
          .path = folder,
          .files = files,
          .options = {},
          .read = [folder, files, class_names = std::move(class_names)] {
            auto train = read_split(folder / files[0], folder / files[1], class_names.size());
            auto test = read_split(folder / files[2], folder / files[3], class_names.size());
            if (test.shape != train.shape) {
              const auto size = [](const Shape& shape) {
                return std::to_string(shape.height) + "x" + std::to_string(shape.width);
              };
              fail(folder / files[2], "images of " + size(test.shape) + "; expected " + size(train.shape) + " as in " +
                                          quote_path(folder / files[0]));
            }
            return Content{.shape = train.shape,
                           .class_names = class_names,
                           .train = std::move(train.split),
                           .test = std::move(test.split)};
          }};
}

}  // namespace anact::data
