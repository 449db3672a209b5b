"""The first workers are forked before the zygote has imported all that later ones find imported."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import shoal
from shoal.exceptions import TaskCancelledError


@pytest.fixture(autouse=True)
def fresh_session() -> Iterator[None]:
    shoal.init(num_cpus=2, log_to_driver=False)
    yield
    shoal.shutdown()


@shoal.remote
def engine_loaded() -> bool:
    return "shoal.core.native.engine" in sys.modules


@shoal.remote
def double(x: int) -> int:
    return 2 * x


@shoal.remote
def ask_others(x: int) -> int:
    return shoal.get(double.remote(x)) + shoal.get(shoal.put(1))


@shoal.remote
def where() -> tuple[str, str]:
    context = shoal.get_runtime_context()
    return context.get_job_id(), context.get_node_id()


@shoal.remote
def hold(file: str) -> None:
    Path(file).touch()
    time.sleep(60)


@shoal.remote(max_retries=1)
def die_once(file: str) -> str:
    if not Path(file).exists():
        Path(file).touch()
        os._exit(1)
    return "lived"


@shoal.remote
class Counter:
    def loaded(self) -> bool:
        return "shoal.core.native.engine" in sys.modules


def test_the_first_task_waits_for_no_engine() -> None:
    assert shoal.get(engine_loaded.remote(), timeout=20) is False
    assert shoal.get(Counter.remote().loaded.remote(), timeout=20) is True


def test_the_first_task_may_use_the_whole_api() -> None:
    assert shoal.get(ask_others.remote(2), timeout=20) == 5
    assert all(shoal.get(where.remote(), timeout=20))


@pytest.mark.parametrize("force", [False, True])
def test_the_first_task_is_cancelled_while_the_zygote_still_imports(tmp_path: Path, force: bool) -> None:
    ref = hold.remote(str(tmp_path / "began"))
    deadline_s = time.monotonic() + 20
    while not (tmp_path / "began").exists():
        assert time.monotonic() < deadline_s, "the task did not begin"
        time.sleep(0.001)  # polling: what it waits for is in another process
    shoal.cancel(ref, force=force)
    with pytest.raises(TaskCancelledError):
        shoal.get(ref, timeout=20)


def test_a_first_worker_that_dies_at_once_is_replaced(tmp_path: Path) -> None:
    assert shoal.get(die_once.remote(str(tmp_path / "died")), timeout=20) == "lived"
