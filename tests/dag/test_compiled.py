from __future__ import annotations

import asyncio
import copy
import pickle
import re
from typing import Any

import numpy as np
import pytest

import shoal
from shoal.dag import DAGContext, InputNode, MultiOutputNode
from shoal.exceptions import RayCgraphCapacityExceeded, RayChannelError, RayChannelTimeoutError

pytestmark = pytest.mark.usefixtures("cluster")


@shoal.remote(num_cpus=0)
class Worker:
    def __init__(self) -> None:
        self.total = 0

    def add(self, amount: int) -> int:
        if amount < 0:
            raise ValueError(f"negative: {amount}")
        self.total += amount
        return self.total

    def echo(self, value: Any) -> Any:
        return value

    def join(self, left: Any, right: Any = None) -> tuple[Any, Any]:
        return left, right

    @shoal.method(num_returns=2)
    def both(self, value: int) -> tuple[int, int]:
        return value, value + 1


@shoal.remote(num_cpus=0)
class Gate:
    def __init__(self) -> None:
        self._opened = asyncio.Event()

    async def wait(self, value: Any) -> Any:
        await self._opened.wait()
        return value

    async def open(self) -> None:
        self._opened.set()


@shoal.remote
def function(value: int) -> int:
    return value


def test_executions_keep_their_order_and_the_actor_its_state() -> None:
    worker = Worker.remote()
    with InputNode() as inp:
        graph = worker.add.bind(inp).experimental_compile()
    refs = [graph.execute(1) for _ in range(3)]
    assert [ref.get() for ref in refs] == [1, 2, 3]
    graph.teardown()


def test_the_public_get_reads_results_once() -> None:
    worker = Worker.remote()
    with InputNode() as inp:
        graph = MultiOutputNode([worker.echo.bind(inp), worker.echo.bind(inp)]).experimental_compile()
        single = worker.echo.bind(inp).experimental_compile()
    assert shoal.get(graph.execute(1)) == [1, 1]
    ref = single.execute(2)
    assert shoal.get(ref, timeout=30) == 2
    with pytest.raises(ValueError, match="only be called once"):
        shoal.get(ref)
    with pytest.raises(TypeError):
        shoal.wait([single.execute(3)])  # type: ignore[list-item]


def test_results_can_be_read_in_any_order() -> None:
    with InputNode() as inp:
        graph = Worker.remote().echo.bind(inp).experimental_compile()
    first, second = graph.execute("first"), graph.execute("second")
    assert second.get() == "second"
    assert first.get() == "first"


def test_values_pass_between_actors() -> None:
    first, second = Worker.remote(), Worker.remote()
    with InputNode() as inp:
        graph = second.join.bind(first.echo.bind(inp.x), right=inp[0]).experimental_compile()
    assert graph.execute(1, x=2).get() == (2, 1)


def test_an_array_for_several_calls_arrives_whole() -> None:
    first, second = Worker.remote(), Worker.remote()
    with InputNode() as inp:
        graph = MultiOutputNode([first.echo.bind(inp), second.echo.bind(inp)]).experimental_compile()
    array = np.arange(50_000)
    for ref in graph.execute(array):
        assert (ref.get() == array).all()


def test_several_outputs_are_read_one_by_one() -> None:
    worker = Worker.remote()
    with InputNode() as inp:
        first, second = worker.both.bind(inp)
        graph = MultiOutputNode([first, second]).experimental_compile()
    one, two = graph.execute(5)
    assert (two.get(), one.get()) == (6, 5)


def test_a_result_is_read_only_once() -> None:
    with InputNode() as inp:
        graph = Worker.remote().echo.bind(inp).experimental_compile()
    ref = graph.execute(1)
    assert ref.get() == 1
    with pytest.raises(ValueError, match="only be called once"):
        ref.get()


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
def test_results_cannot_be_duplicated(duplicate: Any) -> None:
    with InputNode() as inp:
        graph = Worker.remote().echo.bind(inp).experimental_compile()
    with pytest.raises(ValueError, match="CompiledDAGRef cannot be"):
        duplicate(graph.execute(1))


