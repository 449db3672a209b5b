// Ending what does not end by itself: errors in the place of results, cancelling, back to the queue, freeing values.
#include <nanobind/nanobind.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <tuple>
#include <vector>

#include "control.h"
#include "python.h"

namespace nb = nanobind;

namespace shoal {

u32 error_record(Arena& a, nb::bytes error) {
  u32 i = a.new_record(kObject);
  a.hold(i);
  Record& r = a.record(i);
  u64 n = error.size();
  u8* to = r.value_inline;
  r.value_size = n;
  if (n > kValueInline) {
    if (!a.allocate_value(i, n)) {
      a.spill(std::max<u64>(n, a.head->capacity_bytes / 16));
      if (!a.allocate_value(i, n)) {
        a.drop(i);
        throw std::runtime_error("no room in the arena for an error report");
      }
    }
    to = a.heap(r.value_offset);
  }
  std::memcpy(to, error.c_str(), n);
  r.value_kind = kPickle;
  a.seal(i, kErrorFlag);
  return i;
}

static void requeue(u32 i, bool front, bool use_retry) {
  if ((record_at(i).state.load() & kStateMask) != kRunning) throw nb::value_error("only an execution that has begun goes back");
  attached().requeue(i, front, use_retry);
}

// Seals a record of a dead process, or one that has not started. True: this call did it.
static bool fail_record(u32 i, nb::bytes error) {
  Arena& a = attached();
  record_at(i);
  u32 e = error_record(a, error);
  bool done = a.fail_abandoned(i, e);
  a.drop(e);
  return done;
}

// 0: sealed already (or gone), 1: had not started, and is sealed now, 2: it is running; its cancel flag is set.
static int cancel_record(u32 i, u64 uid, nb::bytes error) {
  Arena& a = attached();
  Record& r = record_at(i);
  if (!a.try_hold(i)) return 0;
  u32 e = 0;
  try {
    e = error_record(a, error);  // first: its making may fail
  } catch (...) {
    a.drop(i);
    throw;
  }
  int result = 0;
  u32 seen = r.state.load();
  while (r.uid == uid) {
    u32 plain = seen & kStateMask;
    if (plain == kRunning) {
      if (!r.state.compare_exchange_weak(seen, seen | kCancelFlag)) continue;
      if (r.stream) {
        a.queue(r.stream).sequence.fetch_add(1);
        futex_wake(a.queue(r.stream).sequence, 1 << 20);
      }
      result = 2;
    } else if (plain == kPending || plain == kQueued) {
      if (!a.begin_failing(i, seen)) continue;
      a.fail_begun(i, e);
      if (!(seen & kTurnFlag)) a.give_turn(i);
      result = 1;
    }
    break;
  }
  a.drop(e);
  a.drop(i);
  return result;
}

// cancel_children(uid, error) -> (record, uid) of those that run: everything that the execution `uid` submitted, and so on.
static std::vector<std::tuple<u32, u64>> cancel_children(u64 uid, nb::bytes error) {
  Arena& a = attached();
  std::vector<std::tuple<u32, u64>> running;
  std::vector<u64> parents{uid};
  u32 end = a.records_end();
  while (!parents.empty()) {
    u64 parent = parents.back();
    parents.pop_back();
    for (u32 i = a.next_record(0); i < end; i = a.next_record(i)) {
      Record& r = a.record(i);
      if (r.parent != parent || (r.state.load(std::memory_order_relaxed) & kStateMask) == kFree) continue;
      u64 child = r.uid;
      if (r.kind == kObject || r.kind == kReturn || r.kind == kActor) continue;
      parents.push_back(child);
      if (cancel_record(i, child, error) == 2) running.push_back({i, child});
    }
  }
  return running;
}

// Puts an error in the place of a sealed value: free(). Values that are being read stay.
static bool replace_value(nb::handle ref, nb::bytes error) {
  if (!is_ref(ref.ptr()) || !check_ref(ref.ptr())) throw nb::type_error("an ObjectRef of this session is needed");
  Arena& a = attached();
  u32 i = ref_record(ref.ptr());
  Record& r = a.record(i);
  if (!a.sealed(i)) return false;
  u32 e = error_record(a, error);
  a.hold(i);
  u32 entry = a.enter(i, kSpill);
  u32 free = 0;
  if (!r.pins.compare_exchange_strong(free, kSpilling | a.me)) {
    a.strike(entry);
    a.drop(i);
    a.drop(e);
    return false;
  }
  a.release_value(r);
  r.value_kind = kAlias;
  r.value_offset = e;
  r.state.fetch_or(kErrorFlag);
  r.pins.store(0);
  a.strike(entry);
  a.drop(i);
  return true;
}

static u32 running_slot(u32 record, u64 uid) {
  Arena& a = attached();
  return record_at(record).uid == uid ? a.executor_of(record) : 0;
}

void add_ending(nb::module_& m) {
  m.def("requeue", requeue, nb::arg("record"), nb::arg("front") = true, nb::arg("use_retry") = true);
  m.def("fail_record", fail_record);
  m.def("cancel_record", cancel_record);
  m.def("running_slot", running_slot);
  m.def("cancel_children", cancel_children);
  m.def("replace_value", replace_value);
}

}  // namespace shoal
