// The module, and what the node daemon and the session code need of the kernel.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <tuple>

#include "codec.h"
#include "control.h"
#include "python.h"

namespace nb = nanobind;

namespace shoal {

Arena* arena = nullptr;
u32 arena_epoch = 0;
Hooks hooks{};

Arena& attached() {
  if (!arena || arena->closed) {
    if (hooks.not_attached && !require_arena()) throw nb::python_error();
    throw std::runtime_error("no arena is attached");
  }
  return *arena;
}

// A forked child of user code has the mappings but no slot: its handles count for nothing.
static void after_fork_in_child() {
  if (arena) arena->closed = true;
}

static void take(Arena* a) {
  static bool registered = false;
  if (!registered) {
    pthread_atfork(nullptr, nullptr, after_fork_in_child);
    registered = true;
  }
  arena = a;
  arena_epoch++;
}

static int create_arena(u64 capacity_bytes, const std::string& folder, u32 cores, nb::bytes session_id) {
  if (session_id.size() != 8) throw nb::value_error("session_id must have 8 bytes");
  try {
    take(Arena::create(capacity_bytes, folder, cores, reinterpret_cast<const u8*>(session_id.c_str())));
    arena->adopt_slot(arena->reserve_slot(kRoleDaemon));
  } catch (const Error& e) {
    throw std::runtime_error(e.what);
  }
  return arena->fd;
}

static void attach_arena(int fd) {
  try {
    take(Arena::attach(fd));
  } catch (const Error& e) {
    throw std::runtime_error(e.what);
  }
}

struct SlotState {
  u32 pid, role, queue, running, running_uid_low, kill_reason;
  u64 running_since_ns, executed;
  bool blocked, sleeping;
};

struct QueueState {
  u32 queue, length, class_id, owner, servers;
  bool is_mailbox, closed;
};

struct DeadTaskState {
  u32 record;
  u64 uid;
  u32 queue;
  i32 retries_left;
  std::string name;
  u32 owner;
  bool cancelled, is_actor_call;
};

// What Python names by a number is checked: a wrong one raises IndexError.
static void within(u32 i, u32 end, const char* what) {
  if (i >= end) throw nb::index_error((std::string("there is no ") + what + " " + std::to_string(i)).c_str());
}
Record& record_at(u32 i) {
  Arena& a = attached();
  within(i, record_end(a), "record");
  return a.record(i);
}
Slot& slot_at(u32 i) {
  Arena& a = attached();
  within(i, a.head->slots_used, "slot");
  return a.slot(i);
}
Queue& queue_at(u32 i) {
  Arena& a = attached();
  within(i, a.head->queues_used, "queue");
  return a.queue(i);
}

static QueueState queue_state(u32 i) {
  Queue& q = queue_at(i);
  u32 flags = q.flags.load();
  return {i, q.length.load(), q.class_id, q.owner, q.servers.load(), (flags & kQueueMailbox) != 0, (flags & kQueueClosed) != 0};
}

static std::vector<QueueState> task_queues() {
  Arena& a = attached();
  std::vector<QueueState> found;
  u32 end = a.head->queues_used;
  for (u32 i = 2; i < end; i++) {
    Queue& q = a.queue(i);
    u32 flags = q.flags.load();
    if (!(flags & kQueueUsed) || (flags & (kQueueMailbox | kQueueStream))) continue;
    if ((flags & kQueueWants) && !q.length.load()) {
      q.flags.fetch_and(~u32(kQueueWants));
      std::atomic_thread_fence(std::memory_order_seq_cst);
      if (q.length.load()) q.flags.fetch_or(kQueueWants);
    }
    found.push_back(queue_state(i));
  }
  return found;
}

static void assign(u32 slot, u32 queue) {
  slot_at(slot);
  if ((queue_at(queue).flags.load() & (kQueueUsed | kQueueMailbox | kQueueStream)) != kQueueUsed)
    throw nb::value_error(("queue " + std::to_string(queue) + " is no task queue").c_str());
  attached().assign(slot, queue);
}
static bool unassign(u32 slot) {
  slot_at(slot);
  return attached().unassign(slot);
}
static void end_worker(u32 slot) {
  slot_at(slot);
  attached().end_worker(slot);
}

static std::vector<DeadTaskState> states(const std::vector<DeadTask>& tasks) {
  std::vector<DeadTaskState> out;
  for (auto& t : tasks)
    out.push_back({t.record, t.uid, t.queue, t.retries_left, text_of(t.function), t.owner, t.cancelled,
                   t.kind == kCall || t.kind == kCallStream});
  return out;
}

// (record, ready, unreferenced): what happened to an actor; record 0: nothing more.
static std::tuple<u32, bool, bool> pop_control() {
  Arena& a = attached();
  u32 i = 0;
  u32 seen = 0;
  for (;;) {
    i = a.pop_item(1);
    if (!i) return {0, false, false};
    seen = a.record(i).state.load();
    if (!(a.record(i).flags & kActorEnded)) break;
    if (seen & kUnreferencedFlag) a.drop(i);  // it ended before it came to be popped: our count is all that is left of it
  }
  Record& r = a.record(i);
  if ((seen & kStateMask) != kQueued) return {i, false, (seen & kUnreferencedFlag) != 0};
  while (!r.state.compare_exchange_weak(seen, (seen & ~kStateMask) | kRunning)) {
  }
  return {i, true, (seen & kUnreferencedFlag) != 0};
}

static void end_actor(u32 i) {
  Record& r = record_at(i);
  if (r.kind != kActor || (r.state.load() & kStateMask) == kFree) throw nb::value_error("the record is no actor");
  r.flags |= kActorEnded;
}

static bool wait_doorbell(double timeout_s) {
  Arena& a = attached();
  static u32 seen = 0;
  Header& h = *a.head;
  i64 deadline = deadline_of(timeout_s);
  WithoutGil released;
  h.doorbell_sleeper.store(1);
  for (;;) {
    u32 now = h.doorbell.load();
    if (now != seen) {
      seen = now;
      return true;
    }
    i64 left = deadline < 0 ? -1 : deadline - i64(now_ns());
    if (deadline >= 0 && left <= 0) return false;
    futex_wait(h.doorbell, now, left);
  }
}

// function_record(value, name) -> ObjectRef: a function or method, its name beside it.
static nb::object function_record(nb::handle value, const std::string& name) {
  Arena& a = attached();
  u32 i = text_record(name.data(), Py_ssize_t(name.size()));
  a.record(i).flags |= kIsCode;
  nb::object ref = nb::steal(adopt_ref(i));
  if (!encode_value(value.ptr(), i)) throw nb::python_error();
  a.seal(i, 0);
  return ref;
}

// mark_code(ref): the object is a pickled function or class. Lists of objects leave it out.
static void mark_code(nb::handle ref) {
  if (!is_ref(ref.ptr())) throw nb::type_error("an ObjectRef is needed");
  if (!check_ref(ref.ptr())) throw nb::python_error();
  attached().record(ref_record(ref.ptr())).flags |= kIsCode;
}

// send_call(mailbox, call_record_ref): a call without arguments that nobody waits for.
static void send_call(u32 queue, nb::handle function) {
  if (!is_ref(function.ptr()) || !check_ref(function.ptr())) throw nb::type_error("an ObjectRef of this session is needed");
  Arena& a = attached();
  if (!(queue_at(queue).flags.load() & kQueueMailbox)) throw nb::value_error("send_call needs a mailbox");
  u32 i = a.new_record(kCall);
  Record& r = a.record(i);
  r.count.store(1);
  r.queue = queue;
  r.function = ref_record(function.ptr());
  a.hold(r.function);
  r.num_returns = 0;
  r.queued_ns = now_ns();
  r.state.store(kPending);
  a.submit(i);
}

static void set_hooks(nb::dict d) {
  auto get = [&](const char* name) {
    nb::object o = nb::borrow(d[name]);
    return o.release().ptr();
  };
  hooks = {get("serialize"), get("raise_error"), get("store_full"), get("get"),         get("put"),
           get("wait"),      get("loads"),       get("stream"),     get("not_attached"), get("ref_of"),
           get("not_sent"),  get("value_lost"), get("long_wait")};
}

static void add_daemon_functions(nb::module_& m) {
  m.def("create_arena", create_arena);
  m.def("attach_arena", attach_arena);
  m.def("detach_arena", [] {
    if (!arena) return;
    arena->closed = true;
    if (arena->fd >= 0) close(arena->fd);
    arena->fd = -1;
    arena = nullptr;  // the mapping stays: views may still point into it
    arena_epoch++;
  });
  m.def("attached", [] { return arena && !arena->closed; });
  m.def("forked", [] { return arena && arena->closed; });
  m.def("arena_epoch", [] { return arena_epoch; });
  m.def("session_id", [] { return nb::bytes(reinterpret_cast<const char*>(attached().head->session_id), 8); });
  m.def("reserve_slot", [](u32 role) { return attached().reserve_slot(role); });
  m.def("adopt_slot", [](u32 slot) {
    if (!arena) throw std::runtime_error("no arena is attached");
    if (!slot || slot >= arena->head->slots_used) throw nb::index_error("adopt_slot needs a reserved slot");
    arena->closed = false;
    arena->adopt_slot(slot);
    arena_epoch++;
  });
  m.def("my_slot", [] { return attached().me; });
  m.def("set_slot_pid", [](u32 slot, u32 pid) { slot_at(slot).pid = pid; });
  m.def("set_slot_job", [](u32 slot, u32 job) { slot_at(slot).job = job; });
  m.def("set_kill_reason", [](u32 slot, u32 reason) { slot_at(slot).kill_reason = reason; });
  m.def("set_lent", [](u32 slot, bool lent) { slot_at(slot).lent = lent; });
  m.def("slot_state", [](u32 i) {
    Slot& s = slot_at(i);
    return SlotState{s.pid,     s.role, s.queue, s.running, 0, s.kill_reason, s.running_since_ns, s.executed, s.blocked.load() > 0,
                     s.sleeping.load() > 0};
  });
  m.def("repair_slot", [](u32 slot) {
    slot_at(slot);
    if (slot == attached().me) throw nb::value_error("a process can't repair itself");
    return states(attached().repair_slot(slot));
  });
  m.def("orphaned_tasks", [](u32 owner) {
    slot_at(owner);
    return states(attached().orphaned(owner));
  });
  m.def("slot_submitted", [](u32 slot) { return slot_at(slot).submitted != 0; });
  m.def("has_open_work", [](u32 slot) { return slot_at(slot).submitted != 0 && attached().has_open_work(slot); });
}

static void add_queue_functions(nb::module_& m) {
  m.attr("CONTROL_QUEUE") = 1;
  m.def("create_queue", [](u32 owner, u32 class_id, bool is_mailbox) {
    return attached().new_queue(owner, class_id, is_mailbox ? u32(kQueueMailbox) : 0u);
  });
  m.def("serve_mailbox", [](u32 queue) { queue_at(queue).class_id = attached().me; });
  m.def("close_queue", [](u32 queue, nb::bytes error) {
    Arena& a = attached();
    if (!(queue_at(queue).flags.load() & kQueueUsed)) throw nb::value_error("the queue is not in use");
    u32 e = error_record(a, error);
    u32 n = a.close_queue(queue, e);
    a.drop(e);
    return n;
  });
  m.def("free_queue", [](u32 queue) {
    queue_at(queue);
    if (queue < 2) throw nb::value_error("the control queue is never freed");
    attached().free_queue(queue);
  });
  m.def("rename_queue_class", [](u32 queue, u32 class_id) { queue_at(queue).class_id = class_id; });
  m.def("queue_state", queue_state);
  m.def("task_queues", task_queues);
  m.def("pop_control", pop_control);
  m.def("end_actor", end_actor);
  m.def("assign", assign);
  m.def("unassign", unassign);
  m.def("end_worker", end_worker);
  m.def("set_starving", [](bool on) { attached().head->starving = on; });
  m.def("wake_slot", [](u32 slot) {
    slot_at(slot);
    attached().wake_slot(slot);
  });
  m.def("wait_doorbell", wait_doorbell);
  m.def("ring_doorbell", [] { attached().ring(); });
  m.def("activate", [] { attached().activate(); });
  m.def("deactivate", [] { attached().deactivate(); });
  m.def("may_spin", [] { return attached().may_spin(); });
  m.def("queue_length", [](u32 queue) { return queue_at(queue).length.load(); });
  m.def("queue_closed", [](u32 queue) { return (queue_at(queue).flags.load() & kQueueClosed) != 0; });
}

static void add_record_functions(nb::module_& m) {
  m.def("function_record", function_record);
  m.def("mark_code", mark_code);
  m.def("send_call", send_call);
  m.def("spill", [](u64 bytes) { return attached().spill(bytes); });
  m.def("trim", [](double idle_s) {
    Arena& a = attached();
    return a.trim_heap(idle_s) + a.trim_records();
  });
  m.def("limit_references", limit_references);
  m.def("set_hooks", set_hooks);
}

}  // namespace shoal

