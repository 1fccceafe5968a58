// Launches of the emulated kernels, which fail the test on any access that is not ordered.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "kernels/cuda/emulated_kernels.h"
#include "kernels/elements.h"
#include "kernels/kernels.h"

namespace anact::kernels::cuda::emulation {

template <class T>
inline constexpr ElementType kType = ElementType::float32;
template <>
inline constexpr ElementType kType<double> = ElementType::float64;
template <>
inline constexpr ElementType kType<BFloat16> = ElementType::bfloat16;
template <>
inline constexpr ElementType kType<Float16> = ElementType::float16;

// Calls test(T()) for each element type.
template <class Test>
void for_each_type(Test test) {
  const auto traced = [&](auto element) {
    SCOPED_TRACE(to_string(kType<decltype(element)>));
    test(element);
  };
  traced(float{});
  traced(double{});
  traced(BFloat16{});
  traced(Float16{});
}

// Few, so that a block goes through several tiles.
inline constexpr std::uint32_t kMultiprocessors = 1;

class Workspace {
 public:
  explicit Workspace(std::uint32_t multiprocessors = kMultiprocessors)
      : memory_((largest_workspace_bytes(multiprocessors) + 7) / 8) {}

  [[nodiscard]] void* data() { return memory_.data(); }
  [[nodiscard]] std::uint32_t ticket() const { return static_cast<std::uint32_t>(memory_[0]); }

 private:
  std::vector<std::uint64_t> memory_;
};

inline std::uint32_t next_seed() {
  static std::uint32_t seed = 0;
  return ++seed;
}

template <class Arguments>
Launch shaped(void (*kernel)(Arguments), Kernel kind, ElementType type, std::uint64_t size, const Arguments& arguments,
              std::uint32_t multiprocessors = kMultiprocessors) {
  const LaunchShape shape = launch_shape(kind, type, size, multiprocessors);
  return launch(kernel, shape.grid, shape.block, arguments);
}

inline void run_cleanly(const std::vector<std::vector<Launch>>& streams) {
  for (const auto& error : run(streams, next_seed()).errors) ADD_FAILURE() << error;
}

// Leaves out each barrier and each fence of a launch in turn; each must be missed. `launch` has a fresh workspace each
// time. A fence that is left out before the ticket is one that comes after it, since another follows there.
inline void expect_all_needed(const std::function<Launch()>& launch, int barriers) {
  const Report whole = run({{launch()}}, next_seed());
  EXPECT_TRUE(whole.errors.empty());
  EXPECT_EQ(whole.barriers, barriers);
  EXPECT_EQ(whole.fences, 2);
  for (int i = 0; i < whole.barriers; ++i) {
    EXPECT_FALSE(run({{launch()}}, next_seed(), {.without_barrier = i}).errors.empty()) << "barrier " << i;
  }
  for (int i = 0; i < whole.fences; ++i) {
    EXPECT_FALSE(run({{launch()}}, next_seed(), {.without_fence = i}).errors.empty()) << "fence " << i;
  }
}

inline Moments to_moments(const double* m) { return {m[0], m[1], m[2], m[3], m[4], m[5]}; }

// A pass forward, with what it is given and what comes of it. `misplaced` elements lie before x and y.
template <class T>
struct ForwardPass {
  std::vector<T> x;
  std::size_t misplaced = 0;
  std::vector<T> y = std::vector<T>(x.size(), narrow<T>(12345));
  std::vector<double> map{1, 0, 0};
  std::vector<double> moments = std::vector<double>(6, -1);
  Workspace workspace{};

  explicit ForwardPass(std::vector<T> input, std::size_t elements_before = 0)
      : x(std::move(input)), misplaced(elements_before) {}

  [[nodiscard]] std::size_t size() const { return x.size() - misplaced; }

  PassArguments arguments(const Activation& activation) {
    PassArguments a;
    a.x = x.data() + misplaced;
    a.y = y.data() + misplaced;
    a.size = size();
    a.map = map.data();
    a.moments = moments.data();
    a.workspace = workspace.data();
    a.activation = encode(activation);
    return a;
  }

  Launch launch(const Activation& activation, Kernel kernel) {
    const KernelsOf kernels = kernels_of(kType<T>, activation.kind);
    const auto chosen = kernel == Kernel::measure ? kernels.measure
                        : kernel == Kernel::apply ? kernels.apply
                                                  : kernels.apply_measure;
    return shaped(chosen, kernel, kType<T>, size(), arguments(activation));
  }

  void run(const Activation& activation, Kernel kernel) { run_cleanly({{launch(activation, kernel)}}); }
};

template <class T>
struct BackwardPass {
  std::vector<T> x;
  std::vector<T> g;
  std::size_t misplaced = 0;
  std::vector<T> dx = std::vector<T>(x.size(), narrow<T>(12345));
  std::vector<double> map{1, 0, 0};
  std::vector<double> sums = std::vector<double>(3, -1);
  Workspace workspace{};

  BackwardPass(std::vector<T> input, std::vector<T> gradient, std::size_t elements_before = 0)
      : x(std::move(input)), g(std::move(gradient)), misplaced(elements_before) {}

  [[nodiscard]] std::size_t size() const { return x.size() - misplaced; }

  BackwardArguments arguments(const Activation& activation) {
    BackwardArguments a;
    a.x = x.data() + misplaced;
    a.g = g.data() + misplaced;
    a.dx = dx.data() + misplaced;
    a.size = size();
    a.map = map.data();
    a.sums = sums.data();
    a.workspace = workspace.data();
    a.activation = encode(activation);
    return a;
  }

  Launch launch(const Activation& activation) {
    return shaped(kernels_of(kType<T>, activation.kind).backward, Kernel::backward, kType<T>, size(),
                  arguments(activation));
  }

  void run(const Activation& activation) { run_cleanly({{launch(activation)}}); }
};

}  // namespace anact::kernels::cuda::emulation
