"""BLAS and OpenMP in workers use as many threads as the work has CPUs, also where they were loaded before."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
import sklearn.ensemble  # the driver's imports are the workers'
import threadpoolctl  # type: ignore[import-untyped]

import shoal
from shoal.core.native_threads import VARIABLES

if TYPE_CHECKING:
    from collections.abc import Iterator

CORES = len(os.sched_getaffinity(0))
LIMIT_S = 30.0
assert sklearn


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in VARIABLES:
            patch.delenv(name, raising=False)  # a user who has said something is obeyed
        shoal.init(num_cpus=4, log_to_driver=False)
        yield
        shoal.shutdown()


def found_threads() -> dict[str, set[Any]]:
    import numpy
    import sklearn.ensemble

    assert numpy and sklearn
    rows = threadpoolctl.threadpool_info()
    return {kind: {row["num_threads"] for row in rows if row["user_api"] == kind} for kind in ("blas", "openmp")}


def expected(threads: int) -> dict[str, set[int]]:
    return {"blas": {min(threads, CORES)}, "openmp": {threads}}  # OpenBLAS takes no more than there are cores


threads_of_task = shoal.remote(found_threads)


@shoal.remote
class Counter:
    def threads(self) -> dict[str, set[Any]]:
        return found_threads()


@pytest.mark.parametrize(("cpus", "threads"), [(1, 1), (2, 2), (0, 1), (0.5, 1), (2.5, 2), (1, 1)])
def test_a_task_has_a_thread_for_each_of_its_cpus(cpus: float, threads: int) -> None:
    for _ in range(3):  # the first worker may be older than the libraries, later ones have them from the start
        assert shoal.get(threads_of_task.options(num_cpus=cpus).remote(), timeout=LIMIT_S) == expected(threads)


@pytest.mark.parametrize("options", [{"num_cpus": 2}, {"num_cpus": 2, "max_concurrency": 3}])
def test_an_actor_has_a_thread_for_each_of_its_cpus(options: dict[str, Any]) -> None:
    counter = Counter.options(**options).remote()
    calls = [counter.threads.remote() for _ in range(4)]
    assert shoal.get(calls, timeout=LIMIT_S) == [expected(2)] * 4


def test_an_actor_that_does_not_say_has_one_thread() -> None:
    assert shoal.get(Counter.remote().threads.remote(), timeout=LIMIT_S) == expected(1)


@pytest.mark.parametrize("cpus", [1, 3])
def test_what_the_environment_of_a_task_says_counts(cpus: int) -> None:
    task = threads_of_task.options(num_cpus=cpus, runtime_env={"env_vars": {"OMP_NUM_THREADS": "2"}})
    assert shoal.get(task.remote(), timeout=LIMIT_S) == expected(2)
