"""Which environments of tasks and actors have an interpreter that is ready: part of the brain, pure.

Most environments need none of their own and are ready always. Others (``pip``, ``uv``, ``py_executable``) are prepared by the
shell when the first class with them is registered. Meanwhile their work makes no demand: it holds no resources, no timer runs
for it, and no worker is started. It goes on when the shell says that the environment is ready, or fails with the reason.
"""

from __future__ import annotations

from collections.abc import Callable

from shoal.core.native import environments
from shoal.node.events import ErrorFacts, Instruction, PrepareEnvironment
from shoal.node.scheduling_classes import ClassTable, SchedulingClass


class PreparedEnvironments:
    def __init__(self, classes: ClassTable, emit: Callable[[Instruction], None]) -> None:
        self._classes = classes
        self._emit = emit
        self._ready: set[str] = set()
        self._failed: dict[str, ErrorFacts] = {}

    def wanted(self, item: SchedulingClass, root: int) -> None:
        """The driver at ``root`` is about to submit work of the class. It is told how the preparation goes."""
        text = item.environment
        if text in self._ready or not environments.needs_interpreter(text):
            return
        if text in self._failed:
            item.closed = item.closed or self._failed[text]
            return
        item.preparing = True
        self._emit(PrepareEnvironment(text, root))

    def outcome(self, environment: str) -> tuple[bool | None, str]:
        """Whether its interpreter is ready, None while it is being made, and why it could not be made."""
        if environment in self._failed:
            return False, self._failed[environment].message
        return (True if environment in self._ready or not environments.needs_interpreter(environment) else None), ""

    def ready(self, environment: str) -> None:
        self._ready.add(environment)
        for item in self._classes.of_environment(environment):
            item.preparing = False

    def failed(self, environment: str, message: str) -> list[SchedulingClass]:
        """The classes that are closed by that: their work fails."""
        error = self._failed[environment] = ErrorFacts("environment_failed", message)
        classes = self._classes.of_environment(environment)
        for item in classes:
            item.preparing = False
            item.closed = item.closed or error
        return classes
