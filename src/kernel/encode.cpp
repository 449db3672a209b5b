// Python values to bytes in records. Small plain values have encodings of their own; the rest is pickle, with buffers out of band
// so that arrays are views into the arena.
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "codec.h"
#include "python.h"

namespace shoal {

bool pickle(PyObject* value, Pickled& out) {
  out.refs = PyList_New(0);
  if (!out.refs) return false;
  PyObject* found;
  {
    Collecting refs(out.refs);
    found = PyObject_CallOneArg(hooks.serialize, value);
  }
  if (!found) return false;
  if (PyBytes_CheckExact(found)) {
    out.stream = found;
  } else {
    out.stream = Py_NewRef(PyTuple_GET_ITEM(found, 0));
    out.buffers = Py_NewRef(PyTuple_GET_ITEM(found, 1));
    Py_DECREF(found);
    Py_ssize_t n = PyList_GET_SIZE(out.buffers);
    out.views.reserve(size_t(n));
    for (Py_ssize_t k = 0; k < n; k++) {
      Py_buffer view;
      if (PyObject_GetBuffer(PyList_GET_ITEM(out.buffers, k), &view, PyBUF_SIMPLE) != 0) return false;
      out.views.push_back(view);
    }
  }
  u64 n = u64(PyList_GET_SIZE(out.refs));
  u64 at = sizeof(PackHead) + align_up(4 * n, 8) + sizeof(PackBuffer) * out.views.size() + u64(PyBytes_GET_SIZE(out.stream));
  for (auto& v : out.views) at = align_up(at, 64) + u64(v.len);
  out.total = out.plain() ? u64(PyBytes_GET_SIZE(out.stream)) : at;
  return true;
}

void pack_head(const Pickled& p, u8* to, std::vector<std::pair<u64, const Py_buffer*>>& places) {
  u32 n = u32(PyList_GET_SIZE(p.refs));
  PackHead h{n, u32(p.views.size()), u64(PyBytes_GET_SIZE(p.stream))};
  std::memcpy(to, &h, sizeof h);
  u64 at = sizeof h;
  for (u32 k = 0; k < n; k++) {
    u32 i = ref_record(PyList_GET_ITEM(p.refs, k));
    std::memcpy(to + at + 4 * k, &i, 4);
  }
  at += align_up(4 * n, 8);
  u64 table = at;
  at += sizeof(PackBuffer) * p.views.size();
  std::memcpy(to + at, PyBytes_AS_STRING(p.stream), h.pickle_bytes);
  at += h.pickle_bytes;
  for (auto& v : p.views) {
    at = align_up(at, 64);
    PackBuffer b{at, u64(v.len)};
    std::memcpy(to + table, &b, sizeof b);
    table += sizeof b;
    places.push_back({at, &v});
    at += u64(v.len);
  }
}

void copy(void* to, const void* from, u64 bytes) {
  if (bytes < u64(kReleaseGilBytes)) {
    std::memcpy(to, from, bytes);
    return;
  }
  {
    WithoutGil released;
    std::memcpy(to, from, bytes);
  }
}

// Never-touched pages cost most of a first copy: let the system bring them in one go. Those this process has had already are
// left alone (a run that was given back to the system in between is brought again page by page, which is only slower).
static void populate(u8* at, u64 bytes) {
  static u8* had = nullptr;
  static u64 had_bytes = 0;
  if (bytes < u64(kReleaseGilBytes) || (at >= had && at + bytes <= had + had_bytes)) return;
  u8* start = reinterpret_cast<u8*>(align_up(reinterpret_cast<u64>(at), 4096));
  u64 length = (bytes - u64(start - at)) & ~4095ull;
  {
    WithoutGil released;
    madvise(start, length, MADV_POPULATE_WRITE);
  }
  had = at;
  had_bytes = bytes;
}

// Room for a value; makes room by spilling. 0: no room (a file is the caller's next try). -1: an exception is set.
// References in garbage cycles keep objects until Python looks for cycles, which small objects alone may not make it do. When a
// big value finds the arena more than 70 % full, it is made to look, every ten seconds at the most.
static void collect_if_crowded(u64 bytes) {
  Header& h = *arena->head;
  if (bytes < (1u << 20) || (h.used_pages.load() * kPageBytes + bytes) * 10 < h.capacity_bytes * 7) return;
  static u64 last_ns = 0;
  u64 now = now_ns();
  if (last_ns && now - last_ns < 10'000'000'000ull) return;
  last_ns = now;
  Own gc(PyImport_ImportModule("gc"));
  Own found(gc ? PyObject_CallMethod(gc.get(), "collect", nullptr) : nullptr);
  if (!found) PyErr_Clear();
}

static u8* room(u32 i, u64 bytes) {
  Record& r = arena->record(i);
  r.value_size = bytes;
  if (bytes <= kValueInline) {
    r.where = kInline;
    return r.value_inline;
  }
  collect_if_crowded(bytes);
  bool done = arena->allocate_value(i, bytes);
  if (!done && bytes < arena->head->capacity_bytes) {
    u64 wanted = std::max(bytes + bytes / 8, arena->head->capacity_bytes / 16);
    u64 freed = 1;
    for (int round = 0; !done && freed && round < 8; round++) {
      freed = arena->spill(wanted);
      done = arena->allocate_value(i, bytes);
    }
  }
  return done ? arena->heap(r.value_offset) : nullptr;
}

bool no_room(u64 bytes) {
  int code = errno;
  Own r(PyObject_CallFunction(hooks.store_full, "Ki", static_cast<unsigned long long>(bytes), code));
  if (r) PyErr_Format(PyExc_MemoryError, "an object of %llu bytes does not fit", static_cast<unsigned long long>(bytes));
  return false;
}

static bool store_bytes(u32 i, u8 kind, const char* data, u64 size) {
  Record& r = arena->record(i);
  if (u8* to = room(i, size)) {
    if (size > u64(kReleaseGilBytes)) populate(to, size);
    copy(to, data, size);
  } else if (!arena->value_to_file(i, {{data, size}}, kind == kPickle ? size : 0)) {
    return no_room(size);
  }
  r.value_kind = kind;
  return true;
}

static bool store_pack(u32 i, const Pickled& p) {
  Record& r = arena->record(i);
  u32 n = u32(PyList_GET_SIZE(p.refs));
  std::vector<std::pair<u64, const Py_buffer*>> places;
  if (u8* to = room(i, p.total)) {
    populate(to, p.total);
    pack_head(p, to, places);
    for (auto& [at, v] : places) copy(to + at, v->buf, u64(v->len));
  } else {
    u64 front = sizeof(PackHead) + align_up(4 * n, 8) + sizeof(PackBuffer) * p.views.size() + u64(PyBytes_GET_SIZE(p.stream));
    std::vector<u8> start(front);
    pack_head(p, start.data(), places);
    std::vector<std::pair<const void*, u64>> parts{{start.data(), front}};
    static const u8 zeros[64] = {};
    u64 at = front;
    for (auto& [place, v] : places) {
      parts.push_back({zeros, place - at});
      parts.push_back({v->buf, u64(v->len)});
      at = place + u64(v->len);
    }
    if (n * 4 > kArgsInline && n) {
      errno = ENOMEM;
      return no_room(p.total);
    }
    bool written;
    {
      WithoutGil released;
      written = arena->value_to_file(i, parts, front);
    }
    if (!written) return no_room(p.total);
    std::memcpy(r.args_inline, start.data() + sizeof(PackHead), n * 4);
    r.args_size = n * 4;
    arena->head->fallback_objects.fetch_add(1);
  }
  for (u32 k = 0; k < n; k++) arena->hold(ref_record(PyList_GET_ITEM(p.refs, k)));
  r.value_kind = kPack;
  return true;
}

// 1: done, 0: not a list or tuple of references, -1: exception.
static int store_refs(u32 i, PyObject* value) {
  bool list = PyList_CheckExact(value);
  if (!list && !PyTuple_CheckExact(value)) return 0;
  Py_ssize_t n = PySequence_Fast_GET_SIZE(value);
  PyObject** items = PySequence_Fast_ITEMS(value);
  if (n == 0) return 0;
  for (Py_ssize_t k = 0; k < n; k++)
    if (!is_ref(items[k]) || reinterpret_cast<RefObject*>(items[k])->epoch != arena_epoch) return 0;
  u8* to = room(i, u64(n) * 4);
  if (!to) return no_room(u64(n) * 4) ? 1 : -1;
  for (Py_ssize_t k = 0; k < n; k++) {
    u32 held = ref_record(items[k]);
    arena->hold(held);
    std::memcpy(to + 4 * k, &held, 4);
  }
  arena->record(i).value_kind = list ? kRefList : kRefTuple;
  return 1;
}

bool encode_value(PyObject* value, u32 i) {
  Record& r = arena->record(i);
  PyTypeObject* type = Py_TYPE(value);
  if (value == Py_None || type == &PyBool_Type) {
    r.value_kind = value == Py_None ? kNone : value == Py_True ? kTrue : kFalse;
    return true;
  }
  if (type == &PyLong_Type) {
    int overflow;
    long long n = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (!overflow) {
      std::memcpy(r.value_inline, &n, 8);
      r.value_size = 8;
      r.value_kind = kInt;
      return true;
    }
  } else if (type == &PyFloat_Type) {
    double x = PyFloat_AS_DOUBLE(value);
    std::memcpy(r.value_inline, &x, 8);
    r.value_size = 8;
    r.value_kind = kFloat;
    return true;
  } else if (type == &PyBytes_Type) {
    return store_bytes(i, kBytes, PyBytes_AS_STRING(value), u64(PyBytes_GET_SIZE(value)));
  } else if (type == &PyUnicode_Type) {
    Py_ssize_t size;
    const char* text = PyUnicode_AsUTF8AndSize(value, &size);
    if (text) return store_bytes(i, kStr, text, u64(size));
    PyErr_Clear();  // lone surrogates: pickle can
  } else {
    int done = store_refs(i, value);
    if (done) return done > 0;
  }
  Pickled p;
  if (!pickle(value, p)) return false;
  if (p.plain()) return store_bytes(i, kPickle, PyBytes_AS_STRING(p.stream), p.total);
  return store_pack(i, p);
}

}  // namespace shoal
