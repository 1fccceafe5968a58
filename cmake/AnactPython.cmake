# Finds the Python that imports the LibTorch we link with, and what an extension module for it needs.
#
# ANACT_BUILD_PYTHON says whether the package `anact` is built; by default it is where that Python has its headers.

cmake_path(APPEND ANACT_TORCH_ROOT "../../../../bin/python3" OUTPUT_VARIABLE ANACT_TORCH_PYTHON)
cmake_path(NORMAL_PATH ANACT_TORCH_PYTHON)
if(NOT Python_EXECUTABLE AND EXISTS "${ANACT_TORCH_PYTHON}")
  set(Python_EXECUTABLE "${ANACT_TORCH_PYTHON}")
endif()

set(anact_torch_python_library "${ANACT_TORCH_ROOT}/lib/libtorch_python.so")
set(anact_can_build_python OFF)
if(Python_EXECUTABLE AND EXISTS "${anact_torch_python_library}")
  find_package(Python 3.10 COMPONENTS Interpreter Development.Module)
  set(anact_can_build_python ${Python_Development.Module_FOUND})
endif()
option(ANACT_BUILD_PYTHON "Build the Python package" ${anact_can_build_python})
if(ANACT_BUILD_PYTHON AND NOT anact_can_build_python)
  message(FATAL_ERROR "The Python package needs a PyTorch with '${anact_torch_python_library}' and the headers of the "
                      "Python that runs it, '${Python_EXECUTABLE}' (Debian calls their package python3-dev).")
endif()
if(NOT ANACT_BUILD_PYTHON)
  message(STATUS "The Python package is not built")
endif()

# The package's version names the release of PyTorch that it is built against. Under a front end python/torch_release.py has
# given it before CMake ran, and a wheel from an sdist has the sdist's.
string(REGEX MATCH "^[0-9]+\\.[0-9]+" ANACT_TORCH_RELEASE "${ANACT_TORCH_VERSION}")
set(ANACT_PACKAGE_VERSION "${PROJECT_VERSION}+torch${ANACT_TORCH_RELEASE}")
if(SKBUILD AND NOT SKBUILD_PROJECT_VERSION_FULL STREQUAL ANACT_PACKAGE_VERSION)
  if(SKBUILD_PROJECT_VERSION_FULL MATCHES "\\+torch")
    message(FATAL_ERROR "The package would be called ${SKBUILD_PROJECT_VERSION_FULL}, but is built against PyTorch "
                        "${ANACT_TORCH_VERSION}. Name that with TORCH_PYTHON or Torch_DIR in the environment only.")
  endif()
  set(ANACT_PACKAGE_VERSION "${SKBUILD_PROJECT_VERSION_FULL}")
endif()
