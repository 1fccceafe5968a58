# Installs the build, and builds and runs a project that uses it by find_package(anact).

include("${CMAKE_CURRENT_LIST_DIR}/common.cmake")

set(prefix "${FOLDER}/prefix")
run("${CMAKE_COMMAND}" --install "${BUILD}" --prefix "${prefix}")
if(EXISTS "${SOURCE}/data/digits.csv.gz" AND NOT EXISTS "${prefix}/${DATA_DIR}/anact/digits.csv.gz")
  message(FATAL_ERROR "the digits were not installed")
endif()
if(EXISTS "${BUILD}/anact")
  run("${prefix}/${BIN_DIR}/anact" --help)
endif()

run(${configure} -S "${CMAKE_CURRENT_LIST_DIR}/consumer" -B "${FOLDER}/build" "-DCMAKE_PREFIX_PATH=${prefix}")
expect_output("(the LibTorch that ANAct was built with)")
run("${CMAKE_COMMAND}" --build "${FOLDER}/build")
run("${FOLDER}/build/consumer")

# LibTorch can be named, and one of another release is refused.
run(${configure} -S "${CMAKE_CURRENT_LIST_DIR}/consumer" -B "${FOLDER}/build" "-DTorch_DIR=${TORCH_ROOT}/share/cmake/Torch")
expect_output("in ${TORCH_ROOT} (Torch_DIR=")
file(WRITE "${FOLDER}/other/include/torch/headeronly/version.h"
     "#define TORCH_VERSION_MAJOR 99\n#define TORCH_VERSION_MINOR 0\n#define TORCH_VERSION_PATCH 0\n")
foreach(library torch torch_cpu c10)
  file(WRITE "${FOLDER}/other/lib/lib${library}.so" "")
endforeach()
run_failing("and cannot be used with 99.0.0" ${configure} -S "${CMAKE_CURRENT_LIST_DIR}/consumer" -B "${FOLDER}/build"
            "-DTorch_DIR=${FOLDER}/other/share/cmake/Torch")
