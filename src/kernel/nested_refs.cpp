// References inside values: collected while a value is pickled, found again while it is unpickled.
#include <cstdlib>
#include <cstring>

#include "codec.h"
#include "python.h"

namespace shoal {

static thread_local PyObject* collector = nullptr;
static thread_local const Held* loading = nullptr;

Collecting::Collecting(PyObject* list) : outer_(collector) { collector = list; }
Collecting::~Collecting() { collector = outer_; }

Loading::Loading(Held held) : held_(held), outer_(loading) { loading = &held_; }
Loading::~Loading() { loading = outer_; }

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

PyObject* held_ref(u32 i) {
  if (!i || i >= record_end(*arena) || !arena->try_hold(i)) return damaged();
  return adopt_ref(i);
}

static PyObject* load_ref(PyObject*, PyObject* number) {
  unsigned long n = PyLong_AsUnsignedLong(number);
  if (PyErr_Occurred()) return nullptr;
  if (!loading || n >= loading->n) {
    PyErr_SetString(PyExc_RuntimeError, "a reference was unpickled outside of the value that holds it");
    return nullptr;
  }
  return held_ref(loading->records[n]);
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

static PyMethodDef methods[] = {
    {"_load_ref", load_ref, METH_O, "For pickle: the n-th reference of the value being loaded."},
    {"_load_out_of_band", load_out_of_band, METH_VARARGS, "For pickle: a reference that user code pickled."},
    {nullptr, nullptr, 0, nullptr}};

bool add_nested_refs(PyObject* module) {
  if (PyModule_AddFunctions(module, methods) != 0) return false;
  load_ref_function = PyObject_GetAttrString(module, "_load_ref");
  load_out_of_band_function = PyObject_GetAttrString(module, "_load_out_of_band");
  return load_ref_function && load_out_of_band_function;
}

}  // namespace shoal
