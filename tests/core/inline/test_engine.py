"""What programs may rely on in inline mode as in a cluster: each test runs on both engines."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import os
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import shoal
from shoal import exceptions
from shoal.util.placement_group import placement_group, placement_group_table, remove_placement_group
from shoal.util.scheduling_strategies import (
    DoesNotExist,
    Exists,
    In,
    NodeLabelSchedulingStrategy,
    NotIn,
    PlacementGroupSchedulingStrategy,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

GONE_WITHIN_S = 20


@pytest.fixture(scope="module", params=[True, False], ids=["inline", "cluster"], autouse=True)
def engine(request: pytest.FixtureRequest) -> Iterator[None]:
    shoal.init(num_cpus=4, resources={"thing": 2}, inline=request.param, log_to_driver=False)
    yield
    shoal.shutdown()


@pytest.fixture(autouse=True)
def _no_session_before_or_after() -> None:
    """In the place of the fixture that ends the session after each test."""


@shoal.remote
def add(first: int, second: int = 0) -> int:
    return first + second


@shoal.remote
def fail(text: str = "no") -> None:
    raise ValueError(text)


@shoal.remote
class Counter:
    def __init__(self, start: int = 0) -> None:
        self.value = start

    def add(self, amount: int = 1) -> int:
        self.value += amount
        return self.value

    def fail(self) -> None:
        raise KeyError("here")

    def leave(self) -> None:
        shoal.actor.exit_actor()

    def two(self) -> tuple[int, int]:
        return self.value, -self.value


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + GONE_WITHIN_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)  # other processes are waited for: there is nothing to be woken by


# -- tasks


def test_a_task_returns_its_value() -> None:
    assert shoal.get([add.remote(1, second=2), add.remote(add.remote(3))]) == [3, 3]


def test_wrong_arguments_raise_where_the_call_is() -> None:
    with pytest.raises(TypeError):
        add.remote()


def test_an_error_arrives_at_get_with_its_cause() -> None:
    with pytest.raises(ValueError, match="no") as caught:
        shoal.get(fail.remote())
    assert isinstance(caught.value, exceptions.RayTaskError)
    assert isinstance(caught.value.cause, ValueError)
    assert "in fail" in str(caught.value)


def test_an_error_goes_through_the_tasks_that_depend_on_it() -> None:
    with pytest.raises(ValueError, match="deep"):
        shoal.get(add.remote(add.remote(fail.remote("deep"))))


def test_several_results_have_a_reference_each() -> None:
    first, second = shoal.remote(lambda: (1, 2)).options(num_returns=2).remote()
    assert shoal.get([second, first]) == [2, 1]


def test_no_result_has_no_reference(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    assert shoal.remote(mark.touch).options(num_returns=0).remote() is None
    wait_until(mark.exists)


def test_a_task_starts_tasks() -> None:
    @shoal.remote
    def factorial(number: int) -> int:
        return number * int(shoal.get(factorial.remote(number - 1))) if number else 1

    assert shoal.get(factorial.remote(6)) == 720


def test_a_task_gets_a_copy_of_its_arguments() -> None:
    @shoal.remote
    def grow(values: list[int]) -> list[int]:
        values.append(1)
        return values

    given: list[int] = []
    assert shoal.get(grow.remote(given)) == [1]
    assert given == []


def test_a_result_is_a_new_object_for_each_get() -> None:
    ref = shoal.remote(lambda: [1]).remote()
    shoal.get(ref).append(2)
    assert shoal.get(ref) == [1]


def test_an_array_that_arrives_is_read_only() -> None:
    array = shoal.get(shoal.put(np.zeros(100_000)))
    assert not array.flags.writeable
    assert not shoal.get(shoal.remote(lambda value: value.flags.writeable).remote(array))


def test_a_reference_inside_an_argument_stays_one() -> None:
    @shoal.remote
    def inner(box: list[Any]) -> int:
        return int(shoal.get(box[0])) + 1

    assert shoal.get(inner.remote([shoal.put(4)])) == 5


def test_a_task_is_run_again_for_the_errors_it_names(tmp_path: Path) -> None:
    @shoal.remote(max_retries=3, retry_exceptions=[OSError])
    def third_time() -> int:
        (tmp_path / str(time.monotonic_ns())).touch()
        attempts = len(list(tmp_path.iterdir()))
        if attempts < 3:
            raise OSError("again")
        return attempts

    assert shoal.get(third_time.remote()) == 3


def test_other_errors_are_not_tried_again(tmp_path: Path) -> None:
    @shoal.remote(max_retries=3, retry_exceptions=[OSError])
    def once() -> None:
        (tmp_path / str(time.monotonic_ns())).touch()
        raise KeyError("no")

    with pytest.raises(KeyError):
        shoal.get(once.remote())
    assert len(list(tmp_path.iterdir())) == 1


def test_a_task_that_exits_has_a_dead_worker() -> None:
    @shoal.remote(max_retries=0)
    def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(exceptions.WorkerCrashedError):
        shoal.get(leave.remote())


def test_cancelling_what_has_finished_changes_nothing() -> None:
    ref = add.remote(1)
    assert shoal.get(ref) == 1
    shoal.cancel(ref, force=True)
    assert shoal.get(ref) == 1


def test_what_can_never_run_fails() -> None:
    with pytest.raises(exceptions.TaskUnschedulableError):
        shoal.get(add.options(resources={"thing": 3}).remote(1))


# -- objects


@pytest.mark.parametrize(
    ("hard", "runs"),
    [
        ({"ray.io/node-id": Exists()}, True),
        ({"ray.io/node-id": DoesNotExist()}, False),
        ({"zone": DoesNotExist(), "rack": NotIn("7", "a,b")}, True),
        ({"zone": Exists()}, False),
        ({"zone": In("a")}, False),
        ({}, True),
    ],
)
def test_labels_that_a_strategy_demands_decide_whether_work_can_run(hard: dict[str, Any], runs: bool) -> None:
    strategy = NodeLabelSchedulingStrategy(hard, soft={"zone": In("b")})
    ref = add.options(scheduling_strategy=strategy).remote(1)
    if runs:
        assert shoal.get(ref) == 1
    else:
        with pytest.raises(exceptions.TaskUnschedulableError, match="labels"):
            shoal.get(ref)


def test_wait_keeps_the_order() -> None:
    refs = [add.remote(number) for number in range(3)]
    shoal.get(refs)
    assert shoal.wait(refs, num_returns=2) == (refs[:2], refs[2:])


def test_a_reference_can_be_awaited() -> None:
    async def ask() -> int:
        return int(await add.remote(20, 3))

    assert asyncio.run(ask()) == 23


def test_values_are_given_back() -> None:
    ref = shoal.put(np.ones(1_000_000))
    name = ref.hex()

    def known() -> bool:
        from shoal.util.state import list_objects

        return any(row.object_id == name for row in list_objects(limit=10_000))

    assert known()
    del ref
    gc.collect()
    wait_until(lambda: not known())


# -- streams


@shoal.remote
def count(number: int) -> Iterator[int]:
    yield from range(number)


def test_a_stream_yields_references() -> None:
    assert [shoal.get(ref) for ref in count.remote(4)] == [0, 1, 2, 3]


def test_a_stream_that_waits_for_its_reader_may_be_endless() -> None:
    @shoal.remote(_generator_backpressure_num_objects=2)
    def forever() -> Iterator[int]:
        yield from itertools.count()

    stream = forever.remote()
    assert [shoal.get(next(stream)) for _ in range(10)] == list(range(10))
    del stream


def test_an_error_is_a_streams_last_item() -> None:
    @shoal.remote
    def breaks() -> Iterator[int]:
        yield 1
        raise ValueError("end")

    first, second = list(breaks.remote())
    assert shoal.get(first) == 1
    with pytest.raises(ValueError, match="end"):
        shoal.get(second)


# -- actors


def test_calls_of_an_actor_keep_their_order() -> None:
    counter = Counter.remote(10)
    assert shoal.get([counter.add.remote() for _ in range(3)]) == [11, 12, 13]


def test_a_method_has_several_results() -> None:
    assert shoal.get(Counter.remote(2).two.options(num_returns=2).remote()) == [2, -2]


def test_an_actors_error_leaves_it_alive() -> None:
    counter = Counter.remote()
    with pytest.raises(KeyError):
        shoal.get(counter.fail.remote())
    assert shoal.get(counter.add.remote()) == 1


def test_a_handle_can_be_passed_on() -> None:
    @shoal.remote
    def use(handle: Any) -> int:
        return int(shoal.get(handle.add.remote(5)))

    counter = Counter.remote()
    assert shoal.get(use.remote(counter)) == 5
    assert shoal.get(counter.add.remote()) == 6


def test_a_failed_constructor_fails_every_call() -> None:
    @shoal.remote
    class Broken:
        def __init__(self) -> None:
            raise ValueError("broken")

        def use(self) -> None: ...

    broken = Broken.remote()
    with pytest.raises(exceptions.ActorDiedError, match="broken"):
        shoal.get(broken.use.remote())


def test_named_actors_are_found_and_listed() -> None:
    counter = Counter.options(name="finds", namespace="here").remote(1)
    shoal.get(counter.__ray_ready__.remote())
    assert shoal.get_actor("finds", namespace="here") == counter
    assert {"name": "finds", "namespace": "here"} in shoal.util.list_named_actors(all_namespaces=True)
    with pytest.raises(exceptions.ActorAlreadyExistsError):
        Counter.options(name="finds", namespace="here").remote()
    assert Counter.options(name="finds", namespace="here", get_if_exists=True).remote() == counter
    with pytest.raises(ValueError, match="finds"):
        shoal.get_actor("finds")


def test_a_name_is_free_when_the_last_handle_is_gone() -> None:
    counter = Counter.options(name="short").remote()
    shoal.get(counter.add.remote())
    del counter
    wait_until(lambda: "short" not in shoal.util.list_named_actors())


def test_a_killed_actor_fails_its_calls() -> None:
    counter = Counter.options(name="killed").remote()
    shoal.get(counter.add.remote())
    shoal.kill(counter)
    with pytest.raises(exceptions.ActorDiedError, match="killed"):
        shoal.get(counter.add.remote())
    wait_until(lambda: "killed" not in shoal.util.list_named_actors())


def test_an_actor_can_leave() -> None:
    counter = Counter.remote()
    with pytest.raises(exceptions.ActorDiedError):
        shoal.get(counter.leave.remote())
    with pytest.raises(exceptions.ActorDiedError):
        shoal.get(counter.add.remote())


@pytest.mark.parametrize("max_concurrency", [1, 2])
def test_an_actor_that_catches_its_own_exit_ends_all_the_same(max_concurrency: int) -> None:
    @shoal.remote(max_restarts=-1, max_concurrency=max_concurrency)
    class Stubborn:
        def leave(self) -> str:
            with contextlib.suppress(BaseException):
                shoal.actor.exit_actor()
            return "still here"

    stubborn = Stubborn.remote()
    assert shoal.get(stubborn.leave.remote()) == "still here"
    with pytest.raises(exceptions.ActorDiedError):
        shoal.get(stubborn.leave.remote())


def test_an_actor_whose_constructor_catches_its_own_exit_ends_all_the_same() -> None:
    @shoal.remote(max_restarts=-1)
    class Stubborn:
        def __init__(self) -> None:
            with contextlib.suppress(BaseException):
                shoal.actor.exit_actor()

        def call(self) -> None: ...

    stubborn = Stubborn.remote()
    with pytest.raises(exceptions.ActorDiedError):
        shoal.get([stubborn.call.remote() for _ in range(2)])


def test_an_actor_that_crashes_is_restarted() -> None:
    @shoal.remote(max_restarts=1, max_task_retries=1)
    class Fragile:
        def __init__(self) -> None:
            self.calls = 0

        def call(self) -> tuple[int, bool]:
            self.calls += 1
            return self.calls, shoal.get_runtime_context().was_current_actor_reconstructed

        def crash(self) -> None:
            raise SystemExit(2)

    fragile = Fragile.remote()
    assert shoal.get(fragile.call.remote()) == (1, False)
    with pytest.raises(exceptions.RayActorError):
        shoal.get(fragile.crash.options(max_task_retries=0).remote())
    assert shoal.get(fragile.call.remote()) == (1, True)
    with pytest.raises(exceptions.RayActorError):
        shoal.get(fragile.crash.options(max_task_retries=0).remote())
    with pytest.raises(exceptions.ActorDiedError):
        shoal.get(fragile.call.remote())


@shoal.remote
class Signal:
    def __init__(self) -> None:
        self._event = asyncio.Event()

    async def wait(self) -> str:
        await self._event.wait()
        return "sent"

    async def send(self) -> None:
        self._event.set()


def test_calls_of_an_async_actor_overlap() -> None:
    signal = Signal.remote()
    waiting = signal.wait.remote()
    assert shoal.wait([waiting], timeout=0.05) == ([], [waiting])
    shoal.get(signal.send.remote())
    assert shoal.get(waiting) == "sent"


def test_a_task_waits_for_an_async_call() -> None:
    signal = Signal.remote()
    later = shoal.remote(lambda text: text + "!").remote(signal.wait.remote())
    shoal.get(signal.send.remote())
    assert shoal.get(later) == "sent!"


def test_a_running_async_call_can_be_cancelled() -> None:
    signal = Signal.remote()
    waiting = signal.wait.remote()
    shoal.get(signal.__ray_ready__.remote())
    shoal.cancel(waiting)
    with pytest.raises(exceptions.TaskCancelledError):
        shoal.get(waiting)
    shoal.get(signal.send.remote())


def test_calls_of_a_killed_async_actor_fail() -> None:
    signal = Signal.remote()
    waiting = signal.wait.remote()
    shoal.get(signal.__ray_ready__.remote())
    shoal.kill(signal)
    with pytest.raises(exceptions.ActorDiedError):
        shoal.get(waiting)


def test_calls_of_a_threaded_actor_overlap() -> None:
    @shoal.remote(max_concurrency=2)
    class Pair:
        def __init__(self) -> None:
            self._event = threading.Event()

        def wait(self) -> bool:
            return self._event.wait(GONE_WITHIN_S)

        def send(self) -> None:
            self._event.set()

    pair = Pair.remote()
    waiting = pair.wait.remote()
    shoal.get(pair.send.remote())
    assert shoal.get(waiting)


# -- the session


def test_the_context_tells_where_code_runs() -> None:
    @shoal.remote
    class Asks:
        def ask(self) -> tuple[str | None, str | None, str | None]:
            context = shoal.get_runtime_context()
            return context.get_actor_id(), context.get_actor_name(), context.get_task_name()

    def ask() -> tuple[str | None, str | None, dict[str, float]]:
        context = shoal.get_runtime_context()
        return context.get_task_id(), context.get_actor_id(), context.get_assigned_resources()

    actor = Asks.options(name="asks").remote()
    assert shoal.get(actor.ask.remote()) == (actor._actor_id.hex(), "asks", "Asks.ask")
    task_id, actor_id, resources = shoal.get(shoal.remote(ask).options(num_cpus=2).remote())
    assert (bool(task_id), actor_id, resources) == (True, None, {"CPU": 2.0})
    assert shoal.get_runtime_context().get_task_id() is None


def test_an_actor_holds_its_resources() -> None:
    assert shoal.cluster_resources()["thing"] == 2
    counter = Counter.options(resources={"thing": 1}).remote()
    shoal.get(counter.add.remote())
    wait_until(lambda: shoal.available_resources().get("thing") == 1)
    del counter
    wait_until(lambda: shoal.available_resources().get("thing") == 2)


def test_placement_groups_wait_for_each_other() -> None:
    first = placement_group([{"thing": 1, "CPU": 1}, {"thing": 1}], name="first")
    assert shoal.get(first.ready()) == first
    second = placement_group([{"thing": 1}])
    assert not second.wait(0.05)
    inside = add.options(scheduling_strategy=PlacementGroupSchedulingStrategy(first), num_cpus=1)
    assert shoal.get(inside.remote(1, 1)) == 2
    remove_placement_group(first)
    assert second.wait(GONE_WITHIN_S)
    remove_placement_group(second)
    assert placement_group_table(second)["state"] == "REMOVED"
    with pytest.raises(exceptions.TaskPlacementGroupRemoved):
        shoal.get(inside.remote(1, 1))


def test_a_group_that_can_never_be_placed_fails_what_waits_for_it() -> None:
    group = placement_group([{"thing": 1}, {"thing": 1}], strategy="STRICT_SPREAD")
    assert not group.wait(GONE_WITHIN_S)
    with pytest.raises(exceptions.TaskUnschedulableError):
        shoal.get(group.ready())


def test_work_inherits_the_group_of_an_actor_that_hands_it_down() -> None:
    @shoal.remote
    def group_here() -> str | None:
        return shoal.get_runtime_context().get_placement_group_id()

    @shoal.remote(num_cpus=0)
    class Parent:
        def child(self) -> Any:
            return shoal.get(group_here.options(num_cpus=1).remote())

    group = placement_group([{"CPU": 1}])
    strategy = PlacementGroupSchedulingStrategy(group, placement_group_capture_child_tasks=True)
    parent = Parent.options(scheduling_strategy=strategy).remote()
    assert shoal.get(parent.child.remote()) == group.id.hex()
    assert shoal.get(group_here.remote()) is None
    remove_placement_group(group)


def test_actors_and_tasks_are_listed() -> None:
    from shoal.util.state import list_actors, list_jobs, list_nodes, list_tasks

    counter = Counter.options(name="listed").remote()
    ref = counter.add.remote()
    shoal.get(ref)
    (row,) = [row for row in list_actors(limit=1000) if row.name == "listed"]
    assert (row.state, row.class_name) == ("ALIVE", "Counter")
    assert any(row.name == "Counter.add" for row in list_tasks(limit=10_000))
    assert [row.state for row in list_nodes()] == ["ALIVE"]
    [job] = list_jobs(detail=True)
    assert (job.status, job.driver_info["pid"]) == ("RUNNING", str(os.getpid()))  # type: ignore[index]
