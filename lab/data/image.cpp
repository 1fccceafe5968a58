#include "data/image.h"

// jpeglib.h needs std::FILE and std::size_t declared before it.
#include <cstddef>
#include <cstdio>
// clang-format off
#include <jpeglib.h>
#include <jerror.h>
// clang-format on
#include <png.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <csetjmp>
#include <cstring>
#include <stdexcept>
#include <string>

#include "data/source.h"

namespace anact::data {
namespace {

constexpr std::uint64_t kLargestSide = 16384;
constexpr std::uint64_t kMostPixels = 64'000'000;
constexpr std::uint64_t kLargestFile = std::uint64_t{1} << 28;
constexpr long kJpegMemory = 1L << 30;
// A progressive JPEG of a few kilobytes can name thousands of scans, each of which goes over the whole image.
constexpr int kMostScans = 200;

Image make_image(std::uint64_t height, std::uint64_t width) {
  if (height > kLargestSide || width > kLargestSide || height * width > kMostPixels) {
    throw std::runtime_error("an image of " + grouped(width) + "x" + grouped(height) +
                             " pixels; expected at most 16,384 a side and 64,000,000 in all");
  }
  return {.height = static_cast<std::int64_t>(height),
          .width = static_cast<std::int64_t>(width),
          .pixels = std::vector<std::uint8_t>(height * width * 3)};
}

// libjpeg and libpng leave a call that fails by longjmp, over no object that has a destructor: each function that calls
// setjmp has only plain variables, and says by its result whether it came through.

struct JpegErrors {
  jpeg_error_mgr manager;  // first, as libjpeg knows this alone
  jmp_buf jump;
  std::array<char, JMSG_LENGTH_MAX> message;
};

[[noreturn]] void leave_jpeg(j_common_ptr info) {
  auto* errors = reinterpret_cast<JpegErrors*>(info->err);
  info->err->format_message(info, errors->message.data());
  longjmp(errors->jump, 1);
}

void take_jpeg_message(j_common_ptr info, int level) {
  // Warnings have the level -1, and all tell of damage but these two, about headers of unknown versions.
  const int code = info->err->msg_code;
  if (level < 0 && code != JWRN_ADOBE_XFORM && code != JWRN_JFIF_MAJOR) leave_jpeg(info);
}

void count_scans(j_common_ptr info) {
  if (reinterpret_cast<j_decompress_ptr>(info)->input_scan_number > kMostScans) {
    auto* errors = reinterpret_cast<JpegErrors*>(info->err);
    std::snprintf(errors->message.data(), errors->message.size(), "more than %d scans", kMostScans);
    longjmp(errors->jump, 1);
  }
}

class JpegReader {
 public:
  explicit JpegReader(std::string_view content) : content_(content) {
    info_.err = jpeg_std_error(&errors_.manager);
    errors_.manager.error_exit = leave_jpeg;
    errors_.manager.emit_message = take_jpeg_message;
    progress_.progress_monitor = count_scans;
  }
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;
  ~JpegReader() { jpeg_destroy_decompress(&info_); }

  Image read() {
    if (!read_header()) fail();
    if (info_.jpeg_color_space == JCS_CMYK || info_.jpeg_color_space == JCS_YCCK) {
      throw std::runtime_error("a JPEG in CMYK; expected grey or RGB");
    }
    auto image = make_image(info_.image_height, info_.image_width);
    if (!read_rows(image.pixels.data())) fail();
    return image;
  }

 private:
  bool read_header() {
    if (setjmp(errors_.jump) != 0) return false;
    jpeg_create_decompress(&info_);
    info_.mem->max_memory_to_use = kJpegMemory;
    info_.progress = &progress_;
    jpeg_mem_src(&info_, reinterpret_cast<const unsigned char*>(content_.data()), content_.size());
    jpeg_read_header(&info_, TRUE);
    return true;
  }

