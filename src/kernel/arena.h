// One process's view of the arena, and the operations on records that need no Python.
#pragma once

#include <ctime>
#include <mutex>
#include <string>
#include <vector>

#include "layout.h"

namespace shoal {

struct Error {
  std::string what;
};

[[noreturn]] void panic(const char* where, const char* what);

inline u64 now_ns() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return u64(t.tv_sec) * 1'000'000'000 + u64(t.tv_nsec);
}

inline constexpr u32 kDaemonSlot = 1;  // the first that is reserved

inline void cpu_pause() { __builtin_ia32_pause(); }

// ---- futex.cpp
void futex_wait(atom<u32>& word, u32 expected, i64 timeout_ns);  // < 0: without limit; may return early
int futex_wake(atom<u32>& word, int count);  // how many were woken

// What became of an unfinished execution when its process died.
struct DeadTask {
  u32 record;
  u64 uid;
  u32 queue;
  i32 retries_left;
  u32 owner;
  u32 function;
  u8 kind;
  bool cancelled;
};

// Bytes of a value to be written: the caller fills `pointer` and then seals.
struct Target {
  u8* pointer;
  Where where;
  u64 offset;
};

// Places where a death leaves something to repair: the stress program lets its processes die at them.
#ifdef SHOAL_DEATH_POINTS
inline u64 death_countdown = 0;  // 0: none
void death_point();
#else
inline void death_point() {}
#endif

class Arena {
 public:
  // ---- arena.cpp: life
  static Arena* create(u64 capacity_bytes, const std::string& spill_directory, u32 cores, const u8 session_id[8]);
  static Arena* attach(int fd);
  static Arena* share(const Arena& other);  // another process's view, in this one and at the same addresses: for tests
  ~Arena();
  u32 reserve_slot(u32 role);
  void adopt_slot(u32 slot);
  void release_slot(u32 slot);

  Header* head{nullptr};
  u8* base{nullptr};       // read-write
  const u8* view{nullptr}; // read-only
  int fd{-1};
  u32 me{0};
  Slot* self{nullptr};
  bool closed{false};  // forked child or detached: handles no longer count

  Slot& slot(u32 i) const { return reinterpret_cast<Slot*>(base + head->slots_at)[i]; }
  Queue& queue(u32 i) const { return reinterpret_cast<Queue*>(base + head->queues_at)[i]; }
  Record& record(u32 i) const { return reinterpret_cast<Record*>(base + head->records_at)[i]; }
  PageEntry& page(u32 i) const { return reinterpret_cast<PageEntry*>(base + head->page_table_at)[i]; }
  atom<u32>& segment(u32 i) const { return reinterpret_cast<atom<u32>*>(base + head->segments_at)[i]; }
  // To look at all records: from next_record(0) to records_end(). Segments given back to the system are left alone: even reading
  // them would bring their pages back.
  u32 records_end() const {
    u32 n = head->segments_used.load();
    return (n < kMaxSegments ? n : kMaxSegments) * kSegmentRecords;
  }
  u32 next_record(u32 i) const {
    for (i++; i < records_end() && i % kSegmentRecords == 0 && segment(i / kSegmentRecords).load() != kSegmentUsed;)
      i += kSegmentRecords;
    return i;
  }
  LedgerChunk& chunk(u32 i) const { return reinterpret_cast<LedgerChunk*>(base + head->ledger_at)[i]; }
  u8* heap(u64 offset) const { return base + head->heap_at + offset; }
  const u8* heap_view(u64 offset) const { return view + head->heap_at + offset; }
  bool is_daemon() const { return self && self->role.load(std::memory_order_relaxed) == kRoleDaemon; }

  // ---- locks (arena.cpp)
  void lock(Lock& l, u32 queue_to_repair = 0);
  void unlock(Lock& l) { l.holder.store(0, std::memory_order_release); }

