from __future__ import annotations

import pytest

from shoal.dag.context import DAGContext


def test_defaults_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_CGRAPH_get_timeout", "3")
    assert DAGContext().get_timeout == 3
    assert DAGContext().max_inflight_executions == 10


def test_the_context_is_one_for_the_process() -> None:
    assert DAGContext.get_current() is DAGContext.get_current()


def test_there_is_a_field_for_each_setting_of_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_CGRAPH_buffer_size_bytes", "1e3")
    monkeypatch.setenv("RAY_CGRAPH_overlap_gpu_communication", "1")
    context = DAGContext()
    assert (context.submit_timeout, context.read_iteration_timeout, context.buffer_size_bytes) == (10, 0.1, 1000)
    assert context.overlap_gpu_communication
    assert DAGContext(1, 2, 3, 0.5, 6, 7, 8, False).max_inflight_executions == 7
