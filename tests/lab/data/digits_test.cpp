#include "data/digits.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <functional>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "data/gzip_bytes.h"
#include "data/samples.h"
#include "support/temporary_folder.h"

namespace anact::data {
namespace {

using test::gzip;
using test::TemporaryFolder;

using Row = std::array<int, 65>;

std::filesystem::path real_file() { return std::filesystem::path(ANACT_DATA_FOLDER) / "digits.csv.gz"; }

// The file's rows, read line by line as decimal text.
std::vector<Row> read_rows(const std::filesystem::path& path) {
  std::vector<Row> rows;
  const gzFile file = gzopen(path.c_str(), "rb");
  char line[1024];
  while (gzgets(file, line, sizeof line) != nullptr) {
    std::istringstream fields(line);
    Row row{};
    for (int& value : row) {
      std::string field;
      std::getline(fields, field, ',');
      value = std::stoi(field);
    }
    rows.push_back(row);
  }
  gzclose(file);
  return rows;
}

// The pixels and labels of samples, as rows of the file.
std::vector<Row> rows_of(const Samples& samples) {
  std::vector<Row> rows;
  for (std::size_t i = 0; i < samples.labels.size(); ++i) {
    Row row{};
    std::ranges::copy(samples.pixels.subspan(64 * i, 64), row.begin());
    row[64] = samples.labels[i];
    rows.push_back(row);
  }
  return rows;
}

class RealDigits : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(real_file())) {
      GTEST_SKIP() << "no " << real_file() << "; `make setup` puts it there";
    }
  }
};

TEST_F(RealDigits, HaveTheirSizes) {
  const auto digits = load_digits(real_file());
  EXPECT_EQ(digits.name, "digits");
  EXPECT_EQ(digits.classes(), 10);
  EXPECT_EQ(digits.class_names[7], "7");
  EXPECT_EQ(digits.shape, (Shape{.channels = 1, .height = 8, .width = 8}));
  EXPECT_EQ(digits.train.size(), 1437);
  EXPECT_EQ(digits.test.size(), 360);
  EXPECT_EQ(digits.train.pixels.size(), 1437u * 64);
  EXPECT_EQ(digits.test.pixels.size(), 360u * 64);
  EXPECT_EQ(digits.source, real_file().string());
}

// The split is torch.randperm(1797, generator=torch.Generator().manual_seed(1797)): its first 360 are the test images.
TEST_F(RealDigits, AreSplitByThePermutationOfPyTorch) {
  const auto digits = load_digits(real_file());
  const auto rows = read_rows(real_file());
  const auto train = rows_of(digits.train), test = rows_of(digits.test);
  const std::vector<std::size_t> first_test{1202, 348, 222, 1637, 733, 351,  335,  123,
                                            366,  833, 620, 1389, 742, 1577, 1568, 1176};
  const std::vector<std::size_t> first_train{1152, 988, 960, 272, 202, 1544, 1089, 425};
  const std::vector<std::size_t> last_train{168, 1554, 412, 1556};
  for (std::size_t i = 0; i < first_test.size(); ++i) EXPECT_EQ(test[i], rows[first_test[i]]) << i;
  for (std::size_t i = 0; i < first_train.size(); ++i) EXPECT_EQ(train[i], rows[first_train[i]]) << i;
  for (std::size_t i = 0; i < last_train.size(); ++i) EXPECT_EQ(train[1433 + i], rows[last_train[i]]) << i;
}

TEST_F(RealDigits, AreTheRowsOfTheFileSplitInTwo) {
  const auto digits = load_digits(real_file());
  const auto train = rows_of(digits.train), test = rows_of(digits.test);
  const std::set<Row> in_train(train.begin(), train.end());
  for (const auto& row : test) EXPECT_FALSE(in_train.contains(row)) << "a test image is among the training images";

  auto all = train;
  all.insert(all.end(), test.begin(), test.end());
  auto expected = read_rows(real_file());
  std::ranges::sort(all);
  std::ranges::sort(expected);
  EXPECT_TRUE(all == expected);
}

