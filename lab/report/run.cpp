#include "report/run.h"

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "io/atomic_file.h"
#include "io/json.h"

namespace anact::report {
namespace {

using Json = nlohmann::ordered_json;

[[noreturn]] void fail(const std::string& where, const std::string& what) {
  throw std::runtime_error(where + ": " + what);
}

// The library's message ends with what was wrong; its place within the text is given by the caller, in the file.
std::string reason_of(const Json::parse_error& error) {
  const std::string text = error.what();
  const std::size_t place = text.find("column ");
  const std::size_t start = text.find(": ", place == std::string::npos ? 0 : place);
  return start == std::string::npos ? text : text.substr(start + 2);
}

// One JSON object, and where it stands for the messages.
class Reader {
 public:
  Reader(std::string where, const Json& value, std::string prefix = "")
      : where_(std::move(where)), prefix_(std::move(prefix)), value_(value) {
    if (!value.is_object()) {
      const std::string name = prefix_.empty() ? "" : "'" + prefix_.substr(0, prefix_.size() - 1) + "': ";
      fail(where_, name + "expected an object, found " + kind(value));
    }
  }

  [[nodiscard]] const Json& value() const { return value_; }
  [[nodiscard]] bool has(const char* name) const { return value_.contains(name); }

  [[nodiscard]] std::string text(const char* name) const {
    return get(name, "a string", &Json::is_string).get<std::string>();
  }

  [[nodiscard]] std::uint64_t count(const char* name) const {
    return get(name, "a whole number from 0 up", &Json::is_number_unsigned).get<std::uint64_t>();
  }

  [[nodiscard]] double number(const char* name) const { return to_number(name, get(name, number_type)); }

  [[nodiscard]] std::vector<double> numbers(const char* name) const {
    std::vector<double> numbers;
    for (const Json& item : list(name, "an array of numbers")) {
      numbers.push_back(to_number(name + ("[" + std::to_string(numbers.size()) + "]"), item));
    }
    return numbers;
  }

  [[nodiscard]] const Json& list(const char* name, const char* type) const { return get(name, type, &Json::is_array); }

  [[nodiscard]] Reader object(const char* name) const {
    return Reader(where_, get(name, "an object"), prefix_ + name + ".");
  }

  [[noreturn]] void wrong(const std::string& name, const std::string& message) const {
    fail(where_, "'" + prefix_ + name + "': " + message);
  }

  [[nodiscard]] static std::string kind(const Json& value) {
    const std::string name = value.type_name();
    if (value.is_null()) return name;
    return (name.find_first_of("aeiou") == 0 ? "an " : "a ") + name;
  }

 private:
  static constexpr const char* number_type = "a number, \"nan\", \"inf\" or \"-inf\"";

  const Json& get(const char* name, const char* type) const {
    const auto found = value_.find(name);
    if (found == value_.end()) wrong(name, std::string("missing, expected ") + type);
    return *found;
  }

  const Json& get(const char* name, const char* type, bool (Json::*is)() const noexcept) const {
    const Json& value = get(name, type);
    if (!(value.*is)()) wrong(name, std::string("expected ") + type + ", found " + described(value));
    return value;
  }

  [[nodiscard]] double to_number(const std::string& name, const Json& value) const {
    if (value.is_number()) return value.get<double>();
    if (value == "nan") return std::numeric_limits<double>::quiet_NaN();
    if (value == "inf") return std::numeric_limits<double>::infinity();
    if (value == "-inf") return -std::numeric_limits<double>::infinity();
    wrong(name, std::string("expected ") + number_type + ", found " + described(value));
  }

  static std::string described(const Json& value) {
    if (value.is_number() || value.is_string()) return value.dump(-1, ' ', false, Json::error_handler_t::replace);
    return kind(value);
  }

