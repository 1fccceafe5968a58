#include "data/shrink.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace anact::data {
namespace {

// How much of the source's pixel `from` (of `side`) the target's pixel `to` (of `size`) covers, in units of 1 / size of
// a source's pixel; `side` such units make a target's pixel.
std::int64_t covered(std::int64_t from, std::int64_t to, std::int64_t side, std::int64_t size) {
  return std::min((from + 1) * size, (to + 1) * side) - std::max(from * size, to * side);
}

}  // namespace

void shrink(const Shape& shape, std::span<const std::uint8_t> image, std::int64_t size,
            std::span<std::uint8_t> output) {
  const auto area = shape.height * shape.width;
  const std::uint8_t* plane = image.data();
  std::uint8_t* pixel = output.data();
  for (std::int64_t channel = 0; channel < shape.channels; ++channel, plane += area) {
    for (std::int64_t top = 0; top < size; ++top) {
      for (std::int64_t left = 0; left < size; ++left) {
        std::int64_t sum = 0;
        for (auto y = top * shape.height / size; y * size < (top + 1) * shape.height; ++y) {
          for (auto x = left * shape.width / size; x * size < (left + 1) * shape.width; ++x) {
            sum +=
                covered(y, top, shape.height, size) * covered(x, left, shape.width, size) * plane[y * shape.width + x];
          }
        }
        *pixel++ = static_cast<std::uint8_t>((2 * sum + area) / (2 * area));
      }
    }
  }
}

void check_size(std::string_view set, const Shape& shape, std::int64_t size) {
  if (size >= 1 && size <= std::min(shape.height, shape.width)) return;
  throw std::invalid_argument("image size is " + std::to_string(size) + "; the images of " + std::string(set) +
                              " have " + std::to_string(shape.height) + "x" + std::to_string(shape.width) +
                              " pixels, and are only made smaller");
}

Source shrunk(Source source, std::int64_t size) {
  source.options += "image_size=" + std::to_string(size);
  source.read = [name = source.name, read = std::move(source.read), size] {
    Content content = read();
    check_size(name, content.shape, size);
    for (auto* split : {&content.train, &content.test}) {
      split->read = [whole = std::move(split->read), shape = content.shape, size](std::int64_t index,
                                                                                  std::span<std::uint8_t> pixels) {
        std::vector<std::uint8_t> image(static_cast<std::size_t>(shape.values()));
        whole(index, image);
        shrink(shape, image, size, pixels);
      };
    }
    content.shape.height = content.shape.width = size;
    return content;
  };
  return source;
}

}  // namespace anact::data
