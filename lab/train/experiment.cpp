#include "train/experiment.h"

#include <ATen/Parallel.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <chrono>
#include <new>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>

#include "data/sets.h"
#include "data/subset.h"
#include "io/atomic_file.h"
#include "io/json.h"
#include "text/words.h"
#include "train/environment.h"
#include "train/run.h"
#include "train/run_folder.h"

namespace anact::train {
namespace {

using Clock = std::chrono::steady_clock;

nlohmann::ordered_json value_of(const Config& config, const Setting& setting) {
  return std::visit(
      [&](auto member) -> nlohmann::ordered_json {
        using Value = std::remove_cvref_t<decltype(config.*member)>;
        if constexpr (std::is_same_v<Value, std::vector<std::int64_t>>) {
          std::vector<std::string> items;
          for (const auto item : config.*member) items.push_back(std::to_string(item));
          return text::join(items);
        } else if constexpr (std::is_same_v<Value, bool>) {
          return config.*member ? "on" : "off";
        } else {
          return config.*member;
        }
      },
      setting.member);
}

nlohmann::ordered_json section(const Config& config, std::string_view name) {
  auto result = nlohmann::ordered_json::object();
  for (const auto& setting : settings()) {
    if (setting.section == name && setting.applies(config)) {
      result[std::string(setting.name)] = value_of(config, setting);
    }
  }
  return result;
}

// config.json: what the report shows.
nlohmann::ordered_json description(const Config& config, const std::vector<Arm>& arms, const Invocation& invocation,
                                   const data::Dataset& dataset) {
  auto arm_list = nlohmann::ordered_json::array();
  for (const auto& arm : arms) arm_list.emplace_back(arm.to_json(config.learning_rate));
  auto seeds = nlohmann::ordered_json::array();
  for (std::int64_t i = 0; i < config.seeds; ++i) seeds.push_back(config.first_seed + i);
  auto data = section(config, "data");
  // Where they lie is the machine's matter, and how many there are follows.
  for (const char* name : {"path", "train_samples", "test_samples", "validation"}) data.erase(name);
  data["name"] = dataset.name;
  data["train"] = dataset.train.size();
  if (dataset.validation.size() > 0) data["validation"] = dataset.validation.size();
  data["test"] = dataset.test.size();
  data["image"] = std::to_string(dataset.shape.channels) + "x" + std::to_string(dataset.shape.height) + "x" +
                  std::to_string(dataset.shape.width);
  data["classes"] = dataset.classes();
  data["crc32"] = dataset.checksum;
  auto training = section(config, "training");
  training.update(section(config, "augmentation"));
  return {{"schema", 1},
          {"command", invocation.command},
          {"arguments", invocation.arguments},
          {"preset", config.preset},
          {"data", data},
          {"model", section(config, "model")},
          {"training", training},
          {"seeds", seeds},
          {"baseline", arms.front().name},
          {"arms", arm_list}};
}

// The runs of a training from the `done`-th on.
class Experiment {
 public:
  Experiment(const Config& config, const data::Dataset& dataset, const std::filesystem::path& folder,
             Observer& observer, const std::atomic<bool>& stop)
      : context_{.config = config, .dataset = dataset, .folder = folder, .observer = observer, .stop = stop},
        arms_(parse_arms(config.arms)),
        planned_(arms_.size() * static_cast<std::size_t>(config.seeds)) {
    if (config.threads > 0) at::set_num_threads(static_cast<int>(config.threads));
  }

  [[nodiscard]] const std::vector<Arm>& arms() const { return arms_; }
  [[nodiscard]] std::size_t planned() const { return planned_; }

  // A seed's arms come one after another, so that a partial training still holds whole pairs.
  [[nodiscard]] std::unique_ptr<Run> make_run(std::size_t index) const {
    const auto arm = index % arms_.size();
    const auto seed = context_.config.first_seed + static_cast<std::int64_t>(index / arms_.size());
    return std::make_unique<Run>(context_, arms_[arm], seed, arm, Progress{.run = index, .runs = planned_});
  }

