#include "data/image.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstdlib>

#include "data/encode.h"
#include "data/samples.h"
#include "support/temporary_folder.h"

namespace anact::data {
namespace {

using test::encode_jpeg;
using test::encode_png;
using test::JpegOptions;
using test::message_about;
using test::PngOptions;
using test::smooth_picture;
using test::TemporaryFolder;

using Bytes = std::vector<std::uint8_t>;

std::string complaint(const std::string& content) {
  return message([&] { (void)decode_image(content); });
}

// Numbers without a pattern.
Bytes noise(std::size_t count) {
  Bytes values;
  std::uint32_t state = 7;
  for (std::size_t i = 0; i < count; ++i) {
    state = state * 1664525 + 1013904223;
    values.push_back(static_cast<std::uint8_t>(state >> 24));
  }
  return values;
}

int largest_difference(const Bytes& a, const Bytes& b) {
  if (a.size() != b.size()) return 256;
  int largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

Bytes in_three_channels(const Bytes& grey) {
  Bytes values;
  for (const auto value : grey) values.insert(values.end(), 3, value);
  return values;
}

TEST(Jpeg, IsWhatWasEncoded) {
  for (const auto& [height, width] : {std::pair(64, 64), {1, 1}, {17, 5}, {8, 33}}) {
    const auto picture = smooth_picture(height, width);
    for (const bool progressive : {false, true}) {
      const auto image = decode_image(encode_jpeg(height, width, picture, {.progressive = progressive, .scans = {}}));
      EXPECT_EQ(image.height, height);
      EXPECT_EQ(image.width, width);
      EXPECT_LE(largest_difference(image.pixels, picture), 3) << height << "x" << width;
    }
  }
  const auto picture = smooth_picture(64, 64);
  EXPECT_LE(
      largest_difference(decode_image(encode_jpeg(64, 64, picture, {.sampling = 2, .scans = {}})).pixels, picture), 8);
}

TEST(Jpeg, GreyBecomesThreeEqualChannels) {
  Bytes grey;
  for (int i = 0; i < 12 * 9; ++i) grey.push_back(static_cast<std::uint8_t>(2 * i));
  const auto image = decode_image(encode_jpeg(12, 9, grey, {.colours = JCS_GRAYSCALE, .components = 1, .scans = {}}));
  for (std::size_t i = 0; i < image.pixels.size(); i += 3) {
    EXPECT_EQ(image.pixels[i], image.pixels[i + 1]);
    EXPECT_EQ(image.pixels[i], image.pixels[i + 2]);
  }
  EXPECT_LE(largest_difference(image.pixels, in_three_channels(grey)), 3);
}

TEST(Jpeg, InCmykIsRefused) {
  const auto content = encode_jpeg(8, 8, Bytes(256, 9), {.colours = JCS_CMYK, .components = 4, .scans = {}});
  EXPECT_EQ(complaint(content), "a JPEG in CMYK; expected grey or RGB");
}

TEST(Jpeg, CutAnywhereIsRefused) {
  for (const bool progressive : {false, true}) {
    const auto content = encode_jpeg(20, 20, noise(1200), {.quality = 60, .progressive = progressive, .scans = {}});
    for (std::size_t size = 0; size < content.size(); ++size) {
      EXPECT_NE(complaint(content.substr(0, size)), "accepted") << size << " of " << content.size();
    }
    EXPECT_EQ(complaint(content.substr(0, content.size() / 2)),
              "Premature end of JPEG file; expected a whole JPEG file");
  }
}

TEST(Jpeg, DamagedIsDecodedOrRefused) {
  for (const bool progressive : {false, true}) {
    const auto content = encode_jpeg(24, 24, noise(1728), {.quality = 50, .progressive = progressive, .scans = {}});
    int refused = 0;
    for (std::size_t i = 0; i < content.size(); ++i) {
      auto damaged = content;
      damaged[i] = static_cast<char>(damaged[i] ^ (1 << i % 8));
      refused += complaint(damaged) != "accepted";
    }
    EXPECT_GT(refused, 0);
  }
}

// Declared sizes are refused before memory is taken for them.
TEST(Jpeg, HugeIsRefused) {
  auto content = encode_jpeg(8, 8, Bytes(192, 9));
  const auto frame = content.find("\xff\xc0");
  ASSERT_NE(frame, std::string::npos);
  const auto declare = [&](unsigned height, unsigned width) {
    content[frame + 5] = static_cast<char>(height >> 8);
    content[frame + 6] = static_cast<char>(height & 255);
    content[frame + 7] = static_cast<char>(width >> 8);
    content[frame + 8] = static_cast<char>(width & 255);
  };
  const std::string limits = "; expected at most 16,384 a side and 64,000,000 in all";
  declare(65'000, 65'000);
  EXPECT_EQ(complaint(content), "an image of 65,000x65,000 pixels" + limits);
  declare(1, 16'385);
  EXPECT_EQ(complaint(content), "an image of 16,385x1 pixels" + limits);
  declare(8001, 8000);
  EXPECT_EQ(complaint(content), "an image of 8,000x8,001 pixels" + limits);
  declare(16'384, 16);
  EXPECT_TRUE(complaint(content).ends_with("; expected a whole JPEG file")) << complaint(content);
}

TEST(Jpeg, OfThousandsOfScansIsRefused) {
  JpegOptions options{.colours = JCS_GRAYSCALE, .components = 1, .scans = {}};
  options.scans.push_back({.comps_in_scan = 1, .component_index = {0}, .Ss = 0, .Se = 0, .Ah = 0, .Al = 0});
  const auto with_refinements = [&](int refinements) {
    auto result = options;
    for (int k = 1; k < 64; ++k) {
      for (int bit = refinements; bit >= 0; --bit) {
        result.scans.push_back({.comps_in_scan = 1,
                                .component_index = {0},
                                .Ss = k,
                                .Se = k,
                                .Ah = bit == refinements ? 0 : bit + 1,
                                .Al = bit});
      }
    }
    return encode_jpeg(8, 8, Bytes(64, 9), result);
  };
  EXPECT_EQ(complaint(with_refinements(0)), "accepted");  // 64 scans
  EXPECT_EQ(complaint(with_refinements(3)), "more than 200 scans; expected a whole JPEG file");
}

TEST(Png, IsWhatWasEncoded) {
  for (const auto& [height, width] : {std::pair(1u, 1u), {7u, 5u}, {33u, 64u}}) {
    const auto values = noise(std::size_t{height} * width * 3);
    for (const int interlace : {PNG_INTERLACE_NONE, PNG_INTERLACE_ADAM7}) {
      const auto image = decode_image(
          encode_png(height, width, values, {.interlace = interlace, .palette = {}, .palette_alpha = {}, .text = {}}));
      EXPECT_EQ(image.height, height);
      EXPECT_EQ(image.width, width);
      EXPECT_EQ(image.pixels, values);
    }
  }
}

PngOptions kind(int colours, int depth) {
  return {.colours = colours, .depth = depth, .palette = {}, .palette_alpha = {}, .text = {}};
}

TEST(Png, GreyOfAnyDepthBecomesThreeEqualChannels) {
  // 8 pixels, the levels 0…2^depth - 1 spread over 0…255.
  EXPECT_EQ(decode_image(encode_png(1, 8, {0b10100110}, kind(PNG_COLOR_TYPE_GRAY, 1))).pixels,
            in_three_channels({255, 0, 255, 0, 0, 255, 255, 0}));
  EXPECT_EQ(decode_image(encode_png(1, 8, {0b00011011, 0b11100100}, kind(PNG_COLOR_TYPE_GRAY, 2))).pixels,
            in_three_channels({0, 85, 170, 255, 255, 170, 85, 0}));
  EXPECT_EQ(decode_image(encode_png(1, 4, {0x0f, 0x71}, kind(PNG_COLOR_TYPE_GRAY, 4))).pixels,
            in_three_channels({0, 255, 119, 17}));
  const auto values = noise(35);
  EXPECT_EQ(decode_image(encode_png(5, 7, values, kind(PNG_COLOR_TYPE_GRAY, 8))).pixels, in_three_channels(values));
}

TEST(Png, SixteenBitsAreScaledToEight) {
  Bytes rows, expected;
  for (int value = 0; value < 65536; value += 111) {
    rows.push_back(static_cast<std::uint8_t>(value >> 8));
    rows.push_back(static_cast<std::uint8_t>(value & 255));
    expected.push_back(static_cast<std::uint8_t>((value * 255 + 32767) / 65535));
  }
  const auto width = static_cast<std::uint32_t>(expected.size());
  EXPECT_EQ(decode_image(encode_png(1, width, rows, kind(PNG_COLOR_TYPE_GRAY, 16))).pixels,
            in_three_channels(expected));
  rows.resize(rows.size() / 6 * 6);
  expected.resize(rows.size() / 2);
  EXPECT_EQ(decode_image(encode_png(1, width / 3, rows, kind(PNG_COLOR_TYPE_RGB, 16))).pixels, expected);
}

TEST(Png, TransparencyIsPassedOver) {
  EXPECT_EQ(decode_image(encode_png(1, 2, {1, 2, 3, 0, 4, 5, 6, 128}, kind(PNG_COLOR_TYPE_RGBA, 8))).pixels,
            (Bytes{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(decode_image(encode_png(1, 2, {7, 0, 9, 255}, kind(PNG_COLOR_TYPE_GRAY_ALPHA, 8))).pixels,
            in_three_channels({7, 9}));
}

TEST(Png, PalettesAreLookedUp) {
  auto options = kind(PNG_COLOR_TYPE_PALETTE, 4);
  options.palette = {{1, 2, 3}, {40, 50, 60}, {255, 0, 128}};
  const Bytes expected{40, 50, 60, 255, 0, 128, 1, 2, 3};
  EXPECT_EQ(decode_image(encode_png(1, 3, {0x12, 0x00}, options)).pixels, expected);
  options.palette_alpha = {0, 100};
  EXPECT_EQ(decode_image(encode_png(1, 3, {0x12, 0x00}, options)).pixels, expected);
}

TEST(Png, CutAnywhereIsRefused) {
  const auto content = encode_png(9, 9, noise(243));
  for (std::size_t size = 0; size < content.size(); ++size) {
    EXPECT_NE(complaint(content.substr(0, size)), "accepted") << size;
  }
  EXPECT_EQ(complaint(content.substr(0, 100)), "the file ends too early; expected a whole PNG file");
}

// Each chunk has a CRC-32; only damage within one that is passed over is not seen.
TEST(Png, DamagedIsRefused) {
  const auto content = encode_png(9, 9, noise(243));
  for (std::size_t i = 0; i < content.size(); ++i) {
    auto damaged = content;
    damaged[i] = static_cast<char>(damaged[i] ^ (1 << i % 8));
    EXPECT_NE(complaint(damaged), "accepted") << "byte " << i;
  }
}

TEST(Png, HugeIsRefused) {
  auto content = encode_png(9, 9, noise(243));
  const auto declare = [&](std::uint32_t height, std::uint32_t width) {
    for (int i = 0; i < 4; ++i) {
      content[16 + static_cast<std::size_t>(i)] = static_cast<char>(width >> (24 - 8 * i));
      content[20 + static_cast<std::size_t>(i)] = static_cast<char>(height >> (24 - 8 * i));
    }
    const auto crc = crc32(0, reinterpret_cast<const Bytef*>(content.data()) + 12, 17);
    for (int i = 0; i < 4; ++i) content[29 + static_cast<std::size_t>(i)] = static_cast<char>(crc >> (24 - 8 * i));
  };
  declare(2'000'000'000, 9);
  EXPECT_EQ(complaint(content),
            "an image of 9x2,000,000,000 pixels; expected at most 16,384 a side and 64,000,000 in all");
  declare(16'000, 16'000);
  EXPECT_EQ(complaint(content),
            "an image of 16,000x16,000 pixels; expected at most 16,384 a side and 64,000,000 in all");
  declare(8000, 8000);
  EXPECT_NE(complaint(content).find("; expected a whole PNG file"), std::string::npos) << complaint(content);
}

// Ten megabytes of text in a few kilobytes: never unpacked.
TEST(Png, TextsArePassedOver) {
  auto options = kind(PNG_COLOR_TYPE_RGB, 8);
  options.text = std::string(10'000'000, 'a');
  const auto values = noise(27);
  const auto content = encode_png(3, 3, values, options);
  EXPECT_LT(content.size(), 20'000u);
  EXPECT_EQ(decode_image(content).pixels, values);
}

TEST(Image, SomethingElseIsRefused) {
  EXPECT_EQ(complaint(""), "begins with ''; expected a JPEG or PNG image");
  EXPECT_EQ(complaint("GIF89a and so on"), "begins with 'GIF89a and s'; expected a JPEG or PNG image");
  EXPECT_EQ(complaint("\xff\xd8\xff"), "Premature end of JPEG file; expected a whole JPEG file");
  const TemporaryFolder folder;
  const auto path = folder.write("a.jpg", "text");
  EXPECT_EQ(message_about(path, [&] { (void)read_image(path); }), "begins with 'text'; expected a JPEG or PNG image");
  const auto picture = folder.write("b.jpg", encode_png(3, 3, noise(27)));  // whatever its name says
  EXPECT_EQ(read_image(picture).pixels, noise(27));
}

Image formula_image(std::int64_t height, std::int64_t width) {
  Image image{.height = height, .width = width, .pixels = {}};
  for (std::int64_t y = 0; y < height; ++y) {
    for (std::int64_t x = 0; x < width; ++x) {
      for (std::int64_t c = 0; c < 3; ++c) {
        image.pixels.push_back(static_cast<std::uint8_t>(x * x * 7 + y * 13 * (c + 1) + x * y * 3));
      }
    }
  }
  return image;
}

// CRC-32 of the pixels of CenterCrop(size)(Resize(size, antialias=True)(image)), torchvision on Pillow 13.0.0. It
// scales the rows of each of these before the columns.
TEST(Image, IsScaledAndCroppedAsTorchvisionDoes) {
  EXPECT_EQ(scale_and_crop(formula_image(5, 7), 2).pixels,
            (Bytes{45, 58, 70, 133, 128, 138, 81, 114, 146, 115, 116, 128}));
  struct Case {
    std::int64_t height, width, size;
    uLong crc;
  };
  for (const auto& [height, width, size, crc] : std::vector<Case>{{97, 61, 32, 0xe7708e7d},
                                                                  {61, 97, 32, 0x6c3b97d7},
                                                                  {9, 11, 16, 0xb595b02e},
                                                                  {64, 64, 64, 0x7c34f3b0},
                                                                  {100, 64, 64, 0x1ea650fa},
                                                                  {65, 64, 64, 0x7c34f3b0},
                                                                  {67, 64, 64, 0x5bc75cb7},
                                                                  {1, 40, 3, 0x386a4402},
                                                                  {40, 1, 1, 0x3927b7ed},
                                                                  {301, 300, 17, 0x858f5ff6},
                                                                  {16, 16, 33, 0x957a7c15}}) {
    const auto image = scale_and_crop(formula_image(height, width), size);
    EXPECT_EQ(image.height, size);
    EXPECT_EQ(image.width, size);
    ASSERT_EQ(image.pixels.size(), static_cast<std::size_t>(size * size * 3));
    EXPECT_EQ(crc32_z(0, image.pixels.data(), image.pixels.size()), crc) << height << "x" << width << " to " << size;
  }
}

TEST(Image, HasPlanes) {
  Bytes planes(12);
  write_planes({.height = 2, .width = 2, .pixels = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}}, planes);
  EXPECT_EQ(planes, (Bytes{1, 4, 7, 10, 2, 5, 8, 11, 3, 6, 9, 12}));
}

}  // namespace
}  // namespace anact::data
