#include "data/sets.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "data/encode.h"
#include "data/samples.h"
#include "support/temporary_folder.h"

namespace anact::data {
namespace {

using test::Environment;
using test::message_about;
using test::names_in;
using test::TemporaryFolder;

using Paths = std::vector<std::filesystem::path>;

// The upper half is black.
void write_picture(const std::filesystem::path& path, std::uint8_t value) {
  std::filesystem::create_directories(path.parent_path());
  std::vector<std::uint8_t> values(64 * 64 * 3, value);
  std::fill_n(values.begin(), values.size() / 2, std::uint8_t{0});
  std::ofstream(path, std::ios::binary) << test::encode_png(64, 64, values);
}

// One class and two images.
void write_tiny_imagenet(const std::filesystem::path& folder, std::uint8_t value) {
  write_picture(folder / "train/n00000001/images/a.png", value);
  write_picture(folder / "val/images/b.png", value);
  std::ofstream(folder / "wnids.txt") << "n00000001\n";
  std::ofstream(folder / "words.txt") << "n00000001\tcat\n";
  std::ofstream(folder / "val/val_annotations.txt") << "b.png\tn00000001\n";
}

TEST(Sets, AreKnownByName) {
  EXPECT_EQ(sets().size(), 7u);
  for (const auto& set : sets()) {
    EXPECT_EQ(&find_set(set.name), &set);
    EXPECT_FALSE(set.title.empty());
  }
  EXPECT_EQ(find_set("cifar100").folder, "cifar-100-binary");
  EXPECT_THROW((void)find_set("cifar-10"), std::invalid_argument);
  EXPECT_EQ(message([] { (void)find_set("cifar-10"); }), "no data set 'cifar-10'; did you mean cifar10 or cifar100?");
  EXPECT_EQ(message([] { (void)find_set("something else"); }),
            "no data set 'something else'; there are digits, mnist, fashion-mnist, cifar10, cifar100, tiny-imagenet, "
            "folder");
}

TEST(Sets, AreLookedForInTheDataFolders) {
  const TemporaryFolder data, cache;
  const Environment named("ANACT_DATA", data.path().string());
  ASSERT_FALSE(data_folders().empty());
  EXPECT_EQ(data_folders().front(), data.path());
  const auto complaint = message([] { (void)open("cifar10"); });
  EXPECT_TRUE(complaint.starts_with("no data set cifar10 at '" + (data / "cifar-10-batches-bin").string() + "'"))
      << complaint;
  EXPECT_TRUE(
      complaint.ends_with("`anact data get cifar10` fetches it, and --data-path names it where it is elsewhere"))
      << complaint;
  EXPECT_EQ(complaint.find('\n'), std::string::npos);
  for (const char* name : {"digits", "mnist", "fashion-mnist", "cifar100", "tiny-imagenet"}) {
    EXPECT_NE(message([&] { (void)open(name); }).find((data / std::string(find_set(name).folder)).string()),
              std::string::npos);
  }

  // A part of a set is another folder, which only its path names.
  write_tiny_imagenet(data / "tiny-imagenet-20", 20);
  EXPECT_NE(message([] { (void)open("tiny-imagenet"); }).find("no data set tiny-imagenet"), std::string::npos);
  write_tiny_imagenet(data / "tiny-imagenet-200", 200);
  EXPECT_EQ(open("tiny-imagenet", {.path = {}, .cache = cache.path(), .progress = {}}).train.pixels.back(), 200);
}

TEST(Sets, DataFoldersWithoutTheVariable) {
  for (const auto& value : {std::optional<std::string>(), std::optional<std::string>("")}) {
    const Environment named("ANACT_DATA", value);
    ASSERT_FALSE(data_folders().empty());
    EXPECT_EQ(data_folders().front(), ANACT_DATA_FOLDER);
    EXPECT_EQ(data_folders().back().filename(), "anact");
  }
}

TEST(Sets, AreReadFromTheirPath) {
  const TemporaryFolder folder, cache;
  write_tiny_imagenet(folder / "set", 7);
  const auto tiny = open("tiny-imagenet", {.path = folder / "set", .cache = cache.path(), .progress = {}});
  EXPECT_EQ(tiny.name, "tiny-imagenet");
  EXPECT_EQ(tiny.source, (folder / "set").string());
  EXPECT_EQ(names_in(cache.path()).size(), 1u);

  write_picture(folder / "mine/train/cat/1.png", 9);
  write_picture(folder / "mine/test/cat/1.png", 9);
  for (const std::int64_t size : {8, 64}) {
    const auto mine =
        open("folder", {.path = folder / "mine", .cache = cache.path(), .image_size = size, .progress = {}});
    EXPECT_EQ(mine.shape, (Shape{.channels = 3, .height = size, .width = size}));
    EXPECT_EQ(mine.name, "folder");
  }
  EXPECT_EQ(names_in(cache.path()).size(), 3u);
}

TEST(Sets, ThePathMustBeAFolder) {
  const TemporaryFolder folder;
  const auto path = folder.write("file", "");
  EXPECT_EQ(message_about(path, [&] { (void)open("mnist", {.path = path, .cache = {}, .progress = {}}); }),
            "expected the folder of the data set mnist");
  EXPECT_EQ(message_about(folder.path(),
                          [&] { (void)open("cifar100", {.path = folder.path(), .cache = {}, .progress = {}}); }),
            "no file train.bin");
  EXPECT_THROW((void)open("folder"), std::invalid_argument);
  EXPECT_THROW((void)open("imagenet"), std::invalid_argument);
}

TEST(Sets, TheCacheFolderIsTheUsersOwn) {
  const Environment home("HOME", "/home/user");
  {
    const Environment cache("ANACT_CACHE", "/some/where"), xdg("XDG_CACHE_HOME", "/xdg");
    EXPECT_EQ(cache_folder(), "/some/where");
  }
  {
    const Environment cache("ANACT_CACHE", ""), xdg("XDG_CACHE_HOME", "/xdg");
    EXPECT_EQ(cache_folder(), "/xdg/anact");
  }
  const Environment cache("ANACT_CACHE", std::nullopt);
  for (const auto& value : {std::optional<std::string>(), std::optional<std::string>("relative")}) {
    const Environment xdg("XDG_CACHE_HOME", value);
    EXPECT_EQ(cache_folder(), "/home/user/.cache/anact");
    const Environment no_home("HOME", std::nullopt);
    EXPECT_NE(message([] { (void)cache_folder(); }).find("ANACT_CACHE"), std::string::npos);
  }
}

}  // namespace
}  // namespace anact::data
