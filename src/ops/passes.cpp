#include "ops/passes.h"

#include <ATen/ATen.h>
#include <ATen/SavedTensorHooks.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/StorageImpl.h>
#include <torch/csrc/autograd/graph_task.h>

#include <algorithm>
#include <limits>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "ops/anact.h"

namespace anact::ops {
namespace {

// So many wait to be moved into a module's table, since a table costs several operators to extend.
constexpr std::size_t kWaiting = 256;

// The passes of one module.
class Passes {
 public:
  explicit Passes(const at::Tensor& alpha) : storage_(alpha.storage().getWeakStorageImpl()) {}

  // Whether the module is gone.
  [[nodiscard]] bool expired() const { return storage_.expired(); }

  void remember(std::uint32_t version, const at::Tensor& moments, const at::Tensor& map) {
    if (version != version_) {
      waiting_.clear();
      moments_.reset();
      version_ = version;
    }
    waiting_.emplace_back(moments.detach(), map.detach());
    if (waiting_.size() == kWaiting) extend();
  }

  [[nodiscard]] at::Tensor find(const at::Tensor& moments) {
    extend();
    TORCH_CHECK(moments_.defined(), kNothing);
    // As integers: a NaN is itself.
    const auto same = (moments_.view(at::kLong) == moments.view(at::kLong)).all(1);
    at::_assert_async(same.any(), kNothing);
    // The least used, and of those the latest.
    const auto place = at::where(same, order_ - uses_ * kPassesKept, std::numeric_limits<std::int64_t>::min())
                           .argmax(0, /*keepdim=*/true);
    uses_.index_add_(0, place, at::ones_like(place));
    return maps_.index_select(0, place)[0];
  }

 private:
  static constexpr const char* kNothing =
      "anact: a training pass within a backward pass found no first pass with the same input. Activation checkpointing "
      "must compute the input anew bit for bit, with the same weights, within 16384 passes of the module; a training "
      "pass that is no second one cannot run within a backward pass.";

  void extend() {
    if (waiting_.empty()) return;
    std::vector<at::Tensor> moments, maps;
    for (const auto& [of, map] : waiting_) {
      moments.push_back(of);
      maps.push_back(map);
    }
    waiting_.clear();
    auto new_moments = at::stack(moments);
    auto new_maps = at::stack(maps);
    auto new_uses = at::zeros({new_maps.size(0)}, new_maps.options().dtype(at::kLong));
    if (moments_.defined()) {
      const auto after = [&](const at::Tensor& old, const at::Tensor& fresh) {
        const auto dropped = std::max<std::int64_t>(0, old.size(0) + fresh.size(0) - kPassesKept);
        return at::cat({old.slice(0, dropped), fresh});
      };
      new_moments = after(moments_, new_moments);
      new_maps = after(maps_, new_maps);
      new_uses = after(uses_, new_uses);
    }
    moments_ = std::move(new_moments);
    maps_ = std::move(new_maps);
    uses_ = std::move(new_uses);
    order_ = at::arange(uses_.size(0), uses_.options());
  }

  c10::weak_intrusive_ptr<c10::StorageImpl> storage_;
  std::uint32_t version_ = 0;
  std::vector<std::pair<at::Tensor, at::Tensor>> waiting_;
  // A row for each pass, the oldest first.
  at::Tensor moments_;  // float64, kMomentsSize columns
  at::Tensor maps_;     // float64, kMapSize columns
  at::Tensor uses_;     // int64: how often it was found
  at::Tensor order_;    // int64: the number of the row
};

// A module is known by where its parameter alpha is stored, which is never alive twice.
using Module = std::pair<const c10::StorageImpl*, std::int64_t>;

Module module_of(const at::Tensor& alpha) { return {alpha.storage().unsafeGetStorageImpl(), alpha.storage_offset()}; }

std::uint32_t version_of(const at::Tensor& alpha) { return alpha.is_inference() ? 0 : alpha._version(); }

std::mutex mutex;

std::map<Module, Passes>& modules() {
  // Never destroyed: tensors must not outlive the library that frees them.
  static auto* const result = new std::map<Module, Passes>;
  return *result;
}

}  // namespace

bool runs_again() { return torch::autograd::get_current_graph_task_id() != -1; }

bool may_run_again() {
  if (c10::InferenceMode::is_enabled()) return false;
  return !at::GradMode::is_enabled() || at::SavedTensorDefaultHooks::get_hooks().has_value();
}

void remember_pass(const at::Tensor& alpha, const at::Tensor& moments, const at::Tensor& map) {
  const std::lock_guard lock(mutex);
  auto found = modules().find(module_of(alpha));
  if (found != modules().end() && found->second.expired()) {
    modules().erase(found);
    found = modules().end();
  }
  if (found == modules().end()) {
    // A new module is rare, and the time to forget those that are gone.
    std::erase_if(modules(), [](const auto& entry) { return entry.second.expired(); });
    found = modules().emplace(module_of(alpha), Passes(alpha)).first;
  }
  found->second.remember(version_of(alpha), moments, map);
}

at::Tensor find_pass(const at::Tensor& alpha, const at::Tensor& moments) {
  const std::lock_guard lock(mutex);
  const auto found = modules().find(module_of(alpha));
  // A module without a pass is one with an empty table.
  if (found == modules().end() || found->second.expired()) return Passes(alpha).find(moments);
  return found->second.find(moments);
}

}  // namespace anact::ops
