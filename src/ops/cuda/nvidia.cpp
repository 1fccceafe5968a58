#include "ops/cuda/nvidia.h"

#include <ATen/ops/zeros.h>
#include <c10/core/Stream.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <c10/util/Exception.h>

#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "gpu/gpu.h"
#include "gpu/programs.h"
#include "kernels/kernels.h"
#include "ops/cuda/check.h"
#include "ops/cuda/kernels.h"
#include "ops/environment.h"
#include "ops/passes.h"

namespace anact::ops::cuda {
namespace {

using kernels::cuda::ElementType;
using kernels::cuda::Kernel;

// PyTorch 2.12 and newer say what a stream is to CUDA.
template <class Stream>
constexpr bool kHasHandle = requires(const Stream& stream) {
  stream.native_handle();
};

template <class Stream>
void* handle_of(const Stream& stream) {
  if constexpr (kHasHandle<Stream>) {
    return stream.native_handle();
  } else {
    throw gpu::Error("this release of PyTorch does not say what a stream is to CUDA; 2.12 and newer do");
  }
}

void* current_stream(at::Device place) { return handle_of(c10::impl::VirtualGuardImpl(place.type()).getStream(place)); }

void warn(const std::string& reason) {
  TORCH_WARN("ANAct's CUDA kernels are not used, and its plain version runs: ", reason);
}

gpu::Program program() {
  const auto source = [](const kernels::cuda::Source& of) { return gpu::Source{of.name, of.text}; };
  gpu::Program result{source(kernels::cuda::main_source()), {}, {}};
  for (const auto& header : kernels::cuda::headers()) result.headers.push_back(source(header));
  for (const auto* option : kernels::cuda::compile_options()) result.options.emplace_back(option);
  return result;
}

// Never destroyed: other threads may launch until the process ends.
gpu::Programs& programs() {
  static auto& instance = *new gpu::Programs(
      program(), gpu::Cache(gpu::cache_folder()), [] { return gpu::open_cuda({torch_folder()}); }, &warn);
  return instance;
}

// What is known of a kernel on a device.
struct Slot {
  enum class State : std::uint8_t { unknown, usable, unusable };
  std::atomic<State> state = State::unknown;
  std::atomic<const gpu::Function*> function = nullptr;
};

constexpr std::size_t kKernels = 8, kTypes = 4, kActivations = static_cast<std::size_t>(ActivationKind::identity) + 1;

class Gpu final : public Device {
 public:
  explicit Gpu(at::Device place) : place_(place) {}

  [[nodiscard]] std::uint32_t multiprocessors() const override { return multiprocessors_; }

