// Waiting: spin while a core is free for it, then sleep on a futex. Never with the GIL.
#include "arena.h"

#include <cerrno>

namespace shoal {

static constexpr u64 kSpinNs = 50'000;
// A signal that comes just before the sleep does not end it: whoever may be interrupted looks up now and then.
static constexpr i64 kLookUpNs = 500'000'000;

template <class Condition> bool Arena::spin(Condition condition) {
  if (condition()) return true;
  if (!may_spin()) return false;
  u64 end = now_ns() + kSpinNs;
  do {
    for (int i = 0; i < 40; i++) {
      if (condition()) return true;
      cpu_pause();
    }
  } while (may_spin() && now_ns() < end);
  return false;
}

// An execution gives up its CPU while this lives: the daemon is told when others starve, and when it had lent the CPU.
struct Blocked {
  Blocked(Arena& arena, bool counted) : a(arena), executes(counted && a.self->running.load(std::memory_order_relaxed)) {
    if (!executes) return;
    a.self->blocked.fetch_add(1);
    if (a.head->starving.load()) a.ring();
  }
  ~Blocked() {
    if (!executes) return;
    a.self->blocked.fetch_sub(1);
    if (a.self->lent.load()) a.ring();
  }
  Blocked(const Blocked&) = delete;
  Blocked& operator=(const Blocked&) = delete;

