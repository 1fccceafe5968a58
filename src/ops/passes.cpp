#include "ops/passes.h"

#include <ATen/SavedTensorHooks.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/graph_task.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>
#include <limits>
#include <mutex>

#include "ops/tensors.h"

namespace anact::ops {
namespace {

constexpr std::size_t kPasses = 4096;
// Far above what rounding does to the sums, even of bfloat16, and far below what another batch does.
constexpr double kNear = 1e-2;

struct Pass {
  const void* running = nullptr;
  Moments moments;
  Factors factors;
  // On another device, until they are asked for.
  at::Tensor device_moments;
  at::Tensor device_factors;

  void fetch() {
    if (!device_moments.defined()) return;
    moments = to_moments(device_moments.cpu());
    factors = to_factors(device_factors.cpu());
    device_moments.reset();
    device_factors.reset();
  }
};

std::mutex mutex;
std::deque<Pass>& passes() {
  // Never destroyed: tensors must not outlive the library that frees them.
  static auto* const result = new std::deque<Pass>;
  return *result;
}

void remember(Pass pass) {
  const std::lock_guard lock(mutex);
  passes().push_back(std::move(pass));
  if (passes().size() > kPasses) passes().pop_front();
}

// The largest relative difference of the sums that cannot cancel.
double distance(const Moments& a, const Moments& b) {
  double result = 0;
  for (const auto sum : {&Moments::input_m2, &Moments::output_square_sum, &Moments::slope_square_sum}) {
    const double largest = std::max(a.*sum, b.*sum);
    if (largest > 0) result = std::max(result, std::abs(a.*sum - b.*sum) / largest);
  }
  return result;
}

bool same(const Moments& a, const Moments& b) { return std::memcmp(&a, &b, sizeof a) == 0; }

}  // namespace

bool runs_again() { return torch::autograd::get_current_graph_task_id() != -1; }

bool may_run_again() { return !at::GradMode::is_enabled() || at::SavedTensorDefaultHooks::get_hooks().has_value(); }

void remember_pass(const at::Tensor& output_mean, const Moments& moments, const Factors& factors) {
  remember({.running = output_mean.const_data_ptr(),
            .moments = moments,
            .factors = factors,
            .device_moments = {},
            .device_factors = {}});
}

void remember_pass(const at::Tensor& output_mean, const at::Tensor& moments, const at::Tensor& factors) {
  remember({.running = output_mean.const_data_ptr(),
            .moments = {},
            .factors = {},
            .device_moments = moments.detach(),
            .device_factors = factors.detach()});
}

std::optional<Factors> find_pass(const at::Tensor& output_mean, const Moments& moments) {
  const std::lock_guard lock(mutex);
  const Pass* nearest = nullptr;
  const Pass* copied = nullptr;
  double least = std::numeric_limits<double>::infinity();
  for (auto pass = passes().rbegin(); pass != passes().rend(); ++pass) {
    pass->fetch();
    if (pass->moments.count != moments.count) continue;
    if (pass->running == output_mean.const_data_ptr()) {
      const double far = same(pass->moments, moments) ? 0 : distance(pass->moments, moments);
      if (far <= kNear && far < least) {
        nearest = &*pass;
        least = far;
        if (far == 0) break;
      }
    } else if (copied == nullptr && same(pass->moments, moments)) {
      copied = &*pass;
    }
  }
  const Pass* found = nearest != nullptr ? nearest : copied;
  return found == nullptr ? std::nullopt : std::optional(found->factors);
}

}  // namespace anact::ops
