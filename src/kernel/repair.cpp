// What the daemon does for the dead: finish or undo what a process was in the middle of, and give its counts back.
#include "arena.h"

#include <unistd.h>

#include <algorithm>

namespace shoal {

// The lock is held by the dead: the list is walked, its end and length found anew, and what was being linked is.
void Arena::repair_queue(u32 qi, u32 dead) {
  Queue& q = queue(qi);
  u32 last = 0, n = 0;
  for (u32 i = q.head; i; i = record(i).next) {
    last = i;
    n++;
    if (i == slot(dead).onward.load()) finish_link(i, slot(dead));
  }
  q.tail = last;
  q.length = n;
  // Was it taking the first one? Still on the list: then nobody executes it. Off it: the dead process did.
  for (u32 c = slot(dead).ledger_first; c; c = chunk(c).next) {
    for (auto& e : chunk(c).entries) {
      if (e.kind.load() != kExecution) continue;
      Record& r = record(e.record.load());
      u32 queued = kQueued;
      if (e.record.load() == q.head) {
        e.kind.store(kEntryFree);
      } else if (r.queue == qi) {
        r.state.compare_exchange_strong(queued, kRunning);
      }
    }
  }
}

// From here on anybody may pop the record: who follows it is noted with the dead.
void Arena::finish_link(u32 i, Slot& dead) {
  Record& r = record(i);
  u32 seen = r.state.load();
  while ((seen & kStateMask) == kPending && !r.state.compare_exchange_weak(seen, (seen & kFlagsMask) | kQueued)) {
  }
  if (u32 f = take_follower(i)) {
    dead.next_turn_uid = record(f).uid;
    dead.next_turn.store(f);
  }
}

bool Arena::in_dependents(u32 of, u32 i) {
  u32 steps = 0;  // who releases the list may lead us astray from the one it has just taken off
  for (u32 r = record(of).dependents.load() & ~kClosed; r && steps < kMaxRecords; r = record(r).next, steps++)
    if (r == i) return true;
  return false;
}

// A dead process was to bring the record on from this place, or about to take it over with it. Unless it is in other hands by
// now, the daemon goes on.
void Arena::resume(u32 i, u32 noted) {
  Record& r = record(i);
  r.state.fetch_and(~kTurnFlag);
  u32 place = place_of(r), n = 0, d = 0;
  if (r.flags & kArgsHeld) {
    const u8* bytes = r.args_offset ? heap(r.args_offset) : r.args_inline;
    n = reinterpret_cast<const ArgsHead*>(bytes)->dependencies;
    if (place < n) d = reinterpret_cast<const u32*>(bytes + sizeof(ArgsHead))[place];
  }
  if (!pending(i)) {  // cancelled: its arguments may be gone
    give_turn(i);
    return;
  }
  if (place == noted && place >= n) {
    advance(i);
  } else if (place < n && (place == noted || place + 1 == noted) && !in_dependents(d, i)) {
    // While a list is open nobody takes anything off it: not on it means that the dead process did not come to put it there.
    // A list that is being released may have lost it to somebody who is about to go on: the exchange of its place decides.
    if (record(d).dependents.load() & kClosed) {
      go_on(i, place);
    } else {
      advance(i);
    }
  }
}

// Returns the record that it was giving back to its queue: the execution's count is with the queue.
u32 Arena::repair_onward(u32 dead) {
  Slot& s = slot(dead);
  u32 i = s.onward.exchange(0), turn = s.next_turn.exchange(0), returned = 0;
  if (i && turn && turn != i && record(i).follower.load() != turn && try_hold(turn)) {
    if (record(turn).uid == s.next_turn_uid) resume(turn, 0);
    drop(turn);
  }
  if (!i || !try_hold(i)) return 0;
  if (record(i).uid == s.onward_uid) {
    u32 seen = record(i).state.load();
    u32 returner = seen >> kReturnerShift;
    if ((seen & kStateMask) != kPending) {
      give_turn(i);
    } else if (!returner) {
      resume(i, s.onward_place);
    } else if (returner == dead) {
      return_to_queue(i, true);
      returned = i;
    }
  }
  drop(i);
  return returned;
}

// It died while it released what waited for a record: what is still linked is released here, and whoever may have missed a
// wake-up is woken.
void Arena::repair_sealing(Slot& s) {
  u32 done = s.sealing.exchange(0), more = s.sealing_more.exchange(0);
  if (!done) return;
  if (done == more) more = record(done).next;
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

void Arena::repair_ledger(u32 si, u32 returned, std::vector<DeadTask>& dead) {
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
      } else if (kind == kExecution && i != returned) {
        u32 state = r.state.load() & kStateMask;
        if (state == kSealed || state == kCreating) {  // it died before giving back, or as somebody else failed the record
          if (state == kSealed) {
            complete_origin(i);
            drop_returns(i);
          }
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
  r.state.store(kPending | me << kReturnerShift);
  return_to_queue(i, front);
  ring();
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
  u32 returned = repair_onward(si);
  repair_sealing(s);
  repair_failing(s, dead);
  for (u32 r = s.done_head.exchange(0), next; r; r = next) {
    next = record(r).done_next;
    drop(r);
  }
  repair_ledger(si, returned, dead);
  repair_cache(s);
  announce_everything();
  release_slot(si);
  return dead;
}

static bool is_submitted(const Record& r, u32 owner) {
  return r.owner == owner && r.kind != kObject && r.kind != kReturn && r.kind != kActor;
}

bool Arena::has_open_work(u32 owner) {
  u32 end = records_end();
  for (u32 i = next_record(0); i < end; i = next_record(i)) {
    u32 plain = record(i).state.load(std::memory_order_relaxed) & kStateMask;
    if (plain >= kPending && plain <= kRunning && is_submitted(record(i), owner)) return true;
  }
  return false;
}

std::vector<DeadTask> Arena::orphaned(u32 owner) {
  std::vector<DeadTask> found;
  u32 end = records_end();
  for (u32 i = next_record(0); i < end; i = next_record(i)) {
    Record& r = record(i);
    u32 plain = r.state.load(std::memory_order_relaxed) & kStateMask;
    // What runs is ended by who runs it, or by that one's death; actors by the daemon, which knows who outlives its owner.
    if (plain < kPending || plain >= kRunning || !is_submitted(r, owner)) continue;
    found.push_back(facts_of(i));
  }
  return found;
}

}  // namespace shoal
