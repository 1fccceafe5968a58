#include "data/cifar.h"

#include <gtest/gtest.h>

#include "data/samples.h"
#include "support/temporary_folder.h"

namespace anact::data {
namespace {

using test::message_about;
using test::TemporaryFolder;

// Labels, then three planes of the values seed, seed + 1 and seed + 2.
std::string record(const std::string& labels, int seed) {
  std::string bytes = labels;
  for (int plane = 0; plane < 3; ++plane) bytes.append(1024, static_cast<char>(seed + plane));
  return bytes;
}

std::string numbered_names(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += "class " + std::to_string(i) + "\n";
  return text;
}

void write_cifar10(const TemporaryFolder& folder) {
  for (int i = 1; i <= 5; ++i) {
    const char label = static_cast<char>(i);
    folder.write("data_batch_" + std::to_string(i) + ".bin", record({label}, 10 * i) + record({'\x09'}, 10 * i + 5));
  }
  folder.write("test_batch.bin", record({'\0'}, 200));
  folder.write("batches.meta.txt", numbered_names(10) + "\n");
}

void write_cifar100(const TemporaryFolder& folder) {
  folder.write("train.bin", record({'\x13', '\x63'}, 1) + record({'\0', '\x07'}, 2));
  folder.write("test.bin", record({'\x01', '\x05'}, 3));
  folder.write("fine_label_names.txt", numbered_names(100));
}

TEST(Cifar10, ReadsItsFilesInOrder) {
  const TemporaryFolder folder;
  write_cifar10(folder);
  const auto source = cifar10_source(folder.path());
  EXPECT_EQ(source.name, "cifar10");
  EXPECT_EQ(source.files.size(), 7u);
  const auto content = source.read();
  EXPECT_EQ(content.shape, (Shape{.channels = 3, .height = 32, .width = 32}));
  ASSERT_EQ(content.class_names.size(), 10u);
  EXPECT_EQ(content.class_names[9], "class 9");
  EXPECT_EQ(content.train.labels, (std::vector<std::int32_t>{1, 9, 2, 9, 3, 9, 4, 9, 5, 9}));
  EXPECT_EQ(content.test.labels, std::vector<std::int32_t>{0});
  std::vector<std::uint8_t> pixels(3072);
  content.train.read(7, pixels);
  EXPECT_EQ(pixels[0], 45);
  EXPECT_EQ(pixels[1023], 45);
  EXPECT_EQ(pixels[1024], 46);
  EXPECT_EQ(pixels[3071], 47);
  content.test.read(0, pixels);
  EXPECT_EQ(pixels[0], 200);
}

TEST(Cifar100, TakesTheFineLabels) {
  const TemporaryFolder folder;
  write_cifar100(folder);
  const auto content = cifar100_source(folder.path()).read();
  EXPECT_EQ(content.class_names.size(), 100u);
  EXPECT_EQ(content.train.labels, (std::vector<std::int32_t>{99, 7}));
  EXPECT_EQ(content.test.labels, std::vector<std::int32_t>{5});
  std::vector<std::uint8_t> pixels(3072);
  content.train.read(1, pixels);
  EXPECT_EQ(pixels[0], 2);
  EXPECT_EQ(pixels[3071], 4);
}

TEST(Cifar100, RefusesWhatIsNotWhole) {
  const TemporaryFolder folder;
  write_cifar100(folder);
  const auto path = folder / "train.bin";
  const auto complaint = [&](const std::string& content) {
    folder.write("train.bin", content);
    return message_about(path, [&] { (void)cifar100_source(folder.path()).read(); });
  };
  std::string many;
  for (int i = 0; i < 4; ++i) many += record({'\0', '\0'}, i);
  auto wrong = many + record({'\0', '\x8c'}, 0);
  EXPECT_EQ(complaint(wrong), "byte 12,297: label 140; expected 0…99");
  wrong = many + record({'\x14', '\0'}, 0);
  EXPECT_EQ(complaint(wrong), "byte 12,296: label 20; expected 0…19");
  EXPECT_EQ(complaint(many.substr(0, 12'295)), "12,295 bytes; expected one or more whole records of 3,074");
  EXPECT_EQ(complaint(many + "x"), "12,297 bytes; expected one or more whole records of 3,074");
  EXPECT_EQ(complaint(""), "0 bytes; expected one or more whole records of 3,074");
  // A hole of two gigabytes.
  std::filesystem::resize_file(path, std::uintmax_t{1} << 31);
  EXPECT_EQ(message_about(path, [&] { (void)cifar100_source(folder.path()).read(); }),
            "2,147,483,648 bytes; expected at most 1,073,741,824");
}

TEST(Cifar10, RefusesWhatIsNotWhole) {
  const TemporaryFolder folder;
  write_cifar10(folder);
  const auto path = folder.write("data_batch_4.bin", record({'\x0a'}, 0));
  const auto read = [&] { (void)cifar10_source(folder.path()).read(); };
  EXPECT_EQ(message_about(path, read), "byte 0: label 10; expected 0…9");
  std::filesystem::remove(path);
  EXPECT_EQ(message_about(folder.path(), read), "no file data_batch_4.bin");
  write_cifar10(folder);
  const auto names = folder.write("batches.meta.txt", numbered_names(9));
  EXPECT_EQ(message_about(names, read), "9 names of classes; expected 10");
}

}  // namespace
}  // namespace anact::data
