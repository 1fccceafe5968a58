// Prints the worst error of every kernel's f and f' in float over all bit patterns, as CSV:
//
//   ulp_table [STRIDE [THREADS [INSTRUCTION_SET]]]
//
// With the default stride of 1 each of the 2^32 patterns is tried. Progress goes to standard error. Exits with 1 if a
// bound is exceeded.

#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "kernels/ulp.h"

namespace {

using anact::Activation;
using anact::kernels::WorstErrors;

constexpr std::uint64_t kPatterns = std::uint64_t{1} << 32;
constexpr std::uint64_t kChunk = std::uint64_t{1} << 16;

WorstErrors over_all_floats(const Activation& activation, const std::string& name, std::uint64_t stride, int threads) {
  WorstErrors worst;
  std::mutex mutex;
  std::atomic<std::uint64_t> next = 0;
  const std::uint64_t count = (kPatterns + stride - 1) / stride;
  const std::uint64_t chunks = (count + kChunk - 1) / kChunk;
  const auto work = [&] {
    std::vector<float> x;
    for (std::uint64_t chunk = next++; chunk < chunks; chunk = next++) {
      x.clear();
      for (std::uint64_t i = chunk * kChunk; i < std::min(count, (chunk + 1) * kChunk); ++i) {
        const auto value = std::bit_cast<float>(static_cast<std::uint32_t>(i * stride));
        if (std::isfinite(value)) x.push_back(value);
      }
      const auto found = anact::kernels::worst_errors(activation, x);
      const std::scoped_lock lock(mutex);
      worst.value.take(found.value.ulp, found.value.at);
      worst.slope.take(found.slope.ulp, found.slope.at);
      if (chunk % 1024 == 0) {
        const double done = 100.0 * static_cast<double>(chunk) / static_cast<double>(chunks);
        std::fprintf(stderr, "\r%-12s %3.0f %%", name.c_str(), done);
      }
    }
  };
  std::vector<std::jthread> pool;
  for (int i = 1; i < threads; ++i) pool.emplace_back(work);
  work();
  pool.clear();
  std::fprintf(stderr, "\r%-12s done \n", name.c_str());
  return worst;
}

bool print(const std::string& name, const char* function, const anact::kernels::Worst& worst, double bound) {
  std::printf("%s,%s,%.3f,%.9g,%g\n", name.c_str(), function, worst.ulp, worst.at, bound);
  std::fflush(stdout);
  return worst.ulp <= bound;
}

}  // namespace

int main(int argc, char** argv) try {
  const std::uint64_t stride = argc > 1 ? std::stoull(argv[1]) : 1;
  const int threads = argc > 2 ? std::stoi(argv[2]) : 2;
  if (argc > 4 || stride == 0 || threads < 1) {
    std::fprintf(stderr, "usage: ulp_table [STRIDE [THREADS [INSTRUCTION_SET]]]\n");
    return 2;
  }
  if (argc > 3) anact::kernels::use_instruction_set(argv[3]);
  bool within = true;
  std::printf("activation,function,worst_ulp,at,bound\n");
  for (const auto& info : anact::activation_catalogue()) {
    if (!anact::kernels::has_kernel(info.kind)) continue;
    const std::string name(info.name);
    const auto worst = over_all_floats(anact::make_activation(info.kind), name, stride, threads);
    const auto& bound = anact::kernels::accuracy(info.kind);
    within &= print(name, "value", worst.value, bound.value_ulp);
    within &= print(name, "derivative", worst.slope, bound.slope_ulp);
  }
  return within ? 0 : 1;
} catch (const std::exception& error) {
  std::fprintf(stderr, "ulp_table: %s\n", error.what());
  return 2;
}
