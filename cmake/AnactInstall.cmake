# What `cmake --install` puts in place: the program, the library, its headers, the digits, and the package that
# find_package(anact) finds. LibTorch itself is not copied: what is installed goes on using the one it was built with.

include(CMakePackageConfigHelpers)

set(anact_package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/anact")

# The path to LibTorch's own libraries comes with anact::torch.
file(RELATIVE_PATH lib_from_bin "${CMAKE_INSTALL_FULL_BINDIR}" "${CMAKE_INSTALL_FULL_LIBDIR}")
if(TARGET anact_program)
  set_target_properties(anact_program PROPERTIES INSTALL_RPATH "$ORIGIN/${lib_from_bin}")
  install(TARGETS anact_program RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
endif()

install(
  TARGETS anact
  EXPORT anactTargets
  LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/anact" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" FILES_MATCHING PATTERN "*.h")
install(FILES "${PROJECT_SOURCE_DIR}/data/digits.csv.gz" DESTINATION "${CMAKE_INSTALL_DATADIR}/anact" OPTIONAL)

string(REGEX MATCH "^[0-9]+\\.[0-9]+" ANACT_TORCH_RELEASE "${ANACT_TORCH_VERSION}")
configure_package_config_file(cmake/anactConfig.cmake.in "${PROJECT_BINARY_DIR}/cmake/anactConfig.cmake"
                              INSTALL_DESTINATION "${anact_package_dir}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/cmake/anactConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(
  FILES "${PROJECT_BINARY_DIR}/cmake/anactConfig.cmake" "${PROJECT_BINARY_DIR}/cmake/anactConfigVersion.cmake"
        "${PROJECT_SOURCE_DIR}/cmake/AnactTorch.cmake"
  DESTINATION "${anact_package_dir}")
install(EXPORT anactTargets NAMESPACE anact:: DESTINATION "${anact_package_dir}")
