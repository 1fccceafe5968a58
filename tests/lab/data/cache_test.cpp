#include "data/cache.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>

#include "data/samples.h"
#include "io/file_size_limit.h"
#include "support/temporary_folder.h"

namespace anact::data {
namespace {

using test::content_of;
using test::message_about;
using test::names_in;
using test::TemporaryFolder;

constexpr std::int64_t kTrain = 37;
constexpr std::int64_t kTest = 5;
constexpr Shape kShape{.channels = 3, .height = 5, .width = 7};

std::uint8_t value_of(bool train, std::int64_t index, std::size_t position) {
  return static_cast<std::uint8_t>(index * 31 + static_cast<std::int64_t>(position * position) + (train ? 0 : 100));
}

class Cache : public testing::Test {
 protected:
  Cache() {
    folder_.write("a", "12345");
    std::filesystem::create_directory(folder_ / "sub");
    folder_.write("sub/b", "1");
  }

  Split split(bool train, std::int64_t count) {
    Split result;
    for (std::int64_t i = 0; i < count; ++i) result.labels.push_back(static_cast<std::int32_t>(i * i % 3));
    result.read = [this, train](std::int64_t index, std::span<std::uint8_t> pixels) {
      ++reads_;
      for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = value_of(train, index, i);
    };
    return result;
  }

  Source source() {
    return {.name = "toy", .path = folder_.path(), .files = {"a", "sub/b"}, .options = "", .read = [this] {
              return Content{.shape = kShape,
                             .class_names = {"cat", "dog", "Bär"},
                             .train = split(true, kTrain),
                             .test = split(false, kTest)};
            }};
  }

  Dataset open(const Source& source) const { return open_cached(source, cache_.path(), {}); }
  Dataset open() { return open(source()); }

  // The only file in the cache.
  std::filesystem::path file() const {
    const auto names = names_in(cache_.path());
    EXPECT_EQ(names.size(), 1u);
    return cache_ / *names.begin();
  }

  // Whether the set is made anew.
  bool is_remade(const Source& source) {
    reads_ = 0;
    expect_toy(open(source));
    return reads_ > 0;
  }
  bool is_remade() { return is_remade(source()); }

  static void expect_toy(const Dataset& dataset) {
    EXPECT_EQ(dataset.name, "toy");
    EXPECT_EQ(dataset.shape, kShape);
    EXPECT_EQ(dataset.class_names, (std::vector<std::string>{"cat", "dog", "Bär"}));
    ASSERT_EQ(dataset.train.size(), kTrain);
    ASSERT_EQ(dataset.test.size(), kTest);
    const auto values = static_cast<std::size_t>(kShape.values());
    for (const bool train : {true, false}) {
      const auto& samples = train ? dataset.train : dataset.test;
      ASSERT_EQ(samples.pixels.size(), values * samples.labels.size());
      std::size_t differences = 0;
      for (std::int64_t i = 0; i < samples.size(); ++i) {
        EXPECT_EQ(samples.labels[static_cast<std::size_t>(i)], i * i % 3);
        for (std::size_t j = 0; j < values; ++j) {
          differences += samples.pixels[static_cast<std::size_t>(i) * values + j] != value_of(train, i, j);
        }
      }
      EXPECT_EQ(differences, 0u);
    }
  }

