#include "data/shrink.h"

#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>
#include <vector>

#include "data/random.h"
#include "support/message.h"

namespace anact::data {
namespace {

std::vector<std::uint8_t> noise(std::int64_t count, std::uint64_t seed) {
  Random random({seed});
  std::vector<std::uint8_t> values(static_cast<std::size_t>(count));
  for (auto& value : values) value = static_cast<std::uint8_t>(random.below(256));
  return values;
}

// The mean over the area in the plainest way: every pixel is first made size x size equal ones, of which height x width
// then make one of the target's.
std::vector<std::uint8_t> plain_shrink(const Shape& shape, const std::vector<std::uint8_t>& image, std::int64_t size) {
  std::vector<std::uint8_t> output;
  for (std::int64_t channel = 0; channel < shape.channels; ++channel) {
    for (std::int64_t top = 0; top < size; ++top) {
      for (std::int64_t left = 0; left < size; ++left) {
        double sum = 0;
        for (std::int64_t y = top * shape.height; y < (top + 1) * shape.height; ++y) {
          for (std::int64_t x = left * shape.width; x < (left + 1) * shape.width; ++x) {
            sum += image[static_cast<std::size_t>((channel * shape.height + y / size) * shape.width + x / size)];
          }
        }
        output.push_back(
            static_cast<std::uint8_t>(std::floor(sum / static_cast<double>(shape.height * shape.width) + 0.5)));
      }
    }
  }
  return output;
}

TEST(Shrink, IsTheMeanOverTheArea) {
  for (const auto& [height, width] : {std::pair{8, 8}, {32, 32}, {7, 5}, {1, 1}, {13, 64}}) {
    const Shape shape{.channels = 3, .height = height, .width = width};
    const auto image = noise(shape.values(), static_cast<std::uint64_t>(height));
    for (std::int64_t size = 1; size <= std::min(height, width); ++size) {
      std::vector<std::uint8_t> output(static_cast<std::size_t>(3 * size * size));
      shrink(shape, image, size, output);
      EXPECT_EQ(output, plain_shrink(shape, image, size)) << height << "x" << width << " to " << size;
    }
  }
}

TEST(Shrink, RoundsHalvesUp) {
  const Shape shape{.channels = 1, .height = 2, .width = 2};
  std::vector<std::uint8_t> output(1);
  shrink(shape, std::vector<std::uint8_t>{0, 1, 1, 0}, 1, output);
  EXPECT_EQ(output[0], 1);
  shrink(shape, std::vector<std::uint8_t>{255, 255, 255, 255}, 1, output);
  EXPECT_EQ(output[0], 255);
}

TEST(Shrunk, KeepsLabelsAndChangesTheOptions) {
  Source source{.name = "set", .path = "somewhere", .files = {}, .options = {}, .read = [] {
                  const auto read = [](std::int64_t index, std::span<std::uint8_t> pixels) {
                    std::ranges::fill(pixels, static_cast<std::uint8_t>(10 * index));
                  };
                  return Content{.shape = {.channels = 1, .height = 4, .width = 4},
                                 .class_names = {"a", "b"},
                                 .train = {.labels = {0, 1, 1}, .read = read},
                                 .test = {.labels = {1}, .read = read}};
                }};
  const auto small = shrunk(source, 3);
  EXPECT_NE(small.options, source.options);
  EXPECT_NE(small.options, shrunk(source, 2).options);
  const auto content = small.read();
  EXPECT_EQ(content.shape, (Shape{.channels = 1, .height = 3, .width = 3}));
  EXPECT_EQ(content.train.labels, (std::vector<std::int32_t>{0, 1, 1}));
  std::vector<std::uint8_t> pixels(9);
  content.train.read(2, pixels);
  EXPECT_EQ(pixels, std::vector<std::uint8_t>(9, 20));
  EXPECT_EQ(message([&] { (void)shrunk(source, 5).read(); }),
            "image size is 5; the images of set have 4x4 pixels, and are only made smaller");
}

}  // namespace
}  // namespace anact::data
