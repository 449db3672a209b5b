from __future__ import annotations

import logging

import pytest

import shoal
from shoal.core.native import context, long_waits

pytestmark = pytest.mark.usefixtures("cluster")


def test_a_method_that_stops_its_event_loop_is_told_so_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context.process, "is_worker", True)
    monkeypatch.setattr(context.process, "stopped_loop", lambda: (0, []))
    monkeypatch.setattr(logging.getLogger("shoal"), "propagate", True)
    long_waits._warn_of_stopped_loop.cache_clear()
    ref = shoal.put(1)
    for _ in range(2):
        long_waits._told([(ref.record, ref.uid)], 1)
    assert [record.message for record in caplog.records if "stops its event loop" in record.message]
    assert len(caplog.records) == 1
