// Waits that do not end: telling the daemon what an execution waits for, and telling why a record is not sealed yet.
#include "python.h"

namespace shoal {

static constexpr size_t kToldAtMost = 256;
static constexpr u32 kLooksBetween = 4;  // after the second one, which confirms the first

enum Obstacle : int { kGoesOn = 0, kItself = 1, kAnother = 2, kExecutions = 3, kWorkers = 4, kNoProcess = 5 };

static bool append(PyObject* list, u32 i, u64 uid) {
  Own pair(Py_BuildValue("(IK)", i, static_cast<unsigned long long>(uid)));
  return pair && PyList_Append(list, pair.get()) == 0;
}

bool LongWait::look() {
  if (++looks > 2 && looks % kLooksBetween) return true;
  Own awaited(PyList_New(0));
  if (!awaited) return false;
  size_t missing = need;
  for (size_t k = 0; k < count; k++) {
    u32 i = records[k] & ~kItemCounts;
    if (arena->arrived(records[k])) {
      missing -= missing > 0;
    } else if (size_t(PyList_GET_SIZE(awaited.get())) < kToldAtMost || need < count) {
      if (!append(awaited.get(), i, arena->record(i).uid)) return false;
    }
  }
  size_t told = size_t(PyList_GET_SIZE(awaited.get()));
  if (!missing || told > kToldAtMost) return true;
  Own done(PyObject_CallFunction(hooks.long_wait, "On", awaited.get(), Py_ssize_t(missing < told ? missing : told)));
  return bool(done);
}

// The call of the same caller after which this one has its turn.
static u32 call_before(u32 i) {
  u32 end = arena->records_end();
  for (u32 p = arena->next_record(0); p < end; p = arena->next_record(p))
    if (arena->record(p).follower.load(std::memory_order_relaxed) == i) return p;
  return 0;
}

static u32 next_dependency(u32 i) {
  Record& r = arena->record(i);
  if (!(r.flags & kArgsHeld)) return 0;
  const u8* bytes = r.args_offset ? arena->heap(r.args_offset) : r.args_inline;
  u32 n = reinterpret_cast<const ArgsHead*>(bytes)->dependencies, place = r.place & kPlaceMask;
  u32 d = place < n ? reinterpret_cast<const u32*>(bytes + sizeof(ArgsHead))[place] : 0;
  bool as_it_was = (r.state.load(std::memory_order_acquire) & kStateMask) == kPending;
  return as_it_was && d < arena->records_end() ? d : 0;
}

// What the process in the slot runs: of this queue, or (0) of all.
static bool append_executions(PyObject* list, u32 slot, u32 queue) {
  for (u32 c = slot ? u32(arena->slot(slot).ledger_first) : 0; c; c = arena->chunk(c).next) {
    for (auto& e : arena->chunk(c).entries) {
      if (e.kind.load(std::memory_order_acquire) != kExecution) continue;
      u32 i = e.record.load(std::memory_order_relaxed);
      Record& r = arena->record(i);
      bool runs = (!queue || r.queue == queue) && (r.state.load(std::memory_order_acquire) & kStateMask) == kRunning;
      if (runs && !append(list, i, r.uid)) return false;
    }
  }
  return true;
}

// executions(slot) -> [(record, uid), ...]: the tasks and calls that the process in the slot runs.
static PyObject* executions(PyObject*, PyObject* number) {
  unsigned long slot = PyLong_AsUnsignedLong(number);
  if (PyErr_Occurred() || !require_arena()) return nullptr;
  if (!check_number(slot > kMaxSlots ? kMaxSlots : u32(slot), arena->head->slots_used, "slot")) return nullptr;
  Own list(PyList_New(0));
  return list && append_executions(list.get(), u32(slot), 0) ? list.release() : nullptr;
}

// set_constructing(record): this process runs the constructor of the actor now (0: no longer), which counts as an execution where
// CPUs are lent to others.
static PyObject* set_constructing(PyObject*, PyObject* number) {
  unsigned long n = PyLong_AsUnsignedLong(number);
  u32 i = 0;
  if (PyErr_Occurred() || !require_arena() || (n && !record_of(number, &i))) return nullptr;
  arena->self->running.store(i, std::memory_order_release);
  Py_RETURN_NONE;
}

// Of a queued record. -> false: an exception is set.
static bool append_queue(PyObject* list, Record& r, int* kind) {
  Queue& q = arena->queue(r.queue);
  u32 flags = q.flags.load();
  if (!(flags & kQueueUsed) || (flags & kQueueClosed)) return true;
  if (!(flags & kQueueMailbox)) {
    *kind = kWorkers;
    return append(list, r.queue, q.class_id);
  }
  if (!append_executions(list, q.class_id, r.queue)) return false;
  if (PyList_GET_SIZE(list)) {
    *kind = kExecutions;
  } else if (r.actor) {
    *kind = kNoProcess;
    return append(list, r.actor, arena->record(r.actor).uid);
  }
  return true;
}

// obstacle(record, uid) -> (kind, [(number, uid), ...]): why the record is not sealed.
// 0: it is, or something goes on that will seal it, or nobody knows.
// 1: it runs. 2: it waits for another. 3: it is queued behind these executions of its actor.
// 4: it waits for a worker: (task queue, scheduling class). 5: its actor runs nothing: (the actor's record, uid).
static PyObject* obstacle(PyObject*, PyObject* args) {
  PyObject* number;
  unsigned long long uid;
  u32 i;
  if (!PyArg_ParseTuple(args, "OK", &number, &uid) || !record_of(number, &i)) return nullptr;
  Record& r = arena->record(i);
  u32 seen = r.state.load(std::memory_order_acquire), plain = seen & kStateMask, other = 0;
  Own list(PyList_New(0));
  if (!list) return nullptr;
  int kind = kGoesOn;
  if (r.uid != uid || plain == kSealed || plain == kFree || (r.kind == kActor && plain != kPending)) {
    kind = kGoesOn;
  } else if (r.kind == kReturn) {
    other = r.first_return;
  } else if (plain == kRunning) {
    kind = kItself;
    if (!append(list.get(), i, uid)) return nullptr;
  } else if (plain == kPending && !(seen >> kReturnerShift)) {
    other = seen & kTurnFlag ? call_before(i) : next_dependency(i);
  } else if (plain == kQueued) {
    if (!append_queue(list.get(), r, &kind)) return nullptr;
  }
  if (other && !arena->sealed(other)) {
    kind = kAnother;
    if (!append(list.get(), other, arena->record(other).uid)) return nullptr;
  }
  return Py_BuildValue("(iO)", kind, list.get());
}

static PyMethodDef methods[] = {{"obstacle", obstacle, METH_VARARGS, nullptr},
                                {"executions", executions, METH_O, nullptr},
                                {"set_constructing", set_constructing, METH_O, nullptr},
                                {nullptr, nullptr, 0, nullptr}};

bool add_obstacles(PyObject* module) { return PyModule_AddFunctions(module, methods) == 0; }

}  // namespace shoal
