// What a thread executes now, and how an execution ends.
#include "execution.h"
#include "python.h"

namespace shoal {

constinit thread_local u32 current_record = 0;
thread_local u64 current_uid = 0;

// In a process with event loops, which run many executions on one thread: the context variable that holds the uid of this one.
static PyObject* parent_variable = nullptr;

// -> false: an exception is set.
bool find_parent(u64* uid) {
  *uid = current_uid;
  if (current_uid || !parent_variable) return true;
  PyObject* value = nullptr;
  if (PyContextVar_Get(parent_variable, nullptr, &value) < 0) return false;
  Own held(value);
  if (value) *uid = PyLong_AsUnsignedLongLong(value);
  return !PyErr_Occurred();
}

// set_parent_variable(variable): a ContextVar of uids, 0 where nothing is executed
static PyObject* set_parent_variable(PyObject*, PyObject* variable) {
  if (!PyContextVar_CheckExact(variable)) {
    PyErr_SetString(PyExc_TypeError, "set_parent_variable needs a ContextVar");
    return nullptr;
  }
  Py_XSETREF(parent_variable, Py_NewRef(variable));
  Py_RETURN_NONE;
}

void executed(u32 i, u32 entry) {
  arena->record(i).finished_ns = now_ns();
  arena->finish(i, entry);
  arena->self->executed.fetch_add(1, std::memory_order_relaxed);
  arena->self->running.store(0, std::memory_order_release);
}

// A value half written by an attempt that failed.
void forget_value(u32 i) {
  Record& r = arena->record(i);
  if (r.where == kBlock && r.value_kind == kNoValue) {
    arena->free_block(r.value_offset);
    r.where = kInline;
  } else if (r.value_kind != kNoValue) {
    arena->release_value(r);
  }
}

bool seal_value(u32 i, PyObject* value, u32 flags) {
  if (!encode_value(value, i)) {
    forget_value(i);
    return false;
  }
  if (!flags) arena->begin_origin(i);
  arena->seal(i, flags);
  return true;
}

// Makes this the thread's current execution (None: no execution).
static PyObject* set_current(PyObject*, PyObject* task) {
  if (!require_arena()) return nullptr;
  if (task != Py_None && Py_TYPE(task) != TaskType) {
    PyErr_SetString(PyExc_TypeError, "set_current needs a Task or None");
    return nullptr;
  }
  become(task == Py_None ? 0 : task_of(task)->record);
  if (current_record) arena->self->running.store(current_record);
  Py_RETURN_NONE;
}
static PyObject* get_current(PyObject*, PyObject*) { return PyLong_FromUnsignedLong(current_record); }
static PyObject* current_cancelled(PyObject*, PyObject*) {
  return PyBool_FromLong(current_record && (arena->record(current_record).state.load() & kCancelFlag));
}

static PyMethodDef methods[] = {{"set_current", set_current, METH_O, nullptr},
                                {"current_record", get_current, METH_NOARGS, nullptr},
                                {"set_parent_variable", set_parent_variable, METH_O, nullptr},
                                {"current_cancelled", current_cancelled, METH_NOARGS, nullptr},
                                {nullptr, nullptr, 0, nullptr}};

bool add_current(PyObject* module) { return PyModule_AddFunctions(module, methods) == 0; }

}  // namespace shoal
