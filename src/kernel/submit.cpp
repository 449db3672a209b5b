// Submitters: callables that turn arguments into a record and let it go. One for each (function or method, options).
#include <cstring>

#include "python.h"

namespace shoal {

// What the submitters of one mailbox share in this process: the order of its calls. It does not keep the actor.
struct MailboxObject {
  PyObject_HEAD
  u32 queue;
  u32 actor;  // record
  u64 actor_uid;
  bool ordered;
  i32 max_pending;      // < 0: without limit
  u32 last;             // the previous call, if it was not queued when it was submitted (counted)
  u32 last_entry;
  u32 epoch;
  std::vector<std::pair<u32, u64>>* pending;  // calls under way, when they are limited
};
static PyTypeObject* MailboxType = nullptr;

struct SubmitterObject {
  PyObject_HEAD
  vectorcallfunc vectorcall;
  u32 epoch;
  u32 queue;
  PyObject* function;  // ObjectRef
  PyObject* mailbox;   // or null
  PyObject* actor;     // ObjectRef, or null: of a weak handle, which does not keep the actor
  PyObject* gone;      // of a weak handle: () -> the results of a call when the actor is gone
  PyObject* check;     // (*args, **kwargs): raises TypeError when they do not fit
  PyObject* fallback;  // called with the arguments when the session has ended
  PyObject* too_many;  // (max_pending_calls): raises
  i32 min_positional, max_positional;  // max < 0: any number
  i32 retries;
  u32 num_returns;
  u32 backpressure;
  u8 kind;
  u8 flags;
};
static PyTypeObject* SubmitterType = nullptr;

static MailboxObject* mailbox_of(PyObject* o) { return reinterpret_cast<MailboxObject*>(o); }

static void forget_last(MailboxObject* m) {
  if (!m->last) return;
  if (m->epoch == arena_epoch && arena && !arena->closed) {
    arena->strike(m->last_entry);
    arena->drop(m->last);
  }
  m->last = 0;
}

static void mailbox_dealloc(PyObject* o) {
  MailboxObject* m = mailbox_of(o);
  forget_last(m);
  delete m->pending;
  PyTypeObject* type = Py_TYPE(o);
  PyObject_Free(o);
  Py_DECREF(type);
}

static PyObject* mailbox_new(PyTypeObject* type, PyObject* args, PyObject* keywords) {
  static const char* names[] = {"queue", "actor", "uid", "ordered", "max_pending", nullptr};
  unsigned int queue, actor;
  unsigned long long uid;
  int ordered, max_pending;
  if (!PyArg_ParseTupleAndKeywords(args, keywords, "IIKpi", const_cast<char**>(names), &queue, &actor, &uid, &ordered,
                                   &max_pending))
    return nullptr;
  if (!require_arena() || !check_number(queue, arena->head->queues_used, "queue")) return nullptr;
  if (!check_number(actor, record_end(*arena), "record")) return nullptr;
  MailboxObject* m = PyObject_New(MailboxObject, type);
  if (!m) return nullptr;
  m->queue = queue;
  m->ordered = ordered;
  m->max_pending = max_pending;
  m->actor = actor;
  m->actor_uid = uid;
  m->last = m->last_entry = 0;
  m->epoch = arena_epoch;
  m->pending = new std::vector<std::pair<u32, u64>>;
  return reinterpret_cast<PyObject*>(m);
}

static bool below_limit(MailboxObject* m) {
  auto& list = *m->pending;
  if (list.size() < size_t(m->max_pending)) return true;
  std::erase_if(list, [](auto& call) {
    return arena->record(call.first).uid != call.second || arena->sealed(call.first);
  });
  return list.size() < size_t(m->max_pending);
}

// After the record is filled: in its caller's order.
static void send_call(MailboxObject* m, u32 i) {
  if (m->max_pending >= 0) m->pending->push_back({i, arena->record(i).uid});
  u32 actor = m->actor;
  Record& r = arena->record(i);
  r.actor = actor;
  if (!m->ordered) {
    arena->submit(i);
    return;
  }
  bool waits = m->last || (r.flags & kArgsHeld);
  if (!waits) {
    arena->submit(i);
    return;
  }
  // It may have to wait: then its actor's mailbox must outlive our handles, and the next call must follow it.
  arena->hold(actor);
  r.flags |= kHoldsActor;
  arena->hold(i);
  u32 entry = arena->enter(i, kHandle);
  u32 previous = m->last, previous_entry = m->last_entry;
  if (previous) {
    arena->follow(previous, i);
    arena->strike(previous_entry);
    arena->drop(previous);
  } else {
    arena->submit(i);
  }
  if (arena->record(i).follower.load() & kClosed) {
    arena->strike(entry);
    arena->drop(i);
    m->last = 0;
  } else {
    m->last = i;
    m->last_entry = entry;
  }
}

static PyObject* make_returns(u32 i, u32 n, PyObject* first) {
  PyObject* list = PyList_New(n);
  if (!list) return nullptr;
  PyList_SET_ITEM(list, 0, first);
  u32 s = i;
  for (u32 k = 1; k < n; k++) {
    s = arena->new_return(i, k, s);  // counted for the handle and the task
    PyObject* ref = adopt_ref(s);
    if (!ref) return nullptr;
    PyList_SET_ITEM(list, k, ref);
  }
  return list;
}

// An argument could not be pickled: the error is replaced by one that says for whom it was meant.
PyObject* not_sent(PyObject* check) {
  if (!PyErr_ExceptionMatches(PyExc_TypeError)) return nullptr;
  PyObject *type, *value, *trace;
  PyErr_Fetch(&type, &value, &trace);
  PyErr_NormalizeException(&type, &value, &trace);
  Own told(PyObject_CallFunctionObjArgs(hooks.not_sent, value, check, nullptr));
  Py_XDECREF(type);
  Py_XDECREF(value);
  Py_XDECREF(trace);
  if (told) PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(told.get())), told.get());
  return nullptr;
}

