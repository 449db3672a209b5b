from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fake_engine import FakeEngine, FakeRef, FakeStream

import shoal
from shoal.core.generators import ObjectRefGenerator


@shoal.remote
class Actor:
    pass


@pytest.mark.parametrize("refs", [(), {}, 3, None, "x"])
def test_get_takes_a_reference_or_a_list(engine: FakeEngine, refs: Any) -> None:
    with pytest.raises(ValueError, match="Invalid type of object refs"):
        shoal.get(refs)


def test_get_refuses_other_members(engine: FakeEngine) -> None:
    with pytest.raises(TypeError, match="Attempting to call `get` on the value 3"):
        shoal.get([shoal.put(1), 3])


def test_get_keeps_order_and_duplicates(engine: FakeEngine) -> None:
    first, second = shoal.put(1), shoal.put(2)
    assert shoal.get([second, first, second]) == [2, 1, 2]
    assert shoal.get([]) == []


@pytest.mark.parametrize(("timeout", "passed_on"), [(None, None), (-1, None), (0, 0.0), (2, 2.0)])
def test_get_timeouts(engine: FakeEngine, timeout: float | None, passed_on: float | None) -> None:
    shoal.get(shoal.put(1), timeout=timeout)
    assert engine.calls[-1] == f"get {passed_on}"


def test_get_refuses_other_timeouts(engine: FakeEngine) -> None:
    with pytest.raises(TypeError, match="timeout must be a number"):
        shoal.get(shoal.put(1), timeout="1")  # type: ignore[arg-type]


def test_get_out_of_time_is_a_timeout_error(engine: FakeEngine) -> None:
    with pytest.raises(TimeoutError):
        shoal.get(FakeRef(), timeout=0)


def test_get_returns_a_stream_as_it_is(engine: FakeEngine) -> None:
    stream = ObjectRefGenerator(FakeStream([]))
    assert shoal.get(stream) is stream


def test_put_refuses_references_streams_and_owners(engine: FakeEngine) -> None:
    with pytest.raises(TypeError, match="Calling 'put' on"):
        shoal.put(shoal.put(1))
    with pytest.raises(TypeError, match="ObjectRefGenerator"):
        shoal.put(ObjectRefGenerator(FakeStream([])))
    with pytest.raises(ValueError, match="`_owner`"):
        shoal.put(1, _owner=3)
    with pytest.raises(ValueError, match="Invalid tensor transport 'nccl'"):
        shoal.put(1, _tensor_transport="nccl")


@pytest.mark.parametrize(
    ("build", "keywords", "error", "reason"),
    [
        (lambda ref: ref, {}, TypeError, "got a single one"),
        (lambda ref: (ref,), {}, TypeError, "got <class 'tuple'>"),
        (lambda ref: [ref, 1], {}, TypeError, "got list containing <class 'int'>"),
        (lambda ref: [ref, ref], {}, ValueError, "unique"),
        (lambda ref: [ref], {"timeout": -1}, ValueError, "nonnegative. Received -1"),
        (lambda ref: [ref], {"num_returns": 0}, ValueError, "num_returns=0"),
        (lambda ref: [ref], {"num_returns": 2}, ValueError, "cannot be greater than"),
    ],
)
def test_wait_checks_its_arguments(engine: FakeEngine, build: Any, keywords: Any, error: type[Exception], reason: str) -> None:
    with pytest.raises(error, match=reason):
        shoal.wait(build(shoal.put(1)), **keywords)


def test_wait_passes_references_and_streams_on(engine: FakeEngine) -> None:
    ref, stream = shoal.put(1), ObjectRefGenerator(FakeStream([]))
    assert shoal.wait([ref, stream], num_returns=1, timeout=3, fetch_local=False) == ([ref], [stream])
    assert engine.waited == [([ref, stream], 1, 3, False)]
    assert shoal.wait([]) == ([], [])


def test_cancel(engine: FakeEngine) -> None:
    ref = shoal.put(1)
    shoal.cancel(ref, force=True, recursive=False)
    assert engine.cancelled == [(ref, True, False)]
    with pytest.raises(TypeError, match=r"For actors, try kill\(\)"):
        shoal.cancel(Actor.remote())


def test_kill(engine: FakeEngine) -> None:
    actor = Actor.remote()
    shoal.kill(actor, no_restart=False)
    assert engine.killed == [(actor._state, False)]
    with pytest.raises(ValueError, match=r"only supported for actors\. For tasks, try cancel\(\)"):
        shoal.kill(shoal.put(1))


def test_get_actor(engine: FakeEngine) -> None:
    actor = Actor.options(name="a").remote()
    assert shoal.get_actor("a") == actor
    with pytest.raises(ValueError, match="Failed to look up actor with name 'b'"):
        shoal.get_actor("b")
    with pytest.raises(ValueError, match="non-empty"):
        shoal.get_actor("")
    with pytest.raises(TypeError, match="name must be a string"):
        shoal.get_actor(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not a valid namespace"):
        shoal.get_actor("a", namespace="")


def test_questions_about_the_cluster(engine: FakeEngine, tmp_path: Path) -> None:
    engine.answers.update(
        nodes=[{"Alive": True}], cluster_resources={"CPU": 2.0}, available_resources={"CPU": 1.0}, timeline=[{"ph": "X"}]
    )
    assert shoal.nodes() == [{"Alive": True}]
    assert shoal.cluster_resources() == {"CPU": 2.0} and shoal.available_resources() == {"CPU": 1.0}
    assert shoal.timeline() == [{"ph": "X"}]
    assert shoal.timeline(str(tmp_path / "trace.json")) is None
    assert json.loads((tmp_path / "trace.json").read_text()) == [{"ph": "X"}]


def test_gpu_ids_are_numbers_or_the_systems_names(engine: FakeEngine) -> None:
    assert shoal.get_gpu_ids() == []
    engine.facts["accelerator_ids"] = {"GPU": ["0", "2"]}
    assert shoal.get_gpu_ids() == [0, 2]
    engine.facts["accelerator_ids"] = {"GPU": ["GPU-ab"]}
    assert shoal.get_gpu_ids() == ["GPU-ab"]
