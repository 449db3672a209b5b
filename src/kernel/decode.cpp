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

PyObject* decode_value(u32 i, bool* is_error) {
  Record* r = &arena->record(i);
  *is_error = r->state.load(std::memory_order_acquire) & kErrorFlag;
  while (r->value_kind == kAlias) {
    i = u32(r->value_offset);
    r = &arena->record(i);
  }
  switch (r->value_kind) {
    case kNone: Py_RETURN_NONE;
    case kTrue: Py_RETURN_TRUE;
    case kFalse: Py_RETURN_FALSE;
    case kInt: {
      long long n;
      std::memcpy(&n, r->value_inline, 8);
      return PyLong_FromLongLong(n);
    }
    case kFloat: {
      double x;
      std::memcpy(&x, r->value_inline, 8);
      return PyFloat_FromDouble(x);
    }
    case kBytes:
      if (r->where == kInline)
        return PyBytes_FromStringAndSize(reinterpret_cast<const char*>(r->value_inline), Py_ssize_t(r->value_size));
      break;
    case kStr:
      if (r->where == kInline)
        return PyUnicode_DecodeUTF8(reinterpret_cast<const char*>(r->value_inline), Py_ssize_t(r->value_size), "strict");
      break;
    case kNoValue:
      PyErr_SetString(PyExc_SystemError, "the record has no value");
      return nullptr;
    default: break;
  }
  ViewObject* view = view_of(i);
  if (!view) return nullptr;
  Own owner(reinterpret_cast<PyObject*>(view));
  const u8* at = static_cast<const u8*>(view->data);
  switch (r->value_kind) {
    case kBytes: return decode_bytes(at, view->size);
    case kStr: return PyUnicode_DecodeUTF8(reinterpret_cast<const char*>(at), view->size, "strict");
    case kPickle: return decode_pickle(at, u64(view->size), nullptr, {nullptr, 0});
    case kPack: return decode_pack(at, u64(view->size), owner.get());
    case kRefList: return decode_refs(at, u64(view->size), true);
    case kRefTuple: return decode_refs(at, u64(view->size), false);
    default: PyErr_Format(PyExc_SystemError, "unknown kind of value %d", int(r->value_kind)); return nullptr;
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
