#include "data/tiny_imagenet.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "data/image.h"
#include "data/image_folder.h"

namespace anact::data {
namespace {

constexpr std::int64_t kSide = 64;
constexpr std::uint64_t kLargestText = std::uint64_t{1} << 26;

using Labels = std::map<std::string, std::int32_t, std::less<>>;

struct Files {
  std::vector<std::filesystem::path> images;  // from the set's folder on
  std::vector<std::int32_t> labels;
};

bool is_wnid(std::string_view text) {
  return text.size() == 9 && text[0] == 'n' &&
         std::ranges::all_of(text.substr(1), [](char c) { return c >= '0' && c <= '9'; });
}

std::string line_number(std::size_t index) { return "line " + grouped(index + 1) + ": "; }

std::vector<std::string> read_wnids(const std::filesystem::path& path) {
  const auto text = read_small_file(path, kLargestText);
  std::vector<std::string> wnids;
  std::set<std::string_view> known;
  for (const auto line : split_lines(text)) {
    if (!is_wnid(line)) {
      fail(path, line_number(wnids.size()) + quote_text(line) + "; expected an identifier like n01443537");
    }
    if (!known.insert(line).second) fail(path, line_number(wnids.size()) + std::string(line) + " a second time");
    wnids.emplace_back(line);
  }
  if (wnids.empty()) fail(path, "no lines; expected a class on each");
  return wnids;
}

std::vector<std::string> read_words(const std::filesystem::path& path, const std::vector<std::string>& wnids,
                                    const Labels& labels) {
  const auto text = read_small_file(path, kLargestText);
  const auto lines = split_lines(text);
  std::vector<std::string> words(wnids.size());
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const auto tab = lines[i].find('\t');
    const auto found = labels.find(lines[i].substr(0, tab));
    if (found == labels.end()) continue;
    const auto name = tab == std::string_view::npos ? std::string_view() : lines[i].substr(tab + 1);
    if (name.empty() || !is_text(name)) {
      fail(path, line_number(i) + quote_text(name) + "; expected the name of a class, in UTF-8");
    }
    words[static_cast<std::size_t>(found->second)] = name;
  }
  std::map<std::string_view, int> uses;
  for (const auto& name : words) ++uses[name];
  std::vector<std::string> names;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i].empty()) fail(path, "no line for the class " + wnids[i]);
    // A word of two meanings is two classes.
    names.push_back(uses[words[i]] == 1 ? words[i] : words[i] + " (" + wnids[i] + ")");
  }
  return names;
}

Files list_train(const std::filesystem::path& path, const std::vector<std::string>& wnids) {
  Files train;
  const auto listing = list_folder(path / "train", path);
  for (std::size_t label = 0; label < wnids.size(); ++label) {
    if (!std::ranges::binary_search(listing.folders, wnids[label])) fail(path / "train", "no folder " + wnids[label]);
    const auto folder = std::filesystem::path("train") / wnids[label] / "images";
    for (const auto& name : list_images(path / folder, path)) {
      train.images.push_back(folder / name);
      train.labels.push_back(static_cast<std::int32_t>(label));
    }
  }
  return train;
}

Files list_test(const std::filesystem::path& path, const std::vector<std::string>& wnids, const Labels& labels) {
  const auto folder = std::filesystem::path("val") / "images";
  const auto images = list_images(path / folder, path);
  const auto annotations = path / "val" / "val_annotations.txt";
  const auto text = read_small_file(annotations, kLargestText);
  const auto lines = split_lines(text);
  Files test;
  std::set<std::string, std::less<>> known;
  std::vector<bool> present(wnids.size());
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const auto where = line_number(i);
    const auto tab = lines[i].find('\t');
    const std::string name(lines[i].substr(0, tab));
    const auto rest = tab == std::string_view::npos ? std::string_view() : lines[i].substr(tab + 1);
    const auto wnid = rest.substr(0, rest.find('\t'));
    if (name.empty() || !is_wnid(wnid)) {
      fail(annotations, where + "expected the name of an image, a tab and an identifier like n01443537");
    }
    // Names with a folder in them are never among these.
    if (!std::ranges::binary_search(images, name)) {
      fail(annotations, where + "no file " + quote_path(name) + " in " + quote_path(path / folder));
    }
    if (!known.insert(name).second) fail(annotations, where + quote_path(name) + " a second time");
    const auto found = labels.find(wnid);
    if (found == labels.end()) continue;
    present[static_cast<std::size_t>(found->second)] = true;
    test.images.push_back(folder / name);
    test.labels.push_back(found->second);
  }
  for (const auto& name : images) {
    if (!known.contains(name)) fail(path / folder / name, "no line in " + quote_path(annotations));
  }
  for (std::size_t i = 0; i < wnids.size(); ++i) {
    if (!present[i]) fail(annotations, "no image of the class " + wnids[i]);
  }
  return test;
}

Split make_split(const std::filesystem::path& path, Files samples) {
  return {.labels = std::move(samples.labels),
          .read = [path, images = std::move(samples.images)](std::int64_t index, std::span<std::uint8_t> pixels) {
            const auto file = path / images[static_cast<std::size_t>(index)];
            const auto image = read_image(file);
            if (image.height != kSide || image.width != kSide) {
              fail(file, "an image of " + std::to_string(image.width) + "x" + std::to_string(image.height) +
                             " pixels; expected 64x64");
            }
            write_planes(image, pixels);
          }};
}

}  // namespace

Source tiny_imagenet_source(const std::filesystem::path& path) {
  const auto wnids = read_wnids(path / "wnids.txt");
  Labels labels;
  for (const auto& wnid : wnids) labels.emplace(wnid, static_cast<std::int32_t>(labels.size()));
  auto names = read_words(path / "words.txt", wnids, labels);
  auto train = list_train(path, wnids);
  auto test = list_test(path, wnids, labels);
  std::vector<std::filesystem::path> files{"wnids.txt", "words.txt", "val/val_annotations.txt"};
  files.insert(files.end(), train.images.begin(), train.images.end());
  files.insert(files.end(), test.images.begin(), test.images.end());
  return {.name = "tiny-imagenet",
          .path = path,
          .files = std::move(files),
          .options = {},
          .read = [path, names = std::move(names), train = std::move(train), test = std::move(test)] {
            return Content{.shape = {.channels = 3, .height = kSide, .width = kSide},
                           .class_names = names,
                           .train = make_split(path, train),
                           .test = make_split(path, test)};
          }};
}

}  // namespace anact::data