  void write_status(const char* state, const std::string& reason) const {
    const nlohmann::ordered_json status{
        {"state", state},
        {"reason", reason},
        {"runs_planned", planned_},
        {"runs_done", done_},
        {"seconds", seconds_before_ + std::chrono::duration<double>(Clock::now() - start_).count()},
        {"sizes", sizes_},
        {"settings", to_toml(context_.config)}};
    io::write_file(context_.folder / "status.json", json_text(status));
  }

  // `first`, unless it is null, is the run with the number `done`, which went on from a checkpoint if `checkpoint` says
  // where the files were then; otherwise they are cut to `sizes`, or made when there are none.
  bool train(std::unique_ptr<Run> first, std::size_t done, const std::optional<Sizes>& sizes,
             const std::optional<Sizes>& checkpoint, double seconds) {
    done_ = done;
    sizes_ = sizes.value_or(Sizes());
    seconds_before_ = seconds;
    write_status("running", "");
    try {
      RunFolder out(context_.folder, checkpoint ? checkpoint : sizes);
      for (auto run = std::move(first);; run.reset()) {
        if (!run) run = make_run(done_);
        if (!run->train(out)) {
          write_status("partial", "interrupted");
          return false;
        }
        out.flush();
        ++done_;
        sizes_ = out.sizes();
        if (done_ == planned_) break;
        write_status("running", "");
      }
    } catch (const c10::Error& error) {
      const std::string reason = error.what_without_backtrace();
      fail(reason);
      throw std::runtime_error(reason);
    } catch (const std::exception& error) {
      fail(error.what());
      throw;
    }
    write_status("complete", "");
    return true;
  }

 private:
  void fail(const std::string& reason) const {
    try {
      write_status("partial", reason);
    } catch (const std::runtime_error&) {
      // The disk may be what failed. The folder then still says that it is running, which readers take for partial.
    }
  }