// Counts the actor of a weak handle for as long as a call of it is made.
class Living {
 public:
  explicit Living(const SubmitterObject* s) {
    MailboxObject* m = s->mailbox && !s->actor ? mailbox_of(s->mailbox) : nullptr;
    if (!m) return;
    gone = !arena->try_hold(m->actor);
    if (gone) return;
    held_ = m->actor;
    gone = arena->record(held_).uid != m->actor_uid;
  }
  Living(const Living&) = delete;
  Living& operator=(const Living&) = delete;
  ~Living() {
    if (held_) arena->drop(held_);
  }
  bool gone = false;

 private:
  u32 held_ = 0;
};

static PyObject* submit(PyObject* o, PyObject* const* args, size_t flagged, PyObject* names) {
  auto* s = reinterpret_cast<SubmitterObject*>(o);
  Py_ssize_t n = PyVectorcall_NARGS(flagged);
  if (s->epoch != arena_epoch || !arena || arena->closed) return PyObject_Vectorcall(s->fallback, args, flagged, names);
  if (names || n < s->min_positional || (s->max_positional >= 0 && n > s->max_positional)) {
    Own fits(PyObject_Vectorcall(s->check, args, size_t(n), names));
    if (!fits) return nullptr;
  }
  MailboxObject* m = s->mailbox ? mailbox_of(s->mailbox) : nullptr;
  Living living(s);
  if (living.gone) return PyObject_CallNoArgs(s->gone);
  if (m && m->max_pending >= 0 && !below_limit(m)) return PyObject_CallFunction(s->too_many, "i", m->max_pending);
  u64 parent;
  if (!find_parent(&parent)) return nullptr;
  u32 i = arena->new_record(s->kind);
  Record& r = arena->record(i);
  r.count.store(s->num_returns ? 2 : 1, std::memory_order_relaxed);  // handle, execution
  if (!encode_args(i, args, n, names)) {
    if (s->num_returns) arena->drop(i);
    arena->drop(i);
    return not_sent(s->check);
  }
  r.queue = s->queue;
  r.function = ref_record(s->function);
  arena->hold(r.function);
  r.retries_left = s->retries;
  r.num_returns = s->num_returns;
  r.flags |= s->flags;
  r.queued_ns = now_ns();
  r.parent = parent;
  PyObject* out;
  if (!s->num_returns) {
    out = Py_NewRef(Py_None);
  } else {
    out = adopt_ref(i);
    if (!out) return nullptr;
    if (s->kind == kStream || s->kind == kCallStream) {
      r.origin.store(s->backpressure, std::memory_order_relaxed);
      r.stream = arena->new_queue(arena->me, 0, kQueueStream);
      Own ref(out);
      out = PyObject_CallOneArg(hooks.stream, ref.get());
      if (!out) return nullptr;
    } else if (s->num_returns > 1) {
      out = make_returns(i, s->num_returns, out);
      if (!out) return nullptr;
    }
  }
  r.state.store(kPending, std::memory_order_release);
  if (m) {
    send_call(m, i);
  } else {
    arena->submit(i);
  }
  return out;
}

