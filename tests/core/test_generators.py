from __future__ import annotations

import asyncio
import pickle
import threading
from typing import Any

import pytest
from fake_engine import FakeEngine, FakeStream

import shoal
from shoal.core.generators import DynamicObjectRefGenerator, ObjectRefGenerator


def test_iterating_gives_references_until_the_end(engine: FakeEngine) -> None:
    generator = ObjectRefGenerator(FakeStream([shoal.put(1), shoal.put(2)]))
    assert generator.next_ready() and not generator.is_finished()
    assert [shoal.get(ref) for ref in generator] == [1, 2]
    assert generator.is_finished() and not generator.next_ready()
    with pytest.raises(StopIteration):
        next(generator)


def test_async_iteration_waits_for_items(engine: FakeEngine) -> None:
    stream = FakeStream([shoal.put(0)])

    async def main() -> list[int]:
        threading.Timer(0.01, stream.arrive, [shoal.put(1)]).start()
        generator = ObjectRefGenerator(stream)
        return [await (await generator.__anext__()) for _ in range(2)]

    assert asyncio.run(main()) == [0, 1]


def test_async_iteration_ends_with_the_stream(engine: FakeEngine) -> None:
    stream = FakeStream([shoal.put(0)])

    async def main() -> list[int]:
        threading.Timer(0.01, stream.arrive).start()
        return [await ref async for ref in ObjectRefGenerator(stream)]

    assert asyncio.run(main()) == [0]


def test_completion_is_a_reference(engine: FakeEngine) -> None:
    stream = FakeStream([])
    generator = ObjectRefGenerator(stream)
    stream.completion.seal(None)
    assert shoal.get(generator.completed()) is None
    assert generator.completed().hex() in repr(generator) and generator.task_id() == stream.completion.task_id()


def test_a_stream_stays_where_it_is(engine: FakeEngine) -> None:
    with pytest.raises(TypeError, match="can't be pickled"):
        pickle.dumps(ObjectRefGenerator(FakeStream([])))


@pytest.mark.parametrize("name", ["send", "throw", "close"])
def test_generator_methods_that_reach_into_the_task_are_not_there(name: str) -> None:
    generator = ObjectRefGenerator(FakeStream([]))
    with pytest.raises(NotImplementedError, match=rf"gen\.{name}"):
        getattr(generator, name)(*([] if name == "close" else [1]))


def test_a_dynamic_generator_can_be_read_again(engine: FakeEngine) -> None:
    refs = [shoal.put(1), shoal.put(2)]
    dynamic = DynamicObjectRefGenerator(refs)
    assert list(dynamic) == list(dynamic) == refs and len(dynamic) == 2 and dynamic[1] is refs[1]


@pytest.mark.parametrize(("name", "arguments"), [("asend", (None,)), ("athrow", (None,)), ("aclose", ())])
def test_asynchronous_generator_methods_are_not_there_either(name: str, arguments: tuple[Any, ...]) -> None:
    generator = ObjectRefGenerator(FakeStream([]))
    with pytest.raises(NotImplementedError, match=rf"gen\.{name}"):
        asyncio.run(getattr(generator, name)(*arguments))
