#include "data/archive.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>
#include <zlib.h>

#include <cstdint>
#include <cstdio>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "data/gzip_bytes.h"
#include "io/file_size_limit.h"
#include "support/temporary_folder.h"

namespace anact::data {
namespace {

using test::content_of;
using test::names_in;
using test::TemporaryFolder;

using Names = std::set<std::string>;

struct Entry {
  std::string name;
  std::string content;
  char type = '0';   // as POSIX has it: 0 file, 1 hard link, 2 symbolic link, 3 character device, 5 folder
  std::string link;  // where a link leads
};

// POSIX.1-1988, "ustar": blocks of 512 bytes, a header and the content for each entry.
std::string tar_bytes(const std::vector<Entry>& entries) {
  std::string bytes;
  for (const auto& entry : entries) {
    std::string header(512, '\0');
    const auto put = [&](std::size_t at, const std::string& text) { header.replace(at, text.size(), text); };
    char octal[16];
    put(0, entry.name);
    put(100, "0000777");
    std::snprintf(octal, sizeof octal, "%011zo", entry.content.size());
    put(124, octal);
    put(136, "00000000000");
    put(148, "        ");
    header[156] = entry.type;
    put(157, entry.link);
    put(257, std::string("ustar\0", 6) + "00");
    unsigned sum = 0;
    for (const char c : header) sum += static_cast<unsigned char>(c);
    std::snprintf(octal, sizeof octal, "%06o", sum);
    put(148, octal + std::string("\0 ", 2));
    bytes += header + entry.content;
    bytes.resize((bytes.size() + 511) / 512 * 512);
  }
  return bytes + std::string(1024, '\0');
}

// PKWARE's APPNOTE 4.3: the files without compression, then the directory.
std::string zip_bytes(const std::vector<Entry>& entries) {
  std::string bytes, directory;
  const auto number = [](std::uint64_t value, int size) {
    std::string text;
    for (int i = 0; i < size; ++i) text += static_cast<char>(value >> (8 * i));
    return text;
  };
  for (const auto& entry : entries) {
    const auto crc = crc32_z(0, reinterpret_cast<const Bytef*>(entry.content.data()), entry.content.size());
    const auto fields = number(0, 2) + number(0, 2) + number(0, 4) + number(crc, 4) + number(entry.content.size(), 4) +
                        number(entry.content.size(), 4) + number(entry.name.size(), 2) + number(0, 2);
    directory += number(0x02014b50, 4) + number(0x0314, 2) + number(10, 2) + fields + number(0, 6) +
                 number(entry.type == '2' ? 0120777u << 16 : 0, 4) + number(bytes.size(), 4) + entry.name;
    bytes += number(0x04034b50, 4) + number(10, 2) + fields + entry.name + entry.content;
  }
  const auto start = bytes.size();
  return bytes + directory + number(0x06054b50, 4) + number(0, 4) + number(entries.size(), 2) +
         number(entries.size(), 2) + number(directory.size(), 4) + number(start, 4) + number(0, 2);
}

const std::vector<Entry> kEntries{{"set/", "", '5', ""},
                                  {"set/a.bin", std::string(100'000, 'a'), '0', ""},
                                  {"./set//sub/./b.txt", "hello", '0', ""},
                                  {"set/empty", "", '0', ""}};

// What unpack() says of an archive, without the archive's name in front, which must be there; "" when it succeeded.
// Nothing may be left.
std::string message_of(const std::string& bytes, const UnpackOptions& options = {}) {
  const TemporaryFolder folder;
  const auto path = folder.write("archive", bytes);
  try {
    unpack(path, folder / "set", options);
  } catch (const std::runtime_error& error) {
    const std::string message = error.what(), name = "'" + path.string() + "': ";
    EXPECT_EQ(names_in(folder.path()), Names{"archive"}) << message;
    if (!message.starts_with(name) || message.find('\n') != std::string::npos) return "wrong form: " + message;
    return message.substr(name.size());
  }
  return "";
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(Archive, UnpacksEveryFormat) {
  for (const auto& bytes : {tar_bytes(kEntries), test::gzip(tar_bytes(kEntries)), zip_bytes(kEntries)}) {
    const TemporaryFolder folder;
    std::int64_t last = 0, whole = 0;
    UnpackOptions options;
    options.progress = [&](std::int64_t done, std::int64_t of) {
      EXPECT_GE(done, last);
      last = done;
      whole = of;
    };
    unpack(folder.write("archive", bytes), folder / "set", options);
    EXPECT_EQ(names_in(folder.path()), (Names{"archive", "set"}));
    EXPECT_EQ(names_in(folder / "set"), (Names{"a.bin", "sub", "empty"}));
    EXPECT_EQ(content_of(folder / "set/a.bin"), std::string(100'000, 'a'));
    EXPECT_EQ(content_of(folder / "set/sub/b.txt"), "hello");
    EXPECT_EQ(std::filesystem::file_size(folder / "set/empty"), 0u);
    EXPECT_EQ(whole, static_cast<std::int64_t>(bytes.size()));
    EXPECT_GT(last, 0);
  }
}

TEST(Archive, RefusesPathsThatLeadOut) {
  for (const auto& pack : {tar_bytes, zip_bytes}) {
    const auto with = [&](const std::string& name) { return message_of(pack({kEntries[1], {name, "x", '0', ""}})); };
    EXPECT_EQ(with("set/../../out"), "entry 'set/../../out': leads out of the archive by '..'");
    EXPECT_EQ(with("../out"), "entry '../out': leads out of the archive by '..'");
    EXPECT_TRUE(has(with("/tmp/out"), "entry '/tmp/out': an absolute path"));
    EXPECT_TRUE(has(with("other/file"), "entry 'other/file': lies outside the folder 'set'"));
    EXPECT_TRUE(has(with("setter"), "lies outside the folder 'set'"));
    EXPECT_TRUE(has(with("set"), "entry 'set': "));
  }
}

TEST(Archive, RefusesLinksAndDevices) {
  const auto with = [](char type, const std::string& link) {
    return message_of(tar_bytes({kEntries[0], {"set/x", "", type, link}, {"set/x/y", "through", '0', ""}}));
  };
  EXPECT_EQ(with('2', "/etc"), "entry 'set/x': a link; expected files and folders only");
  EXPECT_EQ(with('2', "a.bin"), "entry 'set/x': a link; expected files and folders only");
  EXPECT_EQ(with('1', "/etc/passwd"), "entry 'set/x': a link; expected files and folders only");
  EXPECT_EQ(with('3', ""), "entry 'set/x': a device; expected files and folders only");
  EXPECT_EQ(with('6', ""), "entry 'set/x': a device; expected files and folders only");
  EXPECT_EQ(message_of(zip_bytes({{"set/x", "/etc", '2', ""}})),
            "entry 'set/x': a link; expected files and folders only");
}

TEST(Archive, RefusesAnEntryTwice) {
  EXPECT_EQ(message_of(tar_bytes({kEntries[1], kEntries[1]})), "entry 'set/a.bin': is there twice");
  EXPECT_EQ(message_of(tar_bytes({kEntries[1], {"set/a.bin/", "", '5', ""}})), "entry 'set/a.bin/': is there twice");
  EXPECT_TRUE(has(message_of(tar_bytes({kEntries[1], {"set/a.bin/x", "", '0', ""}})),
                  "entry 'set/a.bin/x': its folder cannot be made"));
}

TEST(Archive, RefusesWhatIsTooLarge) {
  UnpackOptions options;
  options.most_bytes = 99'999;
  EXPECT_EQ(message_of(test::gzip(tar_bytes(kEntries)), options),
            "entry 'set/a.bin': more than 99,999 bytes when unpacked, which is the limit");
  options.most_bytes = 100'005;
  EXPECT_EQ(message_of(tar_bytes(kEntries), options), "");
  options.most_entries = 3;
  EXPECT_EQ(message_of(tar_bytes(kEntries), options), "more than 3 entries, which is the limit");
}

TEST(Archive, RefusesWhatIsDamagedOrSomethingElse) {
  EXPECT_TRUE(has(message_of("this is not an archive"), "expected a whole .tar, .tar.gz or .zip archive"));
  EXPECT_NE(message_of(""), "");
  EXPECT_EQ(message_of(tar_bytes({})), "no entries; expected a folder 'set'");
  for (const auto& bytes : {tar_bytes(kEntries), test::gzip(tar_bytes(kEntries)), zip_bytes(kEntries)}) {
    EXPECT_TRUE(has(message_of(bytes.substr(0, bytes.size() / 2)), "expected a whole .tar, .tar.gz or .zip archive"));
  }
  auto damaged = zip_bytes(kEntries);
  damaged[5000] = 'b';
  EXPECT_TRUE(has(message_of(damaged), "entry 'set/a.bin': "));
}

TEST(Archive, LeavesAFolderThatIsThere) {
  const TemporaryFolder folder;
  const auto path = folder.write("archive", tar_bytes(kEntries));
  std::filesystem::create_directory(folder / "set");
  try {
    unpack(path, folder / "set");
    FAIL() << "no error";
  } catch (const std::runtime_error& error) {
    EXPECT_EQ(error.what(), "'" + (folder / "set").string() + "': is there already");
  }
  EXPECT_EQ(names_in(folder / "set"), Names{});
}

TEST(Archive, ClearsWhatAKilledProcessLeft) {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder / ".set.unpacking/set");
  folder.write(".set.unpacking/set/a.bin", "half");
  unpack(folder.write("archive", tar_bytes(kEntries)), folder / "set");
  EXPECT_EQ(content_of(folder / "set/a.bin").size(), 100'000u);
  EXPECT_EQ(names_in(folder.path()), (Names{"archive", "set"}));
}

TEST(Archive, OnlyOneProcessAtATime) {
  const TemporaryFolder folder;
  const auto path = folder.write("archive", tar_bytes(kEntries));
  const int other = ::open(path.c_str(), O_RDONLY);
  ASSERT_EQ(::flock(other, LOCK_EX), 0);
  EXPECT_THROW(unpack(path, folder / "set"), std::runtime_error);
  ::close(other);
}

TEST(Archive, AFullDiskLeavesNothing) {
  const TemporaryFolder folder;
  const auto path = folder.write("archive", tar_bytes(kEntries));
  {
    const test::FileSizeLimit limit(20'000);
    try {
      unpack(path, folder / "set");
      ADD_FAILURE() << "no error";
    } catch (const std::runtime_error& error) {
      EXPECT_EQ(error.what(), "cannot write '" + (folder / ".set.unpacking/set/a.bin").string() + "': File too large");
    }
  }
  EXPECT_EQ(names_in(folder.path()), Names{"archive"});
}

TEST(Archive, NoFile) {
  const TemporaryFolder folder;
  try {
    unpack(folder / "missing", folder / "set");
    FAIL() << "no error";
  } catch (const std::runtime_error& error) {
    EXPECT_EQ(error.what(), "cannot open '" + (folder / "missing").string() + "': No such file or directory");
  }
}

}  // namespace
}  // namespace anact::data
