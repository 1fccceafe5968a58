// The functions of Highway that math-inl.h and activations-inl.h use, on "vectors" of one number: a thread of CUDA
// evaluates an activation for one element at a time. Plain C++ as well, for the host and for the tests.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <type_traits>

#ifdef __CUDACC__
#define HWY_INLINE __forceinline__
#define ANACT_UNROLL _Pragma("unroll")
#define ANACT_AS_LOOP _Pragma("unroll 1")
#else
#define HWY_INLINE inline __attribute__((always_inline))
#define ANACT_UNROLL
#define ANACT_AS_LOOP
#endif
// Another name where a program holds the kernels more than once.
#ifndef HWY_NAMESPACE
#define HWY_NAMESPACE N_CUDA
#endif
#define HWY_BEFORE_NAMESPACE() static_assert(true)
#define HWY_AFTER_NAMESPACE() static_assert(true)
#define HWY_ARCH_X86 0
#define HWY_NATIVE_FMA 1
#define HWY_AVX3 1
#define HWY_SSSE3 2
#define HWY_TARGET 3

namespace hwy {

template <class T>
using MakeUnsigned = std::conditional_t<sizeof(T) == 8, std::uint64_t, std::uint32_t>;

namespace HWY_NAMESPACE {

template <class T>
struct ScalableTag {
  using Number = T;
};
template <class D>
using TFromD = typename D::Number;
template <class D>
using Vec = TFromD<D>;
template <class D>
using RebindToUnsigned = ScalableTag<MakeUnsigned<TFromD<D>>>;

template <class D>
HWY_INLINE Vec<D> Set(D, TFromD<D> value) {
  return value;
}
template <class D>
HWY_INLINE Vec<D> Zero(D) {
  return 0;
}
template <class D, class V>
HWY_INLINE Vec<D> BitCast(D, V v) {
  return std::bit_cast<Vec<D>>(v);
}

template <class V>
HWY_INLINE V Add(V a, V b) {
  return a + b;
}
template <class V>
HWY_INLINE V Sub(V a, V b) {
  return a - b;
}
template <class V>
HWY_INLINE V Mul(V a, V b) {
  return a * b;
}
template <class V>
HWY_INLINE V Div(V a, V b) {
  return a / b;
}
template <class V>
HWY_INLINE V Neg(V v) {
  return -v;
}
template <class V>
HWY_INLINE V MulAdd(V a, V b, V c) {
  return std::fma(a, b, c);
}
template <class V>
HWY_INLINE V MulSub(V a, V b, V c) {
  return std::fma(a, b, -c);
}
template <class V>
HWY_INLINE V NegMulAdd(V a, V b, V c) {
  return std::fma(-a, b, c);
}

// To 1 ulp on the device. Elsewhere a coarser one, on which a step of Newton's must not be missing.
HWY_INLINE float ApproximateReciprocal(float v) {
#ifdef __CUDACC__
  float result;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(v));
  return result;
#else
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(1 / v) & ~std::uint32_t{0x1FF});
#endif
}

HWY_INLINE float Abs(float v) { return std::bit_cast<float>(std::bit_cast<std::uint32_t>(v) & 0x7FFFFFFF); }
HWY_INLINE double Abs(double v) {
  return std::bit_cast<double>(std::bit_cast<std::uint64_t>(v) & 0x7FFF'FFFF'FFFF'FFFF);
}
template <class V>
HWY_INLINE V CopySignToAbs(V magnitude, V sign) {
  return std::copysign(magnitude, sign);
}

template <class V>
HWY_INLINE bool Lt(V a, V b) {
  return a < b;
}
template <class V>
HWY_INLINE bool Le(V a, V b) {
  return a <= b;
}
template <class V>
HWY_INLINE bool Gt(V a, V b) {
  return a > b;
}
template <class V>
HWY_INLINE bool Ge(V a, V b) {
  return a >= b;
}

// Of two masks, or of two numbers' bits.
template <class V>
HWY_INLINE V And(V a, V b) {
  return a & b;
}
template <int kBits, class V>
HWY_INLINE V ShiftLeft(V v) {
  return v << kBits;
}

template <class V>
HWY_INLINE V IfThenElse(bool mask, V yes, V no) {
  return mask ? yes : no;
}
template <class V>
HWY_INLINE V IfThenElseZero(bool mask, V yes) {
  return mask ? yes : V{0};
}
template <class V>
HWY_INLINE V IfThenZeroElse(bool mask, V no) {
  return mask ? V{0} : no;
}
template <class V>
HWY_INLINE V IfNegativeThenElse(V v, V yes, V no) {
  return v < V{0} ? yes : no;
}

}  // namespace HWY_NAMESPACE
}  // namespace hwy
