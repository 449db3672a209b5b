// Task: one execution, for everything that the loop does not do itself.
#include <string>

#include "execution.h"
#include "python.h"

namespace shoal {

PyTypeObject* TaskType = nullptr;

static Record* live(PyObject* o) {
  if (!require_arena()) return nullptr;
  if (task_of(o)->done) {
    PyErr_SetString(PyExc_RuntimeError, "this execution has been completed already");
    return nullptr;
  }
  return &arena->record(task_of(o)->record);
}

PyObject* new_task(u32 i, u32 entry) {
  TaskObject* t = PyObject_New(TaskObject, TaskType);
  if (!t) return nullptr;
  t->record = i;
  t->entry = entry;
  t->uid = arena->record(i).uid;
  t->done = false;
  return reinterpret_cast<PyObject*>(t);
}
static void task_dealloc(PyObject* o) {
  PyTypeObject* type = Py_TYPE(o);
  PyObject_Free(o);
  Py_DECREF(type);
}

// (positional, keywords), or the ObjectRef whose error this execution inherits.
PyObject* task_args(PyObject* o, PyObject*) {
  if (!live(o)) return nullptr;
  std::vector<PyObject*> values;
  PyObject* names = nullptr;
  u32 failed = 0;
  bool done = decode_args(task_of(o)->record, values, &names, &failed);
  Own held(names);
  PyObject* out = nullptr;
  if (done) {
    Py_ssize_t keywords = names ? PyTuple_GET_SIZE(names) : 0;
    Py_ssize_t positional = Py_ssize_t(values.size()) - keywords;
    Own tuple(PyTuple_New(positional));
    for (Py_ssize_t k = 0; k < positional; k++) PyTuple_SET_ITEM(tuple.get(), k, Py_NewRef(values[size_t(k)]));
    Own dict(PyDict_New());
    for (Py_ssize_t k = 0; k < keywords; k++)
      PyDict_SetItem(dict.get(), PyTuple_GET_ITEM(names, k), values[size_t(positional + k)]);
    out = PyTuple_Pack(2, tuple.get(), dict.get());
  } else if (failed) {
    out = new_ref(failed);
  }
  for (PyObject* v : values) Py_DECREF(v);
  return out;
}

static PyObject* task_complete(PyObject* o, PyObject* value) {
  Record* r = live(o);
  if (!r) return nullptr;
  u32 i = task_of(o)->record;
  if (!seal_value(i, value, 0)) return nullptr;
  task_of(o)->done = true;
  executed(i, task_of(o)->entry);
  Py_RETURN_NONE;
}

// complete_many(values): one value for each of num_returns.
static PyObject* task_complete_many(PyObject* o, PyObject* values) {
  Record* r = live(o);
  if (!r) return nullptr;
  if (!PyTuple_CheckExact(values) || !r->num_returns || u32(PyTuple_GET_SIZE(values)) != r->num_returns) {
    PyErr_Format(PyExc_ValueError, "complete_many needs a tuple of %u values", r->num_returns);
    return nullptr;
  }
  u32 i = task_of(o)->record;
  auto forget_returns = [&] {
    for (u32 t = r->first_return; t; t = arena->record(t).sibling)
      if (!arena->sealed(t)) forget_value(t);
  };
  // An earlier attempt that died may have sealed the first of them.
  for (u32 s = r->first_return; s; s = arena->record(s).sibling) {
    if (arena->sealed(s)) continue;
    if (!encode_value(PyTuple_GET_ITEM(values, arena->record(s).index), s)) {
      forget_returns();
      return nullptr;
    }
  }
  if (!encode_value(PyTuple_GET_ITEM(values, 0), i)) {
    forget_value(i);
    forget_returns();
    return nullptr;
  }
  arena->begin_origin(i);
  for (u32 s = r->first_return; s; s = arena->record(s).sibling)
    if (!arena->sealed(s)) arena->seal(s, 0);
  arena->seal(i, 0);
  task_of(o)->done = true;
  executed(i, task_of(o)->entry);
  Py_RETURN_NONE;
}

// complete_first(values, error): the first results are there, all others are the error.
static PyObject* task_complete_first(PyObject* o, PyObject* args) {
  PyObject* values;
  PyObject* error;
  if (!PyArg_ParseTuple(args, "O!O", &PyTuple_Type, &values, &error)) return nullptr;
  Record* r = live(o);
  if (!r) return nullptr;
  u32 given = u32(PyTuple_GET_SIZE(values));
  if (!given || given >= r->num_returns) {
    PyErr_Format(PyExc_ValueError, "complete_first needs a tuple of 1 to %u values", r->num_returns - 1);
    return nullptr;
  }
  u32 i = task_of(o)->record;
  u32 e = arena->new_record(kObject);
  arena->record(e).count.store(1, std::memory_order_relaxed);
  u32 entry = arena->enter(e, kHandle);
  bool fine = encode_value(error, e);
  if (fine) arena->seal(e, kErrorFlag);
  for (u32 s = r->first_return; fine && s; s = arena->record(s).sibling) {
    u32 index = arena->record(s).index;
    if (index < given && !arena->sealed(s)) fine = encode_value(PyTuple_GET_ITEM(values, index), s);
  }
  fine = fine && encode_value(PyTuple_GET_ITEM(values, 0), i);
  if (!fine) {
    forget_value(i);
    for (u32 s = r->first_return; s; s = arena->record(s).sibling)
      if (!arena->sealed(s)) forget_value(s);
    arena->strike(entry);
    arena->drop(e);
    return nullptr;
  }
  for (u32 s = r->first_return, next; s; s = next) {
    next = arena->record(s).sibling;
    if (!arena->sealed(s)) {
      if (arena->record(s).index < given) {
        arena->seal(s, 0);
      } else {
        arena->seal_alias(s, e, kErrorFlag);
      }
    }
    r->first_return = next;
    arena->drop(s);
  }
  arena->strike(entry);
  arena->drop(e);
  arena->seal(i, 0);
  task_of(o)->done = true;
  executed(i, task_of(o)->entry);
  Py_RETURN_NONE;
}

static PyObject* task_fail(PyObject* o, PyObject* error) {
  Record* r = live(o);
  if (!r) return nullptr;
  u32 i = task_of(o)->record;
  if (!encode_value(error, i)) {
    forget_value(i);
    return nullptr;
  }
  arena->seal_returns(i, i);
  arena->seal(i, kErrorFlag);
  task_of(o)->done = true;
  executed(i, task_of(o)->entry);
  Py_RETURN_NONE;
}

// inherit(ref): fails with the error that ref holds.
static PyObject* task_inherit(PyObject* o, PyObject* ref) {
  if (!live(o)) return nullptr;
  if (!need_ref(ref)) return nullptr;
  u32 failed = arena->record(ref_record(ref)).state.load(std::memory_order_acquire);
  if ((failed & kStateMask) != kSealed || !(failed & kErrorFlag)) {
    PyErr_SetString(PyExc_ValueError, "only an error can be inherited");
    return nullptr;
  }
  u32 i = task_of(o)->record;
  arena->seal_returns(i, ref_record(ref));
  arena->seal_alias(i, ref_record(ref), kErrorFlag);
  task_of(o)->done = true;
  executed(i, task_of(o)->entry);
  Py_RETURN_NONE;
}

// Back to the queue; one retry less. -> False: it was cancelled meanwhile, and has to be ended.
static PyObject* task_retry(PyObject* o, PyObject*) {
  Record* r = live(o);
  if (!r) return nullptr;
  u32 i = task_of(o)->record;
  if (r->retries_left > 0) r->retries_left--;
  r->attempt++;
  arena->restart_stream(*r);
  u32 running = arena->self->running.exchange(0);
  if (!arena->push_back(i, task_of(o)->entry)) {
    arena->self->running.store(running);
    Py_RETURN_FALSE;
  }
  task_of(o)->done = true;
  Py_RETURN_TRUE;
}

// yield_item(value, is_error=False) -> number of items so far
static PyObject* task_yield(PyObject* o, PyObject* args) {
  PyObject* value;
  int is_error = 0;
  if (!PyArg_ParseTuple(args, "O|p", &value, &is_error)) return nullptr;
  Record* r = live(o);
  if (!r) return nullptr;
  if (!r->stream) {
    PyErr_SetString(PyExc_RuntimeError, "only a streaming task yields items");
    return nullptr;
  }
  if (r->produced < r->index) return PyLong_FromUnsignedLong(++r->produced);  // its reader has it from an earlier attempt
  u32 s = arena->new_record(kReturn);
  Record& item = arena->record(s);
  arena->hold(s);
  u32 entry = arena->enter(s, kHandle);
  item.index = r->produced + 1;
  item.queued_ns = r->uid;
  if (!seal_value(s, value, is_error ? kErrorFlag : 0)) {
    arena->strike(entry);
    arena->drop(s);
    return nullptr;
  }
  arena->strike(entry);  // the count goes over to the queue
  arena->push(r->stream, s);
  r->produced++;
  arena->notify(task_of(o)->record);
  return PyLong_FromUnsignedLong(r->produced);
}

// wait_room(): True when the next item may be produced; False when nobody reads any more or it was cancelled.
static PyObject* task_wait_room(PyObject* o, PyObject*) {
  Record* r = live(o);
  if (!r) return nullptr;
  u32 i = task_of(o)->record;
  if (r->backpressure()) {
    Arena::Wait w;
    if (!waiting([&] { return arena->wait_room(r->stream, r->backpressure(), i, -1); }, &w)) return nullptr;
  }
  return PyBool_FromLong(r->count.load() > 1 && !(r->state.load() & kCancelFlag));
}

// has_room(): whether wait_room would not wait
static PyObject* task_has_room(PyObject* o, PyObject*) {
  Record* r = live(o);
  if (!r) return nullptr;
  return PyBool_FromLong(!r->backpressure() || arena->queue(r->stream).length.load() < r->backpressure());
}

static PyObject* task_function(PyObject* o, void*) {
  Record* r = live(o);
  return r ? new_ref(r->function) : nullptr;
}
static PyObject* task_function_uid(PyObject* o, void*) {
  Record* r = live(o);
  return r ? PyLong_FromUnsignedLongLong(arena->record(r->function).uid) : nullptr;
}
static PyObject* task_name(PyObject* o, void*) {
  Record* r = live(o);
  if (!r) return nullptr;
  std::string text = text_of(r->function);
  return PyUnicode_DecodeUTF8(text.data(), Py_ssize_t(text.size()), "replace");
}
static PyObject* task_ref(PyObject* o, void*) { return live(o) ? new_ref(task_of(o)->record) : nullptr; }

#define NUMBER(field, expression)                                                \
  static PyObject* task_##field(PyObject* o, void*) {                            \
    Record* r = live(o);                                                         \
    return r ? PyLong_FromLongLong(static_cast<long long>(expression)) : nullptr; \
  }
