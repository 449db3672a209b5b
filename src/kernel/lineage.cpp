// Lineage: how a value that was lost can be computed again.
//
// A value that could be lost (one big enough for a file) has an *origin*, a record that outlives it as long as some later value needs
// it: the arguments, function and options of the execution that made it, and a table of what it made. The arguments of an origin
// count other origins in the place of big values, so that lineage keeps no big value in the store; small values it keeps. The node's
// daemon alone runs origins again: `reconstruct`.
#include "arena.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <unordered_set>

namespace shoal {

static constexpr u32 kReturnShift = 25;  // an argument of an origin: an origin, and above it the number of the return
static_assert(kMaxRecords == 1u << kReturnShift && kRecordMask == kMaxRecords - 1);
static constexpr u32 kReturnMax = (1u << (32 - kReturnShift)) - 1;
static constexpr u32 kDepthMax = 10'000;  // executions that one value can need; beyond, its lineage begins anew
static constexpr u64 kLineageShare = 16;  // lineage may take this part of the store, unless RAY_max_lineage_bytes says other

// A value that an origin has made last. Not counted: it is there if the record still has that uid.
struct Made {
  u64 uid;
  u32 record;
  u32 unused;
};

// It is in a file, or may be moved to one.
static bool can_be_lost(const Record& r) {
  return r.value_kind != kAlias && (r.where == kFile || (r.where == kBlock && r.value_size >= kSpillMinimum));
}
static bool is_stream(const Record& r) { return r.kind == kStream || r.kind == kCallStream; }

static Made* table_of(const Arena& a, Record& origin) {
  u8* at = origin.where == kBlock ? a.heap(origin.value_offset) : origin.value_inline;
  return reinterpret_cast<Made*>(at);
}

static u64 lineage_limit(u64 capacity) {
  static const char* text = std::getenv("RAY_max_lineage_bytes");
  return text ? std::strtoull(text, nullptr, 10) : capacity / kLineageShare;
}

static u32* references_of(const Arena& a, Record& r, u32* n) {
  *n = 0;
  if (!(r.flags & kArgsHeld)) return nullptr;
  u8* bytes = r.args_offset ? a.heap(r.args_offset) : r.args_inline;
  const ArgsHead* head = reinterpret_cast<const ArgsHead*>(bytes);
  *n = head->dependencies + head->nested;
  return reinterpret_cast<u32*>(bytes + sizeof(ArgsHead));
}

u64 Arena::lineage_bytes_of(const Record& origin) const {
  return sizeof(Record) + origin.value_size + (origin.args_offset ? origin.args_size.load() : 0);
}

// Counted once, and in the ledger; 0: no room.
u32 Arena::new_origin(u32 values, u32* entry) {
  u32 o = new_record(kOrigin);
  Record& origin = record(o);
  hold(o);
  *entry = enter(o, kHandle);
  origin.dependents.store(kClosed);
  u64 bytes = values * sizeof(Made);
  if (bytes > kValueInline && !allocate_value(o, bytes)) {
    strike(*entry);
    drop(o);
    return 0;
  }
  origin.value_size = bytes;
  std::memset(table_of(*this, origin), 0, bytes);
  origin.value_kind = kBytes;
  return o;
}

void Arena::publish_origin(u32 o) {
  Record& origin = record(o);
  head->lineage_bytes.fetch_add(lineage_bytes_of(origin), std::memory_order_relaxed);
  origin.state.store(kSealed, std::memory_order_release);
}

static Lost why_not(const Record& r) {
  if (r.kind == kActor) return kLostActor;
  if (is_stream(r) || (r.kind == kReturn && !r.first_return)) return kLostItem;
  if (r.kind == kObject) return kLostPut;
  if (r.retries_left) return kLostEvicted;
  return r.attempt ? kLostAttempts : kLostRetriesDisabled;
}

// The origin of what cannot be made again: it finds the value as long as that is there. Counted for the caller; 0: no room.
u32 Arena::origin_of_unmakeable(u32 i) {
  Record& r = record(i);
  u32 entry;
  u32 o = new_origin(1, &entry);
  if (!o) return 0;
  Record& origin = record(o);
  origin.index = why_not(r);
  *table_of(*this, origin) = {r.uid, i, 0};
  publish_origin(o);
  if (!is_stream(r)) {
    u32 none = 0;
    hold(o);
    if (!r.origin.compare_exchange_strong(none, o, std::memory_order_acq_rel)) drop(o);
  }
  hold(o);
  strike(entry);
  drop(o);
  return o;
}

// What an origin counts in the place of an argument; 0: the argument itself.
u32 Arena::origin_argument(u32 i) {
  Record& r = record(i);
  bool by_life = r.kind == kActor || is_stream(r);  // counting it would keep it from ending
  if (!by_life && !sealed(i)) return 0;
  u32 o = is_stream(r) ? 0 : r.origin.load(std::memory_order_acquire);
  if (o) {
    u32 number = record(o).function && r.kind == kReturn ? u32(r.index) : 0;
    if (number > kReturnMax) return 0;
    hold(o);  // the argument, which we count, counts it
    return o | number << kReturnShift;
  }
  return by_life || can_be_lost(r) ? origin_of_unmakeable(i) : 0;
}

// Before an execution is sealed whose values may be lost: whoever uses them finds their origin. It is complete once the execution's
// arguments are in it; until then the execution may yet run again.
void Arena::begin_origin(u32 i) {
  Record& r = record(i);
  if (!r.retries_left || (r.kind != kTask && r.kind != kCall)) return;
  bool any = can_be_lost(r);
  for (u32 s = r.first_return; s && !any; s = record(s).sibling) any = can_be_lost(record(s));
  if (!any) return;
  const Queue& q = queue(r.queue);
  if (r.kind == kTask && (q.owner != r.owner || !(q.flags.load() & kQueueUsed))) return;  // who submitted it is gone
  u32 n, depth = 0;
  const u32* references = references_of(*this, r, &n);
  for (u32 k = 0; k < n; k++) {
    Record& argument = record(references[k]);
    u32 o = is_stream(argument) ? 0 : argument.origin.load(std::memory_order_acquire);
    if (o) depth = std::max(depth, record(o).produced);
  }
  u64 bytes = sizeof(Record) + r.num_returns * sizeof(Made) + (r.args_offset ? r.args_size.load() : 0);
  if (depth >= kDepthMax || head->lineage_bytes.load() + bytes > lineage_limit(head->capacity_bytes)) return;
  u32 entry;
  u32 o = new_origin(r.num_returns, &entry);
  if (!o) return;
  Record& origin = record(o);
  origin.function = r.function;
  hold(r.function);
  origin.index = r.kind;
  origin.queue = r.kind == kTask ? q.class_id : r.queue;
  origin.origin.store(slot(r.owner).job, std::memory_order_relaxed);
  if (r.kind == kCall) {
    origin.actor = r.actor;
    origin.queued_ns = record(r.actor).uid;
  }
  origin.flags = r.flags & kRetryExceptions;
  origin.num_returns = r.num_returns;
  origin.retries_left = r.retries_left;
  origin.attempt = r.attempt;
  origin.parent = r.parent;
  origin.produced = depth + 1;
  Made* table = table_of(*this, origin);
  auto attach = [&](u32 value) {
    Record& made = record(value);
    table[made.kind == kReturn ? u32(made.index) : 0] = {made.uid, value, 0};
    if (!can_be_lost(made)) return;
    hold(o);
    if (u32 before = made.origin.exchange(o, std::memory_order_acq_rel)) drop(before);  // of an attempt that came to nothing
  };
  attach(i);
  for (u32 s = r.first_return; s; s = record(s).sibling) attach(s);
  if (!(r.flags & kArgsHeld)) publish_origin(o);
  strike(entry);
  drop(o);
}

// The execution is over: its arguments go to its origin instead of being given back. A death in between loses their counts, and
// gives none back twice.
void Arena::complete_origin(u32 i) {
  Record& r = record(i);
  if ((r.kind != kTask && r.kind != kCall) || !(r.flags & kArgsHeld)) return;
  u32 o = r.origin.load(std::memory_order_acquire);
  for (u32 s = r.first_return; s && !o; s = record(s).sibling) o = record(s).origin.load(std::memory_order_acquire);
  if (!o || !record(o).function || record(o).state.load() != kCreating) return;
  Record& origin = record(o);
  r.flags &= u8(~kArgsHeld);
  origin.args_offset = r.args_offset;
  if (!r.args_offset) std::memcpy(origin.args_inline, r.args_inline, kArgsInline);
  origin.args_size.store(r.args_size);
  origin.flags |= kArgsHeld;
  r.args_offset = 0;
  r.args_size.store(0, std::memory_order_release);
  u32 n;
  u32* references = references_of(*this, origin, &n);
  for (u32 k = 0; k < n; k++) {
    u32 value = references[k];
    if (u32 other = origin_argument(value)) {
      references[k] = other;
      drop(value);
    }
  }
  publish_origin(o);
}

// ---------------------------------------------------------------- computing again

bool Arena::is_lost(u32 i) const {
  while (record(i).value_kind == kAlias) i = u32(record(i).value_offset);
  const Record& r = record(i);
  struct stat found;
  return r.where == kFile && (stat(file_of(r.uid).c_str(), &found) != 0 || u64(found.st_size) < r.value_size);
}

// Counted; 0: it is gone, or lost.
u32 Arena::find_made(u32 o, u32 number) {
  Record& origin = record(o);
  if (number >= origin.value_size / sizeof(Made)) return 0;
  Made made = table_of(*this, origin)[number];
  if (!made.record || !try_hold(made.record)) return 0;
  if (record(made.record).uid == made.uid && !is_lost(made.record)) return made.record;
  drop(made.record);
  return 0;
}

// A queue of the driver's whose work belongs to the class.
u32 Arena::queue_for(u32 driver, u32 class_id) {
  for (u32 q = 2; q < head->queues_used; q++) {
    u32 flags = queue(q).flags.load();
    bool plain = (flags & (kQueueUsed | kQueueMailbox | kQueueStream | kQueueClosed)) == kQueueUsed;
    if (plain && queue(q).owner == driver && queue(q).class_id == class_id) return q;
  }
  return new_queue(driver, class_id, 0);
}

u32 Arena::driver_of(u32 job) const {
  if (job && self->job == job) return me;  // inline mode: the driver itself has this part
  for (u32 s = 1; s < head->slots_used; s++)
    if (slot(s).role == kRoleDriver && slot(s).job == job) return s;
  return 0;
}

// The origin's arguments with the values that are there now, whose counts become the record's. False: no room.
bool Arena::fill_again(u32 i, Record& origin, const std::vector<u32>& values) {
  if (!(origin.flags & kArgsHeld)) return true;
  Record& r = record(i);
  u32 size = origin.args_size;
  if (size > kArgsInline && !allocate_args(i, size)) {
    spill(std::max<u64>(size, head->capacity_bytes / 16));
    if (!allocate_args(i, size)) return false;
  }
  u8* to = r.args_offset ? heap(r.args_offset) : r.args_inline;
  std::memcpy(to, origin.args_offset ? heap(origin.args_offset) : origin.args_inline, size);
  ArgsHead h;
  std::memcpy(&h, to, sizeof h);
  std::memcpy(to + sizeof h, values.data(), 4 * values.size());
  // References inside of arguments are named once more in the pickle they belong to.
  const u32* nested = values.data() + h.dependencies;
  u8* at = to + sizeof h + align_up(4ull * (h.dependencies + h.nested), 8);
  for (u64 items = u64(h.positional) + 2ull * h.keywords; items; items--) {
    ItemHead item;
    std::memcpy(&item, at, sizeof item);
    at += sizeof item;
    if (item.kind == kPack) {
      u32 n = reinterpret_cast<const PackHead*>(at)->references;
      std::memcpy(at + sizeof(PackHead), nested, 4ull * n);
      nested += n;
    }
    at += align_up(item.size, 8);
  }
  r.flags |= kArgsHeld;
  r.args_size.store(size);
  return true;
}

// Whoever reads the lost value finds the new one in its place. `where` stays: a late reader of the file comes back, and the
// references of the lost value, which somebody may be reading, go with the record.
void Arena::replace_lost(u32 i, u32 by) {
  Record& r = record(i);
  hold(by);
  head->spilled_bytes.fetch_sub(r.value_size);
  head->spilled_objects.fetch_sub(1);
  unlink(file_of(r.uid).c_str());
  r.value_offset = by;
  std::atomic_thread_fence(std::memory_order_release);
  r.value_kind = kAlias;
}

// Submits the execution again, as the driver's. What it will return is counted in `kept`.
Lost Arena::run_again(u32 o, u32 requested, std::vector<u32>& values, std::vector<u32>& kept) {
  Record& origin = record(o);
  u32 driver = driver_of(origin.origin.load());
  if (!driver) return kLostOwner;
  u32 kind = origin.index;
  if (kind == kCall) {
    if (!try_hold(origin.actor)) return kLostActor;
    if (record(origin.actor).uid != origin.queued_ns || (record(origin.actor).state.load() & kUnreferencedFlag)) {
      drop(origin.actor);
      return kLostActor;
    }
  }
  u32 i = new_record(u8(kind));
  Record& r = record(i);
  r.count.store(2);  // the execution, and kept
  if (!fill_again(i, origin, values)) {
    r.count.store(1);
    drop(i);
    if (kind == kCall) drop(origin.actor);
    return kLostNoRoom;
  }
  values.clear();
  r.owner = driver;
  r.queue = kind == kCall ? origin.queue : queue_for(driver, origin.queue);
  r.function = origin.function;
  hold(r.function);
  if (origin.retries_left > 0) origin.retries_left--;
  r.retries_left = origin.retries_left;
  r.attempt = ++origin.attempt;
  r.num_returns = origin.num_returns;
  r.flags |= origin.flags & kRetryExceptions;
  r.parent = origin.parent;
  r.queued_ns = now_ns();
  if (kind == kCall) {
    r.actor = origin.actor;
    r.flags |= kHoldsActor;
  }
  std::vector<u32> made{i};
  for (u32 k = 1; k < origin.num_returns; k++) made.push_back(new_return(i, k, made.back()));
  kept.insert(kept.end(), made.begin(), made.end());
  Made* table = table_of(*this, origin);
  for (u32 k = 0; k < origin.num_returns; k++) {
    Made before = table[k];
    bool there = before.record && try_hold(before.record);
    bool same = there && record(before.record).uid == before.uid;
    bool lost = same && (before.record == requested || is_lost(before.record));
    if (lost) replace_lost(before.record, made[k]);
    if (there) drop(before.record);
    if (lost || !same) table[k] = {record(made[k]).uid, made[k], 0};
  }
  slot(driver).submitted = 1;
  r.state.store(kPending, std::memory_order_release);
  submit(i);
  return kRecovered;
}

// The next return of a task that is being made: counted for it and for the caller.
u32 Arena::new_return(u32 task, u32 number, u32 previous) {
  u32 s = new_record(kReturn);
  Record &r = record(s), &of = record(task);
  r.index = number;
  r.queued_ns = of.uid;
  r.first_return = task;
  r.owner = of.owner;
  r.retries_left = of.retries_left;
  r.attempt = of.attempt;
  r.count.store(2);
  if (previous == task) {
    of.first_return = s;
  } else {
    record(previous).sibling = s;
  }
  return s;
}

// The origins that have to run for this one, each after those it needs: depth first, without recursion. What is still there of
// their arguments is counted in `kept`.
Lost Arena::plan(u32 first, std::vector<u32>& order, std::vector<u32>& kept) {
  struct Step {
    u32 origin;
    u32 next;  // argument to look at
  };
  std::vector<Step> steps{{first, 0}};
  std::unordered_set<u32> planned;
  while (!steps.empty()) {
    Step& step = steps.back();
    Record& origin = record(step.origin);
    if (!origin.function) return Lost(u32(origin.index));
    if (!origin.retries_left) return kLostAttempts;
    if (!sealed(step.origin)) return kLostEvicted;  // its execution has not quite ended, or died then
    if (!driver_of(origin.origin.load())) return kLostOwner;
    u32 n, missing = 0;
    const u32* references = references_of(*this, origin, &n);
    for (; step.next < n && !missing; step.next++) {
      u32 of = references[step.next] & kRecordMask;
      if (record(of).kind != kOrigin || planned.count(of)) continue;
      if (u32 value = find_made(of, references[step.next] >> kReturnShift)) {
        kept.push_back(value);
      } else {
        missing = of;
      }
    }
    if (missing) {
      steps.push_back({missing, 0});
      continue;
    }
    if (planned.insert(step.origin).second) order.push_back(step.origin);
    steps.pop_back();
  }
  return kRecovered;
}

Lost Arena::reconstruct(u32 wanted, u64 uid) {
  Record& lost = record(wanted);
  if (!try_hold(wanted)) return kRecovered;
  if (lost.uid != uid || lost.where != kFile || lost.value_kind == kAlias || !sealed(wanted)) {  // somebody was faster
    drop(wanted);
    return kRecovered;
  }
  std::vector<u32> order, kept, values;  // counted: kept, and values
  u32 first = is_stream(lost) ? 0 : lost.origin.load(std::memory_order_acquire);
  Lost outcome = first ? kRecovered : why_not(lost);
  if (first) {
    hold(first);
    kept.push_back(first);
    outcome = plan(first, order, kept);
  }
  for (size_t k = 0; k < order.size() && outcome == kRecovered; k++) {
    u32 n;
    const u32* references = references_of(*this, record(order[k]), &n);
    for (u32 at = 0; at < n && outcome == kRecovered; at++) {
      u32 value = references[at] & kRecordMask;
      if (record(value).kind != kOrigin) {
        hold(value);
      } else if (!(value = find_made(value, references[at] >> kReturnShift))) {
        outcome = kLostEvicted;  // at this moment
        break;
      }
      values.push_back(value);
    }
    if (outcome == kRecovered) outcome = run_again(order[k], wanted, values, kept);
  }
  for (u32 value : values) drop(value);
  for (u32 value : kept) drop(value);
  drop(wanted);
  return outcome;
}

}  // namespace shoal
