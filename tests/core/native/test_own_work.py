"""A worker does not end while something that it has submitted is under way, on a real session."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

import shoal
from shoal import _kernel

pytestmark = pytest.mark.usefixtures("cluster")


@shoal.remote
def wait_for(path: str) -> str:
    deadline_s = time.monotonic() + 20
    while not Path(path).exists():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)  # polling: the test makes the file
    return "done"


def test_a_worker_that_may_run_no_more_stays_until_its_tasks_are_done(tmp_path: Path) -> None:
    @shoal.remote(num_cpus=4, max_calls=1)
    def start_two() -> tuple[int, list[Any]]:
        return os.getpid(), [wait_for.options(num_cpus=4).remote(str(tmp_path / name)) for name in "ab"]

    pid, (running, queued) = shoal.get(start_two.remote())
    assert shoal.wait([running, queued], timeout=0.05)[0] == []
    assert _is_alive(pid)
    (tmp_path / "a").touch()
    assert shoal.get(running, timeout=20) == "done"  # on the CPUs that the worker has lent
    assert _is_alive(pid)
    (tmp_path / "b").touch()
    assert shoal.get(queued, timeout=20) == "done"
    deadline_s = time.monotonic() + 20
    while _is_alive(pid):
        assert time.monotonic() < deadline_s
        time.sleep(0.005)  # polling: its end comes after the result


def test_work_is_open_while_it_waits_and_while_it_runs(tmp_path: Path) -> None:
    @shoal.remote(num_cpus=0)
    def observe() -> list[bool]:
        slot = _kernel.my_slot()
        found = [_kernel.has_open_work(slot)]
        child = wait_for.remote(str(tmp_path / "go"))
        found.append(_kernel.has_open_work(slot))
        while _kernel.record_state(child.record) != _kernel.RUNNING:
            pass
        found.append(_kernel.has_open_work(slot))
        (tmp_path / "go").touch()
        shoal.get(child)
        return [*found, _kernel.has_open_work(slot)]

    assert shoal.get(observe.remote(), timeout=20) == [False, True, True, False]


def _is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
