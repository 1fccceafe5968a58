# A room can include the rooms that it links, and no other: what may not be included is not on its path.

include("${CMAKE_CURRENT_LIST_DIR}/common.cmake")

# The flags that the room NAME is compiled with, from the build's own record.
function(compile_with_path_of room header)
  file(READ "${BUILD}/compile_commands.json" commands)
  string(REGEX MATCH "\"command\": \"[^\n]*/CMakeFiles/anact_${room}\\.dir/[^\n]*" command "${commands}")
  if(NOT command)
    message(FATAL_ERROR "the build compiles no room ${room}")
  endif()
  string(REGEX MATCHALL "-(I|isystem )[^ \"]+" paths "${command}")
  string(REPLACE "-isystem " "-isystem;" paths "${paths}")
  file(WRITE "${FOLDER}/${room}.cpp" "#include \"${header}\"\n")
  set(compile "${CXX}" -std=c++20 -fopenmp -fsyntax-only ${paths} "${FOLDER}/${room}.cpp" PARENT_SCOPE)
endfunction()

function(can_include room header)
  compile_with_path_of(${room} "${header}")
  run(${compile})
endfunction()

function(cannot_include room header)
  compile_with_path_of(${room} "${header}")
  run_failing("${header}: No such file or directory" "${CMAKE_COMMAND}" -E env LC_ALL=C ${compile})
endfunction()

# Up the table, and the public headers of rooms above.
can_include(kernels "math/double_double.h")
can_include(ops "kernels/kernels.h")
can_include(ops "gpu/gpu.h")
can_include(ops "anact/options.h")
can_include(nn "ops/passes.h")
can_include(train "models/catalogue.h")
# Down it.
cannot_include(math "kernels/kernels.h")
cannot_include(math "anact/nn.h")
cannot_include(kernels "ops/anact.h")
cannot_include(kernels "gpu/gpu.h")
cannot_include(gpu "kernels/kernels.h")
cannot_include(gpu "ops/anact.h")
cannot_include(ops "nn/step.h")
cannot_include(page "layers/csv.h")
# The library includes nothing of the laboratory, and neither do rooms that know nothing of training.
cannot_include(nn "io/safetensors.h")
cannot_include(layers "io/atomic_file.h")
cannot_include(models "train/arm.h")
cannot_include(report "train/arm.h")
cannot_include(train "report/report.h")
