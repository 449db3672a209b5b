// Callbacks on sealed records: the futures and awaits of a process share one thread that sleeps on the slot's word.
#include <unordered_map>

#include "python.h"

namespace shoal {

struct Watched {
  PyObject* ref;
  std::vector<PyObject*> callbacks;
  bool items;  // a stream: its next item counts, too
};
static std::unordered_map<u32, Watched> watched;
static u32 watched_epoch = 0;

static void forget_old_session() {
  if (watched_epoch == arena_epoch) return;
  for (auto& [_, w] : watched) {
    for (PyObject* c : w.callbacks) Py_DECREF(c);
    Py_DECREF(w.ref);
  }
  watched.clear();
  watched_epoch = arena_epoch;
}

static bool ready(u32 i, const Watched& w) { return arena->sealed(i) || (w.items && arena->has_item(i)); }

static bool move_callbacks(u32 i, PyObject* out) {
  auto it = watched.find(i);
  if (it == watched.end() || !ready(i, it->second)) return true;
  Watched w = std::move(it->second);
  watched.erase(it);
  bool fine = true;
  for (PyObject* c : w.callbacks) {
    fine = fine && PyList_Append(out, c) == 0;
    Py_DECREF(c);
  }
  Py_DECREF(w.ref);
  return fine;
}

// watch(ref, callback, items=False) -> False when it is ready already: the callback will not be called.
static PyObject* watch(PyObject*, PyObject* args) {
  PyObject *ref, *callback;
  int items = 0;
  if (!PyArg_ParseTuple(args, "O!O|p", RefType, &ref, &callback, &items) || !check_ref(ref)) return nullptr;
  forget_old_session();
  u32 i = ref_record(ref);
  if (arena->sealed(i) || (items && arena->has_item(i))) Py_RETURN_FALSE;
  auto& w = watched[i];
  if (!w.ref) w.ref = Py_NewRef(ref);
  w.items = w.items || items;
  w.callbacks.push_back(Py_NewRef(callback));
  arena->arm(i, arena->me | kWaiterAsync);
  if (ready(i, w)) {
    // Perhaps before the waiter was noted: have the watching thread look at it.
    arena->self->scan_all.store(1);
    arena->wake_slot(arena->me);
  }
  Py_RETURN_TRUE;
}

// watch_step(timeout_s) -> callbacks that are due, after waiting for some
static PyObject* watch_step(PyObject*, PyObject* args) {
  double timeout_s;
  if (!PyArg_ParseTuple(args, "d", &timeout_s) || !require_arena()) return nullptr;
  forget_old_session();
  Own due(PyList_New(0));
  Slot& s = *arena->self;
  i64 deadline = deadline_of(timeout_s);
  for (;;) {
    u32 seen = s.wake.load(std::memory_order_seq_cst);
    u32 list = s.done_head.exchange(0, std::memory_order_acq_rel);
    while (list) {
      u32 next = arena->record(list).done_next;
      if (!move_callbacks(list, due.get())) return nullptr;
      arena->drop(list);
      list = next;
    }
    if (s.scan_all.exchange(0)) {
      std::vector<u32> all;
      for (auto& [i, _] : watched) all.push_back(i);
      for (u32 i : all) {
        if (watched.count(i) && !ready(i, watched[i])) arena->arm(i, arena->me | kWaiterAsync);  // a stream's notice is used up
        if (!move_callbacks(i, due.get())) return nullptr;
      }
    }
    if (PyList_GET_SIZE(due.get()) || timeout_s == 0) return due.release();
    Arena::Wait w;
    u32 epoch = arena_epoch;
    {
      WithoutGil released;
      w = arena->wait_wake(seen, deadline);
    }
    if (PyErr_CheckSignals() != 0) return nullptr;
    if (!arena || arena->closed || arena_epoch != epoch) return due.release();
    if (w == Arena::Wait::kTimedOut) return due.release();
  }
}

// watched() -> [(ref, [callbacks]), ...]: what has not been called yet
static PyObject* watched_refs(PyObject*, PyObject*) {
  if (!require_arena()) return nullptr;
  forget_old_session();
  Own out(PyList_New(0));
  for (auto& [_, w] : watched) {
    Own callbacks(PyList_New(Py_ssize_t(w.callbacks.size())));
    if (!out || !callbacks) return nullptr;
    for (size_t k = 0; k < w.callbacks.size(); k++)
      PyList_SET_ITEM(callbacks.get(), Py_ssize_t(k), Py_NewRef(w.callbacks[k]));
    Own pair(PyTuple_Pack(2, w.ref, callbacks.get()));
    if (!pair || PyList_Append(out.get(), pair.get()) != 0) return nullptr;
  }
  return out.release();
}

static PyMethodDef methods[] = {{"watch", watch, METH_VARARGS, nullptr},
                                {"watch_step", watch_step, METH_VARARGS, nullptr},
                                {"watched", watched_refs, METH_NOARGS, nullptr},
                                {nullptr, nullptr, 0, nullptr}};

bool add_watch(PyObject* module) { return PyModule_AddFunctions(module, methods) == 0; }

}  // namespace shoal
