#include "data/image_folder.h"

#include <algorithm>
#include <cctype>
#include <memory>
#include <stdexcept>
#include <utility>

#include "data/image.h"

namespace anact::data {
namespace {

bool is_image_name(std::string name) {
  std::ranges::transform(name, name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return name.ends_with(".jpg") || name.ends_with(".jpeg") || name.ends_with(".png");
}

struct Files {
  std::vector<std::filesystem::path> images;  // from the set's folder on
  std::vector<std::int32_t> labels;
};

std::vector<std::string> list_classes(const std::filesystem::path& split) {
  auto listing = list_folder(split, split);
  if (!listing.files.empty()) fail(split / listing.files.front(), "expected only folders here, one a class");
  if (listing.folders.empty()) fail(split, "no folders; expected one a class");
  for (const auto& name : listing.folders) {
    if (!is_text(name)) fail(split / name, "expected the name of a class in UTF-8");
  }
  return std::move(listing.folders);
}

Files list_split(const std::filesystem::path& path, const std::string& split, const std::vector<std::string>& classes) {
  Files files;
  for (std::size_t label = 0; label < classes.size(); ++label) {
    const auto folder = std::filesystem::path(split) / classes[label];
    for (const auto& name : list_images(path / folder, path / split)) {
      files.images.push_back(folder / name);
      files.labels.push_back(static_cast<std::int32_t>(label));
    }
  }
  return files;
}

Split make_split(const std::filesystem::path& path, Files files, std::int64_t image_size) {
  return {
      .labels = std::move(files.labels),
      .read = [path, images = std::move(files.images), image_size](std::int64_t index, std::span<std::uint8_t> pixels) {
        write_planes(scale_and_crop(read_image(path / images[static_cast<std::size_t>(index)]), image_size), pixels);
      }};
}

}  // namespace

std::vector<std::string> list_images(const std::filesystem::path& folder, const std::filesystem::path& tree) {
  auto listing = list_folder(folder, tree);
  if (!listing.folders.empty()) fail(folder / listing.folders.front(), "a folder; expected only images here");
  for (const auto& name : listing.files) {
    if (!is_image_name(name)) fail(folder / name, "expected an image, *.jpg, *.jpeg or *.png");
  }
  if (listing.files.empty()) fail(folder, "no images; expected at least one");
  return std::move(listing.files);
}

Source folder_source(const std::filesystem::path& path, std::int64_t image_size) {
  if (image_size < 1 || image_size > 1024) {
    throw std::invalid_argument("image size " + std::to_string(image_size) + "; expected 1…1,024");
  }
  const auto is_folder = [&](const char* name) { return std::filesystem::is_directory(path / name); };
  if (!is_folder("train")) fail(path, "no folder train");
  if (!is_folder("val") && !is_folder("test")) fail(path, "no folder val or test");
  const std::string test_name = is_folder("val") ? "val" : "test";

  auto classes = list_classes(path / "train");
  const auto test_classes = list_classes(path / test_name);
  for (const auto& name : classes) {
    if (!std::ranges::binary_search(test_classes, name)) {
      fail(path / test_name, "no folder " + name + "; expected the classes of " + quote_path(path / "train"));
    }
  }
  for (const auto& name : test_classes) {
    if (!std::ranges::binary_search(classes, name)) {
      fail(path / test_name / name, "not among the classes of " + quote_path(path / "train"));
    }
  }
  auto train = list_split(path, "train", classes);
  auto test = list_split(path, test_name, classes);
  auto files = train.images;
  files.insert(files.end(), test.images.begin(), test.images.end());
  return {.name = "folder",
          .path = path,
          .files = std::move(files),
          .options = "image_size=" + std::to_string(image_size),
          .read = [path, classes = std::move(classes), train = std::move(train), test = std::move(test), image_size] {
            return Content{.shape = {.channels = 3, .height = image_size, .width = image_size},
                           .class_names = classes,
                           .train = make_split(path, train, image_size),
                           .test = make_split(path, test, image_size)};
          }};
}

}  // namespace anact::data
