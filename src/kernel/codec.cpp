// Python values to bytes in records and back. Small plain values have encodings of their own; the rest is pickle, with buffers out
// of band so that arrays are views into the arena.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>

#include "python.h"

namespace shoal {

static constexpr Py_ssize_t kReleaseGilBytes = 1 << 20;  // copies above it run without the GIL
static constexpr u64 kArgumentBytes = 100 * 1024;        // a bigger argument becomes an object of its own

bool require_arena() {
  if (arena && !arena->closed) return true;
  Own r(PyObject_CallNoArgs(hooks.not_attached));
  if (r) PyErr_SetString(PyExc_RuntimeError, "no session is running in this process: call shoal.init() first");
  return false;
}

// ---------------------------------------------------------------- references inside values

// While something is being pickled: where the references met on the way go.
static thread_local PyObject* collector = nullptr;
// While something is being unpickled: the records it refers to.
struct Held {
  const u32* records;
  u32 n;
};
static thread_local Held* loading = nullptr;

static PyObject* load_ref_function = nullptr;
static PyObject* load_out_of_band_function = nullptr;

PyObject* reduce_ref(PyObject* o, PyObject*) {
  if (!check_ref(o)) return nullptr;
  if (collector) {
    Py_ssize_t n = PyList_GET_SIZE(collector);
    if (PyList_Append(collector, o) != 0) return nullptr;
    return Py_BuildValue("O(n)", load_ref_function, n);
  }
  const char* allowed = std::getenv("RAY_allow_out_of_band_object_ref_serialization");
  if (allowed && std::strcmp(allowed, "0") == 0) {
    Own exceptions(PyImport_ImportModule("shoal.exceptions"));
    Own type(exceptions ? PyObject_GetAttrString(exceptions.get(), "OufOfBandObjectRefSerializationException") : nullptr);
    if (type)
      PyErr_SetString(type.get(),
                      "a reference was pickled outside of an argument, a result or put(), where nothing counts it, and "
                      "RAY_allow_out_of_band_object_ref_serialization=0 refuses that");
    return nullptr;
  }
  // Pickled by the user's own code: nothing tells when the bytes are gone, so the object stays for the life of this process.
  u32 i = ref_record(o);
  arena->hold(i);
  arena->enter(i, kHandle);
  return Py_BuildValue("O(y#IK)", load_out_of_band_function, reinterpret_cast<const char*>(arena->head->session_id),
                       Py_ssize_t(8), i, static_cast<unsigned long long>(arena->record(i).uid));
}

static PyObject* load_ref(PyObject*, PyObject* number) {
  unsigned long n = PyLong_AsUnsignedLong(number);
  if (PyErr_Occurred()) return nullptr;
  if (!loading || n >= loading->n) {
    PyErr_SetString(PyExc_RuntimeError, "a reference was unpickled outside of the value that holds it");
    return nullptr;
  }
  return new_ref(loading->records[n]);
}

static PyObject* load_out_of_band(PyObject*, PyObject* args) {
  const char* session;
  Py_ssize_t size;
  unsigned int i;
  unsigned long long uid;
  if (!PyArg_ParseTuple(args, "y#IK", &session, &size, &i, &uid)) return nullptr;
  if (!require_arena()) return nullptr;
  if (size != 8 || std::memcmp(session, arena->head->session_id, 8) != 0 || i >= kMaxRecords || !arena->try_hold(i)) {
    PyErr_SetString(PyExc_ValueError, "this pickled ObjectRef belongs to another session, or its object is gone");
    return nullptr;
  }
  if (arena->record(i).uid != uid) {
    arena->drop(i);
    PyErr_SetString(PyExc_ValueError, "the object of this pickled ObjectRef is gone");
    return nullptr;
  }
  return adopt_ref(i);
}

// ---------------------------------------------------------------- views

// A read-only buffer inside the arena or a mapped file. The first one of a value owns the pin; the others own the first.
struct ViewObject {
  PyObject_HEAD
  PyObject* owner;
  const void* data;
  Py_ssize_t size;
  u32 record;  // 0: none
  u32 entry;
  u32 epoch;
  void* mapping;
  size_t mapping_bytes;
};
static PyTypeObject* ViewType = nullptr;

static void view_dealloc(PyObject* o) {
  auto* v = reinterpret_cast<ViewObject*>(o);
  if (v->mapping) munmap(v->mapping, v->mapping_bytes);
  if (v->record && v->epoch == arena_epoch && arena && !arena->closed) arena->unpin(v->record, v->entry);
  Py_XDECREF(v->owner);
  PyTypeObject* type = Py_TYPE(o);
  PyObject_Free(o);
  Py_DECREF(type);
}

static int view_buffer(PyObject* o, Py_buffer* buffer, int flags) {
  auto* v = reinterpret_cast<ViewObject*>(o);
  return PyBuffer_FillInfo(buffer, o, const_cast<void*>(v->data), v->size, 1, flags);
}

static PyType_Slot view_slots[] = {{Py_tp_dealloc, reinterpret_cast<void*>(view_dealloc)},
                                   {Py_bf_getbuffer, reinterpret_cast<void*>(view_buffer)},
                                   {0, nullptr}};
static PyType_Spec view_spec = {"shoal._kernel.View", sizeof(ViewObject), 0,
                                Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, view_slots};

static ViewObject* new_view(PyObject* owner, const void* data, u64 size) {
  auto* v = PyObject_New(ViewObject, ViewType);
  if (!v) return nullptr;
  v->owner = Py_XNewRef(owner);
  v->data = data;
  v->size = Py_ssize_t(size);
  v->record = v->entry = v->epoch = 0;
  v->mapping = nullptr;
  v->mapping_bytes = 0;
  return v;
}

// A view of the whole value of a record, wherever it is; keeps it there.
static ViewObject* view_of(u32 i) {
  Record& r = arena->record(i);
  if (r.where == kInline) return new_view(nullptr, r.value_inline, r.value_size);
  u32 entry = arena->pin(i);
  if (r.where == kBlock) {
    auto* v = new_view(nullptr, arena->heap_view(r.value_offset), r.value_size);
    if (!v) {
      arena->unpin(i, entry);
      return nullptr;
    }
    v->record = i;
    v->entry = entry;
    v->epoch = arena_epoch;
    return v;
  }
  std::string path = arena->file_of(r.uid);
  u64 size = r.value_size;
  arena->unpin(i, entry);
  int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  void* at = MAP_FAILED;
  if (fd >= 0) {
    at = mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
  }
  if (at == MAP_FAILED) {
    PyErr_Format(PyExc_OSError, "cannot read the spilled object %s: %s", path.c_str(), std::strerror(errno));
    return nullptr;
  }
  auto* v = new_view(nullptr, at, size);
  if (!v) {
    munmap(at, size);
    return nullptr;
  }
  v->mapping = at;
  v->mapping_bytes = size;
  return v;
}

// ---------------------------------------------------------------- encoding

struct Pickled {
  PyObject* stream = nullptr;   // bytes
  PyObject* buffers = nullptr;  // list, or null
  PyObject* refs = nullptr;     // list
  std::vector<Py_buffer> views;
  u64 total = 0;
  bool plain() const { return views.empty() && PyList_GET_SIZE(refs) == 0; }
  ~Pickled() {
    for (auto& v : views) PyBuffer_Release(&v);
    Py_XDECREF(stream);
    Py_XDECREF(buffers);
    Py_XDECREF(refs);
  }
};

static bool pickle(PyObject* value, Pickled& out) {
  out.refs = PyList_New(0);
  if (!out.refs) return false;
  PyObject* outer = collector;
  collector = out.refs;
  PyObject* found = PyObject_CallOneArg(hooks.serialize, value);
  collector = outer;
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

// Everything of a pack but the buffers' contents, and where those go.
static void pack_head(const Pickled& p, u8* to, std::vector<std::pair<u64, const Py_buffer*>>& places) {
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

static void copy(void* to, const void* from, u64 bytes) {
  if (bytes < u64(kReleaseGilBytes)) {
    std::memcpy(to, from, bytes);
    return;
  }
  Py_BEGIN_ALLOW_THREADS
  std::memcpy(to, from, bytes);
  Py_END_ALLOW_THREADS
}

// Never-touched pages cost most of a first copy: let the system bring them in one go. Those this process has had already are
// left alone (a run that was given back to the system in between is brought again page by page, which is only slower).
static void populate(u8* at, u64 bytes) {
  static u8* had = nullptr;
  static u64 had_bytes = 0;
  if (bytes < u64(kReleaseGilBytes) || (at >= had && at + bytes <= had + had_bytes)) return;
  u8* start = reinterpret_cast<u8*>(align_up(reinterpret_cast<u64>(at), 4096));
  u64 length = (bytes - u64(start - at)) & ~4095ull;
  Py_BEGIN_ALLOW_THREADS
  madvise(start, length, MADV_POPULATE_WRITE);
  Py_END_ALLOW_THREADS
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

static bool no_room(u64 bytes) {
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
  } else if (!arena->value_to_file(i, {{data, size}})) {
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
    Py_BEGIN_ALLOW_THREADS
    written = arena->value_to_file(i, parts);
    Py_END_ALLOW_THREADS
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

// ---------------------------------------------------------------- decoding

static PyObject* loads(const void* data, u64 size, PyObject* buffers, Held held) {
  Own stream(PyMemoryView_FromMemory(const_cast<char*>(static_cast<const char*>(data)), Py_ssize_t(size), PyBUF_READ));
  if (!stream) return nullptr;
  Held* outer = loading;
  loading = &held;
  PyObject* value;
  if (buffers) {
    static PyObject* names = nullptr;
    if (!names) names = Py_BuildValue("(s)", "buffers");
    PyObject* args[] = {stream.get(), buffers};
    value = PyObject_Vectorcall(hooks.loads, args, 1, names);
  } else {
    value = PyObject_CallOneArg(hooks.loads, stream.get());
  }
  loading = outer;
  return value;
}

constexpr u64 kViewBytes = 1024;

static PyObject* decode_pack(const u8* at, PyObject* owner) {
  PackHead h;
  std::memcpy(&h, at, sizeof h);
  const u32* records = reinterpret_cast<const u32*>(at + sizeof h);
  const u8* table = at + sizeof h + align_up(4ull * h.references, 8);
  const u8* stream = table + sizeof(PackBuffer) * h.buffers;
  Own buffers;
  if (h.buffers) {
    PyObject* list = PyList_New(h.buffers);
    if (!list) return nullptr;
    Own held(list);
    for (u32 k = 0; k < h.buffers; k++) {
      PackBuffer b;
      std::memcpy(&b, table + k * sizeof b, sizeof b);
      // A view of its own would cost a small buffer more than the copy. Both are read-only.
      bool view = owner && b.size >= kViewBytes;
      PyObject* item = view ? reinterpret_cast<PyObject*>(new_view(owner, at + b.offset, b.size))
                             : PyBytes_FromStringAndSize(reinterpret_cast<const char*>(at + b.offset), Py_ssize_t(b.size));
      if (!item) return nullptr;
      PyList_SET_ITEM(list, k, item);
    }
    return loads(stream, h.pickle_bytes, held.get(), {records, h.references});
  }
  return loads(stream, h.pickle_bytes, nullptr, {records, h.references});
}

static PyObject* decode_refs(const u8* at, u64 size, bool list) {
  Py_ssize_t n = Py_ssize_t(size / 4);
  PyObject* out = list ? PyList_New(n) : PyTuple_New(n);
  if (!out) return nullptr;
  for (Py_ssize_t k = 0; k < n; k++) {
    u32 i;
    std::memcpy(&i, at + 4 * k, 4);
    PyObject* ref = new_ref(i);
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
    case kPickle: return loads(at, u64(view->size), nullptr, {nullptr, 0});
    case kPack: return decode_pack(at, owner.get());
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

// ---------------------------------------------------------------- arguments

namespace {

struct ArgsWriter {
  std::vector<u8> items;
  std::vector<u32> dependencies;  // counted already
  std::vector<u32> nested;        // counted already
  bool kept = false;

  ~ArgsWriter() {
    if (kept) return;
    for (u32 i : dependencies) arena->drop(i);
    for (u32 i : nested) arena->drop(i);
  }

  u8* item(u32 kind, u64 size) {
    u64 at = items.size();
    items.resize(at + sizeof(ItemHead) + align_up(size, 8));
    ItemHead h{kind, u32(size)};
    std::memcpy(items.data() + at, &h, sizeof h);
    return items.data() + at + sizeof h;
  }

  void dependency(u32 record) {
    u32 number = u32(dependencies.size());
    dependencies.push_back(record);
    std::memcpy(item(kRef, 4), &number, 4);
  }

  // As an object of its own, as if the caller had put it.
  bool put(PyObject* value) {
    u32 i = arena->new_record(kObject);
    arena->hold(i);
    u32 entry = arena->enter(i, kHandle);
    bool done = encode_value(value, i);
    arena->strike(entry);
    if (!done) {
      arena->drop(i);
      return false;
    }
    arena->seal(i, 0);
    dependency(i);
    return true;
  }

  bool text(PyObject* value, u32 kind, const char* data, Py_ssize_t size) {
    if (u64(size) > kArgumentBytes) return put(value);
    std::memcpy(item(kind, u64(size)), data, size_t(size));
    return true;
  }

  bool pickled(PyObject* value) {
    Pickled p;
    if (!pickle(value, p)) return false;
    if (p.total > kArgumentBytes) return put(value);  // pickled again: rare, and its cost is the copy's
    if (p.plain()) {
      std::memcpy(item(kPickle, p.total), PyBytes_AS_STRING(p.stream), p.total);
      return true;
    }
    std::vector<std::pair<u64, const Py_buffer*>> places;
    u8* to = item(kPack, p.total);
    pack_head(p, to, places);
    for (auto& [at, v] : places) std::memcpy(to + at, v->buf, size_t(v->len));
    for (Py_ssize_t k = 0; k < PyList_GET_SIZE(p.refs); k++) {
      u32 i = ref_record(PyList_GET_ITEM(p.refs, k));
      arena->hold(i);
      nested.push_back(i);
    }
    return true;
  }

  bool add(PyObject* value) {
    PyTypeObject* type = Py_TYPE(value);
    if (type == RefType) {
      if (!check_ref(value)) return false;
      arena->hold(ref_record(value));
      dependency(ref_record(value));
      return true;
    }
    if (value == Py_None || type == &PyBool_Type) {
      item(value == Py_None ? kNone : value == Py_True ? kTrue : kFalse, 0);
      return true;
    }
    if (type == &PyLong_Type) {
      int overflow;
      long long n = PyLong_AsLongLongAndOverflow(value, &overflow);
      if (!overflow) {
        std::memcpy(item(kInt, 8), &n, 8);
        return true;
      }
    } else if (type == &PyFloat_Type) {
      double x = PyFloat_AS_DOUBLE(value);
      std::memcpy(item(kFloat, 8), &x, 8);
      return true;
    } else if (type == &PyBytes_Type) {
      return text(value, kBytes, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value));
    } else if (type == &PyUnicode_Type) {
      Py_ssize_t size;
      if (const char* data = PyUnicode_AsUTF8AndSize(value, &size)) return text(value, kStr, data, size);
      PyErr_Clear();
    }
    return pickled(value);
  }
};

}  // namespace

bool encode_args(u32 i, PyObject* const* args, Py_ssize_t positional, PyObject* names) {
  Record& r = arena->record(i);
  Py_ssize_t keywords = names ? PyTuple_GET_SIZE(names) : 0;
  if (positional == 0 && keywords == 0) {
    r.args_size = 0;
    return true;
  }
  ArgsWriter w;
  w.items.reserve(128);
  for (Py_ssize_t k = 0; k < positional; k++)
    if (!w.add(args[k])) return false;
  for (Py_ssize_t k = 0; k < keywords; k++) {
    Py_ssize_t size;
    const char* name = PyUnicode_AsUTF8AndSize(PyTuple_GET_ITEM(names, k), &size);
    if (!name) return false;
    std::memcpy(w.item(kStr, u64(size)), name, size_t(size));
    if (!w.add(args[positional + k])) return false;
  }
  ArgsHead h{u32(positional), u32(keywords), u32(w.dependencies.size()), u32(w.nested.size())};
  u64 lists = align_up(4ull * (h.dependencies + h.nested), 8);
  u64 total = sizeof h + lists + w.items.size();
  u8* to = r.args_inline;
  if (total > kArgsInline) {
    if (!arena->allocate_args(i, total)) {
      arena->spill(std::max(total, arena->head->capacity_bytes / 16));
      if (!arena->allocate_args(i, total)) return no_room(total);
    }
    to = arena->heap(r.args_offset);
  }
  std::memcpy(to, &h, sizeof h);
  u32* lists_at = reinterpret_cast<u32*>(to + sizeof h);
  std::memcpy(lists_at, w.dependencies.data(), 4ull * h.dependencies);
  std::memcpy(lists_at + h.dependencies, w.nested.data(), 4ull * h.nested);
  std::memcpy(to + sizeof h + lists, w.items.data(), w.items.size());
  r.args_size = u32(total);
  r.flags |= kArgsHeld;
  w.kept = true;
  return true;
}

static PyObject* decode_item(const ItemHead& h, const u8* at, const u32* dependencies, u32* failed) {
  switch (h.kind) {
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
    case kBytes: return PyBytes_FromStringAndSize(reinterpret_cast<const char*>(at), h.size);
    case kStr: return PyUnicode_DecodeUTF8(reinterpret_cast<const char*>(at), h.size, "strict");
    case kPickle: return loads(at, h.size, nullptr, {nullptr, 0});
    case kPack: return decode_pack(at, nullptr);
    case kRef: {
      u32 number;
      std::memcpy(&number, at, 4);
      u32 i = dependencies[number];
      if (arena->record(i).state.load() & kErrorFlag) {
        *failed = i;
        return nullptr;
      }
      bool is_error;
      return decode_value(i, &is_error);
    }
    default: PyErr_Format(PyExc_SystemError, "unknown kind of argument %u", h.kind); return nullptr;
  }
}

bool decode_args(u32 i, std::vector<PyObject*>& values, PyObject** names, u32* failed) {
  Record& r = arena->record(i);
  *names = nullptr;
  *failed = 0;
  if (!r.args_size) return true;
  const u8* at = r.args_offset ? arena->heap_view(r.args_offset) : r.args_inline;
  ArgsHead h;
  std::memcpy(&h, at, sizeof h);
  const u32* dependencies = reinterpret_cast<const u32*>(at + sizeof h);
  at += sizeof h + align_up(4ull * (h.dependencies + h.nested), 8);
  if (h.keywords && !(*names = PyTuple_New(h.keywords))) return false;
  for (u32 k = 0; k < h.positional + h.keywords; k++) {
    ItemHead item;
    if (k >= h.positional) {
      std::memcpy(&item, at, sizeof item);
      PyObject* name = PyUnicode_DecodeUTF8(reinterpret_cast<const char*>(at + sizeof item), item.size, "strict");
      if (!name) return false;
      PyUnicode_InternInPlace(&name);
      PyTuple_SET_ITEM(*names, k - h.positional, name);
      at += sizeof item + align_up(item.size, 8);
    }
    std::memcpy(&item, at, sizeof item);
    PyObject* value = decode_item(item, at + sizeof item, dependencies, failed);
    if (!value) return false;
    values.push_back(value);
    at += sizeof item + align_up(item.size, 8);
  }
  return true;
}

// ---------------------------------------------------------------- names

u32 text_record(const char* text, Py_ssize_t size) {
  u32 i = arena->new_record(kObject);
  Record& r = arena->record(i);
  arena->hold(i);
  u32 n = u32(std::min<Py_ssize_t>(size, 1024));
  u8* to = r.args_inline;
  if (n > kArgsInline) {
    if (arena->allocate_args(i, n)) {
      to = arena->heap(r.args_offset);
    } else {
      n = kArgsInline;
    }
  }
  std::memcpy(to, text, n);
  r.args_size = n;
  return i;
}

std::string text_of(u32 i) {
  if (!i) return "";
  Record& r = arena->record(i);
  if (r.flags & kArgsHeld) return "";
  return std::string(reinterpret_cast<const char*>(r.args_offset ? arena->heap(r.args_offset) : r.args_inline), r.args_size);
}

static PyMethodDef codec_methods[] = {
    {"_load_ref", load_ref, METH_O, "For pickle: the n-th reference of the value being loaded."},
    {"_load_out_of_band", load_out_of_band, METH_VARARGS, "For pickle: a reference that user code pickled."},
    {nullptr, nullptr, 0, nullptr}};

bool add_codec(PyObject* module) {
  ViewType = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&view_spec));
  if (!ViewType || PyModule_AddFunctions(module, codec_methods) != 0) return false;
  load_ref_function = PyObject_GetAttrString(module, "_load_ref");
  load_out_of_band_function = PyObject_GetAttrString(module, "_load_out_of_band");
  return load_ref_function && load_out_of_band_function;
}

}  // namespace shoal
