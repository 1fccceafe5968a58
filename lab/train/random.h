// Streams of random numbers.
#pragma once

#include <ATen/CPUGeneratorImpl.h>

#include <cstdint>

namespace anact::train {

// What a stream is for, so that one use does not shift another's. The epoch is added to `order`.
enum class Purpose : std::uint64_t { weights = 0, order = 1 };

// The stream of a seed for a purpose: SplitMix64 (Steele, Lea and Flood 2014), so that nearby seeds give unrelated
// ones.
inline at::Generator generator(std::int64_t seed, Purpose purpose, std::int64_t epoch = 0) {
  std::uint64_t z = static_cast<std::uint64_t>(seed) * 0x9e3779b97f4a7c15 + static_cast<std::uint64_t>(purpose) +
                    static_cast<std::uint64_t>(epoch) + 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return at::detail::createCPUGenerator(z ^ (z >> 31));
}

}  // namespace anact::train
