# What NVRTC compiles, under the names by which the files include one another.
set(ANACT_CUDA_MAIN kernels/cuda/kernels.cu)
# Of src/.
set(ANACT_CUDA_HEADERS
    kernels/accuracy.h
    kernels/activations-inl.h
    kernels/coefficients.h
    kernels/cuda/arguments.h
    kernels/cuda/device.h
    kernels/cuda/elements.h
    kernels/cuda/scalar.h
    kernels/element_types.h
    kernels/math-inl.h
    kernels/vectors.h
    math/factors.cpp
    math/moments.cpp
    math/step.cpp
    math/step.h)
# Of include/.
set(ANACT_CUDA_PUBLIC anact/activation.h anact/moments.h anact/normalization.h)
# Of src/kernels/cuda/std/, NAME.h as NAME.
set(ANACT_CUDA_STANDARD algorithm array bit cmath cstddef cstdint limits numbers span string string_view type_traits vector)
