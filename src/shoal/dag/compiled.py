"""Compiled graphs: the calls of a graph of actor methods, laid out once and submitted with few steps for each execution."""

from __future__ import annotations

import threading
import uuid
from dataclasses import dataclass
from typing import Any, cast

import shoal
from shoal.dag import nesting
from shoal.dag.class_node import ClassMethodNode, ClassNode, MethodOutputNode
from shoal.dag.compiled_ref import CompiledDAGFuture, CompiledDAGRef
from shoal.dag.context import DAGContext
from shoal.dag.drawing import as_dot
from shoal.dag.execution import check_input
from shoal.dag.function_node import FunctionNode
from shoal.dag.input_node import Input, InputAttributeNode, InputNode
from shoal.dag.node import DAGNode, in_order
from shoal.dag.output_node import MultiOutputNode
from shoal.exceptions import GetTimeoutError, RayCgraphCapacityExceeded, RayChannelError, RayChannelTimeoutError


@dataclass(frozen=True)
class CompileOptions:
    """How a compiled graph bounds its work."""

    enable_asyncio: bool
    executions_max: int
    buffered_max: int

    @classmethod
    def of(
        cls,
        submit_timeout: float | None,
        buffer_size_bytes: int | None,
        enable_asyncio: bool,
        executions_max: int | None,
        buffered_max: int | None,
    ) -> CompileOptions:
        """Raises ValueError for a bound that is not positive; None means the default of DAGContext."""
        context = DAGContext.get_current()
        bounds = {
            "_submit_timeout": submit_timeout,
            "_buffer_size_bytes": buffer_size_bytes,
            "_max_inflight_executions": context.max_inflight_executions if executions_max is None else executions_max,
            "_max_buffered_results": context.max_buffered_results if buffered_max is None else buffered_max,
        }
        for name, value in bounds.items():
            # -1 asks for submitting without time limit.
            if value is not None and value <= 0 and not (name == "_submit_timeout" and value == -1):
                raise ValueError(f"{name} must be > 0, but got {name}={value}")
        return cls(enable_asyncio, int(bounds["_max_inflight_executions"] or 0), int(bounds["_max_buffered_results"] or 0))


