// Records: where they come from, what they hold, how they are given back.
#include "arena.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <unordered_map>

namespace shoal {

// A stack of records shared by all processes; the tag makes the exchange safe against reuse.
static void push_chain(Arena& a, atom<u64>& stack, u32 first, u32 last) {
  u64 seen = stack.load(std::memory_order_relaxed);
  u64 next;
  do {
    a.record(last).next = u32(seen);
    next = ((seen >> 32) + 1) << 32 | first;
  } while (!stack.compare_exchange_weak(seen, next, std::memory_order_acq_rel));
}

static u32 take_chain(Arena& a, atom<u64>& stack, u32 wanted, u32* taken) {
  u64 seen = stack.load(std::memory_order_acquire);
  for (;;) {
    u32 first = u32(seen);
    if (!first) return 0;
    u32 last = first, n = 1;
    while (n < wanted) {
      u32 next = a.record(last).next;
      if (!next || next >= kMaxRecords) break;
      last = next;
      n++;
    }
    u64 rest = ((seen >> 32) + 1) << 32 | a.record(last).next;
    if (stack.compare_exchange_weak(seen, rest, std::memory_order_acq_rel)) {
      a.record(last).next = 0;
      *taken = n;
      return first;
    }
  }
}

// Free segments are linked in the table of segments by their number + 1.
static u32 take_segment(Arena& a) {
  Header& h = *a.head;
  u64 seen = h.free_segments.load(std::memory_order_acquire);
  while (u32(seen)) {
    u32 s = u32(seen) - 1;
    u64 next = ((seen >> 32) + 1) << 32 | a.segment(s).load();
    if (h.free_segments.compare_exchange_weak(seen, next, std::memory_order_acq_rel)) {
      a.segment(s).store(kSegmentUsed);
      return s;
    }
  }
  u32 s = h.segments_used.fetch_add(1);
  if (s >= kMaxSegments) panic("records", "more than 32 million records are in use");
  a.segment(s).store(kSegmentUsed);
  return s;
}

static void fill_cache(Arena& a) {
  Slot& me = *a.self;
  u32 taken = 0;
  u32 first = take_chain(a, a.head->free_records, kRecordCache / 2, &taken);
  if (!first) {
    u32 s = take_segment(a);
    u32 start = s * kSegmentRecords + (s == 0 ? 1 : 0);  // record 0 means none
    u32 end = (s + 1) * kSegmentRecords;
    for (u32 i = start; i < end; i++) {
      a.record(i).state.store(kFree, std::memory_order_relaxed);
      a.record(i).next = i + 1 < end ? i + 1 : 0;
    }
    u32 keep = kRecordCache / 2;
    u32 last_kept = start + keep - 1;
    u32 rest = a.record(last_kept).next;
    a.record(last_kept).next = 0;
    push_chain(a, a.head->free_records, rest, end - 1);
    first = start;
    taken = keep;
  }
  me.cache_head = first;
  me.cache_count = taken;
}

u32 Arena::new_record(u8 kind) {
  Slot& s = *self;
  if (!s.cache_head) fill_cache(*this);
  u32 i = s.cache_head;
  Record& r = record(i);
  s.cache_head = r.next;
  s.cache_count--;
  r.uid = s.uid_next++;
  r.count.store(0, std::memory_order_relaxed);
  r.dependents.store(0, std::memory_order_relaxed);
  r.follower.store(0, std::memory_order_relaxed);
  r.next = 0;
  r.waiter.store(0, std::memory_order_relaxed);
  r.kind = kind;
  r.value_kind = kNoValue;
  r.where = kInline;
  r.flags = 0;
  r.value_offset = r.value_size = 0;
  r.queue = r.function = 0;
  r.args_offset = 0;
  r.args_size.store(0, std::memory_order_relaxed);
  r.place.store(first_place(r), std::memory_order_relaxed);
  r.retries_left = 0;
  r.num_returns = 1;
  r.first_return = r.sibling = r.stream = r.index = 0;
  r.pins.store(0, std::memory_order_relaxed);
  r.owner = me;
  r.origin.store(0, std::memory_order_relaxed);
  r.actor = r.produced = r.attempt = 0;
  r.queued_ns = r.started_ns = r.finished_ns = r.parent = 0;
  r.state.store(kCreating, std::memory_order_release);
  return i;
}

static const u8* args_bytes(const Arena& a, const Record& r) { return r.args_offset ? a.heap(r.args_offset) : r.args_inline; }

void Arena::release_args(Record& r) {
  if (r.flags & kArgsHeld) {
    r.flags &= u8(~kArgsHeld);
    ArgsHead h;
    const u8* bytes = args_bytes(*this, r);
    std::memcpy(&h, bytes, sizeof h);
    const u32* held = reinterpret_cast<const u32*>(bytes + sizeof h);
    for (u32 i = 0; i < h.dependencies + h.nested; i++) drop(held[i] & kRecordMask);  // of an origin, with a number above
  }
  if (r.args_offset) {
    u64 offset = r.args_offset;
    r.args_offset = 0;
    free_block(offset);
  }
  r.args_size.store(0, std::memory_order_release);  // last: from here on whoever spills the value may use the place
}

// References of a value that went to a file stay in memory, in the arguments' place (see spill.cpp).
void Arena::drop_spilled_references(Record& r) {
  const u32* held = reinterpret_cast<const u32*>(args_bytes(*this, r));
  for (u32 i = 0; i < r.args_size / 4; i++) drop(held[i]);
}

void Arena::release_value(Record& r) {
  u8 kind = r.value_kind;
  r.value_kind = kNoValue;
  if (kind == kAlias) {
    drop(u32(r.value_offset));
    if (r.where == kFile) drop_spilled_references(r);  // it was lost, and has been computed again
    return;
  }
  if (kind == kPack || kind == kRefList || kind == kRefTuple) {
    const u8* bytes = r.where == kBlock ? heap(r.value_offset) : r.value_inline;
    u32 n = 0;
    const u32* held = nullptr;
    if (r.where == kFile) {
      drop_spilled_references(r);
    } else if (kind == kPack) {
      n = reinterpret_cast<const PackHead*>(bytes)->references;
      held = reinterpret_cast<const u32*>(bytes + sizeof(PackHead));
    } else {
      n = u32(r.value_size / 4);
      held = reinterpret_cast<const u32*>(bytes);
    }
    for (u32 i = 0; i < n; i++) drop(held[i]);
  }
  if (r.where == kBlock) {
    free_block(r.value_offset);
  } else if (r.where == kFile) {
    unlink(file_of(r.uid).c_str());
    head->spilled_bytes.fetch_sub(r.value_size);
    head->spilled_objects.fetch_sub(1);
  }
  r.where = kInline;
}

// Notes what state lists will say of a finished task. Whoever dies in here leaves an entry that nobody reads.
void Arena::remember_task(u32 i) {
  Record& r = record(i);
  u32 state = r.state.load(std::memory_order_relaxed);
  if ((state & kStateMask) != kSealed || !r.function) return;
  u64 number = head->past_tasks.fetch_add(1, std::memory_order_relaxed) + 1;
  PastTask& p = past_task(number);
  p.number.store(0, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  std::memset(p.id, 0xff, sizeof p.id);
  u64 uid = r.uid;
  u32 job = slot(r.owner).job;
  for (int k = 0; k < 8; k++) p.id[k] = u8(uid >> (8 * (7 - k)));
  for (int k = 0; k < 4; k++) p.id[20 + k] = u8(job >> (8 * (3 - k)));
  if (r.kind == kCall || r.kind == kCallStream) {
    u64 actor = record(r.actor).uid;
    std::memcpy(p.id + 8, &actor, 8);
    std::memcpy(p.id + 16, head->session_id, 4);
  }
  p.queued_ns = r.queued_ns;
  p.started_ns = r.started_ns;
  p.finished_ns = r.finished_ns;
  p.owner_pid = u32(slot(r.owner).pid.load());
  p.attempt = r.attempt;
  p.kind = r.kind;
  p.is_error = (state & kErrorFlag) != 0;
  Record& f = record(r.function);
  p.name_bytes = u8(std::min<u32>(f.args_size, kPastNameBytes));
  std::memcpy(p.name, f.args_offset ? heap(f.args_offset) : f.args_inline, p.name_bytes);
  p.number.store(number, std::memory_order_release);
}

// Not recursive: what becomes free on the way is put on a list of this thread and freed in turn.
void Arena::free_record(u32 first) {
  static thread_local std::vector<u32>* pending = nullptr;
  if (pending) {
    pending->push_back(first);
    return;
  }
  std::vector<u32> list;
  pending = &list;
  u32 i = first;
  for (;;) {
    Record& r = record(i);
    if (r.kind == kActor && !(r.flags & kActorEnded)) {
      // Not free yet: the daemon ends the actor first. It gets the count.
      r.count.store(1);
      u32 old = r.state.fetch_or(kUnreferencedFlag) & kStateMask;
      if (old == kRunning || old == kSealed) {
        push(1, i);
        ring();
      }
      if (list.empty()) break;
      i = list.back();
      list.pop_back();
      continue;
    }
    self->freeing.store(i, std::memory_order_relaxed);
    u32 stream = r.stream, function = r.function;
    bool is_stream = r.kind == kStream || r.kind == kCallStream;
    if (is_stream || r.kind == kTask || r.kind == kCall) remember_task(i);
    if (r.kind == kOrigin && sealed(i)) head->lineage_bytes.fetch_sub(lineage_bytes_of(r), std::memory_order_relaxed);
    u32 origin = is_stream || r.kind == kOrigin ? 0 : r.origin.load(std::memory_order_relaxed);
    release_value(r);
    release_args(r);
    if (function) drop(function);
    if (origin) drop(origin);
    if (is_stream && stream) free_queue(stream);
    while (r.kind == kActor && stream) {  // its mailboxes, chained
      u32 next = queue(stream).next_free;
      free_queue(stream);
      stream = next;
    }
    // The returns of a task are linked from it; they live on their own.
    r.uid = 0;
    r.state.store(kFree, std::memory_order_release);
    r.next = self->cache_head;
    self->cache_head = i;
    self->cache_count++;
    self->freeing.store(0, std::memory_order_relaxed);
    if (self->cache_count >= kRecordCache) {
      u32 last = self->cache_head;
      for (u32 n = 1; n < kRecordCache / 2; n++) last = record(last).next;
      u32 rest = record(last).next;
      u32 start = self->cache_head;
      self->cache_head = rest;
      self->cache_count -= kRecordCache / 2;
      push_chain(*this, head->free_records, start, last);
      ask_for_trim();
    }
    if (list.empty()) break;
    i = list.back();
    list.pop_back();
  }
  pending = nullptr;
}

void Arena::drop_cache() {
  if (!self->cache_head) return;
  u32 last = self->cache_head;
  while (record(last).next) last = record(last).next;
  u32 first = self->cache_head;
  self->cache_head = self->cache_count = 0;
  push_chain(*this, head->free_records, first, last);
}

u64 Arena::trim_records() {
  u64 seen = head->free_records.load();
  while (u32(seen) && !head->free_records.compare_exchange_weak(seen, ((seen >> 32) + 1) << 32)) {
  }
  std::unordered_map<u32, u32> found;
  for (u32 i = u32(seen); i; i = record(i).next) found[i / kSegmentRecords]++;
  u32 first = 0, last = 0;
  for (u32 i = u32(seen), next; i; i = next) {
    next = record(i).next;
    u32 s = i / kSegmentRecords;
    if (s && found[s] == kSegmentRecords) continue;
    record(i).next = 0;
    if (last) record(last).next = i;
    if (!first) first = i;
    last = i;
  }
  if (first) push_chain(*this, head->free_records, first, last);
  u64 bytes = 0;
  for (auto [s, n] : found) {
    if (!s || n != kSegmentRecords) continue;
    segment(s).store(0);
    if (madvise(&record(s * kSegmentRecords), kSegmentRecords * sizeof(Record), MADV_REMOVE) != 0) panic("trim", "madvise failed");
    bytes += kSegmentRecords * sizeof(Record);
    u64 top = head->free_segments.load();
    do {
      segment(s).store(u32(top));
    } while (!head->free_segments.compare_exchange_weak(top, ((top >> 32) + 1) << 32 | (s + 1)));
  }
  return bytes;
}

}  // namespace shoal
