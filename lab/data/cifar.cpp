#include "data/cifar.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace anact::data {
namespace {

constexpr Shape kShape{.channels = 3, .height = 32, .width = 32};
constexpr std::size_t kPixels = 3072;
constexpr std::uint64_t kLargestFile = std::uint64_t{1} << 30;

struct Layout {
  std::size_t labels;  // bytes before the pixels; the last one is the label
  std::size_t classes;
  std::size_t coarse_classes;  // of the label before
};

Split read_split(const std::filesystem::path& folder, const std::vector<std::string>& files, const Layout& layout) {
  const std::size_t record = layout.labels + kPixels;
  Split split;
  const auto contents = std::make_shared<std::vector<std::string>>();
  const auto images = std::make_shared<std::vector<const char*>>();
  for (const auto& file : files) {
    const auto path = folder / file;
    const auto& content = contents->emplace_back(read_small_file(path, kLargestFile));
    if (content.empty() || content.size() % record != 0) {
      fail(path, grouped(content.size()) + " bytes; expected one or more whole records of " + grouped(record));
    }
    for (std::size_t at = 0; at < content.size(); at += record) {
      for (std::size_t i = 0; i < layout.labels; ++i) {
        const auto label = static_cast<unsigned char>(content[at + i]);
        const auto classes = i + 1 == layout.labels ? layout.classes : layout.coarse_classes;
        if (label >= classes) {
          fail(path, "byte " + grouped(at + i) + ": label " + std::to_string(label) + "; expected 0…" +
                         std::to_string(classes - 1));
        }
      }
      split.labels.push_back(static_cast<unsigned char>(content[at + layout.labels - 1]));
    }
  }
  for (const auto& content : *contents) {
    for (std::size_t at = layout.labels; at < content.size(); at += record) images->push_back(content.data() + at);
  }
  split.read = [contents, images](std::int64_t index, std::span<std::uint8_t> pixels) {
    std::copy_n((*images)[static_cast<std::size_t>(index)], kPixels, pixels.begin());
  };
  return split;
}

Source cifar_source(std::string name, const std::filesystem::path& folder, std::vector<std::string> train,
                    const std::string& test, const std::string& names, const Layout& layout) {
  std::vector<std::filesystem::path> files(train.begin(), train.end());
  files.insert(files.end(), {test, names});
  for (const auto& file : files) {
    if (!std::filesystem::is_regular_file(folder / file)) fail(folder, "no file " + file.string());
  }
  return {.name = std::move(name),
          .path = folder,
          .files = std::move(files),
          .options = {},
          .read = [folder, train = std::move(train), test, names, layout] {
            return Content{.shape = kShape,
                           .class_names = read_class_names(folder / names, layout.classes),
                           .train = read_split(folder, train, layout),
                           .test = read_split(folder, {test}, layout)};
          }};
}

}  // namespace

Source cifar10_source(const std::filesystem::path& folder) {
  return cifar_source(
      "cifar10", folder,
      {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"},
      "test_batch.bin", "batches.meta.txt", {.labels = 1, .classes = 10, .coarse_classes = 0});
}

Source cifar100_source(const std::filesystem::path& folder) {
  return cifar_source("cifar100", folder, {"train.bin"}, "test.bin", "fine_label_names.txt",
                      {.labels = 2, .classes = 100, .coarse_classes = 20});
}

}  // namespace anact::data