  [[nodiscard]] Workspace workspace() override {
    const auto& function = *any_function_.load();
    void* stream = current_stream(place_);
    const auto bytes = kernels::cuda::largest_workspace_bytes(multiprocessors_);
    // A graph's launches run when it is replayed, at a time when those of the stream may run too.
    if (function.is_capturing(stream)) {
      auto owner = at::zeros({static_cast<std::int64_t>(bytes)}, at::TensorOptions().dtype(at::kByte).device(place_));
      return {owner.mutable_data_ptr(), owner};
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    auto& kept = workspaces_[stream];
    if (kept == nullptr) kept = function.allocate(bytes, stream);
    return {kept, {}};
  }

  void launch(Kernel kernel, ElementType type, ActivationKind activation, kernels::cuda::LaunchShape shape,
              void* arguments) override {
    const gpu::LaunchSize size{.grid = {.x = shape.grid}, .block = {.x = shape.block}};
    slot(kernel, type, activation).function.load()->launch(size, current_stream(place_), &arguments);
  }

  // Whether the kernel can be used.
  bool prepare(Kernel kernel, ElementType type, at::ScalarType scalar_type, ActivationKind activation) {
    auto& wanted = slot(kernel, type, activation);
    switch (wanted.state.load(std::memory_order_acquire)) {
      case Slot::State::usable:
        return true;
      case Slot::State::unusable:
        return false;
      case Slot::State::unknown:
        break;
    }
    return examine(wanted, kernel, type, scalar_type, activation);
  }

 private:
  Slot& slot(Kernel kernel, ElementType type, ActivationKind activation) {
    const bool any = kernels::cuda::has_elements(kernel);
    const auto t = any ? static_cast<std::size_t>(type) : 0;
    const auto a = any ? static_cast<std::size_t>(activation) : 0;
    return slots_.at((static_cast<std::size_t>(kernel) * kTypes + t) * kActivations + a);
  }

  // Waiting, and memory that is kept, are not for a graph that is captured; nor a step within a backward pass, where it
  // goes by the passes before.
  [[nodiscard]] bool is_no_time(Kernel kernel, const gpu::Function& function) const {
    const bool moves = kernel == Kernel::step || kernel == Kernel::step_measure || kernel == Kernel::factors ||
                       kernel == Kernel::update;
    return (moves && runs_again()) || function.is_capturing(current_stream(place_));
  }

  bool examine(Slot& wanted, Kernel kernel, ElementType type, at::ScalarType scalar_type, ActivationKind activation) {
    std::string reason;
    try {
      // Of a kernel that cannot be had, this tells itself.
      const auto* function = programs().get(place_.index(), kernels::cuda::name_expression(kernel, type, activation));
      if (function != nullptr && is_no_time(kernel, *function)) return false;
      const std::lock_guard<std::mutex> lock(examining_);
      if (wanted.state != Slot::State::unknown) return wanted.state == Slot::State::usable;
      if (function != nullptr) {
        wanted.function = function;
        any_function_ = function;
        multiprocessors_ = static_cast<std::uint32_t>(function->device().multiprocessors);
        reason = difference(*this, place_, kernel, scalar_type, activation);
        if (reason.empty()) {
          wanted.state.store(Slot::State::usable, std::memory_order_release);
          return true;
        }
        reason = "on " + function->device().name + ", " + std::string(kernels::cuda::to_string(kernel)) + " of " +
                 std::string(activation_info(activation).name) + " in " + std::string(kernels::cuda::to_string(type)) +
                 " differs from it: " + reason + ". Please report this";
      }
    } catch (const c10::Error& error) {
      reason = error.what_without_backtrace();
    } catch (const std::exception& error) {
      reason = error.what();
    }
    wanted.state = Slot::State::unusable;
    // Not under the lock: a warning may wait for Python's, which another thread may hold that waits for this one.
    if (!reason.empty()) warn(reason);
    return false;
  }

  at::Device place_;
  std::uint32_t multiprocessors_ = 1;
  std::atomic<const gpu::Function*> any_function_ = nullptr;
  std::array<Slot, kKernels * kTypes * kActivations> slots_;
  std::mutex examining_;
  std::mutex mutex_;
  std::map<void*, void*> workspaces_;  // by stream
};

Gpu& gpu_at(at::Device place) {
  static std::mutex mutex;
  static auto& gpus = *new std::vector<std::unique_ptr<Gpu>>;
  const std::lock_guard<std::mutex> lock(mutex);
  const auto index = static_cast<std::size_t>(place.index());
  if (gpus.size() <= index) gpus.resize(index + 1);
  if (!gpus[index]) gpus[index] = std::make_unique<Gpu>(place);
  return *gpus[index];
}

}  // namespace

Device* device_with(std::span<const Kernel> kernels, at::Device place, at::ScalarType type, ActivationKind activation) {
  if (!place.is_cuda() || !place.has_index() || !gpu::enabled()) return nullptr;
  const auto element = element_type(type);
  if (!element || !kernels::has_kernel(activation)) return nullptr;
  auto& gpu = gpu_at(place);
  for (const auto kernel : kernels) {
    if (!gpu.prepare(kernel, *element, type, activation)) return nullptr;
  }
  return &gpu;
}

}  // namespace anact::ops::cuda
