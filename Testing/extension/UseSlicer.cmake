# What Slicer gives to the CMakeLists.txt of scripted modules.
set(BUILD_TESTING ON)
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR lib/Slicer-5.12/qt-scripted-modules)

# Copies a module's files into the build tree, and installs them from there; as in Slicer, all modules share one folder
# and files keep their paths below the module's folder.
function(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MODULE "WITH_GENERIC_TESTS;WITH_SUBDIR;VERBOSE" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  if(MODULE_UNPARSED_ARGUMENTS OR NOT MODULE_NAME)
    message(FATAL_ERROR "slicerMacroBuildScriptedModule: NAME is missing, or unknown: ${MODULE_UNPARSED_ARGUMENTS}")
  endif()
  foreach(file IN LISTS MODULE_SCRIPTS MODULE_RESOURCES)
    if(IS_ABSOLUTE ${file} OR file MATCHES "^\\.\\.")
      message(FATAL_ERROR "${MODULE_NAME}: ${file} is not a path below the module's folder")
    endif()
    if(NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${file})
      message(FATAL_ERROR "${MODULE_NAME}: there is no ${file}")
    endif()
    get_property(owner GLOBAL PROPERTY OWNER_OF_${file})
    if(owner)
      message(FATAL_ERROR "${owner} and ${MODULE_NAME} both have ${file}: one would overwrite the other")
    endif()
    set_property(GLOBAL PROPERTY OWNER_OF_${file} ${MODULE_NAME})
    set(built ${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}/${file})
    add_custom_command(
      OUTPUT ${built}
      COMMAND ${CMAKE_COMMAND} -E copy ${CMAKE_CURRENT_SOURCE_DIR}/${file} ${built}
      DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${file}
      )
    list(APPEND all_built ${built})
    get_filename_component(folder ${file} DIRECTORY)
    install(FILES ${built} DESTINATION ${Slicer_QTSCRIPTEDMODULES_LIB_DIR}/${folder})
  endforeach()
  add_custom_target(${MODULE_NAME} ALL DEPENDS ${all_built})
endfunction()

function(slicer_add_python_unittest)
  cmake_parse_arguments(TEST "" "SCRIPT;TESTNAME_PREFIX" "SLICER_ARGS" ${ARGN})
  if(TEST_UNPARSED_ARGUMENTS OR NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${TEST_SCRIPT})
    message(FATAL_ERROR "slicer_add_python_unittest: no script ${TEST_SCRIPT}, or unknown: ${TEST_UNPARSED_ARGUMENTS}")
  endif()
endfunction()
