#include "data/contact_sheet.h"

#include <openssl/evp.h>
#include <png.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>
#include <string_view>
#include <utility>
#include <vector>

#include "data/source.h"
#include "page/text.h"
#include "text/words.h"

namespace anact::data {
namespace {

// The stream that chooses the samples.
constexpr std::uint64_t kChoiceStream = 3;
constexpr std::uint64_t kEpochs = 3;
constexpr std::int64_t kMostSamples = 10'000;
// A set whose brightest pixel is below this is brightened.
constexpr std::uint8_t kDark = 128;

constexpr std::string_view kStyle = R"(
:root { color-scheme: light dark; --page: #fff; --text: #1a1a1a; --faint: #666; --line: #ddd; }
@media (prefers-color-scheme: dark) { :root { --page: #161616; --text: #eaeaea; --faint: #9a9a9a; --line: #333; } }
body { margin: 0 auto; max-width: 75rem; padding: 1rem; background: var(--page); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.3rem; margin: 0; }
p { margin: .2rem 0 1rem; color: var(--faint); overflow-wrap: anywhere; }
main { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, var(--sample)), 1fr)); }
figure { margin: 0; border-top: 1px solid var(--line); padding-top: .4rem; min-width: 0; }
figure div { display: flex; gap: 4px; }
img { image-rendering: pixelated; width: 5.5rem; min-width: 0; flex: 0 1 auto; height: auto; align-self: flex-start; }
img.before { margin-right: 6px; }
figcaption { font-size: .85rem; overflow-wrap: anywhere; }
figcaption span { color: var(--faint); }
)";

std::string base64(std::string_view bytes) {
  std::string text((bytes.size() + 2) / 3 * 4 + 1, '\0');
  const int size =
      EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                      reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  text.resize(static_cast<std::size_t>(size));
  return text;
}

// What is done to the images, in words; "" for nothing.
std::string describe(const Augmentation& augmentation) {
  std::vector<std::string> parts;
  if (augmentation.crop_padding > 0)
    parts.emplace_back("crop with padding " + std::to_string(augmentation.crop_padding));
  if (augmentation.resized_crop) parts.emplace_back("resized crop");
  if (augmentation.flip) parts.emplace_back("flip");
  if (augmentation.erasing > 0)
    parts.emplace_back("erasing with probability " + text::format("%.3g", augmentation.erasing));
  return text::join(parts);
}

// Different samples, each as likely as the other.
std::vector<std::int64_t> choose(std::int64_t samples, std::int64_t count, std::uint64_t seed) {
  std::vector<std::int64_t> indices(static_cast<std::size_t>(samples));
  std::iota(indices.begin(), indices.end(), 0);
  Random random{kChoiceStream, seed};
  for (std::int64_t i = 0; i < count; ++i) {
    std::swap(indices[static_cast<std::size_t>(i)], indices[static_cast<std::size_t>(i + random.below(samples - i))]);
  }
  indices.resize(static_cast<std::size_t>(count));
  return indices;
}

}  // namespace

std::string png_bytes(const Shape& shape, std::span<const std::uint8_t> pixels, double scale) {
  const std::int64_t channels = shape.channels == 3 ? 3 : 1;
  const auto plane = shape.height * shape.width;
  std::vector<png_byte> rows(static_cast<std::size_t>(channels * plane));
  for (std::int64_t channel = 0; channel < channels; ++channel) {
    for (std::int64_t i = 0; i < plane; ++i) {
      const double value = std::round(scale * pixels[static_cast<std::size_t>(channel * plane + i)]);
      rows[static_cast<std::size_t>(i * channels + channel)] = static_cast<png_byte>(std::min(value, 255.0));
    }
  }
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = static_cast<png_uint_32>(shape.width);
  image.height = static_cast<png_uint_32>(shape.height);
  image.format = channels == 3 ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY;
  // More than any compression of it takes.
  std::string bytes(PNG_IMAGE_PNG_SIZE_MAX(image), '\0');
  png_alloc_size_t size = bytes.size();
  if (png_image_write_to_memory(&image, bytes.data(), &size, 0, rows.data(), 0, nullptr) == 0) {
    throw std::runtime_error(std::string("cannot make a PNG image: ") + image.message);
  }
  bytes.resize(size);
  return bytes;
}

std::string contact_sheet(const Dataset& dataset, const ContactSheetOptions& options) {
  if (options.count < 1 || options.count > kMostSamples) {
    throw std::invalid_argument("count: " + std::to_string(options.count) + "; expected 1…" +
                                std::to_string(kMostSamples));
  }
  const auto& shape = dataset.shape;
  validate(options.augmentation, shape);
  const auto& samples = options.test ? dataset.test : dataset.train;
  const auto count = std::min(options.count, samples.size());
  const auto changes = describe(options.augmentation);
  const auto largest = samples.pixels.empty() ? std::uint8_t{255} : *std::ranges::max_element(samples.pixels);
  const double scale = largest > 0 && largest < kDark ? 255.0 / largest : 1;
  const auto colour = mean_colour(dataset);
  const auto values = static_cast<std::size_t>(shape.values());

  const auto title = dataset.name + ": " + grouped(static_cast<std::uint64_t>(count)) + " of " +
                     grouped(static_cast<std::uint64_t>(samples.size())) + (options.test ? " test" : " training") +
                     " samples";
  std::string html = "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n";
  html += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>" +
          page::escape_html(title) + "</title>\n<style>" + std::string(kStyle) +
          ":root { --sample: " + (changes.empty() ? "5.5rem" : "23rem") + "; }\n</style>\n</head>\n<body>\n<h1>" +
          page::escape_html(title) + "</h1>\n<p>";
  html += std::to_string(shape.channels) + " × " + std::to_string(shape.height) + " × " + std::to_string(shape.width) +
          " (channels, height, width), " + grouped(static_cast<std::uint64_t>(dataset.classes())) + " classes, from " +
          page::escape_html(dataset.source) + ". Seed " + std::to_string(options.seed) + ". ";
  if (!changes.empty()) {
    html += "Each sample as it is, then after " + changes + ", in the first " + std::to_string(kEpochs) + " epochs. ";
  }
  if (scale != 1) html += "The pixels’ values end at " + std::to_string(largest) + ": shown brighter. ";
  html += "</p>\n<main>\n";

  std::vector<std::uint8_t> changed(values);
  for (const auto index : choose(samples.size(), count, options.seed)) {
    const auto pixels = samples.image(index, shape);
    const auto label = samples.labels[static_cast<std::size_t>(index)];
    const auto& name = dataset.class_names[static_cast<std::size_t>(label)];
    const auto add_image = [&](std::span<const std::uint8_t> image, const std::string& kind, const std::string& what) {
      html += "<img" + kind + " alt=\"" + page::escape_html(name) + ", " + what + "\" src=\"data:image/png;base64," +
              base64(png_bytes(shape, image, scale)) + "\">";
    };
    html += "<figure><div>";
    add_image(pixels, changes.empty() ? "" : " class=\"before\"", "as it is");
    for (std::uint64_t epoch = 0; !changes.empty() && epoch < kEpochs; ++epoch) {
      augment(options.augmentation, shape, colour, options.seed, epoch, index, pixels.data(), changed.data());
      add_image(changed, "", "epoch " + std::to_string(epoch + 1));
    }
    html += "</div><figcaption>" + page::escape_html(name) + " <span>" + std::to_string(index) +
            "</span></figcaption></figure>\n";
  }
  return html + "</main>\n</body>\n</html>\n";
}

}  // namespace anact::data
