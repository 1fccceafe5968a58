// Data sets as the tests see them.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "support/message.h"

namespace anact::test {

// The message of what the call throws, without the quoted name of `path` in front, which must be there.
inline std::string message_about(const std::filesystem::path& path, const std::function<void()>& call) {
  const auto whole = message(call);
  const auto name = "'" + path.string() + "': ";
  if (whole.find('\n') != std::string::npos) return "more than one line: " + whole;
  return whole.starts_with(name) ? whole.substr(name.size()) : "does not begin with " + name + "but is: " + whole;
}

// The mean and the deviation of one channel's pixels, in the plainest way.
inline std::pair<double, double> plain_statistics(const data::Dataset& dataset, std::int64_t channel) {
  const auto plane = dataset.shape.height * dataset.shape.width;
  std::vector<double> values;
  for (std::int64_t i = 0; i < dataset.train.size(); ++i) {
    const auto pixels = dataset.train.pixels.subspan(
        static_cast<std::size_t>((i * dataset.shape.channels + channel) * plane), static_cast<std::size_t>(plane));
    values.insert(values.end(), pixels.begin(), pixels.end());
  }
  double mean = 0, square = 0;
  for (const double value : values) mean += value / static_cast<double>(values.size());
  for (const double value : values) square += (value - mean) * (value - mean);
  return {mean, std::sqrt(square / static_cast<double>(values.size() - 1))};
}

// An environment variable that is set, or with nothing not set, while the object lives.
class Environment {
 public:
  Environment(std::string name, const std::optional<std::string>& value) : name_(std::move(name)) {
    if (const char* before = std::getenv(name_.c_str()); before != nullptr) before_ = before;
    set(value);
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;
  ~Environment() { set(before_); }

 private:
  void set(const std::optional<std::string>& value) {
    if (value) {
      ::setenv(name_.c_str(), value->c_str(), 1);
    } else {
      ::unsetenv(name_.c_str());
    }
  }

  std::string name_;
  std::optional<std::string> before_;
};

}  // namespace anact::test