  // ---- ledger.cpp: every count this process holds
  u32 enter(u32 record, LedgerKind kind);  // entry number
  void strike(u32 entry);
  LedgerEntry& entry(u32 number) const {
    return chunk(number / kLedgerChunkEntries).entries[number % kLedgerChunkEntries];
  }

  // ---- records.cpp
  u32 new_record(u8 kind);  // count 0, state kCreating
  void hold(u32 i, u32 n = 1) { record(i).count.fetch_add(n, std::memory_order_relaxed); }
  void drop(u32 i) {
    u32 before = record(i).count.fetch_sub(1, std::memory_order_acq_rel);
    if (before == 1) {
      free_record(i);
    } else if (before == 2 && record(i).stream) {
      wake_producer(i);
    }
  }
  void wake_producer(u32 i);  // of a stream: perhaps nobody reads it any more
  PastTask& past_task(u64 number) {  // number >= 1
    return reinterpret_cast<PastTask*>(base + head->past_tasks_at)[(number - 1) % kPastTasks];
  }
  void remember_task(u32 i);
  void free_record(u32 i);
  void release_args(Record& r);
  // When an execution is over. Without arguments nothing is touched: their place may hold a spilled value's references by now.
  void return_args(Record& r) {
    if (r.flags & kArgsHeld) release_args(r);
  }
  void release_value(Record& r);
  void drop_spilled_references(Record& r);
  void drop_returns(u32 i);
  u64 trim_records();

  // ---- heap.cpp
  // Blocks for args_offset / value_offset of a record: noted until attached, so a crash loses none. 0 = no room.
  bool allocate_args(u32 record, u64 bytes);
  bool allocate_value(u32 record, u64 bytes);
  void free_block(u64 offset);
  void repair_heap();
  u64 trim_heap(double idle_s);
  void ask_for_trim();
  u64 block_bytes(u64 offset);
  bool block_is_taken(u64 offset);

  // ---- spill.cpp
  // False: errno says why. `described`: bytes of the first part that are more than data (see described_bytes).
  bool value_to_file(u32 record, const std::vector<std::pair<const void*, u64>>& parts, u64 described);
  u64 spill(u64 bytes_wanted);
  std::string file_of(u64 uid) const;
  u32 pin(u32 i);  // entry number: the value stays where it is
  void unpin(u32 i, u32 entry);

  // ---- lineage.cpp
  void begin_origin(u32 i);
  void complete_origin(u32 i);
  u64 lineage_bytes_of(const Record& origin) const;
  u32 new_return(u32 task, u32 number, u32 previous);
  Lost reconstruct(u32 i, u64 uid);  // the daemon's: kRecovered when the value's place names what is being computed

  // ---- graph.cpp
  bool ready(u32 i) const { return record(i).dependents.load(std::memory_order_acquire) & kClosed; }
  void submit(u32 i);             // a filled task or call: waits for its arguments, or is queued
  void follow(u32 previous, u32 i);  // an ordered call: after `previous` is queued
  void seal(u32 i, u32 flags);    // value is written
  void seal_alias(u32 i, u32 target, u32 flags);
  void seal_returns(u32 i, u32 error_record);
  bool fail_unsealed(u32 i, u32 error_record);  // by somebody who does not execute it
  bool begin_failing(u32 i, u32& seen);         // the same in two steps; `seen`: the state it must be in
  void fail_begun(u32 i, u32 error_record);
  void push(u32 queue, u32 item);  // of a stream or the control queue: no change of state
  bool push_back(u32 i, u32 entry);  // an execution that did not end goes back to its queue; false: it was cancelled, and stays
  void give_turn(u32 i);             // `i` will not be queued any more: the call that follows it need not wait for it
  u32 pop(u32 queue, bool check_assignment);  // RUNNING, entered in the ledger: see popped_entry
  u32 popped_entry{0};
  u32 pop_unread(u32 stream);  // the next item of a stream; what was read before its producer died is not read again
  u32 take_items(u32 queue);
  u32 pop_item(u32 queue);  // of a stream or the control queue: no change of state
  bool try_hold(u32 i);     // false: it is being freed
  void restart_stream(Record& r);  // before another attempt: what was read already is not yielded again
  void finish(u32 i, u32 entry);  // the execution is over: gives its count back
  void notify(u32 i);  // wakes who waits for this record
  void wake_slot(u32 slot);
  void wake_all();
  void ring();
  void announce(u32 queue);  // something was pushed, or a worker that was counted on is gone
  bool wake_queue(Queue& q, int count);  // false: nobody slept

