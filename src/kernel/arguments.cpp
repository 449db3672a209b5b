// Arguments of tasks and calls to bytes and back; and texts in the place of arguments.
#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "codec.h"
#include "python.h"

namespace shoal {

static constexpr u64 kCallBytesMax = 0xffffffff;  // Record::args_size has 32 bits
static u32 references_max = kPlaceMask;           // so many can be counted in Record::place; tests lower it
static constexpr u64 kArgumentBytes = 100 * 1024;  // a bigger argument becomes an object of its own

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

// Whether a record can tell what it has; raises.
static bool countable(u64 references, u64 bytes) {
  if (references > references_max) {
    PyErr_Format(PyExc_ValueError,
                 "one call can have at most %u references and big values as arguments, but got %llu; pass a list of them",
                 references_max, static_cast<unsigned long long>(references));
  } else if (bytes > kCallBytesMax) {
    PyErr_Format(PyExc_ValueError, "the arguments of one call can have at most %llu bytes, but got %llu; put them first",
                 static_cast<unsigned long long>(kCallBytesMax), static_cast<unsigned long long>(bytes));
  } else {
    return true;
  }
  return false;
}

u32 limit_references(u32 most) { return std::exchange(references_max, std::min(most, kPlaceMask)); }

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
  if (!countable(h.dependencies, total)) return false;
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
  std::copy(w.dependencies.begin(), w.dependencies.end(), lists_at);
  std::copy(w.nested.begin(), w.nested.end(), lists_at + h.dependencies);
  std::memcpy(to + sizeof h + lists, w.items.data(), w.items.size());
  r.args_size = u32(total);
  r.flags |= kArgsHeld;
  w.kept = true;
  return true;
}

// The dependencies of the arguments that are being decoded.
struct Dependencies {
  const u32* records;
  u32 n;
};

static PyObject* decode_item(const ItemHead& h, const u8* at, Dependencies dependencies, u32* failed) {
  bool of_size = h.kind == kInt || h.kind == kFloat ? h.size == 8 : h.kind != kRef || h.size == 4;
  if (!of_size) return damaged();
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
    case kPickle: return decode_pickle(at, h.size, nullptr, {nullptr, 0});
    case kPack: return decode_pack(at, h.size, nullptr);
    case kRef: {
      u32 number;
      std::memcpy(&number, at, 4);
      u32 i = number < dependencies.n ? dependencies.records[number] : 0;
      if (!i || i >= record_end(*arena)) return damaged();
      if (arena->record(i).state.load() & kErrorFlag) {
        *failed = i;
        return nullptr;
      }
      bool is_error;
      Own value(decode_value(i, &is_error));
      if (!value || !is_error) return value.release();
      *failed = i;  // it was lost, and computing it again has failed
      return nullptr;
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
  const u8* end = at + r.args_size;
  ArgsHead h;
  std::memcpy(&h, at, sizeof h);
  Dependencies dependencies{reinterpret_cast<const u32*>(at + sizeof h), h.dependencies};
  u64 lists = align_up(4 * (u64(h.dependencies) + h.nested), 8);
  u64 items = u64(h.positional) + 2ull * h.keywords;
  if (lists + items * sizeof(ItemHead) > u64(end - at) - sizeof h) return damaged(), false;
  at += sizeof h + lists;
  auto next = [&](ItemHead& item) {  // false: it does not fit
    if (u64(end - at) < sizeof item) return false;
    std::memcpy(&item, at, sizeof item);
    at += sizeof item;
    return align_up(item.size, 8) <= u64(end - at);
  };
  if (h.keywords && !(*names = PyTuple_New(h.keywords))) return false;
  for (u32 k = 0; k < h.positional + h.keywords; k++) {
    ItemHead item;
    if (k >= h.positional) {
      if (!next(item)) return damaged(), false;
      PyObject* name = PyUnicode_DecodeUTF8(reinterpret_cast<const char*>(at), item.size, "strict");
      if (!name) return false;
      PyUnicode_InternInPlace(&name);
      PyTuple_SET_ITEM(*names, k - h.positional, name);
      at += align_up(item.size, 8);
    }
    if (!next(item)) return damaged(), false;
    PyObject* value = decode_item(item, at, dependencies, failed);
    if (!value) return false;
    values.push_back(value);
    at += align_up(item.size, 8);
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

}  // namespace shoal
