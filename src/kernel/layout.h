// What lies where in the arena. Everything is an index or an offset: processes map the arena at different addresses.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace shoal {

using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;
using i32 = std::int32_t;
using i64 = std::int64_t;

template <class T> using atom = std::atomic<T>;
static_assert(atom<u32>::is_always_lock_free && atom<u64>::is_always_lock_free);

// A field that others may read while it changes: they see the old value or the new one, and check elsewhere what it is worth.
template <class T> struct loose {
  loose(T initial = {}) : value(initial) {}
  loose(const loose&) = delete;
  loose& operator=(const loose& other) { return *this = T(other); }
  loose& operator=(T wanted) {
    value.store(wanted, std::memory_order_relaxed);
    return *this;
  }
  operator T() const { return value.load(std::memory_order_relaxed); }
  atom<T> value;
};

inline constexpr u64 kMagic = 0x53484f414c4b3031;  // "SHOALK01"
inline constexpr u32 kPageBytes = 64 * 1024;       // unit of the block heap
inline constexpr u32 kMaxSlots = 16384;
inline constexpr u32 kMaxQueues = 1u << 17;
inline constexpr u32 kPlaceMask = 0xffffff;  // of Record::place: as many references may be the arguments of one call
inline constexpr u32 kSegmentRecords = 1024;  // records are given back to the system by segment
inline constexpr u32 kMaxRecords = 32u << 20;
inline constexpr u32 kMaxSegments = kMaxRecords / kSegmentRecords;
inline constexpr u32 kSegmentUsed = 0xffffffffu;  // in the table of segments; else the next free segment + 1
inline constexpr u32 kRecordMask = kMaxRecords - 1;
inline constexpr u32 kItemCounts = 0x80000000u;  // awaited: with a stream's record, its next item will do
inline constexpr u32 kLedgerChunkEntries = 510;
inline constexpr u32 kMaxLedgerChunks = 1u << 17;
inline constexpr u32 kRecordCache = 64;     // free records a process keeps for itself
inline constexpr u32 kArgsInline = 64;      // bytes of arguments inside a record
inline constexpr u32 kValueInline = 32;     // bytes of a value inside a record
inline constexpr u32 kSizeClasses = 18;     // of small blocks
inline constexpr u32 kRunBins = 24;         // free page runs by log2 of their length
inline constexpr u32 kSpillPathBytes = 4096;
inline constexpr u64 kSpillMinimum = 16 * 1024;  // smaller values are never moved to a file

enum Role : u32 { kRoleNone = 0, kRoleDaemon = 1, kRoleDriver = 2, kRoleWorker = 3, kRoleActor = 4 };

// The low byte of Record::state; flags above it.
enum State : u32 { kFree = 0, kCreating = 1, kPending = 2, kQueued = 3, kRunning = 4, kSealed = 5 };
inline constexpr u32 kStateMask = 0xff;
inline constexpr u32 kErrorFlag = 0x100;   // the value is an exception
inline constexpr u32 kCancelFlag = 0x200;  // cancel was asked for while it ran
inline constexpr u32 kUnreferencedFlag = 0x400;  // actor: the last handle is gone
inline constexpr u32 kTurnFlag = 0x800;  // pending: the call before it has not been queued yet
inline constexpr u32 kFlagsMask = 0xff00;
inline constexpr u32 kReturnerShift = 16;  // pending, above: slot of the process that is giving an execution back to its queue

// The top bit closes a list: nothing may be added any more.
inline constexpr u32 kClosed = 0x80000000u;
// Record::waiter: a slot, perhaps with kWaiterAsync; or everybody.
inline constexpr u32 kWaiterAsync = 0x40000000u;
inline constexpr u32 kWaiterAll = 0xffffffffu;

enum RecordKind : u8 { kObject = 0, kTask = 1, kCall = 2, kReturn = 3, kStream = 4, kActor = 5, kCallStream = 6, kOrigin = 7 };

enum ValueKind : u8 {
  kNoValue = 0,
  kNone,
  kTrue,
  kFalse,
  kInt,
  kFloat,
  kBytes,
  kStr,
  kPickle,    // one pickle stream
  kPack,      // pickle stream with buffers and references: PackHead
  kRefList,   // a list of references: u32 records[]
  kRefTuple,  // the same as a tuple
  kAlias,     // the value of another record (counted): its index in value_offset
  kRef,       // arguments only: the value of the dependency with this number
};

// What became of an attempt to compute a lost value again.
enum Lost : u32 {
  kRecovered = 0,
  kLostPut,              // put() made it
  kLostItem,             // a generator yielded it
  kLostActor,            // the actor that made it, or that it needs, is gone
  kLostRetriesDisabled,  // its task was not to be retried
  kLostAttempts,         // it was computed again as often as its task may be retried
  kLostEvicted,          // its lineage was not kept, for want of room
  kLostOwner,            // the job that had submitted it has ended
  kLostNoRoom,           // for the arguments of the execution
};

