"""The memory guard ends tasks when memory is short. The machine's is not used up: the threshold is."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import shoal
from shoal.exceptions import OutOfMemoryError

pytestmark = pytest.mark.fault


def test_a_task_ended_for_memory_fails_with_out_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.0001")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "20")

    @shoal.remote(max_retries=0)
    def hold() -> None:
        time.sleep(1000)

    shoal.init(num_cpus=1, logging_level="ERROR", log_to_driver=False)
    try:
        with pytest.raises(OutOfMemoryError, match="memory"):
            shoal.get(hold.remote(), timeout=30)
    finally:
        shoal.shutdown()
