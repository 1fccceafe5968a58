# Writes the sources that NVRTC compiles into a C++ file: cmake -DINCLUDE=… -DSOURCE=… -DOUTPUT=… -P AnactEmbed.cmake

include("${CMAKE_CURRENT_LIST_DIR}/AnactCudaSources.cmake")

# The text as adjacent raw literals: compilers need not take a literal of more than 64 KiB.
function(append_source folder file name)
  file(READ "${folder}/${file}" text)
  set(literals "")
  while(NOT text STREQUAL "")
    string(SUBSTRING "${text}" 0 8000 part)
    string(LENGTH "${part}" length)
    string(SUBSTRING "${text}" ${length} -1 text)
    string(APPEND literals " R\"anact(${part})anact\"\n")
  endwhile()
  set(content "${content}    {\"${name}\",\n${literals}},\n" PARENT_SCOPE)
endfunction()

set(content "// Written by AnactEmbed.cmake; do not edit.\n\n#include \"kernels/cuda/kernels.h\"\n\n"
            "namespace anact::kernels::cuda {\nnamespace {\n\nconstexpr Source kSources[] = {\n")
string(JOIN "" content ${content})
append_source("${SOURCE}" "${ANACT_CUDA_MAIN}" "${ANACT_CUDA_MAIN}")
foreach(file ${ANACT_CUDA_HEADERS})
  append_source("${SOURCE}" "${file}" "${file}")
endforeach()
foreach(file ${ANACT_CUDA_PUBLIC})
  append_source("${INCLUDE}" "${file}" "${file}")
endforeach()
foreach(name ${ANACT_CUDA_STANDARD})
  append_source("${SOURCE}/kernels/cuda/std" "${name}.h" "${name}")
endforeach()
string(APPEND content "};\n\n}  // namespace\n\nconst Source& main_source() { return kSources[0]; }\n\n"
                      "std::span<const Source> headers() { return std::span(kSources).subspan(1); }\n\n"
                      "}  // namespace anact::kernels::cuda\n")
file(WRITE "${OUTPUT}" "${content}")
