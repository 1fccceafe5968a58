// `anact data`, as a user runs it.

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "cli/program.h"
#include "data/http_server.h"

namespace anact::cli::test {
namespace {

using anact::test::answer;
using anact::test::HttpServer;
using anact::test::Reply;
using anact::test::Request;

// The IDX format, without compression: the dimensions, then the values.
std::string idx(const std::vector<std::uint32_t>& dimensions, const std::string& values) {
  std::string bytes("\0\0\x08", 3);
  bytes += static_cast<char>(dimensions.size());
  for (const auto dimension : dimensions) {
    for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(dimension >> shift);
  }
  return bytes + values;
}

class Data : public testing::Test {
 protected:
  // A set of MNIST's form with images of 3x4, `train` times each digit and one test image of each.
  std::filesystem::path write_mnist(int train = 2) const {
    const auto place = folder / "data/MNIST/raw";
    std::filesystem::create_directories(place);
    const auto write = [&](const std::string& name, const std::string& content) {
      (void)folder.write("data/MNIST/raw/" + name, content);
    };
    std::string labels, pixels;
    for (int i = 0; i < 10 * train; ++i) {
      labels += static_cast<char>(i % 10);
      for (int j = 0; j < 12; ++j) pixels += static_cast<char>(i * 7 + j * 19);
    }
    const auto count = static_cast<std::uint32_t>(labels.size());
    write("train-images-idx3-ubyte", idx({count, 3, 4}, pixels));
    write("train-labels-idx1-ubyte", idx({count}, labels));
    write("t10k-images-idx3-ubyte", idx({10, 3, 4}, pixels.substr(0, 120)));
    write("t10k-labels-idx1-ubyte", idx({10}, labels.substr(0, 10)));
    return place;
  }

  [[nodiscard]] Result data(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), "data");
    Setting setting;
    setting.environment = {{"ANACT_DATA", (folder / "data").string()},
                           {"ANACT_CACHE", (folder / "cache").string()},
                           {"no_proxy", "127.0.0.1"}};
    return run(arguments, setting);
  }

  // The one line of an error.
  [[nodiscard]] std::string error_of(const std::vector<std::string>& arguments, int exit_code) const {
    const auto result = data(arguments);
    EXPECT_EQ(result.exit_code, exit_code) << result.error;
    EXPECT_EQ(result.out, "");
    EXPECT_EQ(lines_of(result.error).size(), 1u) << result.error;
    return result.error;
  }

  const TemporaryFolder folder;
};

TEST_F(Data, ListsTheSetsAndWhereTheyAre) {
  const auto place = write_mnist();
  const auto result = data({"list"});
  EXPECT_EQ(result.exit_code, 0) << result.error;
  const auto lines = lines_of(result.out);
  ASSERT_EQ(lines.size(), 14u);
  for (std::size_t i = 0; i < 14; i += 2) {
    if (lines[i].starts_with("mnist ")) {
      EXPECT_TRUE(lines[i + 1].ends_with("  " + place.string())) << lines[i + 1];
    } else if (lines[i].starts_with("cifar100 ")) {
      EXPECT_TRUE(has(lines[i], "100 classes"));
      EXPECT_TRUE(lines[i + 1].ends_with("  not here")) << lines[i + 1];
    } else if (lines[i].starts_with("folder ")) {
      EXPECT_TRUE(has(lines[i + 1], "--data-path")) << lines[i + 1];
    }
  }
}

TEST_F(Data, VerifiesWhatIsThere) {
  const auto place = write_mnist();
  const auto result = data({"verify", "mnist"});
  EXPECT_EQ(result.exit_code, 0) << result.error;
  const auto lines = lines_of(result.out);
  ASSERT_EQ(lines.size(), 8u) << result.out;
  EXPECT_EQ(lines[0], "mnist at '" + place.string() + "'");
  EXPECT_EQ(lines[1], "training   20 images, 2 of each of 10 classes");
  EXPECT_EQ(lines[2], "test       10 images, 1 of each of 10 classes");
  EXPECT_EQ(lines[3], "shape      1 x 3 x 4 (channels, height, width)");
  EXPECT_EQ(lines[7], "digests    no files are kept as they were published");
  // Nothing stays of the cache that was made for it.
  EXPECT_TRUE(!std::filesystem::exists(folder / "cache") || names_in(folder / "cache").empty());
  // Elsewhere.
  const auto moved = folder / "elsewhere";
  std::filesystem::rename(place, moved);
  EXPECT_TRUE(has(error_of({"verify", "mnist"}, 1), "MNIST/raw"));
  EXPECT_EQ(data({"verify", "mnist", "--data-path", moved.string()}).exit_code, 0);
}

TEST_F(Data, VerifyFindsDamage) {
  const auto place = write_mnist();
  // Also where the set was read, and cached, before.
  EXPECT_EQ(data({"show", "mnist", "--output", (folder / "a.html").string()}).exit_code, 0);
  std::filesystem::resize_file(place / "train-images-idx3-ubyte", 100);
  EXPECT_TRUE(has(error_of({"verify", "mnist"}, 1), "train-images-idx3-ubyte"));
  write_mnist();
  (void)folder.write("data/MNIST/raw/t10k-images-idx3-ubyte.gz", "not what was published");
  const auto message = error_of({"verify", "mnist"}, 1);
  EXPECT_TRUE(has(message, "t10k-images-idx3-ubyte")) << message;
}

TEST_F(Data, VerifyFindsClassesWithoutImages) {
  const auto place = write_mnist();
  (void)folder.write("data/MNIST/raw/t10k-labels-idx1-ubyte", idx({10}, std::string(10, '\3')));
  const auto message = error_of({"verify", "mnist"}, 1);
  EXPECT_TRUE(has(message, "no test images of the class '0'")) << message;
}

