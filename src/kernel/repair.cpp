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

void Arena::repair_push(Slot& s) {
  u32 i = s.push_record.load();
  if (!i) return;
  Record& r = record(i);
  if (r.uid == s.push_uid) {
    u32 state = r.state.load() & kStateMask;
    if ((state == kPending || state == kQueued) && !in_queue(s.push_queue, i) &&
        (r.state.load() & kStateMask) == state) {
      push_ready(i);
    } else {
      u32 f = r.follower.exchange(kClosed) & ~kClosed;
      if (f) advance(f);
    }
  }
  s.push_record.store(0);
}

// It died while releasing what waited for `completing`. Whatever still waits for that record waits for nobody.
void Arena::repair_completion(Slot& s) {
  u32 cursor = s.cursor.load();
  if (cursor && (record(cursor).state.load() & kStateMask) == kPending) {
    u32 d = waits_for(*this, record(cursor));
    if (!d || !in_dependents(d, cursor)) advance(cursor);
  }
  s.cursor.store(0);
  u32 done = s.completing.load();
  if (!done) return;
  record(done).dependents.fetch_or(kClosed);
  u32 end = std::min(head->segments_used.load(), kMaxRecords / kSegmentRecords) * kSegmentRecords;
  for (u32 i = 1; i < end; i++) {
    Record& r = record(i);
    if ((r.state.load(std::memory_order_relaxed) & kStateMask) != kPending || waits_for(*this, r) != done) continue;
    r.dep_cursor++;
    advance(i);
  }
  record(done).dependents.store(kClosed);
  notify(done);
  s.completing.store(0);
}

void Arena::repair_ledger(u32 si, std::vector<DeadTask>& dead) {
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
        if (r.where == kBlock) unlink(file_of(r.uid).c_str());
        r.pins.store(0);
        drop(i);
      } else if (kind == kExecution) {
        u32 state = r.state.load();
        if ((state & kStateMask) == kQueued) {
          if (in_queue(r.queue, i)) continue;
          r.state.store(kRunning);
        }
        if ((state & kStateMask) == kSealed) {  // it died between sealing and giving back
          release_args(r);
          drop(i);
          continue;
        }
        dead.push_back({i, r.uid, r.queue, r.retries_left, r.owner, r.function, r.kind, (state & kCancelFlag) != 0});
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
  head->active.fetch_sub(s.active.exchange(0));
  if (u64 offset = s.alloc_offset.exchange(0)) {
    Record& r = record(s.alloc_record);
    if (r.args_offset != offset && !(r.where == kBlock && r.value_offset == offset)) free_block(offset);
  }
  u32 served = s.queue.load();
  if (served && served != kQueueExit) {
    Queue& q = queue(served);
    q.servers.fetch_sub(1);
    if (s.sleeping.exchange(0)) q.sleepers.fetch_sub(1);
    if (s.spinning.exchange(0)) q.spinners.fetch_sub(1);
    announce(served);
  }
  for (u32 q = 1; s.role == kRoleActor && q < head->queues_used; q++) {
    Queue& it = queue(q);
    if ((it.flags & kQueueMailbox) && it.class_id == si) {
      it.sleepers.store(0);
      it.spinners.store(0);
      it.class_id = 0;
    }
  }
  repair_push(s);
  repair_completion(s);
  repair_ledger(si, dead);
  if (s.cache_head) {
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
  release_slot(si);
  return dead;
}

std::vector<DeadTask> Arena::orphaned(u32 owner) {
  std::vector<DeadTask> found;
  u32 end = std::min(head->segments_used.load(), kMaxRecords / kSegmentRecords) * kSegmentRecords;
  for (u32 i = 1; i < end; i++) {
    Record& r = record(i);
    u32 state = r.state.load(std::memory_order_relaxed);
    u32 plain = state & kStateMask;
    if (r.owner != owner || plain < kPending || plain > kRunning || r.kind == kObject || r.kind == kReturn) continue;
    found.push_back({i, r.uid, r.queue, r.retries_left, r.owner, r.function, r.kind, (state & kCancelFlag) != 0});
  }
  return found;
}

}  // namespace shoal
