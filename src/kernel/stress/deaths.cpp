// Real processes that are killed at any instruction, and a daemon that repairs what they leave. Surviving drivers must see right
// values only; in the end no lock is held, the lists are whole, and what is lost is a few records for each death.
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <functional>
#include <map>

#include "process.h"

namespace shoal::stress {

// A count that was half taken or half given back keeps a record, and what that holds.
static constexpr u64 kLostPerDeath = 3;

namespace {

struct Child {
  pid_t pid{0};
  u32 slot{0};
  u32 queue{0};  // of a driver
};

class Node {
 public:
  explicit Node(const Options& options);
  void run();

 private:
  Child fork_child(u32 role, u32 queue, bool doomed, const std::function<void(Process&)>& body);
  Child fork_worker();
  Child fork_driver(bool doomed);
  void repair(const Child& child);
  void bury_driver(const Child& child);
  void kill_one(std::vector<Child>& children, bool drivers);
  void replace_dead(std::vector<Child>& children, bool drivers);
  void replace(std::vector<Child>& children, size_t which, int status, bool drivers);
  bool survivors_at_work();
  void drain();

  const Options& options_;
  std::unique_ptr<Arena> owner_;
  std::unique_ptr<Process> process_;
  Arena& a_;
  Daemon daemon_;
  std::vector<Child> workers_, doomed_, survivors_;
  u64 deaths_{0}, requeued_{0}, forks_{0};
};

Arena* new_arena(const Options& options) {
  const u8 session[8] = {8, 7, 6, 5, 4, 3, 2, 1};
  return Arena::create(8 * options.arena_bytes, options.folder, 2, session);  // spilling slows the work that is to be killed
}

Node::Node(const Options& options)
    : options_(options),
      owner_(new_arena(options)),
      process_(std::make_unique<Process>(std::unique_ptr<Arena>(Arena::share(*owner_)), owner_->reserve_slot(kRoleDaemon),
                                         options.seed)),
      a_(process_->arena()),
      daemon_(*process_) {}

Child Node::fork_child(u32 role, u32 queue, bool doomed, const std::function<void(Process&)>& body) {
  Child child{0, a_.reserve_slot(role), queue};
  if (role == kRoleDriver && !queue) child.queue = a_.new_queue(child.slot, 1, 0);
  a_.slot(child.slot).job = child.slot;
  pid_t parent = getpid();
  u64 seed = options_.seed + 1000 * ++forks_;
  child.pid = fork();
  expect(child.pid >= 0, "fork failed");
  if (child.pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    Process process(std::unique_ptr<Arena>(Arena::share(*owner_)), child.slot, seed);
    if (doomed) death_countdown = 1 + process.random(process.random(2) ? 300 : 10'000);
    body(process);
    _exit(0);
  }
  a_.slot(child.slot).pid.store(u32(child.pid));
  return child;
}

Child Node::fork_worker() {
  Child child = fork_child(kRoleWorker, 0, process_->random(4) != 0, [](Process& p) { p.serve_assigned(); });
  daemon_.add_worker(child.slot);
  return child;
}

Child Node::fork_driver(bool doomed) {
  u64 end = now_ns() + u64(options_.seconds * 1e9);
  u32 slot_queue = 0;
  Child child = fork_child(kRoleDriver, slot_queue, doomed, [&, end, doomed](Process& p) {
    u32 queue = 0;
    for (u32 q = 2; q < p.arena().head->queues_used; q++) {
      Queue& it = p.arena().queue(q);
      if (it.flags == kQueueUsed && it.owner == p.arena().me) queue = q;
    }
    expect(queue != 0, "a driver has no queue");
    while (doomed || now_ns() < end) p.round(queue, 1 + u32(p.random(p.random(4) ? 10 : 200)));
  });
  daemon_.add_queue(child.queue);
  return child;
}

void Node::repair(const Child& child) {
  u32 error = 0;
  for (const DeadTask& task : a_.repair_slot(child.slot)) {
    if (!task.cancelled) {
      a_.requeue(task.record, true, true);
      requeued_++;
      continue;
    }
    if (!error) {
      error = process_->put(0, 8).record;
      a_.record(error).state.fetch_or(kErrorFlag);
    }
    a_.fail_abandoned(task.record, error);
  }
}

// What only a dead driver wanted is failed; its queue goes when it is empty.
void Node::bury_driver(const Child& child) {
  Handle error = process_->put(0, 8);
  a_.record(error.record).state.fetch_or(kErrorFlag);
  auto orphans = a_.orphaned(child.slot);
  repair(child);
  a_.close_queue(child.queue, error.record);
  for (const DeadTask& task : orphans)
    if (a_.record(task.record).uid == task.uid) a_.fail_abandoned(task.record, error.record);
  process_->release(error);
}

void Node::kill_one(std::vector<Child>& children, bool drivers) {
  if (children.empty()) return;
  size_t which = process_->random(children.size());
  pid_t pid = children[which].pid;
  kill(pid, SIGKILL);
  int status = 0;
  expect(waitpid(pid, &status, 0) == pid, "a child can't be waited for");
  replace(children, which, status, drivers);
}

// Those that came to the place where they were to die.
void Node::replace_dead(std::vector<Child>& children, bool drivers) {
  for (size_t n = children.size(); n-- > 0;) {
    int status = 0;
    if (waitpid(children[n].pid, &status, WNOHANG) == children[n].pid) replace(children, n, status, drivers);
  }
}

void Node::replace(std::vector<Child>& children, size_t which, int status, bool drivers) {
  Child victim = children[which];
  if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) fail("a child had died by itself, status " + std::to_string(status));
  children.erase(children.begin() + long(which));
  deaths_++;
  if (drivers) {
    bury_driver(victim);
    children.push_back(fork_driver(true));
  } else {
    daemon_.remove_worker(victim.slot);
    repair(victim);
    children.push_back(fork_worker());
  }
}

bool Node::survivors_at_work() {
  for (size_t n = survivors_.size(); n-- > 0;) {
    int status = 0;
    if (waitpid(survivors_[n].pid, &status, WNOHANG) != survivors_[n].pid) continue;
    if (status != 0) fail("a surviving driver found something wrong, status " + std::to_string(status));
    repair(survivors_[n]);
    survivors_.erase(survivors_.begin() + long(n));
  }
  return !survivors_.empty();
}

void Node::drain() {
  u64 end = now_ns() + u64(kPatienceNs);
  for (bool busy = true; busy;) {
    busy = false;
    for (u32 q = 2; q < a_.head->queues_used; q++) {
      Queue& it = a_.queue(q);
      busy |= it.flags == kQueueUsed && it.length.load() > 0;
    }
    replace_dead(workers_, false);
    for (const Child& w : workers_) busy |= a_.slot(w.slot).running.load() != 0;
    expect(now_ns() < end, "work is left that nobody does");
    daemon_.wait_and_look(1'000'000);
  }
}

void Node::run() {
  for (u32 n = 0; n < options_.workers; n++) workers_.push_back(fork_worker());
  for (u32 n = 0; n < options_.drivers; n++) survivors_.push_back(fork_driver(false));
  doomed_.push_back(fork_driver(true));
  while (survivors_at_work()) {
    daemon_.wait_and_look(i64(process_->random(2'000'000)));
    replace_dead(workers_, false);
    replace_dead(doomed_, true);
    if (process_->random(3) == 0) kill_one(workers_, false);
    if (process_->random(20) == 0) kill_one(doomed_, true);
    if (process_->random(200) == 0) a_.trim_heap(0);
    if (process_->random(20) == 0) a_.spill(a_.head->capacity_bytes);
  }
  while (!doomed_.empty()) {
    kill(doomed_.back().pid, SIGKILL);
    waitpid(doomed_.back().pid, nullptr, 0);
    bury_driver(doomed_.back());
    doomed_.pop_back();
  }
  drain();
  for (const Child& w : workers_) {
    a_.end_worker(w.slot);
    int status = 0;
    waitpid(w.pid, &status, 0);
    if (status != 0) fail("a worker ended with status " + std::to_string(status));
    repair(w);
  }
  u64 live = check_at_rest(a_), blocks = blocks_in_use(a_);
  std::printf("deaths: %llu processes killed, %llu executions begun again, %llu records and %llu blocks lost\n",
              static_cast<unsigned long long>(deaths_), static_cast<unsigned long long>(requeued_),
              static_cast<unsigned long long>(live), static_cast<unsigned long long>(blocks));
  expect(live <= kLostPerDeath * deaths_, "more records are lost than deaths explain");
  expect(blocks <= kLostPerDeath * deaths_, "more blocks are lost than deaths explain");
}

}  // namespace

void run_deaths(const Options& options) { Node(options).run(); }

}  // namespace shoal::stress
