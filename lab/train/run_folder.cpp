#include "train/run_folder.h"

#include <array>
#include <stdexcept>
#include <string_view>

#include "text/csv.h"

namespace anact::train {
namespace {

// The columns of metrics.csv; a member that an event has not is left empty.
constexpr std::array<std::string_view, 12> kColumns{"arm",           "seed",       "epoch",          "step",
                                                    "learning_rate", "train_loss", "train_accuracy", "test_loss",
                                                    "test_accuracy", "test_top5",  "seconds",        "seconds_waited"};

std::string row(const nlohmann::json& event) {
  std::string text;
  for (const auto column : kColumns) {
    if (column != kColumns.front()) text += ',';
    const auto found = event.find(std::string(column));
    if (found == event.end()) continue;
    text += found->is_string() ? text::csv_field(found->get<std::string>()) : found->dump();
  }
  return text + "\n";
}

std::string header() {
  std::string text;
  for (const auto column : kColumns) text.append(text.empty() ? "" : ",").append(column);
  return text + "\n";
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
  if (table_.size() == 0) table_.append(header());
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
