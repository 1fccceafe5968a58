// Streams of random numbers.
#pragma once

#include <ATen/CPUGeneratorImpl.h>

#include <cstdint>

#include "data/random.h"

namespace anact::train {

// What a stream is for, so that one use does not shift another's. The epoch is added to `order`.
enum class Purpose : std::uint64_t { weights = 0, order = 1 };

// The stream of a seed for a purpose: SplitMix64 (Steele, Lea and Flood 2014), so that nearby seeds give unrelated
// ones.
inline at::Generator generator(std::int64_t seed, Purpose purpose, std::int64_t epoch = 0) {
  return at::detail::createCPUGenerator(data::Random::mix(static_cast<std::uint64_t>(seed) * data::Random::kStep +
                                                          static_cast<std::uint64_t>(purpose) +
                                                          static_cast<std::uint64_t>(epoch) + data::Random::kStep));
}

}  // namespace anact::train
