// Executing: the loop of a worker, and what actors and event loops use in its place.
#include <cstring>
#include <string>
#include <unordered_map>

#include "execution.h"
#include "python.h"

namespace shoal {

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
        show_idle_title();
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
    show_idle_title();
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
  {
    WithoutGil released;
    found = arena->spin_work(queues);
  }
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

static PyMethodDef methods[] = {{"run", run, METH_VARARGS, nullptr},
                                {"take", take, METH_O, nullptr},
                                {"wait_work", wait_work, METH_VARARGS, nullptr},
                                {"wait_mail", wait_mail, METH_O, nullptr},
                                {"spin_work", spin_work, METH_O, nullptr},
                                {"actor_args", actor_args, METH_O, nullptr},
                                {"seal_actor", seal_actor, METH_VARARGS, nullptr},
                                {"function_ref", function_ref, METH_O, nullptr},
                                {nullptr, nullptr, 0, nullptr}};

bool add_work(PyObject* module) {
  return add_current(module) && add_task(module) && add_title(module) && PyModule_AddFunctions(module, methods) == 0;
}

}  // namespace shoal