  RunContext context_;
  std::vector<Arm> arms_;
  std::size_t planned_;
  std::size_t done_ = 0;
  Sizes sizes_;  // when the last run ended
  double seconds_before_ = 0;
  Clock::time_point start_ = Clock::now();
};

// Refuses a config.toml that says something else than the training was begun with.
void check_settings(const Config& config, const std::string& begun_with, const std::filesystem::path& folder) {
  Config before;
  try {
    apply_toml(before, begun_with, (folder / "status.json").string());
  } catch (const std::invalid_argument& error) {
    throw std::runtime_error(error.what());
  }
  if (const auto changed = differences(before, config); !changed.empty()) {
    throw std::runtime_error("'" + (folder / "config.toml").string() +
                             "' has been changed since the training was begun: " + text::join(changed));
  }
}

nlohmann::ordered_json read_json(const std::filesystem::path& path) {
  try {
    return io::parse_json<nlohmann::ordered_json>(io::read_file(path));
  } catch (const io::DeepJson& error) {
    throw std::runtime_error("'" + path.string() + "': " + error.what());
  } catch (const nlohmann::json::exception&) {
    throw std::runtime_error("'" + path.string() + "': damaged; expected JSON");
  }
}

}  // namespace

data::Dataset open_dataset(const Config& config, const std::function<void(std::int64_t, std::int64_t)>& progress) {
  auto dataset = data::open(
      config.data, {.path = config.data_path, .cache = {}, .image_size = config.image_size, .progress = progress});
  return data::subset(std::move(dataset), {.train = config.train_samples,
                                           .test = config.test_samples,
                                           .validation = config.validation,
                                           .seed = static_cast<std::uint64_t>(config.subset_seed)});
}

void rehearse(const Config& config, const data::Dataset& dataset) {
  validate(config);
  class Silent : public Observer {
    void step(const Progress&) override {}
    void epoch_ended(const std::string&, double) override {}
    void run_ended(const Progress&, const RunResult&) override {}
  } silent;
  const std::atomic<bool> stop = false;
  const std::filesystem::path nowhere;
  const Experiment experiment(config, dataset, nowhere, silent, stop);
  for (std::size_t arm = 0; arm < experiment.arms().size(); ++arm) {
    const auto out_of_memory = [&] {
      return std::runtime_error("the memory does not suffice for arm '" + experiment.arms()[arm].name +
                                "' with batches of " + std::to_string(config.batch_size) +
                                "; a smaller network, --batch-size or --accumulate needs less");
    };
    try {
      experiment.make_run(arm)->rehearse();
    } catch (const std::bad_alloc&) {
      throw out_of_memory();
    } catch (const c10::Error& error) {
      // LibTorch's allocator on the CPU has no type of its own for this.
      const std::string reason = error.what_without_backtrace();
      if (reason.find("allocate memory") != std::string::npos || reason.find("out of memory") != std::string::npos) {
        throw out_of_memory();
      }
      throw std::runtime_error("arm '" + experiment.arms()[arm].name + "': " + reason);
    }
  }
}

bool train(const Config& config, const Invocation& invocation, const data::Dataset& dataset,
           const std::filesystem::path& folder, Observer& observer, const std::atomic<bool>& stop) {
  validate(config);
  Experiment experiment(config, dataset, folder, observer, stop);
  io::write_file(folder / "config.json", json_text(description(config, experiment.arms(), invocation, dataset)));
  io::write_file(folder / "config.toml", to_toml(config));
  io::write_file(folder / "environment.json", json_text(environment()));
  return experiment.train(nullptr, 0, std::nullopt, std::nullopt, 0);
}

Config load_config(const std::filesystem::path& folder) {
  const auto path = folder / "config.toml";
  if (!std::filesystem::is_regular_file(path)) {
    throw std::runtime_error("'" + folder.string() +
                             "': no training to go on with: expected a file 'config.toml' in it");
  }
  Config config;
  try {
    apply_toml(config, io::read_file(path), path.string());
    validate(config);
  } catch (const std::invalid_argument& error) {
    throw std::runtime_error(error.what());
  }
  return config;
}

bool resume(const data::Dataset& dataset, const std::filesystem::path& folder, Observer& observer,
            const std::atomic<bool>& stop) {
  const auto config = load_config(folder);
  io::remove_unfinished(folder);
  const auto status_path = folder / "status.json";
  const auto status = read_json(status_path);
  const auto described = read_json(folder / "config.json");
  Experiment experiment(config, dataset, folder, observer, stop);
  std::size_t done = 0;
  Sizes sizes;
  double seconds = 0;
  const auto environment = read_json(folder / "environment.json");
  try {
    // Some of PyTorch's sums depend on the number of threads.
    at::set_num_threads(environment.at("threads").get<int>());
    if (const auto checksum = described.at("data").at("crc32").get<std::string>(); checksum != dataset.checksum) {
      throw std::runtime_error("the data have changed since '" + folder.string() + "' was begun: their CRC-32 was " +
                               checksum + " and is " + dataset.checksum);
    }
    if (status.at("state") == "complete") {
      throw std::runtime_error("'" + folder.string() + "': the training is complete; `anact report` makes its report");
    }
    // Those of earlier versions have no settings.
    if (const auto settings = status.find("settings"); settings != status.end()) {
      check_settings(config, settings->get<std::string>(), folder);
    }
    status.at("runs_done").get_to(done);
    status.at("sizes").get_to(sizes);
    status.at("seconds").get_to(seconds);
  } catch (const nlohmann::json::exception& error) {
    throw std::runtime_error("'" + status_path.string() + "', or a JSON file beside it, is damaged: " + error.what());
  }
  if (done >= experiment.planned()) {
    throw std::runtime_error("'" + status_path.string() + "': runs_done is " + std::to_string(done) +
                             "; expected less than " + std::to_string(experiment.planned()));
  }
  auto run = experiment.make_run(done);
  const auto checkpoint = run->resume();
  check_sizes(folder, checkpoint.value_or(sizes));
  return experiment.train(std::move(run), done, sizes, checkpoint, seconds);
}

}  // namespace anact::train
