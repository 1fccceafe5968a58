#pragma once

namespace std {

using size_t = decltype(sizeof(0));

}  // namespace std