NB_MODULE(_kernel, m) {
  using namespace shoal;
  m.attr("ROLE_DAEMON") = u32(kRoleDaemon);
  m.attr("ROLE_DRIVER") = u32(kRoleDriver);
  m.attr("ROLE_WORKER") = u32(kRoleWorker);
  m.attr("ROLE_ACTOR") = u32(kRoleActor);
  m.attr("FREE") = u32(kFree);
  m.attr("CREATING") = u32(kCreating);
  m.attr("PENDING") = u32(kPending);
  m.attr("QUEUED") = u32(kQueued);
  m.attr("RUNNING") = u32(kRunning);
  m.attr("SEALED") = u32(kSealed);
  nb::class_<SlotState>(m, "SlotState")
      .def_ro("pid", &SlotState::pid)
      .def_ro("role", &SlotState::role)
      .def_ro("queue", &SlotState::queue)
      .def_ro("running", &SlotState::running)
      .def_ro("running_since_ns", &SlotState::running_since_ns)
      .def_ro("blocked", &SlotState::blocked)
      .def_ro("sleeping", &SlotState::sleeping)
      .def_ro("executed", &SlotState::executed)
      .def_ro("kill_reason", &SlotState::kill_reason);
  nb::class_<QueueState>(m, "QueueState")
      .def_ro("queue", &QueueState::queue)
      .def_ro("length", &QueueState::length)
      .def_ro("class_id", &QueueState::class_id)
      .def_ro("owner", &QueueState::owner)
      .def_ro("servers", &QueueState::servers)
      .def_ro("is_mailbox", &QueueState::is_mailbox)
      .def_ro("closed", &QueueState::closed);
  nb::class_<DeadTaskState>(m, "DeadTask")
      .def_ro("record", &DeadTaskState::record)
      .def_ro("uid", &DeadTaskState::uid)
      .def_ro("queue", &DeadTaskState::queue)
      .def_ro("retries_left", &DeadTaskState::retries_left)
      .def_ro("name", &DeadTaskState::name)
      .def_ro("owner", &DeadTaskState::owner)
      .def_ro("cancelled", &DeadTaskState::cancelled)
      .def_ro("is_actor_call", &DeadTaskState::is_actor_call);
  add_daemon_functions(m);
  add_queue_functions(m);
  add_record_functions(m);
  add_ending(m);
  add_inspection(m);
  if (!add_ref_type(m.ptr()) || !add_nested_refs(m.ptr()) || !add_views(m.ptr()) || !add_submitter(m.ptr()) || !add_work(m.ptr()) || !add_objects(m.ptr()) ||
      !add_watch(m.ptr()) || !add_obstacles(m.ptr()) || !add_holders(m.ptr()))
    throw nb::python_error();
}
