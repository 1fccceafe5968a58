// Prints the worst error of every kernel's f and f' in float over all bit patterns, under the instruction sets named or
// else every one of this processor, as CSV:
//
//   ulp_table [STRIDE [THREADS [INSTRUCTION_SET...]]]
//
// With the default stride of 1 each of the 2^32 patterns is tried. Progress goes to standard error. Exits with 1 if a
// bound is exceeded.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <string>
#include <thread>
#include <vector>

#include "kernels/ulp.h"

namespace {

using anact::Activation;
using anact::kernels::WorstErrors;

constexpr std::uint64_t kPatterns = std::uint64_t{1} << 32;
constexpr std::uint64_t kChunk = std::uint64_t{1} << 18;

// The finite floats among the patterns first * stride, (first + 1) * stride, …
std::vector<float> floats(std::uint64_t first, std::uint64_t count, std::uint64_t stride) {
  std::vector<float> x;
  x.reserve(count);
  for (std::uint64_t i = first; i < first + count; ++i) {
    const auto value = std::bit_cast<float>(static_cast<std::uint32_t>(i * stride));
    if (std::isfinite(value)) x.push_back(value);
  }
  return x;
}

// Calls body(thread) on each of the threads.
template <class Body>
void on_threads(int threads, const Body& body) {
  std::vector<std::jthread> pool;
  for (int thread = 1; thread < threads; ++thread) pool.emplace_back(body, thread);
  body(0);
}

// One entry an instruction set. The threads meet after each chunk, since all use one instruction set at a time.
std::vector<WorstErrors> over_all_floats(const Activation& activation, std::uint64_t stride, int threads,
                                         const std::vector<std::string>& instruction_sets) {
  struct Part {
    std::vector<float> x;
    anact::kernels::Outputs<double> exact;
    WorstErrors found;
  };
  std::vector<Part> parts(static_cast<std::size_t>(threads));
  const auto part_of = [&](int thread) -> Part& { return parts[static_cast<std::size_t>(thread)]; };
  std::vector<WorstErrors> worst(instruction_sets.size());
  const std::uint64_t count = (kPatterns + stride - 1) / stride;
  for (std::uint64_t start = 0; start < count;) {
    const std::uint64_t length = std::min(kChunk, (count - start + parts.size() - 1) / parts.size());
    on_threads(threads, [&](int thread) {
      const std::uint64_t first = std::min(count, start + static_cast<std::uint64_t>(thread) * length);
      auto& part = part_of(thread);
      part.x = floats(first, std::min(length, count - first), stride);
      part.exact = anact::kernels::specified(activation, part.x);
    });
    for (std::size_t set = 0; set < instruction_sets.size(); ++set) {
      anact::kernels::use_instruction_set(instruction_sets[set]);
      on_threads(threads, [&](int thread) {
        auto& part = part_of(thread);
        part.found = worst_errors(activation, part.x, part.exact);
      });
      for (const auto& part : parts) {
        worst[set].value.take(part.found.value.ulp, part.found.value.at);
        worst[set].slope.take(part.found.slope.ulp, part.found.slope.at);
      }
    }
    start += parts.size() * length;
    const double done = std::min(100.0, 100.0 * static_cast<double>(start) / static_cast<double>(count));
    std::fprintf(stderr, "\r%-40s %3.0f %%", activation.to_string().c_str(), done);
  }
  std::fprintf(stderr, "\n");
  return worst;
}

bool print(const std::string& name, const char* function, const std::string& instruction_set,
           const anact::kernels::Worst& worst, double bound) {
  std::printf("%s,%s,%s,%.3f,%.9g,%g\n", name.c_str(), function, instruction_set.c_str(), worst.ulp, worst.at, bound);
  std::fflush(stdout);
  return worst.ulp <= bound;
}

}  // namespace

int main(int argc, char** argv) try {
  const std::uint64_t stride = argc > 1 ? std::stoull(argv[1]) : 1;
  const int threads = argc > 2 ? std::stoi(argv[2]) : 2;
  if (stride == 0 || threads < 1) {
    std::fprintf(stderr, "usage: ulp_table [STRIDE [THREADS [INSTRUCTION_SET...]]]\n");
    return 2;
  }
  bool within = true;
  std::printf("activation,function,instruction_set,worst_ulp,at,bound\n");
  std::vector<std::string> sets(argv + std::min(argc, 3), argv + argc);
  if (sets.empty()) sets = anact::kernels::instruction_sets();
  for (const auto& info : anact::activation_catalogue()) {
    if (!anact::kernels::has_kernel(info.kind)) continue;
    const std::string name(info.name);
    const auto worst = over_all_floats(anact::make_activation(info.kind), stride, threads, sets);
    const auto& bound = anact::kernels::accuracy(info.kind);
    for (std::size_t set = 0; set < sets.size(); ++set) {
      within &= print(name, "value", sets[set], worst[set].value, bound.value_ulp);
      within &= print(name, "derivative", sets[set], worst[set].slope, bound.slope_ulp);
    }
  }
  return within ? 0 : 1;
} catch (const std::exception& error) {
  std::fprintf(stderr, "ulp_table: %s\n", error.what());
  return 2;
}
