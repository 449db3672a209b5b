"""What every backend must do. ACTOR goes through the rendezvous actor itself; GLOO is among them where torch is installed."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest

import shoal
from shoal.util import collective
from shoal.util.collective.backends import Group, ReduceOp
from shoal.util.collective.rendezvous import open_rendezvous

pytestmark = pytest.mark.usefixtures("cluster")

BACKENDS = ["ACTOR"] + ["GLOO"] * (importlib.util.find_spec("torch") is not None)
REDUCE = {ReduceOp.SUM: np.sum, ReduceOp.PRODUCT: np.prod, ReduceOp.MIN: np.min, ReduceOp.MAX: np.max}


class ActorGroup(Group):
    """Every member puts its array under a numbered key and reads those of the others."""

    def __init__(self, world_size: int, rank: int, group_name: str, timeout_ms: int = 30_000) -> None:
        super().__init__(world_size, rank, group_name, timeout_ms)
        self._rendezvous = open_rendezvous(group_name)
        self._step = 0
        self.destroyed = False

    def destroy_group(self) -> None:
        self.destroyed = True

    def _exchange(self, value: Any) -> list[Any]:
        self._step += 1
        shoal.get(self._rendezvous.put.remote(f"{self._step}/{self.rank}", value))
        return shoal.get([self._rendezvous.wait.remote(f"{self._step}/{rank}") for rank in range(self.world_size)])

    def allreduce(self, tensor: Any, op: ReduceOp) -> None:
        tensor[:] = REDUCE[op](self._exchange(tensor), axis=0)

    def reduce(self, tensor: Any, dst_rank: int, op: ReduceOp) -> None:
        reduced = REDUCE[op](self._exchange(tensor), axis=0)
        if self.rank == dst_rank:
            tensor[:] = reduced

    def broadcast(self, tensor: Any, src_rank: int) -> None:
        tensor[:] = self._exchange(tensor)[src_rank]

    def allgather(self, tensor_list: list[Any], tensor: Any) -> None:
        for target, value in zip(tensor_list, self._exchange(tensor), strict=True):
            target[:] = value

    def reducescatter(self, tensor: Any, tensor_list: list[Any], op: ReduceOp) -> None:
        tensor[:] = REDUCE[op](self._exchange(tensor_list), axis=0)[self.rank]

    def send(self, tensor: Any, dst_rank: int) -> None:
        shoal.get(self._rendezvous.put.remote(f"to {dst_rank} from {self.rank}", tensor))

    def recv(self, tensor: Any, src_rank: int) -> None:
        tensor[:] = shoal.get(self._rendezvous.wait.remote(f"to {self.rank} from {src_rank}"))

    def barrier(self) -> None:
        self._exchange(None)


@shoal.remote(num_cpus=0)
class Member:
    def __init__(self, backend: type[Group]) -> None:
        collective.register_collective_backend("ACTOR", backend)

    def join(self, world_size: int, rank: int, backend: str = "ACTOR", name: str = "default") -> None:
        collective.init_collective_group(world_size, rank, backend, name)

    def facts(self, name: str = "default") -> tuple[bool, int, int]:
        return (
            collective.is_group_initialized(name),
            collective.get_rank(name),
            collective.get_collective_group_size(name),
        )

    def call(self, operation: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        tensor = np.array(value)
        getattr(collective, operation)(tensor, *args, **kwargs)
        return tensor.tolist()

    def gather(self, value: Any, size: int) -> Any:
        parts = [np.zeros(2, dtype=int) for _ in range(size)]
        collective.allgather(parts, np.array(value))
        return [part.tolist() for part in parts]

    def scatter(self, values: Any) -> Any:
        part = np.zeros(2, dtype=int)
        collective.reducescatter(part, [np.array(value) for value in values])
        return part.tolist()

    def pass_on(self, rank: int) -> Any:
        tensor = np.full(2, rank)
        if rank == 0:
            collective.send(tensor, 1)
        else:
            collective.recv(tensor, 0)
        collective.barrier()
        return tensor.tolist()

    def leave(self, name: str = "default") -> tuple[bool, int]:
        collective.destroy_collective_group(name)
        return collective.is_group_initialized(name), collective.get_rank(name)


def members(count: int = 2) -> list[Any]:
    return [Member.remote(ActorGroup) for _ in range(count)]


def joined(backend: str = "ACTOR") -> list[Any]:
    found = members()
    shoal.get([member.join.remote(2, rank, backend) for rank, member in enumerate(found)])
    return found


def left(found: list[Any], name: str = "default") -> None:
    assert shoal.get([member.leave.remote(name) for member in found]) == [(False, -1)] * len(found)


def test_members_know_their_rank_and_the_size() -> None:
    found = members()
    assert shoal.get(found[0].facts.remote()) == (False, -1, -1)
    shoal.get([member.join.remote(2, rank) for rank, member in enumerate(found)])
    assert shoal.get([member.facts.remote() for member in found]) == [(True, 0, 2), (True, 1, 2)]
    left(found)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("operation", "args", "results"),
    [
        ("allreduce", {}, [[4, 6], [4, 6]]),
        ("allreduce", {"op": ReduceOp.PRODUCT}, [[3, 8], [3, 8]]),
        ("reduce", {"dst_rank": 1}, [None, [4, 6]]),
        ("broadcast", {"src_rank": 1}, [[3, 4], [3, 4]]),
    ],
)
def test_operations_change_tensors_in_place(operation: str, args: dict[str, Any], results: Any, backend: str) -> None:
    found = joined(backend)
    calls = [member.call.remote(operation, value, **args) for member, value in zip(found, ([1, 2], [3, 4]), strict=True)]
    # None: what that member holds afterwards is undefined.
    assert [got if wanted else None for got, wanted in zip(shoal.get(calls), results, strict=True)] == results
    left(found)


@pytest.mark.parametrize("backend", BACKENDS)
def test_tensors_are_gathered_scattered_and_sent(backend: str) -> None:
    found = joined(backend)
    assert shoal.get([member.gather.remote([rank, rank], 2) for rank, member in enumerate(found)]) == [[[0, 0], [1, 1]]] * 2
    assert shoal.get([member.scatter.remote([[1, 1], [2, 2]]) for member in found]) == [[2, 2], [4, 4]]
    assert shoal.get([member.pass_on.remote(rank) for rank, member in enumerate(found)]) == [[0, 0], [0, 0]]
    left(found)


def test_a_described_group_is_joined_by_the_first_operation() -> None:
    collective.register_collective_backend("ACTOR", ActorGroup)
    found = members()
    collective.create_collective_group(found, 2, [1, 0], "ACTOR", "described")
    assert shoal.get(found[0].facts.remote("described")) == (False, -1, -1)
    calls = [member.call.remote("allreduce", [1, 1], group_name="described") for member in found]
    assert shoal.get(calls) == [[2, 2], [2, 2]]
    assert shoal.get([member.facts.remote("described") for member in found]) == [(True, 1, 2), (True, 0, 2)]
    with pytest.raises(ValueError):
        collective.create_collective_group(found, 2, [0, 1], "ACTOR", "described")
    left(found, "described")


def test_actors_outside_of_the_group_are_told() -> None:
    [outsider] = members(1)
    with pytest.raises(RuntimeError, match="no member of group 'default'"):
        shoal.get(outsider.call.remote("allreduce", [1]))


def test_bad_calls_are_refused() -> None:
    found = joined()
    first = found[0]
    with pytest.raises(RuntimeError, match="initialized already"):
        shoal.get(first.join.remote(2, 0))
    with pytest.raises(ValueError, match="dst_rank must be between 0 and 1, but got dst_rank=5"):
        shoal.get(first.call.remote("reduce", [1], 5))
    with pytest.raises(ValueError, match="another member's rank"):
        shoal.get(first.call.remote("send", [1], 0))
    with pytest.raises(ValueError, match="one tensor for each of 2 members"):
        shoal.get(first.gather.remote([1, 1], 3))
    left(found)


def test_bad_groups_are_refused() -> None:
    found = members()
    with pytest.raises(ValueError, match="rank must be between 0 and world_size - 1 = 1, but got rank=2"):
        shoal.get(found[0].join.remote(2, 2))
    with pytest.raises(ValueError, match="world_size must be >= 1"):
        shoal.get(found[0].join.remote(0, 0))
    with pytest.raises(ValueError, match="each actor needs one rank"):
        collective.create_collective_group(found, 3, [0, 1, 2], "ACTOR")
    with pytest.raises(ValueError, match=r"ranks must be 0 to 1, each once, but got ranks=\[0, 0\]"):
        collective.create_collective_group(found, 2, [0, 0], "ACTOR")
    with pytest.raises(RuntimeError, match="must be called in an actor"):
        collective.init_collective_group(1, 0, "ACTOR")
