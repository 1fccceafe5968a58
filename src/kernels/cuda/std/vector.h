#pragma once

namespace std {

// Named by declarations only.
template <class T>
class vector;

}  // namespace std
