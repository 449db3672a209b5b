// The life of an arena and of a process in it; locks; futexes.
#include "arena.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

namespace shoal {

void panic(const char* where, const char* what) {
  std::fprintf(stderr, "shoal kernel: %s: %s\n", where, what);
  std::abort();
}

void futex_wait(atom<u32>& word, u32 expected, i64 timeout_ns) {
  timespec t;
  timespec* limit = nullptr;
  if (timeout_ns >= 0) {
    t.tv_sec = timeout_ns / 1'000'000'000;
    t.tv_nsec = timeout_ns % 1'000'000'000;
    limit = &t;
  }
  syscall(SYS_futex, reinterpret_cast<u32*>(&word), FUTEX_WAIT, expected, limit, nullptr, 0);
}

int futex_wake(atom<u32>& word, int count) {
  return int(syscall(SYS_futex, reinterpret_cast<u32*>(&word), FUTEX_WAKE, count, nullptr, nullptr, 0));
}

bool Arena::map(int descriptor) {
  struct stat s;
  if (fstat(descriptor, &s) != 0) return false;
  size_t bytes = size_t(s.st_size);
  void* rw = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, descriptor, 0);
  if (rw == MAP_FAILED) return false;
  void* ro = mmap(nullptr, bytes, PROT_READ, MAP_SHARED | MAP_NORESERVE, descriptor, 0);
  if (ro == MAP_FAILED) {
    munmap(rw, bytes);
    return false;
  }
  madvise(rw, bytes, MADV_DONTDUMP);
  madvise(ro, bytes, MADV_DONTDUMP);
  base = static_cast<u8*>(rw);
  view = static_cast<const u8*>(ro);
  head = reinterpret_cast<Header*>(base);
  fd = descriptor;
  return true;
}

Arena* Arena::create(u64 capacity_bytes, const std::string& spill_directory, u32 cores, const u8 session_id[8]) {
  if (spill_directory.size() >= kSpillPathBytes)
    throw Error{"the paths of the spill folders must be shorter than 4096 bytes together, but got " + spill_directory};
  if (std::count(spill_directory.begin(), spill_directory.end(), '\n') >= 32)
    throw Error{"there may be at most 32 spill folders, but got " + spill_directory};
  u64 pages = align_up(capacity_bytes, kPageBytes) / kPageBytes;
  if (pages < 16) throw Error{"capacity_bytes must be at least 1 MiB, but got " + std::to_string(capacity_bytes)};
  u64 at = align_up(sizeof(Header), 4096);
  u64 slots_at = at;
  at = align_up(at + u64(kMaxSlots) * sizeof(Slot), 4096);
  u64 queues_at = at;
  at = align_up(at + u64(kMaxQueues) * sizeof(Queue), 4096);
  u64 ledger_at = at;
  at = align_up(at + u64(kMaxLedgerChunks) * sizeof(LedgerChunk), 4096);
  u64 page_table_at = at;
  at = align_up(at + pages * sizeof(PageEntry), 4096);
  u64 past_tasks_at = at;
  at = align_up(at + u64(kPastTasks) * sizeof(PastTask), 4096);
  u64 segments_at = at;
  at = align_up(at + u64(kMaxSegments) * sizeof(u32), 4096);
  u64 records_at = align_up(at, kSegmentRecords * sizeof(Record));
  at = align_up(records_at + u64(kMaxRecords) * sizeof(Record), 2 << 20);
  u64 heap_at = at;
  u64 total = heap_at + pages * kPageBytes;

  int descriptor = memfd_create("shoal-arena", MFD_CLOEXEC);
  if (descriptor < 0) throw Error{std::string("memfd_create failed: ") + std::strerror(errno)};
  auto arena = std::make_unique<Arena>();
  if (ftruncate(descriptor, off_t(total)) != 0 || !arena->map(descriptor)) {
    int code = errno;
    close(descriptor);
    throw Error{std::string("cannot map an arena: ") + std::strerror(code)};
  }
  Header& h = *arena->head;
  h.total_bytes = total;
  h.capacity_bytes = pages * kPageBytes;
  std::memcpy(h.session_id, session_id, 8);
  h.cores = cores ? cores : 1;
  h.pages = u32(pages);
  h.slots_at = slots_at;
  h.queues_at = queues_at;
  h.ledger_at = ledger_at;
  h.page_table_at = page_table_at;
  h.segments_at = segments_at;
  h.records_at = records_at;
  h.past_tasks_at = past_tasks_at;
  h.heap_at = heap_at;
  std::memcpy(h.spill_directory, spill_directory.c_str(), spill_directory.size() + 1);
  h.slots_used = 1;      // slot 0 means none
  h.segments_used = 0;
  h.chunks_used = 1;     // chunk 0 means none
  h.queues_used = 2;     // queue 0 means none, queue 1 is the control queue
  h.magic = kMagic;
  arena->queue(1).flags = kQueueUsed | kQueueStream;
  return arena.release();
}

