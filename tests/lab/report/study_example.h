// Rows of studies to test with.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "report/study_summary.h"

namespace anact::report::test {

// A run that completed, of which nothing is known.
inline StudyRow row_of(const std::string& experiment, const std::string& arm, TrialSetting setting,
                       std::uint64_t seed) {
  StudyRow row;
  row.experiment = experiment;
  row.arm = arm;
  row.setting = setting;
  row.seed = seed;
  row.key = "0123";
  row.classes = 10;
  row.processor = "A processor";
  row.instruction_set = "AVX2";
  row.threads = 1;
  row.version = "1.2.3";
  return row;
}

// Rows of one experiment "e", whose runs each take as many seconds as their seed is above 10.
struct Rows {
  std::vector<StudyRow> all;

  // A run a seed from `first_seed` on, with these test accuracies, NaN for one that diverged; on validation images two
  // points worse.
  Rows& add(const std::string& arm, TrialSetting setting, const std::vector<double>& accuracies,
            std::uint64_t first_seed = 0) {
    for (std::size_t i = 0; i < accuracies.size(); ++i) {
      StudyRow row = row_of("e", arm, setting, first_seed + i);
      row.diverged = std::isnan(accuracies[i]);
      row.test_accuracy = accuracies[i];
      row.validation_accuracy = accuracies[i] - 0.02;
      row.seconds = 10 + static_cast<double>(row.seed);
      row.epochs = row.diverged ? 1 : 2;
      row.train_losses = {2, 1};
      row.train_accuracies = {0.3, 0.6};
      row.validation_accuracies = {0.1, row.validation_accuracy};
      row.test_accuracies = {0.2, row.test_accuracy};
      if (row.diverged) {
        for (auto* curve :
             {&row.train_losses, &row.train_accuracies, &row.validation_accuracies, &row.test_accuracies}) {
          curve->pop_back();
        }
      }
      all.push_back(row);
    }
    return *this;
  }
};

}  // namespace anact::report::test
