from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

import shoal
from shoal.exceptions import TaskCancelledError, WorkerCrashedError

pytestmark = pytest.mark.usefixtures("cluster")


@shoal.remote
def loop_until_cancelled(started: str) -> str:
    Path(started).touch()
    deadline = _monotonic() + 30
    while _monotonic() < deadline:
        sum(range(1000))
    return "never cancelled"


@shoal.remote
def echo(value: Any) -> Any:
    return value


@shoal.remote
class Sequence:
    def __init__(self) -> None:
        self.items: list[Any] = []

    def append(self, item: Any) -> list[Any]:
        self.items.append(item)
        return self.items


def _monotonic() -> float:
    import time

    return time.monotonic()


def test_a_task_that_waits_for_its_arguments_never_runs(tmp_path: Path) -> None:
    started = tmp_path / "started"
    blocker = loop_until_cancelled.remote(str(tmp_path / "blocker"))

    @shoal.remote
    def run(value: Any) -> None:
        started.touch()

    waiting = run.remote(blocker)
    shoal.cancel(waiting)
    with pytest.raises(TaskCancelledError):
        shoal.get(waiting, timeout=20)
    shoal.cancel(blocker)
    with pytest.raises(TaskCancelledError):
        shoal.get(blocker, timeout=20)
    assert not started.exists()


def test_a_running_task_is_interrupted(tmp_path: Path) -> None:
    running = loop_until_cancelled.remote(str(tmp_path / "started"))
    _until(lambda: (tmp_path / "started").exists())
    shoal.cancel(running)
    with pytest.raises(TaskCancelledError):
        shoal.get(running, timeout=20)


def test_a_task_that_swallows_the_interruption_gives_its_result(tmp_path: Path) -> None:
    started = tmp_path / "started"

    @shoal.remote
    def stubborn() -> str:
        started.touch()
        try:
            deadline = _monotonic() + 30
            while _monotonic() < deadline:
                sum(range(1000))
        except KeyboardInterrupt:
            return "went on"
        return "never cancelled"

    running = stubborn.remote()
    _until(started.exists)
    shoal.cancel(running)
    assert shoal.get(running, timeout=20) == "went on"


def test_force_kills_the_worker_and_the_task_is_not_retried(tmp_path: Path) -> None:
    started = tmp_path / "started"

    @shoal.remote(max_retries=5)
    def hold() -> None:
        with started.open("a") as file:
            file.write(f"{os.getpid()}\n")
        threading.Event().wait(30)

    running = hold.remote()
    _until(lambda: started.exists() and started.read_text().endswith("\n"))
    shoal.cancel(running, force=True)
    with pytest.raises((TaskCancelledError, WorkerCrashedError)):
        shoal.get(running, timeout=20)
    assert len(started.read_text().split()) == 1


def test_the_tasks_that_a_task_started_are_cancelled_with_it(tmp_path: Path) -> None:
    @shoal.remote(num_cpus=0)
    def parent() -> None:
        shoal.get(loop_until_cancelled.remote(str(tmp_path / "child")))

    running = parent.remote()
    _until(lambda: (tmp_path / "child").exists())
    shoal.cancel(running)
    with pytest.raises(TaskCancelledError):
        shoal.get(running, timeout=20)
    # All four CPUs are free again only when the child has ended, too.
    assert shoal.get(echo.options(num_cpus=4).remote(1), timeout=20) == 1


def test_a_queued_call_of_an_actor_never_runs(tmp_path: Path) -> None:
    @shoal.remote(num_cpus=0)
    class Slow:
        def __init__(self) -> None:
            self.calls = 0

        def call(self, value: Any) -> int:
            self.calls += 1
            return self.calls

    slow = Slow.remote()
    first = slow.call.remote(1)
    argument = loop_until_cancelled.remote(str(tmp_path / "argument"))
    never = slow.call.remote(argument)
    shoal.cancel(never)
    with pytest.raises(TaskCancelledError):
        shoal.get(never, timeout=20)
    shoal.cancel(argument)
    assert shoal.get([first, slow.call.remote(2)], timeout=20) == [1, 2]


def test_a_cancelled_call_that_waits_for_its_argument_does_not_hold_up_the_next(tmp_path: Path) -> None:
    actor = Sequence.remote()
    never = loop_until_cancelled.remote(str(tmp_path / "blocker"))
    waiting = actor.append.remote(never)
    after = actor.append.remote("after")
    last = actor.append.remote("last")
    shoal.cancel(after)  # not its turn yet: it must not let `last` overtake the call before it
    assert shoal.wait([last], timeout=0.05)[0] == []
    shoal.cancel(waiting)
    assert shoal.get(last, timeout=20) == ["last"]
    for ref in (waiting, after):
        with pytest.raises(TaskCancelledError):
            shoal.get(ref)
    shoal.cancel(never, force=True)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("returns", [1, 2, "streaming"])
def test_a_cancelled_call_has_no_value_whatever_its_method_returns(threads: int, returns: Any, tmp_path: Path) -> None:
    @shoal.remote(num_cpus=0)
    class Stubborn:
        def run(self, started: str) -> Any:
            Path(started).touch()
            while not shoal.get_runtime_context().is_canceled():
                pass
            return 1, 2

        def stream(self, started: str) -> Any:
            yield self.run(started)

        def ready(self) -> bool:
            return True

    stubborn = Stubborn.options(max_concurrency=threads).remote()
    method = stubborn.stream if returns == "streaming" else stubborn.run
    refs = method.options(num_returns=returns).remote(str(tmp_path / "started"))
    _until(lambda: (tmp_path / "started").exists())
    shoal.cancel(refs[0] if returns == 2 else refs)
    for ref in refs if returns == 2 else [refs.completed() if returns == "streaming" else refs]:
        with pytest.raises(TaskCancelledError):
            shoal.get(ref, timeout=20)
    assert shoal.get(stubborn.ready.remote(), timeout=20)


def test_a_running_call_of_an_actor_is_told() -> None:
    @shoal.remote(num_cpus=0)
    class Patient:
        def wait(self) -> str:
            deadline = _monotonic() + 30
            while not shoal.get_runtime_context().is_canceled():
                assert _monotonic() < deadline
            return "told"

        def ready(self) -> bool:
            return True

    patient = Patient.remote()
    assert shoal.get(patient.ready.remote())
    running = patient.wait.remote()
    _until(lambda: shoal.wait([running], timeout=0.05)[1] == [running])
    shoal.cancel(running)
    with pytest.raises(TaskCancelledError):
        shoal.get(running, timeout=20)
    with pytest.raises(ValueError, match="force"):
        shoal.cancel(patient.ready.remote(), force=True)


def test_cancelling_what_is_done_changes_nothing() -> None:
    done, kept = echo.remote(1), shoal.put(2)
    assert shoal.get(done) == 1
    shoal.cancel(done)
    assert shoal.get([done, kept]) == [1, 2]
    with pytest.raises(TypeError, match="cancel"):
        shoal.cancel(3)  # type: ignore[arg-type]


def _until(condition: Any) -> None:
    import time

    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.002)  # what is waited for happens in another process
