# cmake -DROOT=... -DHEADERS=FILE -DVERSION=... -DTEMPLATE=... -DOUT=... -P plugin_stamp.cmake
# HEADERS lists the public headers, a line each, from ROOT. Their content makes the hash: a plug-in compiled with other headers
# may lay out its objects in another way.
file(STRINGS ${HEADERS} headers)
set(all "")
foreach(header ${headers})
  file(SHA256 ${ROOT}/${header} own)
  string(APPEND all "${header} ${own}\n")
endforeach()
string(SHA256 HASH "${all}")
string(SUBSTRING ${HASH} 0 12 HASH)
configure_file(${TEMPLATE} ${OUT} @ONLY)