  std::string where_;
  std::string prefix_;
  const Json& value_;
};

std::string scalar_text(const Json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void flatten(const Json& object, const std::string& prefix, const std::vector<std::string>& without, Fields& fields) {
  for (const auto& [name, value] : object.items()) {
    if (std::find(without.begin(), without.end(), prefix + name) != without.end()) continue;
    if (value.is_object()) {
      flatten(value, prefix + name + ".", without, fields);
    } else {
      fields.emplace_back(prefix + name, scalar_text(value));
    }
  }
}

Fields flatten(const Json& object, const std::vector<std::string>& without = {}) {
  Fields fields;
  flatten(object, "", without, fields);
  return fields;
}

std::string quoted(const std::filesystem::path& path) { return "'" + path.string() + "'"; }

Json parse_file(const std::filesystem::path& path) {
  const std::string text = io::read_file(path);
  try {
    return io::parse_json<Json>(text);
  } catch (const io::DeepJson& error) {
    fail(quoted(path), error.what());
  } catch (const Json::parse_error& error) {
    const std::size_t byte = std::min(error.byte, text.size());
    const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(byte), '\n');
    fail(quoted(path) + ", line " + std::to_string(line) + ", byte " + std::to_string(error.byte),
         "malformed JSON: " + reason_of(error));
  }
}

std::optional<std::size_t> arm_called(const Run& run, const std::string& name) {
  for (std::size_t i = 0; i < run.arms.size(); ++i) {
    if (run.arms[i].name == name) return i;
  }
  return std::nullopt;
}

void load_configuration(const std::filesystem::path& path, Run& run) {
  const Json json = parse_file(path);
  const Reader config(quoted(path), json);
  if (const std::uint64_t schema = config.count("schema"); schema != 1) {
    config.wrong("schema", "expected 1, found " + std::to_string(schema) + ": written by another version");
  }
  constexpr std::array kCommands{"compare", "train", "probe", "study"};
  if (const auto command = config.text("command"); std::ranges::find(kCommands, command) == kCommands.end()) {
    config.wrong("command", "expected \"compare\", \"train\", \"probe\" or \"study\", found \"" + command + "\"");
  }
  run.configuration = json.dump(2, ' ', false, Json::error_handler_t::replace);
  if (config.has("preset")) run.preset = config.text("preset");
  if (config.has("arguments")) {
    for (const Json& argument : config.list("arguments", "an array of strings")) {
      if (!argument.is_string()) config.wrong("arguments", "expected an array of strings");
      run.arguments.push_back(argument.get<std::string>());
    }
  }
  const Reader data = config.object("data");
  run.data_name = data.text("name");
  run.data = flatten(data.value(), {"name"});
  const Reader model = config.object("model");
  run.model_name = model.text("name");
  run.model = flatten(model.value(), {"name"});
  run.training = flatten(config.object("training").value());

  const char* seeds_type = "an array of at least one whole number from 0 up, each once";
  for (const Json& seed : config.list("seeds", seeds_type)) {
    if (!seed.is_number_unsigned()) config.wrong("seeds", std::string("expected ") + seeds_type);
    const auto value = seed.get<std::uint64_t>();
    if (std::find(run.seeds.begin(), run.seeds.end(), value) != run.seeds.end()) {
      config.wrong("seeds", std::to_string(value) + " is there twice");
    }
    run.seeds.push_back(value);
  }
  if (run.seeds.empty()) config.wrong("seeds", std::string("expected ") + seeds_type);

  const Json& arms = config.list("arms", "an array of at least one object");
  if (arms.empty()) config.wrong("arms", "expected an array of at least one object");
  std::vector<std::string> baselines;
  const std::string shared_baseline = config.text("baseline");
  for (const Json& item : arms) {
    const Reader arm(quoted(path), item, "arms[" + std::to_string(run.arms.size()) + "].");
    const std::string name = arm.text("name");
    if (arm_called(run, name)) arm.wrong("name", "a second arm called \"" + name + "\"");
    baselines.push_back(arm.has("baseline") ? arm.text("baseline") : shared_baseline);
    run.arms.push_back({name, std::nullopt, flatten(item, {"name"})});
  }
  if (!arm_called(run, shared_baseline)) config.wrong("baseline", "no arm is called \"" + shared_baseline + "\"");
  for (std::size_t i = 0; i < run.arms.size(); ++i) {
    const auto baseline = arm_called(run, baselines[i]);
    if (!baseline) {
      config.wrong("arms[" + std::to_string(i) + "].baseline", "no arm is called \"" + baselines[i] + "\"");
    }
    if (*baseline != i) run.arms[i].baseline = baseline;
  }
}

void load_status(const std::filesystem::path& path, Run& run) {
  const Json json = parse_file(path);
  const Reader status(quoted(path), json);
  const std::string state = status.text("state");
  if (state != "running" && state != "partial" && state != "complete") {
    status.wrong("state", "expected \"running\", \"partial\" or \"complete\", found \"" + state + "\"");
  }
  run.seconds = status.number("seconds");
  run.reason = status.text("reason");
  run.partial = state != "complete";
  if (state == "running") run.reason = "it is still running, or was killed";
}

// Adds one line to the trial it belongs to.
void add_event(const Reader& line, const std::string& event, Trial& trial) {
  const auto expect_later = [&](std::uint64_t epoch, const auto& earlier) {
    if (!earlier.empty() && epoch <= earlier.back().epoch) {
      line.wrong("epoch",
                 "expected one after " + std::to_string(earlier.back().epoch) + ", found " + std::to_string(epoch));
    }
  };
  if (event == "epoch") {
    Epoch epoch;
    epoch.epoch = line.count("epoch");
    expect_later(epoch.epoch, trial.epochs);
    const auto read = [&](io::Presence presence) {
      for (const auto& metric : io::kMetrics) {
        const std::string name(metric.name);
        if (metric.presence != presence || (presence == io::Presence::newer && !line.has(name.c_str()))) continue;
        metric.set(epoch, line.number(name.c_str()));
      }
    };
    read(io::Presence::always);
    if (epoch.epoch > 0) read(io::Presence::trained);
    read(io::Presence::newer);
    trial.epochs.push_back(epoch);
  } else if (event == "layers") {
    Layers layers;
    layers.epoch = line.count("epoch");
    expect_later(layers.epoch, trial.layers);
    layers.activation_second_moment = line.numbers("activation_second_moment");
    layers.gradient_variance = line.numbers("gradient_variance");
    if (line.has("lambda")) layers.lambda = line.numbers("lambda");
    trial.layers.push_back(std::move(layers));
  } else if (event == "diverged") {
    trial.outcome = Outcome::diverged;
    trial.divergence = "epoch " + std::to_string(line.count("epoch"));
    trial.divergence += ", step " + std::to_string(line.count("step"));
    trial.divergence += ": " + line.text("reason");
  } else if (event == "finished") {
    const std::string status = line.text("status");
    if (status != "completed" && status != "diverged") {
      line.wrong("status", "expected \"completed\" or \"diverged\", found \"" + status + "\"");
    }
    if ((trial.outcome == Outcome::diverged) != (status == "diverged")) {
      line.wrong("status", status == "diverged" ? "\"diverged\" without a line that says where"
                                                : "\"completed\" after the run had diverged");
    }
    if (status == "completed" && trial.epochs.empty()) line.wrong("status", "\"completed\" without an epoch");
    if (status == "completed") trial.outcome = Outcome::completed;
    trial.skipped_batches = line.count("skipped_batches");
  } else {
    line.wrong("event", "expected \"epoch\", \"layers\", \"diverged\" or \"finished\", found \"" + event + "\"");
  }
}

void load_metrics(const std::filesystem::path& path, Run& run) {
  struct Progress {
    Trial trial;
    bool finished = false;
  };
  std::map<std::pair<std::size_t, std::size_t>, Progress> trials;  // by arm, then by the seed's place in the list
  const std::string text = io::read_file(path);
  std::size_t number = 0;
  std::size_t start = 0;
  for (std::size_t end; (end = text.find('\n', start)) != std::string::npos; start = end + 1) {
    const std::string where = quoted(path) + ", line " + std::to_string(++number);
    Json json;
    try {
      json = io::parse_json<Json>(std::string_view(text).substr(start, end - start));
    } catch (const io::DeepJson& error) {
      fail(where, error.what());
    } catch (const Json::parse_error& error) {
      fail(where + ", byte " + std::to_string(error.byte), "malformed JSON: " + reason_of(error));
    }
    const Reader line(where, json);
    const std::string event = line.text("event");
    const std::string name = line.text("arm");
    const auto arm = arm_called(run, name);
    if (!arm) line.wrong("arm", "expected an arm of config.json, found \"" + name + "\"");
    const std::uint64_t seed = line.count("seed");
    const auto place = std::find(run.seeds.begin(), run.seeds.end(), seed);
    if (place == run.seeds.end()) {
      line.wrong("seed", "expected a seed of config.json, found " + std::to_string(seed));
    }
    Progress& progress = trials[{*arm, static_cast<std::size_t>(place - run.seeds.begin())}];
    if (progress.finished || (progress.trial.outcome == Outcome::diverged && event != "finished")) {
      line.wrong("event", "\"" + event + "\" after this run had ended");
    }
    progress.trial.arm = *arm;
    progress.trial.seed = seed;
    add_event(line, event, progress.trial);
    progress.finished = event == "finished";
  }
  for (auto& [key, progress] : trials) run.trials.push_back(std::move(progress.trial));

  const std::string count = std::to_string(run.ended()) + " of " + std::to_string(run.planned()) + " runs";
  if (start < text.size() && !run.partial) {
    run.partial = true;
    run.reason = "metrics.jsonl ends within a line";
  } else if (run.ended() < run.planned() && !run.partial) {
    run.partial = true;
    run.reason = "metrics.jsonl holds the end of only " + count;
  }
}

}  // namespace

std::size_t Run::ended() const {
  return static_cast<std::size_t>(std::count_if(
      trials.begin(), trials.end(), [](const Trial& trial) { return trial.outcome != Outcome::unfinished; }));
}

std::vector<const Trial*> Run::trials_of(std::size_t arm) const {
  std::vector<const Trial*> found;
  for (const Trial& trial : trials) {
    if (trial.arm == arm) found.push_back(&trial);
  }
  return found;
}

Run load_run(const std::filesystem::path& folder) {
  for (const char* name : {"config.json", "environment.json", "status.json", "metrics.jsonl"}) {
    if (!std::filesystem::is_regular_file(folder / name)) {
      fail(quoted(folder), std::string("not a run folder: expected a file '") + name + "' in it");
    }
  }
  Run run;
  load_configuration(folder / "config.json", run);
  const Json environment = parse_file(folder / "environment.json");
  run.environment = flatten(Reader(quoted(folder / "environment.json"), environment).value());
  load_status(folder / "status.json", run);
  load_metrics(folder / "metrics.jsonl", run);
  return run;
}

}  // namespace anact::report