static void submitter_dealloc(PyObject* o) {
  auto* s = reinterpret_cast<SubmitterObject*>(o);
  PyObject_GC_UnTrack(o);
  Py_XDECREF(s->function);
  Py_XDECREF(s->mailbox);
  Py_XDECREF(s->actor);
  Py_XDECREF(s->gone);
  Py_XDECREF(s->check);
  Py_XDECREF(s->fallback);
  Py_XDECREF(s->too_many);
  PyTypeObject* type = Py_TYPE(o);
  PyObject_GC_Del(o);
  Py_DECREF(type);
}

static int submitter_traverse(PyObject* o, visitproc visit, void* arg) {
  auto* s = reinterpret_cast<SubmitterObject*>(o);
  Py_VISIT(Py_TYPE(o));
  Py_VISIT(s->check);
  Py_VISIT(s->fallback);
  Py_VISIT(s->too_many);
  Py_VISIT(s->gone);
  return 0;
}

static int submitter_clear(PyObject* o) {
  auto* s = reinterpret_cast<SubmitterObject*>(o);
  Py_CLEAR(s->check);
  Py_CLEAR(s->fallback);
  Py_CLEAR(s->too_many);
  Py_CLEAR(s->gone);
  return 0;
}

static PyObject* submitter_new(PyTypeObject* type, PyObject* args, PyObject* keywords) {
  static const char* names[] = {"function", "queue",   "mailbox",         "check",     "fallback", "too_many",     "min_positional",
                                "max_positional", "retries", "retry_exceptions", "num_returns", "streaming", "backpressure",
                                "actor",          "gone",    nullptr};
  PyObject *function, *mailbox, *check, *fallback, *too_many, *actor = Py_None, *gone = Py_None;
  unsigned int queue, num_returns, backpressure;
  int least, most, retries, retry_exceptions, streaming;
  if (!PyArg_ParseTupleAndKeywords(args, keywords, "O!IOOOOiiipIpI|OO", const_cast<char**>(names), RefType, &function, &queue,
                                   &mailbox, &check, &fallback, &too_many, &least, &most, &retries, &retry_exceptions,
                                   &num_returns, &streaming, &backpressure, &actor, &gone))
    return nullptr;
  if (mailbox != Py_None && Py_TYPE(mailbox) != MailboxType) {
    PyErr_SetString(PyExc_TypeError, "mailbox must be a Mailbox or None");
    return nullptr;
  }
  bool is_weak = mailbox != Py_None && actor == Py_None;
  if (actor != Py_None ? !need_ref(actor) : is_weak && !PyCallable_Check(gone)) {
    if (!PyErr_Occurred()) PyErr_SetString(PyExc_TypeError, "a submitter of a mailbox needs the actor, or what to do when it is gone");
    return nullptr;
  }
  if (!require_arena() || !check_ref(function)) return nullptr;
  if (mailbox == Py_None && !check_number(queue, arena->head->queues_used, "queue")) return nullptr;
  auto* s = PyObject_GC_New(SubmitterObject, type);
  if (!s) return nullptr;
  s->vectorcall = submit;
  s->epoch = arena_epoch;
  s->queue = mailbox == Py_None ? queue : mailbox_of(mailbox)->queue;
  s->function = Py_NewRef(function);
  s->mailbox = mailbox == Py_None ? nullptr : Py_NewRef(mailbox);
  s->actor = actor == Py_None ? nullptr : Py_NewRef(actor);
  s->gone = is_weak ? Py_NewRef(gone) : nullptr;
  s->check = Py_NewRef(check);
  s->fallback = Py_NewRef(fallback);
  s->too_many = Py_NewRef(too_many);
  s->min_positional = least;
  s->max_positional = most;
  s->retries = retries;
  s->num_returns = num_returns;
  s->backpressure = backpressure;
  s->kind = u8(s->mailbox ? (streaming ? kCallStream : kCall) : (streaming ? kStream : kTask));
  s->flags = retry_exceptions ? u8(kRetryExceptions) : u8(0);
  PyObject_GC_Track(s);
  return reinterpret_cast<PyObject*>(s);
}

static PyMemberDef submitter_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(SubmitterObject, vectorcall), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr}};

