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
  u32 expected = 0;
  if (record(previous).follower.compare_exchange_strong(expected, i)) return;
  advance(i);
}

// Waits for the next unsealed dependency, or queues. After it is registered somewhere the record is no longer ours.
void Arena::advance(u32 i) {
  Record& r = record(i);
  u32 n;
  const u32* deps = dependencies(*this, r, &n);
  while (r.dep_cursor < n) {
    Record& d = record(deps[r.dep_cursor]);
    u32 seen = d.dependents.load(std::memory_order_acquire);
    for (;;) {
      if (seen & kClosed) break;
      r.next = seen;
      if (d.dependents.compare_exchange_weak(seen, i, std::memory_order_acq_rel)) return;
    }
    r.dep_cursor++;
  }
  push_ready(i);
}

// Taken off a list although it is sealed already (cancelled): what remains is the execution's count.
void Arena::discard(u32 i) {
  Record& r = record(i);
  u32 f = r.follower.exchange(kClosed) & ~kClosed;
  u32 actor = r.flags & kHoldsActor ? r.actor : 0;
  r.flags &= u8(~kHoldsActor);
  release_args(r);
  drop(i);
  if (f) advance(f);
  if (actor) drop(actor);
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
  if (length > spinners && sleepers) wake_queue(q, 1);
  if (length > spinners + sleepers && !(q.flags.load(std::memory_order_relaxed) & (kQueueMailbox | kQueueWants)))
    if (!(q.flags.fetch_or(kQueueWants) & kQueueWants)) ring();
}

void Arena::push_ready(u32 first) {
  for (u32 i = first; i;) {
    Record& r = record(i);
    u32 qi = r.queue;
    self->push_queue = qi;
    self->push_uid = r.uid;
    self->push_record.store(i);
    bool holds_actor = r.flags & kHoldsActor;
    u32 actor = r.actor;
    u32 expected = kPending, follower = 0;
    bool queued = r.state.compare_exchange_strong(expected, kQueued, std::memory_order_acq_rel) || expected == kQueued;
    if (!queued) {
      self->push_record.store(0);
      discard(i);
      return;
    }
    if (!link(qi, i, false, &follower)) {
      r.flags &= u8(~kHoldsActor);  // dropped below, after the mailbox's error was read
      fail_unsealed(i, queue(qi).error_record);
      self->push_record.store(0);
      if (holds_actor) drop(actor);
      discard(i);
      return;
    }
    self->push_record.store(0);
    if (holds_actor) drop(actor);
    announce(qi);
    if (!follower) return;
    // The next call of the same caller may go on; it may still wait for arguments of its own.
    Record& f = record(follower);
    u32 n;
    dependencies(*this, f, &n);
    if (f.dep_cursor < n) {
      advance(follower);
      return;
    }
    i = follower;
  }
}

void Arena::walk_dependents(u32 first) {
  for (u32 i = first; i;) {
    u32 next = record(i).next;
    self->cursor_next = next;
    self->cursor.store(i);
    if ((record(i).state.load(std::memory_order_acquire) & kStateMask) == kPending) {
      record(i).dep_cursor++;
      advance(i);
    } else {
      discard(i);
    }
    self->cursor.store(0);
    i = next;
  }
}

void Arena::release_dependents(u32 i) {
  Record& r = record(i);
  if (r.dependents.load(std::memory_order_relaxed) == 0) {
    u32 none = 0;
    if (r.dependents.compare_exchange_strong(none, kClosed, std::memory_order_acq_rel)) return;
  }
  self->completing.store(i);
  u32 first = r.dependents.fetch_or(kClosed, std::memory_order_acq_rel) & ~kClosed;
  // They were linked newest first; release them in the order in which they came.
  u32 reversed = 0;
  while (first) {
    u32 next = record(first).next;
    record(first).next = reversed;
    reversed = first;
    first = next;
  }
  r.dependents.store(kClosed | reversed, std::memory_order_release);
  walk_dependents(reversed);
  r.dependents.store(kClosed, std::memory_order_release);
  self->completing.store(0);
}

void Arena::seal(u32 i, u32 flags) {
  Record& r = record(i);
  hold(i);  // a waiter may drop the last count while we are still here
  u32 owner = r.owner;
  r.state.store(kSealed | flags, std::memory_order_seq_cst);
  release_dependents(i);
  notify(i);
  if ((flags & kErrorFlag) && owner && owner != me) wake_slot(owner);
  drop(i);
}

void Arena::notify(u32 i) {
  Record& r = record(i);
  if (!r.waiter.load(std::memory_order_seq_cst)) return;
  u32 w = r.waiter.exchange(0, std::memory_order_seq_cst);
  if (w == kWaiterAll) {
    wake_all();
  } else if (w) {
    u32 who = w & ~kWaiterAsync;
    if (w & kWaiterAsync) {
      // The list of what was sealed is counted: the watcher gives the count back.
      hold(i);
      Slot& s = slot(who);
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
    if (!sealed(s)) {
      seal_alias(s, error_record, kErrorFlag);
      drop(s);
    }
  }
  record(i).first_return = 0;
}

// For tasks that have not started: whoever changes the state first wins.
bool Arena::fail_unsealed(u32 i, u32 error_record) {
  Record& r = record(i);
  u32 seen = r.state.load(std::memory_order_acquire);
  do {
    if ((seen & kStateMask) == kSealed || (seen & kStateMask) == kFree) return false;
  } while (!r.state.compare_exchange_weak(seen, kCreating, std::memory_order_acq_rel));
  if (r.kind == kTask || r.kind == kCall) seal_returns(i, error_record);
  hold(error_record);
  r.value_kind = kAlias;
  r.where = kInline;
  r.value_offset = error_record;
  seal(i, kErrorFlag);
  return true;
}

// The execution is over and the record sealed: its arguments and its count go.
void Arena::finish(u32 i, u32 entry_number) {
  Record& r = record(i);
  release_args(r);
  u32 function = r.function;
  r.function = 0;
  strike(entry_number);
  if (function) drop(function);
  drop(i);
}

}  // namespace shoal
