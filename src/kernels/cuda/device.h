// What kernels.cu asks of the device, which the tests' emulation answers otherwise.
#pragma once

namespace anact::kernels::cuda {

// Memory that the threads of a block share.
template <class T>
T& SharedMemory() {
  __shared__ T memory;
  return memory;
}

// Every access to what another thread writes or reads in the same launch goes through these two, so that the emulation
// sees it.
template <class T>
__forceinline__ T Get(const T& place) {
  return place;
}
template <class T>
__forceinline__ void Put(T& place, T value) {
  place = value;
}

}  // namespace anact::kernels::cuda
