// A labelled set of images, split into training and test samples.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace anact::data {

// Of one image.
struct Shape {
  std::int64_t channels = 0;
  std::int64_t height = 0;
  std::int64_t width = 0;

  [[nodiscard]] std::int64_t values() const { return channels * height * width; }
  bool operator==(const Shape&) const = default;
};

struct Samples {
  std::span<const std::uint8_t> pixels;       // images x channels x height x width
  std::span<const std::int32_t> labels;       // one a sample, from 0 to classes - 1
  std::span<const std::int64_t> images = {};  // which image each sample is; empty: sample i is image i

  [[nodiscard]] std::int64_t size() const { return static_cast<std::int64_t>(labels.size()); }
  [[nodiscard]] std::span<const std::uint8_t> image(std::int64_t sample, const Shape& shape) const {
    const auto at = images.empty() ? sample : images[static_cast<std::size_t>(sample)];
    const auto values = static_cast<std::size_t>(shape.values());
    return pixels.subspan(static_cast<std::size_t>(at) * values, values);
  }
};

// Copies share the memory of the samples.
struct Dataset {
  std::string name;
  Shape shape;
  std::vector<std::string> class_names;  // one a class
  Samples train;
  Samples validation = {};  // training images that were split off for choices; empty unless they were
  Samples test;
  // Of each channel's pixels over the training images, in the pixels' own unit.
  std::vector<double> mean;
  std::vector<double> deviation;
  std::string source;    // the file or folder that was read
  std::string checksum;  // CRC-32 of the training pixels and labels, then the test pixels and labels; 8 hex digits
  std::shared_ptr<const void> storage;  // owns what the samples refer to

  [[nodiscard]] std::int64_t classes() const { return static_cast<std::int64_t>(class_names.size()); }
};

}  // namespace anact::data
