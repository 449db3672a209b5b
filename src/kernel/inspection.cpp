// Looking at the arena: records, what is in them, and lists of them for the state API.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "codec.h"
#include "control.h"
#include "python.h"

namespace nb = nanobind;

namespace shoal {

static nb::object hold(u32 i) {
  record_at(i);
  if (!attached().try_hold(i)) throw nb::value_error("the record is being freed");
  return nb::steal(adopt_ref(i));
}

// By what an id says: the uid of the task or object, and the number of the result (1 = the first, or not a result).
static nb::object find_record(u64 uid, u32 number) {
  Arena& a = attached();
  u32 end = a.records_end();
  auto matches = [&](const Record& r) {
    if ((r.state.load(std::memory_order_acquire) & kStateMask) == kFree) return false;
    if (number == 1) return r.kind != kReturn && r.uid == uid;
    return r.kind == kReturn && r.queued_ns == uid && r.index + 1 == number;
  };
  for (u32 i = a.next_record(0); i < end; i = a.next_record(i)) {
    if (!matches(a.record(i)) || !a.try_hold(i)) continue;
    if (matches(a.record(i))) return nb::steal(adopt_ref(i));
    a.drop(i);
  }
  return nb::none();
}

static nb::dict memory_stats() {
  Arena& a = attached();
  Header& h = *a.head;
  nb::dict d;
  d["capacity_bytes"] = h.capacity_bytes;
  d["used_bytes"] = h.used_pages.load() * kPageBytes;
  d["free_warm_bytes"] = h.warm_pages.load() * kPageBytes;
  d["spilled_bytes"] = h.spilled_bytes.load();
  d["lineage_bytes"] = h.lineage_bytes.load();
  d["spilled_objects"] = h.spilled_objects.load();
  d["fallback_objects"] = h.fallback_objects.load();
  u64 live = 0;
  u32 end = a.records_end();
  for (u32 i = a.next_record(0); i < end; i = a.next_record(i))
    live += (a.record(i).state.load(std::memory_order_relaxed) & kStateMask) != kFree;
  d["records"] = live;
  d["records_high"] = end;
  u32 queues = 0, processes = 0;
  for (u32 i = 1; i < h.queues_used; i++) queues += (a.queue(i).flags.load() & kQueueUsed) != 0;
  for (u32 i = 1; i < h.slots_used; i++) processes += a.slot(i).role != kRoleNone;
  d["queues"] = queues;
  d["processes"] = processes;
  d["active"] = h.active.load();
  return d;
}

// Live records of tasks, calls, actors and objects, for state lists.
static nb::list list_records(u32 limit) {
  Arena& a = attached();
  nb::list out;
  u32 end = a.records_end();
  for (u32 i = a.next_record(0); i < end && nb::len(out) < limit; i = a.next_record(i)) {
    Record& r = a.record(i);
    u32 state = r.state.load();
    if ((state & kStateMask) == kFree || r.kind == kOrigin || !a.try_hold(i)) continue;
    nb::object ref = nb::steal(adopt_ref(i));
    nb::dict d;
    d["ref"] = ref;
    d["record"] = i;
    d["uid"] = u64(r.uid);
    d["kind"] = u32(r.kind);
    d["state"] = state & kStateMask;
    d["is_error"] = (state & kErrorFlag) != 0;
    d["is_code"] = (r.flags & kIsCode) != 0;
    d["count"] = r.count.load() - 1;
    d["size_bytes"] = u64(r.value_size);
    d["where"] = u32(r.where);
    d["owner"] = u32(r.owner);
    d["owner_pid"] = u32(a.slot(r.owner).pid.load());
    d["queue"] = u32(r.queue);
    d["attempt"] = u32(r.attempt);
    d["parent"] = u64(r.parent);
    std::string name = r.function ? text_of(r.function) : "";
    d["name"] = nb::steal(PyUnicode_DecodeUTF8(name.data(), Py_ssize_t(name.size()), "replace"));
    d["queued_ns"] = u64(r.queued_ns);
    d["started_ns"] = u64(r.started_ns);
    d["finished_ns"] = u64(r.finished_ns);
    out.append(d);
  }
  return out;
}

// The last tasks whose records are gone, the latest first.
static nb::list list_past_tasks(u32 limit) {
  Arena& a = attached();
  nb::list out;
  u64 last = a.head->past_tasks.load();
  u64 first = last > kPastTasks ? last - kPastTasks : 0;
  for (u64 number = last; number > first && nb::len(out) < limit; number--) {
    PastTask& shared = a.past_task(number);
    if (shared.number.load(std::memory_order_acquire) != number) continue;
    PastTask p;
    std::memcpy(reinterpret_cast<u8*>(&p) + sizeof p.number, reinterpret_cast<u8*>(&shared) + sizeof p.number,
                sizeof p - sizeof p.number);
    std::atomic_thread_fence(std::memory_order_acquire);
    if (shared.number.load(std::memory_order_relaxed) != number) continue;
    nb::dict d;
    d["task_id"] = nb::bytes(reinterpret_cast<const char*>(p.id), sizeof p.id);
    d["name"] = nb::steal(PyUnicode_DecodeUTF8(p.name, Py_ssize_t(std::min<u32>(p.name_bytes, kPastNameBytes)), "replace"));
    d["kind"] = u32(p.kind);
    d["is_error"] = p.is_error != 0;
    d["attempt"] = p.attempt;
    d["owner_pid"] = p.owner_pid;
    d["queued_ns"] = p.queued_ns;
    d["started_ns"] = p.started_ns;
    d["finished_ns"] = p.finished_ns;
    out.append(d);
  }
  return out;
}

// Which record (and uid) an ObjectRef's work is: its own, or the task's of which it is a return.
static nb::object task_of_ref(nb::handle ref) {
  if (!is_ref(ref.ptr())) throw nb::type_error("an ObjectRef is needed");
  if (!check_ref(ref.ptr())) throw nb::python_error();
  Record& r = attached().record(ref_record(ref.ptr()));
  if (r.kind == kReturn && r.first_return) return nb::make_tuple(u32(r.first_return), u64(r.queued_ns));
  return nb::make_tuple(ref_record(ref.ptr()), u64(r.uid));
}

// The bytes of a value as they lie in the arena: for comparing contents.
static nb::bytes raw_value(nb::handle ref) {
  if (!is_ref(ref.ptr()) || !check_ref(ref.ptr())) throw nb::type_error("an ObjectRef of this session is needed");
  Record& r = attached().record(ref_record(ref.ptr()));
  const u8* at = r.where == kBlock ? arena->heap(r.value_offset) : r.value_inline;
  if (r.where == kFile) throw nb::value_error("the value is in a file");
  return nb::bytes(reinterpret_cast<const char*>(at), r.value_size);
}

void add_inspection(nb::module_& m) {
  m.def("record_state", [](u32 i) { return record_at(i).state.load() & kStateMask; });
  m.def("record_uid", [](u32 i) { return u64(record_at(i).uid); });
  m.def("record_is_error", [](u32 i) { return (record_at(i).state.load() & kErrorFlag) != 0; });
  m.def("record_retries", [](u32 i) { return record_at(i).retries_left; });
  m.def("record_count", [](u32 i) { return record_at(i).count.load(); });
  m.def("record_kind", [](u32 i) { return u32(record_at(i).kind); });
  m.def("record_size", [](u32 i) { return u64(record_at(i).value_size); });
  m.def("record_where", [](u32 i) { return u32(record_at(i).where); });
  m.def("record_pid", [](u32 i) { return attached().slot(record_at(i).owner).pid.load(); });
  m.def("record_cancelled", [](u32 i) { return (record_at(i).state.load() & kCancelFlag) != 0; });
  m.def("record_actor", [](u32 i) { return record_at(i).actor; });
  m.def("record_name", [](u32 i) { return text_of(record_at(i).function); });
  m.def("read_record", [](u32 i) {
    record_at(i);
    if (!attached().sealed(i)) throw nb::value_error("the record is not sealed");
    bool is_error;
    PyObject* value = decode_value(i, &is_error);
    if (!value) throw nb::python_error();
    return nb::steal(value);
  });
  m.def("hold", hold);
  m.def("find_record", find_record);
  m.def("keep", [](u32 i) {
    record_at(i);
    return attached().try_hold(i);
  });
  m.def("release", [](u32 i) {
    if (!record_at(i).count.load()) throw nb::value_error("nobody holds the record");
    attached().drop(i);
  });
  m.def("reconstruct", [](u32 i, u64 uid) {
    record_at(i);
    return u32(attached().reconstruct(i, uid));
  });
  m.def("task_of_ref", task_of_ref);
  m.def("raw_value", raw_value);
  m.def("memory_stats", memory_stats);
  m.def("spill_left_out", [] { return attached().head->spill_left_out.load(); });
  m.def("list_records", list_records);
  m.def("list_past_tasks", list_past_tasks);
}

}  // namespace shoal
