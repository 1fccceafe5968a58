// What the CUDA kernels are given: plain data, laid out alike on the host and on the device.
#pragma once

#include <cstddef>
#include <cstdint>

#include "math/step.h"

namespace anact::kernels::cuda {

enum class ElementType : std::uint32_t { float32, float64, bfloat16, float16 };

// A tensor of one element on the device.
struct Scalar {
  void* data = nullptr;
  ElementType type = ElementType::float32;
};

// An activation's struct of activations-inl.h, as bytes; see encode().
inline constexpr std::size_t kActivationBytes = 128;
struct alignas(8) EncodedActivation {
  unsigned char bytes[kActivationBytes] = {};
};

// Pointers are of device memory, of any alignment that their element type allows. `x` and `y` are dense, and do not
// overlap.
struct PassArguments {
  const void* x = nullptr;
  void* y = nullptr;
  std::uint64_t size = 0;
  double* map = nullptr;      // scale, offset, centre
  double* moments = nullptr;  // the members of Moments
  void* workspace = nullptr;  // workspace_bytes(), zeroed before the first launch, of no other stream
  // Measures nothing, and writes zeros, once this number of batches has reached `limit`; null to measure always.
  const std::int64_t* unless = nullptr;
  std::int64_t limit = 0;
  EncodedActivation activation;
};

struct RunningStatistics {
  Scalar output_mean;  // float32 or float64, as the next three
  Scalar output_square;
  Scalar input_variance;
  Scalar backward_gain;
  std::int64_t* num_batches_tracked = nullptr;
  std::int64_t* num_batches_skipped = nullptr;
};

struct StepArguments {
  PassArguments pass;  // its map is written
  RunningStatistics running;
  Scalar alpha;
  StepOptions options;
  bool has_moments = false;  // pass.moments are this batch's, and the map may come of them
  bool updates = false;      // the batch is taken into the running statistics
};

struct BackwardArguments {
  const void* x = nullptr;
  const void* g = nullptr;
  void* dx = nullptr;  // may be g
  std::uint64_t size = 0;
  const double* map = nullptr;
  double* sums = nullptr;      // of g * f(x) and of g, and 0: the gradient of the map; may be null
  void* workspace = nullptr;   // as in PassArguments
  Scalar alpha;                // null, or where the gradient of alpha is wanted too
  void* grad_alpha = nullptr;  // of alpha's type
  EncodedActivation activation;
};

struct FactorsArguments {
  RunningStatistics running;
  Scalar alpha;
  const double* moments = nullptr;  // of the batch that the map may come of; may be null
  double* map = nullptr;
  StepOptions options;
};

struct UpdateArguments {
  RunningStatistics running;
  const double* moments = nullptr;
  StepOptions options;
};

static_assert(sizeof(void*) == 8 && sizeof(Scalar) == 16 && sizeof(StepOptions) % 8 == 0);
static_assert(sizeof(PassArguments) == 64 + kActivationBytes);
static_assert(sizeof(RunningStatistics) == 80);
static_assert(sizeof(StepArguments) == sizeof(PassArguments) + 104 + sizeof(StepOptions));
static_assert(sizeof(BackwardArguments) == 80 + kActivationBytes);
static_assert(sizeof(FactorsArguments) == 112 + sizeof(StepOptions));
static_assert(sizeof(UpdateArguments) == 88 + sizeof(StepOptions));

// ---- The shape of a launch -----------------------------------------------------------------------------------------

inline constexpr std::uint32_t kThreads = 256;
// Packets of 16 bytes that a thread has in flight.
inline constexpr std::uint32_t kPacketsPerThread = 2;
// Packets that a block goes through at a time.
inline constexpr std::uint32_t kTile = kThreads * kPacketsPerThread;
// As many as `__launch_bounds__` makes room for: 80 registers a thread, where four blocks' 64 made some kernels spill;
// 24 KiB of x are in flight.
inline constexpr std::uint32_t kBlocksPerMultiprocessor = 3;

// The blocks' partial sums come after the ticket, which has a line of its own.
inline constexpr std::size_t kPartialsOffset = 128;
inline constexpr std::size_t kPartialBytes = 6 * sizeof(double);

}  // namespace anact::kernels::cuda