NUMBER(num_returns, r->num_returns)
NUMBER(retries_left, r->retries_left)
NUMBER(attempt, r->attempt)
NUMBER(owner, r->owner)
NUMBER(queue, r->queue)
NUMBER(produced, r->produced)
#undef NUMBER
static PyObject* task_uid(PyObject* o, void*) { return PyLong_FromUnsignedLongLong(task_of(o)->uid); }
static PyObject* task_record(PyObject* o, void*) { return PyLong_FromUnsignedLong(task_of(o)->record); }
static PyObject* task_done(PyObject* o, void*) { return PyBool_FromLong(task_of(o)->done); }
static PyObject* task_streaming(PyObject* o, void*) {
  Record* r = live(o);
  return r ? PyBool_FromLong(r->kind == kStream || r->kind == kCallStream) : nullptr;
}
static PyObject* task_retry_exceptions(PyObject* o, void*) {
  Record* r = live(o);
  return r ? PyBool_FromLong(r->flags & kRetryExceptions) : nullptr;
}
static PyObject* task_cancelled(PyObject* o, void*) {
  if (task_of(o)->done) Py_RETURN_FALSE;
  Record* r = live(o);
  return r ? PyBool_FromLong(r->state.load() & kCancelFlag) : nullptr;
}

static PyMethodDef methods[] = {{"args", task_args, METH_NOARGS, nullptr},
                                     {"complete", task_complete, METH_O, nullptr},
                                     {"complete_many", task_complete_many, METH_O, nullptr},
                                     {"complete_first", task_complete_first, METH_VARARGS, nullptr},
                                     {"fail", task_fail, METH_O, nullptr},
                                     {"inherit", task_inherit, METH_O, nullptr},
                                     {"retry", task_retry, METH_NOARGS, nullptr},
                                     {"yield_item", task_yield, METH_VARARGS, nullptr},
                                     {"wait_room", task_wait_room, METH_NOARGS, nullptr},
                                     {"has_room", task_has_room, METH_NOARGS, nullptr},
                                     {nullptr, nullptr, 0, nullptr}};