  TemporaryFolder folder_, cache_;
  std::atomic<int> reads_ = 0;
};

TEST_F(Cache, HoldsTheWholeSet) {
  const auto made = open();
  EXPECT_EQ(reads_, kTrain + kTest);
  const auto mapped = open();
  EXPECT_EQ(reads_, kTrain + kTest);
  for (const auto& dataset : {made, mapped}) {
    expect_toy(dataset);
    EXPECT_EQ(dataset.source, folder_.path().string());
    EXPECT_EQ(dataset.classes(), 3);
    for (std::int64_t channel = 0; channel < 3; ++channel) {
      const auto [mean, deviation] = test::plain_statistics(dataset, channel);
      EXPECT_NEAR(dataset.mean[static_cast<std::size_t>(channel)], mean, 1e-10);
      EXPECT_NEAR(dataset.deviation[static_cast<std::size_t>(channel)], deviation, 1e-10);
    }
    Summary summary(kShape);
    summary.add_train_pixels(dataset.train.pixels);
    summary.add_train_labels(dataset.train.labels);
    summary.add_test_pixels(dataset.test.pixels);
    summary.add_test_labels(dataset.test.labels);
    EXPECT_EQ(dataset.checksum, summary.checksum());
    EXPECT_EQ(dataset.mean, summary.mean());
    EXPECT_EQ(dataset.deviation, summary.deviation());
  }
}

TEST_F(Cache, IsMadeAnewWhenASourceChanges) {
  EXPECT_TRUE(is_remade());
  EXPECT_FALSE(is_remade());
  folder_.write("sub/b", "12");
  EXPECT_TRUE(is_remade());
  EXPECT_FALSE(is_remade());
  const auto time = std::filesystem::last_write_time(folder_ / "a");
  std::filesystem::last_write_time(folder_ / "a", time + std::chrono::nanoseconds(1000));
  EXPECT_TRUE(is_remade());
  EXPECT_FALSE(is_remade());
  auto fewer = source();
  fewer.files.pop_back();
  EXPECT_TRUE(is_remade(fewer));
  EXPECT_EQ(names_in(cache_.path()).size(), 1u);
}

TEST_F(Cache, HasAFileForEachFolderAndOptions) {
  EXPECT_TRUE(is_remade());
  auto other = source();
  other.options = "image_size=5";
  EXPECT_TRUE(is_remade(other));
  const TemporaryFolder elsewhere;
  std::filesystem::copy(folder_.path(), elsewhere.path(), std::filesystem::copy_options::recursive);
  other = source();
  other.path = elsewhere.path();
  EXPECT_TRUE(is_remade(other));
  EXPECT_EQ(names_in(cache_.path()).size(), 3u);
  EXPECT_FALSE(is_remade());
  EXPECT_FALSE(is_remade(other));
  // The same folder by another name.
  other = source();
  other.path = folder_ / "sub/..";
  EXPECT_FALSE(is_remade(other));
}

TEST_F(Cache, IsMadeAnewWhenItIsNotWhole) {
  (void)open();
  const auto content = content_of(file());
  const auto name = file().filename().string();
  for (std::size_t size = 0; size < content.size(); size += size < content.size() - 30 ? 311 : 1) {
    cache_.write(name, content.substr(0, size));
    EXPECT_TRUE(is_remade()) << size;
  }
  cache_.write(name, content + "x");
  EXPECT_TRUE(is_remade());
  cache_.write(name, "x" + content);
  EXPECT_TRUE(is_remade());
  EXPECT_FALSE(is_remade());
  EXPECT_EQ(content_of(file()), content);
}

TEST_F(Cache, IsMadeAnewWhenAnyByteIsDamaged) {
  (void)open();
  const auto content = content_of(file());
  const auto name = file().filename().string();
  for (std::size_t i = 0; i < content.size(); i += i < content.size() - 24 ? 13 : 1) {
    auto damaged = content;
    damaged[i] = static_cast<char>(damaged[i] ^ (1 << i % 8));
    cache_.write(name, damaged);
    EXPECT_TRUE(is_remade()) << "byte " << i << " of " << content.size();
  }
}

TEST_F(Cache, WhatAKilledProcessHadBegunIsRemoved) {
  (void)open();
  const auto name = file().filename().string();
  const auto old = cache_.write(name + ".tmp1-0", "begun");
  const auto fresh = cache_.write(name + ".tmp2-0", "begun");
  const auto other = cache_.write("mine.tmp1-0", "mine");
  const auto long_ago = std::filesystem::file_time_type::clock::now() - std::chrono::hours(2);
  std::filesystem::last_write_time(old, long_ago);
  std::filesystem::last_write_time(other, long_ago);
  cache_.write(name, "damaged");
  expect_toy(open());
  EXPECT_FALSE(std::filesystem::exists(old));
  EXPECT_TRUE(std::filesystem::exists(fresh)) << "its process may be at work";
  EXPECT_TRUE(std::filesystem::exists(other));
}

TEST_F(Cache, StaysValidInMemoryWhenItIsReplaced) {
  const auto dataset = open();
  const auto name = file();
  folder_.write("a", "123456");
  (void)open();
  std::filesystem::remove(name);
  expect_toy(dataset);
}

TEST_F(Cache, TellsItsProgressToTheCallersThread) {
  std::int64_t last = 0, calls = 0;
  const auto here = std::this_thread::get_id();
  (void)open_cached(source(), cache_.path(), [&](std::int64_t done, std::int64_t of) {
    EXPECT_EQ(std::this_thread::get_id(), here);
    EXPECT_EQ(of, kTrain + kTest);
    EXPECT_GT(done, last);
    last = done;
    ++calls;
  });
  EXPECT_EQ(last, kTrain + kTest);
  EXPECT_GE(calls, 2);
}

// Of several images that cannot be read the first is named, whichever thread comes to it, and nothing is left behind.
TEST_F(Cache, ComplainsOfTheFirstImage) {
  auto failing = source();
  const auto read = failing.read;
  failing.read = [&] {
    auto content = read();
    content.train.read = [](std::int64_t index, std::span<std::uint8_t>) {
      if (index == 11) std::this_thread::sleep_for(std::chrono::milliseconds(2));
      if (index >= 11) throw std::runtime_error("image " + std::to_string(index));
    };
    return content;
  };
  for (int i = 0; i < 30; ++i) EXPECT_EQ(message([&] { (void)open(failing); }), "image 11");
  EXPECT_TRUE(names_in(cache_.path()).empty());
}

TEST_F(Cache, ComplainsOfAChannelWithoutDifferences) {
  auto flat = source();
  const auto read = flat.read;
  flat.read = [&] {
    auto content = read();
    content.train.read = [](std::int64_t, std::span<std::uint8_t> pixels) { std::ranges::fill(pixels, 3); };
    return content;
  };
  EXPECT_EQ(message_about(folder_.path(), [&] { (void)open(flat); }),
            "channel 1: all pixels of the training images are the same; expected images that differ");
  EXPECT_TRUE(names_in(cache_.path()).empty());
}

TEST_F(Cache, NamesTheFileThatIsGone) {
  const auto source = this->source();
  std::filesystem::remove(folder_ / "a");
  EXPECT_EQ(message([&] { (void)open(source); }),
            "cannot open '" + (folder_ / "a").string() + "': No such file or directory");
}

TEST_F(Cache, MakesItsFolder) {
  expect_toy(open_cached(source(), cache_ / "some/where", {}));
  EXPECT_EQ(names_in(cache_ / "some/where").size(), 1u);
}

TEST_F(Cache, NamesTheFolderThatCannotBeWritten) {
  const auto in_a_file = cache_.write("file", "") / "cache";
  const auto complaint = message([&] { (void)open_cached(source(), in_a_file, {}); });
  EXPECT_EQ(complaint, "cannot make '" + in_a_file.string() +
                           "': Not a directory; ANACT_CACHE names another folder for decoded data sets");
  EXPECT_EQ(reads_, 0);
}

TEST_F(Cache, LeavesNothingOnAFullDisk) {
  std::string complaint;
  {
    const test::FileSizeLimit limit(3000);
    complaint = message([&] { (void)open(); });
  }
  EXPECT_NE(complaint.find("File too large"), std::string::npos) << complaint;
  EXPECT_NE(complaint.find("ANACT_CACHE"), std::string::npos) << complaint;
  EXPECT_TRUE(names_in(cache_.path()).empty());
}

TEST_F(Cache, CanBeMadeBySeveralThreadsAtATime) {
  std::vector<std::jthread> threads;
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([this] { expect_toy(open()); });
  }
  threads.clear();
  EXPECT_EQ(names_in(cache_.path()).size(), 1u);
}

// More than is decoded at a time, in images of an odd size.
TEST(LargeCache, IsMadeInPieces) {
  const TemporaryFolder folder, cache;
  folder.write("a", "");
  constexpr std::int64_t kImages = 23;
  const Source source{.name = "large", .path = folder.path(), .files = {"a"}, .options = "", .read = [] {
                        const auto read = [](std::int64_t index, std::span<std::uint8_t> pixels) {
                          std::ranges::fill(pixels, static_cast<std::uint8_t>(index));
                          pixels.back() = 255;
                        };
                        return Content{.shape = {.channels = 1, .height = 1500, .width = 1501},
                                       .class_names = {"a"},
                                       .train = {.labels = std::vector<std::int32_t>(kImages), .read = read},
                                       .test = {.labels = {0}, .read = read}};
                      }};
  std::vector<std::int64_t> steps;
  const auto dataset =
      open_cached(source, cache.path(), [&](std::int64_t done, std::int64_t) { steps.push_back(done); });
  EXPECT_EQ(steps, (std::vector<std::int64_t>{7, 14, 21, 23, 24}));
  const std::size_t values = 1500 * 1501;
  for (std::size_t i = 0; i < kImages; ++i) {
    EXPECT_EQ(dataset.train.pixels[i * values], i);
    EXPECT_EQ(dataset.train.pixels[(i + 1) * values - 2], i);
    EXPECT_EQ(dataset.train.pixels[(i + 1) * values - 1], 255);
  }

  // Each of several blocks is verified.
  const auto path = cache / *names_in(cache.path()).begin();
  const auto content = content_of(path);
  for (const std::size_t byte :
       {std::size_t{0}, (std::size_t{1} << 22) - 1, std::size_t{1} << 22, std::size_t{40'000'000}}) {
    auto damaged = content;
    damaged[byte] = static_cast<char>(damaged[byte] ^ 1);
    std::filesystem::remove(path);  // what is mapped must stay as it is
    std::ofstream(path, std::ios::binary) << damaged;
    steps.clear();
    const auto again =
        open_cached(source, cache.path(), [&](std::int64_t done, std::int64_t) { steps.push_back(done); });
    EXPECT_EQ(steps.size(), 5u) << "byte " << byte;
    EXPECT_TRUE(std::ranges::equal(again.train.pixels, dataset.train.pixels));
  }
}

}  // namespace
}  // namespace anact::data