  bool read_rows(std::uint8_t* pixels) {
    if (setjmp(errors_.jump) != 0) return false;
    info_.out_color_space = JCS_RGB;
    jpeg_start_decompress(&info_);
    while (info_.output_scanline < info_.output_height) {
      JSAMPROW row = pixels + std::size_t{info_.output_scanline} * info_.output_width * 3;
      jpeg_read_scanlines(&info_, &row, 1);
    }
    jpeg_finish_decompress(&info_);
    return true;
  }

  [[noreturn]] void fail() const {
    throw std::runtime_error(std::string(errors_.message.data()) + "; expected a whole JPEG file");
  }

  std::string_view content_;
  jpeg_decompress_struct info_{};
  JpegErrors errors_{};
  jpeg_progress_mgr progress_{};
};

class PngReader {
 public:
  explicit PngReader(std::string_view content) : rest_(content) {
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, leave, [](png_structp, png_const_charp) {});
    if (png_ != nullptr) info_ = png_create_info_struct(png_);
    if (info_ == nullptr) {
      png_destroy_read_struct(&png_, nullptr, nullptr);
      throw std::runtime_error("libpng cannot begin");
    }
  }
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;
  ~PngReader() { png_destroy_read_struct(&png_, &info_, nullptr); }

  Image read() {
    if (!read_header()) fail();
    auto image = make_image(png_get_image_height(png_, info_), png_get_image_width(png_, info_));
    if (!read_rows(image.pixels.data())) fail();
    return image;
  }

