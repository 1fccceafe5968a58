// The fused kernels on CUDA: one pass over x, with its sums merged by the block that finishes last.
//
// NVRTC compiles this file alone, with the headers of sources(); g++ compiles it too, over an emulation of the device,
// for the tests. Host threads launch it as kernels.h says.
//
// Arithmetic is in float for float and the 16-bit types, in double for double. A thread adds at most kRun elements in
// float before a sum is carried on in double. Which thread takes which element depends on the size and the grid alone,
// and partial sums are added in a fixed order: equal inputs give equal bits, wherever they lie.

#ifdef __CUDACC__
#include "kernels/cuda/device.h"
// The scalar formulas are the library's own.
#include "math/factors.cpp"
#include "math/moments.cpp"
#include "math/step.cpp"
#endif

#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kernels/activations-inl.h"
#include "kernels/cuda/arguments.h"
#include "kernels/cuda/elements.h"

namespace anact::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using namespace cuda;

inline constexpr std::uint32_t kWarp = 32;
inline constexpr std::uint32_t kWarps = kThreads / kWarp;
inline constexpr std::uint32_t kEveryLane = ~0U;
inline constexpr std::size_t kMostSums = 5;
inline constexpr std::uint32_t kRun = 32;

// The struct of the activation whose kind has this number.
template <int kKind, class List>
struct StructOfKind;
template <int kKind, class First, class... Rest>
struct StructOfKind<kKind, ActivationList<First, Rest...>>
    : std::conditional_t<static_cast<int>(First::kKind) == kKind, std::type_identity<First>,
                         StructOfKind<kKind, ActivationList<Rest...>>> {};

template <class Act>
HWY_INLINE const Act& Decode(const EncodedActivation& activation) {
  static_assert(sizeof(Act) <= kActivationBytes && std::is_trivially_copyable_v<Act>);
  return *reinterpret_cast<const Act*>(activation.bytes);
}

// ---- Scalars -------------------------------------------------------------------------------------------------------

HWY_INLINE double ReadScalar(const Scalar& scalar) {
  switch (scalar.type) {
    case ElementType::float64:
      return Get(*static_cast<const double*>(scalar.data));
    case ElementType::bfloat16:
      return Widen(BFloat16{Get(*static_cast<const std::uint16_t*>(scalar.data))});
    case ElementType::float16:
      return Widen(Float16{Get(*static_cast<const std::uint16_t*>(scalar.data))});
    case ElementType::float32:
      break;
  }
  return Get(*static_cast<const float*>(scalar.data));
}

HWY_INLINE void WriteScalar(const Scalar& scalar, double value) {
  switch (scalar.type) {
    case ElementType::float64:
      return Put(*static_cast<double*>(scalar.data), value);
    case ElementType::bfloat16:
      return Put(*static_cast<std::uint16_t*>(scalar.data), Narrow<BFloat16>(static_cast<float>(value)).bits);
    case ElementType::float16:
      return Put(*static_cast<std::uint16_t*>(scalar.data), Narrow<Float16>(static_cast<float>(value)).bits);
    case ElementType::float32:
      return Put(*static_cast<float*>(scalar.data), static_cast<float>(value));
  }
}

HWY_INLINE Moments ReadMoments(const double* from) {
  return {Get(from[0]), Get(from[1]), Get(from[2]), Get(from[3]), Get(from[4]), Get(from[5])};
}

HWY_INLINE void WriteMoments(const Moments& moments, double* to) {
  Put(to[0], moments.count);
  Put(to[1], moments.input_mean);
  Put(to[2], moments.input_m2);
  Put(to[3], moments.output_sum);
  Put(to[4], moments.output_square_sum);
  Put(to[5], moments.slope_square_sum);
}

HWY_INLINE void WriteMap(const Factors& map, double* to) {
  Put(to[0], map.scale);
  Put(to[1], map.offset);
  Put(to[2], map.centre);
}

HWY_INLINE Statistics ReadStatistics(const RunningStatistics& running) {
  return {ReadScalar(running.output_mean), ReadScalar(running.output_square), ReadScalar(running.input_variance),
          ReadScalar(running.backward_gain)};
}

