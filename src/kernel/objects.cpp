// get, put and wait: fast paths in front of the public functions of the same names.
#include "codec.h"
#include "python.h"

namespace shoal {

static PyObject* call_slow(PyObject* slow, PyObject* const* args, Py_ssize_t n, PyObject* names) {
  return PyObject_Vectorcall(slow, args, size_t(n), names);
}

static bool ready_here() { return arena && !arena->closed; }

// Until every record is sealed, or one of them is an error: then *error is its index.
static bool wait_all(const std::vector<u32>& records, i64 deadline, bool* timed_out, u32* error) {
  *timed_out = false;
  *error = 0;
  auto first_error = [&]() -> u32 {
    for (u32 i : records)
      if (arena->sealed(i) && (arena->record(i).state.load() & kErrorFlag)) return i;
    return 0;
  };
  size_t looked = 0;
  LongWait all{records.data(), records.size(), records.size()};
  for (size_t k = records.size(); k-- > 0;) {
    u32 i = records[k];
    while (!arena->sealed(i)) {
      // Errors wake their owner even when it waits for something else; look for one now and then.
      if (looked++ < 64 || looked % 64 == 0) {
        if (u32 e = first_error()) {
          *error = e;
          return true;
        }
      }
      i64 slice = i64(now_ns()) + 1'000'000'000;
      i64 until = deadline >= 0 && deadline < slice ? deadline : slice;
      Arena::Wait w;
      if (!waiting([&] { return arena->wait_sealed(i, until); }, &w, deadline < 0 ? &all : nullptr)) return false;
      if (w == Arena::Wait::kTimedOut && until == deadline) {
        *timed_out = true;
        return true;
      }
    }
  }
  return true;
}

// get_list(refs, timeout_s) -> values. timeout_s < 0: none. Raises TimeoutError.
static PyObject* get_list(PyObject* const* items, Py_ssize_t n, double timeout_s) {
  std::vector<u32> records;
  records.reserve(size_t(n));
  for (Py_ssize_t k = 0; k < n; k++) {
    if (!check_ref(items[k])) return nullptr;
    records.push_back(ref_record(items[k]));
  }
  bool timed_out;
  u32 error;
  i64 deadline = deadline_of(timeout_s);
  if (!wait_all(records, deadline, &timed_out, &error)) return nullptr;
  ValueDeadline until(deadline);
  if (timed_out) {
    PyErr_SetString(PyExc_TimeoutError, "get timed out");
    return nullptr;
  }
  if (error) {
    PyObject* value = get_value(error);
    Py_XDECREF(value);
    return nullptr;
  }
  PyObject* out = PyList_New(n);
  for (Py_ssize_t k = 0; out && k < n; k++) {
    PyObject* value = get_value(records[size_t(k)]);
    if (!value) {
      Py_DECREF(out);
      return nullptr;
    }
    PyList_SET_ITEM(out, k, value);
  }
  return out;
}

static PyObject* get_timed(PyObject*, PyObject* args) {
  PyObject* list;
  double timeout_s;
  if (!PyArg_ParseTuple(args, "O!d", &PyList_Type, &list, &timeout_s) || !require_arena()) return nullptr;
  Own copy(PyList_AsTuple(list));  // the caller's list may change while we wait
  for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(copy.get()); k++) {
    if (!is_ref(PyTuple_GET_ITEM(copy.get(), k))) {
      PyErr_SetString(PyExc_TypeError, "get needs ObjectRefs");
      return nullptr;
    }
  }
  return get_list(PySequence_Fast_ITEMS(copy.get()), PyTuple_GET_SIZE(copy.get()), timeout_s);
}

static PyObject* get(PyObject*, PyObject* const* args, Py_ssize_t n, PyObject* names) {
  if (n == 1 && !names && ready_here()) {
    PyObject* what = args[0];
    if (is_ref(what)) {
      if (!check_ref(what)) return nullptr;
      u32 i = ref_record(what);
      if (!arena->sealed(i)) {
        Arena::Wait w;
        LongWait one{&i, 1, 1};
        if (!waiting([&] { return arena->wait_sealed(i, -1); }, &w, &one)) return nullptr;
      }
      return get_value(i);
    }
    if (PyList_CheckExact(what)) {
      Py_ssize_t size = PyList_GET_SIZE(what);
      bool all = true;
      for (Py_ssize_t k = 0; k < size && all; k++) all = is_ref(PyList_GET_ITEM(what, k));
      if (all) {
        Own copy(PyList_AsTuple(what));
        return get_list(PySequence_Fast_ITEMS(copy.get()), size, -1);
      }
    }
  }
  return call_slow(hooks.get_slow, args, n, names);
}