  // ---- wait.cpp: call without the GIL. Deadlines in ns of CLOCK_MONOTONIC, < 0: none.
  enum class Wait { kReady, kTimedOut, kInterrupted };
  bool sealed(u32 i) const { return (record(i).state.load(std::memory_order_acquire) & kStateMask) == kSealed; }
  void arm(u32 i, u32 mine);  // wake this slot when the record is sealed
  Wait wait_sealed(u32 i, i64 deadline_ns);
  // Until `need` of the records are sealed or, of streams marked with kItemCounts, have a next item; or one of them is an error, when `stop_at_error`.
  Wait wait_some(const std::vector<u32>& records, u32 need, i64 deadline_ns);
  bool has_item(u32 i) const;
  bool arrived(u32 awaited) const {
    u32 i = awaited & ~kItemCounts;
    return sealed(i) || ((awaited & kItemCounts) && has_item(i));
  }
  Wait wait_work(u32 queue, i64 deadline_ns, bool check_assignment, bool counted = true);
  bool spin_work(const std::vector<u32>& queues);
  Wait wait_room(u32 stream_queue, u32 limit, u32 task, i64 deadline_ns);
  Wait wait_wake(u32 seen, i64 deadline_ns);  // for the thread that watches this slot's word

  // ---- queues.cpp
  u32 new_queue(u32 owner, u32 class_id, u32 flags);
  void free_queue(u32 q);
  u32 close_queue(u32 q, u32 error_record);

  void assign(u32 slot, u32 queue);
  bool unassign(u32 slot);
  void end_worker(u32 slot);

  // ---- repair.cpp (daemon)
  u32 executor_of(u32 i) const;                   // slot in whose ledger its execution is; 0: none
  bool fail_abandoned(u32 i, u32 error_record);  // unless a living process executes it: that one ends it
  void requeue(u32 i, bool front, bool use_retry);
  std::vector<DeadTask> repair_slot(u32 slot);
  std::vector<DeadTask> orphaned(u32 owner);
  bool has_open_work(u32 owner);  // something it has submitted waits or runs
  void repair_queue(u32 q, u32 dead);

  bool may_spin() const { return head->active.load(std::memory_order_relaxed) <= i32(head->cores); }
  void deactivate() {
    self->active.fetch_sub(1, std::memory_order_relaxed);
    head->active.fetch_sub(1, std::memory_order_relaxed);
  }
  void activate() {
    self->active.fetch_add(1, std::memory_order_relaxed);
    head->active.fetch_add(1, std::memory_order_relaxed);
  }

  u32 record_of(const Record& r) const { return u32(&r - reinterpret_cast<Record*>(base + head->records_at)); }

