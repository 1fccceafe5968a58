// A small training, and what it leaves behind.
#pragma once

#include <ATen/CPUGeneratorImpl.h>
#include <torch/torch.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "support/temporary_folder.h"
#include "train/experiment.h"

namespace anact::train::test {

using anact::test::content_of;
using anact::test::names_in;
using anact::test::TemporaryFolder;

// Classes told apart by the sign of two directions, with noise; a pixel is 128 + 40 x for a normally distributed x.
inline data::Dataset toy_data(std::int64_t train = 43, std::int64_t test = 20, std::int64_t inputs = 6) {
  struct Storage {
    std::vector<std::uint8_t> pixels[2];
    std::vector<std::int32_t> labels[2];
  };
  auto generator = at::detail::createCPUGenerator(99);
  const auto storage = std::make_shared<Storage>();
  const std::int64_t counts[2] = {train, test};
  for (int split = 0; split < 2; ++split) {
    const auto x = at::randn({counts[split], inputs}, generator, torch::TensorOptions(torch::kFloat));
    const auto noise = at::randn({counts[split], 2}, generator, torch::TensorOptions(torch::kFloat));
    const auto labels = (x.slice(1, 0, 2) + 0.3 * noise).gt(0).to(torch::kInt).sum(1).to(torch::kInt);
    const auto pixels = (128 + 40 * x).round().clamp(0, 255).to(torch::kByte);
    storage->pixels[split].assign(pixels.const_data_ptr<std::uint8_t>(),
                                  pixels.const_data_ptr<std::uint8_t>() + pixels.numel());
    storage->labels[split].assign(labels.const_data_ptr<std::int32_t>(),
                                  labels.const_data_ptr<std::int32_t>() + labels.numel());
  }
  return {.name = "toy",
          .shape = {.channels = 1, .height = 1, .width = inputs},
          .class_names = {"neither", "one", "both"},
          .train = {.pixels = storage->pixels[0], .labels = storage->labels[0]},
          .test = {.pixels = storage->pixels[1], .labels = storage->labels[1]},
          .mean = {128},
          .deviation = {40},
          .source = "none",
          .checksum = "00000000",
          .storage = storage};
}

// Three classes of images, told apart by the brighter of three colours.
inline data::Dataset toy_images(std::int64_t train = 40, std::int64_t test = 12, std::int64_t side = 8) {
  auto dataset = toy_data(train, test, 3 * side * side);
  const auto paint = [&](const data::Samples& samples) {
    for (std::int64_t i = 0; i < samples.size(); ++i) {
      const auto plane = static_cast<std::size_t>(side * side);
      const auto begin = (static_cast<std::size_t>(i) * 3 + static_cast<std::size_t>(samples.labels[i])) * plane;
      for (std::size_t j = 0; j < plane; ++j) {
        auto& pixel = const_cast<std::uint8_t&>(samples.pixels[begin + j]);
        pixel = static_cast<std::uint8_t>(pixel / 2 + 100);
      }
    }
  };
  paint(dataset.train);
  paint(dataset.test);
  dataset.shape = {.channels = 3, .height = side, .width = side};
  dataset.mean = {128, 128, 128};
  dataset.deviation = {40, 40, 40};
  return dataset;
}

// What a sample is to the network.
inline torch::Tensor inputs_of(const data::Dataset& dataset, const data::Samples& samples) {
  const auto pixels = torch::from_blob(const_cast<std::uint8_t*>(samples.pixels.data()),
                                       {samples.size(), dataset.shape.values()}, torch::kByte);
  return (pixels.to(torch::kFloat) - dataset.mean[0]) / dataset.deviation[0];
}

inline torch::Tensor labels_of(const data::Samples& samples) {
  return torch::from_blob(const_cast<std::int32_t*>(samples.labels.data()), {samples.size()}, torch::kInt)
      .to(torch::kLong);
}

inline Config toy_config(const std::vector<std::string>& arms, std::int64_t seeds = 1) {
  Config config;
  config.arms = arms;
  config.depth = 3;
  config.width = 16;
  config.epochs = 2;
  config.batch_size = 8;
  config.learning_rate = 0.02;
  config.seeds = seeds;
  config.save_weights = false;
  config.tensorboard = false;
  config.checkpoint_minutes = 0;
  return config;
}

// Keeps the training losses of every run, and calls `on_step` if there is one.
class Recorder : public Observer {
 public:
  void step(const Progress& progress) override {
    losses[progress.arm + " " + std::to_string(progress.seed)].push_back(progress.loss);
    if (on_step) on_step(progress);
  }
  void epoch_ended(const std::string& line, double) override { lines.push_back(line); }
  void run_ended(const Progress&, const RunResult& result) override { results.push_back(result); }

  std::map<std::string, std::vector<double>> losses;
  std::vector<RunResult> results;
  std::vector<std::string> lines;
  std::function<void(const Progress&)> on_step;
};

// Every line of metrics.jsonl, without the wall times, which are all that may differ between two runs.
inline std::vector<nlohmann::json> metrics_of(const std::filesystem::path& folder) {
  std::vector<nlohmann::json> events;
  std::istringstream lines(content_of(folder / "metrics.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    events.push_back(nlohmann::json::parse(line));
    events.back().erase("seconds");
    events.back().erase("seconds_waited");
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

inline std::vector<nlohmann::json> run_toy(const Config& config, const data::Dataset& dataset = toy_data()) {
  const TemporaryFolder folder;
  Recorder recorder;
  const std::atomic<bool> stop = false;
  if (!train(config, {}, dataset, folder.path(), recorder, stop)) throw std::runtime_error("stopped");
  return metrics_of(folder.path());
}

}  // namespace anact::train::test
