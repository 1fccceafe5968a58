#include "io/atomic_file.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

#include "io/file_size_limit.h"
#include "support/temporary_folder.h"

namespace anact::io {
namespace {

using test::content_of;
using test::FileSizeLimit;
using test::names_in;
using test::TemporaryFolder;

using Names = std::set<std::string>;

template <class F>
std::string message_of(F f) {
  try {
    f();
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "no error";
}

TEST(WriteFile, WritesWhatItIsGiven) {
  const TemporaryFolder folder;
  for (const std::string& content :
       {std::string(), std::string("one line\n"), std::string("a\0b\r\n\xff", 6), std::string(300'000, 'x')}) {
    write_file(folder / "file", content);
    EXPECT_EQ(content_of(folder / "file"), content);
    EXPECT_EQ(read_file(folder / "file"), content);
    EXPECT_EQ(names_in(folder.path()), Names{"file"});
  }
}

TEST(WriteFile, JoinsThePartsOfAContent) {
  const TemporaryFolder folder;
  const std::string large(200'000, 'x');
  const std::vector<std::string_view> parts{"one", "", large, std::string_view("\0", 1), "end"};
  write_file(folder / "file", parts);
  EXPECT_EQ(content_of(folder / "file"), "one" + large + std::string(1, '\0') + "end");
  write_file(folder / "file", std::span<const std::string_view>());
  EXPECT_EQ(content_of(folder / "file"), "");
  EXPECT_EQ(names_in(folder.path()), Names{"file"});
}

TEST(WriteFile, NamesAPlaceThatCannotBeWritten) {
  const TemporaryFolder folder;
  const auto file = folder.write("file", "old");
  for (const auto& [path, reason] : {std::pair{folder / "none" / "file", "No such file or directory"},
                                     std::pair{file / "below", "Not a directory"}}) {
    const auto message = message_of([&] { write_file(path, "new"); });
    EXPECT_NE(message.find("cannot create '" + path.string()), std::string::npos) << message;
    EXPECT_NE(message.find(reason), std::string::npos) << message;
  }
  EXPECT_EQ(content_of(file), "old");
  EXPECT_EQ(names_in(folder.path()), Names{"file"});
}

TEST(WriteFile, LeavesAFolderOfThatNameAlone) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "taken");
  const auto message = message_of([&] { write_file(folder / "taken", "new"); });
  EXPECT_NE(message.find("'" + (folder / "taken").string() + "'"), std::string::npos) << message;
  EXPECT_TRUE(std::filesystem::is_directory(folder / "taken"));
  EXPECT_EQ(names_in(folder.path()), Names{"taken"});
}

TEST(WriteFile, LeavesNothingWhenTheDiskFillsUpMidway) {
  const TemporaryFolder folder;
  folder.write("old", "unchanged");
  std::string created, replaced;
  {
    const FileSizeLimit limit(4096);
    created = message_of([&] { write_file(folder / "new", std::string(100'000, 'x')); });
    replaced = message_of([&] { write_file(folder / "old", std::string(100'000, 'x')); });
  }
  EXPECT_NE(created.find("cannot write '" + (folder / "new").string()), std::string::npos) << created;
  EXPECT_NE(created.find("File too large"), std::string::npos) << created;
  EXPECT_NE(replaced.find("cannot write '" + (folder / "old").string()), std::string::npos) << replaced;
  EXPECT_EQ(names_in(folder.path()), Names{"old"});
  EXPECT_EQ(content_of(folder / "old"), "unchanged");
}

TEST(WriteFile, AReaderNeverSeesAPart) {
  const TemporaryFolder folder;
  const std::string a(200'000, 'a'), b(50'000, 'b');
  write_file(folder / "file", a);
  std::atomic<bool> done = false;
  std::thread writer([&] {
    for (int i = 0; i < 50; ++i) write_file(folder / "file", i % 2 == 0 ? b : a);
    done = true;
  });
  int torn = 0;
  while (!done) {
    const auto content = read_file(folder / "file");
    torn += content != a && content != b;
  }
  writer.join();
  EXPECT_EQ(torn, 0);
}

TEST(ReadFile, NamesAFileThatCannotBeRead) {
  const TemporaryFolder folder;
  const auto missing = folder / "missing";
  EXPECT_EQ(message_of([&] { (void)read_file(missing); }),
            "cannot open '" + missing.string() + "': No such file or directory");
  EXPECT_EQ(message_of([&] { (void)read_file(folder.path()); }),
            "cannot read '" + folder.path().string() + "': Is a directory");
}

TEST(RemoveUnfinished, TakesWhatAKilledWriterLeftAndNothingElse) {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder / "deep" / "er");
  for (const char* name : {"a.json", "a.json.tmp12", "deep/b.tmp", "deep/b.tmp3x", "deep/er/c.safetensors.tmp4567"}) {
    write_file(folder / name, "x");
  }
  remove_unfinished(folder / ".");
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder / ".")) {
    if (entry.is_regular_file()) names.insert(entry.path().filename());
  }
  EXPECT_EQ(names, (std::set<std::string>{"a.json", "b.tmp", "b.tmp3x"}));
}

}  // namespace
}  // namespace anact::io
