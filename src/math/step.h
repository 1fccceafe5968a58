// The rules of a training step, which each processor's kernels share.
#pragma once

#include <cstdint>

#include "anact/moments.h"
#include "anact/normalization.h"

namespace anact {

struct Options;

// The options that a step's numbers go by, as plain data.
struct StepOptions {
  NormalizationOptions normalization;
  UpdateOptions update;
  StatisticsSource statistics = StatisticsSource::previous;
  bool init_batch = false;
};

[[nodiscard]] StepOptions to_step_options(const Options& options);

// Whether a training step's factors may come from its batch, after `batches_tracked` earlier ones: for `previous` while
// the start lasts, since the batch may replace what was before it.
[[nodiscard]] bool uses_batch(const StepOptions& options, std::int64_t batches_tracked);

// Whether a training step takes its batch into the running statistics.
[[nodiscard]] bool updates(const StepOptions& options, bool first);

// The statistics that a training step's factors are of.
[[nodiscard]] Statistics statistics_of_step(const StepOptions& options, const Statistics& running,
                                            std::int64_t batches_tracked, const Moments& batch);

// What becomes of a batch.
enum class Fate : std::uint8_t {
  ignored,   // it has no elements, or statistics do not follow
  skipped,   // it says nothing of gains, or the gate keeps it out
  accepted,  // it is in the statistics
};

// Takes a batch into the running statistics.
[[nodiscard]] Fate take_batch(const StepOptions& options, Statistics& running, std::int64_t batches_tracked,
                              const Moments& batch);

}  // namespace anact