static PyGetSetDef fields[] = {{"uid", task_uid, nullptr, nullptr, nullptr},
                                    {"record", task_record, nullptr, nullptr, nullptr},
                                    {"done", task_done, nullptr, nullptr, nullptr},
                                    {"function", task_function, nullptr, nullptr, nullptr},
                                    {"function_uid", task_function_uid, nullptr, nullptr, nullptr},
                                    {"name", task_name, nullptr, nullptr, nullptr},
                                    {"ref", task_ref, nullptr, nullptr, nullptr},
                                    {"num_returns", task_num_returns, nullptr, nullptr, nullptr},
                                    {"retries_left", task_retries_left, nullptr, nullptr, nullptr},
                                    {"retry_exceptions", task_retry_exceptions, nullptr, nullptr, nullptr},
                                    {"attempt", task_attempt, nullptr, nullptr, nullptr},
                                    {"owner", task_owner, nullptr, nullptr, nullptr},
                                    {"queue", task_queue, nullptr, nullptr, nullptr},
                                    {"produced", task_produced, nullptr, nullptr, nullptr},
                                    {"streaming", task_streaming, nullptr, nullptr, nullptr},
                                    {"cancelled", task_cancelled, nullptr, nullptr, nullptr},
                                    {nullptr, nullptr, nullptr, nullptr, nullptr}};
static PyType_Slot slots[] = {{Py_tp_dealloc, reinterpret_cast<void*>(task_dealloc)},
                                   {Py_tp_methods, methods},
                                   {Py_tp_getset, fields},
                                   {0, nullptr}};
static PyType_Spec spec = {"shoal._kernel.Task", sizeof(TaskObject), 0,
                                Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};

bool add_task(PyObject* module) {
  TaskType = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  return TaskType && PyModule_AddObjectRef(module, "Task", reinterpret_cast<PyObject*>(TaskType)) == 0;
}

}  // namespace shoal
