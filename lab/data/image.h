// Images in JPEG and PNG.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>
#include <vector>

namespace anact::data {

struct Image {
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::vector<std::uint8_t> pixels;  // height x width x 3: red, green, blue
};

// Decodes the content of a JPEG or PNG file, which is told by its first bytes. Grey images get three equal channels, 16
// bits are scaled to 8, palettes looked up, transparency and the orientation that a camera noted passed over.
//
// Throws std::runtime_error without the file's name for what is neither, damaged or incomplete, a JPEG in CMYK, and for
// images of more than 16,384 pixels a side or 64 million in all, before memory is taken for them.
[[nodiscard]] Image decode_image(std::string_view content);

// The same of a file. Throws std::runtime_error that names it.
[[nodiscard]] Image read_image(const std::filesystem::path& path);

// Scales the image so that its shorter side is `size`, by a triangle filter that is as wide as the scale (bilinear with
// antialias), and cuts the square out of the middle. As torchvision's Resize and CenterCrop of a Pillow image, with
// weights of 22 fractional bits and 8 bits between the two directions: the same values where Pillow scales rows before
// columns, as is done here, and at most one off for the shapes of which newer versions of it scale the columns first.
[[nodiscard]] Image scale_and_crop(const Image& image, std::int64_t size);

// The three planes, one after the other: 3 x height x width.
void write_planes(const Image& image, std::span<std::uint8_t> planes);

}  // namespace anact::data
