"""The GLOO backend: torch's own process groups, one for each collective group, found through the rendezvous actor."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import torch
import torch.distributed as distributed

import shoal
from shoal.util.collective.backends import Group, ReduceOp
from shoal.util.collective.rendezvous import open_rendezvous
from shoal.util.node_address import get_node_ip_address

_OPERATIONS = {
    ReduceOp.SUM: distributed.ReduceOp.SUM,
    ReduceOp.PRODUCT: distributed.ReduceOp.PRODUCT,
    ReduceOp.MIN: distributed.ReduceOp.MIN,
    ReduceOp.MAX: distributed.ReduceOp.MAX,
}


class GlooGroup(Group):
    """Connects to the other members over TCP; the address of rank 0's store is what they learn from the rendezvous."""

    def __init__(self, world_size: int, rank: int, group_name: str, timeout_ms: int = 30_000) -> None:
        super().__init__(world_size, rank, group_name, timeout_ms)
        self._rendezvous = open_rendezvous(group_name)
        timeout = timedelta(milliseconds=timeout_ms)
        self._store = self._connect_store(timeout)
        self._group: Any = distributed.ProcessGroupGloo(
            distributed.PrefixStore(group_name, self._store), rank, world_size, timeout
        )

    @classmethod
    def unavailable_because(cls) -> str | None:
        return None if distributed.is_available() and distributed.is_gloo_available() else "this build of torch has no gloo"

    def destroy_group(self) -> None:
        self._group = None
        self._store = None
        self._rendezvous = None

    def allreduce(self, tensor: Any, op: ReduceOp) -> None:
        options = distributed.AllreduceOptions()
        options.reduceOp = _OPERATIONS[op]
        self._group.allreduce([_as_torch(tensor)], options).wait()

    def reduce(self, tensor: Any, dst_rank: int, op: ReduceOp) -> None:
        options = distributed.ReduceOptions()
        options.reduceOp = _OPERATIONS[op]
        options.rootRank = dst_rank
        self._group.reduce([_as_torch(tensor)], options).wait()

    def broadcast(self, tensor: Any, src_rank: int) -> None:
        options = distributed.BroadcastOptions()
        options.rootRank = src_rank
        self._group.broadcast([_as_torch(tensor)], options).wait()

    def allgather(self, tensor_list: list[Any], tensor: Any) -> None:
        self._group.allgather([[_as_torch(each) for each in tensor_list]], [_as_torch(tensor)]).wait()

    def reducescatter(self, tensor: Any, tensor_list: list[Any], op: ReduceOp) -> None:
        # Gloo itself has no reduce-scatter: reduce everything, and keep this member's part.
        parts = torch.stack([_as_torch(each) for each in tensor_list])
        self.allreduce(parts, op)
        _as_torch(tensor).copy_(parts[self.rank])

    def send(self, tensor: Any, dst_rank: int) -> None:
        self._group.send([_as_torch(tensor)], dst_rank, 0).wait()

    def recv(self, tensor: Any, src_rank: int) -> None:
        self._group.recv([_as_torch(tensor)], src_rank, 0).wait()

    def barrier(self) -> None:
        self._group.barrier().wait()

    def _connect_store(self, timeout: timedelta) -> Any:
        if self.rank == 0:
            host = get_node_ip_address()
            store = distributed.TCPStore(host, 0, self.world_size, True, timeout, wait_for_workers=False)
            shoal.get(self._rendezvous.put.remote("store", (host, store.port)))
            return store
        found = self._rendezvous.wait.remote("store")
        try:
            host, port = shoal.get(found, timeout=timeout.total_seconds())
        except TimeoutError as error:
            raise TimeoutError(
                f"rank 0 of group {self.group_name!r} did not join within gloo_timeout={self.timeout_ms} ms"
            ) from error
        return distributed.TCPStore(host, port, self.world_size, False, timeout, wait_for_workers=False)


def _as_torch(tensor: Any) -> Any:
    """The torch tensor that shares its memory with ``tensor``, so that changes in place are seen."""
    if isinstance(tensor, torch.Tensor):
        if tensor.device.type != "cpu":
            raise ValueError(f"the GLOO backend works on tensors in CPU memory, but got one on {tensor.device}")
        return tensor
    return torch.from_numpy(tensor)
