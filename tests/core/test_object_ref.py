from __future__ import annotations

import asyncio
import threading

import pytest
from fake_engine import FakeEngine, FakeRef

import shoal
from shoal.core.ids import JobID, TaskID


def test_a_future_has_the_value(engine: FakeEngine) -> None:
    assert shoal.put(3).future().result(1) == 3


def test_a_future_waits_for_the_value(engine: FakeEngine) -> None:
    ref = FakeRef()
    future = ref.future()
    assert not future.done()
    ref.seal(5)
    assert future.result(1) == 5


def test_a_future_raises_the_tasks_error(engine: FakeEngine) -> None:
    ref = FakeRef()
    ref.seal(error=KeyError("k"))
    with pytest.raises(KeyError):
        ref.future().result(1)


def test_a_cancelled_future_ignores_the_value(engine: FakeEngine) -> None:
    ref = FakeRef()
    future = ref.future()
    assert future.cancel()
    ref.seal(1)
    assert future.cancelled() and shoal.get(ref) == 1


def test_a_reference_can_be_awaited(engine: FakeEngine) -> None:
    async def main() -> list[int]:
        refs = [FakeRef() for _ in range(3)]
        for number, ref in enumerate(refs):
            threading.Thread(target=ref.seal, args=(number,)).start()
        return list(await asyncio.gather(*refs))

    assert asyncio.run(main()) == [0, 1, 2]


def test_awaiting_raises_the_tasks_error(engine: FakeEngine) -> None:
    async def main(error: BaseException) -> None:
        ref = FakeRef()
        ref.seal(error=error)
        await ref

    with pytest.raises(KeyError):
        asyncio.run(main(KeyError("k")))
    with pytest.raises(RuntimeError, match="StopIteration"):
        asyncio.run(main(StopIteration(1)))


def test_giving_up_on_an_await_leaves_the_task_alone(engine: FakeEngine) -> None:
    ref = FakeRef()

    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(ref.as_future(), 0.001)

    asyncio.run(main())
    ref.seal(1)
    assert shoal.get(ref) == 1 and engine.cancelled == []


def test_a_loop_that_is_closed_hears_nothing(engine: FakeEngine) -> None:
    ref = FakeRef()
    loop = asyncio.new_event_loop()
    ref.as_future(loop=loop)
    loop.close()
    ref.seal(1)
    assert shoal.get(ref) == 1


def test_what_a_reference_knows(engine: FakeEngine) -> None:
    ref = shoal.put(1)
    engine.answers["object_facts"] = {"owner_address": b"here", "call_site": "file.py:3"}
    assert ref.task_id() == TaskID(ref.binary()[:24]) and ref.job_id() == JobID(b"\0\0\0\1")
    assert ref.owner_address() == b"here" and ref.call_site() == "file.py:3"
    assert repr(ref) == f"ObjectRef({ref.hex()})"


def test_a_reference_cannot_be_made_from_text() -> None:
    for ref_type in (FakeRef, shoal.ObjectRef):
        with pytest.raises(NotImplementedError, match="from_hex is not supported"):
            ref_type.from_hex("ab")  # type: ignore[union-attr]


def test_reference_types_can_be_written_with_their_value() -> None:
    assert shoal.ObjectRef[int] is shoal.ObjectRef  # type: ignore[misc]
