"""Streams of the native engine: a task's record whose items wait in a queue of the arena."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shoal import _kernel
from shoal.core import watching
from shoal.core.generators import ObjectRefGenerator
from shoal.exceptions import GetTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable

    from shoal._kernel import ObjectRef

FOREVER = -1.0


class NativeStream:
    """One stream. Its reference is the task's record: sealed when the task has ended."""

    def __init__(self, ref: ObjectRef) -> None:
        self._ref = ref
        self._ended = False

    def next_ref(self, timeout_s: float | None) -> ObjectRef | None:
        if self._ended:
            return None
        try:
            item = _kernel.next_item(self._ref, FOREVER if timeout_s is None else max(timeout_s, 0.0))
        except TimeoutError:
            raise GetTimeoutError(f"the stream yielded no item within {timeout_s} s") from None
        if item is not None:
            return item
        self._ended = True
        # A system failure or a cancellation ends the stream with one more reference, which raises it.
        return self._ref if _kernel.record_is_error(self._ref.record) else None

    def next_ready(self) -> bool:
        if self._ended:
            return False
        unread, sealed = _kernel.stream_state(self._ref)
        return unread > 0 or (sealed and _kernel.record_is_error(self._ref.record))

    def finished(self) -> bool:
        if self._ended:
            return True
        unread, sealed = _kernel.stream_state(self._ref)
        return sealed and not unread and not _kernel.record_is_error(self._ref.record)

    def completion_ref(self) -> ObjectRef:
        return self._ref

    def on_item(self, callback: Callable[[], None]) -> None:
        watching.on_item(self._ref, callback)


def stream_of(ref: ObjectRef) -> ObjectRefGenerator:
    """What a streaming call returns."""
    return ObjectRefGenerator(NativeStream(ref))
