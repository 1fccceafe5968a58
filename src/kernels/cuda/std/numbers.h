#pragma once

namespace std::numbers {

inline constexpr double inv_sqrtpi = 0.56418958354775628694807945156077;
inline constexpr double ln2 = 0.69314718055994530941723212145818;
inline constexpr double log2e = 1.4426950408889634073599246810019;
inline constexpr double sqrt2 = 1.4142135623730950488016887242097;

}  // namespace std::numbers
