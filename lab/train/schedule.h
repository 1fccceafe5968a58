// The learning rate through a training.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace anact::train {

enum class ScheduleKind {
  constant,
  cosine,     // lr (1 + cos(pi t)) / 2 (Loshchilov and Hutter 2017, without restarts)
  step,       // lr gamma^k after the k-th milestone
  one_cycle,  // Smith and Topin (2018), with the defaults of torch.optim.lr_scheduler.OneCycleLR
};

// "constant", "cosine", "step", "one-cycle". Throws std::invalid_argument with the accepted names.
[[nodiscard]] ScheduleKind parse_schedule(std::string_view text);

struct Schedule {
  ScheduleKind kind = ScheduleKind::constant;
  double learning_rate = 0;  // the largest
  std::int64_t steps = 0;    // of the whole training
  // The rate rises in equal steps to the largest at this one, and the schedule begins there; one_cycle has its own
  // rise.
  std::int64_t warmup_steps = 0;
  std::vector<std::int64_t> milestones;  // in steps
  double gamma = 0.1;

  // Of the step with this number, counted from 0.
  [[nodiscard]] double rate(std::int64_t step) const;
};

}  // namespace anact::train
