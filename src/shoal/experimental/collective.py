"""Collective operations as nodes of graphs: ``allreduce.bind([a.grad.bind(inp), b.grad.bind(inp)])``, a node for each actor.

Tensors are torch tensors or numpy arrays. They travel through shared memory: every actor reads those of the others in place and
computes its own result. Called instead of bound, the three are those of ``shoal.util.collective``.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from shoal.dag.class_node import ClassMethodNode, MethodOutputNode
from shoal.dag.node import DAGNode
from shoal.util import collective
from shoal.util.collective import ReduceOp

__all__ = [
    "allgather",
    "allreduce",
    "create_collective_group",
    "destroy_all_collective_groups",
    "destroy_collective_group",
    "get_collective_groups",
    "reducescatter",
]

_SHARED_MEMORY = (None, "auto", "shm")
_FUNCTIONS = {ReduceOp.SUM: "add", ReduceOp.PRODUCT: "multiply", ReduceOp.MIN: "minimum", ReduceOp.MAX: "maximum"}
"""Of torch and of numpy."""


class AllReduce:
    """Every actor gets the reduction of all tensors, which have the same shape."""

    def bind(self, input_nodes: Sequence[DAGNode], op: ReduceOp = ReduceOp.SUM, transport: Any = None) -> list[DAGNode]:
        """One node for each of ``input_nodes``, on the same actor. These must be calls of methods of actors that exist, each
        of another one (ValueError).

        ``transport``: None, "auto" or "shm"; NotImplementedError for those between GPUs, and for nested lists of nodes."""
        return _bound(_reduced, input_nodes, transport, _checked_op(op))

    def __call__(self, tensor: Any, group_name: str = "default", op: ReduceOp = ReduceOp.SUM) -> None:
        collective.allreduce(tensor, group_name, op)


class AllGather:
    """Every actor gets all tensors, one behind the other along the first dimension."""

    def bind(self, input_nodes: Sequence[DAGNode], transport: Any = None) -> list[DAGNode]:
        """Arguments and errors as for ``allreduce``."""
        return _bound(_gathered, input_nodes, transport, None)

    def __call__(self, tensor_list: list[Any], tensor: Any, group_name: str = "default") -> None:
        collective.allgather(tensor_list, tensor, group_name)


class ReduceScatter:
    """Every actor gets its part of the reduction of all tensors: as many rows as there are, divided by the number of actors.

    The call fails with ValueError when the first dimension can't be divided so."""

    def bind(self, input_nodes: Sequence[DAGNode], op: ReduceOp = ReduceOp.SUM, transport: Any = None) -> list[DAGNode]:
        """Arguments and errors as for ``allreduce``."""
        return _bound(_scattered, input_nodes, transport, _checked_op(op))

    def __call__(self, tensor: Any, tensor_list: list[Any], group_name: str = "default", op: ReduceOp = ReduceOp.SUM) -> None:
        collective.reducescatter(tensor, tensor_list, group_name, op)


allreduce = AllReduce()
allgather = AllGather()
reducescatter = ReduceScatter()


def create_collective_group(*args: Any, **kwargs: Any) -> NoReturn:
    """Not supported: raises NotImplementedError."""
    _refuse("create_collective_group")


def get_collective_groups(*args: Any, **kwargs: Any) -> NoReturn:
    """Not supported: raises NotImplementedError."""
    _refuse("get_collective_groups")


def destroy_collective_group(*args: Any, **kwargs: Any) -> NoReturn:
    """Not supported: raises NotImplementedError."""
    _refuse("destroy_collective_group")


def destroy_all_collective_groups(*args: Any, **kwargs: Any) -> NoReturn:
    """Not supported: raises NotImplementedError."""
    _refuse("destroy_all_collective_groups")


def _refuse(name: str) -> NoReturn:
    raise NotImplementedError(
        f"experimental.collective.{name}() is for tensors that stay on their devices, which are not supported yet: "
        f"groups of actors are made with shoal.util.collective"
    )


def _checked_op(op: Any) -> ReduceOp:
    if not isinstance(op, ReduceOp):
        raise ValueError(f"op must be a ReduceOp of shoal.util.collective, but got op={op!r}")
    return op


def _bound(operation: Callable[..., Any], nodes: Sequence[Any], transport: Any, op: ReduceOp | None) -> list[DAGNode]:
    if transport not in _SHARED_MEMORY:
        raise NotImplementedError(f"transport={transport!r}: graphs move tensors through shared memory only")
    if not nodes:
        raise ValueError(f"input_nodes must not be empty, but got input_nodes={nodes!r}")
    if any(isinstance(node, (list, tuple)) for node in nodes):
        raise NotImplementedError("nested lists of nodes are not supported: bind each list by itself")
    actors = [_actor_of(node) for node in nodes]
    if len(set(actors)) < len(actors):
        raise ValueError(f"input_nodes must be of different actors, but got {list(nodes)!r}")
    name = None if op is None else _FUNCTIONS[op]
    return [actor.__ray_call__.bind(operation, rank, name, *nodes) for rank, actor in enumerate(actors)]


def _actor_of(node: Any) -> Any:
    call = node.call if isinstance(node, MethodOutputNode) else node
    actor = call.actor_handle() if isinstance(call, ClassMethodNode) else None
    if actor is None:
        raise ValueError(f"input_nodes must be calls of methods of actors that exist, but got {node!r}")
    return actor


# Run in the actors, which are their first argument.


def _reduced(actor: Any, rank: int, function: str, *tensors: Any) -> Any:
    return functools.reduce(getattr(_library_of(tensors[0]), function), tensors)


def _gathered(actor: Any, rank: int, function: None, *tensors: Any) -> Any:
    return _library_of(tensors[0]).concatenate(tensors)


def _scattered(actor: Any, rank: int, function: str, *tensors: Any) -> Any:
    rows, left = divmod(len(tensors[0]), len(tensors))
    if left:
        raise ValueError(f"the first dimension must be divisible by {len(tensors)} actors, but it is {len(tensors[0])}")
    return _reduced(actor, rank, function, *(tensor[rank * rows : (rank + 1) * rows] for tensor in tensors))


def _library_of(tensor: Any) -> Any:
    return importlib.import_module("torch" if type(tensor).__module__.partition(".")[0] == "torch" else "numpy")
