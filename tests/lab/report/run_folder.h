// Run folders made for the tests: small, whole, and then damaged as a test needs it.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace anact::report::test {

using Json = nlohmann::ordered_json;

// A folder below the system's temporary one, removed with the object.
class RunFolder {
 public:
  // Two arms, `plain` and `normal`, of which the first is the baseline.
  explicit RunFolder(std::vector<std::uint64_t> seeds = {0, 1, 2}) {
    std::string pattern = (std::filesystem::temp_directory_path() / "anact-report-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("cannot make " + pattern);
    path_ = pattern;
    config = {{"schema", 1},
              {"command", "compare"},
              {"preset", "tiny"},
              {"data", {{"name", "spirals"}, {"train", 100}, {"test", 50}, {"crc32", "0a1b2c3d"}}},
              {"model", {{"name", "mlp"}, {"depth", 2}}},
              {"training", {{"epochs", 2}, {"batch_size", 10}}},
              {"seeds", seeds},
              {"baseline", "plain"},
              {"arms",
               {{{"name", "plain"}, {"activation", "silu"}},
                {{"name", "normal"}, {"activation", "silu"}, {"anact", {{"momentum", 0.1}}}}}}};
    environment = {{"anact", "0.1.0"}, {"threads", 2}, {"started", "2026-01-02T03:04:05Z"}};
    status = {{"state", "complete"}, {"reason", ""}, {"runs_planned", 6}, {"runs_done", 6}, {"seconds", 1.5}};
  }
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;
  ~RunFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

  // A run of two epochs that ends with this accuracy; its best, after the first epoch, is 0.05 higher.
  void add_completed(const std::string& arm, std::uint64_t seed, double accuracy) {
    add_epoch(arm, seed, 0, 0.1);
    add_layers(arm, seed, 0);
    add_epoch(arm, seed, 1, accuracy + 0.05);
    add_epoch(arm, seed, 2, accuracy);
    add_layers(arm, seed, 2);
    add({{"event", "finished"}, {"arm", arm}, {"seed", seed}, {"status", "completed"}, {"skipped_batches", 0}});
  }

  void add_diverged(const std::string& arm, std::uint64_t seed) {
    add_epoch(arm, seed, 0, 0.1);
    add_epoch(arm, seed, 1, 0.2);
    add({{"event", "diverged"}, {"arm", arm}, {"seed", seed}, {"epoch", 2}, {"step", 15}, {"reason", "loss is nan"}});
    add({{"event", "finished"}, {"arm", arm}, {"seed", seed}, {"status", "diverged"}, {"skipped_batches", 4}});
  }

  void add_epoch(const std::string& arm, std::uint64_t seed, int epoch, double accuracy) {
    Json line = {{"event", "epoch"},         {"arm", arm},         {"seed", seed},
                 {"epoch", epoch},           {"step", 10 * epoch}, {"test_loss", 1.0 - accuracy},
                 {"test_accuracy", accuracy}};
    if (epoch > 0) {
      line["train_loss"] = 0.5;
      line["train_accuracy"] = 0.75;
      line["seconds"] = 0.25 * epoch;
    }
    add(line);
  }

  void add_layers(const std::string& arm, std::uint64_t seed, int epoch) {
    Json line = {{"event", "layers"},
                 {"arm", arm},
                 {"seed", seed},
                 {"epoch", epoch},
                 {"activation_second_moment", {1.0, 0.5}},
                 {"gradient_variance", {1e-3, 1e-2, 1e-1}}};
    if (arm == "normal") line["lambda"] = {1.5, 1.75};
    add(line);
  }

  void add(const Json& line) { metrics += line.dump() + "\n"; }

  // plain: 0.50, 0.52, 0.57; normal: 0.70, 0.74, 0.75. So the differences are 0.20, 0.22, 0.18.
  void add_all() {
    const std::vector<double> plain = {0.50, 0.52, 0.57}, normal = {0.70, 0.74, 0.75};
    for (std::uint64_t seed = 0; seed < 3; ++seed) add_completed("plain", seed, plain[seed]);
    for (std::uint64_t seed = 0; seed < 3; ++seed) add_completed("normal", seed, normal[seed]);
  }

  void save() const {
    write("config.json", config.dump(2));
    write("environment.json", environment.dump());
    write("status.json", status.dump());
    write("metrics.jsonl", metrics);
  }

  void write(const std::string& name, const std::string& content) const {
    std::ofstream(path_ / name, std::ios::binary) << content;
  }

  Json config, environment, status;
  std::string metrics;

 private:
  std::filesystem::path path_;
};

}  // namespace anact::report::test
