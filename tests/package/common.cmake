# What the package tests share.

# Runs a command and stops the test if it fails.
function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT status EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "failed (${status}): ${command}\n${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

# The same for a command that must fail, with an output that holds `text` (line breaks and indents aside).
function(run_failing text)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
  string(REGEX REPLACE "[ \n]+" " " flat "${output}")
  string(FIND "${flat}" "${text}" position)
  list(JOIN ARGN " " command)
  if(status EQUAL 0)
    message(FATAL_ERROR "succeeded, but had to fail: ${command}\n${output}")
  elseif(position EQUAL -1)
    message(FATAL_ERROR "failed without saying '${text}': ${command}\n${output}")
  endif()
endfunction()

# Stops the test unless `output` holds `text`.
function(expect_output text)
  string(FIND "${output}" "${text}" position)
  if(position EQUAL -1)
    message(FATAL_ERROR "expected '${text}' in:\n${output}")
  endif()
endfunction()

set(configure "${CMAKE_COMMAND}" -G "${GENERATOR}" "-DCMAKE_CXX_COMPILER=${CXX}" -DCMAKE_BUILD_TYPE=Release)
if(CCACHE)
  list(APPEND configure "-DCMAKE_CXX_COMPILER_LAUNCHER=${CCACHE}")
endif()

file(REMOVE_RECURSE "${FOLDER}")
file(MAKE_DIRECTORY "${FOLDER}")
