#include "data/source.h"

#include <gtest/gtest.h>

#include "data/samples.h"
#include "support/temporary_folder.h"

namespace anact::data {
namespace {

using test::message_about;
using test::TemporaryFolder;

using Strings = std::vector<std::string>;

TEST(Source, WritesNumbersInGroups) {
  EXPECT_EQ(grouped(0), "0");
  EXPECT_EQ(grouped(999), "999");
  EXPECT_EQ(grouped(12'296), "12,296");
  EXPECT_EQ(grouped(123'456'789), "123,456,789");
}

TEST(Source, ShowsAnyBytesOnOneLine) {
  EXPECT_EQ(quote_path("données/a b"), "'données/a b'");
  EXPECT_EQ(quote_path("a\nb\x1b[31m\xff"), "'a?b?[31m?'");
  EXPECT_EQ(quote_text("abc"), "'abc'");
  EXPECT_EQ(quote_text("\x89PNG\r\n and more than twelve"), "'?PNG?? and m'");
}

// RFC 3629's limits of each form.
TEST(Source, KnowsText) {
  for (const char* text : {"", "cat", "Katze (groß)", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf",
                           "\xee\x80\x80", "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_TRUE(is_text(text)) << text;
  }
  for (const char* text :
       {"\t", "a\n", "\x7f", "\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc3", "\xc3(", "\xe0\x9f\xbf", "\xed\xa0\x80",
        "\xe2\x82", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "caf\xe9"}) {
    EXPECT_FALSE(is_text(text)) << quote_path(text);
  }
}

TEST(Source, SplitsLines) {
  using Lines = std::vector<std::string_view>;
  EXPECT_EQ(split_lines(""), Lines());
  EXPECT_EQ(split_lines("a"), Lines({"a"}));
  EXPECT_EQ(split_lines("a\r\n\nb\n"), Lines({"a", "", "b"}));
}

TEST(Source, SummarizesAsThePlainestWayDoes) {
  const Shape shape{.channels = 3, .height = 5, .width = 7};
  std::vector<std::uint8_t> pixels;
  std::uint32_t state = 1;
  for (std::int64_t i = 0; i < 11 * shape.values(); ++i) {
    state = state * 1664525 + 1013904223;
    pixels.push_back(static_cast<std::uint8_t>(state >> 24));
  }
  const std::vector<std::int32_t> labels{3, 1, 2};
  Summary at_once(shape), in_pieces(shape);
  at_once.add_train_pixels(pixels);
  const auto cut = static_cast<std::size_t>(4 * shape.values());
  in_pieces.add_train_pixels(std::span(pixels).first(cut));
  in_pieces.add_train_pixels(std::span(pixels).subspan(cut));
  uLong crc = crc32_z(0, pixels.data(), pixels.size());
  for (auto* summary : {&at_once, &in_pieces}) {
    summary->add_train_labels(labels);
    summary->add_test_pixels(std::span(pixels).first(9));
    summary->add_test_labels(labels);
  }
  const unsigned char label_bytes[] = {3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0};
  crc = crc32_z(crc, label_bytes, sizeof label_bytes);
  crc = crc32_z(crc, pixels.data(), 9);
  crc = crc32_z(crc, label_bytes, sizeof label_bytes);
  EXPECT_EQ(std::stoul(at_once.checksum(), nullptr, 16), crc);
  EXPECT_EQ(at_once.checksum().size(), 8u);
  EXPECT_EQ(in_pieces.checksum(), at_once.checksum());
  EXPECT_EQ(in_pieces.mean(), at_once.mean());
  EXPECT_EQ(in_pieces.deviation(), at_once.deviation());

  Dataset dataset;
  dataset.shape = shape;
  const std::vector<std::int32_t> eleven(11);
  dataset.train = {pixels, eleven};
  for (std::int64_t channel = 0; channel < 3; ++channel) {
    const auto [mean, deviation] = test::plain_statistics(dataset, channel);
    EXPECT_NEAR(at_once.mean()[static_cast<std::size_t>(channel)], mean, 1e-10);
    EXPECT_NEAR(at_once.deviation()[static_cast<std::size_t>(channel)], deviation, 1e-10);
  }
}

TEST(Source, SumsAreExactForManyPixels) {
  // Pixels of 255 and one of 254: their count times the sum of their squares passes 2^68.
  Summary summary({.channels = 1, .height = 1 << 10, .width = 1 << 10});
  std::vector<std::uint8_t> pixels(1 << 20, 255);
  for (int i = 0; i < 64; ++i) summary.add_train_pixels(pixels);
  pixels[7] = 254;
  summary.add_train_pixels(pixels);
  const double count = 65 * 0x1p20;
  EXPECT_DOUBLE_EQ(summary.mean()[0], 255 - 1 / count);
  // The variance of one in n: (1/n)(1 - 1/n) n/(n-1) = 1/n.
  EXPECT_DOUBLE_EQ(summary.deviation()[0], std::sqrt(1 / count));
}

TEST(Source, RefusesAChannelWithoutDifferences) {
  Summary summary({.channels = 2, .height = 1, .width = 2});
  summary.add_train_pixels(std::vector<std::uint8_t>{1, 2, 7, 7});
  EXPECT_EQ(message([&] { (void)summary.deviation(); }),
            "channel 2: all pixels of the training images are the same; expected images that differ");
}

TEST(Source, ListsAFolderSorted) {
  const TemporaryFolder folder;
  for (const char* name : {"b", "a", "B", "10", "9", ".hidden"}) folder.write(name, "");
  std::filesystem::create_directory(folder / "z");
  std::filesystem::create_directory(folder / "y");
  const auto listing = list_folder(folder.path(), folder.path());
  EXPECT_EQ(listing.files, Strings({"10", "9", "B", "a", "b"}));
  EXPECT_EQ(listing.folders, Strings({"y", "z"}));
}

TEST(Source, FollowsLinksWithinTheTreeOnly) {
  const TemporaryFolder tree, elsewhere;
  std::filesystem::create_directory(tree / "in");
  tree.write("file", "");
  std::filesystem::create_symlink(tree / "file", tree / "in/a");
  std::filesystem::create_symlink("../in", tree / "in/b");
  EXPECT_EQ(list_folder(tree / "in", tree.path()).files, Strings({"a"}));
  EXPECT_EQ(list_folder(tree / "in", tree.path()).folders, Strings({"b"}));
  const auto complaint = [&](const std::filesystem::path& target) {
    std::filesystem::create_symlink(target, tree / "in/c");
    auto result = message_about(tree / "in/c", [&] { (void)list_folder(tree / "in", tree.path()); });
    std::filesystem::remove(tree / "in/c");
    return result;
  };
  const auto out = "a symbolic link out of '" + tree.path().string() + "'";
  EXPECT_EQ(complaint(elsewhere.write("file", "")), out);
  EXPECT_EQ(complaint(elsewhere.path()), out);
  EXPECT_EQ(complaint("../.."), out);
  // A neighbour whose name begins as the tree's does.
  const auto neighbour = tree.path().string() + "-2";
  std::filesystem::create_directory(neighbour);
  EXPECT_EQ(complaint(neighbour), out);
  std::filesystem::remove(neighbour);
  EXPECT_EQ(complaint("nowhere"), "a symbolic link that leads nowhere");
  EXPECT_EQ(complaint("c"), "a symbolic link that leads nowhere");
  EXPECT_EQ(message([&] { (void)list_folder(tree / "none", tree.path()); }),
            "cannot open '" + (tree / "none").string() + "': No such file or directory");
}

TEST(Source, ReadsSmallFilesOnly) {
  const TemporaryFolder folder;
  const auto path = folder.write("file", "12345");
  EXPECT_EQ(read_small_file(path, 5), "12345");
  EXPECT_EQ(message_about(path, [&] { (void)read_small_file(path, 4); }), "5 bytes; expected at most 4");
  EXPECT_EQ(message_about(folder.path(), [&] { (void)read_small_file(folder.path(), 4); }), "expected a regular file");
  EXPECT_EQ(message_about("/dev/zero", [&] { (void)read_small_file("/dev/zero", 4); }), "expected a regular file");
  EXPECT_EQ(message([&] { (void)read_small_file(folder / "none", 4); }),
            "cannot open '" + (folder / "none").string() + "': No such file or directory");
}

TEST(Source, ReadsClassNames) {
  const TemporaryFolder folder;
  const auto path = folder / "names.txt";
  const auto complaint = [&](const std::string& content) {
    folder.write("names.txt", content);
    return message_about(path, [&] { (void)read_class_names(path, 2); });
  };
  folder.write("names.txt", "cat\r\nsea lion\n\n");
  EXPECT_EQ(read_class_names(path, 2), Strings({"cat", "sea lion"}));
  EXPECT_EQ(complaint("cat\n"), "1 names of classes; expected 2");
  EXPECT_EQ(complaint("cat\ndog\nbird\n"), "3 names of classes; expected 2");
  EXPECT_EQ(complaint("cat\ncat\n"), "line 2: the class 'cat' a second time");
  EXPECT_EQ(complaint("cat\n\ndog\n"), "line 2: ''; expected the name of a class, in UTF-8");
  EXPECT_EQ(complaint("caf\xe9\ndog\n"), "line 1: 'caf?'; expected the name of a class, in UTF-8");
}

}  // namespace
}  // namespace anact::data