TEST_F(RealDigits, HaveTheStatisticsOfTheTrainingImages) {
  const auto digits = load_digits(real_file());
  const auto [mean, deviation] = test::plain_statistics(digits, 0);
  ASSERT_EQ(digits.mean.size(), 1u);
  ASSERT_EQ(digits.deviation.size(), 1u);
  EXPECT_NEAR(digits.mean[0], mean, 1e-11);
  EXPECT_NEAR(digits.deviation[0], deviation, 1e-11);
}

TEST_F(RealDigits, AreTheSameEachTimeAndUncompressed) {
  const TemporaryFolder folder;
  std::string text;
  for (const auto& row : read_rows(real_file())) {
    for (std::size_t i = 0; i < row.size(); ++i) text.append(i == 0 ? "" : ",").append(std::to_string(row[i]));
    text += '\n';
  }
  const auto first = load_digits(real_file());
  for (const auto& path : {real_file(), folder.write("digits.csv", text)}) {
    const auto second = load_digits(path);
    EXPECT_TRUE(std::ranges::equal(first.train.pixels, second.train.pixels));
    EXPECT_TRUE(std::ranges::equal(first.train.labels, second.train.labels));
    EXPECT_TRUE(std::ranges::equal(first.test.pixels, second.test.pixels));
    EXPECT_TRUE(std::ranges::equal(first.test.labels, second.test.labels));
    EXPECT_EQ(first.checksum, second.checksum);
  }
}

// Lines of the right form, with numbers of a linear congruence.
std::vector<std::string> lines(std::size_t count) {
  std::vector<std::string> result;
  std::uint32_t state = 1;
  const auto below = [&](std::uint32_t bound) {
    state = state * 1664525 + 1013904223;
    return std::to_string((state >> 16) % bound);
  };
  for (std::size_t i = 0; i < count; ++i) {
    std::string line;
    for (int column = 0; column < 64; ++column) line.append(below(17)).append(",");
    result.push_back(line + below(10));
  }
  return result;
}

std::string join(const std::vector<std::string>& all, const std::string& end = "\n") {
  std::string text;
  for (const auto& line : all) text += line + end;
  return text;
}

std::string quoted(const std::filesystem::path& path) { return std::string("'").append(path.string()).append("'"); }

// The message about a file of this content, without the file's name in front, which must be there.
std::string message_of(const std::string& content) {
  const TemporaryFolder folder;
  const auto path = folder.write("hostile", content);
  try {
    (void)load_digits(path);
  } catch (const std::runtime_error& error) {
    const std::string message = error.what(), name = quoted(path) + ": ";
    if (!message.starts_with(name)) return "does not begin with the file's name: " + message;
    if (message.find('\n') != std::string::npos) return "more than one line: " + message;
    return message.substr(name.size());
  }
  return "no error";
}

// The message when line 1000 is something else.
std::string message_of_line(const std::function<std::string(std::string)>& change) {
  auto all = lines(1797);
  all[999] = change(all[999]);
  return message_of(join(all));
}

std::string with_field(const std::string& line, int column, const std::string& value) {
  std::istringstream fields(line);
  std::string result, field;
  for (int i = 1; std::getline(fields, field, ','); ++i)
    result.append(i == 1 ? "" : ",").append(i == column ? value : field);
  return result;
}

TEST(HostileDigits, TheFileItselfIsFine) {
  EXPECT_EQ(message_of(join(lines(1797))), "no error");
  EXPECT_EQ(message_of(gzip(join(lines(1797)))), "no error");
  EXPECT_EQ(message_of(join(lines(1797), "\r\n")), "no error");
  auto text = join(lines(1797));
  text.pop_back();
  EXPECT_EQ(message_of(text), "no error");
}

TEST(HostileDigits, TooFewOrTooManyLines) {
  EXPECT_EQ(message_of(""), "ends after 0 lines; expected 1797");
  EXPECT_EQ(message_of(gzip("")), "ends after 0 lines; expected 1797");
  EXPECT_EQ(message_of(join(lines(1796))), "ends after 1796 lines; expected 1797");
  EXPECT_EQ(message_of(join(lines(1798))), "line 1798: expected the end; the set has 1797");
}

