# Rooms: the folders that the library and the program are made of. A room sees the headers of the rooms that it links,
# and of no other: its include path holds a folder of links to just those.

set(ANACT_ROOM_LINKS "${PROJECT_BINARY_DIR}/rooms")

# anact_room(NAME [HEADERS name.h…] LINKS target…): the sources of the folder NAME. HEADERS are the public headers,
# <anact/name.h>, that declare what is in it.
function(anact_room name)
  cmake_parse_arguments(PARSE_ARGV 1 room "" "" "HEADERS;LINKS")
  set(folder "${CMAKE_CURRENT_SOURCE_DIR}/${name}")
  set(links "${ANACT_ROOM_LINKS}/${name}")
  file(MAKE_DIRECTORY "${links}/anact")
  file(CREATE_LINK "${folder}" "${links}/${name}" SYMBOLIC)
  file(GLOB old RELATIVE "${links}/anact" "${links}/anact/*.h")
  list(REMOVE_ITEM old ${room_HEADERS})
  foreach(header ${old})
    file(REMOVE "${links}/anact/${header}")
  endforeach()
  foreach(header ${room_HEADERS})
    file(CREATE_LINK "${PROJECT_SOURCE_DIR}/include/anact/${header}" "${links}/anact/${header}" SYMBOLIC)
  endforeach()

  file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${folder}/*.cpp")
  if(sources)
    add_library(anact_${name} OBJECT ${sources})
    target_link_libraries(anact_${name} PRIVATE anact_options PUBLIC ${room_LINKS})
    target_include_directories(anact_${name} PUBLIC "${links}")
  else()
    add_library(anact_${name} INTERFACE)
    target_link_libraries(anact_${name} INTERFACE ${room_LINKS})
    target_include_directories(anact_${name} INTERFACE "${links}")
  endif()
endfunction()
