#include "process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace shoal {

void death_point() {
  if (death_countdown && --death_countdown == 0) kill(getpid(), SIGKILL);
}

}  // namespace shoal

namespace shoal::stress {

static constexpr u32 kStreamItems = 12;
static constexpr u32 kStreamRoom = 3;
atom<u64> recomputed{0};

void fail(const std::string& what) {
  std::fprintf(stderr, "stress: %s\n", what.c_str());
  std::fflush(stderr);
  std::abort();
}

Process::Process(std::unique_ptr<Arena> arena, u32 slot, u64 seed) : arena_(std::move(arena)), random_(seed) {
  arena_->adopt_slot(slot);
}

static u8 pattern(u64 value, u64 at) { return u8((value >> (8 * (at % 8))) + at / 8); }

void Process::make_room(u64 bytes) { arena_->spill(std::max(bytes, arena_->head->capacity_bytes / 16)); }

// A number and, when it is bigger, a pattern made of it.
bool Process::store(u32 i, u64 value, u64 bytes) {
  Record& r = arena_->record(i);
  bytes = std::max<u64>(bytes, 8);
  r.value_size = bytes;
  u8* to = r.value_inline;
  if (bytes > kValueInline) {
    bool room = arena_->allocate_value(i, bytes);
    for (int round = 0; !room && round < 4; round++) {
      make_room(bytes);
      room = arena_->allocate_value(i, bytes);
    }
    if (!room) {
      std::vector<u8> all(bytes);
      std::memcpy(all.data(), &value, 8);
      for (u64 k = 8; k < bytes; k++) all[k] = pattern(value, k);
      expect(arena_->value_to_file(i, {{all.data(), bytes}}, 0), "a value could not be written to a file");
      r.value_kind = kBytes;
      return true;
    }
    to = arena_->heap(r.value_offset);
  }
  std::memcpy(to, &value, 8);
  for (u64 k = 8; k < bytes; k++) to[k] = pattern(value, k);
  r.value_kind = kBytes;
  return true;
}

Handle Process::put(u64 value, u64 bytes) {
  u32 i = arena_->new_record(kObject);
  arena_->hold(i);
  Handle handle{i, arena_->enter(i, kHandle)};
  store(i, value, bytes);
  arena_->seal(i, 0);
  return handle;
}

static u64 checked(const u8* at, u64 bytes) {
  u64 value;
  std::memcpy(&value, at, 8);
  for (u64 k = 8; k < bytes; k++)
    if (at[k] != pattern(value, k)) fail("a value is damaged");
  return value;
}

u64 Process::read(u32 i) {
  for (; arena_->record(i).value_kind == kAlias; await(i)) i = u32(arena_->record(i).value_offset);
  Record& r = arena_->record(i);
  expect(arena_->sealed(i), "a value is read before it is sealed");
  if (r.where == kInline) return checked(r.value_inline, r.value_size);
  u32 entry = arena_->pin(i);
  u64 value = 0;
  if (r.where == kBlock) {
    value = checked(arena_->heap(r.value_offset), r.value_size);
  } else {
    int fd = open(arena_->file_of(r.uid).c_str(), O_RDONLY | O_CLOEXEC);
    expect(fd >= 0, "the file of a spilled value is gone");
    std::vector<u8> bytes(r.value_size);
    expect(::read(fd, bytes.data(), bytes.size()) == ssize_t(bytes.size()), "the file of a spilled value is short");
    close(fd);
    value = checked(bytes.data(), bytes.size());
  }
  arena_->unpin(i, entry);
  return value;
}

Process::~Process() {
  if (function_.record) release(function_);
}

void Process::release(Handle handle) {
  arena_->strike(handle.entry);
  arena_->drop(handle.record);
}

void Process::write_args(u32 i, const std::vector<u32>& dependencies, u64 padding) {
  Record& r = arena_->record(i);
  ArgsHead h{0, 0, u32(dependencies.size()), 0};
  u64 total = sizeof h + align_up(4 * dependencies.size(), 8) + padding;
  u8* to = r.args_inline;
  if (total > kArgsInline) {
    while (!arena_->allocate_args(i, total)) make_room(total);
    to = arena_->heap(r.args_offset);
  }
  std::memcpy(to, &h, sizeof h);
  std::memcpy(to + sizeof h, dependencies.data(), 4 * dependencies.size());
  for (u32 d : dependencies) arena_->hold(d);
  r.args_size = u32(total);
  r.flags |= kArgsHeld;
}

Handle Process::submit(u32 queue, u64 own, const std::vector<u32>& dependencies, u64 padding, bool streaming,
                       u32 previous) {
  u32 i = arena_->new_record(streaming ? kStream : kTask);
  Record& r = arena_->record(i);
  r.count.store(2, std::memory_order_relaxed);  // handle, execution
  Handle handle{i, arena_->enter(i, kHandle)};
  r.parent = own;
  r.retries_left = -1;
  if (!function_.record) function_ = put(0, 8);
  r.function = function_.record;
  arena_->hold(r.function);
  write_args(i, dependencies, padding);
  r.queue = queue;
  if (streaming) {
    r.stream = arena_->new_queue(arena_->me, 0, kQueueStream);
    r.origin.store(kStreamRoom);
  }
  r.state.store(kPending, std::memory_order_release);
  if (previous) {
    arena_->follow(previous, i);
  } else {
    arena_->submit(i);
  }
  return handle;
}

void Process::cancel(u32 i) {
  u32 e = arena_->new_record(kObject);
  arena_->hold(e);
  u32 entry = arena_->enter(e, kHandle);
  store(e, 0, 8);
  arena_->seal(e, kErrorFlag);
  u32 seen = arena_->record(i).state.load();
  for (;;) {
    u32 plain = seen & kStateMask;
    if (plain == kRunning) {
      if (!arena_->record(i).state.compare_exchange_weak(seen, seen | kCancelFlag)) continue;
    } else if (plain == kPending || plain == kQueued) {
      if (!arena_->begin_failing(i, seen)) continue;
      arena_->fail_begun(i, e);
      if (!(seen & kTurnFlag)) arena_->give_turn(i);
    }
    break;
  }
  release({e, entry});
}

// A wait ends now and then so that its process may look at signals; here there are none.
template <class Wait> static Arena::Wait patiently(Wait wait) {
  i64 end = i64(now_ns()) + kPatienceNs;
  for (;;)
    if (Arena::Wait w = wait(end); w != Arena::Wait::kInterrupted) return w;
}

void Process::await(u32 i) {
  Arena::Wait w = patiently([&](i64 end) { return arena_->wait_sealed(i, end); });
  if (w == Arena::Wait::kTimedOut) {
    Record& r = arena_->record(i);
    Queue& q = arena_->queue(r.queue);
    fail("a wait does not end: record " + std::to_string(i) + " is in state " + std::to_string(r.state.load()) + ", its queue " +
         std::to_string(r.queue) + " has length " + std::to_string(q.length.load()) + ", servers " +
         std::to_string(q.servers.load()) + ", sleepers " + std::to_string(q.sleepers.load()) + ", spinners " +
         std::to_string(q.spinners.load()) + ", flags " + std::to_string(q.flags.load()) + "; waiter " +
         std::to_string(r.waiter.load()) + ", cursor " + std::to_string(r.place & kPlaceMask));
  }
}

u64 Process::read_stream(Handle stream) {
  u64 sum = 0;
  for (;;) {
    bool sealed = arena_->sealed(stream.record);
    if (u32 item = arena_->pop_unread(stream.record)) {
      Handle handle{item, arena_->enter(item, kHandle)};
      sum += read(item);
      release(handle);
      continue;
    }
    if (sealed) return sum;
    Arena::Wait w = patiently([&](i64 end) { return arena_->wait_some({stream.record | kItemCounts}, 1, end); });
    expect(w != Arena::Wait::kTimedOut, "a stream does not go on");
  }
}

void Process::produce(u32 i, u64 items) {
  Record& r = arena_->record(i);
  for (u64 k = 0; k < items; k++) {
    Arena::Wait w = patiently([&](i64 end) { return arena_->wait_room(r.stream, r.backpressure(), i, end); });
    expect(w != Arena::Wait::kTimedOut, "a stream's producer waits for a reader that does not come");
    if (r.count.load() <= 1 || (r.state.load() & kCancelFlag)) return;
    u32 s = arena_->new_record(kReturn);
    arena_->hold(s);
    u32 entry = arena_->enter(s, kHandle);
    arena_->record(s).index = r.produced + 1;
    store(s, k, 8);
    arena_->seal(s, 0);
    arena_->strike(entry);
    arena_->push(r.stream, s);
    r.produced = r.produced + 1;
    arena_->notify(i);
  }
}

void Process::execute(u32 i, u32 entry) {
  Record& r = arena_->record(i);
  u64 sum = r.parent;
  u32 failed = 0;
  if (r.flags & kArgsHeld) {
    const u8* at = r.args_offset ? arena_->heap(r.args_offset) : r.args_inline;
    ArgsHead h;
    std::memcpy(&h, at, sizeof h);
    const u32* dependencies = reinterpret_cast<const u32*>(at + sizeof h);
    for (u32 k = 0; k < h.dependencies; k++) {
      if (arena_->record(dependencies[k]).state.load() & kErrorFlag) failed = dependencies[k];
      if (!failed) sum += read(dependencies[k]);
    }
  }
  if (failed) {
    arena_->seal_alias(i, failed, kErrorFlag);
  } else {
    if (r.kind == kStream) produce(i, kStreamItems);
    u64 size = sum % 16 == 0 ? 1000 + sum % 120'000 : sum % 5 == 0 ? 40 + sum % 3000 : 8;
    store(i, sum, size);
    arena_->begin_origin(i);
    arena_->seal(i, 0);
  }
  arena_->finish(i, entry);
  arena_->self->executed.fetch_add(1, std::memory_order_relaxed);
  arena_->self->running.store(0, std::memory_order_release);
}

bool Process::step(u32 queue, bool check_assignment) {
  u32 i = arena_->pop(queue, check_assignment);
  if (!i) return false;
  u32 entry = arena_->popped_entry;
  Record& r = arena_->record(i);
  if (random(r.kind == kStream ? 4 : 64) == 0) {  // an attempt that fails goes back
    if (r.kind == kStream) {  // while its items are read
      produce(i, random(kStreamItems));
      arena_->restart_stream(r);
    }
    arena_->self->running.store(0);
    if (arena_->push_back(i, entry)) return true;
    arena_->self->running.store(i);
  }
  execute(i, entry);
  return true;
}

void Process::serve_assigned() {
  Slot& s = *arena_->self;
  u32 queue = 0;
  for (;;) {
    u32 assigned = s.queue.load();
    if (assigned != queue) {
      if (queue && arena_->queue(queue).length.load()) arena_->announce(queue);
      if (queue && arena_->head->starving.load()) arena_->ring();
      queue = assigned == kQueueExit ? 0 : assigned;
    }
    if (assigned == kQueueExit) return;
    if (!queue) {
      arena_->deactivate();
      u32 seen = s.wake.load();
      if (!s.queue.load()) arena_->wait_wake(seen, -1);
      arena_->activate();
    } else if (!step(queue, true)) {
      arena_->wait_work(queue, -1, true);
    }
  }
}

Submitted Process::submit_random(u32 queue, const std::vector<Submitted>& known) {
  Submitted task;
  std::vector<u32> dependencies;
  task.value = random(1000);
  u64 own = task.value;
  for (u64 n = known.empty() ? 0 : random(4); n > 0; n--) {
    const Submitted& d = known[known.size() - 1 - random(std::min<u64>(known.size(), 20))];
    dependencies.push_back(d.handle.record);
    task.value += d.value;
    task.may_fail |= d.may_fail;
  }
  u64 kind = random(40);
  if (kind == 0) {
    task.handle = put(task.value = own, 8 << random(17));
    task.may_fail = false;
    return task;
  }
  u32 previous = known.empty() || random(3) ? 0 : known.back().handle.record;  // as calls of an ordered actor
  if (arena_->record(previous).kind != kTask) previous = 0;
  task.handle = submit(queue, own, dependencies, random(20) == 0 ? random(5000) : 0, false, previous);
  if (kind == 1) {
    cancel(task.handle.record);
    task.may_fail = true;
  }
  return task;
}

// Removes the file of a value and has it computed again. False: it can't be.
bool Process::lose(u32 i) {
  Record& r = arena_->record(i);
  unlink(arena_->file_of(r.uid).c_str());
  Lost outcome = arena_->reconstruct(i, r.uid);
  expect(outcome == kRecovered || outcome == kLostPut || outcome == kLostEvicted, "a lost value is not computed again");
  recomputed += outcome == kRecovered;
  return outcome == kRecovered;
}

// A round's stream is read before anything is waited for: unread, it would keep a worker for itself.
void Process::round(u32 queue, u32 tasks) {
  std::vector<Submitted> known;
  bool streams = random(8) == 0;
  Handle stream = streams ? submit(queue, 0, {}, 0, true) : Handle{};
  for (u32 n = 0; n < tasks; n++) known.push_back(submit_random(queue, known));
  if (streams && random(4) != 0) {
    u64 sum = read_stream(stream);
    if (sum != kStreamItems * (kStreamItems - 1) / 2) fail("a stream's items are wrong: " + std::to_string(sum));
  }
  if (streams) release(stream);
  std::shuffle(known.begin(), known.end(), random_);
  for (Submitted& task : known) await(task.handle.record);
  for (Submitted& task : known) {  // nothing runs that needs what is lost here
    u32 i = task.handle.record;
    bool failed = arena_->record(i).state.load() & kErrorFlag;
    if (failed && !task.may_fail) fail("a task failed that was not cancelled");
    bool there = failed || arena_->record(i).where != kFile || random(2) || lose(i);
    if (!failed && there && read(i) != task.value) fail("a task's value is wrong");
    release(task.handle);
  }
}

}  // namespace shoal::stress