TEST(HostileDigits, TooFewOrTooManyColumns) {
  EXPECT_EQ(message_of_line([](const std::string& line) { return line.substr(0, line.rfind(',')); }),
            "line 1000: expected 65 whole numbers separated by commas; column 64 is followed by ''");
  EXPECT_EQ(message_of_line([](const std::string& line) { return line + ",7"; }),
            "line 1000: expected 65 whole numbers separated by commas; column 65 is followed by ',7'");
  EXPECT_EQ(message_of_line([](const std::string&) { return ""; }),
            "line 1000: column 1: expected a value of 0…16, found ''");
}

TEST(HostileDigits, ValuesOutOfRange) {
  const auto message = [](int column, const std::string& value) {
    return message_of_line([&](const std::string& line) { return with_field(line, column, value); });
  };
  EXPECT_TRUE(message(7, "17").starts_with("line 1000: column 7: expected a value of 0…16, found '17,"));
  EXPECT_TRUE(message(1, "-1").starts_with("line 1000: column 1: expected a value of 0…16, found '-1,"));
  EXPECT_TRUE(message(3, "99999999999999999999").starts_with("line 1000: column 3: expected a value of 0…16"));
  EXPECT_EQ(message(65, "10"), "line 1000: column 65: expected a label of 0…9, found '10'");
  EXPECT_EQ(message(65, "-1"), "line 1000: column 65: expected a label of 0…9, found '-1'");
  EXPECT_TRUE(message(5, "").starts_with("line 1000: column 5: expected a value of 0…16, found ',"));
  EXPECT_TRUE(message(64, "zero").starts_with("line 1000: column 64: expected a value of 0…16, found 'zero,"));
  EXPECT_TRUE(message(9, "1.5").starts_with(
      "line 1000: expected 65 whole numbers separated by commas; column 9 is followed by '.5,"));
  EXPECT_TRUE(message(2, " 3").starts_with("line 1000: column 2: expected a value of 0…16, found ' 3,"));
}

TEST(HostileDigits, SomethingElse) {
  EXPECT_EQ(message_of("pixel_0,pixel_1,label\n"), "line 1: column 1: expected a value of 0…16, found 'pixel_0,pixe'");
  // What is shown of binary files cannot upset a terminal.
  EXPECT_EQ(message_of("\x89PNG\r\x1a\x1b[31m"), "line 1: column 1: expected a value of 0…16, found '?PNG???[31m'");
  std::string one_line;
  for (int i = 0; i < 1'000'000; ++i) one_line += "1,";
  EXPECT_EQ(message_of(one_line),
            "line 1: expected 65 whole numbers separated by commas; column 65 is followed by ',1,1,1,1,1,1'");
  EXPECT_EQ(message_of(std::string(17 << 20, '1')), "more than 16 MiB; the digits take 0.3 MiB");
  // A small file may unpack to a huge one.
  EXPECT_EQ(message_of(gzip(std::string(100 << 20, '1'))), "more than 16 MiB; the digits take 0.3 MiB");
}

TEST(HostileDigits, TruncatedOrDamagedGzip) {
  const auto packed = gzip(join(lines(1797)));
  for (const std::size_t size : {std::size_t{12}, packed.size() / 2, packed.size() - 1}) {
    const auto message = message_of(packed.substr(0, size));
    EXPECT_NE(message.find("unexpected end of file; expected a whole gzip file"), std::string::npos) << message;
    EXPECT_TRUE(message.starts_with("after ")) << message;
  }
  auto damaged = packed;
  damaged[damaged.size() / 2] = static_cast<char>(damaged[damaged.size() / 2] ^ 0x10);
  EXPECT_NE(message_of(damaged), "no error");
  auto wrong_sum = packed;
  wrong_sum[wrong_sum.size() - 8] = static_cast<char>(wrong_sum[wrong_sum.size() - 8] ^ 1);
  const auto message = message_of(wrong_sum);
  EXPECT_NE(message.find("expected a whole gzip file"), std::string::npos) << message;
}

TEST(HostileDigits, NoFile) {
  const TemporaryFolder folder;
  const auto message = [](const std::filesystem::path& path) {
    try {
      (void)load_digits(path);
    } catch (const std::runtime_error& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  const auto missing = folder / "missing";
  EXPECT_EQ(message(missing), "cannot open " + quoted(missing) + ": No such file or directory");
  EXPECT_EQ(message(folder.path()),
            quoted(folder.path()) + ": after 0 bytes: Is a directory; expected a whole gzip file");
}

}  // namespace
}  // namespace anact::data
