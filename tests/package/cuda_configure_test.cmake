# Configures the project and links a program with a LibTorch that was built with CUDA, where CUDA is not installed.
#
# That LibTorch is the real one with a libtorch.so that needs a CUDA part, which in turn needs a library that does not
# exist. Like the real one's, its TorchConfig.cmake demands a CUDA toolkit.

include("${CMAKE_CURRENT_LIST_DIR}/common.cmake")

set(torch "${FOLDER}/torch")
file(GLOB libraries "${TORCH_ROOT}/lib/*.so*")
file(MAKE_DIRECTORY "${torch}/lib")
file(CREATE_LINK "${TORCH_ROOT}/include" "${torch}/include" SYMBOLIC)
foreach(library ${libraries})
  get_filename_component(name "${library}" NAME)
  if(NOT name STREQUAL "libtorch.so")
    file(CREATE_LINK "${library}" "${torch}/lib/${name}" SYMBOLIC)
  endif()
endforeach()
file(WRITE "${torch}/share/cmake/Torch/TorchConfig.cmake" "find_package(CUDAToolkit REQUIRED)\nmessage(FATAL_ERROR)\n")

file(WRITE "${FOLDER}/runtime.cpp" "void absent_cuda_function() {}\n")
file(WRITE "${FOLDER}/cuda.cpp" "void absent_cuda_function();\nvoid use_cuda() { absent_cuda_function(); }\n")
file(WRITE "${FOLDER}/empty.cpp" "")
run("${CXX}" -shared -fPIC "${FOLDER}/runtime.cpp" -o "${FOLDER}/libabsent_cudart.so.1" -Wl,-soname,libabsent_cudart.so.1)
run("${CXX}" -shared -fPIC "${FOLDER}/cuda.cpp" -o "${torch}/lib/libtorch_cuda.so" "${FOLDER}/libabsent_cudart.so.1")
file(REMOVE "${FOLDER}/libabsent_cudart.so.1") # it had to be there when the library that needs it was linked
run("${CXX}" -shared -fPIC "${FOLDER}/empty.cpp" -o "${torch}/lib/libtorch.so" -Wl,-soname,libtorch.so "-L${torch}/lib" -Wl,--no-as-needed
    -ltorch_cuda -Wl,-rpath,$ORIGIN -Wl,--allow-shlib-undefined)

run(${configure} -S "${SOURCE}" -B "${FOLDER}/project" -DANACT_BUILD_TESTS=OFF "-DTorch_DIR=${torch}/share/cmake/Torch")
expect_output("in ${torch} (Torch_DIR=")

run(${configure} -S "${CMAKE_CURRENT_LIST_DIR}/torch_user" -B "${FOLDER}/user" "-DTorch_DIR=${torch}/share/cmake/Torch")
run("${CMAKE_COMMAND}" --build "${FOLDER}/user")
if(NOT EXISTS "${FOLDER}/user/torch_user")
  message(FATAL_ERROR "the program was not linked")
endif()
