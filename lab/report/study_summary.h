#pragma once
#include <string>
#include <utility>
#include <vector>

#include "report/study_rows.h"
namespace anact::report {
struct StudyArm {
  std::string name;
  std::string baseline;
  std::string text;
  std::string activation;
  bool normalized = false;
};
struct StudyExperiment {
  std::string name;
  std::string title;
  std::vector<std::pair<std::string, std::string>> settings;
  std::vector<StudyArm> arms;
  std::vector<TrialSetting> trials;
  std::uint64_t first_seed = 0;
  std::size_t seeds = 0;
  std::size_t trial_seeds = 0;
  std::size_t finalists = 0;
  double works_within = 0.05;
  std::size_t planned_runs = 0;
};
struct Study {
  std::string title;
  std::string question;
  std::string command;
  std::vector<StudyExperiment> experiments;
};
inline std::string study_csv(const Study&, const std::vector<StudyRow>&) { return ""; }
inline std::string study_table(const Study&, const std::vector<StudyRow>&) { return ""; }
inline std::string study_html(const Study&, const std::vector<StudyRow>&) { return ""; }
}  // namespace anact::report
