# How our own code is compiled: C++20, warnings as errors, ccache when it is there.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()

# For editors, and for the test of the rooms.
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}")
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}")

option(ANACT_SANITIZE "Build with the address and undefined-behaviour sanitizers" OFF)

option(ANACT_BUILD_ONCE "Compile rooms whole, and fast where their own speed does not matter: slow to build again" OFF)

find_program(ANACT_CCACHE ccache)
if(ANACT_CCACHE)
  # Precompiled headers are cached only with this sloppiness.
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CMAKE_COMMAND}" -E env CCACHE_SLOPPINESS=pch_defines,time_macros "${ANACT_CCACHE}")
endif()

add_library(anact_options INTERFACE)
target_compile_options(anact_options INTERFACE -Wall -Wextra -Wpedantic -Werror)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # GCC 12 warns of the standard library's own operator+ for strings (GCC bug 105651).
  target_compile_options(anact_options INTERFACE -Wno-restrict -Wno-stringop-overflow)
endif()
if(ANACT_CCACHE)
  target_compile_options(anact_options INTERFACE -fpch-preprocess)
endif()
if(ANACT_SANITIZE)
  target_compile_options(anact_options INTERFACE -fsanitize=address,undefined -fno-omit-frame-pointer)
  target_link_options(anact_options INTERFACE -fsanitize=address,undefined)
endif()
