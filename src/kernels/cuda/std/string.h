#pragma once

namespace std {

// Named by declarations only.
class string;

}  // namespace std
