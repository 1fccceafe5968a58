#include "data/digits.h"

#include <array>
#include <charconv>
#include <numeric>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data/gzip.h"
#include "data/shrink.h"
#include "data/source.h"

namespace anact::data {
namespace {

constexpr std::int64_t kSide = 8;
constexpr std::size_t kPixels = kSide * kSide;
constexpr int kLargestPixel = 16;
constexpr int kClasses = 10;
constexpr std::size_t kImages = 1797;
constexpr std::size_t kTestImages = 360;
constexpr std::uint32_t kSplitSeed = 1797;

struct Digit {
  std::array<std::uint8_t, kPixels> pixels;
  std::int32_t label;
};

struct Storage {
  std::vector<std::uint8_t> pixels;
  std::vector<std::int32_t> labels;
};

// Throws with the line's number unless the line is kPixels pixels and a label.
Digit parse_line(const std::filesystem::path& path, std::size_t line, std::string_view text) {
  const auto where = "line " + std::to_string(line) + ": ";
  Digit digit{};
  for (std::size_t column = 0; column <= kPixels; ++column) {
    const bool last = column == kPixels;
    int value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    const int largest = last ? kClasses - 1 : kLargestPixel;
    if (error != std::errc() || value < 0 || value > largest) {
      fail(path, where + "column " + std::to_string(column + 1) + ": expected " +
                     (last ? "a label of 0…9" : "a value of 0…16") + ", found " + quote_text(text));
    }
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    if (last ? !text.empty() : text.empty() || text.front() != ',') {
      fail(path, where + "expected 65 whole numbers separated by commas; column " + std::to_string(column + 1) +
                     " is followed by " + quote_text(text));
    }
    if (last) {
      digit.label = value;
    } else {
      digit.pixels[column] = static_cast<std::uint8_t>(value);
      text.remove_prefix(1);
    }
  }
  return digit;
}

// The permutation that PyTorch's torch.randperm(kImages) makes with a generator of the seed kSplitSeed.
std::vector<std::size_t> permutation() {
  std::vector<std::size_t> order(kImages);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::mt19937 generator(kSplitSeed);
  for (std::size_t i = 0; i + 1 < kImages; ++i) std::swap(order[i], order[i + generator() % (kImages - i)]);
  return order;
}

}  // namespace

Dataset load_digits(const std::filesystem::path& path, std::int64_t size) {
  Shape shape{.channels = 1, .height = kSide, .width = kSide};
  if (size != 0) check_size("digits", shape, size);
  const std::string content = read_gzip(path, std::size_t{1} << 24, "more than 16 MiB; the digits take 0.3 MiB");
  std::vector<Digit> digits;
  for (const auto line : split_lines(content)) {
    if (digits.size() == kImages) {
      fail(path, "line " + std::to_string(kImages + 1) + ": expected the end; the set has 1797");
    }
    digits.push_back(parse_line(path, digits.size() + 1, line));
  }
  if (digits.size() != kImages) {
    fail(path, "ends after " + std::to_string(digits.size()) + " lines; expected 1797");
  }

  const auto order = permutation();
  const auto storage = std::make_shared<Storage>();
  const auto append = [&](std::size_t index) {
    std::vector<std::uint8_t> pixels(digits[index].pixels.begin(), digits[index].pixels.end());
    if (size != 0) {
      const auto whole = std::exchange(pixels, std::vector<std::uint8_t>(static_cast<std::size_t>(size * size)));
      shrink(shape, whole, size, pixels);
    }
    storage->pixels.insert(storage->pixels.end(), pixels.begin(), pixels.end());
    storage->labels.push_back(digits[index].label);
  };
  // The training images first.
  for (std::size_t i = kTestImages; i < kImages; ++i) append(order[i]);
  for (std::size_t i = 0; i < kTestImages; ++i) append(order[i]);
  if (size != 0) shape.height = shape.width = size;
  constexpr std::size_t kTrainImages = kImages - kTestImages;
  const auto split = kTrainImages * static_cast<std::size_t>(shape.values());
  const std::span<const std::uint8_t> pixels = storage->pixels;
  const std::span<const std::int32_t> labels = storage->labels;
  Dataset dataset{.name = "digits",
                  .shape = shape,
                  .class_names = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"},
                  .train = {.pixels = pixels.first(split), .labels = labels.first(kTrainImages), .images = {}},
                  .validation = {},
                  .test = {.pixels = pixels.subspan(split), .labels = labels.subspan(kTrainImages), .images = {}},
                  .mean = {},
                  .deviation = {},
                  .source = path.string(),
                  .checksum = {},
                  .storage = storage};
  Summary summary(dataset.shape);
  summary.add_train_pixels(dataset.train.pixels);
  summary.add_train_labels(dataset.train.labels);
  summary.add_test_pixels(dataset.test.pixels);
  summary.add_test_labels(dataset.test.labels);
  dataset.mean = summary.mean();
  dataset.deviation = summary.deviation();
  dataset.checksum = summary.checksum();
  return dataset;
}

}  // namespace anact::data
