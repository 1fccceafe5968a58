// A run folder, read and checked. docs/run-folder.md is the contract.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "io/epoch_metrics.h"

namespace anact::report {

using Fields = std::vector<std::pair<std::string, std::string>>;  // in the file's order, nested names joined by dots

struct Epoch : io::EpochMetrics {
  std::uint64_t epoch = 0;
};

struct Layers {
  std::uint64_t epoch = 0;
  std::vector<double> activation_second_moment;
  std::vector<double> gradient_variance;
  std::vector<double> lambda;  // empty for an arm without ANAct
};

enum class Outcome { unfinished, completed, diverged };

// What one arm did with one seed.
struct Trial {
  std::size_t arm = 0;  // index into Run::arms
  std::uint64_t seed = 0;
  std::vector<Epoch> epochs;
  std::vector<Layers> layers;
  Outcome outcome = Outcome::unfinished;
  std::string divergence;  // where and why, when it diverged
  std::uint64_t skipped_batches = 0;
};

struct Arm {
  std::string name;
  std::optional<std::size_t> baseline;  // the arm it is compared with; none for the baseline itself
  Fields settings;
};

struct Run {
  std::string preset;
  std::vector<std::string> arguments;  // what followed the program's name
  std::string data_name;
  std::string model_name;
  Fields data, model, training;  // without the names above
  std::vector<std::uint64_t> seeds;
  std::vector<Arm> arms;
  std::string configuration;  // config.json, indented
  Fields environment;
  bool partial = false;
  std::string reason;  // why it is partial
  double seconds = 0;
  std::vector<Trial> trials;  // those that were started, by arm, then in the order of the seeds

  [[nodiscard]] std::size_t planned() const { return arms.size() * seeds.size(); }
  [[nodiscard]] std::size_t ended() const;
  [[nodiscard]] std::vector<const Trial*> trials_of(std::size_t arm) const;
};

// Throws std::runtime_error that names the file, the line or the member, and what was expected there. A last line of
// metrics.jsonl without a newline is what a killed program leaves: it is passed over, and the run counts as partial.
[[nodiscard]] Run load_run(const std::filesystem::path& folder);

}  // namespace anact::report
