from __future__ import annotations

import pytest

from shoal.dag.context import DAGContext


def test_defaults_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_CGRAPH_get_timeout", "3")
    assert DAGContext().get_timeout == 3
    assert DAGContext().max_inflight_executions == 10


def test_the_context_is_one_for_the_process() -> None:
    assert DAGContext.get_current() is DAGContext.get_current()