// The map of a step, of the running statistics as they were before it and of `moments`, unless null.
HWY_INLINE Factors FindMap(const RunningStatistics& running, const Scalar& alpha, const double* moments,
                           const StepOptions& options) {
  Statistics used = ReadStatistics(running);
  if (moments != nullptr) {
    used = statistics_of_step(options, used, Get(*running.num_batches_tracked), ReadMoments(moments));
  }
  return factors(used, ReadScalar(alpha), options.normalization);
}

HWY_INLINE void TakeBatch(const RunningStatistics& running, const Moments& moments, const StepOptions& options) {
  Statistics statistics = ReadStatistics(running);
  const std::int64_t tracked = Get(*running.num_batches_tracked);
  switch (take_batch(options, statistics, tracked, moments)) {
    case Fate::ignored:
      break;
    case Fate::skipped:
      Put(*running.num_batches_skipped, Get(*running.num_batches_skipped) + 1);
      break;
    case Fate::accepted:
      WriteScalar(running.output_mean, statistics.output_mean);
      WriteScalar(running.output_square, statistics.output_square);
      WriteScalar(running.input_variance, statistics.input_variance);
      WriteScalar(running.backward_gain, statistics.backward_gain);
      Put(*running.num_batches_tracked, tracked + 1);
      break;
  }
}

// ---- Sums over threads and blocks ----------------------------------------------------------------------------------

// What the threads of a block share.
struct Block {
  double sums[kWarps][kMostSums];
  double mean;
  double scale;
  double offset;
  std::uint32_t is_last;
};

