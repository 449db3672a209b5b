// What the daemon does for the dead: finish or undo what a process was in the middle of, and give its counts back.
#include "arena.h"

#include <unistd.h>

#include <algorithm>

namespace shoal {

// The lock is held by the dead (or by the caller): the list is walked, its end and length found anew.
void Arena::repair_queue(u32 qi) {
  Queue& q = queue(qi);
  u32 last = 0, n = 0;
  for (u32 i = q.head; i; i = record(i).next) {
    last = i;
    n++;
  }
  q.tail = last;
  q.length = n;
}

bool Arena::in_queue(u32 qi, u32 i) {
  Queue& q = queue(qi);
  lock(q.lock, qi);
  bool found = false;
  for (u32 r = q.head; r && !found; r = record(r).next) found = r == i;
  unlock(q.lock);
  return found;
}

static u32 waits_for(const Arena& a, const Record& r) {
  if (!(r.flags & kArgsHeld)) return 0;
  const u8* bytes = r.args_offset ? a.heap(r.args_offset) : r.args_inline;
  u32 n = reinterpret_cast<const ArgsHead*>(bytes)->dependencies;
  return r.dep_cursor < n ? reinterpret_cast<const u32*>(bytes + sizeof(ArgsHead))[r.dep_cursor] : 0;
}

bool Arena::in_dependents(u32 of, u32 i) {
  for (u32 r = record(of).dependents.load() & ~kClosed; r; r = record(r).next)
    if (r == i) return true;
  return false;
}

// Returns the record whose push it finished: its execution's count is with the queue.
u32 Arena::repair_push(Slot& s) {
  u32 i = s.push_record.exchange(0);
  if (!i || record(i).uid != s.push_uid) return 0;
  Record& r = record(i);
  u32 state = r.state.load() & kStateMask;
  bool begun = state == kPending || state == kQueued;
  // Somebody who had popped it may be giving it back at this moment: that one links it.
  auto pushed_by_other = [&] {
    for (u32 k = 1; k < head->slots_used; k++)
      if (&slot(k) != &s && slot(k).role != kRoleNone && slot(k).push_record.load() == i) return true;
    return false;
  };
  if (begun && !pushed_by_other() && !in_queue(s.push_queue, i) && !pushed_by_other() &&
      (r.state.load() & kStateMask) == state) {
    push_ready(i, true);
  } else if (u32 f = r.follower.exchange(kClosed) & ~kClosed) {
    advance(f);
  }
  return i;
}

// It died while it released what waited for a record: what is still linked is released here, and whoever may have missed a
// wake-up is woken.
void Arena::repair_sealing(Slot& s) {
  u32 done = s.sealing.exchange(0), more = s.sealing_more.exchange(0), taken = s.cursor.exchange(0);
  if (!done && !taken) return;
  if (done == more) more = done ? u32(record(done).next) : 0;
  if (taken && record(taken).uid == s.cursor_uid && !(done && in_dependents(done, taken))) {
    Record& r = record(taken);
    if ((r.state.load() & kStateMask) == kPending) {
      u32 d = waits_for(*this, r);
      if (d && d == done) {
        go_on(taken);
      } else if (!d || !in_dependents(d, taken)) {
        advance(taken);
      }
    }
  }
  while (done) {
    if (sealed(done)) complete(done);
    drop(done);
    done = more;
    more = more ? u32(record(more).next) : 0;
  }
  wake_all();
}

DeadTask Arena::facts_of(u32 i) const {
  const Record& r = record(i);
  bool cancelled = r.state.load() & kCancelFlag;
  return {i, r.uid, r.queue, r.retries_left, r.owner, r.function, r.kind, cancelled};
}

// It had taken a record that was not to run any more, and did not come to seal it: the daemon fails it.
void Arena::repair_failing(Slot& s, std::vector<DeadTask>& dead) {
  u32 i = s.failing.exchange(0);
  if (!i || record(i).uid != s.failing_uid || (record(i).state.load() & kStateMask) != kCreating) return;
  DeadTask task = facts_of(i);
  task.cancelled = true;
  dead.push_back(task);
}

void Arena::repair_ledger(u32 si, u32 pushed, std::vector<DeadTask>& dead) {
  Slot& s = slot(si);
  u32 next;
  for (u32 c = s.ledger_first; c; c = next) {
    LedgerChunk& held = chunk(c);
    for (auto& e : held.entries) {
      u32 kind = e.kind.load();
      u32 i = e.record.load();
      if (kind == kEntryFree) continue;
      e.kind.store(kEntryFree);
      Record& r = record(i);
      if (kind == kHandle) {
        drop(i);
      } else if (kind == kPin) {
        r.pins.fetch_sub(1);
        drop(i);
      } else if (kind == kSpill) {
        u32 mine = kSpilling | si;
        if (r.pins.load() == mine) {
          if (r.where == kBlock) unlink(file_of(r.uid).c_str());
          r.pins.compare_exchange_strong(mine, 0);
        }
        drop(i);
      } else if (kind == kExecution && i != pushed) {
        u32 state = r.state.load() & kStateMask;
        if (state == kQueued && in_queue(r.queue, i)) continue;
        if (state == kQueued) r.state.store(kRunning);
        if (state == kSealed || state == kCreating) {  // it died before giving back, or as somebody else failed the record
          return_args(r);
          drop(i);
          continue;
        }
        dead.push_back(facts_of(i));
      }
    }
    next = held.next;
    u64 top = head->free_chunks.load();
    do {
      held.next = u32(top);
    } while (!head->free_chunks.compare_exchange_weak(top, ((top >> 32) + 1) << 32 | c));
  }
  s.ledger_first = 0;
}

// What a dead process had begun to write.
void Arena::forget_begun_value(u32 i) {
  Record& r = record(i);
  if (r.where != kBlock || r.value_kind != kNoValue || sealed(i)) return;
  free_block(r.value_offset);
  r.where = kInline;
}

// An execution that died goes back to its queue.
void Arena::requeue(u32 i, bool front, bool use_retry) {
  Record& r = record(i);
  if (use_retry && r.retries_left > 0) r.retries_left--;
  r.attempt++;
  forget_begun_value(i);
  for (u32 s = r.first_return; s; s = record(s).sibling) forget_begun_value(s);
  restart_stream(r);
  r.state.store(kQueued);
  u32 q = r.queue;
  if (push(q, i, front)) {
    ring();
    return;
  }
  fail_unsealed(i, queue(q).error_record);
  return_args(r);
  drop(i);
}

u32 Arena::executor_of(u32 i) const {
  for (u32 si = 1; si < head->slots_used; si++) {
    Slot& s = slot(si);
    if (s.role == kRoleNone) continue;
    if (s.running.load() == i) return si;
    for (u32 c = s.ledger_first; c; c = chunk(c).next)
      for (auto& e : chunk(c).entries)
        if (e.kind.load() == kExecution && e.record.load() == i) return si;
  }
  return 0;
}

bool Arena::fail_abandoned(u32 i, u32 error_record) {
  Record& r = record(i);
  bool ran = (r.state.load() & kStateMask) == kRunning && r.kind != kActor;
  if (ran && executor_of(i)) return false;
  if (!fail_unsealed(i, error_record)) return false;
  if (ran) {  // nobody else gives the execution's count back
    return_args(r);
    drop(i);
  }
  return true;
}

// Where it was counted: among the busy, the servers, sleepers and spinners of queues.
void Arena::repair_counts(u32 si) {
  Slot& s = slot(si);
  head->active.fetch_sub(s.active.exchange(0));
  u32 served = s.queue.exchange(0);
  if (served && served != kQueueExit) queue(served).servers.fetch_sub(1);
  u32 sleeping = s.sleeping.exchange(0), spinning = s.spinning.exchange(0);
  if (s.role == kRoleActor) {  // several of its threads may wait, and only for its own mailboxes
    for (u32 q = 1; q < head->queues_used; q++) {
      Queue& it = queue(q);
      if (!(it.flags & kQueueMailbox) || it.class_id != si) continue;
      it.sleepers.store(0);
      it.spinners.store(0);
      it.class_id = 0;
    }
    return;
  }
  if (sleeping) queue(sleeping).sleepers.fetch_sub(1);
  if (spinning) queue(spinning).spinners.fetch_sub(1);
}

void Arena::repair_cache(Slot& s) {
  u32 list = s.cache_head;
  s.cache_head = s.cache_count = 0;
  while (list) {  // through our own cache, which overflows to everybody's
    u32 next = record(list).next;
    record(list).next = self->cache_head;
    self->cache_head = list;
    self->cache_count++;
    list = next;
  }
  drop_cache();
}

// Of what was pushed and not told to anybody yet.
void Arena::announce_everything() {
  for (u32 i = 2; i < head->queues_used; i++) {
    Queue& q = queue(i);
    u32 flags = q.flags.load();
    if ((flags & kQueueUsed) && !(flags & kQueueStream) && q.length.load()) announce(i);
  }
  ring();
}

std::vector<DeadTask> Arena::repair_slot(u32 si) {
  Slot& s = slot(si);
  std::vector<DeadTask> dead;
  if (s.role == kRoleNone) return dead;
  // Locks first: the rest of the repair takes them.
  u32 holder = si + 1;
  if (head->heap_lock.holder == holder) take_from_dead(head->heap_lock, holder, 0);
  if (head->slot_lock.holder == holder) take_from_dead(head->slot_lock, holder, 0);
  if (head->queue_lock.holder == holder) take_from_dead(head->queue_lock, holder, 0);
  for (u32 q = 1; q < head->queues_used; q++)
    if (queue(q).lock.holder == holder) take_from_dead(queue(q).lock, holder, q);
  repair_counts(si);
  if (u64 offset = s.alloc_offset.exchange(0)) {
    Record& r = record(s.alloc_record);
    if (r.args_offset != offset && !(r.where == kBlock && r.value_offset == offset)) free_block(offset);
  }
  u32 pushed = repair_push(s);
  repair_sealing(s);
  repair_failing(s, dead);
  for (u32 r = s.done_head.exchange(0), next; r; r = next) {
    next = record(r).done_next;
    drop(r);
  }
  repair_ledger(si, pushed, dead);
  repair_cache(s);
  announce_everything();
  release_slot(si);
  return dead;
}

std::vector<DeadTask> Arena::orphaned(u32 owner) {
  std::vector<DeadTask> found;
  u32 end = records_end();
  for (u32 i = next_record(0); i < end; i = next_record(i)) {
    Record& r = record(i);
    u32 plain = r.state.load(std::memory_order_relaxed) & kStateMask;
    // What runs is ended by who runs it, or by that one's death; actors by the daemon, which knows who outlives its owner.
    if (r.owner != owner || plain < kPending || plain >= kRunning || r.kind == kObject || r.kind == kReturn || r.kind == kActor)
      continue;
    found.push_back(facts_of(i));
  }
  return found;
}

}  // namespace shoal
