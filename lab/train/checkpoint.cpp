#include "train/checkpoint.h"

#include <algorithm>
#include <map>
#include <stdexcept>
#include <vector>

#include "io/json.h"
#include "io/safetensors.h"
#include "models/weights.h"
#include "text/words.h"

namespace anact::train {
namespace {

constexpr const char* kMetadata = "anact.run";
constexpr int kSchema = 1;
// What the names of the network's tensors begin with.
const std::string kNetwork = "network.";

nlohmann::ordered_json to_json(const RunState& state, const std::string& run) {
  return {{"schema", kSchema},
          {"run", run},
          {"epoch", state.epoch},
          {"batch", state.batch},
          {"step", state.step},
          {"loss", state.loss},
          {"correct", state.correct},
          {"samples", state.samples},
          {"seconds", state.seconds},
          {"seconds_waited", state.seconds_waited},
          {"best_accuracy", state.best_accuracy},
          {"run_seconds", state.run_seconds},
          {"sizes", state.sizes},
          {"events", state.events},
          {"origin", state.origin}};
}

RunState from_json(const nlohmann::ordered_json& json) {
  RunState state;
  json.at("epoch").get_to(state.epoch);
  json.at("batch").get_to(state.batch);
  json.at("step").get_to(state.step);
  json.at("loss").get_to(state.loss);
  json.at("correct").get_to(state.correct);
  json.at("samples").get_to(state.samples);
  json.at("seconds").get_to(state.seconds);
  json.at("seconds_waited").get_to(state.seconds_waited);
  json.at("best_accuracy").get_to(state.best_accuracy);
  json.at("run_seconds").get_to(state.run_seconds);
  json.at("sizes").get_to(state.sizes);
  json.at("events").get_to(state.events);
  state.origin = json.value("origin", "");
  return state;
}

// Every tensor that makes up a run's state; they share memory with the network and the optimizer.
models::NamedTensors tensors_of(const models::Network& network, const Optimizer& optimizer) {
  models::NamedTensors tensors;
  for (auto& [name, tensor] : models::state(network)) tensors.emplace_back(kNetwork + name, tensor);
  for (auto& [name, tensor] : optimizer.state()) tensors.emplace_back("optimizer." + name, tensor);
  return tensors;
}

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& what) {
  throw std::runtime_error("checkpoint '" + path.string() + "': " + what);
}

std::vector<std::filesystem::path> checkpoints_of(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> found;
  std::error_code missing;
  for (const auto& entry : std::filesystem::directory_iterator(folder, missing)) {
    const auto name = entry.path().filename().string();
    if (name.starts_with("step-") && entry.path().extension() == ".safetensors") found.push_back(entry.path());
  }
  std::ranges::sort(found);
  return found;
}

}  // namespace

void save_checkpoint(const std::filesystem::path& path, const std::string& run, const RunState& state,
                     const models::Network& network, const Optimizer& optimizer) {
  std::filesystem::create_directories(path.parent_path());
  auto metadata = models::description(network);
  metadata[kMetadata] = to_json(state, run).dump();
  models::save_tensors(path, tensors_of(network, optimizer), metadata);
}

RunState load_checkpoint(const std::filesystem::path& path, const std::string& run, models::Network& network,
                         Optimizer& optimizer) {
  const io::Safetensors file(path);
  const auto found = file.metadata().find(kMetadata);
  if (found == file.metadata().end()) fail(path, "holds no state of a run");
  RunState state;
  try {
    const auto json = io::parse_json<nlohmann::ordered_json>(found->second);
    if (json.at("schema") != kSchema) fail(path, "written by another version");
    if (json.at("run") != run) fail(path, "of the run " + json.at("run").dump() + "; expected \"" + run + "\"");
    state = from_json(json);
  } catch (const nlohmann::json::exception&) {
    fail(path, "the state in its metadata is damaged");
  } catch (const io::DeepJson& error) {
    fail(path, std::string("the state in its metadata is ") + error.what());
  }

  std::map<std::string, torch::Tensor> stored;
  for (auto& [name, tensor] : models::tensors_of(file)) stored.emplace(name, tensor);
  const auto targets = tensors_of(network, optimizer);
  for (const auto& [name, target] : targets) {
    const auto source = stored.find(name);
    if (source == stored.end()) fail(path, "has no tensor '" + name + "'");
    if (source->second.sizes() != target.sizes() || source->second.scalar_type() != target.scalar_type()) {
      fail(path, "the tensor '" + name + "' has another shape or type than the network's");
    }
  }
  if (stored.size() != targets.size()) fail(path, "holds tensors that the network has not");
  const torch::NoGradGuard no_grad;
  for (const auto& [name, target] : targets) target.copy_(stored.at(name));
  return state;
}

void load_network(models::Network& network, const std::filesystem::path& path) {
  const io::Safetensors file(path);
  auto tensors = models::tensors_of(file);
  if (file.metadata().contains(kMetadata)) {
    std::erase_if(tensors, [](const auto& named) { return !named.first.starts_with(kNetwork); });
    for (auto& named : tensors) named.first.erase(0, kNetwork.size());
  }
  models::load_weights(network, tensors, file.metadata(), path.string());
}

std::filesystem::path checkpoint_path(const std::filesystem::path& folder, std::int64_t step) {
  return folder / text::format("step-%012lld.safetensors", static_cast<long long>(step));
}

std::optional<std::filesystem::path> latest_checkpoint(const std::filesystem::path& folder) {
  auto found = checkpoints_of(folder);
  return found.empty() ? std::nullopt : std::optional(found.back());
}

void prune_checkpoints(const std::filesystem::path& folder, std::int64_t keep) {
  const auto found = checkpoints_of(folder);
  const auto surplus = static_cast<std::int64_t>(found.size()) - keep;
  for (std::int64_t i = 0; i < surplus; ++i) std::filesystem::remove(found[static_cast<std::size_t>(i)]);
}

}  // namespace anact::train