// Sums over the threads of the block, for its first thread; the others are left with parts.
template <std::size_t n>
HWY_INLINE void SumOverBlock(double (&values)[n], Block& block) {
  static_assert(n <= kMostSums);
  ANACT_UNROLL
  for (std::size_t i = 0; i < n; ++i) {
    ANACT_UNROLL
    for (std::uint32_t lanes = kWarp / 2; lanes > 0; lanes /= 2) {
      values[i] += __shfl_down_sync(kEveryLane, values[i], lanes);
    }
  }
  if (threadIdx.x % kWarp == 0) {
    for (std::size_t i = 0; i < n; ++i) Put(block.sums[threadIdx.x / kWarp][i], values[i]);
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (std::uint32_t warp = 1; warp < kWarps; ++warp) {
    for (std::size_t i = 0; i < n; ++i) values[i] += Get(block.sums[warp][i]);
  }
}

HWY_INLINE double* PartialOf(void* workspace, std::uint32_t block) {
  return reinterpret_cast<double*>(static_cast<char*>(workspace) + kPartialsOffset + block * kPartialBytes);
}

// Whether this block is the last to come here, for all of its threads; it then sees what the first threads of all
// others wrote before they came. The ticket is 0 again after the last.
HWY_INLINE bool IsLastBlock(void* workspace, Block& block) {
  if (threadIdx.x == 0) {
    __threadfence();
    const std::uint32_t before = atomicInc(static_cast<std::uint32_t*>(workspace), gridDim.x - 1);
    __threadfence();
    Put(block.is_last, std::uint32_t{before == gridDim.x - 1});
  }
  __syncthreads();
  return Get(block.is_last) != 0;
}

// The moments of all blocks together, for the first thread: their mean first, then the squares about it (Chan, Golub
// and LeVeque, 1979, for many parts at once).
HWY_INLINE Moments MergePartials(void* workspace, std::uint64_t size, Block& block) {
  const auto count = static_cast<double>(size);
  double mean[1] = {0};
  ANACT_AS_LOOP
  for (std::uint32_t i = threadIdx.x; i < gridDim.x; i += kThreads) {
    const double* partial = PartialOf(workspace, i);
    mean[0] += Get(partial[0]) * Get(partial[1]);
  }
  SumOverBlock(mean, block);
  if (threadIdx.x == 0) Put(block.mean, size == 0 ? 0 : mean[0] / count);
  __syncthreads();
  mean[0] = Get(block.mean);
  double sums[4] = {0, 0, 0, 0};
  ANACT_AS_LOOP
  for (std::uint32_t i = threadIdx.x; i < gridDim.x; i += kThreads) {
    const Moments partial = ReadMoments(PartialOf(workspace, i));
    const double deviation = partial.input_mean - mean[0];
    sums[0] += partial.input_m2 + partial.count * (deviation * deviation);
    sums[1] += partial.output_sum;
    sums[2] += partial.output_square_sum;
    sums[3] += partial.slope_square_sum;
  }
  SumOverBlock(sums, block);
  return {count, mean[0], sums[0], sums[1], sums[2], sums[3]};
}

// A thread's sum, which takes numbers in pairs: one addition to wait for instead of two.
template <class A>
struct Sum {
  A part = 0;
  double total = 0;

  HWY_INLINE void Add(A first, A second) { part += first + second; }
  HWY_INLINE void AddProducts(A a, A b, A c, A d) { part += hn::MulAdd(a, b, c * d); }
  HWY_INLINE void Flush() {
    total += part;
    part = 0;
  }
};

// ---- Passes --------------------------------------------------------------------------------------------------------

// A thread's packets of a tile. Those beyond the last whole packet are not loaded.
template <class T>
struct Packets {
  Packet<T> packets[kPacketsPerThread];

  HWY_INLINE void Load(const T* from, bool aligned, std::uint64_t first, std::uint64_t count) {
    ANACT_UNROLL
    for (std::uint32_t i = 0; i < kPacketsPerThread; ++i) {
      const std::uint64_t at = first + i * kThreads;
      if (at < count) packets[i] = LoadPacket(from + at * kPacketSize<T>, aligned);
    }
  }
};

// A thread adds so many tiles in the type of the arithmetic.
template <class T>
inline constexpr std::uint32_t kTilesPerRun = kRun / (kPacketsPerThread * kPacketSize<T>);

// Calls load(first packet), then visit(i, packet) for each of a thread's packets that were loaded and flush() after
// every run and at the end, and rest(element) for one of those beyond the last whole packet. The first load is in
// flight while prepare() runs.
template <class T, class Load, class Prepare, class Visit, class Flush, class Rest>
HWY_INLINE void ForEachPacket(std::uint64_t size, const Load& load, const Prepare& prepare, const Visit& visit,
                              const Flush& flush, const Rest& rest) {
  const std::uint64_t packets = size / kPacketSize<T>;
  const std::uint64_t stride = std::uint64_t{gridDim.x} * kTile;
  std::uint64_t first = std::uint64_t{blockIdx.x} * kTile + threadIdx.x;
  load(first, packets);
  prepare();
  std::uint32_t tiles = 0;
  while (first < packets) {
    ANACT_UNROLL
    for (std::uint32_t i = 0; i < kPacketsPerThread; ++i) {
      const std::uint64_t at = first + i * kThreads;
      if (at < packets) visit(i, at * kPacketSize<T>);
    }
    first += stride;
    load(first, packets);
    if (++tiles % kTilesPerRun<T> == 0) flush();
  }
  if (blockIdx.x == 0 && threadIdx.x < size % kPacketSize<T>) rest(packets * kPacketSize<T> + threadIdx.x);
  flush();
}

// How many elements ForEachPacket gives this block.
template <class T>
HWY_INLINE double CountOfBlock(std::uint64_t size) {
  const std::uint64_t packets = size / kPacketSize<T>;
  const std::uint64_t whole = packets / kTile;
  std::uint64_t count = whole / gridDim.x * kTile;
  if (blockIdx.x < whole % gridDim.x) count += kTile;
  if (blockIdx.x == whole % gridDim.x) count += packets % kTile;
  count *= kPacketSize<T>;
  if (blockIdx.x == 0) count += size % kPacketSize<T>;
  return static_cast<double>(count);
}

// A shift near the mean, which keeps the variance accurate when the mean is large beside the deviation: the mean of the
// block's first elements but the least and the largest, so that an outlier does no harm.
template <class T>
HWY_INLINE Arithmetic<T> Pivot(const T* x, std::uint64_t size) {
  using A = Arithmetic<T>;
  const std::uint64_t first = std::uint64_t{blockIdx.x} * kTile * kPacketSize<T>;
  const std::uint64_t count = size - first < 8 ? size - first : 8;
  if (count == 0) return 0;
  const A one = Widen(x[first]);
  const A other = count > 1 ? Widen(x[first + 1]) : one;
  A low = one < other ? one : other;
  A high = one < other ? other : one;
  A sum = 0;
  for (std::uint64_t i = 2; i < count; ++i) {
    const A next = Widen(x[first + i]);
    sum += next < low ? low : next > high ? high : next;
    low = next < low ? next : low;
    high = next > high ? next : high;
  }
  return count > 2 ? sum / static_cast<A>(count - 2) : low;
}

// y = scale * f(x) + offset, with the scale and the offset that find_map(scale, offset) sets, and the block's moments
// for its first thread.
template <class T, class Act, bool kWrite, bool kMeasure, class FindMap>
HWY_INLINE Moments Forward(const PassArguments& a, Block& block, const FindMap& find_map) {
  using A = Arithmetic<T>;
  constexpr hn::ScalableTag<A> d;
  const Act& act = Decode<Act>(a.activation);
  const T* x = static_cast<const T*>(a.x);
  T* y = static_cast<T*>(a.y);
  const bool aligned_x = IsAligned(x);
  const bool aligned_y = IsAligned(y);
  A scale = 1;
  A offset = 0;
  A pivot = 0;
  Packets<T> input;
  Sum<A> shifted, shifted_square, value, value_square, slope_square;

  const auto add = [&](A s, ValueAndDerivative<A> f, A next_s, ValueAndDerivative<A> next) {
    shifted.Add(s, next_s);
    shifted_square.AddProducts(s, s, next_s, next_s);
    value.Add(f.value, next.value);
    value_square.AddProducts(f.value, f.value, next.value, next.value);
    slope_square.AddProducts(f.derivative, f.derivative, next.derivative, next.derivative);
  };
  const auto load = [&](std::uint64_t first, std::uint64_t packets) { input.Load(x, aligned_x, first, packets); };
  const auto prepare = [&]() {
    if constexpr (kMeasure) pivot = Pivot(x, a.size);
    if constexpr (kWrite) find_map(scale, offset);
  };
  const auto visit = [&](std::uint32_t i, std::uint64_t at) {
    const Packet<T>& packet = input.packets[i];
    Packet<T> output;
    ANACT_UNROLL
    for (std::size_t j = 0; j < kPacketSize<T>; j += 2) {
      const A x0 = Widen(packet.elements[j]);
      const A x1 = Widen(packet.elements[j + 1]);
      const ValueAndDerivative<A> f0 = act(d, x0);
      const ValueAndDerivative<A> f1 = act(d, x1);
      if constexpr (kWrite) {
        output.elements[j] = Narrow<T>(hn::MulAdd(scale, f0.value, offset));
        output.elements[j + 1] = Narrow<T>(hn::MulAdd(scale, f1.value, offset));
      }
      if constexpr (kMeasure) add(x0 - pivot, f0, x1 - pivot, f1);
    }
    if constexpr (kWrite) StorePacket(output, y + at, aligned_y);
  };
  const auto flush = [&]() {
    if constexpr (kMeasure) {
      shifted.Flush();
      shifted_square.Flush();
      value.Flush();
      value_square.Flush();
      slope_square.Flush();
    }
  };
  const auto rest = [&](std::uint64_t at) {
    const A x0 = Widen(x[at]);
    const ValueAndDerivative<A> f = act(d, x0);
    if constexpr (kWrite) y[at] = Narrow<T>(hn::MulAdd(scale, f.value, offset));
    if constexpr (kMeasure) add(x0 - pivot, f, 0, {0, 0});
  };
  ForEachPacket<T>(a.size, load, prepare, visit, flush, rest);
  if constexpr (!kMeasure) return {};

  double sums[5] = {shifted.total, shifted_square.total, value.total, value_square.total, slope_square.total};
  SumOverBlock(sums, block);
  const double count = CountOfBlock<T>(a.size);
  if (count == 0) return {};
  const double mean = sums[0] / count;
  // Rounding may leave a constant block a hair below zero; a NaN must stay.
  const double m2 = sums[1] - mean * mean * count;
  return {count, pivot + mean, m2 < 0 ? 0 : m2, sums[2], sums[3], sums[4]};
}

// Hands in the block's moments. In the last block its first thread gets those of all; false in every other.
HWY_INLINE bool FinishMoments(const PassArguments& a, Block& block, Moments& moments) {
  if (threadIdx.x == 0) WriteMoments(moments, PartialOf(a.workspace, blockIdx.x));
  if (!IsLastBlock(a.workspace, block)) return false;
  moments = MergePartials(a.workspace, a.size, block);
  if (threadIdx.x == 0) WriteMoments(moments, a.moments);
  return true;
}

template <class T, int kKind>
__global__ void __launch_bounds__(kThreads, kBlocksPerMultiprocessor) Measure(const __grid_constant__ PassArguments a) {
  using Act = typename StructOfKind<kKind, Activations>::type;
  if (a.unless != nullptr && Get(*a.unless) >= a.limit) {
    if (blockIdx.x == 0 && threadIdx.x == 0) WriteMoments({}, a.moments);
    return;
  }
  Block& block = SharedMemory<Block>();
  Moments moments = Forward<T, Act, false, true>(a, block, [](auto&, auto&) {});
  FinishMoments(a, block, moments);
}

template <class T, int kKind, bool kMeasure>
__global__ void __launch_bounds__(kThreads, kBlocksPerMultiprocessor) Apply(const __grid_constant__ PassArguments a) {
  using Act = typename StructOfKind<kKind, Activations>::type;
  Block& block = SharedMemory<Block>();
  Moments moments = Forward<T, Act, true, kMeasure>(a, block, [&](auto& scale, auto& offset) {
    scale = static_cast<Arithmetic<T>>(Get(a.map[0]));
    offset = static_cast<Arithmetic<T>>(Get(a.map[1]));
  });
  if constexpr (kMeasure) FinishMoments(a, block, moments);
}

// A step: the map comes of the statistics, and the batch goes into them. Every block finds the map for itself, before
// the last block, which comes after all of them, moves the statistics.
template <class T, int kKind, bool kMeasure>
__global__ void __launch_bounds__(kThreads, kBlocksPerMultiprocessor) Step(const __grid_constant__ StepArguments a) {
  using Act = typename StructOfKind<kKind, Activations>::type;
  Block& block = SharedMemory<Block>();
  Moments moments = Forward<T, Act, true, kMeasure>(a.pass, block, [&](auto& scale, auto& offset) {
    if (threadIdx.x == 0) {
      const Factors map = FindMap(a.running, a.alpha, a.has_moments ? a.pass.moments : nullptr, a.options);
      if (blockIdx.x == 0) WriteMap(map, a.pass.map);
      Put(block.scale, map.scale);
      Put(block.offset, map.offset);
    }
    __syncthreads();
    scale = static_cast<Arithmetic<T>>(Get(block.scale));
    offset = static_cast<Arithmetic<T>>(Get(block.offset));
  });
  if constexpr (kMeasure) {
    if (!FinishMoments(a.pass, block, moments)) return;
  } else {
    if (!a.updates || !IsLastBlock(a.pass.workspace, block)) return;
    if (threadIdx.x == 0) moments = ReadMoments(a.pass.moments);
  }
  if (threadIdx.x == 0 && a.updates) TakeBatch(a.running, moments, a.options);
}

// dx = scale * g * f'(x), and the gradient of the map.
template <class T, int kKind>
__global__ void __launch_bounds__(kThreads, kBlocksPerMultiprocessor)
    Backward(const __grid_constant__ BackwardArguments a) {
  using Act = typename StructOfKind<kKind, Activations>::type;
  using A = Arithmetic<T>;
  constexpr hn::ScalableTag<A> d;
  Block& block = SharedMemory<Block>();
  const Act& act = Decode<Act>(a.activation);
  const T* x = static_cast<const T*>(a.x);
  const T* g = static_cast<const T*>(a.g);
  T* dx = static_cast<T*>(a.dx);
  const bool aligned_x = IsAligned(x);
  const bool aligned_g = IsAligned(g);
  const bool aligned_dx = IsAligned(dx);
  A scale = 1;
  Packets<T> input, gradients;
  Sum<A> gradient, gradient_value;

  const auto load = [&](std::uint64_t first, std::uint64_t packets) {
    input.Load(x, aligned_x, first, packets);
    gradients.Load(g, aligned_g, first, packets);
  };
  const auto prepare = [&]() { scale = static_cast<A>(Get(a.map[0])); };
  const auto visit = [&](std::uint32_t i, std::uint64_t at) {
    Packet<T> output;
    ANACT_UNROLL
    for (std::size_t j = 0; j < kPacketSize<T>; j += 2) {
      const ValueAndDerivative<A> f0 = act(d, Widen(input.packets[i].elements[j]));
      const ValueAndDerivative<A> f1 = act(d, Widen(input.packets[i].elements[j + 1]));
      const A g0 = Widen(gradients.packets[i].elements[j]);
      const A g1 = Widen(gradients.packets[i].elements[j + 1]);
      output.elements[j] = Narrow<T>(scale * g0 * f0.derivative);
      output.elements[j + 1] = Narrow<T>(scale * g1 * f1.derivative);
      gradient.Add(g0, g1);
      gradient_value.AddProducts(g0, f0.value, g1, f1.value);
    }
    StorePacket(output, dx + at, aligned_dx);
  };
  const auto flush = [&]() {
    gradient.Flush();
    gradient_value.Flush();
  };
  const auto rest = [&](std::uint64_t at) {
    const ValueAndDerivative<A> f = act(d, Widen(x[at]));
    const A g0 = Widen(g[at]);
    dx[at] = Narrow<T>(scale * g0 * f.derivative);
    gradient.Add(g0, 0);
    gradient_value.AddProducts(g0, f.value, 0, 0);
  };
  ForEachPacket<T>(a.size, load, prepare, visit, flush, rest);

  double sums[2] = {gradient_value.total, gradient.total};
  SumOverBlock(sums, block);
  if (threadIdx.x == 0) {
    double* partial = PartialOf(a.workspace, blockIdx.x);
    Put(partial[0], sums[0]);
    Put(partial[1], sums[1]);
  }
  if (!IsLastBlock(a.workspace, block)) return;
  sums[0] = sums[1] = 0;
  ANACT_AS_LOOP
  for (std::uint32_t i = threadIdx.x; i < gridDim.x; i += kThreads) {
    const double* partial = PartialOf(a.workspace, i);
    sums[0] += Get(partial[0]);
    sums[1] += Get(partial[1]);
  }
  SumOverBlock(sums, block);
  if (threadIdx.x != 0) return;
  if (a.sums != nullptr) {
    Put(a.sums[0], sums[0]);
    Put(a.sums[1], sums[1]);
    Put(a.sums[2], 0.0);
  }
  if (a.alpha.data != nullptr) {
    const double slope = scale_slope(ReadScalar(a.alpha));
    WriteScalar({a.grad_alpha, a.alpha.type}, slope * (sums[0] - Get(a.map[2]) * sums[1]));
  }
}

// ---- Scalars alone, by one thread ----------------------------------------------------------------------------------
// Templates, so that they are compiled only when they are asked for.

template <int = 0>
__global__ void FindFactors(const __grid_constant__ FactorsArguments a) {
  WriteMap(FindMap(a.running, a.alpha, a.moments, a.options), a.map);
}

template <int = 0>
__global__ void Update(const __grid_constant__ UpdateArguments a) {
  TakeBatch(a.running, ReadMoments(a.moments), a.options);
}

}  // namespace anact::kernels::HWY_NAMESPACE