TEST_F(Data, ShowWritesAPage) {
  write_mnist();
  const auto page = folder / "page.html";
  const auto result = data({"show", "mnist", "--output", page.string(), "--count", "4", "--split", "test",
                            "--crop-padding", "1", "--flip", "--resized-crop", "--erasing", "0.5", "--seed", "3"});
  EXPECT_EQ(result.exit_code, 0) << result.error;
  EXPECT_EQ(result.out, "wrote " + page.string() + "\n");
  const auto html = content_of(page);
  EXPECT_TRUE(has(html, "<title>mnist: 4 of 10 test samples</title>"));
  EXPECT_TRUE(has(html, "crop with padding 1, resized crop, flip, erasing with probability 0.5"));
}

TEST_F(Data, ShowRefusesWhatCannotBe) {
  write_mnist();
  const auto show = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments{"show", "mnist", "--output", (folder / "page.html").string()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return error_of(arguments, 2);
  };
  EXPECT_EQ(show({"--crop-padding", "3"}), "anact: crop_padding: 3; expected 0…2\n");
  EXPECT_EQ(show({"--erasing", "2"}), "anact: erasing: 2; expected 0…1\n");
  EXPECT_EQ(show({"--count", "0"}), "anact: count: 0; expected 1…10000\n");
  EXPECT_TRUE(has(show({"--split", "all"}), "--split"));
  EXPECT_FALSE(std::filesystem::exists(folder / "page.html"));
  EXPECT_TRUE(has(error_of({"show", "mnist"}, 2), "--output"));
  EXPECT_TRUE(has(error_of({"show", "mnist", "--output", (folder / "no/page.html").string()}, 1), "no/page.html"));
}

TEST_F(Data, NamesThatAreNone) {
  for (const std::string command : {"get", "verify"}) {
    EXPECT_TRUE(has(error_of({command, "cifar1000"}, 2), "cifar100")) << command;
  }
  EXPECT_TRUE(has(error_of({"show", "minst", "--output", "x"}, 2), "mnist"));
  EXPECT_TRUE(has(error_of({"get", "digits"}, 2), "make setup"));
  EXPECT_TRUE(has(error_of({"get", "folder"}, 2), "'folder' is not downloaded"));
  EXPECT_TRUE(has(error_of({"verify", "folder"}, 2), "--data-path"));
  EXPECT_EQ(error_of({}, 2), "anact: data: expected list, get, verify or show\n");
  EXPECT_TRUE(has(error_of({"remove"}, 2), "remove"));
}

TEST_F(Data, GetSaysWhatWentWrong) {
  const HttpServer server([](const Request& request) {
    if (request.path.starts_with("/wrong/")) return Reply{answer("200 OK", {}, std::string(9'912'422, 'x'))};
    return Reply{answer("404 Not Found", {}, "")};
  });
  auto message = error_of({"get", "mnist", "--url", server.url("/missing/")}, 1);
  EXPECT_TRUE(has(message, server.url("/missing/train-images-idx3-ubyte.gz")) && has(message, "404")) << message;
  message = error_of({"get", "mnist", "--url", server.url("/wrong")}, 1);
  EXPECT_TRUE(has(message, "md5 ") && has(message, "expected f68b3c2dcbeaaa9fbdd348bbdeb94873")) << message;
  EXPECT_TRUE(names_in(folder / "data/MNIST/raw").empty());
  EXPECT_TRUE(has(error_of({"get", "mnist", "--url", "gopher://x/"}, 2), "http"));
  // An archive's own address.
  message =
      error_of({"get", "cifar10", "--url", server.url("/a/b.tar.gz"), "--output", (folder / "other").string()}, 1);
  EXPECT_TRUE(has(message, server.url("/a/b.tar.gz'"))) << message;
  std::filesystem::create_directories(folder / "data/cifar-10-batches-bin");
  const auto there = data({"get", "cifar10", "--url", server.url("/")});
  EXPECT_EQ(there.exit_code, 0);
  EXPECT_TRUE(has(there.out, "already")) << there.out;
}

// The published files, out of a folder that stands for a mirror.
TEST_F(Data, GetsAndVerifiesWhatWasPublished) {
  const char* real = std::getenv("ANACT_TEST_DATA");
  const auto mirror = std::filesystem::path(real == nullptr ? "" : real) / "MNIST/raw";
  if (real == nullptr || !std::filesystem::exists(mirror / "train-images-idx3-ubyte.gz")) {
    GTEST_SKIP() << "ANACT_TEST_DATA does not name a folder with MNIST/raw/train-images-idx3-ubyte.gz";
  }
  const auto result = data({"get", "mnist", "--url", "file://" + mirror.string()});
  EXPECT_EQ(result.exit_code, 0) << result.error;
  EXPECT_EQ(result.out, "mnist is at '" + (folder / "data/MNIST/raw").string() + "'\n");
  EXPECT_EQ(names_in(folder / "data/MNIST/raw").size(), 4u);
  const auto verified = data({"verify", "mnist"});
  EXPECT_EQ(verified.exit_code, 0) << verified.error;
  EXPECT_TRUE(has(verified.out, "4 files are as published")) << verified.out;
  EXPECT_TRUE(has(verified.out, "60,000 images, 5,421…6,742 of each of 10 classes")) << verified.out;
  EXPECT_TRUE(has(verified.out, "mean       33.3184")) << verified.out;
}

}  // namespace
}  // namespace anact::cli::test
