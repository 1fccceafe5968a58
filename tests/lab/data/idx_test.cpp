#include "data/idx.h"

#include <gtest/gtest.h>

#include "data/gzip_bytes.h"
#include "data/samples.h"
#include "support/temporary_folder.h"

namespace anact::data {
namespace {

using test::gzip;
using test::message_about;
using test::TemporaryFolder;

const std::vector<std::string> kClasses{"zero", "one", "two"};

std::string big_endian(std::uint32_t number) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(number >> shift & 255);
  return bytes;
}

std::string header(const std::vector<std::uint32_t>& dimensions) {
  std::string bytes{0, 0, 8, static_cast<char>(dimensions.size())};
  for (const auto dimension : dimensions) bytes += big_endian(dimension);
  return bytes;
}

// Image i has the values 10 i, 10 i + 1, …
std::string images(std::uint32_t count, std::uint32_t height, std::uint32_t width) {
  auto bytes = header({count, height, width});
  for (std::uint32_t i = 0; i < count; ++i) {
    for (std::uint32_t j = 0; j < height * width; ++j) bytes += static_cast<char>(10 * i + j);
  }
  return bytes;
}

std::string labels(const std::vector<int>& values) {
  auto bytes = header({static_cast<std::uint32_t>(values.size())});
  for (const int value : values) bytes += static_cast<char>(value);
  return bytes;
}

class Idx : public testing::Test {
 protected:
  Idx() {
    folder_.write("train-images-idx3-ubyte", images(3, 2, 3));
    folder_.write("train-labels-idx1-ubyte", labels({2, 0, 1}));
    folder_.write("t10k-images-idx3-ubyte", images(2, 2, 3));
    folder_.write("t10k-labels-idx1-ubyte", labels({1, 1}));
  }

  Content read() const { return idx_source("toy", folder_.path(), kClasses).read(); }

  // About a file that has been replaced.
  std::string complaint(const std::string& name, const std::string& content) const {
    const auto path = folder_.write(name, content);
    return message_about(path, [&] { (void)read(); });
  }

  TemporaryFolder folder_;
};

void expect_toy(const Content& content) {
  EXPECT_EQ(content.shape, (Shape{.channels = 1, .height = 2, .width = 3}));
  EXPECT_EQ(content.class_names, kClasses);
  EXPECT_EQ(content.train.labels, (std::vector<std::int32_t>{2, 0, 1}));
  EXPECT_EQ(content.test.labels, (std::vector<std::int32_t>{1, 1}));
  std::vector<std::uint8_t> pixels(6);
  content.train.read(2, pixels);
  EXPECT_EQ(pixels, (std::vector<std::uint8_t>{20, 21, 22, 23, 24, 25}));
  content.test.read(1, pixels);
  EXPECT_EQ(pixels, (std::vector<std::uint8_t>{10, 11, 12, 13, 14, 15}));
}

TEST_F(Idx, ReadsTheFourFiles) {
  expect_toy(read());
  const auto source = idx_source("toy", folder_.path(), kClasses);
  EXPECT_EQ(source.name, "toy");
  EXPECT_EQ(source.files.size(), 4u);
}

TEST_F(Idx, ReadsCompressedFiles) {
  for (const char* name : {"train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"}) {
    folder_.write(std::string(name) + ".gz", gzip(test::content_of(folder_ / name)));
    std::filesystem::remove(folder_ / name);
  }
  expect_toy(read());
  const auto source = idx_source("toy", folder_.path(), kClasses);
  EXPECT_EQ(source.files[0], "train-images-idx3-ubyte.gz");
  EXPECT_EQ(source.files[1], "train-labels-idx1-ubyte");
}

TEST_F(Idx, NamesTheFileThatIsNotThere) {
  std::filesystem::remove(folder_ / "t10k-images-idx3-ubyte");
  EXPECT_EQ(message_about(folder_.path(), [&] { (void)read(); }),
            "no file t10k-images-idx3-ubyte or t10k-images-idx3-ubyte.gz");
}

TEST_F(Idx, ChecksTheHeader) {
  const std::string name = "train-images-idx3-ubyte";
  auto content = images(3, 2, 3);
  EXPECT_EQ(complaint(name, ""), "ends after 0 bytes; expected a header of 16");
  EXPECT_EQ(complaint(name, content.substr(0, 15)), "ends after 15 bytes; expected a header of 16");
  content[1] = 1;
  EXPECT_EQ(complaint(name, content), "byte 0: expected the two zero bytes that an IDX file begins with");
  content[1] = 0;
  content[2] = 13;
  EXPECT_EQ(complaint(name, content), "byte 2: type 13; expected 8, unsigned bytes");
  content[2] = 8;
  content[3] = 4;
  EXPECT_EQ(complaint(name, content), "byte 3: 4 dimensions; expected 3");
  EXPECT_EQ(complaint(name, images(0, 2, 3)), "byte 4: no images; expected at least one");
  EXPECT_EQ(complaint(name, images(3, 0, 3)), "byte 8: images with a side of 0; expected 1…4,096");
  EXPECT_EQ(complaint(name, header({1, 2, 4097})), "byte 12: images with a side of 4,097; expected 1…4,096");
}

TEST_F(Idx, ChecksTheSize) {
  const std::string name = "train-images-idx3-ubyte";
  const auto content = images(3, 2, 3);
  EXPECT_EQ(complaint(name, content.substr(0, 33)), "declares 34 bytes; the file can hold at most 33");
  EXPECT_EQ(complaint(name, content + "x"), "goes on after 34 bytes; expected the end");
  EXPECT_EQ(complaint(name, header({4'000'000'000, 4096, 4096}) + "x"),
            "declares 67,108,864,000,000,016 bytes; the file can hold at most 17");
  // Compressed, the file's size says less.
  EXPECT_EQ(complaint(name, gzip(content.substr(0, 33))), "ends after 33 bytes; expected 34");
  EXPECT_EQ(complaint(name, gzip(content + "x")), "goes on after 34 bytes; expected the end");
  EXPECT_EQ(complaint(name, gzip(header({400, 4096, 4096}))),
            "declares 6,710,886,416 bytes; the file can hold at most " +
                grouped(1032 * gzip(header({400, 4096, 4096})).size()));
  const auto packed = gzip(content);
  EXPECT_TRUE(complaint(name, packed.substr(0, packed.size() - 2)).ends_with("expected a whole gzip file"));
}

TEST_F(Idx, ChecksLabels) {
  EXPECT_EQ(complaint("t10k-labels-idx1-ubyte", labels({0, 3})), "byte 9: label 3; expected 0…2");
  EXPECT_EQ(complaint("t10k-labels-idx1-ubyte", images(2, 1, 1)), "byte 3: 3 dimensions; expected 1");
}

TEST_F(Idx, ChecksThatTheFilesAgree) {
  EXPECT_EQ(
      complaint("t10k-images-idx3-ubyte", images(3, 2, 3)),
      "3 images; expected 2, as many as there are labels in '" + (folder_ / "t10k-labels-idx1-ubyte").string() + "'");
  EXPECT_EQ(complaint("t10k-images-idx3-ubyte", images(2, 3, 2)),
            "images of 3x2; expected 2x3 as in '" + (folder_ / "train-images-idx3-ubyte").string() + "'");
}

}  // namespace
}  // namespace anact::data
