#pragma once

namespace std {

template <class T>
struct type_identity {
  using type = T;
};

template <bool kFirst, class First, class Second>
struct conditional : type_identity<First> {};
template <class First, class Second>
struct conditional<false, First, Second> : type_identity<Second> {};
template <bool kFirst, class First, class Second>
using conditional_t = typename conditional<kFirst, First, Second>::type;

template <class A, class B>
inline constexpr bool is_same_v = false;
template <class A>
inline constexpr bool is_same_v<A, A> = true;

template <class T>
inline constexpr bool is_trivially_copyable_v = __is_trivially_copyable(T);

}  // namespace std
