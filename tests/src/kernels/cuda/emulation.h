// CUDA's threads on one of the processor's, for kernels.cu compiled by g++.
//
// A thread is a fibre that stops at barriers, shuffles, fences and atomics. The threads of a block go on in a shuffled
// order, a few blocks are resident at a time, they start in a shuffled order, and at each stop another block may go on.
//
// Every access by Get and Put is checked against CUDA's memory model: it must be ordered after each earlier access by
// another thread that it would conflict with. Within a block a barrier orders; between blocks an atomic does, if a
// fence comes before it in the thread that lets go and after it in the thread that takes on; a launch comes after those
// before it in its stream. What an access that is not ordered would read is not emulated: that it is there is the
// failure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#define __global__
#define __grid_constant__
#define __launch_bounds__(threads, blocks)

namespace anact::kernels::cuda {
namespace emulation {

struct Index {
  std::uint32_t x = 0;
};

struct Launch {
  std::uint32_t grid = 1;
  std::uint32_t block = 1;
  std::function<void()> kernel;
};

// A kernel's arguments are copied, as CUDA does.
template <class Arguments>
Launch launch(void (*kernel)(Arguments), std::uint32_t grid, std::uint32_t block, const Arguments& arguments) {
  return {grid, block, [kernel, arguments] { kernel(arguments); }};
}

// What is done wrong on purpose. Each thread counts its own barriers, fences and atomics from 0.
struct Mutation {
  std::optional<int> without_barrier = std::nullopt;
  std::optional<int> without_fence = std::nullopt;
  bool atomic_does_not_wrap = false;
};

struct Report {
  std::vector<std::string> errors;  // each kind once
  int barriers = 0;                 // the most that a thread met
  int fences = 0;
};

// Runs launches, those of one stream one after the other and the streams at the same time, until all have ended.
[[nodiscard]] Report run(const std::vector<std::vector<Launch>>& streams, std::uint32_t seed,
                         const Mutation& mutation = {});

void check_read(const void* place);
void check_write(const void* place);
void* shared_memory(std::size_t size);
// What the lane `lanes` further on hands in, or what this one does where there is none.
std::uint64_t shuffle_down(std::uint64_t bits, std::uint32_t lanes);

}  // namespace emulation

// CUDA's names, for the thread that is going on.
extern emulation::Index threadIdx;
extern emulation::Index blockIdx;
extern emulation::Index gridDim;
void __syncthreads();
void __threadfence();
std::uint32_t atomicInc(std::uint32_t* place, std::uint32_t limit);
double __shfl_down_sync(std::uint32_t mask, double value, std::uint32_t lanes);

template <class T>
T& SharedMemory() {
  return *static_cast<T*>(emulation::shared_memory(sizeof(T)));
}
template <class T>
T Get(const T& place) {
  emulation::check_read(&place);
  return place;
}
template <class T>
void Put(T& place, T value) {
  emulation::check_write(&place);
  place = value;
}

}  // namespace anact::kernels::cuda
