"""Libraries that are loaded already get the number of threads that their variables say."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import sklearn.ensemble  # loads OpenMP
import threadpoolctl  # type: ignore[import-untyped]

from shoal.core import native_threads
from shoal.util.native_threads import limit_native_threads

if TYPE_CHECKING:
    from collections.abc import Iterator

CORES = len(os.sched_getaffinity(0))
assert np and sklearn


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The variables, and the threads of this process's libraries."""
    for name in native_threads.VARIABLES:
        monkeypatch.setenv(name, "")  # noted, so that they are as before in the end
        monkeypatch.delenv(name)
    with threadpoolctl.threadpool_limits(limits=1):
        yield


def threads_of(kind: str) -> set[int]:
    return {row["num_threads"] for row in threadpoolctl.threadpool_info() if row["user_api"] == kind}


def test_blas_and_openmp_that_are_loaded_use_as_many_threads_as_asked_for() -> None:
    limit_native_threads(2)
    assert threads_of("blas") == {min(2, CORES)}  # OpenBLAS takes no more than there are cores
    assert threads_of("openmp") == {2}
    assert native_threads.current_variables() == dict.fromkeys(native_threads.VARIABLES, "2")
    limit_native_threads(1)
    assert threads_of("blas") == threads_of("openmp") == {1}


def test_the_variable_of_a_library_comes_before_the_common_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3,2")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    native_threads.obey_variables()
    assert threads_of("blas") == {1}
    assert threads_of("openmp") == {3}


@pytest.mark.parametrize("text", [None, "", "many", "0"])
def test_variables_that_say_nothing_change_nothing(monkeypatch: pytest.MonkeyPatch, text: str | None) -> None:
    limit_native_threads(2)
    for name in native_threads.VARIABLES:
        monkeypatch.delenv(name)
    if text is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", text)
    native_threads.obey_variables()
    assert threads_of("openmp") == {2}


def test_openmp_is_told_for_the_thread_that_asks() -> None:
    found: list[Any] = []

    def ask() -> None:
        native_threads.obey_variables()
        found.append(threads_of("openmp"))

    limit_native_threads(2)
    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert found == [{2}]


def test_fewer_than_one_thread_is_refused() -> None:
    with pytest.raises(ValueError, match="threads must be >= 1, but got threads=0"):
        limit_native_threads(0)
