# Which LibTorch is taken when it is named in different ways, that another choice is seen by a build folder that has been
# configured, and that a wrong one is refused with a message that says why.

include("${CMAKE_CURRENT_LIST_DIR}/common.cmake")

# A folder that passes for a LibTorch, and a "Python" that knows only where it is.
function(make_torch name version)
  string(REPLACE "." ";" parts "${version}")
  list(GET parts 0 major)
  list(GET parts 1 minor)
  set(root "${FOLDER}/${name}/torch")
  file(WRITE "${root}/include/torch/headeronly/version.h"
       "#define TORCH_VERSION_MAJOR ${major}\n#define TORCH_VERSION_MINOR ${minor}\n#define TORCH_VERSION_PATCH 0\n")
  foreach(library torch torch_cpu c10)
    file(WRITE "${root}/lib/lib${library}.so" "")
  endforeach()
  file(WRITE "${FOLDER}/${name}/python" "#!/bin/sh\nprintf %s '${root}'\n")
  file(CHMOD "${FOLDER}/${name}/python" PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE)
  set(${name}_python "${FOLDER}/${name}/python" PARENT_SCOPE)
  set(${name}_dir "${root}/share/cmake/Torch" PARENT_SCOPE)
endfunction()

make_torch(a 2.11.0)
make_torch(b 3.0.0)
make_torch(old 2.10.0)

list(APPEND configure -S "${CMAKE_CURRENT_LIST_DIR}/torch_user" -B)
set(env "${CMAKE_COMMAND}" -E env)

# Named by a variable, then by another; a run without one keeps the last.
run(${configure} "${FOLDER}/1" "-DTORCH_PYTHON=${a_python}")
expect_output("LibTorch 2.11.0 in ${FOLDER}/a/torch (TORCH_PYTHON=${a_python})")
run(${configure} "${FOLDER}/1" "-DTORCH_PYTHON=${b_python}")
expect_output("LibTorch 3.0.0 in ${FOLDER}/b/torch")
run(${configure} "${FOLDER}/1" "-DTorch_DIR=${a_dir}")
expect_output("LibTorch 2.11.0 in ${FOLDER}/a/torch (Torch_DIR=${a_dir})")
run(${configure} "${FOLDER}/1")
expect_output("LibTorch 2.11.0")
run(${configure} "${FOLDER}/1" "-DTORCH_PYTHON=${a_python}/../../b/../a/python" -DTorch_DIR=)
expect_output("LibTorch 2.11.0 in ${FOLDER}/a/torch (TORCH_PYTHON=")

# Named in the environment; remembered, overridden by a variable, and changed again.
run(${env} "TORCH_PYTHON=${a_python}" ${configure} "${FOLDER}/2")
expect_output("LibTorch 2.11.0")
run(${configure} "${FOLDER}/2")
expect_output("LibTorch 2.11.0")
run(${env} "TORCH_PYTHON=${b_python}" ${configure} "${FOLDER}/2")
expect_output("LibTorch 3.0.0")
run(${env} "TORCH_PYTHON=${b_python}" ${configure} "${FOLDER}/2" "-DTorch_DIR=${a_dir}")
expect_output("LibTorch 2.11.0")
run(${env} "TORCH_PYTHON=${b_python}" ${configure} "${FOLDER}/2")
expect_output("LibTorch 2.11.0")
run(${env} "Torch_DIR=${b_dir}" "TORCH_PYTHON=${a_python}" ${configure} "${FOLDER}/2")
expect_output("LibTorch 3.0.0")

# Refused; what was right before is still remembered.
run_failing("TORCH_PYTHON=/nowhere/python: that Python does not exist or has no torch. Run `make setup`"
            ${env} TORCH_PYTHON=/nowhere/python ${configure} "${FOLDER}/2")
run_failing("LibTorch 2.10.0 in '${FOLDER}/old/torch' is too old" ${configure} "${FOLDER}/3" "-DTORCH_PYTHON=${old_python}")
run_failing("there is no '${FOLDER}/include/torch/headeronly/version.h'" ${configure} "${FOLDER}/4" "-DTorch_DIR=${FOLDER}/share/cmake/Torch")
run(${configure} "${FOLDER}/2")
expect_output("LibTorch 3.0.0")

# Under a Python front end it is the installing environment's; where that has none, the front end builds elsewhere and the
# user has to say where it is.
set(without "${FOLDER}/without/bin/python")
file(WRITE "${without}" "#!/bin/sh\nexit 1\n")
file(CHMOD "${without}" PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE)
set(front_end ${env} --unset=VIRTUAL_ENV --unset=CONDA_PREFIX)
run_failing("TORCH_PYTHON=/path/to/python uv pip install ." ${front_end} ${configure} "${FOLDER}/5" -DSKBUILD=2
            "-DPython_EXECUTABLE=${without}")
run(${front_end} "TORCH_PYTHON=${a_python}" ${configure} "${FOLDER}/5" -DSKBUILD=2 "-DPython_EXECUTABLE=${without}")
expect_output("LibTorch 2.11.0 in ${FOLDER}/a/torch")
run(${front_end} ${configure} "${FOLDER}/6" -DSKBUILD=2 "-DPython_EXECUTABLE=${b_python}")
expect_output("LibTorch 3.0.0 in ${FOLDER}/b/torch (pip)")
