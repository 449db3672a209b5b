from __future__ import annotations

import gc
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import shoal
from shoal.exceptions import ActorDiedError, PendingCallsLimitExceeded, RayActorError

pytestmark = pytest.mark.usefixtures("cluster")


@shoal.remote(num_cpus=0)
class Counter:
    def __init__(self, value: int = 0) -> None:
        self.value = value

    def add(self, amount: int = 1) -> int:
        self.value += amount
        return self.value

    def fail(self) -> None:
        raise ValueError("the counter is broken")

    def pid(self) -> int:
        return os.getpid()

    def exit(self, how: str) -> None:
        if how == "exit_actor":
            shoal.actor.exit_actor()
        raise SystemExit({"sys.exit(0)": 0, "sys.exit(1)": 1}[how])

    @shoal.method(num_returns=2)
    def two(self) -> tuple[int, int]:
        return self.value, -self.value


@shoal.remote(num_cpus=0)
def add_through(counter: Any, amount: int) -> int:
    return int(shoal.get(counter.add.remote(amount)))


def test_an_actor_keeps_its_state_between_calls() -> None:
    counter = Counter.remote(5)
    assert shoal.get([counter.add.remote() for _ in range(3)]) == [6, 7, 8]
    assert shoal.get(counter.two.remote()) == [8, -8]


def test_calls_of_one_caller_run_in_the_order_of_the_calls() -> None:
    @shoal.remote(num_cpus=0)
    class Log:
        def __init__(self) -> None:
            self.items: list[Any] = []

        def add(self, item: Any) -> None:
            self.items.append(item)

        def read(self) -> list[Any]:
            return self.items

    log = Log.remote()
    for number in range(200):
        # Every other call waits for an argument that a task still makes.
        log.add.remote(number if number % 2 else echo.remote(number))
    assert shoal.get(log.read.remote()) == list(range(200))


@shoal.remote(num_cpus=0)
def echo(value: Any) -> Any:
    return value


def test_an_error_of_a_method_leaves_the_actor_alive() -> None:
    counter = Counter.remote()
    with pytest.raises(ValueError, match="the counter is broken"):
        shoal.get(counter.fail.remote())
    assert shoal.get(counter.add.remote()) == 1


def test_an_error_of_the_constructor_is_the_answer_to_every_call() -> None:
    @shoal.remote(num_cpus=0, max_restarts=2)
    class Broken:
        def __init__(self) -> None:
            raise ZeroDivisionError("cannot be made")

        def method(self) -> None: ...

    broken = Broken.remote()
    for _ in range(2):
        with pytest.raises(ActorDiedError, match="cannot be made"):
            shoal.get(broken.method.remote())


def test_a_failed_argument_of_the_constructor_is_the_answer_to_every_call() -> None:
    @shoal.remote(num_cpus=0)
    def fail() -> int:
        raise ZeroDivisionError("no argument")

    counter = Counter.remote(fail.remote())
    with pytest.raises(ActorDiedError, match="no argument"):
        shoal.get(counter.add.remote())


def test_a_handle_can_be_passed_on_and_compares_equal() -> None:
    counter = Counter.remote()
    assert shoal.get(add_through.remote(counter, 4)) == 4
    assert shoal.get(echo.remote(counter)) == counter
    assert len({counter, shoal.get(echo.remote([counter]))[0]}) == 1


def test_an_actor_ends_when_its_last_handle_is_gone_after_finishing_its_calls() -> None:
    counter = Counter.remote()
    pid = shoal.get(counter.pid.remote())
    last = counter.add.remote(3)
    del counter
    gc.collect()
    assert shoal.get(last) == 3
    _wait_gone(pid)


def test_a_handle_inside_of_an_object_keeps_the_actor() -> None:
    ref = shoal.put([Counter.remote(1)])
    gc.collect()
    assert shoal.get(shoal.get(ref)[0].add.remote()) == 2


@pytest.mark.parametrize("how", ["exit_actor", "sys.exit(0)"])
def test_an_actor_that_leaves_on_purpose_is_not_restarted(how: str) -> None:
    counter = Counter.options(max_restarts=-1).remote()
    with pytest.raises(ActorDiedError):
        shoal.get(counter.exit.remote(how))
    with pytest.raises(ActorDiedError):
        shoal.get(counter.add.remote())


def test_an_actor_that_exits_with_an_error_is_restarted_anew() -> None:
    counter = Counter.options(max_restarts=1).remote(10)
    assert shoal.get(counter.add.remote()) == 11
    with pytest.raises(RayActorError):
        shoal.get(counter.exit.remote("sys.exit(1)"))
    assert shoal.get(counter.add.remote()) == 11


@shoal.remote(num_cpus=0)
class Leaver:
    """Leaves marks when it ends in an orderly way."""

    def __init__(self, folder: Path) -> None:
        import atexit

        self.folder = folder
        atexit.register((folder / "atexit").touch)

    def pid(self) -> int:
        return os.getpid()

    def exit(self) -> None:
        shoal.actor.exit_actor()

    def __ray_shutdown__(self) -> None:
        (self.folder / "shutdown").touch()