static PyType_Slot submitter_slots[] = {{Py_tp_dealloc, reinterpret_cast<void*>(submitter_dealloc)},
                                        {Py_tp_traverse, reinterpret_cast<void*>(submitter_traverse)},
                                        {Py_tp_clear, reinterpret_cast<void*>(submitter_clear)},
                                        {Py_tp_new, reinterpret_cast<void*>(submitter_new)},
                                        {Py_tp_call, reinterpret_cast<void*>(PyVectorcall_Call)},
                                        {Py_tp_members, submitter_members},
                                        {0, nullptr}};
static PyType_Spec submitter_spec = {"shoal._kernel.Submitter", sizeof(SubmitterObject), 0,
                                     Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL, submitter_slots};

static PyType_Slot mailbox_slots[] = {{Py_tp_dealloc, reinterpret_cast<void*>(mailbox_dealloc)},
                                      {Py_tp_new, reinterpret_cast<void*>(mailbox_new)},
                                      {0, nullptr}};
static PyType_Spec mailbox_spec = {"shoal._kernel.Mailbox", sizeof(MailboxObject), 0, Py_TPFLAGS_DEFAULT, mailbox_slots};

// create_actor_record(class_ref, args, kwargs, mailboxes) -> ObjectRef: sealed when the actor is constructed.
static PyObject* create_actor_record(PyObject*, PyObject* args) {
  PyObject *function, *positional, *keywords, *mailboxes;
  if (!PyArg_ParseTuple(args, "O!O!O!O!", RefType, &function, &PyTuple_Type, &positional, &PyDict_Type, &keywords, &PyList_Type,
                        &mailboxes))
    return nullptr;
  if (!require_arena() || !check_ref(function)) return nullptr;
  std::vector<u32> numbers(size_t(PyList_GET_SIZE(mailboxes)));
  for (size_t n = 0; n < numbers.size(); n++)
    if (!queue_of(PyList_GET_ITEM(mailboxes, Py_ssize_t(n)), &numbers[n])) return nullptr;
  std::vector<PyObject*> values(PySequence_Fast_ITEMS(positional), PySequence_Fast_ITEMS(positional) + PyTuple_GET_SIZE(positional));
  Own names(PyTuple_New(PyDict_GET_SIZE(keywords)));
  PyObject *key, *value;
  Py_ssize_t at = 0, k = 0;
  while (PyDict_Next(keywords, &at, &key, &value)) {
    PyTuple_SET_ITEM(names.get(), k++, Py_NewRef(key));
    values.push_back(value);
  }
  u32 i = arena->new_record(kActor);
  Record& r = arena->record(i);
  r.count.store(1);
  if (!encode_args(i, values.data(), PyTuple_GET_SIZE(positional), k ? names.get() : nullptr)) {
    r.flags |= kActorEnded;
    arena->drop(i);
    return nullptr;
  }
  r.queue = 1;
  r.function = ref_record(function);
  arena->hold(r.function);
  r.queued_ns = now_ns();
  u32 previous = 0;
  for (Py_ssize_t n = 0; n < PyList_GET_SIZE(mailboxes); n++) {
    u32 q = numbers[size_t(n)];
    if (previous) {
      arena->queue(previous).next_free = q;
    } else {
      r.stream = q;
    }
    arena->queue(q).next_free = 0;
    previous = q;
  }
  PyObject* ref = adopt_ref(i);
  return ref;
}

// start_actor(ref): the control plane knows of it; now its arguments may make it ready.
static PyObject* start_actor(PyObject*, PyObject* ref) {
  if (!need_ref(ref)) return nullptr;
  u32 i = ref_record(ref);
  Record& r = arena->record(i);
  u32 made = kCreating;
  if (r.kind != kActor || !r.state.compare_exchange_strong(made, kPending, std::memory_order_release)) {
    PyErr_SetString(PyExc_ValueError, "start_actor needs an actor that was not started yet");
    return nullptr;
  }
  arena->submit(i);
  Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"create_actor_record", create_actor_record, METH_VARARGS, nullptr},
    {"start_actor", start_actor, METH_O, nullptr},
    {nullptr, nullptr, 0, nullptr}};

bool add_submitter(PyObject* module) {
  SubmitterType = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&submitter_spec));
  MailboxType = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&mailbox_spec));
  return SubmitterType && MailboxType &&
         PyModule_AddObjectRef(module, "Submitter", reinterpret_cast<PyObject*>(SubmitterType)) == 0 &&
         PyModule_AddObjectRef(module, "Mailbox", reinterpret_cast<PyObject*>(MailboxType)) == 0 &&
         PyModule_AddFunctions(module, methods) == 0;
}

}  // namespace shoal