 private:
  friend class HeapTest;
  bool map(int descriptor);
  enum class Link { kLinked, kQueueClosed, kNotPending };
  // All references an execution waits for are numbered; `place` is the first that is not known to be sealed. The high byte tells
  // one use of the record from the next, for whoever comes late.
  static u32 first_place(const Record& r) { return u32(r.uid) << 24; }
  static u32 place_of(const Record& r) { return r.place.load(std::memory_order_relaxed) & kPlaceMask; }
  bool pending(u32 i) const { return (record(i).state.load(std::memory_order_acquire) & kStateMask) == kPending; }
  void note_onward(u32 i, u32 place);
  void advance(u32 i);
  u32 bring_on(u32 i);
  bool wait_for_next(u32 i);
  u32 enqueue(u32 i);
  u32 take_follower(u32 i);
  void begin_turn(u32 i);
  void go_on(u32 i, u32 place);
  void release_dependents(u32 i);
  void complete(u32 i);
  void attach(Queue& q, u32 i, bool front);
  Link link(u32 queue, u32 i, bool front, u32* follower, u32* actor);
  void return_to_queue(u32 i, bool front);
  u32 discard(u32 i);  // taken off a list although it is sealed already; returns the call whose turn it is now
  u64 allocate(u64 bytes);
  u64 allocate_small(u32 size_class);
  u32 allocate_run(u32 pages);
  void free_run(u32 page, u32 length);
  void join_run(u32 page, u32 length, u32 stamp);
  void unbin(u32 page);
  void bin(u32 page, u32 length, u32 stamp);
  void unlist_slab(u32 page);
  void list_slab(u32 page);
  bool allocate_noted(u32 record, u64 bytes, bool args);
  void drop_cache();
  bool spill_one(u32 i);
  void repair_ledger(u32 slot, u32 returned, std::vector<DeadTask>& dead);
  u32 repair_onward(u32 dead);
  void finish_link(u32 i, Slot& dead);
  void resume(u32 i, u32 place);
  void repair_sealing(Slot& s);
  void repair_failing(Slot& s, std::vector<DeadTask>& dead);
  void repair_counts(u32 slot);
  void forget_begun_value(u32 i);
  void repair_cache(Slot& s);
  void announce_everything();
  DeadTask facts_of(u32 i) const;
  bool in_dependents(u32 of, u32 i);
  u32 new_origin(u32 values, u32* entry);
  void publish_origin(u32 o);
  u32 origin_of_unmakeable(u32 i);
  u32 origin_argument(u32 i);
  bool is_lost(u32 i) const;
  u32 find_made(u32 o, u32 number);
  u32 queue_for(u32 driver, u32 class_id);
  u32 driver_of(u32 job) const;
  bool fill_again(u32 i, Record& origin, const std::vector<u32>& values);
  void replace_lost(u32 i, u32 by);
  Lost plan(u32 first, std::vector<u32>& order, std::vector<u32>& kept);
  Lost run_again(u32 o, u32 requested, std::vector<u32>& values, std::vector<u32>& kept);
  template <class Condition> bool spin(Condition condition);
  template <class Condition> Wait sleep(Condition condition, i64 deadline_ns, bool counted);
  void take_from_dead(Lock& l, u32 holder, u32 queue_to_repair);

  bool shared_{false};
  std::vector<u32> free_entries_;
  std::vector<u32> dependents_;  // being released
};

// A block of references that belongs to a value or to arguments.
struct PackHead {
  u32 references;
  u32 buffers;
  u64 pickle_bytes;
  // u32 records[references]; pad to 8; struct { u64 offset, size; } buffers[]; pickle; each buffer at a multiple of 64
};
struct PackBuffer {
  u64 offset;
  u64 size;
};

// Arguments: ArgsHead, u32 dependencies[], u32 nested[], then items (each at a multiple of 8): ItemHead, bytes.
// With keywords, each keyword's item follows an item that holds its name.
struct ArgsHead {
  u32 positional;
  u32 keywords;
  u32 dependencies;
  u32 nested;
};
struct ItemHead {
  u32 kind;
  u32 size;
};

// The pickle of a value, and what says where its buffers and references are: the part of its bytes that is more than data. A file
// in which it is not what was written is not read, since unpickling it might do anything. Plain buffers are not looked at: they
// are mapped, perhaps to be read in part.
u64 described_bytes(u8 value_kind, const u8* value, u64 size);
u64 checksum(const u8* at, u64 bytes);

inline u64 align_up(u64 n, u64 a) { return (n + a - 1) & ~(a - 1); }

}  // namespace shoal