// put_value(value) -> ObjectRef
static PyObject* put_value(PyObject*, PyObject* value) {
  if (!require_arena()) return nullptr;
  u32 i = arena->new_record(kObject);
  arena->hold(i);
  PyObject* ref = adopt_ref(i);
  if (!ref) return nullptr;
  if (!encode_value(value, i)) {
    Record& r = arena->record(i);
    if (r.where == kBlock && r.value_kind == kNoValue) {
      arena->free_block(r.value_offset);
      r.where = kInline;
    }
    Py_DECREF(ref);
    return nullptr;
  }
  arena->seal(i, 0);
  return ref;
}

static PyObject* put(PyObject* module, PyObject* const* args, Py_ssize_t n, PyObject* names) {
  if (n == 1 && !names && ready_here() && !is_ref(args[0])) {
    PyObject* ref = put_value(module, args[0]);
    return ref ? ref : not_sent(Py_None);
  }
  return call_slow(hooks.put_slow, args, n, names);
}

// wait_refs(items, records' list for those that are not refs..., num_returns, timeout_s): items are ObjectRefs or objects whose
// attribute `_stream_ref` is the ObjectRef of a stream.
static PyObject* split(PyObject* list, const std::vector<u32>& records, Py_ssize_t wanted) {
  Py_ssize_t n = PyList_GET_SIZE(list);
  Own ready(PyList_New(0));
  std::vector<Py_ssize_t> rest;
  rest.reserve(size_t(n));
  Py_ssize_t found = 0;
  for (Py_ssize_t k = 0; k < n; k++) {
    if (found < wanted && arena->arrived(records[size_t(k)])) {
      if (PyList_Append(ready.get(), PyList_GET_ITEM(list, k)) != 0) return nullptr;
      found++;
    } else {
      rest.push_back(k);
    }
  }
  Own others(PyList_New(Py_ssize_t(rest.size())));
  if (!others) return nullptr;
  for (size_t k = 0; k < rest.size(); k++)
    PyList_SET_ITEM(others.get(), Py_ssize_t(k), Py_NewRef(PyList_GET_ITEM(list, rest[k])));
  return PyTuple_Pack(2, ready.get(), others.get());
}

static PyObject* wait_records(PyObject* list, const std::vector<u32>& records, Py_ssize_t wanted, double timeout_s) {
  Py_ssize_t found = 0;
  for (u32 i : records)
    if (arena->arrived(i) && ++found >= wanted) break;
  if (found < wanted) {
    i64 deadline = deadline_of(timeout_s);
    Arena::Wait w;
    LongWait some{records.data(), records.size(), size_t(wanted)};
    if (!waiting([&] { return arena->wait_some(records, u32(wanted), deadline); }, &w, deadline < 0 ? &some : nullptr)) return nullptr;
  }
  return split(list, records, wanted);
}

static PyObject* wait_refs(PyObject*, PyObject* args) {
  PyObject *list, *refs;
  Py_ssize_t wanted;
  double timeout_s;
  if (!PyArg_ParseTuple(args, "O!O!nd", &PyList_Type, &list, &PyList_Type, &refs, &wanted, &timeout_s)) return nullptr;
  if (!require_arena()) return nullptr;
  if (PyList_GET_SIZE(list) != PyList_GET_SIZE(refs)) {
    PyErr_SetString(PyExc_ValueError, "wait_refs needs one reference for each item");
    return nullptr;
  }
  Own items(PyList_GetSlice(list, 0, PyList_GET_SIZE(list)));  // the caller's lists may change while we wait
  Own held(PyList_GetSlice(refs, 0, PyList_GET_SIZE(refs)));
  if (!items || !held) return nullptr;
  std::vector<u32> records;
  for (Py_ssize_t k = 0; k < PyList_GET_SIZE(refs); k++) {
    PyObject* ref = PyList_GET_ITEM(refs, k);
    if (!is_ref(ref)) {
      PyErr_SetString(PyExc_TypeError, "wait needs ObjectRefs");
      return nullptr;
    }
    if (!check_ref(ref)) return nullptr;
    records.push_back(ref_record(ref) | (is_ref(PyList_GET_ITEM(items.get(), k)) ? 0 : kItemCounts));
  }
  return wait_records(items.get(), records, wanted, timeout_s);
}

