# Writes what Slicer puts into the extension's description, for the tests to read.
set(description "{\"name\": \"${CMAKE_PROJECT_NAME}\"")
foreach(name HOMEPAGE CONTRIBUTORS DESCRIPTION ICONURL SCREENSHOTURLS DEPENDS)
  string(APPEND description ", \"${name}\": \"${EXTENSION_${name}}\"")
endforeach()
file(WRITE ${CMAKE_BINARY_DIR}/description.json "${description}}\n")
