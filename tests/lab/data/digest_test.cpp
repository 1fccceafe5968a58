#include "data/digest.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "support/temporary_folder.h"

namespace anact::data {
namespace {

using test::TemporaryFolder;

TEST(Digest, OfTheStandardsExamples) {
  const TemporaryFolder folder;
  // RFC 1321, section A.5, and FIPS 180-2, appendix B.
  const auto empty = folder.write("empty", ""), abc = folder.write("abc", "abc");
  EXPECT_EQ(file_digest(empty, "md5"), "d41d8cd98f00b204e9800998ecf8427e");
  EXPECT_EQ(file_digest(abc, "md5"), "900150983cd24fb0d6963f7d28e17f72");
  EXPECT_EQ(file_digest(abc, "sha256"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  const auto million = folder.write("million", std::string(1'000'000, 'a'));
  EXPECT_EQ(file_digest(million, "sha256"), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Digest, TellsHowFarItIs) {
  const TemporaryFolder folder;
  const auto path = folder.write("large", std::string(2'500'000, 'x'));
  std::vector<std::pair<std::int64_t, std::int64_t>> calls;
  (void)file_digest(path, "md5", [&](std::int64_t done, std::int64_t of) { calls.emplace_back(done, of); });
  ASSERT_GE(calls.size(), 2u);
  EXPECT_EQ(calls.back(), std::pair(std::int64_t{2'500'000}, std::int64_t{2'500'000}));
}

TEST(Digest, NamesBothWhenTheyDiffer) {
  const TemporaryFolder folder;
  const auto path = folder.write("abc", "abc");
  check_digest(path, {"md5", "900150983cd24fb0d6963f7d28e17f72"});
  try {
    check_digest(path, {"md5", "d41d8cd98f00b204e9800998ecf8427e"});
    FAIL() << "no error";
  } catch (const std::runtime_error& error) {
    EXPECT_EQ(error.what(), "'" + path.string() +
                                "': md5 900150983cd24fb0d6963f7d28e17f72; expected d41d8cd98f00b204e9800998ecf8427e");
  }
}

TEST(Digest, RefusesWhatItCannotDo) {
  const TemporaryFolder folder;
  EXPECT_THROW((void)file_digest(folder.write("abc", "abc"), "crc"), std::invalid_argument);
  try {
    (void)file_digest(folder / "missing", "md5");
    FAIL() << "no error";
  } catch (const std::runtime_error& error) {
    EXPECT_EQ(error.what(), "cannot open '" + (folder / "missing").string() + "': No such file or directory");
  }
  EXPECT_THROW((void)file_digest(folder.path(), "md5"), std::runtime_error);
}

}  // namespace
}  // namespace anact::data
