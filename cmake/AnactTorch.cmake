# Finds LibTorch and defines the target anact::torch.
#
# The stock find_package(Torch) demands a CUDA toolkit when the LibTorch it finds was built with CUDA. ANAct calls only
# the device-independent part of the library, so this module links that part and leaves the rest to be loaded at run time.
#
# LibTorch is named by one of these, as a CMake variable (-D) or in the environment; of two, the first counts:
#   Torch_DIR     .../share/cmake/Torch of a LibTorch or of a PyTorch wheel
#   TORCH_PYTHON  a Python interpreter that has torch
# Under pip (SKBUILD) it is, without one, the torch of the environment that is installed into. The build folder remembers the choice until another is made. Without one it is ANACT_TORCH_DEFAULT, which the installed
# package sets to what it was built with, and else <source>/.venv, which `make setup` fills.
#
# Sets ANACT_TORCH_ROOT and ANACT_TORCH_VERSION.

include_guard(GLOBAL)

# The folder of the torch package that the command `python` would import; empty if it has none. Importing it would take
# seconds.
function(anact_torch_of_python result)
  execute_process(
    COMMAND ${ARGN} -c "import importlib.util as u, os; print(os.path.dirname(u.find_spec('torch').origin), end='')"
    WORKING_DIRECTORY / # a folder named torch here is not the package
    OUTPUT_VARIABLE root
    RESULT_VARIABLE status
    ERROR_QUIET)
  if(NOT status EQUAL 0)
    set(root "")
  endif()
  set(${result} "${root}" PARENT_SCOPE)
endfunction()

