// What the files about executing share: the loop of a worker, the Task object, and what a thread executes now.
#pragma once

#include <string>

#include "python.h"

namespace shoal {

// ---- current.cpp
extern constinit thread_local u32 current_record;  // what this thread executes; 0 = nothing
inline void become(u32 i) {
  current_record = i;
  current_uid = i ? u64(arena->record(i).uid) : 0;
}
void executed(u32 record, u32 entry);
bool seal_value(u32 record, PyObject* value, u32 flags);  // false: an exception is set, and there is no value
void forget_value(u32 record);                            // one half written by an attempt that failed
bool add_current(PyObject* module);

// ---- task.cpp
struct TaskObject {
  PyObject_HEAD
  u32 record;
  u32 entry;
  u64 uid;
  bool done;
};
extern PyTypeObject* TaskType;
inline TaskObject* task_of(PyObject* o) { return reinterpret_cast<TaskObject*>(o); }
PyObject* new_task(u32 record, u32 entry);
PyObject* task_args(PyObject* task, PyObject*);  // (positional, keywords), or the ObjectRef whose error this execution inherits
bool add_task(PyObject* module);

// ---- title.cpp: what ps and top show of this process
extern char* title_at;  // null: its command line stays as it is
void show_title(const char* prefix, const std::string& text);
void show_idle_title();
bool add_title(PyObject* module);

}  // namespace shoal