// Record::where: where the bytes of a value are.
enum Where : u8 { kInline = 0, kBlock = 1, kFile = 2 };

struct Lock {
  atom<u32> holder{0};  // slot + 1 of the process inside
};

struct alignas(64) Record {
  // -- line 1: state and links
  atom<u32> state{0};
  atom<u32> count{0};  // references: handles, records that contain it, 1 for the execution
  loose<u64> uid{0};
  atom<u32> dependents{0};  // records waiting for this one, linked by `next`; kClosed once sealed
  atom<u32> follower{0};    // the same caller's next call of an ordered actor; kClosed once queued
  loose<u32> next{0};       // in a queue, a list of dependents or the free list: one at a time
  atom<u32> waiter{0};      // who sleeps until it is sealed
  loose<u32> done_next{0};  // in the waiter's list of sealed records
  loose<u8> kind{0};
  loose<u8> value_kind{0};
  loose<u8> where{0};
  u8 flags{0};                 // TaskFlags
  loose<u64> value_offset{0};  // block (kBlock), checksum (kFile), record (kAlias)
  loose<u64> value_size{0};
  // -- line 2: what to run
  u32 queue{0};
  u32 function{0};   // counted: record of the function or method
  u64 args_offset{0};  // block, 0 = inline
  atom<u32> args_size{0};  // 0 once the arguments are given back; then the place may hold a spilled value's references
  atom<u32> place{0};  // dependencies before this number are sealed; the high byte is the uid's lowest
  i32 retries_left{0};
  u32 num_returns{1};
  u32 first_return{0};  // task: record of return 1, linked by `sibling`; return: its task
  u32 sibling{0};
  loose<u32> stream{0};  // stream: queue of items
  loose<u32> index{0};  // return: its number; stream: the number of the last item read
  atom<u32> pins{0};    // readers with a view into the block
  u32 owner{0};         // slot that made it
  u64 queued_ns{0};
  // -- line 3 and 4: small contents
  u8 args_inline[kArgsInline]{};
  u8 value_inline[kValueInline]{};
  u32 actor{0};      // call: the actor's record (not counted: the mailbox outlives its calls)
  atom<u32> origin{0};  // value: how it can be computed again (counted), see lineage.cpp; stream: its backpressure
  u32 produced{0};   // stream: items yielded so far; origin: executions on the longest way to it
  u32 attempt{0};
  u64 started_ns{0};
  u64 finished_ns{0};
  u64 parent{0};  // uid of the execution that submitted it

  u32 backpressure() const { return origin.load(std::memory_order_relaxed); }
};
static_assert(sizeof(Record) == 256);

enum TaskFlags : u8 {
  kRetryExceptions = 1,
  kArgsHeld = 2,    // the arguments' references are counted
  kHoldsActor = 4,  // a call that waits: it keeps its actor's mailbox alive
  kActorEnded = 8,  // actor: the daemon has done with it
  kIsCode = 16,     // a function, a class, or how to call one: no object of the user's
};

enum QueueFlags : u32 { kQueueUsed = 1, kQueueMailbox = 2, kQueueClosed = 4, kQueueWants = 8, kQueueStream = 16 };

struct alignas(64) Queue {
  Lock lock;
  u32 head{0};
  u32 tail{0};
  atom<u32> length{0};
  atom<u32> flags{0};
  u32 class_id{0};  // mailbox: slot of the actor's process
  u32 owner{0};
  atom<u32> servers{0};
  // -- line 2
  alignas(64) atom<u32> sequence{0};  // futex of its workers
  atom<u32> sleepers{0};
  atom<i32> spinners{0};
  u32 error_record{0};  // closed: what everything pushed is sealed with (counted)
  u32 next_free{0};
};
static_assert(sizeof(Queue) == 128);

enum LedgerKind : u32 { kEntryFree = 0, kHandle = 1, kPin = 2, kExecution = 3, kSpill = 4 };
inline constexpr u32 kSpilling = 0x80000000u;  // in Record::pins, with a slot: that process is moving its block to a file

struct LedgerEntry {
  atom<u32> record;
  atom<u32> kind;
};

struct LedgerChunk {
  loose<u32> next;
  u32 unused;
  LedgerEntry entries[kLedgerChunkEntries];
  u64 pad;
};
static_assert(sizeof(LedgerChunk) == 4096 + 0);

