#include "data/contact_sheet.h"

#include <gtest/gtest.h>
#include <png.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "support/message.h"

namespace anact::data {
namespace {

using Pixels = std::vector<std::uint8_t>;

struct Memory {
  Pixels pixels;
  std::vector<std::int32_t> labels;
};

Dataset make_dataset(const Shape& shape, std::int64_t samples, unsigned values = 256) {
  const auto memory = std::make_shared<Memory>();
  unsigned state = 1;
  for (std::int64_t i = 0; i < samples * shape.values(); ++i) {
    state = state * 1664525u + 1013904223u;
    memory->pixels.push_back(static_cast<std::uint8_t>((state >> 16) % values));
  }
  for (std::int64_t i = 0; i < samples; ++i) memory->labels.push_back(static_cast<std::int32_t>(i % 2));
  Dataset dataset;
  dataset.name = "made";
  dataset.shape = shape;
  dataset.class_names = {"<b>\"cats\" & dogs</b>", "a name of many words"};
  dataset.train = {memory->pixels, memory->labels};
  dataset.test = {std::span(memory->pixels).first(static_cast<std::size_t>(3 * shape.values())),
                  std::span(memory->labels).first(3)};
  dataset.mean.assign(static_cast<std::size_t>(shape.channels), 90);
  dataset.deviation.assign(static_cast<std::size_t>(shape.channels), 50);
  dataset.source = "folder/<x>";
  dataset.storage = memory;
  return dataset;
}

// RFC 4648, section 4.
std::string from_base64(std::string_view text) {
  const std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  unsigned bits = 0;
  int count = 0;
  for (const char c : text) {
    if (c == '=') break;
    bits = bits << 6 | static_cast<unsigned>(digits.find(c));
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes += static_cast<char>(bits >> count);
  }
  return bytes;
}

// Channels x height x width, as libpng reads it.
Pixels decoded(const std::string& png, const Shape& shape) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  EXPECT_NE(png_image_begin_read_from_memory(&image, png.data(), png.size()), 0) << image.message;
  EXPECT_EQ(image.width, shape.width);
  EXPECT_EQ(image.height, shape.height);
  EXPECT_EQ(image.format & PNG_FORMAT_FLAG_COLOR, shape.channels == 3 ? PNG_FORMAT_FLAG_COLOR : 0u);
  image.format = shape.channels == 3 ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY;
  Pixels rows(PNG_IMAGE_SIZE(image));
  EXPECT_NE(png_image_finish_read(&image, nullptr, rows.data(), 0, nullptr), 0) << image.message;
  const auto channels = static_cast<std::size_t>(shape.channels), plane = rows.size() / channels;
  Pixels planes(rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) planes[i % channels * plane + i / channels] = rows[i];
  return planes;
}

std::vector<std::string> all_between(const std::string& text, const std::string& begin, const std::string& end) {
  std::vector<std::string> found;
  for (std::size_t at = 0; (at = text.find(begin, at)) != std::string::npos;) {
    at += begin.size();
    found.push_back(text.substr(at, text.find(end, at) - at));
  }
  return found;
}

std::vector<std::string> images_of(const std::string& page) {
  std::vector<std::string> images;
  for (const auto& text : all_between(page, "base64,", "\"")) images.push_back(from_base64(text));
  return images;
}

// The samples' numbers, in the order of the page.
std::vector<std::size_t> indices_of(const std::string& page) {
  std::vector<std::size_t> indices;
  for (const auto& text : all_between(page, "<span>", "</span>")) indices.push_back(std::stoull(text));
  return indices;
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(Png, HoldsThePixels) {
  for (const auto& shape : {Shape{1, 1, 1}, Shape{3, 1, 7}, Shape{1, 9, 4}, Shape{3, 32, 32}, Shape{3, 64, 61}}) {
    const auto dataset = make_dataset(shape, 1);
    const Pixels pixels(dataset.train.pixels.begin(), dataset.train.pixels.end());
    EXPECT_EQ(decoded(png_bytes(shape, pixels), shape), pixels);
  }
  const Shape shape{1, 1, 4};
  EXPECT_EQ(decoded(png_bytes(shape, Pixels{0, 3, 8, 17}, 255.0 / 16), shape), (Pixels{0, 48, 128, 255}));
  // Of other numbers of channels the first.
  EXPECT_EQ(decoded(png_bytes({2, 1, 2}, Pixels{5, 6, 7, 8}), {1, 1, 2}), (Pixels{5, 6}));
}

TEST(ContactSheet, ShowsEachSampleBeforeAndAfter) {
  for (const auto& shape : {Shape{3, 8, 6}, Shape{1, 5, 5}}) {
    const auto dataset = make_dataset(shape, 40);
    const Augmentation augmentation{.crop_padding = 2, .flip = true, .resized_crop = true, .erasing = 0.5};
    const auto page = contact_sheet(dataset, {.count = 10, .seed = 4, .augmentation = augmentation});
    const auto images = images_of(page);
    const auto indices = indices_of(page);
    ASSERT_EQ(indices.size(), 10u);
    EXPECT_EQ(std::set<std::size_t>(indices.begin(), indices.end()).size(), 10u);
    ASSERT_EQ(images.size(), 40u);
    const auto values = static_cast<std::size_t>(shape.values());
    for (std::size_t i = 0; i < 10; ++i) {
      const auto sample = dataset.train.pixels.subspan(indices[i] * values, values);
      EXPECT_EQ(decoded(images[4 * i], shape), Pixels(sample.begin(), sample.end()));
      for (std::uint64_t epoch = 0; epoch < 3; ++epoch) {
        Pixels changed(values);
        augment(augmentation, shape, mean_colour(dataset), 4, epoch, static_cast<std::int64_t>(indices[i]),
                sample.data(), changed.data());
        EXPECT_EQ(decoded(images[4 * i + 1 + epoch], shape), changed);
      }
    }
    EXPECT_TRUE(has(page, "crop with padding 2, resized crop, flip, erasing with probability 0.5"));
  }
}

TEST(ContactSheet, AloneWithoutAugmentation) {
  const auto dataset = make_dataset({3, 4, 4}, 40);
  const auto page = contact_sheet(dataset, {.count = 7});
  EXPECT_EQ(images_of(page).size(), 7u);
  EXPECT_FALSE(has(page, "epoch"));
}

TEST(ContactSheet, TheSameForTheSameSeed) {
  const auto dataset = make_dataset({1, 4, 4}, 50);
  const auto page = [&](std::uint64_t seed) {
    return contact_sheet(dataset, {.count = 5, .seed = seed, .augmentation = {.crop_padding = 2}});
  };
  EXPECT_EQ(page(1), page(1));
  EXPECT_NE(indices_of(page(1)), indices_of(page(2)));
}

TEST(ContactSheet, AllSamplesOfASmallSplit) {
  const auto dataset = make_dataset({1, 4, 4}, 50);
  const auto page = contact_sheet(dataset, {.count = 20, .test = true});
  EXPECT_TRUE(has(page, "<title>made: 3 of 3 test samples</title>"));
  auto indices = indices_of(page);
  std::ranges::sort(indices);
  EXPECT_EQ(indices, (std::vector<std::size_t>{0, 1, 2}));
}

TEST(ContactSheet, EscapesWhatTheSetNames) {
  const auto page = contact_sheet(make_dataset({1, 4, 4}, 10), {.count = 10});
  EXPECT_FALSE(has(page, "<b>"));
  EXPECT_TRUE(has(page, "alt=\"&lt;b&gt;&quot;cats&quot; &amp; dogs&lt;/b&gt;, as it is\""));
  EXPECT_TRUE(has(page, "<figcaption>&lt;b&gt;&quot;cats&quot; &amp; dogs&lt;/b&gt; <span>"));
  EXPECT_TRUE(has(page, "from folder/&lt;x&gt;."));
}

TEST(ContactSheet, NeedsNoOtherFile) {
  const auto page = contact_sheet(make_dataset({3, 4, 4}, 10), {.count = 2});
  for (const auto& source : all_between(page, "src=\"", "\""))
    EXPECT_TRUE(source.starts_with("data:image/png;base64,"));
  for (const char* part : {"http:", "https:", "<script", "<link", "@import", "url("}) EXPECT_FALSE(has(page, part));
  for (const char* part : {"prefers-color-scheme: dark", "image-rendering: pixelated", "width=device-width"}) {
    EXPECT_TRUE(has(page, part));
  }
}

TEST(ContactSheet, BrightensDarkSets) {
  const Shape shape{1, 6, 6};
  const auto dataset = make_dataset(shape, 4, 17);
  const auto page = contact_sheet(dataset, {.count = 1});
  EXPECT_TRUE(has(page, "values end at 16: shown brighter"));
  const auto image = decoded(images_of(page)[0], shape);
  const auto sample = dataset.train.pixels.subspan(indices_of(page)[0] * 36, 36);
  for (std::size_t i = 0; i < 36; ++i) EXPECT_EQ(image[i], std::lround(sample[i] * 255 / 16.0));
}

TEST(ContactSheet, RefusesOptionsThatCannotBe) {
  const auto dataset = make_dataset({1, 4, 4}, 4);
  const auto complaint = [&](const ContactSheetOptions& options) {
    return message([&] { (void)contact_sheet(dataset, options); });
  };
  EXPECT_EQ(complaint({.count = 0}), "count: 0; expected 1…10000");
  EXPECT_EQ(complaint({.augmentation = {.crop_padding = 4}}), "crop_padding: 4; expected 0…3");
}

}  // namespace
}  // namespace anact::data
