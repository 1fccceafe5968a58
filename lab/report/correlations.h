// Whether arms that are closer to the normalization property train faster: rank correlations over the arms of an
// experiment whose rows carry distances.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "report/study_rows.h"
#include "report/study_summary.h"

namespace anact::report {

// Spearman's rank correlation, with average ranks for ties. Infinities are ranked, NaN may not occur. None when one
// side is constant, or of fewer than two pairs.
[[nodiscard]] std::optional<double> spearman(std::span<const double> x, std::span<const double> y);

// The 95 % percentile interval of spearman() over 10,000 samples of the pairs with replacement, the same everywhere.
// Samples in which a side is constant are left out; none when all of them are.
[[nodiscard]] std::optional<std::pair<double, double>> spearman_interval(std::span<const double> x,
                                                                         std::span<const double> y);

struct Correlation {
  std::string distance;   // "forward_property", …, "property" for the mean of both directions
  std::string outcome;    // "loss_area", "test_accuracy", "epochs_to_90", … of training accuracy in percent
  std::string arms;       // "all", "never diverged", "family silu"
  std::size_t count = 0;  // arms that have both
  std::optional<double> value;
  std::optional<std::pair<double, double>> interval;  // none for a family
};

// Whether any row of the experiment has a distance.
[[nodiscard]] bool has_distances(const StudyExperiment& experiment, std::span<const StudyRow> rows);

// Over arms at their chosen setting, each of which is one point, the mean of its seeds; so what the bootstrap draws is
// arms with all their seeds. An arm that was tried at a single setting is taken there, though it diverged. An arm that
// a distance or an outcome is not known of, for any of its seeds, is left out of that correlation; one with a seed that
// never reached a training accuracy is ranked last in it. Families are the activations with at least four arms.
[[nodiscard]] std::vector<Correlation> correlations(const StudyExperiment& experiment, std::span<const StudyRow> rows);

// RFC 4180: experiment,distance,outcome,arms,count,spearman,low,high; of the experiments that have distances.
[[nodiscard]] std::string correlations_csv(const Study& study, std::span<const StudyRow> rows);

// A row for each outcome and group of arms, a column a distance, for the terminal and Markdown.
[[nodiscard]] std::string correlations_table(std::span<const Correlation> correlations);

// What they show of the distance from the property and the loss area, in words.
[[nodiscard]] std::string correlations_conclusion(std::span<const Correlation> correlations);

// The section of the study's page, given as HTML.
[[nodiscard]] std::string correlations_html(const StudyExperiment& experiment, std::span<const StudyRow> rows);

}  // namespace anact::report
