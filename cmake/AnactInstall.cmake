# What `cmake --install` puts in place: the program, the library, its headers, the digits, and the package that
# find_package(anact) finds. LibTorch itself is not copied: what is installed goes on using the one it was built with.

# The Python package is pip's to install, and then it is all there is.
if(SKBUILD)
  install(TARGETS anact_extension LIBRARY DESTINATION anact)
  install(FILES "$<TARGET_FILE_DIR:anact_extension>/_build.py" "$<TARGET_FILE_DIR:anact_extension>/_option_types.py"
          DESTINATION anact)
  # A wheel brings along the one library that is not PyTorch's.
  get_target_property(hwy_type hwy::hwy TYPE)
  if(hwy_type STREQUAL "SHARED_LIBRARY")
    get_target_property(hwy_file hwy::hwy LOCATION)
    file(REAL_PATH "${hwy_file}" hwy_file)
    install(FILES "${hwy_file}" DESTINATION anact RENAME "$<TARGET_SONAME_FILE_NAME:hwy::hwy>")
  endif()
  set_target_properties(anact_extension PROPERTIES INSTALL_RPATH "$ORIGIN")
  return()
endif()

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

configure_package_config_file(cmake/anactConfig.cmake.in "${PROJECT_BINARY_DIR}/cmake/anactConfig.cmake"
                              INSTALL_DESTINATION "${anact_package_dir}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/cmake/anactConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(
  FILES "${PROJECT_BINARY_DIR}/cmake/anactConfig.cmake" "${PROJECT_BINARY_DIR}/cmake/anactConfigVersion.cmake"
        "${PROJECT_SOURCE_DIR}/cmake/AnactTorch.cmake"
  DESTINATION "${anact_package_dir}")
install(EXPORT anactTargets NAMESPACE anact:: DESTINATION "${anact_package_dir}")
