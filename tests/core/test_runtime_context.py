from __future__ import annotations

import pytest
from fake_engine import FakeEngine

import shoal
from shoal.exceptions import RaySystemError


@shoal.remote
class Actor:
    def work(self) -> int:
        return 1


def test_a_driver_has_no_task_and_no_actor(engine: FakeEngine) -> None:
    context = shoal.get_runtime_context()
    assert context.get_job_id() == "00000001" and context.get_node_id() == "6e" * 28 and context.get_worker_id() == "77" * 28
    for answer in (context.get_task_id, context.get_actor_id, context.get_task_name, context.get_actor_name):
        assert answer() is None
    assert context.get_placement_group_id() is None and context.get_assigned_resources() == {}
    assert context.namespace == "fake" and context.runtime_env == {} and context.get_runtime_env_string() == "{}"
    assert not context.was_current_actor_reconstructed and not context.should_capture_child_tasks_in_placement_group
    with pytest.raises(RuntimeError, match="only available in an actor"):
        context.current_actor
    with pytest.raises(RuntimeError, match="not in a driver"):
        context.is_canceled()


def test_an_actors_call_knows_both(engine: FakeEngine) -> None:
    handle = Actor.remote()
    engine.answers["current_actor"] = handle._state
    engine.facts.update(
        actor_id=handle._state.actor_id,
        task_id=b"t" * 24,
        task_name="named",
        task_function_name="m.Actor.work",
        actor_name=None,
        placement_group_id=b"p" * 18,
        assigned_resources={"CPU": 1.0},
        accelerator_ids={"GPU": [0]},
        runtime_env={"env_vars": {"A": "1"}},
        node_labels={"zone": "a"},
        session_name="s",
        temp_dir="/t",
        gcs_address="here",
        is_canceled=True,
        was_reconstructed=True,
        captures_child_tasks=True,
    )
    context = shoal.get_runtime_context()
    assert context.get_actor_id() == handle._actor_id.hex() and context.get_task_id() == "74" * 24
    assert (context.get_task_name(), context.get_task_function_name(), context.get_actor_name()) == (
        "named",
        "m.Actor.work",
        "",
    )
    assert context.get_placement_group_id() == "70" * 18 and context.get_assigned_resources() == {"CPU": 1.0}
    ids = context.get_accelerator_ids()
    assert ids == context.get_resource_ids() and ids["GPU"] == ["0"] and ids["TPU"] == ids["neuron_cores"] == []
    assert context.runtime_env.env_vars() == {"A": "1"} and '"A": "1"' in context.get_runtime_env_string()
    assert context.get_node_labels() == {"zone": "a"} and context.gcs_address == "here"
    assert (context.get_session_name(), context.get_temp_dir()) == ("s", "/t")
    assert context.current_actor == handle and context.is_canceled()
    assert context.was_current_actor_reconstructed and context.should_capture_child_tasks_in_placement_group


def test_the_old_names_still_answer_with_a_warning(engine: FakeEngine) -> None:
    context = shoal.get_runtime_context()
    engine.facts.update(task_id=b"t" * 24, actor_id=b"a" * 16)
    for name in ("job_id", "node_id", "task_id", "actor_id"):
        with pytest.warns(DeprecationWarning, match=rf"Use get_{name}\(\) instead"):
            assert getattr(context, name).hex() == getattr(context, f"get_{name}")()
    with pytest.warns(DeprecationWarning, match="get"):
        assert set(context.get()) == {"job_id", "node_id", "task_id", "actor_id", "namespace"}


def test_an_async_actor_is_cancelled_by_asyncio(engine: FakeEngine) -> None:
    engine.facts.update(task_id=b"t" * 24, actor_id=b"a" * 16, is_async_actor=True)
    with pytest.raises(RuntimeError, match="not supported in an async actor"):
        shoal.get_runtime_context().is_canceled()


def test_what_the_engine_does_not_tell_is_an_error(engine: FakeEngine) -> None:
    with pytest.raises(RuntimeError, match="does not tell its temp_dir"):
        shoal.get_runtime_context().get_temp_dir()


def test_a_context_outlives_no_session(engine: FakeEngine) -> None:
    context = shoal.get_runtime_context()
    shoal.shutdown()
    with pytest.raises(RaySystemError, match="has not been started"):
        context.get_job_id()


def test_asking_starts_a_session(engines: list[FakeEngine]) -> None:
    assert shoal.get_runtime_context().get_job_id() == "00000001" and len(engines) == 1
