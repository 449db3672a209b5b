"""A node in miniature for tests of the kernel: this process is its daemon and its driver, workers are forked."""

from __future__ import annotations

import gc
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from shoal import _kernel
from shoal.core.serialization import dumps_error

MB = 1024 * 1024
PATIENCE_S = 40.0


def until(condition: Callable[[], Any], what: str = "") -> None:
    """Waits for the condition. Fails after PATIENCE_S."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"never came true: {what or condition}"
        time.sleep(0.001)  # polling: what it waits for is in another process


class Handlers:
    """How a worker executes: functions are pickled in the record of the function."""

    def load(self, function: Any) -> Callable[..., Any] | None:
        loaded: Callable[..., Any] = _kernel.get(function)
        return loaded

    def execute(self, task: Any) -> None:
        args = task.args()
        if not isinstance(args, tuple):
            task.inherit(args)
            return
        result = _kernel.get(task.function)(*args[0], **args[1])
        if task.streaming:
            for item in result:
                task.yield_item(item)
                if not task.wait_room():
                    break
            task.complete(None)
        else:
            task.complete_many(tuple(result))

    def failed(self, task: Any, error: BaseException) -> None:
        task.fail(error)

    def inherited(self, task: Any, failed: Any) -> None:
        task.inherit(failed)


class Node:
    """``queue`` is a task queue of this process."""

    def __init__(self, folder: Path, capacity_bytes: int = 64 * MB, spill_folder: str = "spilled") -> None:
        self.folder = folder
        _kernel.create_arena(capacity_bytes, str(folder / spill_folder), 2, b"kerneltest"[:8])
        self.queue = _kernel.create_queue(_kernel.my_slot(), 1, False)
        self.pids: dict[int, int] = {}

    # -- work
    def task(self, function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        """A submitter. Options: queue, mailbox, retries, num_returns, streaming, backpressure."""
        values = {"queue": self.queue, "mailbox": None, "retries": 0, "num_returns": 1, "streaming": False, "backpressure": 0}
        values.update(options)
        name = getattr(function, "__name__", "function")
        return _kernel.Submitter(
            function=_kernel.function_record(function, name),
            check=lambda *args, **kwargs: None,
            fallback=_no_session,
            too_many=_too_many,
            min_positional=0,
            max_positional=-1,
            retry_exceptions=False,
            **values,
        )

    def worker(self, queue: int | None = None) -> int:
        """Forks one that serves the queue; its slot."""
        slot = _kernel.reserve_slot(_kernel.ROLE_WORKER)
        _kernel.assign(slot, self.queue if queue is None else queue)
        self._fork(slot, lambda: _kernel.run(0, Handlers(), False))
        return slot

    def server(self, mailbox: int) -> int:
        """Forks one that serves a mailbox as an actor does."""
        slot = _kernel.reserve_slot(_kernel.ROLE_ACTOR)

        def serve() -> None:
            _kernel.serve_mailbox(mailbox)
            _kernel.run(mailbox, Handlers(), True)

        self._fork(slot, serve)
        return slot

    def _fork(self, slot: int, body: Callable[[], None]) -> None:
        pid = os.fork()
        if pid == 0:
            _kernel.adopt_slot(slot)
            try:
                body()
            finally:
                os._exit(0)
        self.pids[slot] = pid

    def driver(self, body: Callable[[], None]) -> int:
        """Forks a process that submits work of its own; its slot."""
        slot = _kernel.reserve_slot(_kernel.ROLE_DRIVER)
        self._fork(slot, body)
        return slot

    def kill(self, slot: int) -> list[Any]:
        """kill -9, and what the daemon does then. The executions that were under way."""
        os.kill(self.pids[slot], signal.SIGKILL)
        return self.bury(slot)

    def bury(self, slot: int) -> list[Any]:
        os.waitpid(self.pids.pop(slot), 0)
        return list(_kernel.repair_slot(slot))

    def end(self, *slots: int) -> None:
        for slot in slots:
            _kernel.end_worker(slot)
            assert self.bury(slot) == []

    # -- what is left
    def records(self) -> int:
        gc.collect()
        return int(_kernel.memory_stats()["records"])


def error_bytes(text: str) -> bytes:
    return dumps_error(ValueError(text))


def _no_session(*args: Any, **kwargs: Any) -> NoReturn:
    raise RuntimeError("the session has ended")


def _too_many(limit: int) -> NoReturn:
    raise RuntimeError(f"more than {limit} calls are under way")