  Arena& a;
  bool executes;
};

// Sleeps on this slot's word until the condition holds.
template <class Condition> Arena::Wait Arena::sleep(Condition condition, i64 deadline_ns, bool counted) {
  Slot& s = *self;
  Blocked blocked(*this, counted);
  if (counted) deactivate();
  Wait result = Wait::kReady;
  s.wake_sleepers.fetch_add(1, std::memory_order_seq_cst);
  for (;;) {
    u32 seen = s.wake.load(std::memory_order_seq_cst);
    if (condition()) break;
    i64 left = -1;
    if (deadline_ns >= 0) {
      left = deadline_ns - i64(now_ns());
      if (left <= 0) {
        result = Wait::kTimedOut;
        break;
      }
    }
    errno = 0;
    bool looks_up = counted && (left < 0 || left > kLookUpNs);
    futex_wait(s.wake, seen, looks_up ? kLookUpNs : left);
    if (errno == EINTR || (looks_up && errno == ETIMEDOUT)) {
      result = condition() ? Wait::kReady : Wait::kInterrupted;
      break;
    }
  }
  s.wake_sleepers.fetch_sub(1);
  if (counted) activate();
  return result;
}

void Arena::arm(u32 i, u32 mine) {
  atom<u32>& waiter = record(i).waiter;
  u32 seen = waiter.load(std::memory_order_seq_cst);
  for (;;) {
    u32 wanted = mine;
    if (seen == mine || seen == kWaiterAll || seen == (mine | kWaiterAsync)) return;
    if (seen && (seen & ~kWaiterAsync) != (mine & ~kWaiterAsync)) wanted = kWaiterAll;
    if (waiter.compare_exchange_weak(seen, wanted, std::memory_order_seq_cst)) return;
  }
}

Arena::Wait Arena::wait_sealed(u32 i, i64 deadline_ns) {
  if (spin([&] { return sealed(i); })) return Wait::kReady;
  return sleep(
      [&] {
        if (sealed(i)) return true;
        arm(i, me);
        return sealed(i);
      },
      deadline_ns, true);
}

bool Arena::has_item(u32 i) const {
  const Record& r = record(i);
  return r.stream && queue(r.stream).length.load(std::memory_order_acquire) > 0;
}

Arena::Wait Arena::wait_some(const std::vector<u32>& records, u32 need, i64 deadline_ns) {
  auto count = [&] {
    u32 n = 0;
    for (u32 i : records)
      if (arrived(i) && ++n >= need) return true;
    return false;
  };
  if (spin(count)) return Wait::kReady;
  for (u32 i : records)
    if (!sealed(i & ~kItemCounts)) arm(i & ~kItemCounts, me);
  return sleep(
      [&] {
        if (count()) return true;
        for (u32 awaited : records) {  // a stream's notice is used up by each item
          u32 i = awaited & ~kItemCounts;
          if (record(i).stream && !sealed(i)) arm(i, me);
        }
        return count();
      },
      deadline_ns, true);
}

Arena::Wait Arena::wait_work(u32 qi, i64 deadline_ns, bool check_assignment, bool counted) {
  Slot& s = *self;
  Queue& q = queue(qi);
  auto work = [&] {
    return q.length.load(std::memory_order_acquire) > 0 || (q.flags.load(std::memory_order_relaxed) & kQueueClosed) ||
           (check_assignment && s.queue.load(std::memory_order_relaxed) != qi);
  };
  if (counted) {
    s.spinning.store(qi);
    q.spinners.fetch_add(1, std::memory_order_seq_cst);
    spin(work);
    q.spinners.fetch_sub(1, std::memory_order_seq_cst);
    s.spinning.store(0);
  }
  if (work()) return Wait::kReady;
  if (check_assignment && head->starving.load()) ring();
  q.sleepers.fetch_add(1, std::memory_order_seq_cst);
  s.sleeping.store(qi);
  if (counted) deactivate();
  Wait result = Wait::kReady;
  for (;;) {
    u32 seen = q.sequence.load(std::memory_order_seq_cst);
    if (work()) break;
    i64 left = -1;
    if (deadline_ns >= 0) {
      left = deadline_ns - i64(now_ns());
      if (left <= 0) {
        result = Wait::kTimedOut;
        break;
      }
    }
    errno = 0;
    futex_wait(q.sequence, seen, left);
    if (errno == EINTR) {
      result = Wait::kInterrupted;
      break;
    }
  }
  if (counted) activate();
  s.sleeping.store(0);
  q.sleepers.fetch_sub(1);
  return result;
}

// Spins while none of the queues has work: for a loop that sleeps elsewhere. Pushers leave the waking to it meanwhile.
bool Arena::spin_work(const std::vector<u32>& queues) {
  for (u32 q : queues) queue(q).spinners.fetch_add(1, std::memory_order_seq_cst);
  auto work = [&] {
    for (u32 q : queues)
      if (queue(q).length.load(std::memory_order_acquire) > 0) return true;
    return false;
  };
  spin(work);
  for (u32 q : queues) queue(q).spinners.fetch_sub(1, std::memory_order_seq_cst);
  return work();
}

// A stream's producer waits until fewer than `limit` items are unread. kReady also when nobody reads any more.
Arena::Wait Arena::wait_room(u32 qi, u32 limit, u32 task, i64 deadline_ns) {
  Queue& q = queue(qi);
  auto room = [&] {
    return q.length.load(std::memory_order_acquire) < limit || record(task).count.load() <= 1 ||
           (record(task).state.load() & kCancelFlag);
  };
  if (spin(room)) return Wait::kReady;
  Blocked blocked(*this, true);
  q.sleepers.fetch_add(1);
  deactivate();
  Wait result = Wait::kReady;
  while (!room()) {
    u32 seen = q.sequence.load();
    if (room()) break;
    i64 left = deadline_ns < 0 ? -1 : deadline_ns - i64(now_ns());
    if (deadline_ns >= 0 && left <= 0) {
      result = Wait::kTimedOut;
      break;
    }
    errno = 0;
    futex_wait(q.sequence, seen, left);
    if (errno == EINTR) {
      result = Wait::kInterrupted;
      break;
    }
  }
  activate();
  q.sleepers.fetch_sub(1);
  return result;
}

// The record may be another's by now; waking for nothing does no harm.
void Arena::wake_producer(u32 i) {
  const Record& r = record(i);
  u32 qi = r.stream;
  if (qi && (r.kind == kStream || r.kind == kCallStream)) wake_queue(queue(qi), 1 << 20);
}

Arena::Wait Arena::wait_wake(u32 seen, i64 deadline_ns) {
  return sleep([&] { return self->wake.load() != seen; }, deadline_ns, false);
}

}  // namespace shoal
