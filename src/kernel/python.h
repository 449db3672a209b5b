// What the Python-facing files of the kernel share. The GIL is held unless said otherwise.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include <vector>

#include "arena.h"

namespace shoal {

extern Arena* arena;      // of this process, or null
extern u32 arena_epoch;   // grows with each attach

// Python functions that the package gives the kernel at import (set_hooks).
struct Hooks {
  PyObject* serialize;       // (value) -> bytes | (bytes, [buffers])
  PyObject* raise_error;     // (exception object from a record) -> raises
  PyObject* store_full;      // (bytes, errno) -> raises
  PyObject* get_slow;        // get(*args, **kwargs) for everything the fast path does not take
  PyObject* put_slow;
  PyObject* wait_slow;
  PyObject* loads;           // pickle.loads
  PyObject* stream;          // (ObjectRef) -> what a streaming call returns
  PyObject* not_attached;    // () -> raises
  PyObject* ref_of;          // (id: bytes) -> ObjectRef
  PyObject* not_sent;        // (error of an argument, the submitter's check) -> the error to raise
  PyObject* value_lost;      // (ObjectRef, its spill file, errno; 0: too short; EBADMSG: damaged): returns if it is computed again
  PyObject* long_wait;       // ([(record, uid)], how many of them are needed): an execution waits, and may never stop -> raises if so
};
extern Hooks hooks;

PyObject* not_sent(PyObject* check);  // after a failed encode: makes its TypeError say for what; null

// Owns one reference.
class Own {
 public:
  Own(PyObject* o = nullptr) : o_(o) {}
  Own(const Own&) = delete;
  Own& operator=(const Own&) = delete;
  Own(Own&& other) noexcept : o_(other.release()) {}
  ~Own() { Py_XDECREF(o_); }
  PyObject* get() const { return o_; }
  PyObject* release() {
    PyObject* o = o_;
    o_ = nullptr;
    return o;
  }
  explicit operator bool() const { return o_ != nullptr; }

 private:
  PyObject* o_;
};

// ---- ref.cpp
struct RefObject {
  PyObject_HEAD
  u32 record;
  u32 entry;  // in the ledger
  u64 uid;
  u32 epoch;
  u32 mark;  // see wait(): finds duplicates
};
extern PyTypeObject* RefType;
bool require_arena();  // raises when none is attached
PyObject* new_ref(u32 record);      // takes one count more
PyObject* adopt_ref(u32 record);    // the caller's count becomes the handle's
inline bool is_ref(PyObject* o) { return Py_TYPE(o) == RefType; }
bool check_ref(PyObject* o);        // of this session? else raises
inline bool need_ref(PyObject* o) {
  if (is_ref(o)) return check_ref(o);
  PyErr_Format(PyExc_TypeError, "an ObjectRef is needed, but got %R", o);
  return false;
}
inline u32 ref_record(PyObject* o) { return reinterpret_cast<RefObject*>(o)->record; }
bool add_ref_type(PyObject* module);

// ---- encode.cpp, decode.cpp, arguments.cpp (see codec.h)
// Writes the value into the record (its count is at least 1). False: an exception is set.
bool encode_value(PyObject* value, u32 record);
// The value, or the exception object when *is_error. Null: an exception is set.
PyObject* decode_value(u32 record, bool* is_error);
// Decodes; raises when it is an error.
PyObject* get_value(u32 record);
bool encode_args(u32 record, PyObject* const* args, Py_ssize_t positional, PyObject* keyword_names);
// Arguments of an execution. *failed: the dependency whose error they are.
bool decode_args(u32 record, std::vector<PyObject*>& values, PyObject** keyword_names, u32* failed);
u32 limit_references(u32 most);  // that one call may have as arguments, in this process; what it was. For tests
u32 text_record(const char* text, Py_ssize_t size);  // a record holding a str in its arguments' place
std::string text_of(u32 record);

// ---- submit.cpp, work.cpp, control.cpp, watch.cpp
bool add_submitter(PyObject* module);
bool add_work(PyObject* module);
extern thread_local u64 current_uid;  // of this thread's execution; 0 = none
bool find_parent(u64* uid);
bool add_objects(PyObject* module);
bool add_watch(PyObject* module);
bool add_obstacles(PyObject* module);
bool add_holders(PyObject* module);
void add_control(PyObject* module);

// What an execution waits for without a deadline. Looked at now and then while it sleeps: the daemon is told, so that waits that
// form a circle end in an error. `need`: how many of the records must have arrived.
struct LongWait {
  const u32* records;
  size_t count;
  size_t need;
  u32 looks{0};
  bool look();  // false: an exception is set
};

// Other threads run Python while this lives.
//
// When the interpreter has ended meanwhile, Python ends a thread that asks for the GIL by unwinding its stack, and the destructors
// on the way would touch objects without the GIL. Such a thread sleeps until the process is gone instead.
class WithoutGil {
 public:
  WithoutGil() : state_(PyEval_SaveThread()) {}
  ~WithoutGil() {
    try {
      PyEval_RestoreThread(state_);
    } catch (...) {  // nothing of ours is thrown here: it is the unwinding
      for (;;) pause();
    }
  }
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;

 private:
  PyThreadState* state_;
};

// Runs a wait without the GIL and lets Python's signal handlers run in between. False: an exception is set.
template <class F> bool waiting(F wait, Arena::Wait* result, LongWait* long_wait = nullptr) {
  for (;;) {
    Arena::Wait w;
    {
      WithoutGil released;
      w = wait();
    }
    if (PyErr_CheckSignals() != 0) return false;
    if (!arena || arena->closed) {  // the session was ended by another thread
      require_arena();
      return false;
    }
    if (w != Arena::Wait::kInterrupted) {
      *result = w;
      return true;
    }
    if (long_wait && !long_wait->look()) return false;
  }
}

// A year is for ever; so is what is no number.
inline i64 deadline_of(double timeout_s) {
  constexpr double kForeverS = 366 * 86400.0;
  return timeout_s >= 0 && timeout_s < kForeverS ? i64(now_ns()) + i64(timeout_s * 1e9) : -1;
}

inline u32 record_end(const Arena& a) {
  u32 segments = a.head->segments_used.load();
  return (segments < kMaxSegments ? segments : kMaxSegments) * kSegmentRecords;
}

// Numbers from Python. False: an exception is set.
inline bool check_number(u32 i, u32 end, const char* what) {
  if (i && i < end) return true;
  PyErr_Format(PyExc_IndexError, "there is no %s %u", what, i);
  return false;
}
inline bool queue_of(PyObject* number, u32* queue) {
  unsigned long n = PyLong_AsUnsignedLong(number);
  if (PyErr_Occurred() || !require_arena()) return false;
  *queue = n > 0xffffffffu ? 0xffffffffu : u32(n);
  return check_number(*queue, arena->head->queues_used, "queue");
}
inline bool record_of(PyObject* number, u32* record) {
  unsigned long n = PyLong_AsUnsignedLong(number);
  if (PyErr_Occurred() || !require_arena()) return false;
  *record = n > 0xffffffffu ? 0xffffffffu : u32(n);
  return check_number(*record, record_end(*arena), "record");
}

}  // namespace shoal