@pytest.mark.parametrize("end", ["exit", "terminate", "last handle", "kill"])
def test_an_actor_that_is_not_killed_runs_its_exit_handlers(end: str, tmp_path: Path) -> None:
    leaver = Leaver.remote(tmp_path)
    pid = shoal.get(leaver.pid.remote())
    if end == "exit":
        leaver.exit.remote()
    elif end == "terminate":
        leaver.__ray_terminate__.remote()
    elif end == "kill":
        shoal.kill(leaver)
    del leaver
    gc.collect()
    _wait_gone(pid)
    marks = sorted(path.name for path in tmp_path.iterdir())
    assert marks == ([] if end == "kill" else ["atexit", "shutdown"])


def test_a_hook_that_does_not_end_holds_its_actor_up_for_a_limited_time_only() -> None:
    @shoal.remote(num_cpus=1)
    class Endless:
        def pid(self) -> int:
            return os.getpid()

        def __ray_shutdown__(self) -> None:
            threading.Event().wait()

    variables = {"RAY_actor_graceful_shutdown_timeout_ms": "50"}
    endless = Endless.options(runtime_env={"env_vars": variables}).remote()
    pid = shoal.get(endless.pid.remote())
    del endless
    gc.collect()
    _wait_gone(pid)


def test_kill_ends_an_actor_and_fails_its_calls() -> None:
    counter = Counter.remote()
    pid = shoal.get(counter.pid.remote())
    shoal.kill(counter)
    with pytest.raises(ActorDiedError):
        shoal.get(counter.add.remote())
    _wait_gone(pid)


def test_kill_that_allows_a_restart_uses_one_up() -> None:
    counter = Counter.options(max_restarts=1, max_task_retries=-1).remote()
    pid = shoal.get(counter.pid.remote())
    shoal.kill(counter, no_restart=False)
    _wait_gone(pid)
    assert shoal.get(counter.pid.remote()) != pid


def test_a_handle_refuses_more_pending_calls_than_it_may_have() -> None:
    @shoal.remote(num_cpus=0, max_concurrency=2, max_pending_calls=2)
    class Slow:
        def __init__(self) -> None:
            import threading

            self.gate = threading.Event()

        def wait(self) -> bool:
            return self.gate.wait(30)

        def open(self) -> None:
            self.gate.set()

    slow = Slow.remote()
    waiting = slow.wait.remote()
    slow.open.remote()
    with pytest.raises(PendingCallsLimitExceeded, match="max_pending_calls=2"):
        for _ in range(1000):
            slow.wait.remote()
    assert shoal.get(waiting) is True


def test_wrong_arguments_and_unknown_methods_are_refused_where_the_call_is_made() -> None:
    with pytest.raises(TypeError):
        Counter.remote(1, 2)
    counter = Counter.remote()
    with pytest.raises(TypeError):
        counter.add.remote(1, 2)
    with pytest.raises(AttributeError, match="subtract"):
        counter.subtract.remote(1)


def test_built_in_methods_answer() -> None:
    counter = Counter.remote(2)
    assert shoal.get(counter.__ray_ready__.remote()) is True
    assert shoal.get(counter.__ray_call__.remote(lambda self, extra: self.value + extra, 3)) == 5
    counter.__ray_terminate__.remote()
    with pytest.raises(ActorDiedError):
        shoal.get(counter.add.remote())


def test_actors_make_actors_that_end_with_them() -> None:
    @shoal.remote(num_cpus=0)
    class Parent:
        def __init__(self) -> None:
            self.child = Counter.remote()

        def child_pid(self) -> int:
            return int(shoal.get(self.child.pid.remote()))

    parent = Parent.remote()
    pid = shoal.get(parent.child_pid.remote())
    shoal.kill(parent)
    _wait_gone(pid)


def test_an_actor_waits_for_its_own_tasks_while_it_holds_its_cpu() -> None:
    @shoal.remote(num_cpus=4)
    class Whole:
        def use(self) -> int:
            return int(shoal.get(one.remote()))

    @shoal.remote(num_cpus=4)
    def one() -> int:
        return 1

    whole = Whole.remote()
    assert shoal.get(whole.use.remote(), timeout=30) == 1


def _wait_gone(pid: int) -> None:
    _wait_until(lambda: not Path(f"/proc/{pid}").exists())


def _wait_until(condition: Any, timeout_s: float = 20) -> None:
    import time

    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)  # what is waited for happens in another process


def test_a_call_cancelled_after_its_argument_came_leaves_its_actor_alive(tmp_path: Path) -> None:
    @shoal.remote(num_cpus=0)
    class Busy:
        def wait_for(self, path: str) -> None:
            while not os.path.exists(path):
                time.sleep(0.005)  # polling: what it waits for is in another process

        def echo(self, value: int) -> int:
            return value

    busy, gate, other = Busy.remote(), tmp_path / "gate", tmp_path / "other"
    holding = busy.wait_for.remote(str(gate))
    argument = Busy.remote().wait_for.remote(str(other))
    call = busy.echo.remote(argument)  # waits for its argument, then behind the running call
    other.touch()
    shoal.get(argument, timeout=20)
    shoal.cancel(call)
    gate.touch()
    shoal.get(holding, timeout=20)
    assert shoal.get(busy.echo.remote(7), timeout=20) == 7
