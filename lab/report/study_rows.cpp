#include "report/study_rows.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <utility>
#include <variant>

#include "page/text.h"
#include "report/statistics.h"
#include "text/csv.h"

namespace anact::report {
namespace {

using Curve = std::vector<double>;

struct Column {
  std::string_view name;
  std::variant<std::string StudyRow::*, std::int64_t StudyRow::*, std::uint64_t StudyRow::*, double StudyRow::*,
               double TrialSetting::*, bool StudyRow::*, Curve StudyRow::*>
      member;
};

constexpr std::array kColumns = std::to_array<Column>({
    {"experiment", &StudyRow::experiment},
    {"arm", &StudyRow::arm},
    {"lr", &TrialSetting::learning_rate},
    {"weight_decay", &TrialSetting::weight_decay},
    {"seed", &StudyRow::seed},
    {"key", &StudyRow::key},
    {"classes", &StudyRow::classes},
    {"status", &StudyRow::diverged},
    {"epochs", &StudyRow::epochs},
    {"steps", &StudyRow::steps},
    {"train_loss", &StudyRow::train_loss},
    {"train_accuracy", &StudyRow::train_accuracy},
    {"validation_accuracy", &StudyRow::validation_accuracy},
    {"test_loss", &StudyRow::test_loss},
    {"test_accuracy", &StudyRow::test_accuracy},
    {"loss_area", &StudyRow::loss_area},
    {"forward_property", &StudyRow::forward_property},
    {"backward_property", &StudyRow::backward_property},
    {"forward_growth", &StudyRow::forward_growth},
    {"backward_growth", &StudyRow::backward_growth},
    {"seconds", &StudyRow::seconds},
    {"processor", &StudyRow::processor},
    {"instruction_set", &StudyRow::instruction_set},
    {"threads", &StudyRow::threads},
    {"version", &StudyRow::version},
    {"train_losses", &StudyRow::train_losses},
    {"train_accuracies", &StudyRow::train_accuracies},
    {"validation_accuracies", &StudyRow::validation_accuracies},
    {"test_accuracies", &StudyRow::test_accuracies},
});

// Digits after which the numbers of a row are as good as exact, and those of a curve are enough to draw it.
constexpr int kDigits = 9;
constexpr int kCurveDigits = 4;

std::string number_text(double value, int digits) { return std::isnan(value) ? "" : page::significant(value, digits); }

std::string curve_text(const Curve& curve) {
  std::string text;
  for (const double value : curve) {
    if (!text.empty()) text += ' ';
    text += number_text(value, kCurveDigits);
  }
  return text;
}

std::string field(const StudyRow& row, const Column& column) {
  return std::visit(
      [&](auto member) -> std::string {
        if constexpr (std::is_same_v<decltype(member), double TrialSetting::*>) {
          return page::exact(row.setting.*member);  // runs are told apart by it
        } else {
          const auto& value = row.*member;
          using Value = std::remove_cvref_t<decltype(value)>;
          if constexpr (std::is_same_v<Value, std::string>) {
            return value;
          } else if constexpr (std::is_same_v<Value, bool>) {
            return value ? "diverged" : "completed";
          } else if constexpr (std::is_same_v<Value, double>) {
            return number_text(value, kDigits);
          } else if constexpr (std::is_same_v<Value, Curve>) {
            return curve_text(value);
          } else {
            return std::to_string(value);
          }
        }
      },
      column.member);
}

Curve read_curve(const text::CsvTable& table, std::size_t row, std::size_t column) {
  Curve curve;
  std::string_view rest = table.text(row, column);
  while (!rest.empty()) {
    const auto item = rest.substr(0, rest.find(' '));
    const auto value = text::number<double>(item);
    if (!value) table.fail_field(row, column, "numbers with a space between them");
    curve.push_back(*value);
    rest.remove_prefix(std::min(rest.size(), item.size() + 1));
  }
  return curve;
}

void read_field(const text::CsvTable& table, std::size_t row, std::size_t column, StudyRow& result) {
  const auto number = [&] { return table.text(row, column).empty() ? kUnknown : table.number(row, column); };
  std::visit(
      [&](auto member) {
        if constexpr (std::is_same_v<decltype(member), double TrialSetting::*>) {
          result.setting.*member = table.number(row, column);
        } else {
          auto& value = result.*member;
          using Value = std::remove_cvref_t<decltype(value)>;
          if constexpr (std::is_same_v<Value, std::string>) {
            value = table.text(row, column);
            if (value.empty()) table.fail_field(row, column, "a text");
          } else if constexpr (std::is_same_v<Value, bool>) {
            const auto& status = table.text(row, column);
            if (status != "completed" && status != "diverged") {
              table.fail_field(row, column, "completed or diverged");
            }
            value = status == "diverged";
          } else if constexpr (std::is_same_v<Value, double>) {
            value = number();
          } else if constexpr (std::is_same_v<Value, Curve>) {
            value = read_curve(table, row, column);
          } else {
            // A chance of guessing right needs classes.
            const bool classes = kColumns[column].name == "classes";
            const auto whole = table.integer(row, column);
            if (whole < (classes ? 1 : 0)) {
              table.fail_field(row, column, std::string("a whole number from ") + (classes ? "1" : "0") + " up");
            }
            value = static_cast<Value>(whole);
          }
        }
      },
      kColumns[column].member);
}

double mean_of(const Tried& tried, double StudyRow::*member) {
  if (tried.diverged > 0 || tried.rows.empty()) return kUnknown;
  std::vector<double> values;
  for (const auto* row : tried.rows) values.push_back(row->*member);
  return mean(values);
}

}  // namespace

std::string study_header() {
  std::vector<std::string> names;
  for (const auto& column : kColumns) names.emplace_back(column.name);
  return text::csv_row(names);
}

std::string to_csv(const StudyRow& row) {
  std::vector<std::string> fields;
  for (const auto& column : kColumns) fields.push_back(field(row, column));
  return text::csv_row(fields);
}

std::vector<StudyRow> parse_study_rows(std::string_view text, std::string_view source) {
  if (const auto end = text.rfind('\n'); end != std::string_view::npos) text = text.substr(0, end + 1);
  const text::CsvTable table(text, source);
  for (std::size_t i = 0; i < std::max(kColumns.size(), table.header().size()); ++i) {
    const auto name = [](bool there, std::string_view what) {
      return there ? "'" + std::string(what) + "'" : std::string("the end of the line");
    };
    const auto expected = name(i < kColumns.size(), i < kColumns.size() ? kColumns[i].name : "");
    const auto found = name(i < table.header().size(), i < table.header().size() ? table.header()[i] : "");
    if (expected != found) {
      table.fail_header("column " + std::to_string(i + 1) + ": expected " + expected + ", found " + found);
    }
  }
  std::vector<StudyRow> rows(table.size());
  for (std::size_t row = 0; row < rows.size(); ++row) {
    for (std::size_t column = 0; column < kColumns.size(); ++column) read_field(table, row, column, rows[row]);
  }
  return rows;
}

double Tried::validation_accuracy() const { return mean_of(*this, &StudyRow::validation_accuracy); }

double Tried::test_accuracy() const { return mean_of(*this, &StudyRow::test_accuracy); }

Tried at_seeds(const Tried& tried, std::uint64_t first_seed, std::size_t seeds) {
  Tried result{.setting = tried.setting};
  for (const auto* row : tried.rows) {
    if (row->seed < first_seed || row->seed - first_seed >= seeds) continue;
    result.rows.push_back(row);
    result.diverged += row->diverged;
  }
  return result;
}

std::vector<Tried> tried(std::span<const StudyRow> rows, std::string_view experiment, std::string_view arm) {
  std::vector<Tried> result;
  for (const auto& row : rows) {
    if (row.experiment != experiment || row.arm != arm) continue;
    auto found = std::ranges::find(result, row.setting, &Tried::setting);
    if (found == result.end()) found = result.insert(found, Tried{.setting = row.setting});
    found->rows.push_back(&row);
    found->diverged += row.diverged;
  }
  std::ranges::sort(result, {}, &Tried::setting);
  for (auto& one : result) std::ranges::sort(one.rows, {}, &StudyRow::seed);
  return result;
}

std::optional<TrialSetting> choose(std::span<const Tried> tried, std::uint64_t first_seed, std::size_t seeds) {
  std::optional<TrialSetting> best;
  double best_accuracy = 0;
  for (const auto& one : tried) {
    const auto of_trials = at_seeds(one, first_seed, seeds);
    if (of_trials.rows.size() < seeds || of_trials.diverged > 0) continue;
    const double accuracy = tried.size() == 1 ? 0 : of_trials.validation_accuracy();
    if (std::isnan(accuracy)) continue;
    if (!best || accuracy > best_accuracy) {
      best = one.setting;
      best_accuracy = accuracy;
    }
  }
  return best;
}

}  // namespace anact::report
