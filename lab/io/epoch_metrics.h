// What a training measures in each epoch: one table, from which the run's files are written and the report read.
#pragma once

#include <array>
#include <optional>
#include <string_view>
#include <variant>

namespace anact::io {

struct EpochMetrics {
  std::optional<double> learning_rate;  // of the epoch's last step
  std::optional<double> train_loss;
  std::optional<double> train_accuracy;
  std::optional<double> validation_loss;  // where images were split off
  std::optional<double> validation_accuracy;
  double test_loss = 0;
  double test_accuracy = 0;
  std::optional<double> test_top5;  // the label among the five largest logits
  std::optional<double> seconds;
  std::optional<double> seconds_waited;
};

enum class Unit { rate, nats, fraction, seconds };

enum class Presence {
  always,
  trained,  // absent in epoch 0, which is before the first step
  newer,    // a reader does without, since not every folder has it
};

struct Metric {
  std::string_view name;  // of the member in metrics.jsonl and the column of metrics.csv
  std::variant<double EpochMetrics::*, std::optional<double> EpochMetrics::*> member;
  Presence presence;
  Unit unit;
  std::string_view title;  // in the report
  std::string_view tag;    // in TensorBoard; empty: not there

  [[nodiscard]] std::optional<double> of(const EpochMetrics& metrics) const {
    return std::visit([&](auto field) { return std::optional<double>(metrics.*field); }, member);
  }
  void set(EpochMetrics& metrics, double value) const {
    std::visit([&](auto field) { metrics.*field = value; }, member);
  }
};

inline constexpr std::array kMetrics = std::to_array<Metric>({
    {"learning_rate", &EpochMetrics::learning_rate, Presence::newer, Unit::rate, "Learning rate", ""},
    {"train_loss", &EpochMetrics::train_loss, Presence::trained, Unit::nats, "Training loss", "train/loss"},
    {"train_accuracy", &EpochMetrics::train_accuracy, Presence::trained, Unit::fraction, "Training accuracy",
     "train/accuracy"},
    {"validation_loss", &EpochMetrics::validation_loss, Presence::newer, Unit::nats, "Validation loss",
     "validation/loss"},
    {"validation_accuracy", &EpochMetrics::validation_accuracy, Presence::newer, Unit::fraction, "Validation accuracy",
     "validation/accuracy"},
    {"test_loss", &EpochMetrics::test_loss, Presence::always, Unit::nats, "Test loss", "test/loss"},
    {"test_accuracy", &EpochMetrics::test_accuracy, Presence::always, Unit::fraction, "Accuracy", "test/accuracy"},
    {"test_top5", &EpochMetrics::test_top5, Presence::newer, Unit::fraction, "Top 5", "test/top5"},
    {"seconds", &EpochMetrics::seconds, Presence::trained, Unit::seconds, "Seconds", ""},
    {"seconds_waited", &EpochMetrics::seconds_waited, Presence::newer, Unit::seconds, "Waited, s", ""},
});

}  // namespace anact::io
