// Bytes in records to Python values: the way back of encode.cpp.
#include <cstring>

#include "codec.h"
#include "python.h"

namespace shoal {

PyObject* damaged() {
  PyErr_SetString(PyExc_ValueError, "a value in the object store is damaged: its bytes are not what was written");
  return nullptr;
}

PyObject* decode_pickle(const void* data, u64 size, PyObject* buffers, Held held) {
  Own stream(PyMemoryView_FromMemory(const_cast<char*>(static_cast<const char*>(data)), Py_ssize_t(size), PyBUF_READ));
  if (!stream) return nullptr;
  Loading refs(held);
  if (!buffers) return PyObject_CallOneArg(hooks.loads, stream.get());
  static PyObject* names = nullptr;
  if (!names) names = Py_BuildValue("(s)", "buffers");
  PyObject* args[] = {stream.get(), buffers};
  return PyObject_Vectorcall(hooks.loads, args, 1, names);
}

static constexpr u64 kViewBytes = 1024;

PyObject* decode_pack(const u8* at, u64 size, PyObject* owner) {
  PackHead h;
  if (size < sizeof h) return damaged();
  std::memcpy(&h, at, sizeof h);
  u64 table_at = sizeof h + align_up(4ull * h.references, 8);
  u64 stream_at = table_at + sizeof(PackBuffer) * u64(h.buffers);
  if (stream_at > size || h.pickle_bytes > size - stream_at) return damaged();
  const u32* records = reinterpret_cast<const u32*>(at + sizeof h);
  const u8* table = at + table_at;
  const u8* stream = at + stream_at;
  Own buffers;
  if (h.buffers) {
    PyObject* list = PyList_New(h.buffers);
    if (!list) return nullptr;
    Own held(list);
    for (u32 k = 0; k < h.buffers; k++) {
      PackBuffer b;
      std::memcpy(&b, table + k * sizeof b, sizeof b);
      if (b.offset > size || b.size > size - b.offset) return damaged();
      // A view of its own would cost a small buffer more than the copy. Both are read-only.
      bool view = owner && b.size >= kViewBytes;
      PyObject* item = view ? reinterpret_cast<PyObject*>(new_view(owner, at + b.offset, b.size))
                             : PyBytes_FromStringAndSize(reinterpret_cast<const char*>(at + b.offset), Py_ssize_t(b.size));
      if (!item) return nullptr;
      PyList_SET_ITEM(list, k, item);
    }
    return decode_pickle(stream, h.pickle_bytes, held.get(), {records, h.references});
  }
  return decode_pickle(stream, h.pickle_bytes, nullptr, {records, h.references});
}

static PyObject* decode_refs(const u8* at, u64 size, bool list) {
  Py_ssize_t n = Py_ssize_t(size / 4);
  PyObject* out = list ? PyList_New(n) : PyTuple_New(n);
  if (!out) return nullptr;
  for (Py_ssize_t k = 0; k < n; k++) {
    u32 i;
    std::memcpy(&i, at + 4 * k, 4);
    PyObject* ref = held_ref(i);
    if (!ref) {
      Py_DECREF(out);
      return nullptr;
    }
    if (list) {
      PyList_SET_ITEM(out, k, ref);
    } else {
      PyTuple_SET_ITEM(out, k, ref);
    }
  }
  return out;
}

static PyObject* decode_bytes(const void* data, Py_ssize_t size) {
  PyObject* out = PyBytes_FromStringAndSize(nullptr, size);
  if (out) copy(PyBytes_AS_STRING(out), data, u64(size));
  return out;
}

static thread_local i64 value_deadline = -1;

ValueDeadline::ValueDeadline(i64 deadline) : outer_(value_deadline) { value_deadline = deadline; }
ValueDeadline::~ValueDeadline() { value_deadline = outer_; }

// Where the value is. What an alias names is sealed, unless it is being computed again. 0: an exception is set.
static u32 place_of_value(u32 i, bool* is_error) {
  u32 state = arena->record(i).state.load(std::memory_order_acquire);
  while (arena->record(i).value_kind == kAlias) {
    std::atomic_thread_fence(std::memory_order_acquire);
    i = u32(arena->record(i).value_offset);
    if (!arena->sealed(i)) {
      Arena::Wait w;
      LongWait one{&i, 1, 1};
      if (!waiting([&] { return arena->wait_sealed(i, value_deadline); }, &w, value_deadline < 0 ? &one : nullptr)) return 0;
      if (w == Arena::Wait::kTimedOut) {
        PyErr_SetString(PyExc_TimeoutError, "get timed out while a lost value was computed again");
        return 0;
      }
    }
    state |= arena->record(i).state.load(std::memory_order_acquire);
  }
  *is_error = state & kErrorFlag;
  return i;
}

static PyObject* decode_small(const Record& r, u8 kind) {
  const char* at = reinterpret_cast<const char*>(r.value_inline);
  switch (kind) {
    case kNone: Py_RETURN_NONE;
    case kTrue: Py_RETURN_TRUE;
    case kFalse: Py_RETURN_FALSE;
    case kInt: {
      long long n;
      std::memcpy(&n, at, 8);
      return PyLong_FromLongLong(n);
    }
    case kFloat: {
      double x;
      std::memcpy(&x, at, 8);
      return PyFloat_FromDouble(x);
    }
    case kBytes: return PyBytes_FromStringAndSize(at, Py_ssize_t(r.value_size));
    case kStr: return PyUnicode_DecodeUTF8(at, Py_ssize_t(r.value_size), "strict");
    default: PyErr_SetString(PyExc_SystemError, "the record has no value"); return nullptr;
  }
}

PyObject* decode_value(u32 i, bool* is_error) {
  for (;;) {
    u32 found = place_of_value(i, is_error);
    if (!found) return nullptr;
    const Record& r = arena->record(found);
    u8 kind = r.value_kind;
    if (kind < kBytes || (r.where == kInline && (kind == kBytes || kind == kStr))) return decode_small(r, kind);
    bool again;
    ViewObject* view = view_of(found, &again);
    if (again || kind == kAlias) {  // it was lost, now or a moment ago
      Py_XDECREF(view);
      continue;
    }
    if (!view) return nullptr;
    Own owner(reinterpret_cast<PyObject*>(view));
    const u8* at = static_cast<const u8*>(view->data);
    switch (kind) {
      case kBytes: return decode_bytes(at, view->size);
      case kStr: return PyUnicode_DecodeUTF8(reinterpret_cast<const char*>(at), view->size, "strict");
      case kPickle: return decode_pickle(at, u64(view->size), nullptr, {nullptr, 0});
      case kPack: return decode_pack(at, u64(view->size), owner.get());
      case kRefList: return decode_refs(at, u64(view->size), true);
      case kRefTuple: return decode_refs(at, u64(view->size), false);
      default: PyErr_Format(PyExc_SystemError, "unknown kind of value %d", int(kind)); return nullptr;
    }
  }
}

PyObject* get_value(u32 i) {
  bool is_error;
  PyObject* value = decode_value(i, &is_error);
  if (!value || !is_error) return value;
  Own error(value);
  Own r(PyObject_CallOneArg(hooks.raise_error, error.get()));
  if (r) PyErr_SetObject(PyExc_RuntimeError, error.get());
  return nullptr;
}

}  // namespace shoal
