"""The collective operations. Each changes its tensors in place and is called by every member of the group."""

from __future__ import annotations

from typing import Any, NoReturn

from shoal.util.collective.backends import Group, ReduceOp
from shoal.util.collective.groups import get_group_handle


def allreduce(tensor: Any, group_name: str = "default", op: ReduceOp = ReduceOp.SUM) -> None:
    """Every member's ``tensor`` becomes the reduction of all."""
    get_group_handle(group_name).allreduce(tensor, op)


def reduce(tensor: Any, dst_rank: int = 0, group_name: str = "default", op: ReduceOp = ReduceOp.SUM) -> None:
    """The ``tensor`` of ``dst_rank`` becomes the reduction of all. What the others hold afterwards is undefined."""
    group = _group_with(group_name, "dst_rank", dst_rank)
    group.reduce(tensor, dst_rank, op)


def broadcast(tensor: Any, src_rank: int = 0, group_name: str = "default") -> None:
    """Every ``tensor`` becomes that of ``src_rank``."""
    group = _group_with(group_name, "src_rank", src_rank)
    group.broadcast(tensor, src_rank)


def allgather(tensor_list: list[Any], tensor: Any, group_name: str = "default") -> None:
    """``tensor_list[rank]`` becomes the ``tensor`` of that rank, in every member. It has one tensor for each member
    (ValueError)."""
    group = get_group_handle(group_name)
    _check_length(group, tensor_list)
    group.allgather(tensor_list, tensor)


def reducescatter(tensor: Any, tensor_list: list[Any], group_name: str = "default", op: ReduceOp = ReduceOp.SUM) -> None:
    """``tensor`` becomes the reduction of the members' ``tensor_list[rank]``, of this member's rank. Raises ValueError
    as allgather."""
    group = get_group_handle(group_name)
    _check_length(group, tensor_list)
    group.reducescatter(tensor, tensor_list, op)


def send(tensor: Any, dst_rank: int, group_name: str = "default") -> None:
    """Sends ``tensor`` to the member that calls ``recv``. Raises ValueError for this member's own rank."""
    group = _group_with(group_name, "dst_rank", dst_rank, other=True)
    group.send(tensor, dst_rank)


def recv(tensor: Any, src_rank: int, group_name: str = "default") -> None:
    """``tensor`` becomes what ``src_rank`` sends. Raises ValueError for this member's own rank."""
    group = _group_with(group_name, "src_rank", src_rank, other=True)
    group.recv(tensor, src_rank)


def barrier(group_name: str = "default") -> None:
    """Returns when every member has called it."""
    get_group_handle(group_name).barrier()


def allreduce_multigpu(*args: Any, **kwargs: Any) -> NoReturn:
    """Not supported: raises NotImplementedError, as do all that end so."""
    _refuse("allreduce_multigpu")


def reduce_multigpu(*args: Any, **kwargs: Any) -> NoReturn:
    _refuse("reduce_multigpu")


def broadcast_multigpu(*args: Any, **kwargs: Any) -> NoReturn:
    _refuse("broadcast_multigpu")


def allgather_multigpu(*args: Any, **kwargs: Any) -> NoReturn:
    _refuse("allgather_multigpu")


def reducescatter_multigpu(*args: Any, **kwargs: Any) -> NoReturn:
    _refuse("reducescatter_multigpu")


def send_multigpu(*args: Any, **kwargs: Any) -> NoReturn:
    _refuse("send_multigpu")


def recv_multigpu(*args: Any, **kwargs: Any) -> NoReturn:
    _refuse("recv_multigpu")


def _refuse(name: str) -> NoReturn:
    raise NotImplementedError(
        f"{name}() is for one process with several GPUs, which needs the backend NCCL and is not supported yet: "
        f"use {name.removesuffix('_multigpu')}() in one actor for each device"
    )


def _group_with(group_name: str, argument: str, rank: int, other: bool = False) -> Group:
    group = get_group_handle(group_name)
    if not 0 <= rank < group.world_size:
        raise ValueError(f"{argument} must be between 0 and {group.world_size - 1}, but got {argument}={rank}")
    if other and rank == group.rank:
        raise ValueError(f"{argument} must be another member's rank, but got this member's own: {argument}={rank}")
    return group


def _check_length(group: Group, tensor_list: Any) -> None:
    if not isinstance(tensor_list, list) or len(tensor_list) != group.world_size:
        raise ValueError(
            f"tensor_list must be a list with one tensor for each of {group.world_size} members, but got {tensor_list!r}"
        )
