#include "io/event_file.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>

#include "support/python.h"
#include "support/temporary_folder.h"

namespace anact::io {
namespace {

using nlohmann::json;
using test::content_of;
using test::TemporaryFolder;

TEST(Crc32c, OfKnownBytes) {
  EXPECT_EQ(crc32c(""), 0u);
  EXPECT_EQ(crc32c("123456789"), 0xe3069283u);  // the check value of the catalogue of CRCs
  // RFC 3720, appendix B.4.
  std::string ascending(32, '\0');
  std::iota(ascending.begin(), ascending.end(), '\0');
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43u);
  EXPECT_EQ(crc32c(ascending), 0x46dd794eu);
  EXPECT_EQ(crc32c(std::string(ascending.rbegin(), ascending.rend())), 0x113fdb5cu);
}

// The records of a scalar, byte by byte from the format's description; its checksums are in the test with TensorBoard.
TEST(EventFile, IsTheFormatsBytes) {
  const TemporaryFolder folder;
  EventFile file(folder / "events");
  const auto start = static_cast<std::size_t>(file.size());
  file.add_scalar("loss", 300, 1.5, 2.0);
  const auto content = content_of(folder / "events");
  ASSERT_EQ(static_cast<std::int64_t>(content.size()), file.size());
  const std::string version = content.substr(12, start - 16);
  EXPECT_EQ(version.substr(9), std::string("\x10\x00\x1a\x0d", 4) + "brain.Event:2");
  const std::string event =
      std::string("\x09\x00\x00\x00\x00\x00\x00\x00\x40\x10\xac\x02\x2a\x0d\x0a\x0b\x0a\x04", 18) + "loss" +
      std::string("\x15\x00\x00\xc0\x3f", 5);
  EXPECT_EQ(content.substr(start + 12, content.size() - start - 16), event);
  EXPECT_EQ(content.substr(start, 8), std::string(1, static_cast<char>(event.size())) + std::string(7, '\0'));
}

TEST(EventFile, GoesOnAfterTheSizeItIsGiven) {
  const TemporaryFolder folder;
  std::string expected;
  std::int64_t size = 0;
  {
    EventFile file(folder / "events");
    file.add_scalar("loss", 1, 0.5, 10);
    size = file.size();
    file.add_scalar("loss", 2, 0.25, 11);
    file.flush();
    expected = content_of(folder / "events");
    file.add_scalar("loss", 3, 0.125, 12);
  }
  {
    EventFile file(folder / "events", size);
    EXPECT_EQ(file.size(), size);
    file.add_scalar("loss", 2, 0.25, 11);
  }
  EXPECT_EQ(content_of(folder / "events"), expected);
  // One that is cut to nothing begins like a new one.
  EventFile file(folder / "events", 0);
  EXPECT_GT(file.size(), 0);
}

TEST(EventFile, TensorBoardReadsIt) {
  const TemporaryFolder folder;
  const auto path = folder / "events.out.tfevents.test";
  const std::vector<double> values{0.1, -3e-20, 1e30, 0, std::nan(""), -std::numeric_limits<double>::infinity()};
  const std::vector<std::int64_t> steps{0, 1, 127, 128, 16'384, 5'000'000'000};
  const std::string long_tag(1000, 'x');
  const double before = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  {
    EventFile file(path);
    for (std::size_t i = 0; i < values.size(); ++i) file.add_scalar("train/loss", steps[i], values[i], 1.7e9 + 0.5 * i);
  }
  {
    EventFile file(path, static_cast<std::int64_t>(content_of(path).size()));
    file.add_scalar("val/λ", 1, 1.25, 1.7e9);
    file.add_scalar(long_tag, 7, 2, 1.7e9);
  }
  ANACT_RUN_PYTHON(test::script(__FILE__, "read_events.py"), path.string(), (folder / "json").string());
  const auto found = json::parse(content_of(folder / "json"));
  EXPECT_EQ(found.at("events"), 3 + values.size());
  EXPECT_EQ(found.at("version"), "brain.Event:2");
  EXPECT_NEAR(found.at("start").get<double>(), before, 60);
  const auto& scalars = found.at("scalars");
  EXPECT_EQ(scalars.size(), 3u);
  const auto& losses = scalars.at("train/loss");
  ASSERT_EQ(losses.size(), values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    EXPECT_EQ(losses[i][0], 1.7e9 + 0.5 * static_cast<double>(i));
    EXPECT_EQ(losses[i][1], steps[i]);
    const auto value = std::stod(losses[i][2].get<std::string>());
    if (std::isnan(values[i])) {
      EXPECT_TRUE(std::isnan(value));
    } else {
      EXPECT_EQ(value, static_cast<double>(static_cast<float>(values[i])));
    }
  }
  EXPECT_EQ(scalars.at("val/λ")[0], json({1.7e9, 1, "1.25"}));
  EXPECT_EQ(scalars.at(long_tag)[0], json({1.7e9, 7, "2.0"}));
}

}  // namespace
}  // namespace anact::io
