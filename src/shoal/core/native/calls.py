"""Call records: how a worker is to call something. The code itself is shared by all call records of equal code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shoal.core.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable

    from shoal._kernel import ObjectRef

FUNCTION = "function"
METHOD = "method"
CLASS = "class"
UNTOLD = "\u2060"
"""Begins the kernel's name of a call whose executions are not told of (``enable_task_events=False``): state lists and timelines
leave it out. It has no width, where such a name is printed after all."""


class Call(Record):
    """What a worker needs to execute something."""

    kind: str
    name: str  # as shown to people: module.function, Class.method
    code: ObjectRef | None  # pickled function or class
    method: str = ""
    task_name: str = ""
    returns_dynamic: bool = False
    retry_exceptions: bool | tuple[type[BaseException], ...] = False
    max_calls: int = 0
    group: str = ""
    placement_group: bytes = b""  # of a task
    threads: int = 1  # of a task: its whole CPUs, for libraries that ask how many threads they may use
    pauses: bool = False  # its stream waits for its reader (backpressure)
    is_told: bool = True  # state lists and timelines show its executions

    @property
    def told_name(self) -> str:
        """What the kernel is to know it by."""
        return self.name if self.is_told else f"{UNTOLD}{self.name}"

    def __reduce__(self) -> tuple[Callable[..., Call], tuple[Any, ...]]:
        return type(self), self.values()
