#include "io/json_lines.h"

#include <gtest/gtest.h>

#include <limits>
#include <sstream>
#include <stdexcept>

#include "io/file_size_limit.h"
#include "support/temporary_folder.h"

namespace anact::io {
namespace {

using test::content_of;
using test::FileSizeLimit;
using test::TemporaryFolder;

TEST(Number, IsWhatJsonCanHold) {
  EXPECT_EQ(number(0.1), 0.1);
  EXPECT_EQ(number(std::numeric_limits<double>::quiet_NaN()), "nan");
  EXPECT_EQ(number(std::numeric_limits<double>::infinity()), "inf");
  EXPECT_EQ(number(-std::numeric_limits<double>::infinity()), "-inf");
}

TEST(JsonLines, AppendsALineAnObject) {
  const TemporaryFolder folder;
  folder.write("lines", "what was there before\n");
  JsonLines lines(folder / "lines");
  EXPECT_EQ(content_of(folder / "lines"), "");
  lines.append({{"event", "epoch"}, {"loss", 0.1}});
  // A line is in the file as soon as it is appended, and is one line whatever it holds.
  EXPECT_EQ(content_of(folder / "lines"), "{\"event\":\"epoch\",\"loss\":0.1}\n");
  lines.append({{"text", "two\nlines"}});
  std::istringstream content(content_of(folder / "lines"));
  std::string first, second, third;
  std::getline(content, first);
  std::getline(content, second);
  EXPECT_FALSE(std::getline(content, third));
  EXPECT_EQ(nlohmann::json::parse(second).at("text"), "two\nlines");
}

TEST(JsonLines, GoesOnAfterTheSizeItIsGiven) {
  const TemporaryFolder folder;
  std::int64_t size = 0;
  {
    JsonLines lines(folder / "lines");
    lines.append({{"line", 1}});
    lines.flush();
    size = lines.size();
    EXPECT_EQ(size, 11);
    lines.append({{"line", "of a step that is run again"}});
  }
  JsonLines lines(folder / "lines", size);
  lines.append({{"line", 2}});
  EXPECT_EQ(lines.size(), 22);
  EXPECT_EQ(content_of(folder / "lines"), "{\"line\":1}\n{\"line\":2}\n");
}

TEST(JsonLines, NumbersKeepTheirBits) {
  const TemporaryFolder folder;
  const double value = 0.1 + 0.2;
  JsonLines(folder / "lines").append({{"value", value}});
  EXPECT_EQ(nlohmann::json::parse(content_of(folder / "lines")).at("value").get<double>(), value);
}

TEST(JsonLines, NamesAFileThatCannotBeMade) {
  const TemporaryFolder folder;
  const auto path = folder / "none" / "lines";
  try {
    JsonLines lines(path);
    FAIL() << "no error";
  } catch (const std::runtime_error& error) {
    EXPECT_EQ(error.what(), "cannot create '" + path.string() + "': No such file or directory");
  }
}

TEST(JsonLines, NamesAFileThatCannotBeWritten) {
  JsonLines lines("/dev/full");
  try {
    lines.append({{"a", 1}});
    FAIL() << "no error";
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "cannot write '/dev/full': No space left on device");
  }
}

TEST(JsonLines, TakesALineBackThatFitsInPart) {
  const TemporaryFolder folder;
  JsonLines lines(folder / "lines");
  lines.append({{"line", 1}});
  const auto before = content_of(folder / "lines");
  bool failed = false;
  {
    const FileSizeLimit limit(before.size() + 50);
    try {
      lines.append({{"line", std::string(1000, 'x')}});
    } catch (const std::runtime_error&) {
      failed = true;
    }
  }
  EXPECT_TRUE(failed);
  EXPECT_EQ(content_of(folder / "lines"), before);
  lines.append({{"line", 2}});
  EXPECT_EQ(content_of(folder / "lines"), before + "{\"line\":2}\n");
}

}  // namespace
}  // namespace anact::io
