#include "io/append_file.h"

#include <gtest/gtest.h>

#include "io/file_size_limit.h"
#include "support/message.h"
#include "support/temporary_folder.h"

namespace anact::io {
namespace {

using test::content_of;
using test::FileSizeLimit;
using test::TemporaryFolder;

TEST(AppendFile, CreatesOrEmptiesAndGrows) {
  const TemporaryFolder folder;
  for (const char* before : {"", "what was there before"}) {
    if (*before != '\0') folder.write("file", before);
    AppendFile file(folder / "file");
    EXPECT_EQ(file.size(), 0);
    EXPECT_EQ(content_of(folder / "file"), "");
    file.append("one");
    file.append("");
    file.append(std::string_view("\0\xff\n", 3));
    EXPECT_EQ(file.size(), 6);
    EXPECT_EQ(content_of(folder / "file"), std::string("one\0\xff\n", 6));
    file.flush();
  }
}

TEST(AppendFile, GoesOnAfterTheSizeItIsGiven) {
  const TemporaryFolder folder;
  for (const std::int64_t size : {0, 1, 5, 10}) {
    folder.write("file", "0123456789");
    {
      AppendFile file(folder / "file", size);
      EXPECT_EQ(file.size(), size);
      file.append("ab");
      EXPECT_EQ(file.size(), size + 2);
    }
    EXPECT_EQ(content_of(folder / "file"), std::string("0123456789").substr(0, static_cast<std::size_t>(size)) + "ab");
  }
}

TEST(AppendFile, RefusesAFileThatIsShorter) {
  const TemporaryFolder folder;
  const auto path = folder.write("file", "0123456789");
  EXPECT_EQ(message([&] { AppendFile file(path, 11); }), "'" + path.string() + "' has 10 bytes; expected 11 or more");
  EXPECT_EQ(message([&] { AppendFile file(path, -1); }), "a file has no size of -1 bytes");
  EXPECT_EQ(content_of(path), "0123456789");
}

TEST(AppendFile, NamesAFileThatCannotBeOpened) {
  const TemporaryFolder folder;
  const auto missing = folder / "missing";
  EXPECT_EQ(message([&] { AppendFile file(missing, 0); }),
            "cannot open '" + missing.string() + "': No such file or directory");
  EXPECT_FALSE(std::filesystem::exists(missing));
  EXPECT_EQ(message([&] { AppendFile file(missing / "file"); }),
            "cannot create '" + (missing / "file").string() + "': No such file or directory");
  EXPECT_EQ(message([&] { AppendFile file(folder.path()); }),
            "cannot create '" + folder.path().string() + "': Is a directory");
}

TEST(AppendFile, NamesAFileThatCannotBeWritten) {
  AppendFile file("/dev/full");
  EXPECT_EQ(message([&] { file.append("x"); }), "cannot write '/dev/full': No space left on device");
  EXPECT_EQ(file.size(), 0);
}

TEST(AppendFile, TakesBackWhatFitsInPart) {
  const TemporaryFolder folder;
  AppendFile file(folder / "file");
  file.append("whole.");
  {
    const FileSizeLimit limit(50);
    EXPECT_EQ(message([&] { file.append(std::string(1000, 'x')); }),
              "cannot write '" + (folder / "file").string() + "': File too large");
  }
  EXPECT_EQ(file.size(), 6);
  EXPECT_EQ(content_of(folder / "file"), "whole.");
  file.append("again.");
  EXPECT_EQ(content_of(folder / "file"), "whole.again.");
}

}  // namespace
}  // namespace anact::io
