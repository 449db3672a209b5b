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
  return PyBuffer_FillInfo(buffer, o, const_cast<void*>(v->data), v->size, 1, flags);
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

bool add_views() {
  ViewType = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&view_spec));
  return ViewType != nullptr;
}

}  // namespace shoal
