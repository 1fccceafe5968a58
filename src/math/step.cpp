// CUDA compiles this file too.

#include "math/step.h"

namespace anact {

bool uses_batch(const StepOptions& options, std::int64_t batches_tracked) {
  if (options.statistics == StatisticsSource::fixed) return batches_tracked == 0 && options.init_batch;
  return batches_tracked < kStartBatches || options.statistics != StatisticsSource::previous;
}

bool updates(const StepOptions& options, bool first) {
  return options.statistics != StatisticsSource::fixed || (first && options.init_batch);
}

Statistics statistics_of_step(const StepOptions& options, const Statistics& running, std::int64_t batches_tracked,
                              const Moments& batch) {
  if (batch.count == 0 || !uses_batch(options, batches_tracked)) return running;
  const Statistics fresh = to_statistics(batch);
  if (!accepts(running, fresh, options.update.gate_low, options.update.gate_high)) return running;
  if (options.statistics == StatisticsSource::batch) return fresh;
  if (options.statistics != StatisticsSource::running && !replaces(running, fresh, batches_tracked)) return running;
  return blend(running, fresh, batch_weight(running, fresh, batches_tracked, options.update.momentum));
}

Fate take_batch(const StepOptions& options, Statistics& running, std::int64_t batches_tracked, const Moments& batch) {
  if (batch.count == 0 || !updates(options, batches_tracked == 0)) return Fate::ignored;
  const Statistics fresh = to_statistics(batch);
  if (!accepts(running, fresh, options.update.gate_low, options.update.gate_high)) return Fate::skipped;
  running = blend(running, fresh, batch_weight(running, fresh, batches_tracked, options.update.momentum));
  return Fate::accepted;
}

}  // namespace anact
