"""Results of compiled graphs: each can be read once."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shoal.dag.compiled import CompiledDAG


class _SingleRead:
    """What both kinds of result refuse."""

    def __copy__(self) -> Any:
        raise ValueError(f"{type(self).__name__} cannot be copied: its result can be read only once")

    def __deepcopy__(self, memo: Any) -> Any:
        raise ValueError(f"{type(self).__name__} cannot be deep copied: its result can be read only once")

    def __reduce__(self) -> Any:
        raise ValueError(f"{type(self).__name__} cannot be pickled: its result can be read only once, where it was asked for")


class CompiledDAGRef(_SingleRead):
    """The result of ``execute`` of a compiled graph. Read it once, with ``shoal.get(ref)`` or ``ref.get()``.

    A ref that is dropped unread makes room for another execution.
    """

    def __init__(self, graph: CompiledDAG, execution: int, output: int) -> None:
        self._graph = graph
        self._execution = execution
        self._output = output
        self._read = False

    def get(self, timeout: float | None = None) -> Any:
        """The result. ``timeout`` in seconds: None means DAGContext.get_timeout, -1 for ever.

        Raises the error of the call that failed, RayChannelTimeoutError when time is up (the result can be read later then),
        RayCgraphCapacityExceeded when too many earlier results are unread, ValueError when it was read already.
        """
        if self._read:
            raise ValueError("get() can only be called once on a CompiledDAGRef, and it was already called")
        return self._graph.read(self, self._execution, self._output, timeout)

    def __shoal_get__(self, timeout: float | None) -> Any:
        return self.get(timeout)

    def mark_read(self) -> None:
        """For the graph: the result was handed out."""
        self._read = True

    def __repr__(self) -> str:
        return f"CompiledDAGRef({self._graph.get_id()}, execution_index={self._execution}, channel_index={self._output})"

    def __del__(self) -> None:
        if not self._read:
            self._graph.drop(self._execution, self._output)


class CompiledDAGFuture(_SingleRead):
    """The result of ``execute_async`` of a compiled graph. Await it once."""

    def __init__(self, graph: CompiledDAG, execution: int, output: int, ref: Any) -> None:
        self._graph = graph
        self._execution = execution
        self._output = output
        self._ref: Any = ref

    def __await__(self) -> Generator[Any, None, Any]:
        if self._ref is None:
            raise ValueError("a CompiledDAGFuture can only be awaited once, and it was already awaited")
        ref, self._ref = self._ref, None
        return (yield from ref.__await__())

    def __repr__(self) -> str:
        return f"CompiledDAGFuture({self._graph.get_id()}, execution_index={self._execution}, channel_index={self._output})"
