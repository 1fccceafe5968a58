#include "train/schedule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>

namespace anact::train {
namespace {

TEST(Schedule, Constant) {
  const Schedule schedule{.learning_rate = 0.3, .steps = 10, .milestones = {}};
  for (std::int64_t step = 0; step < 10; ++step) EXPECT_EQ(schedule.rate(step), 0.3);
}

TEST(Schedule, CosineFallsFromTheLargestTowardsZero) {
  const Schedule schedule{.kind = ScheduleKind::cosine, .learning_rate = 2, .steps = 100, .milestones = {}};
  EXPECT_EQ(schedule.rate(0), 2);
  EXPECT_NEAR(schedule.rate(50), 1, 1e-12);
  EXPECT_NEAR(schedule.rate(25), 1 + std::cos(M_PI / 4), 1e-12);
  EXPECT_NEAR(schedule.rate(99), 1 + std::cos(M_PI * 0.99), 1e-12);
}

TEST(Schedule, WarmUpRisesInEqualSteps) {
  const Schedule schedule{
      .kind = ScheduleKind::cosine, .learning_rate = 1, .steps = 104, .warmup_steps = 4, .milestones = {}};
  EXPECT_EQ(schedule.rate(0), 0.25);
  EXPECT_EQ(schedule.rate(3), 1);
  EXPECT_EQ(schedule.rate(4), 1);
  EXPECT_NEAR(schedule.rate(54), 0.5, 1e-12);
}

TEST(Schedule, StepFallsAtTheMilestones) {
  const Schedule schedule{
      .kind = ScheduleKind::step, .learning_rate = 1, .steps = 100, .milestones = {30, 60}, .gamma = 0.2};
  EXPECT_EQ(schedule.rate(29), 1);
  EXPECT_EQ(schedule.rate(30), 0.2);
  EXPECT_EQ(schedule.rate(59), 0.2);
  EXPECT_NEAR(schedule.rate(60), 0.04, 1e-15);
}

TEST(Schedule, OneCycleIsPyTorchs) {
  // torch.optim.lr_scheduler.OneCycleLR(SGD([p], 1), max_lr=1, total_steps=20).get_last_lr() at each step.
  const double expected[] = {0.040000000000000036,
                             0.1316718427000253,
                             0.3716718427000253,
                             0.6683281572999747,
                             0.9083281572999747,
                             1.0,
                             0.9874640062350873,
                             0.9504846320134737,
                             0.89091617757105,
                             0.8117456539497631,
                             0.7169430017913008,
                             0.6112620219362893,
                             0.500002,
                             0.38874197806371075,
                             0.28306099820869923,
                             0.18825834605023697,
                             0.10908782242895004,
                             0.049519367986526286,
                             0.012539993764912554,
                             4e-06};
  const Schedule schedule{.kind = ScheduleKind::one_cycle, .learning_rate = 1, .steps = 20, .milestones = {}};
  for (std::int64_t step = 0; step < 20; ++step) EXPECT_NEAR(schedule.rate(step), expected[step], 1e-12) << step;
}

TEST(Schedule, Names) {
  EXPECT_EQ(parse_schedule("one-cycle"), ScheduleKind::one_cycle);
  EXPECT_THROW((void)parse_schedule("linear"), std::invalid_argument);
}

}  // namespace
}  // namespace anact::train
