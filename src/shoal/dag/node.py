"""The base of all nodes: a call that is described, not made. Nodes are arguments of other nodes; that is the graph."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from shoal.dag import nesting

if TYPE_CHECKING:
    from shoal.dag.compiled import CompiledDAG
    from shoal.dag.input_node import Input

_SHARED_MEMORY = ("auto", "shm")
_TRANSPORTS = (*_SHARED_MEMORY, "nccl", "accelerator")
_AS_IT_IS = ("default", "cpu")
_DEVICES = (*_AS_IT_IS, "gpu", "cuda")


class DAGNode:
    """A step of a graph. ``execute`` runs it and everything it depends on."""

    def __init__(self, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> None:
        self._bound_args = args
        self._bound_kwargs = kwargs or {}

    def execute(self, *args: Any, _ray_cache_refs: bool = False, **kwargs: Any) -> Any:
        """Runs the graph that ends in this node; each node runs once. The arguments are what InputNode stands for.

        Returns what ``.remote()`` would: an ObjectRef, an actor handle for a class, a list for MultiOutputNode. Raises
        ValueError when the graph takes an input and none is given, or the other way round; NotImplementedError for
        ``_ray_cache_refs``, with which Ray's nodes keep the references of their last execution.
        """
        from shoal.dag.execution import execute

        if _ray_cache_refs:
            raise NotImplementedError("execute() does not support _ray_cache_refs=True: nodes keep nothing of an execution")

        return execute(self, args, kwargs)

    def experimental_compile(
        self,
        _submit_timeout: float | None = None,
        _buffer_size_bytes: int | None = None,
        enable_asyncio: bool = False,
        _max_inflight_executions: int | None = None,
        _max_buffered_results: int | None = None,
        _overlap_gpu_communication: bool | None = None,
        _default_communicator: Any = "create",
    ) -> CompiledDAG:
        """Prepares a graph of actor methods for being run many times.

        - ``enable_asyncio``: use ``execute_async`` instead of ``execute``.
        - ``_max_inflight_executions`` (10): how many executions may be unread before ``execute`` raises
          RayCgraphCapacityExceeded; ``_max_buffered_results`` (1000): how many earlier results may be unread when a
          later one is.
        - ``_submit_timeout`` and ``_buffer_size_bytes`` bound what submitting may wait for and how big its buffers start; here
          it never waits and has no buffers.

        Raises NotImplementedError for function nodes and for GPU communication, ValueError for methods of actors that do not
        exist yet (``Class.bind()``).
        """
        from shoal.dag.compiled import CompiledDAG, CompileOptions
        from shoal.dag.context import DAGContext

        if _overlap_gpu_communication is None:
            _overlap_gpu_communication = DAGContext.get_current().overlap_gpu_communication
        if _overlap_gpu_communication:
            raise NotImplementedError("overlap_gpu_communication=True: compiled graphs do not move tensors between GPUs yet")
        if _default_communicator not in (None, "create"):
            raise NotImplementedError(f"_default_communicator={_default_communicator!r}: there are no communicators yet")
        options = CompileOptions.of(
            _submit_timeout, _buffer_size_bytes, enable_asyncio, _max_inflight_executions, _max_buffered_results
        )
        return CompiledDAG(self, options)

    def with_tensor_transport(
        self, transport: Any = "auto", device: str = "default", _static_shape: bool = False, _direct_return: bool = False
    ) -> DAGNode:
        """Says how the tensors that this node gives are to travel; returns the node.

        ``"auto"`` and ``"shm"`` are what compiled graphs do anyway: tensors travel through shared memory, and stay on their
        ``device`` (``"default"``) or are on the CPU already (``"cpu"``). Raises NotImplementedError for transports between GPUs
        (``"nccl"``, ``"accelerator"``, a communicator), for the devices ``"gpu"`` and ``"cuda"``, and for ``_static_shape`` and
        ``_direct_return``, which speed such transports up; ValueError for other words.
        """
        if device not in _DEVICES:
            raise ValueError(f"device must be one of {_DEVICES}, but got device={device!r}")
        if isinstance(transport, str) and transport.lower() not in _TRANSPORTS:
            raise ValueError(f"transport must be one of {_TRANSPORTS} or a communicator, but got transport={transport!r}")
        asked = {"transport": transport, "device": device, "_static_shape": _static_shape, "_direct_return": _direct_return}
        for name, value in asked.items():
            if (value.lower() if isinstance(value, str) else value) not in (*_SHARED_MEMORY, *_AS_IT_IS, False):
                raise NotImplementedError(
                    f"with_tensor_transport() does not support {name}={value!r}: compiled graphs move tensors through shared "
                    "memory only"
                )
        return self

    def get_args(self) -> tuple[Any, ...]:
        """The bound positional arguments."""
        return self._bound_args

    def get_kwargs(self) -> dict[str, Any]:
        """The bound keyword arguments, a copy."""
        return dict(self._bound_kwargs)

    def children(self) -> list[DAGNode]:
        """The nodes that must run before this one, in the order in which they do."""
        return [*nesting.find(DAGNode, self._bound_args), *nesting.find(DAGNode, self._bound_kwargs)]

    def label(self) -> str:
        """What drawings and messages call this node."""
        return type(self).__name__

    def run(self, results: dict[DAGNode, Any], graph_input: Input) -> Any:
        """Runs this node alone; ``results`` has those of all its children."""
        raise NotImplementedError(f"{type(self).__name__} must say how it runs")

    def resolved_arguments(self, results: dict[DAGNode, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The bound arguments with results in the place of nodes."""
        args = tuple(nesting.replace(DAGNode, value, results.__getitem__) for value in self._bound_args)
        kwargs = {key: nesting.replace(DAGNode, value, results.__getitem__) for key, value in self._bound_kwargs.items()}
        return args, kwargs

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.label()})"

    def __reduce__(self) -> Any:
        raise ValueError(f"a DAGNode cannot be serialized, so it cannot be passed to .remote(): {self!r}. Bind it instead")


def in_order(root: DAGNode) -> list[DAGNode]:
    """All nodes that ``root`` depends on, and it, each after its children. Graphs may be deeper than Python's stack."""
    order: list[DAGNode] = []
    entered: set[DAGNode] = {root}
    stack: list[tuple[DAGNode, Iterator[DAGNode]]] = [(root, iter(root.children()))]
    while stack:
        node, children = stack[-1]
        child = next((candidate for candidate in children if candidate not in entered), None)
        if child is None:
            order.append(node)
            stack.pop()
        else:
            entered.add(child)
            stack.append((child, iter(child.children())))
    return order
