// Compiled into every plug-in by linking to vtrain::vtrain: says what it was built for, where it
// can be read without loading the library.
#include "plugin_stamp.h"

extern "C" {
extern const char vtrain_plugin_stamp[];
[[gnu::used]] const char vtrain_plugin_stamp[] = VTRAIN_PLUGIN_STAMP_BEGIN VTRAIN_PLUGIN_STAMP;
}
