// A small comparison, and what it leaves behind.
#pragma once

#include <ATen/CPUGeneratorImpl.h>
#include <torch/types.h>

#include <atomic>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "io/temporary_folder.h"
#include "train/compare.h"

namespace anact::train::test {

using anact::test::content_of;
using anact::test::names_in;
using anact::test::TemporaryFolder;

// Classes told apart by the sign of two directions, with noise.
inline data::Dataset toy_data(std::int64_t train = 43, std::int64_t test = 20, std::int64_t inputs = 6) {
  auto generator = at::detail::createCPUGenerator(99);
  const auto samples = [&](std::int64_t count) {
    const auto x = at::randn({count, inputs}, generator, torch::TensorOptions(torch::kFloat));
    const auto noise = at::randn({count, 2}, generator, torch::TensorOptions(torch::kFloat));
    const auto sides = (x.slice(1, 0, 2) + 0.3 * noise).gt(0).to(torch::kLong);
    return data::Samples{.inputs = x, .labels = sides.sum(1)};
  };
  return {.name = "toy",
          .classes = 3,
          .train = samples(train),
          .test = samples(test),
          .source = "none",
          .checksum = "00000000"};
}

inline CompareOptions toy_options(const std::vector<std::string>& arms, std::int64_t seeds = 1) {
  CompareOptions options;
  options.preset = "toy";
  options.arms = parse_arms(arms);
  options.depth = 3;
  options.width = 16;
  options.epochs = 2;
  options.batch_size = 8;
  options.learning_rate = 0.02;
  options.seeds = seeds;
  return options;
}

// Keeps the training losses of every run, and calls `on_step` if there is one.
class Recorder : public CompareObserver {
 public:
  void step(const Progress& progress) override {
    losses[progress.arm + " " + std::to_string(progress.seed)].push_back(progress.loss);
    if (on_step) on_step(progress);
  }
  void run_ended(const Progress&, const RunResult& result) override { results.push_back(result); }

  std::map<std::string, std::vector<double>> losses;
  std::vector<RunResult> results;
  std::function<void(const Progress&)> on_step;
};

// Every line of metrics.jsonl, without the wall time, which is all that may differ between two runs.
inline std::vector<nlohmann::json> metrics_of(const std::filesystem::path& folder) {
  std::vector<nlohmann::json> events;
  std::istringstream lines(content_of(folder / "metrics.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    events.push_back(nlohmann::json::parse(line));
    events.back().erase("seconds");
  }
  return events;
}

// The lines of one arm as text, without its name: equal texts are equal bits, since each double is written in full.
inline std::string metrics_of_arm(const std::vector<nlohmann::json>& events, const std::string& arm) {
  std::string text;
  for (auto event : events) {
    if (event.at("arm") != arm) continue;
    event.erase("arm");
    text += event.dump() + "\n";
  }
  return text;
}

inline std::vector<nlohmann::json> run_toy(const CompareOptions& options, const data::Dataset& dataset = toy_data()) {
  const TemporaryFolder folder;
  Recorder recorder;
  const std::atomic<bool> stop = false;
  if (!compare(options, dataset, folder.path(), recorder, stop)) throw std::runtime_error("stopped");
  return metrics_of(folder.path());
}

}  // namespace anact::train::test