class CompiledDAG:
    """What ``experimental_compile`` returns. Not thread-safe for ``execute``; results may be read from any thread.

    Executions run in the order of ``execute``; one that fails raises its error to whoever reads its result, and the
    graph goes on.
    """

    def __init__(self, root: DAGNode, options: CompileOptions) -> None:
        self._order = in_order(root)
        self._root = root
        self._options = options
        self._id = uuid.uuid4().hex
        self._returns_list = isinstance(root, MultiOutputNode)
        self._outputs: tuple[Any, ...] = root.get_args() if self._returns_list else (root,)
        self._calls = [node for node in self._order if isinstance(node, ClassMethodNode)]
        _check_nodes(self._order, self._outputs)
        self._positional_inputs, self._keyword_inputs = _inputs_of(self._order)
        self._shared_inputs = _inputs_of_several_calls(self._order)
        self._lock = threading.Lock()
        self._submitted = 0  # executions
        self._passed = 0  # executions up to the latest one whose result was read, or dropped in turn
        self._open: dict[int, _Execution] = {}
        self._is_teardown = False

    def get_id(self) -> str:
        return self._id

    @property
    def is_teardown(self) -> bool:
        return self._is_teardown

    def execute(self, *args: Any, **kwargs: Any) -> CompiledDAGRef | list[CompiledDAGRef]:
        """Starts one execution; the result is a ref, or a list of them for MultiOutputNode. Does not wait.

        Raises ValueError when the arguments do not fit the graph's input or the graph was compiled with ``enable_asyncio``,
        RayCgraphCapacityExceeded when too many executions are unread, RayChannelError after ``teardown``.
        """
        if self._options.enable_asyncio:
            raise ValueError("the graph was compiled with enable_asyncio=True: use execute_async instead of execute")
        index, refs = self._start(args, kwargs)
        results = [CompiledDAGRef(self, index, output) for output in range(len(refs))]
        return results if self._returns_list else results[0]

    async def execute_async(self, *args: Any, **kwargs: Any) -> CompiledDAGFuture | list[CompiledDAGFuture]:
        """``execute`` for graphs that were compiled with ``enable_asyncio``; the results are awaited. The errors are
        the same."""
        if not self._options.enable_asyncio:
            raise ValueError("the graph was compiled with enable_asyncio=False: use execute instead of execute_async")
        index, refs = self._start(args, kwargs)
        results = [CompiledDAGFuture(self, index, output, ref) for output, ref in enumerate(refs)]
        return results if self._returns_list else results[0]

    def teardown(self, kill_actors: bool = False) -> None:
        """Ends the graph: open executions are cancelled, later ones refused. The actors live on unless ``kill_actors``.

        Waits for running calls for up to DAGContext.teardown_timeout seconds, so that the actors are free afterwards.
        """
        with self._lock:
            if self._is_teardown:
                return
            self._is_teardown = True
            refs = [ref for execution in self._open.values() for ref in execution.calls]
            self._open.clear()
        if kill_actors:
            for handle in {node.actor_handle() for node in self._calls}:
                shoal.kill(cast("shoal.actor.ActorHandle", handle))
        elif refs:
            for ref in refs:
                shoal.cancel(ref)
            shoal.wait(refs, num_returns=len(refs), timeout=DAGContext.get_current().teardown_timeout)

    def visualize(self) -> str:
        """The graph in the DOT language."""
        return as_dot(self._root)

    # -- for the refs
    def read(self, result: CompiledDAGRef, index: int, output: int, timeout: float | None) -> Any:
        with self._lock:
            execution = self._open.get(index)
            if execution is None:
                raise RayChannelError(f"{result!r} cannot be read: the graph was torn down")
            self._check_buffered(index)
        ref = execution.outputs[output]
        timeout_s = DAGContext.get_current().get_timeout if timeout is None else timeout
        try:
            value = shoal.get(ref, timeout=None if timeout_s < 0 else timeout_s)
        except GetTimeoutError as error:
            raise RayChannelTimeoutError(f"{result!r} has no result within timeout={timeout_s} s") from error
        except BaseException:
            self._passed_by(result, index, output)
            raise
        self._passed_by(result, index, output)
        return value

    def drop(self, index: int, output: int) -> None:
        """The result will never be read."""
        execution = self._open.get(index)
        if execution is not None and execution.no_longer_wanted(output):
            execution.dropped = True

    def _passed_by(self, result: CompiledDAGRef, index: int, output: int) -> None:
        result.mark_read()
        with self._lock:
            self._passed = max(self._passed, index)
            execution = self._open.get(index)
            if execution is not None and execution.no_longer_wanted(output):
                del self._open[index]

    def _check_buffered(self, index: int) -> None:
        if index <= self._passed:
            return
        buffered = sum(1 for earlier, execution in self._open.items() if earlier < index and not execution.dropped)
        if buffered >= self._options.buffered_max:
            raise RayCgraphCapacityExceeded(
                f"{buffered} earlier results are unread, and the graph keeps at most _max_buffered_results="
                f"{self._options.buffered_max}: read those first, or compile with a higher bound"
            )

    # -- one execution
    def _start(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[int, tuple[Any, ...]]:
        if self._is_teardown:
            raise RayChannelError(f"compiled graph {self._id} was torn down")
        graph_input = Input(args, kwargs)
        self._check_arguments(graph_input)
        self._make_room()
        results: dict[DAGNode, Any] = {}
        for node in self._order:
            results[node] = node.run(results, graph_input)
            if node in self._shared_inputs:
                results[node] = shoal.put(results[node])
        outputs = tuple(results[output] if isinstance(output, DAGNode) else output for output in self._outputs)
        with self._lock:
            self._submitted += 1
            self._open[self._submitted] = _Execution(outputs, [results[node] for node in self._calls])
            return self._submitted, outputs

    def _check_arguments(self, graph_input: Input) -> None:
        if not self._positional_inputs and not self._keyword_inputs:
            check_input(self._order, graph_input)
            return
        if len(graph_input.args) != self._positional_inputs:
            raise ValueError(f"the graph takes {self._positional_inputs} positional arguments, but got {len(graph_input.args)}")
        missing = [name for name in self._keyword_inputs if name not in graph_input.kwargs]
        if missing:
            raise ValueError(f"the graph takes the keyword arguments {sorted(self._keyword_inputs)}, but {missing} are missing")

    def _make_room(self) -> None:
        """Raises RayCgraphCapacityExceeded when too many executions are open."""
        with self._lock:
            for index in [index for index, execution in self._open.items() if self._is_over(execution)]:
                del self._open[index]
            open_now = sum(1 for index in self._open if index > self._passed)
        if open_now >= self._options.executions_max:
            raise RayCgraphCapacityExceeded(
                f"{open_now} executions are in flight, and the graph allows at most _max_inflight_executions="
                f"{self._options.executions_max}: read results first, or compile with a higher bound"
            )

    def _is_over(self, execution: _Execution) -> bool:
        # Results that are awaited need no room once they are there; others only when nobody will read them.
        if not execution.dropped and not self._options.enable_asyncio:
            return False
        calls = execution.calls
        return len(shoal.wait(calls, num_returns=len(calls), timeout=0)[0]) == len(calls)


class _Execution:
    """The calls of one execution, until its results were read or dropped."""

    def __init__(self, outputs: tuple[Any, ...], calls: list[Any]) -> None:
        self.outputs = outputs
        self.calls = [ref for call in calls for ref in (call if isinstance(call, list) else [call])]
        self.dropped = False
        self._wanted = set(range(len(outputs)))

    def no_longer_wanted(self, output: int) -> bool:
        """Marks one output; True when no other is wanted."""
        self._wanted.discard(output)
        return not self._wanted


def _check_nodes(order: list[DAGNode], outputs: tuple[Any, ...]) -> None:
    for node in order:
        if isinstance(node, FunctionNode):
            raise NotImplementedError(f"compiled graphs run methods of actors only, but {node!r} is a function")
        if isinstance(node, ClassNode):
            raise ValueError(f"compiled graphs need actors that exist: make {node.label()} with .remote() instead of .bind()")
    for output in outputs:
        if not isinstance(output, (ClassMethodNode, MethodOutputNode)):
            raise ValueError(f"the output of a compiled graph must be a method call, but got {output!r}")


def _inputs_of(order: list[DAGNode]) -> tuple[int, frozenset[str]]:
    """How many positional arguments the graph reads, and which keyword arguments."""
    keys = [node.key for node in order if isinstance(node, InputAttributeNode)]
    whole = any(
        isinstance(child, InputNode) for node in order if not isinstance(node, InputAttributeNode) for child in node.children()
    )
    positional = [key for key in keys if isinstance(key, int)]
    count = max(positional, default=-1) + 1
    return max(count, 1 if whole else 0), frozenset(key for key in keys if isinstance(key, str))


def _inputs_of_several_calls(order: list[DAGNode]) -> frozenset[DAGNode]:
    """Inputs that are direct arguments of several calls, and nothing else: worth storing once."""
    direct: dict[DAGNode, int] = {}
    elsewhere: set[DAGNode] = set()
    for node in order:
        values = [*node.get_args(), *node.get_kwargs().values()]
        for value in values:
            if isinstance(value, (InputNode, InputAttributeNode)):
                direct[value] = direct.get(value, 0) + 1
            else:
                elsewhere.update(nesting.find(DAGNode, value))
        if isinstance(node, InputAttributeNode):
            elsewhere.update(node.children())
    return frozenset(node for node, uses in direct.items() if uses > 1 and node not in elsewhere)
