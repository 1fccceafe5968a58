#include "train/run_folder.h"

#include <stdexcept>
#include <vector>

#include "io/epoch_metrics.h"
#include "text/csv.h"

namespace anact::train {
namespace {

// The columns of metrics.csv.
std::vector<std::string> columns() {
  std::vector<std::string> names{"arm", "seed", "epoch", "step"};
  for (const auto& metric : io::kMetrics) names.emplace_back(metric.name);
  return names;
}

// A member that the event has not is left empty.
std::string row(const nlohmann::json& event) {
  std::vector<std::string> fields;
  for (const auto& column : columns()) {
    const auto found = event.find(column);
    fields.push_back(found == event.end() ? "" : found->is_string() ? found->get<std::string>() : found->dump());
  }
  return text::csv_row(fields);
}

constexpr const char* kMetrics = "metrics.jsonl";
constexpr const char* kTable = "metrics.csv";
constexpr const char* kLog = "log.txt";

std::optional<std::int64_t> size_of(const std::optional<Sizes>& sizes, std::int64_t Sizes::*member) {
  return sizes ? std::optional((*sizes).*member) : std::nullopt;
}

}  // namespace

void to_json(nlohmann::ordered_json& json, const Sizes& sizes) {
  json = {{"metrics", sizes.metrics}, {"table", sizes.table}, {"log", sizes.log}};
}

void from_json(const nlohmann::ordered_json& json, Sizes& sizes) {
  json.at("metrics").get_to(sizes.metrics);
  json.at("table").get_to(sizes.table);
  json.at("log").get_to(sizes.log);
}

void check_sizes(const std::filesystem::path& folder, const Sizes& sizes) {
  const auto check = [&](const char* name, std::int64_t expected) {
    const auto path = folder / name;
    std::error_code missing;
    const auto size = std::filesystem::file_size(path, missing);
    if (!missing && size >= static_cast<std::uintmax_t>(expected)) return;
    throw std::runtime_error("'" + path.string() +
                             "': " + (missing ? "missing" : "has " + std::to_string(size) + " bytes") +
                             "; expected at least " + std::to_string(expected) + " bytes from before");
  };
  check(kMetrics, sizes.metrics);
  check(kTable, sizes.table);
  check(kLog, sizes.log);
}

RunFolder::RunFolder(const std::filesystem::path& folder, const std::optional<Sizes>& sizes)
    : metrics_(folder / kMetrics, size_of(sizes, &Sizes::metrics)),
      table_(folder / kTable, size_of(sizes, &Sizes::table)),
      log_(folder / kLog, size_of(sizes, &Sizes::log)) {
  if (table_.size() == 0) table_.append(text::csv_row(columns()));
}

void RunFolder::event(const nlohmann::json& event) {
  metrics_.append(event);
  if (event.at("event") == "epoch") table_.append(row(event));
}

void RunFolder::log(const std::string& line) { log_.append(line + "\n"); }

void RunFolder::flush() {
  metrics_.flush();
  table_.flush();
  log_.flush();
}

Sizes RunFolder::sizes() const { return {.metrics = metrics_.size(), .table = table_.size(), .log = log_.size()}; }

std::string json_text(const nlohmann::ordered_json& value) {
  return value.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace anact::train
