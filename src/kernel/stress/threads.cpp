// Everything at once, by threads of one process that share its mapping: what a sanitizer can watch. Nobody dies, so nothing may
// be left in the end, not one record.
#include <cstdio>
#include <thread>

#include "process.h"

namespace shoal::stress {

static void drain(Arena& a, Daemon& daemon, const std::vector<u32>& queues, const std::vector<u32>& slots) {
  u64 end = now_ns() + u64(kPatienceNs);
  for (;;) {
    bool busy = false;
    for (u32 q : queues) busy |= a.queue(q).length.load() > 0;
    for (u32 s : slots) busy |= a.slot(s).running.load() != 0;
    if (!busy) return;
    expect(now_ns() < end, "work is left that nobody does");
    daemon.wait_and_look(1'000'000);
  }
}

void run_threads(const Options& options) {
  const u8 session[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  std::unique_ptr<Arena> owner(Arena::create(options.arena_bytes, options.folder, 2, session));
  auto new_process = [&](u32 slot, u64 seed) { return Process(std::unique_ptr<Arena>(Arena::share(*owner)), slot, seed); };
  Process main(std::unique_ptr<Arena>(Arena::share(*owner)), owner->reserve_slot(kRoleDaemon), options.seed);
  Arena& a = main.arena();
  Daemon daemon(main);

  std::vector<u32> queues, slots;
  std::vector<std::thread> workers, drivers;
  for (u32 n = 0; n < options.workers; n++) {
    u32 slot = a.reserve_slot(kRoleWorker);
    slots.push_back(slot);
    daemon.add_worker(slot);
    workers.emplace_back([&, slot] {
      Process worker = new_process(slot, options.seed + slot);
      worker.serve_assigned();
    });
  }
  std::atomic<u32> at_work{options.drivers};
  std::atomic<u64> rounds{0};
  u64 end = now_ns() + u64(options.seconds * 1e9);
  for (u32 n = 0; n < options.drivers; n++) {
    u32 slot = a.reserve_slot(kRoleDriver);
    u32 queue = a.new_queue(slot, 1, 0);
    a.slot(slot).job = slot;
    queues.push_back(queue);
    daemon.add_queue(queue);
    drivers.emplace_back([&, slot, queue] {
      Process driver = new_process(slot, options.seed + slot);
      for (; now_ns() < end; rounds++) driver.round(queue, 1 + u32(driver.random(driver.random(4) ? 8 : 300)));
      at_work--;
    });
  }
  u64 trimmed = 0;
  while (at_work.load()) {
    daemon.wait_and_look(20'000'000);
    if (main.random(50) == 0) trimmed += a.trim_heap(0) + a.trim_records();
    if (main.random(50) == 0) a.spill(a.head->capacity_bytes / 4);
  }
  for (auto& t : drivers) t.join();
  drain(a, daemon, queues, slots);
  for (u32 slot : slots) a.end_worker(slot);
  for (auto& t : workers) t.join();

  u64 live = check_at_rest(a);
  expect(live == 0, "records are left");
  expect(blocks_in_use(a) == 0, "blocks are left");
  expect(a.head->spilled_objects.load() == 0, "files are left");
  expect(a.head->lineage_bytes.load() == 0, "lineage is left");
  std::printf("threads: %llu rounds, %llu lost values computed again, %llu bytes trimmed, nothing left\n",
              static_cast<unsigned long long>(rounds.load()), static_cast<unsigned long long>(recomputed.load()),
              static_cast<unsigned long long>(trimmed));
}

}  // namespace shoal::stress
