# Stands in for an installed Slicer, as far as this extension's CMake files use one: find_package(Slicer) finds this file
# with -DSlicer_DIR=Testing/extension. Nothing is compiled.
set(Slicer_USE_FILE ${CMAKE_CURRENT_LIST_DIR}/UseSlicer.cmake)
set(Slicer_EXTENSION_GENERATE_CONFIG ${CMAKE_CURRENT_LIST_DIR}/ExtensionMetadata.cmake)
set(Slicer_EXTENSION_CPACK ${CMAKE_CURRENT_LIST_DIR}/ExtensionMetadata.cmake)
set(Slicer_FOUND TRUE)
