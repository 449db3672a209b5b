// The daemon's part, and what must be true when everybody is at rest.
#include <algorithm>
#include <bit>

#include "process.h"

namespace shoal {

// Sees the inside of the heap.
class HeapTest {
 public:
  static u64 blocks(Arena& a) {
    Header& h = *a.head;
    u64 used_pages = 0, blocks = 0, warm = 0;
    for (u32 p = 1; p < h.pages_high;) {
      PageEntry& e = a.page(p);
      stress::expect(e.length > 0 && p + e.length <= h.pages_high, "the page table can't be walked");
      if (e.kind == kPageFree) {
        if (e.stamp_s) warm += e.length;
      } else if (e.kind == kPageSlab) {
        SlabHead* s = reinterpret_cast<SlabHead*>(a.heap(u64(p) * kPageBytes));
        u32 used = 0;
        for (u64 word : s->bitmap) used += u32(std::popcount(word));
        stress::expect(used == s->used, "a slab's count is not what its bitmap says");
        stress::expect((used < s->blocks) == (s->listed != 0), "a slab with room is not listed, or a full one is");
        blocks += used;
        used_pages += e.length;
      } else {
        stress::expect(e.kind == kPageRun, "a page of no kind");
        blocks++;
        used_pages += e.length;
      }
      p += e.length;
    }
    stress::expect(used_pages == h.used_pages.load(), "the count of used pages is wrong");
    stress::expect(warm == h.warm_pages.load(), "the count of warm pages is wrong");
    return blocks;
  }
};

}  // namespace shoal

namespace shoal::stress {

u64 blocks_in_use(Arena& arena) { return HeapTest::blocks(arena); }

u64 check_at_rest(Arena& a) {
  Header& h = *a.head;
  expect(!h.heap_lock.holder && !h.slot_lock.holder && !h.queue_lock.holder, "a lock of the header is held");
  for (u32 q = 1; q < h.queues_used; q++) {
    Queue& it = a.queue(q);
    expect(!it.lock.holder, "a queue's lock is held");
    if (!(it.flags & kQueueUsed)) continue;
    u32 n = 0;
    for (u32 i = it.head; i; i = a.record(i).next) n++;
    expect(n == it.length, "a queue's length is wrong");
  }
  for (u32 p = 1; p < h.pages_high; p += a.page(p).length) {
    u32 next = p + a.page(p).length;
    bool apart = a.page(p).kind == kPageFree && next < h.pages_high && a.page(next).kind == kPageFree;
    expect(!apart, "free memory lies side by side and is not one run");
  }
  u64 live = 0;
  u32 end = a.records_end();
  for (u32 i = a.next_record(0); i < end; i = a.next_record(i)) live += (a.record(i).state.load() & kStateMask) != kFree;
  return live;
}

void Daemon::remove_worker(u32 slot) { std::erase(workers_, slot); }

u32 Daemon::free_worker(u32 queue) {
  Arena& a = process_.arena();
  for (u32 w : workers_)
    if (!a.slot(w).queue.load() && !a.slot(w).running.load()) return w;
  for (u32 w : workers_) {  // one that has nothing to do gives its lease back
    Slot& s = a.slot(w);
    u32 served = s.queue.load();
    if (served && served != kQueueExit && served != queue && !s.running.load() && !a.queue(served).length.load() && a.unassign(w))
      return w;
  }
  return 0;
}

bool Daemon::look() {
  Arena& a = process_.arena();
  bool met = true;
  for (u32 qi : queues_) {
    Queue& q = a.queue(qi);
    if ((q.flags.load() & kQueueWants) && !q.length.load()) {
      q.flags.fetch_and(~u32(kQueueWants));
      std::atomic_thread_fence(std::memory_order_seq_cst);
      if (q.length.load()) q.flags.fetch_or(kQueueWants);
    }
    u32 idle = 0, leased = 0;
    for (u32 w : workers_) {
      if (a.slot(w).queue.load() != qi) continue;
      leased++;
      idle += a.slot(w).running.load() == 0;
    }
    if (q.length.load() <= idle) continue;
    if (u32 w = free_worker(qi)) {
      a.assign(w, qi);
    } else if (!leased) {
      met = false;
      u32 victim = workers_.empty() ? 0 : workers_[process_.random(workers_.size())];
      if (victim && a.slot(victim).queue.load()) a.unassign(victim);  // its time slice is over
    }
  }
  return met;
}

void Daemon::wait_and_look(i64 timeout_ns) {
  Arena& a = process_.arena();
  Header& h = *a.head;
  h.doorbell_sleeper.store(1);
  u32 now = h.doorbell.load();
  if (now == seen_ && !again_) futex_wait(h.doorbell, now, timeout_ns);
  seen_ = h.doorbell.load();
  bool met = look();
  h.starving.store(!met);
  for (int n = 0; !met && n < 8; n++) {
    timespec t{0, 500'000};
    nanosleep(&t, nullptr);
    met = look();
  }
  h.starving.store(!met);
  again_ = !met;
}

}  // namespace shoal::stress
