// The task graph: who waits for what, what becomes ready when a record is sealed, and who is woken.
#include "arena.h"

#include <algorithm>
#include <cstring>

namespace shoal {

void Arena::ring() {
  head->doorbell.fetch_add(1, std::memory_order_seq_cst);
  if (head->doorbell_sleeper.load(std::memory_order_seq_cst)) futex_wake(head->doorbell, 1);
}

void Arena::wake_slot(u32 i) {
  Slot& s = slot(i);
  s.wake.fetch_add(1, std::memory_order_seq_cst);
  if (s.wake_sleepers.load(std::memory_order_seq_cst)) futex_wake(s.wake, 1 << 20);
}

void Arena::wake_all() {
  for (u32 i = 1; i < head->slots_used; i++) {
    if (slot(i).role.load(std::memory_order_relaxed) == kRoleNone) continue;
    slot(i).scan_all.store(1);
    wake_slot(i);
  }
}

static const u32* dependencies(const Arena& a, const Record& r, u32* n) {
  if (!(r.flags & kArgsHeld)) {
    *n = 0;
    return nullptr;
  }
  const u8* bytes = r.args_offset ? a.heap(r.args_offset) : r.args_inline;
  *n = reinterpret_cast<const ArgsHead*>(bytes)->dependencies;
  return reinterpret_cast<const u32*>(bytes + sizeof(ArgsHead));
}

// A filled record in state PENDING; its count includes 1 for the execution.
void Arena::submit(u32 i) {
  self->submitted = 1;
  advance(i);
}

void Arena::follow(u32 previous, u32 i) {
  self->submitted = 1;
  Record& p = record(previous);
  u32 none = 0;
  if (!(p.follower.load(std::memory_order_acquire) & kClosed)) {
    record(i).state.fetch_or(kTurnFlag);
    if (p.follower.compare_exchange_strong(none, i)) return;
    record(i).state.fetch_and(~kTurnFlag);
  }
  advance(i);
}

// The note says: this process brings the record on from here, or is about to take it over with this place. A process that dies
// with the note leaves the record either where the note says, and the daemon goes on with it, or in somebody else's hands.
void Arena::note_onward(u32 i, u32 place) {
  Slot& s = *self;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  s.onward_uid = record(i).uid;
  s.onward_place = place;
  s.onward.store(i, std::memory_order_release);
  death_point();
}

// A pending record has one owner at a time: who submitted it; then the list of dependents it is on; then who takes it off and wins
// the exchange of its place; in the end the queue.
void Arena::advance(u32 i) {
  for (; i; begin_turn(i)) {
    i = bring_on(i);
    if (!i) break;
  }
  self->onward.store(0, std::memory_order_release);
}

// Returns the call whose turn it is when this one is queued, or never will be.
u32 Arena::bring_on(u32 i) {
  if (!pending(i)) return discard(i);
  return wait_for_next(i) ? 0 : enqueue(i);
}

// Goes on the list of the next dependency that is not sealed. After that the record is no longer ours. False: there is none.
bool Arena::wait_for_next(u32 i) {
  Record& r = record(i);
  u32 n;
  const u32* deps = dependencies(*this, r, &n);
  for (u32 at = place_of(r); at < n;) {
    Record& d = record(deps[at]);
    u32 seen = d.dependents.load(std::memory_order_acquire);
    while (!(seen & kClosed)) {
      r.next = seen;
      death_point();
      if (!d.dependents.compare_exchange_weak(seen, i, std::memory_order_acq_rel)) continue;
      death_point();
      return true;
    }
    self->onward_place = ++at;
    death_point();
    r.place.store(first_place(r) | at, std::memory_order_release);
  }
  return false;
}

u32 Arena::enqueue(u32 i) {
  Record& r = record(i);
  u32 qi = r.queue, follower = 0, actor = 0;
  note_onward(i, place_of(r));
  Link linked = link(qi, i, false, &follower, &actor);
  death_point();
  if (linked == Link::kQueueClosed) fail_unsealed(i, queue(qi).error_record);
  if (linked != Link::kLinked) return discard(i);
  if (actor) drop(actor);
  announce(qi);
  return follower;
}

// Closes the list of who follows; noted first, so that a follower is not lost with this process.
u32 Arena::take_follower(u32 i) {
  Record& r = record(i);
  u32 f = r.follower.load(std::memory_order_acquire);
  while (!(f & kClosed)) {
    if (f) {
      self->next_turn_uid = record(f).uid;
      self->next_turn.store(f, std::memory_order_release);
      death_point();
    }
    if (!r.follower.compare_exchange_weak(f, kClosed, std::memory_order_acq_rel)) continue;
    death_point();
    return f;
  }
  return 0;
}

void Arena::begin_turn(u32 i) {
  note_onward(i, place_of(record(i)));
  self->next_turn.store(0, std::memory_order_release);
  death_point();
  record(i).state.fetch_and(~kTurnFlag, std::memory_order_acq_rel);
}

void Arena::give_turn(u32 i) {
  note_onward(i, place_of(record(i)));
  u32 f = take_follower(i);
  if (f) begin_turn(f);
  advance(f);
}

// What remains is the execution's count.
u32 Arena::discard(u32 i) {
  Record& r = record(i);
  u32 follower = take_follower(i);
  u32 actor = r.flags & kHoldsActor ? r.actor : 0;
  r.flags &= u8(~kHoldsActor);
  return_args(r);
  drop(i);
  if (actor) drop(actor);
  return follower;
}

// Wakes a sleeping worker unless one is about to look, and tells the daemon when there is more work than workers waiting for it.
void Arena::announce(u32 qi) {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (qi == 1) {
    ring();
    return;
  }
  Queue& q = queue(qi);
  u32 length = q.length.load(std::memory_order_relaxed);
  u32 spinners = u32(std::max(0, q.spinners.load(std::memory_order_relaxed)));
  u32 sleepers = q.sleepers.load(std::memory_order_relaxed);
  // A dead worker may still be counted as asleep until the daemon has repaired it: what counts is who was woken.
  bool woken = length > spinners && sleepers && wake_queue(q, 1);
  bool enough = length <= spinners || (woken && length <= spinners + sleepers);
  if (!enough && !(q.flags.load(std::memory_order_relaxed) & (kQueueMailbox | kQueueWants)))
    if (!(q.flags.fetch_or(kQueueWants) & kQueueWants)) ring();
}

// Taken off the list of its dependency number `place`. Whoever changes the place goes on with the record: should the daemon have
// found it in nobody's hands, it was there first.
void Arena::go_on(u32 i, u32 place) {
  Record& r = record(i);
  u32 expected = first_place(r) | place;
  death_point();
  if (!r.place.compare_exchange_strong(expected, expected + 1, std::memory_order_acq_rel)) return;
  death_point();
  advance(i);
}

// In the order in which they came; they were linked newest first. What is still linked has not been released yet: a death in
// between leaves a list that can be walked again.
void Arena::release_dependents(u32 i) {
  Record& r = record(i);
  u32 none = 0;
  if (r.dependents.load(std::memory_order_relaxed) == 0 &&
      r.dependents.compare_exchange_strong(none, kClosed, std::memory_order_acq_rel))
    return;
  u32 first = r.dependents.fetch_or(kClosed, std::memory_order_acq_rel) & ~kClosed;
  dependents_.clear();
  for (u32 d = first; d; d = record(d).next) dependents_.push_back(d);
  while (!dependents_.empty()) {
    u32 d = dependents_.back();
    dependents_.pop_back();
    u32 place = place_of(record(d));
    note_onward(d, place + 1);
    if (dependents_.empty()) {
      r.dependents.store(kClosed, std::memory_order_release);
    } else {
      record(dependents_.back()).next = 0;
    }
    death_point();
    go_on(d, place);
  }
}

void Arena::complete(u32 i) {
  Record& r = record(i);
  u32 owner = r.owner;
  release_dependents(i);
  notify(i);
  bool failed = r.state.load(std::memory_order_relaxed) & kErrorFlag;
  if (failed && owner && owner != me) wake_slot(owner);
}

// Not recursive: a dependent that fails at once (its queue is closed) is sealed, and has its turn after this one.
void Arena::seal(u32 i, u32 flags) {
  Slot& s = *self;
  Record& r = record(i);
  hold(i);  // a waiter may drop the last count while we are still here
  if (s.sealing.load(std::memory_order_relaxed)) {
    r.next = s.sealing_more.load(std::memory_order_relaxed);
    s.sealing_more.store(i, std::memory_order_release);
    r.state.store(kSealed | flags, std::memory_order_seq_cst);
    return;
  }
  s.sealing.store(i, std::memory_order_release);
  death_point();
  r.state.store(kSealed | flags, std::memory_order_seq_cst);
  death_point();
  while (i) {
    complete(i);
    u32 next = s.sealing_more.load(std::memory_order_relaxed);
    s.sealing.store(next, std::memory_order_release);
    if (next) s.sealing_more.store(record(next).next, std::memory_order_release);
    drop(i);
    i = next;
  }
}

void Arena::notify(u32 i) {
  Record& r = record(i);
  if (!r.waiter.load(std::memory_order_seq_cst)) return;
  u32 w = r.waiter.exchange(0, std::memory_order_seq_cst);
  if (w == kWaiterAll) {
    wake_all();
  } else if (w) {
    u32 who = w & ~kWaiterAsync;
    Slot& s = slot(who);
    if ((w & kWaiterAsync) && r.stream) {
      s.scan_all.store(1);  // it may be told of many items, and a record can be on one list only
    } else if (w & kWaiterAsync) {
      // The list of what was sealed is counted: the watcher gives the count back.
      hold(i);
      u32 seen = s.done_head.load(std::memory_order_relaxed);
      do {
        r.done_next = seen;
      } while (!s.done_head.compare_exchange_weak(seen, i, std::memory_order_acq_rel));
    }
    wake_slot(who);
  }
}

bool Arena::try_hold(u32 i) {
  u32 n = record(i).count.load(std::memory_order_relaxed);
  do {
    if (!n) return false;
  } while (!record(i).count.compare_exchange_weak(n, n + 1, std::memory_order_acq_rel));
  return true;
}

void Arena::seal_alias(u32 i, u32 target, u32 flags) {
  Record& r = record(i);
  hold(target);
  r.value_kind = kAlias;
  r.where = kInline;
  r.value_offset = target;
  seal(i, flags);
}

// The returns of a task that failed: those not sealed yet get its error. The task's count of each goes.
void Arena::seal_returns(u32 i, u32 error_record) {
  for (u32 s = record(i).first_return, next; s; s = next) {
    next = record(s).sibling;
    if (!sealed(s)) seal_alias(s, error_record, kErrorFlag);
    record(i).first_return = next;
    drop(s);
  }
}

// What a task still counts of its returns when it has ended.
void Arena::drop_returns(u32 i) {
  Record& r = record(i);
  if (r.kind != kTask && r.kind != kCall) return;
  for (u32 s = r.first_return, next; s; s = next) {
    next = record(s).sibling;
    r.first_return = next;
    drop(s);
  }
}

// For tasks that have not started, and those of the dead: whoever changes the state first wins.
bool Arena::fail_unsealed(u32 i, u32 error_record) {
  u32 seen = record(i).state.load(std::memory_order_acquire);
  for (;;) {
    if ((seen & kStateMask) == kSealed || (seen & kStateMask) == kFree) return false;
    if (begin_failing(i, seen)) break;
  }
  fail_begun(i, error_record);
  return true;
}

// Takes an unsealed record out of everybody's hands. Noted: should this process die, the daemon fails the record.
bool Arena::begin_failing(u32 i, u32& seen) {
  self->failing_uid = record(i).uid;
  self->failing.store(i, std::memory_order_release);
  if (record(i).state.compare_exchange_strong(seen, kCreating, std::memory_order_acq_rel)) {
    death_point();
    return true;
  }
  self->failing.store(0, std::memory_order_release);
  return false;
}

void Arena::fail_begun(u32 i, u32 error_record) {
  u8 kind = record(i).kind;
  if (kind == kTask || kind == kCall) seal_returns(i, error_record);
  seal_alias(i, error_record, kErrorFlag);
  self->failing.store(0, std::memory_order_release);
}

// `index` of a stream: how many items its reader has taken; the next attempt does not yield them again.
void Arena::restart_stream(Record& r) {
  if (!r.stream || r.kind == kActor) return;
  // All at once: taken back one by one, the reader might take a later one in between, and never see those before it.
  u32 unread = 0;
  for (u32 item = take_items(r.stream), next; item; item = next, unread++) {
    next = record(item).next;
    drop(item);
  }
  if (r.produced > unread && r.produced - unread > r.index) r.index = r.produced - unread;
  r.produced = 0;
}

// The execution is over and the record sealed: its arguments and its count go.
void Arena::finish(u32 i, u32 entry_number) {
  Record& r = record(i);
  if (r.flags & kHoldsActor) {  // who queued it died before taking this count over
    r.flags &= u8(~kHoldsActor);
    drop(r.actor);
  }
  death_point();
  complete_origin(i);
  drop_returns(i);
  return_args(r);  // the function stays: it is the task's name as long as somebody asks for it
  strike(entry_number);
  death_point();
  drop(i);
}

}  // namespace shoal