def test_an_error_does_not_end_the_graph() -> None:
    worker = Worker.remote()
    with InputNode() as inp:
        graph = worker.echo.bind(worker.add.bind(inp)).experimental_compile()
    failed = graph.execute(-1)
    with pytest.raises(ValueError, match="negative: -1"):
        failed.get()
    assert graph.execute(2).get() == 2


def test_a_late_result_can_be_read_after_a_time_out() -> None:
    gate = Gate.remote()
    with InputNode() as inp:
        graph = gate.wait.bind(inp).experimental_compile()
    ref = graph.execute("late")
    with pytest.raises(RayChannelTimeoutError, match="timeout=0.01"):
        ref.get(timeout=0.01)
    shoal.get(gate.open.remote())
    assert ref.get(timeout=-1) == "late"


def test_unread_executions_are_bounded() -> None:
    with InputNode() as inp:
        graph = Worker.remote().echo.bind(inp).experimental_compile(_max_inflight_executions=2)
    first, second = graph.execute(1), graph.execute(2)
    with pytest.raises(RayCgraphCapacityExceeded, match="2 executions are in flight"):
        graph.execute(3)
    assert second.get() == 2
    third, fourth = graph.execute(3), graph.execute(4)
    assert [first.get(), third.get(), fourth.get()] == [1, 3, 4]


def test_ten_executions_are_in_flight_by_default() -> None:
    with InputNode() as inp:
        graph = Worker.remote().echo.bind(inp).experimental_compile()
    refs = [graph.execute(number) for number in range(10)]
    with pytest.raises(RayCgraphCapacityExceeded):
        graph.execute(10)
    assert [ref.get() for ref in refs] == list(range(10))


def test_a_dropped_result_makes_room() -> None:
    worker = Worker.remote()
    with InputNode() as inp:
        graph = worker.echo.bind(inp).experimental_compile(_max_inflight_executions=1)
    for number in range(3):
        ref = graph.execute(number)
        del ref
        shoal.get(worker.echo.remote(None))
    assert graph.execute("last").get() == "last"


def test_unread_earlier_results_are_bounded() -> None:
    with InputNode() as inp:
        graph = Worker.remote().echo.bind(inp).experimental_compile(_max_buffered_results=2)
    first, second, third = (graph.execute(number) for number in range(3))
    with pytest.raises(RayCgraphCapacityExceeded, match="2 earlier results are unread"):
        third.get()
    assert [second.get(), third.get(), first.get()] == [1, 2, 0]


def test_coroutines_await_results_once() -> None:
    worker = Worker.remote()
    with InputNode() as inp:
        graph = worker.add.bind(inp).experimental_compile(enable_asyncio=True)

    async def use() -> None:
        futures = [await graph.execute_async(1) for _ in range(3)]
        assert [await future for future in futures] == [1, 2, 3]
        with pytest.raises(ValueError, match="already awaited"):
            await futures[0]
        with pytest.raises(ValueError, match="negative"):
            await (await graph.execute_async(-1))

    asyncio.run(use())
    with pytest.raises(ValueError, match="use execute_async"):
        graph.execute(1)


def test_coroutines_need_a_graph_compiled_for_them() -> None:
    with InputNode() as inp:
        graph = Worker.remote().echo.bind(inp).experimental_compile()
    with pytest.raises(ValueError, match="use execute instead"):
        asyncio.run(graph.execute_async(1))


def test_after_teardown_the_graph_is_closed_and_the_actor_free() -> None:
    worker = Worker.remote()
    with InputNode() as inp:
        node = worker.echo.bind(inp)
    graph = node.experimental_compile()
    unread = graph.execute(1)
    graph.teardown()
    graph.teardown()
    assert graph.is_teardown
    with pytest.raises(RayChannelError, match="torn down"):
        graph.execute(1)
    with pytest.raises(RayChannelError, match="torn down"):
        unread.get()
    assert shoal.get(worker.echo.remote(2)) == 2
    assert node.experimental_compile().execute(3).get() == 3