struct alignas(64) Slot {
  atom<u32> pid{0};
  atom<u32> role{0};
  u32 next_free{0};
  atom<i32> active{0};  // its part of Header::active
  u64 uid_next{0};      // never goes back: uids are unique in a session
  loose<u32> ledger_first{0};  // chunks, linked
  u32 cache_head{0};    // free records
  u32 cache_count{0};
  u32 submitted{0};     // it has submitted work or made queues
  u32 job{0};           // number of the driver's job it works for
  // -- line 2: waking
  alignas(64) atom<u32> wake{0};
  atom<u32> wake_sleepers{0};
  atom<u32> done_head{0};  // sealed records it waits for asynchronously
  atom<u32> scan_all{0};   // some record was waited for by several: look at all
  // -- line 3: work
  alignas(64) atom<u32> queue{0};  // task queue it serves; kQueueExit = end
  atom<u32> running{0};
  atom<u64> running_since_ns{0};
  atom<u64> executed{0};
  atom<u32> blocked{0};
  atom<u32> sleeping{0};  // queue in whose sleepers it is counted
  atom<u32> spinning{0};  // queue in whose spinners it is counted
  atom<u32> lent{0};  // the daemon lent its CPU to another
  atom<u32> kill_reason{0};
  // -- line 4: intents, written before the deed
  alignas(64) atom<u32> onward{0};  // the pending record it brings on: see Arena::advance
  loose<u32> onward_place{0};
  loose<u64> onward_uid{0};
  atom<u32> next_turn{0};  // the call that follows `onward`, about to be taken
  loose<u64> next_turn_uid{0};
  atom<u32> sealing{0};       // its dependents are being released, its waiters woken; counted
  atom<u32> sealing_more{0};  // records that wait for the same, linked by `next`; counted
  atom<u32> failing{0};       // a record that had not started and is being sealed with an error
  u64 failing_uid{0};
  atom<u64> alloc_offset{0};
  atom<u32> alloc_record{0};
  atom<u32> freeing{0};
};
inline constexpr u32 kQueueExit = 0xffffffffu;

// One page of the heap. Only the first page of a run (and the last of a free one) is meaningful.
struct PageEntry {
  u32 kind;    // PageKind
  u32 length;  // pages of the run
  u32 next;    // free: in its bin; slab: in its class's list of slabs with room (page + 1, 0 = end)
  u32 prev;
  u32 stamp_s;  // free: when it was freed, 0 = never touched or given back
  u32 size_class;
};
enum PageKind : u32 { kPageUnused = 0, kPageFree = 1, kPageRun = 2, kPageSlab = 3, kPageInner = 4 };

// At the start of each slab.
struct SlabHead {
  u32 block_bytes;
  u32 blocks;
  u32 used;
  u32 listed;  // in the list of slabs with room
  u64 bitmap[16];
};

// What is remembered of a task whose record is gone: the last kPastTasks of them, in a ring.
inline constexpr u32 kPastTasks = 8192;
inline constexpr u32 kPastNameBytes = 56;

struct alignas(64) PastTask {
  atom<u64> number;  // 1 for the first one ever; 0 while it is being written
  u8 id[24];         // as in the task's references
  u64 queued_ns, started_ns, finished_ns;
  u32 owner_pid;
  u32 attempt;
  u8 kind, is_error, name_bytes, unused;
  char name[kPastNameBytes];
};
static_assert(sizeof(PastTask) == 128);

struct Header {
  u64 magic;
  u64 total_bytes;
  u64 capacity_bytes;
  u8 session_id[8];
  u32 cores;
  u32 pages;
  u64 slots_at, queues_at, ledger_at, segments_at, records_at, page_table_at, past_tasks_at, heap_at;
  char spill_directory[kSpillPathBytes];  // one folder, or several with line breaks between them
  atom<u32> spill_left_out;  // bits of the folders that could not take the last value meant for them
  alignas(64) atom<u32> doorbell;
  atom<u32> doorbell_sleeper;
  atom<u32> starving;
  atom<u32> trim_asked;  // warm memory lies about, and the daemon has been told
  alignas(64) atom<i32> active;  // processes that are neither asleep nor gone
  alignas(64) atom<u64> free_records;  // tag << 32 | index
  atom<u64> free_segments;
  atom<u32> segments_used;
  atom<u64> free_chunks;
  atom<u32> chunks_used;
  alignas(64) Lock slot_lock;
  u32 free_slot;
  u32 slots_used;
  Lock queue_lock;
  u32 free_queue;
  atom<u32> queues_used;
  alignas(64) Lock heap_lock;
  u32 bins[kRunBins];           // free runs (page + 1)
  u32 classes[kSizeClasses];    // slabs with room (page + 1)
  u32 pages_high;               // pages ever handed out
  atom<u64> used_pages;
  atom<u64> warm_pages;  // free, but not given back
  atom<u64> spilled_bytes;
  atom<u64> spilled_objects;
  atom<u64> fallback_objects;
  atom<u32> spill_cursor;
  atom<u64> records_live;
  atom<u64> lineage_bytes;
  alignas(64) atom<u64> past_tasks;  // how many there were so far
};

}  // namespace shoal
