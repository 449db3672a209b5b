"""Ends a worker before the kernel's OOM killer ends anything it likes.

``choose`` is the policy, pure (Ray's: the last to have started, of whoever has most that runs); ``MemoryGuard.check`` reads
/proc and asks it. When what was ended runs again is ``memory_retries``' business. The node is looked at every ``refresh_s``
at most, and less often the more memory is free: no machine fills more than FILL_BYTES_PER_S."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import msgspec

from shoal.node.brain import Brain
from shoal.node.events import SlotSeen

FILL_BYTES_PER_S = 4 * 2**30
CHECK_MAX_S = 10.0


class Usage(msgspec.Struct, frozen=True):
    """Memory of the machine, or of the control group that limits us."""

    used_bytes: int
    total_bytes: int


class Candidate(msgspec.Struct, frozen=True):
    """A process of the node. ``retriable``: nothing is lost but time. ``since_s``: when it began. ``owner``: for whom it works.
    ``idle``: it runs nothing, so ending it is no choice, but it has memory."""

    slot: int
    pid: int
    name: str
    resident_bytes: int
    retriable: bool
    since_s: float
    owner: int = 0
    idle: bool = False


TaskFacts = Callable[[int], tuple[str, int]]
"""Name and retries left of the task with a record."""


class Verdict(msgspec.Struct, frozen=True):
    next_check_s: float
    victim_slot: int = 0
    message: str = ""
    alone: bool = False  # nothing else runs on the node


def choose(usage: Usage, threshold: float, candidates: list[Candidate]) -> Candidate | None:
    """Whom to end: of what can be run again (else of all), the newest of the owner who has most; nobody below the threshold."""
    groups: dict[tuple[bool, int], list[Candidate]] = {}
    for item in candidates:
        if not item.idle:
            groups.setdefault((item.retriable, item.owner), []).append(item)
    if not groups or usage.total_bytes <= 0 or usage.used_bytes < threshold * usage.total_bytes:
        return None
    group = max(groups.values(), key=lambda group: (group[0].retriable, len(group), max(item.since_s for item in group)))
    return max(group, key=lambda item: (item.since_s, item.resident_bytes))


def explain(usage: Usage, threshold: float, victim: Candidate, candidates: list[Candidate]) -> str:
    """What the user reads: how full the node was and who used most."""
    share = usage.used_bytes / usage.total_bytes
    used, total = usage.used_bytes / 2**30, usage.total_bytes / 2**30
    first = f"the node used {used:.2f} GiB of {total:.2f} GiB ({share:.1%}, more than the threshold of {threshold:.1%}), "
    first += f"so process {victim.pid} ({victim.name}, {victim.resident_bytes / 2**20:.0f} MiB) was ended."
    biggest = sorted(candidates, key=lambda item: -item.resident_bytes)[:10]
    rows = [
        f"  pid {item.pid:>8}  {item.resident_bytes / 2**20:>9.0f} MiB  {item.name}{' (idle)' if item.idle else ''}"
        for item in biggest
    ]
    last = "Give tasks more memory=..., run fewer at once (num_cpus), or set RAY_memory_usage_threshold."
    return "\n".join([first, "The biggest processes:", *rows, last])


class MemoryGuard:
    def __init__(self, threshold: float, refresh_s: float, task_retries: int = -1) -> None:
        self.threshold = threshold
        self.refresh_s = refresh_s
        self.task_retries = task_retries
        self.enabled = refresh_s > 0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> MemoryGuard:
        """RAY_memory_usage_threshold (0.95), RAY_memory_monitor_refresh_ms (250; 0: off) and RAY_task_oom_retries (-1: as often
        as it takes)."""
        threshold = float(environment.get("RAY_memory_usage_threshold", "0.95"))
        refresh_ms = float(environment.get("RAY_memory_monitor_refresh_ms", "250"))
        if not 0 <= threshold <= 1:
            raise ValueError(f"RAY_memory_usage_threshold must be between 0 and 1, but got {threshold}")
        task_retries = int(environment.get("RAY_task_oom_retries", "-1"))
        if task_retries < -1:
            raise ValueError(f"RAY_task_oom_retries must be >= -1, but got {task_retries}")
        return cls(threshold, refresh_ms / 1000, task_retries)

    def check(self, slots: list[SlotSeen], brain: Brain, task_facts: TaskFacts) -> Verdict:
        """Looks at the machine; the processes are read only when it is too full."""
        usage = read_usage()
        free_bytes = self.threshold * usage.total_bytes - usage.used_bytes
        if free_bytes > 0:
            return Verdict(min(CHECK_MAX_S, max(self.refresh_s, free_bytes / FILL_BYTES_PER_S)))
        candidates, dying = self._candidates(slots, brain, task_facts)
        victim = choose(usage, self.threshold, candidates)
        if victim is None:
            return Verdict(self.refresh_s)
        alone = not dying and all(item is victim or item.idle for item in candidates)
        return Verdict(self.refresh_s, victim.slot, explain(usage, self.threshold, victim, candidates), alone)

    def _candidates(self, slots: list[SlotSeen], brain: Brain, task_facts: TaskFacts) -> tuple[list[Candidate], bool]:
        """The processes of the node, and whether there are such as are being ended already."""
        found = []
        dying = False
        for seen in slots:
            process = brain.processes.at(seen.slot)
            if process is None or not process.pid:
                continue
            if process.killing:
                dying = True
                continue
            actor = brain.actors.get(process.actor_id) if process.actor_id else None
            if actor is not None:
                name, retriable = actor.request.class_name, actor.may_restart()
            elif seen.running:
                name, retries = task_facts(seen.running)
                retriable = retries != 0
            else:
                name, retriable = "worker", False
            size, owner = resident_bytes(process.pid), process.owner
            since_s, idle = seen.running_since_s, not seen.running
            found.append(Candidate(seen.slot, process.pid, name, size, retriable, since_s, owner, idle))
        return found, dying


def read_usage() -> Usage:
    """Of the control group when it has a limit, else of the machine."""
    machine = _machine_usage()
    group = _group_usage()
    return group if group is not None and group.total_bytes < machine.total_bytes else machine


def resident_bytes(pid: int) -> int:
    """Private and shared resident memory without the arena's pages: 0 for a process that is gone."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            _, resident, shared, *_ = file.read().split()
    except OSError:
        return 0
    return max(0, int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")


def _machine_usage() -> Usage:
    values = {}
    with open("/proc/meminfo", "rb") as file:
        for line in file:
            key, _, rest = line.partition(b":")
            if key in (b"MemTotal", b"MemAvailable"):
                values[key] = int(rest.split()[0]) * 1024
    total = values[b"MemTotal"]
    return Usage(total - values.get(b"MemAvailable", total), total)


def _group_usage() -> Usage | None:
    try:
        with open("/sys/fs/cgroup/memory.max", "rb") as file:
            limit = file.read().strip()
        if limit == b"max":
            return None
        with open("/sys/fs/cgroup/memory.current", "rb") as file:
            current = int(file.read())
        with open("/sys/fs/cgroup/memory.stat", "rb") as file:
            inactive = next((int(line.split()[1]) for line in file if line.startswith(b"inactive_file ")), 0)
    except OSError:
        return None
    return Usage(max(0, current - inactive), int(limit))
