# The worked patches of docs/extending.md: they apply one after the other, what they give builds, and it passes the tests
# that hold a new activation, option or target to its definition.

cmake_minimum_required(VERSION 3.25)

include("${CMAKE_CURRENT_LIST_DIR}/common.cmake")
find_program(GIT git REQUIRED)
cmake_host_system_information(RESULT cores QUERY NUMBER_OF_LOGICAL_CORES)

# The blocks ```diff of the part of the document below the heading "# NAME", one after the other.
function(read_patch name)
  file(READ "${SOURCE}/docs/extending.md" document)
  string(FIND "${document}" "\n# ${name}\n" begin)
  if(begin EQUAL -1)
    message(FATAL_ERROR "docs/extending.md has no part '# ${name}'")
  endif()
  math(EXPR begin "${begin} + 2")
  string(SUBSTRING "${document}" ${begin} -1 rest)
  string(FIND "${rest}" "\n# " end)
  string(SUBSTRING "${rest}" 0 ${end} rest)
  set(patch "")
  while(TRUE)
    string(FIND "${rest}" "\n```diff\n" begin)
    if(begin EQUAL -1)
      break()
    endif()
    math(EXPR begin "${begin} + 9")
    string(SUBSTRING "${rest}" ${begin} -1 rest)
    string(FIND "${rest}" "\n```\n" end)
    math(EXPR end "${end} + 1")
    string(SUBSTRING "${rest}" 0 ${end} block)
    string(SUBSTRING "${rest}" ${end} -1 rest)
    string(APPEND patch "${block}")
  endwhile()
  if(patch STREQUAL "")
    message(FATAL_ERROR "docs/extending.md has no patch below '# ${name}'")
  endif()
  set(patch "${patch}" PARENT_SCOPE)
endfunction()

set(source "${FOLDER}/source")
foreach(name CMakeLists.txt README.md cmake docs include lab python src tests)
  file(COPY "${SOURCE}/${name}" DESTINATION "${source}" PATTERN __pycache__ EXCLUDE)
endforeach()
# The copy lies in a build folder of ours, where git would skip every file as one of another folder.
set(ENV{GIT_CEILING_DIRECTORIES} "${FOLDER}")
foreach(name "Adding an activation" "Adding an option" "Adding a target")
  read_patch("${name}")
  file(WRITE "${FOLDER}/${name}.patch" "${patch}")
  execute_process(COMMAND "${GIT}" apply --verbose "${FOLDER}/${name}.patch" WORKING_DIRECTORY "${source}" RESULT_VARIABLE status
                  OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "the patch of docs/extending.md below '# ${name}' does not apply; write it anew:\n${output}")
  endif()
  execute_process(COMMAND "${GIT}" apply --numstat "${FOLDER}/${name}.patch" WORKING_DIRECTORY "${source}" OUTPUT_VARIABLE output)
  message(STATUS "${name} touches (lines added, lines removed):\n${output}")
endforeach()

# Less optimization than a release has, since what is built runs for seconds only.
set(targets math_test kernels_test)
if(PYTHON)
  list(APPEND targets anact_extension)
else()
  list(APPEND targets anact)
endif()
set(ENV{CCACHE_BASEDIR} "${FOLDER}")
run(${configure} -S "${source}" -B "${FOLDER}/build" "-DCMAKE_CXX_FLAGS_RELEASE=-O1 -DNDEBUG"
    "-DTorch_DIR=${TORCH_ROOT}/share/cmake/Torch")
run("${CMAKE_COMMAND}" --build "${FOLDER}/build" --parallel ${cores} --target ${targets})

run("${FOLDER}/build/tests/math_test" --gtest_brief=1)
run("${FOLDER}/build/tests/kernels_test" --gtest_brief=1 --gtest_filter=-Slow*:*/Slow*)

# The Python package, of which the patches touch the graphs of activations that PyTorch lacks and nothing else.
if(NOT PYTHON)
  message(STATUS "the Python package is not built, and not tested")
  return()
endif()
set(ENV{PYTHONPATH} "${FOLDER}/build/python")
set(ENV{PYTHONDONTWRITEBYTECODE} 1)
execute_process(COMMAND "${PYTHON}" -c "import pytest" RESULT_VARIABLE status ERROR_QUIET)
if(NOT status EQUAL 0)
  message(STATUS "'${PYTHON}' has no pytest: the Python package is not tested")
  return()
endif()
# The module and its folding against the oracle, and the tables as the package sees them.
run("${PYTHON}" -m pytest -q -p no:cacheprovider -m "not slow" "${source}/tests/python/module_test.py")
run("${PYTHON}" -m pytest -q -p no:cacheprovider -m "not slow" -k "every_activation or conversion_test" "${source}/tests/python/folding_test.py"
    "${source}/tests/python/conversion_test.py")
run("${PYTHON}" -c "
from anact import ANAct, ANActOptions, _C, _option_types, gains
assert 'damping' in [row[0] for row in _C.options()]
assert 'capped' in _option_types.Target.__args__
print(ANAct('gaussian', target='capped'), ANActOptions(damping=0.5))
print(gains('gaussian', std=2, target='capped'))")
message(STATUS "${output}")
