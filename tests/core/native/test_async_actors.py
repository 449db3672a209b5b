from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

import shoal
from shoal.exceptions import ActorDiedError, RayActorError, TaskCancelledError

pytestmark = pytest.mark.usefixtures("cluster")


@shoal.remote(num_cpus=0)
class Room:
    """Waits in it until somebody opens the door."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.door = asyncio.Event()
        self.inside = 0
        self.most = 0

    async def wait(self) -> int:
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await self.door.wait()
        finally:
            self.inside -= 1
        return self.most

    async def open(self) -> None:
        self.door.set()

    async def count(self) -> int:
        return self.inside

    async def same_loop(self) -> bool:
        return asyncio.get_running_loop() is self.loop

    async def fail(self) -> None:
        raise ValueError("no room")

    async def echo(self, value: Any) -> Any:
        return value

    async def items(self, count: int) -> Any:
        for number in range(count):
            yield number

    async def leave(self) -> None:
        shoal.actor.exit_actor()


def test_calls_wait_side_by_side_on_one_loop() -> None:
    room = Room.remote()
    waiting = [room.wait.remote() for _ in range(100)]
    _until(lambda: shoal.get(room.count.remote()) == 100)
    room.open.remote()
    assert set(shoal.get(waiting)) == {100}
    assert shoal.get(room.same_loop.remote())


def test_max_concurrency_limits_the_open_calls() -> None:
    room = Room.options(max_concurrency=3).remote()
    waiting = [room.wait.remote() for _ in range(2)]
    assert shoal.get(room.count.remote()) == 2
    room.open.remote()
    more = [room.wait.remote() for _ in range(10)]
    assert max(shoal.get(waiting + more)) <= 3


def test_an_error_of_a_coroutine_arrives_and_the_actor_lives_on() -> None:
    room = Room.remote()
    with pytest.raises(ValueError, match="no room"):
        shoal.get(room.fail.remote())
    assert shoal.get(room.echo.remote(shoal.put(3))) == 3


def test_a_stream_of_an_async_generator_yields_its_items() -> None:
    room = Room.remote()
    assert [shoal.get(ref) for ref in room.items.options(num_returns="streaming").remote(5)] == [0, 1, 2, 3, 4]


def test_a_running_call_can_be_cancelled_and_the_others_go_on() -> None:
    room = Room.remote()
    first, second = room.wait.remote(), room.wait.remote()
    _until(lambda: shoal.get(room.count.remote()) == 2)
    shoal.cancel(first)
    with pytest.raises(TaskCancelledError):
        shoal.get(first)
    room.open.remote()
    assert shoal.get(second) == 2


def test_exit_actor_ends_it_at_once_although_calls_are_open() -> None:
    room = Room.remote()
    waiting = room.wait.remote()
    with pytest.raises(ActorDiedError):
        shoal.get(room.leave.remote())
    with pytest.raises(RayActorError):
        shoal.get(waiting)


def test_exit_actor_ends_it_from_a_task_of_the_loop_that_no_call_waits_for() -> None:
    @shoal.remote(num_cpus=0)
    class Leaver:
        async def leave_later(self, door: list[Any]) -> None:
            self.leaving = asyncio.create_task(self._leave(door[0]))

        async def _leave(self, door: Any) -> None:
            await door
            shoal.actor.exit_actor()

        async def wait(self) -> None:
            await asyncio.Event().wait()

    leaver = Leaver.remote()
    room = Room.remote()
    shoal.get(leaver.leave_later.remote([room.wait.remote()]))
    waiting = leaver.wait.remote()
    room.open.remote()
    with pytest.raises(ActorDiedError, match=r"exit_actor\(\)"):
        shoal.get(waiting, timeout=20)


def test_a_task_of_the_loop_knows_the_call_that_started_it_after_its_end() -> None:
    @shoal.remote(num_cpus=0)
    class Starter:
        async def start(self, room: list[Any]) -> None:
            self.later = asyncio.create_task(self._ask(room[0]))

        async def _ask(self, door: Any) -> str:
            await door
            return str(shoal.get_runtime_context().get_task_id())

        async def answer(self) -> str:
            return await self.later

    starter, room = Starter.remote(), Room.remote()
    starting = starter.start.remote([room.wait.remote()])
    task_id = starting.task_id().hex()
    shoal.get(starting)
    del starting
    for number in range(50):  # whatever takes the place of what is known about the call
        shoal.get(room.echo.remote(number))
    room.open.remote()
    assert shoal.get(starter.answer.remote(), timeout=20) == task_id


def test_a_plain_method_may_return_a_reference() -> None:
    @shoal.remote(num_cpus=0)
    class Keeper:
        async def start(self) -> None:
            self.kept = shoal.put("kept")

        def give(self) -> Any:
            return self.kept

    keeper = Keeper.remote()
    shoal.get(keeper.start.remote())
    given = shoal.get(keeper.give.remote())
    assert isinstance(given, shoal.ObjectRef)
    assert shoal.get(given) == "kept"


@pytest.mark.parametrize("recursive", [True, False])
def test_the_calls_that_a_call_started_are_cancelled_with_it(recursive: bool) -> None:
    @shoal.remote(num_cpus=0)
    class Parent:
        def __init__(self) -> None:
            self.started: dict[int, Any] = {}

        async def run(self, number: int, room: Any) -> Any:
            self.started[number] = room.wait.remote()
            return await self.started[number]

        async def child_of(self, number: int) -> list[Any]:
            return [self.started[number]]

    room, parent = Room.remote(), Parent.remote()
    first, second = parent.run.remote(1, room), parent.run.remote(2, room)
    _until(lambda: shoal.get(room.count.remote()) == 2)
    shoal.cancel(first, recursive=recursive)
    with pytest.raises(TaskCancelledError):
        shoal.get(first, timeout=20)
    (child,) = shoal.get(parent.child_of.remote(1))
    if recursive:
        with pytest.raises(TaskCancelledError):
            shoal.get(child, timeout=20)
    room.open.remote()
    if not recursive:
        assert shoal.get(child, timeout=20) == 2
    assert shoal.get(second, timeout=20) == 2


def test_open_calls_finish_when_the_last_handle_is_gone() -> None:
    room = Room.remote()
    waiting = room.wait.remote()
    room.open.remote()
    del room
    assert shoal.get(waiting) >= 1


def test_coroutines_await_references_of_tasks_and_other_actors() -> None:
    @shoal.remote(num_cpus=0)
    class Caller:
        async def ask(self, other: Any) -> int:
            results = await asyncio.gather(*[other.echo.remote(number) for number in range(5)])
            return sum(results)

    assert shoal.get(Caller.remote().ask.remote(Room.remote())) == 10


def test_each_concurrency_group_has_a_loop_and_a_thread_of_its_own() -> None:
    @shoal.remote(num_cpus=0, concurrency_groups={"io": 1, "other": 2})
    class Grouped:
        def __init__(self) -> None:
            self.gate = threading.Event()

        @shoal.method(concurrency_group="io")
        async def block(self) -> bool:
            return self.gate.wait(30)

        @shoal.method(concurrency_group="other")
        async def place(self) -> tuple[int, int]:
            return threading.get_ident(), id(asyncio.get_running_loop())

        def open(self) -> tuple[int, int]:
            self.gate.set()
            return threading.get_ident(), id(asyncio.get_running_loop())

    grouped = Grouped.remote()
    blocked = grouped.block.remote()
    other = shoal.get([grouped.place.remote(), grouped.place.remote()])
    assert other[0] == other[1]
    default = shoal.get(grouped.open.remote())
    assert default[0] != other[0][0]
    assert default[1] != other[0][1]
    assert shoal.get(blocked) is True


def test_a_constructor_may_start_tasks_in_the_loop() -> None:
    @shoal.remote(num_cpus=0)
    class Ticker:
        def __init__(self) -> None:
            self.done = asyncio.get_running_loop().create_task(self.work())

        async def work(self) -> str:
            await asyncio.sleep(0)
            return "worked"

        async def result(self) -> str:
            return await self.done

    assert shoal.get(Ticker.remote().result.remote()) == "worked"


def _until(condition: Any) -> None:
    import time

    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
