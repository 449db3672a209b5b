from __future__ import annotations

import gc
import pickle
import weakref
from collections.abc import Iterator

import pytest
from fake_engine import FakeEngine

import shoal
from shoal.core.ids import ActorID
from shoal.exceptions import ActorHandleNotFoundError


@shoal.remote(concurrency_groups={"io": 2})
class Worker:
    def work(self, x: int) -> int:
        return x * 2

    @shoal.method(num_returns=2)
    def pair(self) -> tuple[int, int]:
        return 1, 2

    def stream(self) -> Iterator[int]:
        yield from (1, 2)

    def __call__(self, x: int) -> int:
        return -x


@pytest.fixture
def worker(engine: FakeEngine) -> shoal.actor.ActorHandle:
    return Worker.remote()


def test_methods_are_called_through_remote(worker: shoal.actor.ActorHandle) -> None:
    assert shoal.get(worker.work.remote(2)) == 4
    assert shoal.get(worker.work.remote(x=3)) == 6
    assert shoal.get(worker.pair.remote()) == [1, 2]
    assert [shoal.get(ref) for ref in worker.stream.remote()] == [1, 2]
    assert shoal.get(worker.__call__.remote(3)) == -3


def test_the_engine_is_asked_for_a_submitter_once(worker: shoal.actor.ActorHandle, engine: FakeEngine) -> None:
    for number in range(5):
        worker.work.remote(number)
    assert engine.calls.count("method_submitter") == 1
    assert worker.work is worker.work and worker.work.remote is vars(worker.work)["remote"]


def test_built_in_methods(worker: shoal.actor.ActorHandle) -> None:
    assert shoal.get(worker.__ray_ready__.remote()) is True
    assert shoal.get(worker.__ray_call__.remote(lambda self, x: (type(self).__name__, x), 3)) == ("Worker", 3)


def test_options_of_one_call(worker: shoal.actor.ActorHandle) -> None:
    assert shoal.get(worker.work.options(name="named", concurrency_group="io").remote(1)) == 2
    with pytest.raises(ValueError, match="has no concurrency group 'cpu'"):
        worker.work.options(concurrency_group="cpu")
    with pytest.raises(ValueError, match="can only be used with generator"):
        worker.work.options(num_returns="streaming")
    with pytest.raises(ValueError, match="num_returns must be >= 0"):
        worker.work.options(num_returns=-1)


def test_wrong_uses(worker: shoal.actor.ActorHandle) -> None:
    with pytest.raises(TypeError, match=r"Actor methods cannot be called directly.*'object\.work\.remote\(\)'"):
        worker.work(1)
    with pytest.raises(TypeError, match=r"work\(x\): missing a required argument"):
        worker.work.remote()
    with pytest.raises(AttributeError, match="no attribute 'wrok'"):
        worker.wrok


def test_bind_makes_a_node_of_a_graph(worker: shoal.actor.ActorHandle) -> None:
    assert type(worker.work.bind(1)).__module__.startswith("shoal.dag.")


def test_a_handle_lists_its_methods(worker: shoal.actor.ActorHandle) -> None:
    assert [name for name in dir(worker) if not name.startswith("_")] == ["pair", "stream", "work"]
    assert {"__call__", "__init__", "__ray_ready__"} < set(dir(worker)) and dir(worker.work) == ["bind", "options", "remote"]


def test_handles_are_equal_by_actor(worker: shoal.actor.ActorHandle) -> None:
    copy, other = pickle.loads(pickle.dumps(worker)), Worker.remote()
    assert copy == worker and hash(copy) == hash(worker) and copy != other and worker != 3
    assert isinstance(worker._actor_id, ActorID) and worker._actor_id == worker._ray_actor_id
    assert worker._actor_id.hex() in repr(worker)


def test_a_copy_of_a_handle_works(worker: shoal.actor.ActorHandle) -> None:
    assert shoal.get(pickle.loads(pickle.dumps(worker)).work.remote(4)) == 8
    assert shoal.get(pickle.loads(pickle.dumps(worker.work)).remote(4)) == 8


def test_the_actor_goes_with_its_handle_without_garbage_collection(engine: FakeEngine) -> None:
    handle = Worker.remote()
    handle.work.remote(1)
    state = weakref.ref(handle._state)
    engine.actors.clear()
    gc.disable()
    try:
        del handle
        assert state() is None
    finally:
        gc.enable()


def test_a_method_keeps_its_actor(engine: FakeEngine) -> None:
    assert shoal.get(Worker.remote().work.remote(2)) == 4


def test_handles_of_an_earlier_session_say_so(engines: list[FakeEngine]) -> None:
    shoal.init()
    worker = Worker.remote()
    work = worker.work
    worker.work.remote(1)
    shoal.shutdown()
    shoal.init()
    for use in (lambda: work.remote(1), lambda: worker.pair.remote(), lambda: shoal.kill(worker), lambda: pickle.dumps(worker)):
        with pytest.raises(ActorHandleNotFoundError, match="not valid across sessions"):
            use()
