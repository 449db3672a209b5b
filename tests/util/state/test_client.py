from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from shoal.util import state
from shoal.util.state import _source
from shoal.util.state.client import StateApiClient

ACTORS = [
    {"actor_id": "a1", "class_name": "Counter", "state": "ALIVE", "pid": 11, "is_detached": False, "num_restarts": 2},
    {"actor_id": "a2", "class_name": "Counter", "state": "DEAD", "pid": 12, "is_detached": True},
    {"actor_id": "a3", "class_name": "Queue", "state": "ALIVE", "pid": 13},
]
TASKS = [
    {"task_id": "t1", "attempt_number": 0, "state": "FAILED", "func_or_class_name": "f", "type": "NORMAL_TASK"},
    {"task_id": "t1", "attempt_number": 1, "state": "FINISHED", "func_or_class_name": "f", "type": "NORMAL_TASK"},
    {"task_id": "t2", "attempt_number": 0, "state": "FINISHED", "func_or_class_name": "A.m", "type": "ACTOR_TASK"},
    {
        "task_id": "t3",
        "attempt_number": 0,
        "state": "FINISHED",
        "func_or_class_name": "A.__init__",
        "type": "ACTOR_CREATION_TASK",
    },
]
OBJECTS = [
    {"object_id": "o1", "object_size": 1024**2, "pid": 1, "ip": "x", "call_site": "", "task_status": "FINISHED"}
    | {"attempt_number": 1, "reference_type": "LOCAL_REFERENCE"},
    {"object_id": "o1", "object_size": -1, "pid": 2, "ip": "x", "call_site": "", "task_status": "FINISHED"}
    | {"attempt_number": 1, "reference_type": "PINNED_IN_MEMORY"},
]


class Engine:
    """Answers list_state from the lists above, ``times`` over."""

    def __init__(self) -> None:
        self.times = 1
        self.answers = threading.Event()
        self.answers.set()

    def request(self, kind: str, **fields: Any) -> Any:
        assert kind == "list_state"
        self.answers.wait(30)
        rows = {"actors": ACTORS, "tasks": TASKS, "objects": OBJECTS}.get(fields["resource"], []) * self.times
        return rows[: fields["limit"]]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    fake = Engine()
    monkeypatch.setattr(_source, "require_engine", lambda: fake)
    monkeypatch.setattr(_source.shoal, "is_initialized", lambda: True)
    session = SimpleNamespace(context=SimpleNamespace(address_info={"address": "here"}))
    monkeypatch.setattr(_source, "current_session", lambda: session)
    yield fake
    fake.answers.set()


pytestmark = pytest.mark.usefixtures("engine")


def ids(rows: list[Any]) -> list[str]:
    return [row["actor_id"] for row in rows]


def test_rows_have_attributes_and_keys() -> None:
    row = state.list_actors()[0]
    assert (row.class_name, row["class_name"], row.get("class_name"), row.get("missing", 1)) == ("Counter",) * 3 + (1,)
    assert row.asdict()["pid"] == 11
    with pytest.raises(KeyError):
        row["missing"]


def test_details_come_only_when_asked_for() -> None:
    assert state.list_actors()[0].num_restarts is None
    assert state.list_actors(detail=True)[0].num_restarts == 2


def test_filters_compare_regardless_of_case_and_type() -> None:
    assert ids(state.list_actors(filters=[("state", "=", "alive")])) == ["a1", "a3"]
    assert ids(state.list_actors(filters=[("state", "!=", "Alive")])) == ["a2"]
    assert ids(state.list_actors(filters=[("pid", "=", "13")])) == ["a3"]
    assert ids(state.list_actors(filters=[("state", "=", "ALIVE"), ("class_name", "=", "Queue")])) == ["a3"]


def test_the_limit_counts_rows_that_pass() -> None:
    assert ids(state.list_actors(filters=[("state", "=", "ALIVE")], limit=1)) == ["a1"]
    for limit in (0, 10_001):
        with pytest.raises(ValueError, match=f"limit must be between 1 and 10000, but got limit={limit}"):
            state.list_actors(limit=limit)


def test_bad_filters_are_named() -> None:
    with pytest.raises(ValueError, match="predicate of a filter must be one of .*, but got '>'"):
        state.list_actors(filters=[("state", ">", "DEAD")])
    with pytest.raises(state.RayStateApiException, match="but got 'color'"):
        state.list_actors(filters=[("color", "=", "red")])
    with pytest.raises(state.RayStateApiException, match="but got 'num_restarts'"):
        state.list_actors(filters=[("num_restarts", "=", 1)])
    with pytest.raises(ValueError, match="a filter must be"):
        state.list_actors(filters=[("state", "=")])  # type: ignore[list-item]