function(anact_find_torch)
  set(minimum 2.11)
  string(CONCAT ANACT_TORCH_HELP "Run `make setup`, or name a PyTorch or LibTorch of version ${minimum} or newer with "
                "TORCH_PYTHON=/path/to/python or Torch_DIR=/path/to/libtorch/share/cmake/Torch.")

  # What differs from what the last run saw is a new choice. So a build folder keeps its LibTorch when it is configured
  # again from a shell without the variable, and -D is not overridden by an environment that was there before.
  set(choice "${ANACT_TORCH_CHOICE}")
  foreach(name TORCH_PYTHON Torch_DIR)
    if(NOT "$ENV{${name}}" STREQUAL "" AND NOT "$ENV{${name}}" STREQUAL "${ANACT_TORCH_SEEN_ENV_${name}}")
      set(choice "${name}=$ENV{${name}}")
    endif()
  endforeach()
  foreach(name TORCH_PYTHON Torch_DIR)
    if(NOT "${${name}}" STREQUAL "${ANACT_TORCH_SEEN_${name}}")
      if(${name})
        set(choice "${name}=${${name}}")
      elseif(choice MATCHES "^${name}=")
        set(choice "")
      endif()
    endif()
  endforeach()

  set(from "${choice}")
  if(choice MATCHES "^TORCH_PYTHON=(.+)")
    set(python "${CMAKE_MATCH_1}")
    if(python MATCHES "/") # otherwise it is looked up in PATH
      get_filename_component(python "${python}" ABSOLUTE BASE_DIR "${CMAKE_SOURCE_DIR}")
    endif()
    anact_torch_of_python(root "${python}")
  elseif(choice MATCHES "^Torch_DIR=(.+)")
    get_filename_component(root "${CMAKE_MATCH_1}/../../.." ABSOLUTE BASE_DIR "${CMAKE_SOURCE_DIR}")
  elseif(ANACT_TORCH_DEFAULT)
    set(from "the LibTorch that ANAct was built with")
    set(root "${ANACT_TORCH_DEFAULT}")
  elseif(SKBUILD)
    # pip hides the environment's packages from the build by variables; other front ends build in an environment of
    # their own, and only the shell's variables tell of the one that is meant.
    set(from "pip")
    set(root "")
    foreach(python "${Python_EXECUTABLE}" "$ENV{VIRTUAL_ENV}/bin/python" "$ENV{CONDA_PREFIX}/bin/python")
      if(NOT root AND EXISTS "${python}")
        anact_torch_of_python(root "${CMAKE_COMMAND}" -E env --unset=PYTHONPATH --unset=PYTHONNOUSERSITE "${python}")
      endif()
    endforeach()
    if(NOT root)
      # Indented lines are printed as they are.
      message(
        FATAL_ERROR
          "anact is compiled against the PyTorch that it will run with, and found none. Install PyTorch ${minimum} or newer "
          "first. If the environment has it already, the build does not see it, because the front end builds elsewhere "
          "(uv, python -m build); name the Python that has it:\n"
          "  TORCH_PYTHON=/path/to/python uv pip install .\n"
          "or build in the environment itself, with scikit-build-core installed in it:\n"
          "  uv pip install --no-build-isolation .")
    endif()
  else()
    set(from ".venv")
    anact_torch_of_python(root "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/../.venv/bin/python")
  endif()
  if(NOT root)
    message(FATAL_ERROR "${from}: that Python does not exist or has no torch. ${ANACT_TORCH_HELP}")
  endif()
  get_filename_component(root "${root}" ABSOLUTE)

  set(version_header include/torch/headeronly/version.h)
  foreach(needed ${version_header} lib/libtorch.so lib/libtorch_cpu.so lib/libc10.so)
    if(NOT EXISTS "${root}/${needed}")
      message(FATAL_ERROR "${from}: there is no '${root}/${needed}', so this is not a LibTorch of version ${minimum} or "
                          "newer. ${ANACT_TORCH_HELP}")
    endif()
  endforeach()
  set(version "")
  foreach(part MAJOR MINOR PATCH)
    file(STRINGS "${root}/${version_header}" line REGEX "^#define TORCH_VERSION_${part} +[0-9]+")
    string(REGEX MATCH "[0-9]+$" number "${line}")
    list(APPEND version "${number}")
  endforeach()
  list(JOIN version "." version)
  if(version VERSION_LESS minimum)
    message(FATAL_ERROR "${from}: LibTorch ${version} in '${root}' is too old. ${ANACT_TORCH_HELP}")
  endif()

  add_library(anact_torch INTERFACE)
  add_library(anact::torch ALIAS anact_torch)
  target_include_directories(anact_torch SYSTEM INTERFACE "${root}/include" "${root}/include/torch/csrc/api/include")
  target_compile_features(anact_torch INTERFACE cxx_std_20)
  # at::parallel_for is an inline function that runs serially without OpenMP. The wheel brings its own libgomp: linking
  # that one keeps the process at a single pool of threads.
  target_compile_options(anact_torch INTERFACE -fopenmp)
  file(GLOB gomp "${root}/lib/libgomp*.so*" "${root}/../torch.libs/libgomp*.so*")
  if(gomp)
    list(GET gomp 0 gomp)
  else()
    set(gomp -fopenmp)
  endif()
  # libtorch.so holds no symbol, so the linker must be told to keep it: it loads the CUDA part, whose own libraries need
  # not be here to link.
  target_link_libraries(
    anact_torch INTERFACE "-Wl,--push-state,--no-as-needed,\"${root}/lib/libtorch.so\",--pop-state"
                          "${root}/lib/libtorch_cpu.so" "${root}/lib/libc10.so" "${gomp}")
  # An extension module finds LibTorch loaded, wherever it is.
  target_link_options(
    anact_torch INTERFACE "LINKER:--allow-shlib-undefined"
    "$<$<NOT:$<BOOL:$<TARGET_PROPERTY:ANACT_TORCH_IS_LOADED>>>:LINKER:-rpath,${root}/lib>")

  # Last, so that a run that failed is not remembered.
  foreach(name TORCH_PYTHON Torch_DIR)
    set(ANACT_TORCH_SEEN_${name} "${${name}}" CACHE INTERNAL "")
    set(ANACT_TORCH_SEEN_ENV_${name} "$ENV{${name}}" CACHE INTERNAL "")
  endforeach()
  set(ANACT_TORCH_CHOICE "${choice}" CACHE INTERNAL "")
  set(ANACT_TORCH_ROOT "${root}" CACHE INTERNAL "")
  set(ANACT_TORCH_VERSION "${version}" CACHE INTERNAL "")
  message(STATUS "LibTorch ${version} in ${root} (${from})")
endfunction()

anact_find_torch()