// wait(list) of distinct ObjectRefs, perhaps with num_returns=: everything else goes the slow way.
static PyObject* wait(PyObject*, PyObject* const* args, Py_ssize_t n, PyObject* names) {
  static u32 mark = 0;
  if (n == 1 && !names && ready_here() && PyList_CheckExact(args[0]) && PyList_GET_SIZE(args[0]) > 0) {
    PyObject* list = args[0];
    Py_ssize_t size = PyList_GET_SIZE(list);
    std::vector<u32> records;
    records.reserve(size_t(size));
    mark++;
    bool fine = true;
    for (Py_ssize_t k = 0; k < size && fine; k++) {
      PyObject* ref = PyList_GET_ITEM(list, k);
      fine = is_ref(ref) && reinterpret_cast<RefObject*>(ref)->epoch == arena_epoch &&
             reinterpret_cast<RefObject*>(ref)->mark != mark;
      if (!fine) break;
      reinterpret_cast<RefObject*>(ref)->mark = mark;
      records.push_back(ref_record(ref));
    }
    if (fine) {
      Own held(PyList_GetSlice(list, 0, size));
      return wait_records(held.get(), records, 1, -1);
    }
  }
  return call_slow(hooks.wait_slow, args, n, names);
}

static PyObject* is_sealed(PyObject*, PyObject* ref) {
  if (!need_ref(ref)) return nullptr;
  return PyBool_FromLong(arena->sealed(ref_record(ref)));
}

// next_item(stream_ref, timeout_s) -> ObjectRef | None (at the end); raises TimeoutError
static PyObject* next_item(PyObject*, PyObject* args) {
  PyObject* ref;
  double timeout_s;
  if (!PyArg_ParseTuple(args, "O!d", RefType, &ref, &timeout_s) || !check_ref(ref)) return nullptr;
  u32 i = ref_record(ref);
  i64 deadline = deadline_of(timeout_s);
  for (;;) {
    bool sealed = arena->sealed(i);
    if (u32 item = arena->pop_unread(i)) return adopt_ref(item);
    if (sealed) Py_RETURN_NONE;
    Arena::Wait w;
    u32 next = i | kItemCounts;
    LongWait item{&next, 1, 1};
    if (!waiting([&] { return arena->wait_some({next}, 1, deadline); }, &w, deadline < 0 ? &item : nullptr)) return nullptr;
    if (w == Arena::Wait::kTimedOut) {
      PyErr_SetString(PyExc_TimeoutError, "no item yet");
      return nullptr;
    }
  }
}

// stream_state(ref) -> (unread items, sealed)
static PyObject* stream_state(PyObject*, PyObject* ref) {
  if (!need_ref(ref)) return nullptr;
  Record& r = arena->record(ref_record(ref));
  bool sealed = arena->sealed(ref_record(ref));
  return Py_BuildValue("IO", r.stream ? arena->queue(r.stream).length.load() : 0u, sealed ? Py_True : Py_False);
}

static PyMethodDef methods[] = {
    {"get", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(get)), METH_FASTCALL | METH_KEYWORDS,
     "get(object_refs, *, timeout=None)\n--\n\nThe value of one ObjectRef, or of each in a list. See docs/objects.md."},
    {"put", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(put)), METH_FASTCALL | METH_KEYWORDS,
     "put(value)\n--\n\nStores an immutable copy of value and returns its ObjectRef. See docs/objects.md."},
    {"wait", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(wait)), METH_FASTCALL | METH_KEYWORDS,
     "wait(object_refs, *, num_returns=1, timeout=None, fetch_local=True)\n--\n\nSplits the list into those that are ready and the "
     "rest. See docs/objects.md."},
    {"get_timed", get_timed, METH_VARARGS, "get_timed(refs, timeout_s): values; TimeoutError; timeout_s < 0: none."},
    {"put_value", put_value, METH_O, nullptr},
    {"wait_refs", wait_refs, METH_VARARGS, "wait_refs(items, refs, num_returns, timeout_s)"},
    {"is_sealed", is_sealed, METH_O, nullptr},
    {"next_item", next_item, METH_VARARGS, "next_item(stream_ref, timeout_s): ObjectRef, None at the end; TimeoutError."},
    {"stream_state", stream_state, METH_O, "stream_state(stream_ref): (unread items, sealed)"},
    {nullptr, nullptr, 0, nullptr}};

bool add_objects(PyObject* module) { return PyModule_AddFunctions(module, methods) == 0; }

}  // namespace shoal
