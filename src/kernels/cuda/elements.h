// The element types on the device: 16 bytes of them at a time, and each in the type of its arithmetic.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kernels/element_types.h"
#include "kernels/vectors.h"

namespace anact::kernels::HWY_NAMESPACE {

template <class T>
using Arithmetic = std::conditional_t<std::is_same_v<T, double>, double, float>;

HWY_INLINE float Widen(float element) { return element; }
HWY_INLINE double Widen(double element) { return element; }
HWY_INLINE float Widen(BFloat16 element) { return std::bit_cast<float>(std::uint32_t{element.bits} << 16); }
HWY_INLINE float Widen(Float16 element) {
#ifdef __CUDACC__
  float result;
  asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(element.bits));
  return result;
#else
  const std::uint32_t sign = (element.bits & 0x8000U) << 16;
  const std::uint32_t magnitude = element.bits & 0x7FFFU;
  if (magnitude >= 0x7C00) return std::bit_cast<float>(sign | 0x7F800000 | (magnitude & 0x3FF) << 13);
  if (magnitude >= 0x400) return std::bit_cast<float>(sign | ((magnitude << 13) + (112U << 23)));
  const float size = static_cast<float>(magnitude) * 0x1p-24F;
  return sign != 0 ? -size : size;
#endif
}

// Rounds to nearest, ties to even.
template <class T>
T Narrow(Arithmetic<T> value);
template <>
HWY_INLINE float Narrow<float>(float value) {
  return value;
}
template <>
HWY_INLINE double Narrow<double>(double value) {
  return value;
}
template <>
HWY_INLINE BFloat16 Narrow<BFloat16>(float value) {
#if defined(__CUDACC__) && __CUDA_ARCH__ >= 800
  BFloat16 result;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
  return result;
#else
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7FFFFFFF) > 0x7F800000) return {0x7FFF};
  // Just below a half, and one more for an odd last bit: a carry is a rounding up, of a tie to the even neighbour.
  return {static_cast<std::uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16)};
#endif
}
template <>
HWY_INLINE Float16 Narrow<Float16>(float value) {
#ifdef __CUDACC__
  Float16 result;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
  return result;
#else
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t magnitude = bits & 0x7FFFFFFF;
  const std::uint32_t sign = bits >> 16 & 0x8000;
  std::uint32_t result = 0;
  if (magnitude > 0x7F800000) {
    result = 0x7FFF;
  } else if (magnitude > 0x477FFFFF) {
    result = 0x7C00;
  } else if (magnitude < 113U << 23) {
    // Beside 1/2 the last bit of a float is worth the least subnormal number, so the addition rounds.
    result = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0.5F) - std::bit_cast<std::uint32_t>(0.5F);
  } else {
    // As for bfloat16, with 13 bits to lose; from 65520 on the carry reaches infinity.
    result = (magnitude - (112U << 23) + 0xFFF + (magnitude >> 13 & 1)) >> 13;
  }
  return {static_cast<std::uint16_t>(result | sign)};
#endif
}

template <class T>
inline constexpr std::size_t kPacketSize = 16 / sizeof(T);

// What one instruction loads or stores.
template <class T>
struct alignas(16) Packet {
  T elements[kPacketSize<T>];
};

template <class T>
HWY_INLINE bool IsAligned(const T* elements) {
  return reinterpret_cast<std::uintptr_t>(elements) % 16 == 0;
}

// An address that is not a multiple of 16 is read element by element: the same results, from the first-level cache.
template <class T>
HWY_INLINE Packet<T> LoadPacket(const T* from, bool aligned) {
  if (aligned) return *reinterpret_cast<const Packet<T>*>(from);
  Packet<T> packet;
  ANACT_UNROLL
  for (std::size_t i = 0; i < kPacketSize<T>; ++i) packet.elements[i] = from[i];
  return packet;
}

template <class T>
HWY_INLINE void StorePacket(const Packet<T>& packet, T* to, bool aligned) {
  if (aligned) {
    *reinterpret_cast<Packet<T>*>(to) = packet;
    return;
  }
  ANACT_UNROLL
  for (std::size_t i = 0; i < kPacketSize<T>; ++i) to[i] = packet.elements[i];
}

}  // namespace anact::kernels::HWY_NAMESPACE
