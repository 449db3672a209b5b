// ObjectRef: a counted handle of this process on a record.
#include <cstring>

#include "python.h"

namespace shoal {

PyTypeObject* RefType = nullptr;

static RefObject* self_of(PyObject* o) { return reinterpret_cast<RefObject*>(o); }

PyObject* adopt_ref(u32 i) {
  RefObject* ref = PyObject_New(RefObject, RefType);
  if (!ref) return nullptr;
  ref->record = i;
  ref->uid = arena->record(i).uid;
  ref->entry = arena->enter(i, kHandle);
  ref->epoch = arena_epoch;
  ref->mark = 0;
  return reinterpret_cast<PyObject*>(ref);
}

PyObject* new_ref(u32 i) {
  arena->hold(i);
  return adopt_ref(i);
}

bool require_arena() {
  if (arena && !arena->closed) return true;
  Own r(PyObject_CallNoArgs(hooks.not_attached));
  if (r) PyErr_SetString(PyExc_RuntimeError, "no session is running in this process: call shoal.init() first");
  return false;
}

static void ref_dealloc(PyObject* o) {
  RefObject* ref = self_of(o);
  if (ref->record && ref->epoch == arena_epoch && arena && !arena->closed) {
    arena->strike(ref->entry);
    arena->drop(ref->record);
  }
  PyTypeObject* type = Py_TYPE(o);
  PyObject_Free(o);
  Py_DECREF(type);
}

bool check_ref(PyObject* o) {
  RefObject* ref = self_of(o);
  if (ref->epoch == arena_epoch && arena && !arena->closed) return true;
  if (!require_arena()) return false;
  PyErr_SetString(PyExc_ValueError,
                  "this ObjectRef belongs to an earlier session, which shutdown() ended; create the object again");
  return false;
}

static Py_hash_t ref_hash(PyObject* o) {
  u64 x = self_of(o)->uid * 0x9e3779b97f4a7c15ull + self_of(o)->epoch;
  Py_hash_t h = Py_hash_t(x >> 1);
  return h == -1 ? -2 : h;
}

static PyObject* ref_compare(PyObject* a, PyObject* b, int op) {
  if ((op != Py_EQ && op != Py_NE) || !is_ref(a) || !is_ref(b)) Py_RETURN_NOTIMPLEMENTED;
  bool same = self_of(a)->uid == self_of(b)->uid && self_of(a)->epoch == self_of(b)->epoch;
  return PyBool_FromLong(same == (op == Py_EQ));
}

// uid of the task (8), actor (12), job (4), index (4): a TaskID of 24 bytes and the number of the return or put.
static void ref_bytes(RefObject* ref, u8 out[28]) {
  std::memset(out, 0xff, 28);
  u64 uid = ref->uid;
  u32 index = 1, job = 1;
  if (ref->epoch == arena_epoch && arena) {
    Record& r = arena->record(ref->record);
    if (r.kind == kReturn) {
      uid = r.queued_ns;  // the task's uid
      index = r.index + 1;
    }
    if (r.kind == kCall || r.kind == kCallStream) {
      u64 actor = arena->record(r.actor).uid;
      std::memcpy(out + 8, &actor, 8);
      std::memcpy(out + 16, arena->head->session_id, 4);
    }
    job = arena->slot(r.owner).job;
  }
  for (int i = 0; i < 8; i++) out[i] = u8(uid >> (8 * (7 - i)));
  for (int i = 0; i < 4; i++) out[20 + i] = u8(job >> (8 * (3 - i)));
  std::memcpy(out + 24, &index, 4);
}

static PyObject* ref_binary(PyObject* o, PyObject*) {
  u8 bytes[28];
  ref_bytes(self_of(o), bytes);
  return PyBytes_FromStringAndSize(reinterpret_cast<char*>(bytes), 28);
}

static PyObject* ref_hex(PyObject* o, PyObject*) {
  u8 bytes[28];
  ref_bytes(self_of(o), bytes);
  char text[56];
  for (int i = 0; i < 28; i++) {
    text[2 * i] = "0123456789abcdef"[bytes[i] >> 4];
    text[2 * i + 1] = "0123456789abcdef"[bytes[i] & 15];
  }
  return PyUnicode_FromStringAndSize(text, 56);
}

static PyObject* ref_is_nil(PyObject* o, PyObject*) { return PyBool_FromLong(self_of(o)->record == 0); }
static PyObject* ref_size(PyObject*, PyObject*) { return PyLong_FromLong(28); }
static PyObject* ref_get_record(PyObject* o, void*) { return PyLong_FromUnsignedLong(self_of(o)->record); }
static PyObject* ref_get_uid(PyObject* o, void*) { return PyLong_FromUnsignedLongLong(self_of(o)->uid); }
static PyObject* ref_get_epoch(PyObject* o, void*) { return PyLong_FromUnsignedLong(self_of(o)->epoch); }

PyObject* reduce_ref(PyObject* o, PyObject*);  // nested_refs.cpp

static PyMethodDef ref_methods[] = {
    {"binary", ref_binary, METH_NOARGS, "The 28 bytes of the id."},
    {"hex", ref_hex, METH_NOARGS, "The id as 56 hexadecimal digits."},
    {"is_nil", ref_is_nil, METH_NOARGS, "False for every reference that an API call returned."},
    {"size", ref_size, METH_NOARGS, "28: the length of the id in bytes."},
    {"__reduce__", reduce_ref, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr}};

static PyGetSetDef ref_fields[] = {{"record", ref_get_record, nullptr, "Index of the record in the arena.", nullptr},
                                   {"uid", ref_get_uid, nullptr, "Unique in the session.", nullptr},
                                   {"epoch", ref_get_epoch, nullptr, "Number of the session in this process.", nullptr},
                                   {nullptr, nullptr, nullptr, nullptr, nullptr}};

// ObjectRef(id): a reference to an object by the 28 bytes of its id.
static PyObject* ref_new(PyTypeObject*, PyObject* args, PyObject* names) {
  PyObject* id;
  if ((names && PyDict_GET_SIZE(names)) || !PyArg_ParseTuple(args, "S:ObjectRef", &id)) {
    if (!PyErr_Occurred()) PyErr_SetString(PyExc_TypeError, "ObjectRef takes no keyword arguments");
    return nullptr;
  }
  if (!require_arena()) return nullptr;
  return PyObject_CallOneArg(hooks.ref_of, id);
}

static PyType_Slot ref_slots[] = {
    {Py_tp_new, reinterpret_cast<void*>(ref_new)},
    {Py_tp_dealloc, reinterpret_cast<void*>(ref_dealloc)},
    {Py_tp_hash, reinterpret_cast<void*>(ref_hash)},
    {Py_tp_richcompare, reinterpret_cast<void*>(ref_compare)},
    {Py_tp_methods, ref_methods},
    {Py_tp_getset, ref_fields},
    {Py_tp_doc, const_cast<char*>("A reference to an object that exists or will exist: the result of a task, an actor call or put().")},
    {0, nullptr}};

static PyType_Spec ref_spec = {"shoal._kernel.ObjectRef", sizeof(RefObject), 0,
                               Py_TPFLAGS_DEFAULT, ref_slots};

bool add_ref_type(PyObject* module) {
  RefType = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&ref_spec));
  return RefType && PyModule_AddObjectRef(module, "ObjectRef", reinterpret_cast<PyObject*>(RefType)) == 0;
}

}  // namespace shoal
