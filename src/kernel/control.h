// What the files that offer the kernel to the daemon and the session code share.
#pragma once

#include <nanobind/nanobind.h>

#include "python.h"

namespace shoal {

// ---- control.cpp
Arena& attached();  // raises when there is none
// What Python names by a number is checked: a wrong one raises IndexError.
Record& record_at(u32 i);
Slot& slot_at(u32 i);
Queue& queue_at(u32 i);

// ---- ending.cpp
u32 error_record(Arena& a, nanobind::bytes error);  // the error as a sealed record; its count is the caller's
void add_ending(nanobind::module_& m);

// ---- inspection.cpp
void add_inspection(nanobind::module_& m);

}  // namespace shoal
