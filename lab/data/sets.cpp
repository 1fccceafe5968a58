#include "data/sets.h"

#include <array>
#include <cstdlib>
#include <stdexcept>
#include <utility>

#include "data/cache.h"
#include "data/cifar.h"
#include "data/digits.h"
#include "data/idx.h"
#include "data/image_folder.h"
#include "data/shrink.h"
#include "data/tiny_imagenet.h"
#include "math/names.h"
#include "text/words.h"

namespace anact::data {
namespace {

constexpr std::array<SetInfo, 7> kSets{{
    {"digits", "handwritten digits of scikit-learn: 8x8 grey, 10 classes, 1,437 + 360 images", "digits.csv.gz"},
    {"mnist", "MNIST, handwritten digits: 28x28 grey, 10 classes, 60,000 + 10,000 images", "MNIST/raw"},
    {"fashion-mnist", "Fashion-MNIST, clothes: 28x28 grey, 10 classes, 60,000 + 10,000 images", "FashionMNIST/raw"},
    {"cifar10", "CIFAR-10, things: 32x32 RGB, 10 classes, 50,000 + 10,000 images", "cifar-10-batches-bin"},
    {"cifar100", "CIFAR-100, things: 32x32 RGB, 100 classes, 50,000 + 10,000 images", "cifar-100-binary"},
    {"tiny-imagenet", "Tiny ImageNet, or a part of it: 64x64 RGB, 200 classes, 100,000 + 10,000 images",
     "tiny-imagenet-200"},
    {"folder", "JPEG and PNG images in PATH/train/CLASS and PATH/val/CLASS or PATH/test/CLASS", ""},
}};

// The environment variable, empty where it is not set.
std::filesystem::path environment_path(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

constexpr std::int64_t kFolderSize = 64;

// A set whose images have one size.
Source sized_source(std::string_view name, const std::filesystem::path& path) {
  if (name == "mnist") return idx_source("mnist", path, {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"});
  if (name == "fashion-mnist") {
    return idx_source(
        "fashion-mnist", path,
        {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"});
  }
  if (name == "cifar10") return cifar10_source(path);
  if (name == "cifar100") return cifar100_source(path);
  return tiny_imagenet_source(path);
}

Source make_source(std::string_view name, const std::filesystem::path& path, std::int64_t image_size) {
  if (name == "folder") return folder_source(path, image_size == 0 ? kFolderSize : image_size);
  auto source = sized_source(name, path);
  return image_size == 0 ? source : shrunk(std::move(source), image_size);
}

}  // namespace

std::span<const SetInfo> sets() { return kSets; }

const SetInfo& find_set(std::string_view name) {
  for (const auto& set : kSets) {
    if (set.name == name) return set;
  }
  const auto names = names_of(kSets);
  const auto nearest = did_you_mean(name, names, 3, " or ");
  throw std::invalid_argument("no data set '" + std::string(name) + "'" +
                              (nearest.empty() ? "; there are " + text::join(names) : nearest + "?"));
}

std::filesystem::path find_path(const SetInfo& set) {
  std::string tried;
  for (const auto& folder : data_folders()) {
    auto path = folder / set.folder;
    if (std::filesystem::exists(path)) return path;
    tried += (tried.empty() ? "'" : "' or '") + path.string();
  }
  const auto maker =
      set.name == "digits" ? "make setup` puts it there" : "anact data get " + std::string(set.name) + "` fetches it";
  throw std::runtime_error("no data set " + std::string(set.name) + " at " + tried + "'; `" + maker +
                           ", and --data-path names it where it is elsewhere");
}

Dataset open(std::string_view name, const OpenOptions& options) {
  const auto& set = find_set(name);
  if (set.folder.empty() && options.path.empty()) {
    throw std::invalid_argument("the data set '" + std::string(name) + "' can be anywhere: --data-path names it");
  }
  const auto path = options.path.empty() ? find_path(set) : options.path;
  if (set.name == "digits") return load_digits(path, options.image_size);
  if (!std::filesystem::is_directory(path)) {
    throw std::runtime_error("'" + path.string() + "': expected the folder of the data set " + std::string(name));
  }
  return open_cached(make_source(set.name, path, options.image_size),
                     options.cache.empty() ? cache_folder() : options.cache, options.progress);
}

std::vector<std::filesystem::path> data_folders() {
  auto named = environment_path("ANACT_DATA");
  std::vector<std::filesystem::path> folders{named.empty() ? ANACT_DATA_FOLDER : std::move(named)};
  std::error_code ignored;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", ignored);
  if (!program.empty()) folders.push_back(program.parent_path().parent_path() / "share" / "anact");
  return folders;
}

std::filesystem::path cache_folder() {
  if (auto folder = environment_path("ANACT_CACHE"); !folder.empty()) return folder;
  // A relative one is to be ignored (XDG Base Directory Specification).
  if (const auto folder = environment_path("XDG_CACHE_HOME"); folder.is_absolute()) return folder / "anact";
  const auto home = environment_path("HOME");
  if (home.empty()) {
    throw std::runtime_error("no folder for decoded data sets: none of ANACT_CACHE, XDG_CACHE_HOME and HOME is set");
  }
  return home / ".cache" / "anact";
}

}  // namespace anact::data
