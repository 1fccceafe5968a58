#pragma once

#include <cstddef>

namespace std {

template <class T, size_t n>
struct array {
  T elements[n];

  constexpr T& operator[](size_t i) { return elements[i]; }
  constexpr const T& operator[](size_t i) const { return elements[i]; }
  friend constexpr bool operator==(const array&, const array&) = default;
};
template <class T, class... Rest>
array(T, Rest...) -> array<T, 1 + sizeof...(Rest)>;

}  // namespace std