def test_get_gives_one_row_with_details_or_none() -> None:
    found = state.get_actor("a1")
    assert found is not None and found.num_restarts == 2
    assert state.get_actor("missing") is None
    assert [get("x") for get in (state.get_node, state.get_worker, state.get_placement_group)] == [None] * 3


def test_every_attempt_of_a_task_is_a_row() -> None:
    attempts = state.get_task("t1")
    assert isinstance(attempts, list) and [row.attempt_number for row in attempts] == [0, 1]
    only = state.get_task(SimpleNamespace(task_id=lambda: SimpleNamespace(hex=lambda: "t2")))
    assert not isinstance(only, list) and only is not None and only.func_or_class_name == "A.m"
    assert state.get_task("missing") is None


def test_objects_have_a_row_for_each_reference() -> None:
    assert [row.pid for row in state.get_objects("o1")] == [1, 2]


@pytest.mark.parametrize(
    "list_rows",
    [
        state.list_nodes,
        state.list_workers,
        state.list_placement_groups,
        state.list_jobs,
        state.list_runtime_envs,
        state.list_cluster_events,
    ],
)
def test_other_resources_are_listed(list_rows: Any) -> None:
    assert list_rows() == []


def test_missing_rows_are_an_error_unless_they_may_be_missing(engine: Engine) -> None:
    engine.times = 4000
    with pytest.raises(state.RayStateApiException, match="there are more than 10000 actors"):
        state.list_actors()
    assert len(state.list_actors(raise_on_missing_output=False, limit=10_000)) == 10_000


def test_a_node_that_does_not_answer_is_an_error(engine: Engine) -> None:
    engine.answers.clear()
    with pytest.raises(state.RayStateApiException, match=r"did not list its actors within timeout=0.01 s"):
        state.list_actors(timeout=0.01)


def test_summaries_count_by_name_and_state() -> None:
    assert state.summarize_tasks()["cluster"] == {
        "summary": {
            "f": {"func_or_class_name": "f", "type": "NORMAL_TASK", "state_counts": {"FAILED": 1, "FINISHED": 1}},
            "A.m": {"func_or_class_name": "A.m", "type": "ACTOR_TASK", "state_counts": {"FINISHED": 1}},
            "A.__init__": {"func_or_class_name": "A.__init__", "type": "ACTOR_CREATION_TASK", "state_counts": {"FINISHED": 1}},
        },
        "total_tasks": 2,
        "total_actor_tasks": 1,
        "total_actor_scheduled": 1,
        "summary_by": "func_name",
    }
    actors = state.summarize_actors()["cluster"]
    assert actors["total_actors"] == 3
    assert actors["summary"]["Counter"]["state_counts"] == {"ALIVE": 1, "DEAD": 1}


def test_the_summary_of_objects_adds_up_known_sizes() -> None:
    objects = state.summarize_objects()["cluster"]
    assert (objects["total_objects"], objects["total_size_mb"], objects["callsite_enabled"]) == (2, 1.0, False)
    assert objects["summary"]["disabled"] == {
        "total_objects": 2,
        "total_size_mb": 1.0,
        "total_num_workers": 2,
        "total_num_nodes": 1,
        "task_state_counts": {"FINISHED": 2},
        "task_attempt_number_counts": {"1": 2},
        "ref_type_counts": {"LOCAL_REFERENCE": 1, "PINNED_IN_MEMORY": 1},
    }


def test_only_the_own_cluster_can_be_asked() -> None:
    assert len(state.list_actors(address="here")) == len(state.list_actors(address="auto")) == 3
    with pytest.raises(state.ServerUnavailable, match="address='elsewhere:1'"):
        state.list_actors(address="elsewhere:1")


def test_without_session_there_is_nothing_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_source.shoal, "is_initialized", lambda: False)
    with pytest.raises(state.ServerUnavailable, match=r"call shoal.init\(\) first"):
        state.list_actors()


def test_unknown_resources_are_refused() -> None:
    with pytest.raises(ValueError, match="resource must be one of .*, but got resource='things'"):
        StateApiClient().list("things")
    with pytest.raises(ValueError, match="resource must be one of .*, but got resource='nodes'"):
        StateApiClient().summary("nodes")


@pytest.mark.parametrize("name", [name for name in state.__all__ if name.startswith(("list_", "get_", "summarize_"))])
def test_every_function_has_its_name_its_arguments_and_a_description(name: str) -> None:
    function = getattr(state, name)
    assert function.__name__ == name
    assert function.__doc__
    assert {"address", "timeout"} <= set(inspect.signature(function).parameters)
