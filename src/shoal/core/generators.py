"""What a streaming task returns: an iterator of references, made while the task still runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator, Sequence

    from shoal._kernel import ObjectRef


class Stream(Protocol):
    """An engine's side of one stream."""

    def next_ref(self, timeout_s: float | None) -> ObjectRef | None:
        """The next item, taken; None at the end. Raises GetTimeoutError when it did not come in time."""

    def next_ready(self) -> bool:
        """Whether ``next_ref`` would return at once with an item."""

    def finished(self) -> bool:
        """Whether the end has been taken."""

    def completion_ref(self) -> ObjectRef:
        """Sealed when the task has ended: None, or a system failure or cancellation."""

    def on_item(self, callback: Callable[[], None]) -> None:
        """Calls ``callback`` once, on some thread, when ``next_ref`` would not wait."""


class ObjectRefGenerator:
    """Iterates over the references of a stream's items, synchronously or with ``async for``.

    An error of the task is the last reference. Not for several threads at once, and can't be pickled.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[ObjectRef]:
        return self

    def __next__(self) -> ObjectRef:
        ref = self._stream.next_ref(None)
        if ref is None:
            raise StopIteration
        return ref

    def __aiter__(self) -> ObjectRefGenerator:
        return self

    async def __anext__(self) -> ObjectRef:
        await self._wait_for_item()
        ref = self._stream.next_ref(None)
        if ref is None:
            raise StopAsyncIteration
        return ref

    def next_ready(self) -> bool:
        """Whether ``next()`` would return an item without waiting."""
        return self._stream.next_ready()

    def is_finished(self) -> bool:
        """Whether the end has been reached."""
        return self._stream.finished()

    def completed(self) -> ObjectRef:
        """A reference that is ready when the task has ended; ``get`` of it raises only for a system failure or cancellation."""
        return self._stream.completion_ref()

    def task_id(self) -> Any:
        """The task that makes the items."""
        return self.completed().task_id()  # type: ignore[attr-defined]

    def send(self, value: object) -> None:
        raise NotImplementedError("`gen.send` is not supported.")

    def throw(self, value: object) -> None:
        raise NotImplementedError("`gen.throw` is not supported.")

    def close(self) -> None:
        raise NotImplementedError("`gen.close` is not supported.")

    async def asend(self, value: object) -> None:
        raise NotImplementedError("`gen.asend` is not supported.")

    async def athrow(self, value: object) -> None:
        raise NotImplementedError("`gen.athrow` is not supported.")

    async def aclose(self) -> None:
        raise NotImplementedError("`gen.aclose` is not supported.")

    def __repr__(self) -> str:
        return f"ObjectRefGenerator({self.completed().hex()})"

    def __reduce__(self) -> Any:
        raise TypeError("An ObjectRefGenerator can't be pickled: pass the references it yields, not the generator itself.")

    async def _wait_for_item(self) -> None:
        if self._stream.next_ready() or self._stream.finished():
            return
        import asyncio  # slow to import; whoever awaits this has it already

        loop = asyncio.get_running_loop()
        arrived = loop.create_future()
        self._stream.on_item(Arrival(loop, arrived))
        await arrived


class Arrival:
    """Ends the wait for an item when it is called, on any thread."""

    __slots__ = ("future", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, future: asyncio.Future[None]) -> None:
        self.loop = loop
        self.future = future

    def __call__(self) -> None:
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        if not self.future.done():
            self.future.set_result(None)


class DynamicObjectRefGenerator:
    """The value of a task with ``num_returns="dynamic"``: its items' references, as often iterated as one likes."""

    def __init__(self, refs: Sequence[ObjectRef]) -> None:
        self._refs = list(refs)

    def __iter__(self) -> Iterator[ObjectRef]:
        return iter(self._refs)

    def __len__(self) -> int:
        return len(self._refs)

    def __getitem__(self, index: int) -> ObjectRef:
        return self._refs[index]

    def __repr__(self) -> str:
        return f"DynamicObjectRefGenerator({self._refs!r})"
