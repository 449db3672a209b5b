// Executing: the worker's loop, and the Task object for everything that the loop does not do itself.
#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <unordered_map>

#include "python.h"

namespace shoal {

struct TaskObject {
  PyObject_HEAD
  u32 record;
  u32 entry;
  u64 uid;
  bool done;
};
static PyTypeObject* TaskType = nullptr;

// What this thread is executing; 0 = nothing.
static thread_local u32 current_record = 0;
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

static void become(u32 i) {
  current_record = i;
  current_uid = i ? u64(arena->record(i).uid) : 0;
}

static TaskObject* task_of(PyObject* o) { return reinterpret_cast<TaskObject*>(o); }

static Record* live(PyObject* o) {
  if (!require_arena()) return nullptr;
  if (task_of(o)->done) {
    PyErr_SetString(PyExc_RuntimeError, "this execution has been completed already");
    return nullptr;
  }
  return &arena->record(task_of(o)->record);
}

static PyObject* new_task(u32 i, u32 entry) {
  TaskObject* t = PyObject_New(TaskObject, TaskType);
  if (!t) return nullptr;
  t->record = i;
  t->entry = entry;
  t->uid = arena->record(i).uid;
  t->done = false;
  return reinterpret_cast<PyObject*>(t);
}

static void executed(u32 i, u32 entry) {
  arena->record(i).finished_ns = now_ns();
  arena->finish(i, entry);
  arena->self->executed.fetch_add(1, std::memory_order_relaxed);
  arena->self->running.store(0, std::memory_order_release);
}

// A value half written by an attempt that failed.
static void forget_value(u32 i) {
  Record& r = arena->record(i);
  if (r.where == kBlock && r.value_kind == kNoValue) {
    arena->free_block(r.value_offset);
    r.where = kInline;
  } else if (r.value_kind != kNoValue) {
    arena->release_value(r);
  }
}

static bool seal_value(u32 i, PyObject* value, u32 flags) {
  if (!encode_value(value, i)) {
    forget_value(i);
    return false;
  }
  arena->seal(i, flags);
  return true;
}

// ---------------------------------------------------------------- Task

static void task_dealloc(PyObject* o) {
  PyTypeObject* type = Py_TYPE(o);
  PyObject_Free(o);
  Py_DECREF(type);
}

// (positional, keywords), or the ObjectRef whose error this execution inherits.
static PyObject* task_args(PyObject* o, PyObject*) {
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
  for (u32 s = r->first_return, next; s; s = next) {
    next = arena->record(s).sibling;
    if (!arena->sealed(s)) arena->seal(s, 0);
    r->first_return = next;
    arena->drop(s);
  }
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
  if (r->backpressure) {
    Arena::Wait w;
    if (!waiting([&] { return arena->wait_room(r->stream, r->backpressure, i, -1); }, &w)) return nullptr;
  }
  return PyBool_FromLong(r->count.load() > 1 && !(r->state.load() & kCancelFlag));
}

// has_room(): whether wait_room would not wait
static PyObject* task_has_room(PyObject* o, PyObject*) {
  Record* r = live(o);
  if (!r) return nullptr;
  return PyBool_FromLong(!r->backpressure || arena->queue(r->stream).length.load() < r->backpressure);
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

// ---------------------------------------------------------------- the loop

struct Loaded {
  PyObject* call;  // null: the slow path
};
static std::unordered_map<u64, Loaded> functions;

static Loaded* function_of(u32 function, PyObject* handlers) {
  u64 uid = arena->record(function).uid;
  auto it = functions.find(uid);
  if (it != functions.end()) return &it->second;
  if (functions.size() > 4096) {
    for (auto& [_, f] : functions) Py_XDECREF(f.call);
    functions.clear();
  }
  Own ref(new_ref(function));
  if (!ref) return nullptr;
  PyObject* call = PyObject_CallMethod(handlers, "load", "O", ref.get());
  if (!call) return nullptr;
  if (call == Py_None) {
    Py_DECREF(call);
    call = nullptr;
  }
  return &(functions[uid] = {call});
}

static bool slow(PyObject* handlers, const char* method, PyObject* task, PyObject* error) {
  Own r(error ? PyObject_CallMethod(handlers, method, "OO", task, error) : PyObject_CallMethod(handlers, method, "O", task));
  arena->self->running.store(0, std::memory_order_release);
  return bool(r);
}

static PyObject* fetch_exception() {
  PyObject *type, *value, *trace;
  PyErr_Fetch(&type, &value, &trace);
  PyErr_NormalizeException(&type, &value, &trace);
  if (trace) PyException_SetTraceback(value, trace);
  Py_XDECREF(type);
  Py_XDECREF(trace);
  return value;
}

// A call that was cancelled has no value, whatever its method made of it: its caller has been promised an error.
static bool cancelled_call(const Record& r) {
  if (r.kind != kCall || !(r.state.load(std::memory_order_relaxed) & kCancelFlag)) return false;
  PyErr_SetNone(PyExc_KeyboardInterrupt);
  return true;
}

// One execution. False: an exception is set that ends the loop.
// What ps and top show of this process: the memory of its command line.
static char* title_at = nullptr;
static size_t title_room = 0;
static std::string idle_title;

static void show_title(const char* prefix, const std::string& text) {
  if (!title_at) return;
  size_t before = std::min(std::strlen(prefix), title_room - 1);
  size_t n = std::min(text.size(), title_room - 1 - before);
  std::memcpy(title_at, prefix, before);
  std::memcpy(title_at + before, text.data(), n);
  std::memset(title_at + before + n, 0, title_room - before - n);
}

// Where the command line begins and ends in memory: fields 48 and 49 of /proc/self/stat (proc(5)).
static bool find_title() {
  std::ifstream file("/proc/self/stat");
  std::string text((std::istreambuf_iterator<char>(file)), {});
  std::istringstream fields(text.substr(std::min(text.size(), text.rfind(')') + 1)));
  std::string skipped;
  for (int field = 3; field < 48; field++) fields >> skipped;
  unsigned long long start = 0, end = 0;
  if (!(fields >> start >> end) || end < start + 2) return false;
  title_at = reinterpret_cast<char*>(start);
  title_room = size_t(end - start);
  return true;
}

// set_title(text): what is shown while nothing is executed.
static PyObject* set_title(PyObject*, PyObject* text) {
  const char* idle = PyUnicode_AsUTF8(text);
  if (!idle) return nullptr;
  if (!find_title()) Py_RETURN_NONE;
  idle_title = idle;
  show_title("", idle_title);
  Py_RETURN_NONE;
}

static bool execute(u32 i, u32 entry, PyObject* handlers) {
  Record& r = arena->record(i);
  if (title_at) show_title("ray::", text_of(r.function));
  r.started_ns = now_ns();
  arena->self->running_since_ns.store(r.started_ns, std::memory_order_relaxed);
  Loaded* f = function_of(r.function, handlers);
  bool plain = f && f->call && r.num_returns <= 1 && r.kind != kStream && r.kind != kCallStream;
  if (!plain) {
    Own task(new_task(i, entry));
    if (!f) {
      Own error(fetch_exception());
      return slow(handlers, "failed", task.get(), error.get());
    }
    become(i);
    bool done = slow(handlers, "execute", task.get(), nullptr);
    become(0);
    return done;
  }
  PyObject* call = f->call;
  std::vector<PyObject*> values;
  PyObject* names = nullptr;
  u32 failed = 0;
  become(i);
  PyObject* result = nullptr;
  if (decode_args(i, values, &names, &failed)) {
    size_t keywords = names ? size_t(PyTuple_GET_SIZE(names)) : 0;
    result = PyObject_Vectorcall(call, values.data(), values.size() - keywords, names);
  }
  for (PyObject* v : values) Py_DECREF(v);
  Py_XDECREF(names);
  if (failed) {
    Own task(new_task(i, entry));
    Own ref(new_ref(failed));
    bool told = task && ref && slow(handlers, "inherited", task.get(), ref.get());
    become(0);
    return told;
  }
  bool done = result && !cancelled_call(r) && seal_value(i, result, 0);
  Py_XDECREF(result);
  become(0);
  if (done) {
    executed(i, entry);
    return true;
  }
  Own error(fetch_exception());
  Own task(new_task(i, entry));
  become(i);
  done = slow(handlers, "failed", task.get(), error.get());
  become(0);
  return done;
}

// Actors wait in the control queue and items in streams: neither can be executed.
static bool need_work_queue(u32 queue) {
  u32 flags = arena->queue(queue).flags.load();
  if (queue > 1 && (flags & kQueueUsed) && !(flags & kQueueStream)) return true;
  PyErr_Format(PyExc_ValueError, "queue %u is neither a task queue nor a mailbox", queue);
  return false;
}

// run(queue, handlers, is_mailbox): executes until the slot or the mailbox is told to end.
static PyObject* run(PyObject*, PyObject* args) {
  unsigned int queue;
  PyObject* handlers;
  int is_mailbox;
  if (!PyArg_ParseTuple(args, "IOp", &queue, &handlers, &is_mailbox)) return nullptr;
  if (!require_arena()) return nullptr;
  if ((queue || is_mailbox) && (!check_number(queue, arena->head->queues_used, "queue") || !need_work_queue(queue))) return nullptr;
  Slot& s = *arena->self;
  for (;;) {
    if (!is_mailbox) {
      u32 assigned = s.queue.load();
      if (assigned != queue) {
        // Whoever pushed in the meantime may have counted on this worker, which was still asleep: tell somebody else.
        if (queue && arena->queue(queue).length.load()) arena->announce(queue);
        if (queue && arena->head->starving.load()) arena->ring();
        queue = assigned == kQueueExit ? 0 : assigned;
      }
      if (assigned == kQueueExit) Py_RETURN_NONE;
      if (!queue) {
        show_title("", idle_title);
        arena->deactivate();
        u32 seen = s.wake.load();
        Arena::Wait w = Arena::Wait::kReady;
        bool fine = s.queue.load() != 0 || waiting([&] { return arena->wait_wake(seen, -1); }, &w);
        arena->activate();
        if (!fine) return nullptr;
        continue;
      }
    }
    u32 i = arena->pop(queue, !is_mailbox);
    if (i) {
      if (!execute(i, arena->popped_entry, handlers)) return nullptr;
      if (PyErr_CheckSignals() != 0) return nullptr;
      continue;
    }
    if (is_mailbox && (arena->queue(queue).flags.load() & kQueueClosed)) Py_RETURN_NONE;
    show_title("", idle_title);
    Arena::Wait w;
    if (!waiting([&] { return arena->wait_work(queue, -1, !is_mailbox); }, &w)) return nullptr;
  }
}

// take(queue) -> Task | None: does not wait.
static PyObject* take(PyObject*, PyObject* number) {
  u32 queue;
  if (!queue_of(number, &queue) || !need_work_queue(queue)) return nullptr;
  u32 i = arena->pop(queue, false);
  if (!i) Py_RETURN_NONE;
  arena->record(i).started_ns = now_ns();
  return new_task(i, arena->popped_entry);
}

// wait_work(queue, timeout_s) -> whether there may be work (or the queue is closed)
static PyObject* wait_work(PyObject*, PyObject* args) {
  unsigned int queue;
  double timeout_s;
  if (!PyArg_ParseTuple(args, "Id", &queue, &timeout_s) || !require_arena()) return nullptr;
  if (!check_number(queue, arena->head->queues_used, "queue")) return nullptr;
  i64 deadline = deadline_of(timeout_s);
  Arena::Wait w;
  if (!waiting([&] { return arena->wait_work(queue, deadline, false); }, &w)) return nullptr;
  return PyBool_FromLong(w == Arena::Wait::kReady);
}

// wait_mail(queue): for a helper thread; returns when the mailbox has work or is closed.
static PyObject* wait_mail(PyObject*, PyObject* number) {
  u32 queue;
  if (!queue_of(number, &queue)) return nullptr;
  Arena::Wait w;
  if (!waiting([&] { return arena->wait_work(queue, -1, false, false); }, &w)) return nullptr;
  Py_RETURN_NONE;
}

// spin_work(queues) -> whether one has work
static PyObject* spin_work(PyObject*, PyObject* list) {
  if (!PyList_Check(list) || !require_arena()) {
    if (!PyErr_Occurred()) PyErr_SetString(PyExc_TypeError, "a list of queues is needed");
    return nullptr;
  }
  std::vector<u32> queues;
  for (Py_ssize_t k = 0; k < PyList_GET_SIZE(list); k++) {
    u32 queue;
    if (!queue_of(PyList_GET_ITEM(list, k), &queue)) return nullptr;
    queues.push_back(queue);
  }
  bool found;
  Py_BEGIN_ALLOW_THREADS
  found = arena->spin_work(queues);
  Py_END_ALLOW_THREADS
  return PyBool_FromLong(found);
}

static bool need_actor(u32 i) {
  if (arena->record(i).kind == kActor && (arena->record(i).state.load() & kStateMask) != kFree) return true;
  PyErr_Format(PyExc_ValueError, "record %u is no actor", i);
  return false;
}

// actor_args(record) -> (positional, keywords) | ObjectRef whose error they are
static PyObject* actor_args(PyObject*, PyObject* number) {
  u32 i;
  if (!record_of(number, &i) || !need_actor(i)) return nullptr;
  Own task(new_task(i, 0));
  return task_args(task.get(), nullptr);
}

// seal_actor(record, value, is_error)
static PyObject* seal_actor(PyObject*, PyObject* args) {
  unsigned int i;
  PyObject* value;
  int is_error;
  if (!PyArg_ParseTuple(args, "IOp", &i, &value, &is_error) || !require_arena()) return nullptr;
  if (!check_number(i, record_end(*arena), "record") || !need_actor(i)) return nullptr;
  if (!arena->sealed(i)) {
    if (!seal_value(i, value, is_error ? kErrorFlag : 0)) return nullptr;
  }
  arena->ring();
  Py_RETURN_NONE;
}

static PyObject* function_ref(PyObject*, PyObject* number) {
  u32 i;
  if (!record_of(number, &i)) return nullptr;
  u32 function = arena->record(i).function;
  if (!function || (arena->record(i).state.load() & kStateMask) == kFree) {
    PyErr_Format(PyExc_ValueError, "record %u runs no function", i);
    return nullptr;
  }
  return new_ref(function);
}

static PyMethodDef task_methods[] = {{"args", task_args, METH_NOARGS, nullptr},
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
static PyGetSetDef task_fields[] = {{"uid", task_uid, nullptr, nullptr, nullptr},
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
static PyType_Slot task_slots[] = {{Py_tp_dealloc, reinterpret_cast<void*>(task_dealloc)},
                                   {Py_tp_methods, task_methods},
                                   {Py_tp_getset, task_fields},
                                   {0, nullptr}};
static PyType_Spec task_spec = {"shoal._kernel.Task", sizeof(TaskObject), 0,
                                Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, task_slots};

static PyMethodDef methods[] = {{"run", run, METH_VARARGS, nullptr},
                                {"set_title", set_title, METH_O, nullptr},
                                {"take", take, METH_O, nullptr},
                                {"wait_work", wait_work, METH_VARARGS, nullptr},
                                {"wait_mail", wait_mail, METH_O, nullptr},
                                {"spin_work", spin_work, METH_O, nullptr},
                                {"actor_args", actor_args, METH_O, nullptr},
                                {"seal_actor", seal_actor, METH_VARARGS, nullptr},
                                {"function_ref", function_ref, METH_O, nullptr},
                                {"set_current", set_current, METH_O, nullptr},
                                {"current_record", get_current, METH_NOARGS, nullptr},
                                {"set_parent_variable", set_parent_variable, METH_O, nullptr},
                                {"current_cancelled", current_cancelled, METH_NOARGS, nullptr},
                                {nullptr, nullptr, 0, nullptr}};

bool add_work(PyObject* module) {
  TaskType = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&task_spec));
  return TaskType && PyModule_AddObjectRef(module, "Task", reinterpret_cast<PyObject*>(TaskType)) == 0 &&
         PyModule_AddFunctions(module, methods) == 0;
}

}  // namespace shoal
