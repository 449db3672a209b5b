// Queues: a table of them, FIFO lists of records, and the wake-ups of who serves them.
#include "arena.h"

namespace shoal {

u32 Arena::new_queue(u32 owner, u32 class_id, u32 flags) {
  lock(head->queue_lock);
  u32 i = head->free_queue;
  if (i) {
    head->free_queue = queue(i).next_free;
  } else if (head->queues_used < kMaxQueues) {
    i = head->queues_used++;
  }
  unlock(head->queue_lock);
  if (!i) throw Error{"a node has at most " + std::to_string(kMaxQueues) + " queues (actors, streams, scheduling classes)"};
  Queue& q = queue(i);
  q.lock.holder = 0;
  q.head = q.tail = 0;
  q.length = 0;
  q.class_id = class_id;
  q.owner = owner;
  q.servers = 0;
  q.sequence.fetch_add(1);
  q.sleepers = q.spinners = 0;
  q.error_record = 0;
  q.flags = flags | kQueueUsed;
  if (!(flags & kQueueStream)) self->submitted = 1;
  return i;
}

// Whatever is still in it goes: items of a stream are dropped, tasks must have been failed before (close_queue).
void Arena::free_queue(u32 i) {
  Queue& q = queue(i);
  if (!(q.flags & kQueueUsed)) return;
  for (u32 r; (r = pop_item(i));) drop(r);
  u32 error = q.error_record;
  q.error_record = 0;
  q.flags = 0;
  if (error) drop(error);
  lock(head->queue_lock);
  q.next_free = head->free_queue;
  head->free_queue = i;
  unlock(head->queue_lock);
}

// From now on everything pushed is sealed with the error. error_record is counted by the queue.
u32 Arena::close_queue(u32 i, u32 error_record) {
  Queue& q = queue(i);
  lock(q.lock, i);
  if (!q.error_record) {
    hold(error_record);
    q.error_record = error_record;
  }
  q.flags.fetch_or(kQueueClosed);
  u32 list = q.head;
  q.head = q.tail = 0;
  q.length = 0;
  unlock(q.lock);
  u32 n = 0;
  while (list) {
    u32 next = record(list).next;
    fail_unsealed(list, error_record);
    discard(list);
    n++;
    list = next;
  }
  q.sequence.fetch_add(1);
  futex_wake(q.sequence, 1 << 20);
  return n;
}

bool Arena::wake_queue(Queue& q, int count) {
  q.sequence.fetch_add(1, std::memory_order_seq_cst);
  return q.sleepers.load(std::memory_order_seq_cst) && futex_wake(q.sequence, count) > 0;
}

// Under the queue's lock.
void Arena::attach(Queue& q, u32 i, bool front) {
  Record& r = record(i);
  if (front) {
    r.next = q.head;
    q.head = i;
    if (!q.tail) q.tail = i;
  } else {
    r.next = 0;
    if (q.tail) {
      record(q.tail).next = i;
    } else {
      q.head = i;
    }
    q.tail = i;
  }
  q.length.store(q.length.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

void Arena::push(u32 qi, u32 i) {
  Queue& q = queue(qi);
  lock(q.lock, qi);
  attach(q, i, false);
  unlock(q.lock);
  if (q.flags.load(std::memory_order_relaxed) & kQueueStream) {
    wake_queue(q, 1);
  } else {
    announce(qi);
  }
}

// A pending record becomes a queued one: while the lock is free, a record is QUEUED exactly when it is in its queue, so that who
// repairs a death can tell. (Cancelled ones stay in the queue until they are popped.) `follower`: the call whose turn it is now;
// `actor`: its count goes from the record to the caller.
Arena::Link Arena::link(u32 qi, u32 i, bool front, u32* follower, u32* actor) {
  Queue& q = queue(qi);
  Record& r = record(i);
  lock(q.lock, qi);
  u32 seen = r.state.load(std::memory_order_acquire);
  bool closed = q.flags.load(std::memory_order_relaxed) & kQueueClosed;
  if (closed || (seen & kStateMask) != kPending) {
    unlock(q.lock);
    return closed ? Link::kQueueClosed : Link::kNotPending;
  }
  death_point();
  attach(q, i, front);
  death_point();
  // Flags stay: an actor may have lost its last handle while it waited for its arguments.
  while ((seen & kStateMask) == kPending &&
         !r.state.compare_exchange_weak(seen, (seen & kFlagsMask) | kQueued, std::memory_order_acq_rel)) {
  }
  death_point();
  *follower = take_follower(i);
  *actor = r.flags & kHoldsActor ? r.actor : 0;
  if (*actor) r.flags &= u8(~kHoldsActor);
  unlock(q.lock);
  return Link::kLinked;
}

// PENDING, with this process as the one that returns it; the execution's count goes over to the queue.
void Arena::return_to_queue(u32 i, bool front) {
  u32 qi = record(i).queue, follower = 0, actor = 0;
  Link linked = link(qi, i, front, &follower, &actor);
  if (linked == Link::kQueueClosed) fail_unsealed(i, queue(qi).error_record);
  if (linked == Link::kLinked) {
    announce(qi);
  } else {
    discard(i);
  }
  if (actor) drop(actor);  // who had queued it died before taking this count over
}

bool Arena::push_back(u32 i, u32 entry) {
  Record& r = record(i);
  note_onward(i, place_of(r));
  u32 seen = r.state.load(std::memory_order_acquire);
  do {
    if (seen & kCancelFlag) {
      self->onward.store(0, std::memory_order_release);
      return false;
    }
  } while (!r.state.compare_exchange_weak(seen, kPending | me << kReturnerShift, std::memory_order_acq_rel));
  death_point();
  strike(entry);
  death_point();
  return_to_queue(i, r.kind == kCall || r.kind == kCallStream);
  self->onward.store(0, std::memory_order_release);
  return true;
}

u32 Arena::pop_item(u32 qi) {
  Queue& q = queue(qi);
  if (!q.length.load(std::memory_order_acquire)) return 0;
  lock(q.lock, qi);
  u32 i = q.head;
  if (i) {
    q.head = record(i).next;
    if (!q.head) q.tail = 0;
    record(i).next = 0;
    q.length.store(q.length.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
  }
  unlock(q.lock);
  return i;
}

// All that are in the queue, linked by `next`.
u32 Arena::take_items(u32 qi) {
  Queue& q = queue(qi);
  lock(q.lock, qi);
  u32 first = q.head;
  q.head = q.tail = 0;
  q.length.store(0, std::memory_order_relaxed);
  unlock(q.lock);
  return first;
}

u32 Arena::pop_unread(u32 i) {
  Record& r = record(i);
  u32 qi = r.stream;
  Queue& q = queue(qi);
  while (q.length.load(std::memory_order_acquire)) {
    lock(q.lock, qi);
    u32 item = q.head;
    bool unread = false;
    if (item) {
      q.head = record(item).next;
      if (!q.head) q.tail = 0;
      record(item).next = 0;
      q.length.store(q.length.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
      unread = record(item).index > r.index;
      if (unread) r.index = record(item).index;
    }
    unlock(q.lock);
    if (!item) return 0;
    q.sequence.fetch_add(1);
    if (q.sleepers.load()) futex_wake(q.sequence, 1 << 20);
    if (unread) return item;
    drop(item);
  }
  return 0;
}

void Arena::assign(u32 si, u32 qi) {
  queue(qi).servers.fetch_add(1);
  slot(si).queue.store(qi);
  wake_slot(si);
}

// The worker takes nothing more from its queue. True: it is idle already, and will not begin anything.
bool Arena::unassign(u32 si) {
  Slot& s = slot(si);
  u32 qi = s.queue.load();
  if (!qi || qi == kQueueExit) return s.running.load() == 0;
  Queue& q = queue(qi);
  lock(q.lock, qi);
  s.queue.store(0);
  unlock(q.lock);
  q.servers.fetch_sub(1);
  q.sequence.fetch_add(1);
  futex_wake(q.sequence, 1 << 20);
  bool wanted = q.flags.fetch_and(~u32(kQueueWants)) & kQueueWants;
  if (wanted || q.length.load()) ring();
  return s.running.load() == 0;
}

void Arena::end_worker(u32 si) {
  unassign(si);
  slot(si).queue.store(kQueueExit);
  wake_slot(si);
}

// The next execution of a task queue or mailbox: RUNNING, and in this process's ledger.
u32 Arena::pop(u32 qi, bool check_assignment) {
  Queue& q = queue(qi);
  if (!q.length.load(std::memory_order_acquire)) return 0;
  for (;;) {
    lock(q.lock, qi);
    if (check_assignment && self->queue.load(std::memory_order_relaxed) != qi) {
      unlock(q.lock);
      return 0;
    }
    u32 i = q.head;
    if (!i) {
      unlock(q.lock);
      return 0;
    }
    Record& r = record(i);
    u32 entry = enter(i, kExecution);
    death_point();
    q.head = r.next;
    death_point();
    u32 left = q.length.load(std::memory_order_relaxed) - 1;
    q.length.store(left, std::memory_order_relaxed);
    if (!q.head) {
      q.tail = 0;
      if (q.flags.load(std::memory_order_relaxed) & kQueueWants) q.flags.fetch_and(~u32(kQueueWants));
    }
    r.next = 0;
    u32 expected = kQueued;
    bool mine = r.state.compare_exchange_strong(expected, kRunning, std::memory_order_acq_rel);
    if (mine) self->running.store(i, std::memory_order_relaxed);
    death_point();
    unlock(q.lock);
    death_point();
    // Somebody else may take what is left while this one runs.
    if (left && q.sleepers.load(std::memory_order_relaxed) && q.spinners.load(std::memory_order_relaxed) <= 0) wake_queue(q, 1);
    if (mine) {
      popped_entry = entry;
      return i;
    }
    strike(entry);
    discard(i);  // cancelled while it was queued; who follows it has had its turn
  }
}

}  // namespace shoal
