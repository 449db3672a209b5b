from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest

import shoal
from shoal.dag import InputNode, MultiOutputNode
from shoal.experimental import collective
from shoal.experimental.collective import allgather, allreduce, reducescatter
from shoal.util.collective import ReduceOp

pytestmark = pytest.mark.usefixtures("cluster")

LIBRARIES = ["numpy"] + ["torch"] * (importlib.util.find_spec("torch") is not None)


@shoal.remote(num_cpus=0)
class Member:
    def __init__(self, rank: int) -> None:
        self.rank = rank

    def scaled(self, tensor: Any) -> Any:
        return tensor * (self.rank + 1)

    @shoal.method(num_returns=2)
    def both(self, tensor: Any) -> tuple[Any, Any]:
        return tensor, tensor + self.rank

    def numbers(self, tensor: Any) -> list[float]:
        return [float(each) for each in tensor]


def run(bind: Any, library: str = "numpy", length: int = 4, compiled: bool = True) -> list[list[float]]:
    members = [Member.remote(0), Member.remote(1)]
    with InputNode() as inp:
        combined = bind([member.scaled.bind(inp) for member in members])
        graph = MultiOutputNode([member.numbers.bind(node) for member, node in zip(members, combined, strict=True)])
    tensor = importlib.import_module(library).arange(length) + 1.0
    if not compiled:
        return list(shoal.get(graph.execute(tensor)))
    made = graph.experimental_compile()
    try:
        assert shoal.get(made.execute(tensor)) == shoal.get(made.execute(tensor))
        return list(shoal.get(made.execute(tensor)))
    finally:
        made.teardown()


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(
    ("op", "expected"),
    [
        (ReduceOp.SUM, [3, 6, 9, 12]),
        (ReduceOp.PRODUCT, [2, 8, 18, 32]),
        (ReduceOp.MIN, [1, 2, 3, 4]),
        (ReduceOp.MAX, [2, 4, 6, 8]),
    ],
)
def test_every_actor_gets_the_reduction(library: str, op: ReduceOp, expected: list[float]) -> None:
    assert run(lambda nodes: allreduce.bind(nodes, op), library) == [expected, expected]


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_actor_gets_all_tensors_in_order(library: str) -> None:
    assert run(allgather.bind, library, 2) == [[1, 2, 2, 4]] * 2


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_actor_gets_its_part_of_the_reduction(library: str) -> None:
    assert run(reducescatter.bind, library) == [[3, 6], [9, 12]]


def test_graphs_need_not_be_compiled() -> None:
    assert run(allreduce.bind, compiled=False) == [[3, 6, 9, 12]] * 2


def test_what_cannot_be_scattered_fails_the_call() -> None:
    with pytest.raises(ValueError, match="must be divisible by 2 actors, but it is 3"):
        run(reducescatter.bind, length=3)


def test_one_of_several_returns_can_be_combined() -> None:
    members = [Member.remote(0), Member.remote(5)]
    with InputNode() as inp:
        second = [member.both.bind(inp)[1] for member in members]
        graph = MultiOutputNode(allreduce.bind(second, transport="shm"))
    for result in shoal.get(graph.execute(np.zeros(2))):
        assert list(result) == [5, 5]


def test_bad_input_is_named() -> None:
    member = Member.remote(0)
    with InputNode() as inp:
        node = member.scaled.bind(inp)
        with pytest.raises(ValueError, match="input_nodes must not be empty"):
            allreduce.bind([])
        with pytest.raises(ValueError, match="must be of different actors"):
            allgather.bind([node, member.scaled.bind(inp)])
        with pytest.raises(ValueError, match="must be calls of methods of actors that exist"):
            allgather.bind([Member.bind(0).scaled.bind(inp)])
        with pytest.raises(ValueError, match="op must be a ReduceOp .*, but got op='sum'"):
            allreduce.bind([node], "sum")  # type: ignore[arg-type]
        with pytest.raises(NotImplementedError, match="transport='nccl'"):
            reducescatter.bind([node], transport="nccl")
        with pytest.raises(NotImplementedError, match="nested lists"):
            allreduce.bind([[node]])  # type: ignore[list-item]


@pytest.mark.parametrize(
    "name", ["create_collective_group", "get_collective_groups", "destroy_collective_group", "destroy_all_collective_groups"]
)
def test_groups_for_tensors_on_devices_are_refused_by_name(name: str) -> None:
    with pytest.raises(NotImplementedError, match=rf"{name}\(\) is for tensors that stay on their devices"):
        getattr(collective, name)([], backend="nccl")


def test_called_they_are_those_of_util() -> None:
    with pytest.raises(RuntimeError, match="get_group_handle.. must be called in an actor"):
        allreduce(np.zeros(1))