Arena* Arena::attach(int descriptor) {
  auto arena = std::make_unique<Arena>();
  if (!arena->map(descriptor)) throw Error{std::string("cannot map the arena: ") + std::strerror(errno)};
  if (arena->head->magic != kMagic) throw Error{"this is not an arena of this version of Shoal"};
  return arena.release();
}

Arena* Arena::share(const Arena& other) {
  auto arena = std::make_unique<Arena>();
  arena->base = other.base;
  arena->view = other.view;
  arena->head = other.head;
  arena->shared_ = true;
  return arena.release();
}

Arena::~Arena() {
  if (!base || shared_) return;
  u64 bytes = head->total_bytes;
  munmap(base, bytes);
  munmap(const_cast<u8*>(view), bytes);
  if (fd >= 0) close(fd);
}

u32 Arena::reserve_slot(u32 role) {
  lock(head->slot_lock);
  u32 i = head->free_slot;
  if (i) {
    head->free_slot = slot(i).next_free;
  } else if (head->slots_used < kMaxSlots) {
    i = head->slots_used++;
  }
  unlock(head->slot_lock);
  if (!i) throw Error{"a node has at most " + std::to_string(kMaxSlots) + " processes"};
  Slot& s = slot(i);
  u64 uid = s.uid_next ? s.uid_next : (u64(i) << 44) + 1;
  s.pid = 0;
  s.active = 0;
  s.uid_next = uid;
  s.ledger_first = 0;
  s.cache_head = s.cache_count = s.submitted = 0;
  for (u32 r = s.done_head.exchange(0), next; r; r = next) {  // what a late notice had left for the last process here
    next = record(r).done_next;
    drop(r);
  }
  s.wake_sleepers = 0;
  s.queue = s.running = s.blocked = s.sleeping = s.lent = s.kill_reason = 0;
  s.running_since_ns = 0;
  s.executed = 0;
  s.spinning = 0;
  s.onward = s.next_turn = s.sealing = s.sealing_more = s.failing = s.freeing = 0;
  s.alloc_offset = 0;
  s.role = role;
  return i;
}

void Arena::adopt_slot(u32 i) {
  me = i;
  self = &slot(i);
  self->pid = u32(getpid());
  free_entries_.clear();
  if (!is_daemon()) activate();  // the daemon sleeps but for moments
}

void Arena::release_slot(u32 i) {
  Slot& s = slot(i);
  s.role = kRoleNone;
  s.pid = 0;
  lock(head->slot_lock);
  s.next_free = head->free_slot;
  head->free_slot = i;
  unlock(head->slot_lock);
}

// True when the process is gone, or is a zombie that nobody has reaped yet.
static bool is_dead(u32 pid) {
  char path[40];
  std::snprintf(path, sizeof path, "/proc/%u/stat", pid);
  std::FILE* f = std::fopen(path, "re");
  if (!f) return true;
  char text[512];
  size_t n = std::fread(text, 1, sizeof text - 1, f);
  std::fclose(f);
  text[n] = 0;
  const char* paren = std::strrchr(text, ')');
  return !paren || paren[2] == 'Z' || paren[2] == 'X';
}

void Arena::lock(Lock& l, u32 queue_to_repair) {
  u32 mine = me + 1;
  for (int round = 0;; round++) {
    u32 seen = 0;
    if (l.holder.compare_exchange_weak(seen, mine, std::memory_order_acquire)) return;
    if (round < 200) {
      cpu_pause();
    } else if (round < 400) {
      sched_yield();
    } else {
      timespec t{0, 20'000};
      nanosleep(&t, nullptr);
      bool may_take = is_daemon() || (round % 4096 == 0 && is_dead(slot(kDaemonSlot).pid));
      if (seen && round % 64 == 0 && may_take && seen != mine && is_dead(slot(seen - 1).pid))
        take_from_dead(l, seen, queue_to_repair);
    }
  }
}

// Repairs what the lock guards while the dead process still counts as its holder, then opens it.
void Arena::take_from_dead(Lock& l, u32 holder, u32 queue_to_repair) {
  if (l.holder.load() != holder) return;
  if (&l == &head->heap_lock) {
    repair_heap();
    Slot& dead = slot(holder - 1);
    if (u64 noted = dead.alloc_offset.load(); noted && !block_is_taken(noted)) dead.alloc_offset.store(0);
  } else if (queue_to_repair) {
    repair_queue(queue_to_repair, holder - 1);
  }
  l.holder.compare_exchange_strong(holder, 0);
}

}  // namespace shoal
