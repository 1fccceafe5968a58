#include "data/gzip.h"

#include <gtest/gtest.h>

#include <vector>

#include "data/gzip_bytes.h"
#include "data/samples.h"
#include "support/temporary_folder.h"

namespace anact::data {
namespace {

using test::gzip;
using test::message_about;
using test::TemporaryFolder;

std::string numbers(std::size_t size) {
  std::string text;
  for (std::size_t i = 0; i < size; ++i) text += static_cast<char>(i * i % 251);
  return text;
}

TEST(Gzip, ReadsPlainAndCompressedFilesAlike) {
  const TemporaryFolder folder;
  for (const std::size_t size : {0u, 1u, 65535u, 65536u, 65537u, 200'003u}) {
    const auto text = numbers(size);
    EXPECT_EQ(read_gzip(folder.write("plain", text), 1 << 20, "too large"), text) << size;
    EXPECT_EQ(read_gzip(folder.write("packed", gzip(text)), 1 << 20, "too large"), text) << size;
  }
}

TEST(Gzip, RefusesMoreThanTheLimit) {
  const TemporaryFolder folder;
  const auto text = numbers(1000);
  for (const auto& content : {text, gzip(text)}) {
    const auto path = folder.write("file", content);
    EXPECT_EQ(read_gzip(path, 1000, "expected at most 1,000"), text);
    EXPECT_EQ(message_about(path, [&] { (void)read_gzip(path, 999, "expected at most 999"); }), "expected at most 999");
  }
}

TEST(Gzip, ReadsInPieces) {
  const TemporaryFolder folder;
  const auto text = numbers(1000);
  for (const auto& content : {text, gzip(text)}) {
    GzipFile file(folder.write("file", content));
    std::vector<std::uint8_t> first(300), rest(900);
    EXPECT_EQ(file.read(first), 300u);
    EXPECT_GE(file.largest_size(), 1000u);
    EXPECT_EQ(file.read(rest), 700u);
    EXPECT_EQ(file.read(rest), 0u);
    EXPECT_EQ(first.back(), static_cast<std::uint8_t>(text[299]));
    EXPECT_EQ(rest[699], static_cast<std::uint8_t>(text[999]));
  }
}

TEST(Gzip, NamesWhatIsNoWholeFile) {
  const TemporaryFolder folder;
  const auto packed = gzip(numbers(100'000));
  const auto path = folder.write("cut", packed.substr(0, packed.size() - 3));
  EXPECT_EQ(message_about(path, [&] { (void)read_gzip(path, 1 << 20, ""); }),
            "after 100000 bytes: unexpected end of file; expected a whole gzip file");
  const auto missing = folder / "missing";
  EXPECT_EQ(message([&] { (void)read_gzip(missing, 1, ""); }),
            "cannot open '" + missing.string() + "': No such file or directory");
}

}  // namespace
}  // namespace anact::data
