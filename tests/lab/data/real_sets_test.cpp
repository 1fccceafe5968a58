// The published data sets themselves, where the environment variable ANACT_TEST_DATA names a folder that has them.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "data/sets.h"
#include "support/temporary_folder.h"

namespace anact::data {
namespace {

using test::TemporaryFolder;

class RealSets : public testing::Test {
 protected:
  // Opens the set twice, once without and once with its cache. Skips the test where the folder is not there.
  void open_twice(const std::string& name, const std::string& folder) {
    const char* data = std::getenv("ANACT_TEST_DATA");
    if (data == nullptr) GTEST_SKIP() << "ANACT_TEST_DATA is not set; it names the folder of the data sets";
    const auto path = std::filesystem::path(data) / folder;
    if (!std::filesystem::exists(path)) GTEST_SKIP() << "no " << path;
    const TemporaryFolder cache;
    const OpenOptions options{.path = path, .cache = cache.path(), .progress = {}};
    const auto first = data::open(name, options);
    set_ = data::open(name, options);
    EXPECT_EQ(first.checksum, set_.checksum);
    EXPECT_EQ(first.mean, set_.mean);
    EXPECT_EQ(set_.name, name);
  }

  // In units of 255, to the digits that are published.
  void expect_statistics(const std::vector<double>& mean, const std::vector<double>& deviation) const {
    ASSERT_EQ(set_.mean.size(), mean.size());
    ASSERT_EQ(set_.deviation.size(), mean.size());
    for (std::size_t i = 0; i < mean.size(); ++i) {
      EXPECT_NEAR(set_.mean[i] / 255, mean[i], 0.00006) << "channel " << i + 1;
      EXPECT_NEAR(set_.deviation[i] / 255, deviation[i], 0.00006) << "channel " << i + 1;
    }
  }

  static std::vector<std::int64_t> counts(const Samples& samples, std::int64_t classes) {
    std::vector<std::int64_t> result(static_cast<std::size_t>(classes));
    for (const auto label : samples.labels) ++result[static_cast<std::size_t>(label)];
    return result;
  }

  void expect_balanced(std::int64_t train, std::int64_t test) const {
    EXPECT_EQ(counts(set_.train, set_.classes()),
              std::vector<std::int64_t>(static_cast<std::size_t>(set_.classes()), train));
    EXPECT_EQ(counts(set_.test, set_.classes()),
              std::vector<std::int64_t>(static_cast<std::size_t>(set_.classes()), test));
  }

  Dataset set_;
};

TEST_F(RealSets, Mnist) {
  open_twice("mnist", "MNIST/raw");
  if (IsSkipped()) return;
  EXPECT_EQ(set_.shape, (Shape{.channels = 1, .height = 28, .width = 28}));
  EXPECT_EQ(set_.train.size(), 60'000);
  EXPECT_EQ(set_.test.size(), 10'000);
  expect_statistics({0.1307}, {0.3081});
  EXPECT_EQ(counts(set_.train, 10),
            (std::vector<std::int64_t>{5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949}));
  const std::vector<std::int32_t> first{5, 0, 4, 1, 9, 2, 1, 3, 1, 4};
  EXPECT_TRUE(std::ranges::equal(set_.train.labels.first(10), first));
}

TEST_F(RealSets, FashionMnist) {
  open_twice("fashion-mnist", "FashionMNIST/raw");
  if (IsSkipped()) return;
  EXPECT_EQ(set_.shape, (Shape{.channels = 1, .height = 28, .width = 28}));
  expect_statistics({0.2860}, {0.3530});
  expect_balanced(6000, 1000);
  EXPECT_EQ(set_.class_names[static_cast<std::size_t>(set_.train.labels[0])], "Ankle boot");
}

TEST_F(RealSets, Cifar100) {
  open_twice("cifar100", "cifar-100-binary");
  if (IsSkipped()) return;
  EXPECT_EQ(set_.shape, (Shape{.channels = 3, .height = 32, .width = 32}));
  expect_statistics({0.5071, 0.4865, 0.4409}, {0.2673, 0.2564, 0.2762});
  expect_balanced(500, 100);
  EXPECT_EQ(set_.class_names.front(), "apple");
  EXPECT_EQ(set_.class_names.back(), "worm");
}

TEST_F(RealSets, TinyImageNet20) {
  open_twice("tiny-imagenet", "tiny-imagenet-20");
  if (IsSkipped()) return;
  EXPECT_EQ(set_.shape, (Shape{.channels = 3, .height = 64, .width = 64}));
  EXPECT_EQ(set_.classes(), 20);
  expect_balanced(500, 50);
  EXPECT_TRUE(set_.class_names.front().starts_with("American alligator")) << set_.class_names.front();
}

}  // namespace
}  // namespace anact::data
