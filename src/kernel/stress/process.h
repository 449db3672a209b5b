// One process of the stress program (or a thread that plays one): what drivers, workers and the daemon do with an arena,
// without Python. Every value can be checked: a task's is the sum of its arguments' and its own.
#pragma once

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "../arena.h"

namespace shoal::stress {

extern atom<u64> recomputed;  // values that were lost, by this process

inline constexpr i64 kPatienceNs = 30'000'000'000;  // a wait that takes longer is a lost wake-up

[[noreturn]] void fail(const std::string& what);
inline void expect(bool true_now, const char* what) {
  if (!true_now) fail(what);
}

struct Handle {
  u32 record{0};
  u32 entry{0};
};

// What is known of a submitted task.
struct Submitted {
  Handle handle;
  u64 value{0};
  bool may_fail{false};  // it, or what it waits for, was cancelled
};

class Process {
 public:
  // Takes over a reserved slot.
  Process(std::unique_ptr<Arena> arena, u32 slot, u64 seed);
  ~Process();
  Arena& arena() { return *arena_; }
  u64 random(u64 below) { return std::uniform_int_distribution<u64>(0, below - 1)(random_); }

  // ---- objects
  Handle put(u64 value, u64 bytes);
  u64 read(u32 record);  // checks every byte of it
  void release(Handle handle);

  // ---- tasks
  Handle submit(u32 queue, u64 own, const std::vector<u32>& dependencies, u64 padding, bool streaming = false,
                u32 previous = 0);
  void cancel(u32 record);
  void await(u32 record);
  u64 read_stream(Handle stream);

  // ---- executing; false: there was nothing to do
  bool step(u32 queue, bool check_assignment);
  void serve_assigned();  // until the slot is told to end

  // A round of a driver: a random graph of tasks and objects, awaited and checked.
  void round(u32 queue, u32 tasks);

 private:
  bool store(u32 record, u64 value, u64 bytes);
  void write_args(u32 record, const std::vector<u32>& dependencies, u64 padding);
  void execute(u32 record, u32 entry);
  void produce(u32 record, u64 items);
  void make_room(u64 bytes);
  bool lose(u32 record);
  Submitted submit_random(u32 queue, const std::vector<Submitted>& known);

  std::unique_ptr<Arena> arena_;
  std::mt19937_64 random_;
  Handle function_;
};

// The daemon's part: leases, as simple as can be, and only when the doorbell rings.
class Daemon {
 public:
  explicit Daemon(Process& process) : process_(process) {}
  void add_worker(u32 slot) { workers_.push_back(slot); }
  void remove_worker(u32 slot);
  void add_queue(u32 queue) { queues_.push_back(queue); }
  void wait_and_look(i64 timeout_ns);
  bool look();  // false: some queue waits for a worker

 private:
  u32 free_worker(u32 queue);
  Process& process_;
  std::vector<u32> workers_;
  std::vector<u32> queues_;
  u32 seen_{0};
  bool again_{false};  // some queue still waits
};

struct Options {
  double seconds{8};
  u32 drivers{3};
  u32 workers{3};
  u64 seed{1};
  u64 arena_bytes{2 << 20};
  std::string folder;  // for spilled values
};
void run_threads(const Options& options);
void run_deaths(const Options& options);

// Raises when locks are held, lists or counters of the heap are wrong. Returns the number of records in use.
u64 check_at_rest(Arena& arena);
u64 blocks_in_use(Arena& arena);

}  // namespace shoal::stress
