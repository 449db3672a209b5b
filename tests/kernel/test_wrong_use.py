"""Wrong arguments raise; none ends the process or touches what is not theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shoal import _kernel

from .arena_child import in_child
from .node import Node

OF_A_NUMBER = [
    "slot_state",
    "slot_submitted",
    "orphaned_tasks",
    "repair_slot",
    "queue_state",
    "queue_length",
    "queue_closed",
    "free_queue",
    "serve_mailbox",
    "unassign",
    "end_worker",
    "wake_slot",
    "record_state",
    "record_uid",
    "record_is_error",
    "record_count",
    "record_kind",
    "record_size",
    "record_where",
    "record_pid",
    "record_cancelled",
    "record_actor",
    "record_name",
    "read_record",
    "hold",
    "keep",
    "release",
    "requeue",
    "take",
    "wait_mail",
    "actor_args",
    "function_ref",
    "adopt_slot",
    "end_actor",
]
OF_ANYTHING = [
    *OF_A_NUMBER,
    "is_sealed",
    "stream_state",
    "raw_value",
    "task_of_ref",
    "start_actor",
    "set_current",
    "spin_work",
    "get_timed",
    "next_item",
    "watch",
    "wait_refs",
    "create_actor_record",
    "Submitter",
    "Mailbox",
    "close_queue",
    "fail_record",
    "assign",
    "cancel_record",
    "running_slot",
    "cancel_children",
    "replace_value",
    "rename_queue_class",
    "set_slot_pid",
    "send_call",
    "seal_actor",
    "wait_work",
    "run",
]

BEYOND = st.one_of(st.integers(min_value=2**25), st.integers(max_value=-1), st.sampled_from([2**31, 2**32 - 1, 2**32, 2**64]))
NOT_NUMBERS = st.one_of(
    st.none(), st.text(max_size=3), st.floats(allow_nan=True), st.lists(st.none(), max_size=2), st.binary(max_size=3)
)
FAST = settings(max_examples=400, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))


def refused(name: str, *args: Any) -> None:
    try:
        getattr(_kernel, name)(*args)
    except Exception:
        return
    raise AssertionError(f"{name}{args!r} was accepted")


@in_child
def test_numbers_beyond_what_there_is_are_refused(folder: Path) -> None:
    Node(folder)

    @FAST
    @given(st.sampled_from(OF_A_NUMBER), BEYOND)
    def check(name: str, number: int) -> None:
        refused(name, number)

    check()


@in_child
def test_things_of_the_wrong_type_are_refused(folder: Path) -> None:
    Node(folder)

    @FAST
    @given(st.sampled_from(OF_ANYTHING), st.lists(NOT_NUMBERS, min_size=1, max_size=3))
    def check(name: str, args: list[Any]) -> None:
        if name == "set_current" and args == [None]:
            return
        if name == "spin_work" and args == [[]]:
            return
        refused(name, *args)

    check()


@in_child
def test_more_references_than_a_call_can_count_are_refused(folder: Path) -> None:
    assert _kernel.limit_references(3) == 2**24 - 1  # what Record::place can count
    assert _kernel.limit_references(2**32 - 1) == 3
    assert _kernel.limit_references(3) == 2**24 - 1  # never more than that
    node = Node(folder)
    task = node.task(lambda *values: len(values))
    ref, big = _kernel.put("value"), b"x" * 200_000  # big: becomes an object of its own
    before, counted = node.records(), _kernel.record_count(ref.record)
    for args in ([ref] * 4, [ref, ref, big, ref], [1, ref, 2, ref, ref, ref]):
        with pytest.raises(ValueError, match="at most 3 references and big values as arguments, but got 4"):
            task(*args)
    assert node.records() == before and _kernel.record_count(ref.record) == counted
    call = task(ref, ref, 1, ref, 2)
    worker = node.worker()
    assert _kernel.get(call) == 5
    node.end(worker)


@in_child
def test_the_node_works_after_all_the_wrong_calls(folder: Path) -> None:
    node = Node(folder)
    for name in OF_A_NUMBER:
        refused(name, 2**25 + 1)
        refused(name, "1")
    before = node.records()
    ref = _kernel.put([1, 2])
    assert _kernel.get(ref) == [1, 2] and node.records() == before + 1
