// Views: the buffers of values, where they lie.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "codec.h"
#include "python.h"

namespace shoal {

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
  return PyBuffer_FillInfo(buffer, o, const_cast<void*>(v->data), v->size, !v->writable, flags);
}

static PyType_Slot view_slots[] = {{Py_tp_dealloc, reinterpret_cast<void*>(view_dealloc)},
                                   {Py_bf_getbuffer, reinterpret_cast<void*>(view_buffer)},
                                   {0, nullptr}};
static PyType_Spec view_spec = {"shoal._kernel.View", sizeof(ViewObject), 0,
                                Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, view_slots};

ViewObject* new_view(PyObject* owner, const void* data, u64 size) {
  auto* v = PyObject_New(ViewObject, ViewType);
  if (!v) return nullptr;
  v->owner = Py_XNewRef(owner);
  v->data = data;
  v->size = Py_ssize_t(size);
  v->record = v->entry = v->epoch = 0;
  v->mapping = nullptr;
  v->mapping_bytes = 0;
  v->writable = false;
  return v;
}

// Somebody removed, cut or changed the file, or its disk fails. True: the value is being computed again, and the record is an alias.
static bool value_lost(u32 i, const std::string& path, int code) {
  Own ref(new_ref(i));
  Own r(ref ? PyObject_CallFunction(hooks.value_lost, "Osi", ref.get(), path.c_str(), code) : nullptr);
  return bool(r);
}

ViewObject* view_of(u32 i, bool* again) {
  Record& r = arena->record(i);
  *again = false;
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
  u64 size = r.value_size, sum = r.value_offset;
  u8 kind = r.value_kind;
  arena->unpin(i, entry);
  int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  void* at = MAP_FAILED;
  if (fd >= 0) {
    struct stat found;
    bool whole = fstat(fd, &found) == 0 && u64(found.st_size) >= size;  // else reading it would end this process
    if (whole) at = mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
    if (!whole) errno = 0;
    int code = errno;
    close(fd);
    errno = code;
  }
  if (at != MAP_FAILED && checksum(static_cast<u8*>(at), described_bytes(kind, static_cast<u8*>(at), size)) != sum) {
    munmap(at, size);
    at = MAP_FAILED;
    errno = EBADMSG;
  }
  if (at == MAP_FAILED) {
    *again = value_lost(i, path, errno);
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

// private_view(view): the same bytes for one who may write into them. Pages are shared until then, and what is written stays
// this process's own. None: the view does not lie in the arena.
static PyObject* private_view(PyObject*, PyObject* o) {
  if (!require_arena()) return nullptr;
  if (Py_TYPE(o) != ViewType) Py_RETURN_NONE;
  const auto* of = reinterpret_cast<ViewObject*>(o);
  const u8* data = static_cast<const u8*>(of->data);
  if (data < arena->view || data + of->size > arena->view + arena->head->total_bytes || arena->fd < 0) Py_RETURN_NONE;
  u64 at = u64(data - arena->view), inside = at % 4096;
  size_t bytes = size_t(inside) + size_t(of->size);
  void* mapping = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, arena->fd, off_t(at - inside));
  if (mapping == MAP_FAILED) return PyErr_SetFromErrno(PyExc_OSError);
  auto* v = new_view(o, static_cast<u8*>(mapping) + inside, u64(of->size));
  if (!v) {
    munmap(mapping, bytes);
    return nullptr;
  }
  v->mapping = mapping;
  v->mapping_bytes = bytes;
  v->writable = true;
  return reinterpret_cast<PyObject*>(v);
}

static PyMethodDef methods[] = {{"private_view", private_view, METH_O, nullptr}, {nullptr, nullptr, 0, nullptr}};

bool add_views(PyObject* module) {
  ViewType = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&view_spec));
  return ViewType && PyModule_AddFunctions(module, methods) == 0;
}

}  // namespace shoal