def test_teardown_can_end_the_actors() -> None:
    worker = Worker.remote()
    with InputNode() as inp:
        graph = worker.echo.bind(inp).experimental_compile()
    assert graph.execute(1).get() == 1
    graph.teardown(kill_actors=True)
    with pytest.raises(shoal.exceptions.RayActorError):
        shoal.get(worker.echo.remote(1))


def test_arguments_must_fit_the_input() -> None:
    with InputNode() as inp:
        graph = Worker.remote().join.bind(inp[0], inp.x).experimental_compile()
    with pytest.raises(ValueError, match="takes 1 positional arguments, but got 2"):
        graph.execute(1, 2, x=3)
    with pytest.raises(ValueError, match=r"\['x'\] are missing"):
        graph.execute(1)


def test_what_cannot_be_compiled_is_named() -> None:
    with InputNode() as inp:
        with pytest.raises(NotImplementedError, match="methods of actors only"):
            function.bind(inp).experimental_compile()
        with pytest.raises(ValueError, match=r"make Worker with .remote\(\)|with .remote\(\) instead of .bind\(\)"):
            Worker.bind().echo.bind(inp).experimental_compile()
        node = Worker.remote().echo.bind(inp)
        with pytest.raises(ValueError, match="output of a compiled graph must be a method call"):
            MultiOutputNode([node, inp]).experimental_compile()
        with pytest.raises(NotImplementedError, match="between GPUs"):
            node.experimental_compile(_overlap_gpu_communication=True)
        with pytest.raises(NotImplementedError, match="communicators"):
            node.experimental_compile(_default_communicator="nccl")
        with pytest.raises(NotImplementedError, match="with_tensor_transport"):
            node.with_tensor_transport("nccl")
        with pytest.raises(ValueError, match="_max_inflight_executions must be > 0, but got _max_inflight_executions=0"):
            node.experimental_compile(_max_inflight_executions=0)


def test_overlapping_gpu_communication_is_refused_also_as_a_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DAGContext.get_current(), "overlap_gpu_communication", True)
    with InputNode() as inp:
        graph = Worker.remote().echo.bind(inp)
    with pytest.raises(NotImplementedError, match="overlap_gpu_communication=True"):
        graph.experimental_compile()


def test_tensors_travel_through_shared_memory() -> None:
    left, right = Worker.remote(), Worker.remote()
    with InputNode() as inp:
        passed = left.echo.bind(inp).with_tensor_transport()
        graph = right.echo.bind(passed).with_tensor_transport("shm", device="cpu")
    compiled = graph.experimental_compile()
    array = np.arange(100_000)
    assert np.array_equal(shoal.get(compiled.execute(array)), array)
    compiled.teardown()


@pytest.mark.parametrize(
    ("asked", "error", "reason"),
    [
        ({"transport": "pigeon"}, ValueError, "transport must be one of"),
        ({"device": "tpu"}, ValueError, "device must be one of"),
        ({"transport": "nccl"}, NotImplementedError, "transport='nccl'"),
        ({"transport": object}, NotImplementedError, "transport="),
        ({"device": "cuda"}, NotImplementedError, "device='cuda'"),
        ({"_static_shape": True}, NotImplementedError, "_static_shape=True"),
    ],
)
def test_transports_that_are_not_there_are_named(asked: dict[str, Any], error: type[Exception], reason: str) -> None:
    with InputNode() as inp:
        node = Worker.remote().echo.bind(inp)
    with pytest.raises(error, match=re.escape(reason)):
        node.with_tensor_transport(**asked)


def test_results_of_graphs_are_not_read_together_with_objects() -> None:
    with InputNode() as inp:
        compiled = Worker.remote().echo.bind(inp).experimental_compile()
    result = compiled.execute(1)
    with pytest.raises(ValueError, match="results of compiled graphs must not be mixed with object references"):
        shoal.get([result, shoal.put(2)])
    with pytest.raises(ValueError, match="must not be mixed"):
        shoal.get([shoal.put(2), result])
    assert shoal.get(result) == 1
    compiled.teardown()
