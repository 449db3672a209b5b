"""Collective operations between actors: every member of a group calls the same operation, and tensors are changed in place.

Tensors are torch tensors or numpy arrays in the memory of the CPU. The backend is GLOO, which needs torch: ``pip
install shoal[train]``.
"""

from __future__ import annotations

from shoal.util.collective.backends import (
    Backend,
    Group,
    ReduceOp,
    gloo_available,
    is_backend_available,
    nccl_available,
    register_collective_backend,
)
from shoal.util.collective.groups import (
    create_collective_group,
    destroy_collective_group,
    get_collective_group_size,
    get_group_handle,
    get_rank,
    init_collective_group,
    is_group_initialized,
)
from shoal.util.collective.operations import (
    allgather,
    allgather_multigpu,
    allreduce,
    allreduce_multigpu,
    barrier,
    broadcast,
    broadcast_multigpu,
    recv,
    recv_multigpu,
    reduce,
    reduce_multigpu,
    reducescatter,
    reducescatter_multigpu,
    send,
    send_multigpu,
)

__all__ = [
    "Backend",
    "Group",
    "ReduceOp",
    "allgather",
    "allgather_multigpu",
    "allreduce",
    "allreduce_multigpu",
    "barrier",
    "broadcast",
    "broadcast_multigpu",
    "create_collective_group",
    "destroy_collective_group",
    "get_collective_group_size",
    "get_group_handle",
    "get_rank",
    "gloo_available",
    "init_collective_group",
    "is_backend_available",
    "is_group_initialized",
    "nccl_available",
    "recv",
    "recv_multigpu",
    "reduce",
    "reduce_multigpu",
    "reducescatter",
    "reducescatter_multigpu",
    "register_collective_backend",
    "send",
    "send_multigpu",
]
