// What the files that turn Python values into bytes and back share.
#pragma once

#include <utility>
#include <vector>

#include "python.h"

namespace shoal {

inline constexpr Py_ssize_t kReleaseGilBytes = 1 << 20;  // copies above it run without the GIL

// ---- nested_refs.cpp: references inside values
// While it lives, references that are pickled in this thread go into the list.
class Collecting {
 public:
  explicit Collecting(PyObject* list);
  ~Collecting();

 private:
  PyObject* outer_;
};

// The records that a value refers to.
struct Held {
  const u32* records;
  u32 n;
};

// While it lives, what is unpickled in this thread finds its references there.
class Loading {
 public:
  explicit Loading(Held held);
  ~Loading();

 private:
  Held held_;
  const Held* outer_;
};

PyObject* held_ref(u32 record);  // to a record that the bytes of a value name
bool add_nested_refs(PyObject* module);

// ---- views.cpp
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
  bool writable;  // the mapping is private: what is written there nobody else sees
};
ViewObject* new_view(PyObject* owner, const void* data, u64 size);
// Of its whole value, wherever it is; keeps it there. Null: an exception is set, or it is to be looked for *again.
ViewObject* view_of(u32 record, bool* again);
bool add_views(PyObject* module);

// ---- encode.cpp
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
bool pickle(PyObject* value, Pickled& out);
// Everything of a pack but the buffers' contents, and where those go.
void pack_head(const Pickled& p, u8* to, std::vector<std::pair<u64, const Py_buffer*>>& places);
void copy(void* to, const void* from, u64 bytes);
bool no_room(u64 bytes);  // raises; false

// While it lives, a value that is being computed again is waited for until then.
class ValueDeadline {
 public:
  explicit ValueDeadline(i64 deadline);
  ~ValueDeadline();

 private:
  i64 outer_;
};

// ---- decode.cpp: bytes that are not what was written raise ValueError
PyObject* damaged();  // raises; null
PyObject* decode_pickle(const void* data, u64 size, PyObject* buffers, Held held);
PyObject* decode_pack(const u8* at, u64 size, PyObject* owner);  // owner: a view of all of it, or null: buffers are copied

}  // namespace shoal
