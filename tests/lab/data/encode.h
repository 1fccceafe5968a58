// JPEG and PNG files of known content, and images in them.
#pragma once

// jpeglib.h needs std::FILE and std::size_t declared before it.
#include <cstddef>
#include <cstdio>
#include <cstdlib>
// clang-format off
#include <jpeglib.h>
// clang-format on
#include <png.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace anact::test {

struct JpegOptions {
  J_COLOR_SPACE colours = JCS_RGB;
  int components = 3;
  int quality = 100;
  int sampling = 1;  // of the first component; 2 halves the resolution of the colours
  bool progressive = false;
  std::vector<jpeg_scan_info> scans;  // not empty: these in place of libjpeg's own
};

// `values`: height x width x components.
inline std::string encode_jpeg(int height, int width, const std::vector<std::uint8_t>& values,
                               const JpegOptions& options = {}) {
  jpeg_compress_struct info{};
  jpeg_error_mgr errors{};
  info.err = jpeg_std_error(&errors);
  jpeg_create_compress(&info);
  unsigned char* bytes = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&info, &bytes, &size);
  info.image_height = static_cast<JDIMENSION>(height);
  info.image_width = static_cast<JDIMENSION>(width);
  info.input_components = options.components;
  info.in_color_space = options.colours;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, options.quality, TRUE);
  info.comp_info[0].h_samp_factor = info.comp_info[0].v_samp_factor = options.sampling;
  if (options.progressive) jpeg_simple_progression(&info);
  if (!options.scans.empty()) {
    info.scan_info = options.scans.data();
    info.num_scans = static_cast<int>(options.scans.size());
  }
  jpeg_start_compress(&info, TRUE);
  while (info.next_scanline < info.image_height) {
    auto* row = const_cast<JSAMPROW>(values.data()) +
                static_cast<std::ptrdiff_t>(info.next_scanline) * width * options.components;
    jpeg_write_scanlines(&info, &row, 1);
  }
  jpeg_finish_compress(&info);
  jpeg_destroy_compress(&info);
  std::string content(reinterpret_cast<const char*>(bytes), size);
  std::free(bytes);
  return content;
}

struct PngOptions {
  int colours = PNG_COLOR_TYPE_RGB;
  int depth = 8;
  int interlace = PNG_INTERLACE_NONE;
  std::vector<png_color> palette;
  std::vector<png_byte> palette_alpha;
  std::string text;  // compressed into a chunk zTXt
};

// `rows`: each row as PNG packs it, one after the other.
inline std::string encode_png(std::uint32_t height, std::uint32_t width, const std::vector<std::uint8_t>& rows,
                              const PngOptions& options = {}) {
  std::string content;
  png_structp png = png_create_write_struct(
      PNG_LIBPNG_VER_STRING, nullptr, [](png_structp, png_const_charp what) { throw std::runtime_error(what); },
      nullptr);
  png_infop info = png_create_info_struct(png);
  png_set_write_fn(
      png, &content,
      [](png_structp p, png_bytep bytes, std::size_t count) {
        static_cast<std::string*>(png_get_io_ptr(p))->append(reinterpret_cast<const char*>(bytes), count);
      },
      [](png_structp) {});
  png_set_IHDR(png, info, width, height, options.depth, options.colours, options.interlace, PNG_COMPRESSION_TYPE_BASE,
               PNG_FILTER_TYPE_BASE);
  if (!options.palette.empty()) {
    png_set_PLTE(png, info, options.palette.data(), static_cast<int>(options.palette.size()));
  }
  if (!options.palette_alpha.empty()) {
    png_set_tRNS(png, info, options.palette_alpha.data(), static_cast<int>(options.palette_alpha.size()), nullptr);
  }
  if (!options.text.empty()) {
    png_text text{};
    std::string key = "Comment", value = options.text;
    text.compression = PNG_TEXT_COMPRESSION_zTXt;
    text.key = key.data();
    text.text = value.data();
    text.text_length = value.size();
    png_set_text(png, info, &text, 1);
  }
  png_write_info(png, info);
  const std::size_t stride = rows.size() / height;
  std::vector<png_bytep> pointers;
  for (std::uint32_t y = 0; y < height; ++y) pointers.push_back(const_cast<png_bytep>(rows.data()) + y * stride);
  png_write_image(png, pointers.data());
  png_write_end(png, nullptr);
  png_destroy_write_struct(&png, &info);
  return content;
}

// A picture without sharp edges, height x width x 3.
inline std::vector<std::uint8_t> smooth_picture(int height, int width) {
  std::vector<std::uint8_t> values;
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      values.push_back(static_cast<std::uint8_t>(255 * x / width));
      values.push_back(static_cast<std::uint8_t>(255 * y / height));
      values.push_back(static_cast<std::uint8_t>(255 * (x + y) / (width + height)));
    }
  }
  return values;
}

}  // namespace anact::test
