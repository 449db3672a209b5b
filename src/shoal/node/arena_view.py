"""What the brain is shown of the arena."""

from __future__ import annotations

from typing import Any

from shoal import _kernel
from shoal.core.native.calls import UNTOLD
from shoal.node.brain import Brain
from shoal.node.events import DeadTaskSeen, QueueSeen, Seen, SlotSeen


def look(brain: Brain, now_s: float, every_slot: bool = False) -> Seen:
    """All task queues, and the slots that matter for scheduling (or all of the node's processes)."""
    queues = [
        QueueSeen(queue.queue, queue.length, queue.class_id, queue.owner, queue.closed)
        for queue in _kernel.task_queues()
        if queue.length or queue.servers
    ]
    slots = [process.slot for process in brain.processes if process.slot] if every_slot else brain.slots_to_watch()
    return Seen(now_s, queues, [slot_seen(slot) for slot in slots])


def slot_seen(slot: int) -> SlotSeen:
    state = _kernel.slot_state(slot)
    return SlotSeen(slot, state.queue, state.running, state.blocked, state.executed, state.running_since_ns / 1e9)


def task_facts(record: int) -> tuple[str, int]:
    """Name and retries left of a task that runs."""
    return _kernel.record_name(record).removeprefix(UNTOLD), _kernel.record_retries(record)


def describe_execution(execution: tuple[int, int]) -> str:
    """Its name, with the process that runs it."""
    slot = _kernel.running_slot(*execution)
    name = _kernel.record_name(execution[0]).removeprefix(UNTOLD)
    return f"{name} (pid {_kernel.slot_state(slot).pid})" if slot else name


def dead_tasks(tasks: list[Any]) -> list[DeadTaskSeen]:
    return [
        DeadTaskSeen(
            task.record,
            task.uid,
            task.queue,
            task.retries_left,
            task.name.removeprefix(UNTOLD),
            task.owner,
            task.cancelled,
            task.is_actor_call,
        )
        for task in tasks
    ]