 private:
  bool read_header() {
    if (setjmp(jump_) != 0) return false;
    png_set_read_fn(png_, this, give);
    // make_image limits the size, with a message of its own.
    png_set_user_limits(png_, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    // Only what the pixels need: texts and profiles can unpack to far more than the image.
    png_set_keep_unknown_chunks(png_, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
    png_read_info(png_, info_);
    return true;
  }

  bool read_rows(std::uint8_t* pixels) {
    if (setjmp(jump_) != 0) return false;
    png_set_scale_16(png_);
    png_set_palette_to_rgb(png_);
    png_set_expand_gray_1_2_4_to_8(png_);
    png_set_gray_to_rgb(png_);
    png_set_strip_alpha(png_);
    const int passes = png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
    const std::size_t stride = std::size_t{png_get_image_width(png_, info_)} * 3;
    if (png_get_rowbytes(png_, info_) != stride) png_error(png_, "an unknown kind of pixels");
    const png_uint_32 height = png_get_image_height(png_, info_);
    for (int pass = 0; pass < passes; ++pass) {
      for (png_uint_32 y = 0; y < height; ++y) png_read_row(png_, pixels + y * stride, nullptr);
    }
    png_read_end(png_, nullptr);
    return true;
  }

  [[noreturn]] static void leave(png_structp png, png_const_charp message) {
    auto* reader = static_cast<PngReader*>(png_get_error_ptr(png));
    std::snprintf(reader->message_.data(), reader->message_.size(), "%s", message);
    longjmp(reader->jump_, 1);
  }

  static void give(png_structp png, png_bytep bytes, std::size_t count) {
    auto& rest = static_cast<PngReader*>(png_get_io_ptr(png))->rest_;
    if (rest.size() < count) png_error(png, "the file ends too early");
    std::memcpy(bytes, rest.data(), count);
    rest = {rest.data() + count, rest.size() - count};
  }

  [[noreturn]] void fail() const {
    throw std::runtime_error(std::string(message_.data()) + "; expected a whole PNG file");
  }

  std::string_view rest_;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  jmp_buf jump_{};
  std::array<char, 256> message_{};
};

// The weights, in 2^-kWeightBits, of the pixels from `first` on in one pixel of the scaled row or column.
struct Taps {
  std::int64_t first;
  std::vector<std::int32_t> weights;

  [[nodiscard]] std::int64_t end() const { return first + static_cast<std::int64_t>(weights.size()); }
};

constexpr int kWeightBits = 22;

Taps make_taps(std::int64_t size, std::int64_t scaled_size, std::int64_t index) {
  const double scale = static_cast<double>(size) / static_cast<double>(scaled_size);
  const double support = std::max(scale, 1.0);
  const double centre = (static_cast<double>(index) + 0.5) * scale;
  const auto first = static_cast<std::int64_t>(std::max(centre - support + 0.5, 0.0));
  const auto end = std::min(static_cast<std::int64_t>(centre + support + 0.5), size);
  std::vector<double> weights;
  double sum = 0;
  for (std::int64_t i = first; i < end; ++i) {
    weights.push_back(std::max(1 - std::abs((static_cast<double>(i) - centre + 0.5) / support), 0.0));
    sum += weights.back();
  }
  Taps taps{.first = first, .weights = {}};
  for (const double weight : weights) {
    taps.weights.push_back(static_cast<std::int32_t>(weight / sum * (1 << kWeightBits) + 0.5));
  }
  return taps;
}

// The weighted sum of values that are `stride` apart.
std::uint8_t weigh(const Taps& taps, const std::uint8_t* values, std::int64_t stride) {
  std::int32_t sum = 1 << (kWeightBits - 1);
  for (const auto weight : taps.weights) {
    sum += weight * *values;
    values += stride;
  }
  return static_cast<std::uint8_t>(std::clamp(sum >> kWeightBits, 0, 255));
}

}  // namespace

Image decode_image(std::string_view content) {
  if (content.starts_with("\xff\xd8\xff")) return JpegReader(content).read();
  if (content.starts_with("\x89PNG\r\n\x1a\n")) return PngReader(content).read();
  throw std::runtime_error("begins with " + quote_text(content) + "; expected a JPEG or PNG image");
}

Image read_image(const std::filesystem::path& path) {
  const auto content = read_small_file(path, kLargestFile);
  try {
    return decode_image(content);
  } catch (const std::runtime_error& error) {
    fail(path, error.what());
  }
}

Image scale_and_crop(const Image& image, std::int64_t size) {
  const auto shorter = std::min(image.height, image.width);
  const auto scaled_height = size * image.height / shorter;
  const auto scaled_width = size * image.width / shorter;
  // Halves go to the even number, as Python rounds.
  const auto top = std::llrint(static_cast<double>(scaled_height - size) / 2);
  const auto left = std::llrint(static_cast<double>(scaled_width - size) / 2);
  std::vector<Taps> rows, columns;
  for (std::int64_t i = 0; i < size; ++i) {
    rows.push_back(make_taps(image.height, scaled_height, top + i));
    columns.push_back(make_taps(image.width, scaled_width, left + i));
  }

  // Only the rows that the square needs.
  const auto first = rows.front().first;
  const auto stride = size * 3;
  std::vector<std::uint8_t> narrow(static_cast<std::size_t>((rows.back().end() - first) * stride));
  auto* out = narrow.data();
  for (std::int64_t y = first; y < rows.back().end(); ++y) {
    const auto* row = image.pixels.data() + y * image.width * 3;
    for (const auto& taps : columns) {
      for (std::int64_t channel = 0; channel < 3; ++channel) *out++ = weigh(taps, row + taps.first * 3 + channel, 3);
    }
  }
  Image result{.height = size, .width = size, .pixels = {}};
  result.pixels.reserve(static_cast<std::size_t>(size * stride));
  for (const auto& taps : rows) {
    const auto* column = narrow.data() + (taps.first - first) * stride;
    for (std::int64_t i = 0; i < stride; ++i) result.pixels.push_back(weigh(taps, column + i, stride));
  }
  return result;
}

void write_planes(const Image& image, std::span<std::uint8_t> planes) {
  const std::size_t plane = image.pixels.size() / 3;
  for (std::size_t i = 0; i < plane; ++i) {
    for (std::size_t channel = 0; channel < 3; ++channel) {
      planes[channel * plane + i] = image.pixels[3 * i + channel];
    }
  }
}

}  // namespace anact::data
