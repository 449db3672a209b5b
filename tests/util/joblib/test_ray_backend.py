from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import joblib
import numpy as np
import pytest

import shoal
from shoal.util.joblib import register_ray, register_shoal
from shoal.util.joblib.ray_backend import RayBackend


@pytest.fixture(scope="module", autouse=True)
def backend() -> Iterator[None]:
    shoal.init(num_cpus=4, resources={"special": 4})
    register_ray()
    register_shoal()
    yield
    shoal.shutdown()


@pytest.mark.parametrize("name", ["ray", "shoal"])
def test_a_registered_name_selects_the_backend(name: str) -> None:
    with joblib.parallel_config(backend=name):
        assert type(joblib.parallel.get_active_backend()[0]) is RayBackend


def test_parallel_keeps_order_and_uses_other_processes() -> None:
    with joblib.parallel_config(backend="ray", n_jobs=2):
        results = joblib.Parallel()(joblib.delayed(lambda x: (x * x, os.getpid()))(i) for i in range(20))
    assert [square for square, _ in results] == [i * i for i in range(20)]
    assert os.getpid() not in {pid for _, pid in results}


def test_the_error_of_a_call_is_raised() -> None:
    def fail(value: int) -> int:
        if value == 3:
            raise KeyError("three")
        return value

    with joblib.parallel_config(backend="ray", n_jobs=2), pytest.raises(KeyError, match="three"):
        joblib.Parallel()(joblib.delayed(fail)(i) for i in range(6))


def test_a_parallel_object_works_again_after_an_error() -> None:
    with joblib.parallel_config(backend="ray", n_jobs=2), joblib.Parallel() as parallel:
        with pytest.raises(ZeroDivisionError):
            parallel(joblib.delayed(lambda x: 1 / x)(i) for i in (1, 0))
        assert parallel(joblib.delayed(abs)(i) for i in (-1, 2)) == [1, 2]


def test_results_can_be_read_as_a_generator() -> None:
    with joblib.parallel_config(backend="ray", n_jobs=2):
        results = joblib.Parallel(return_as="generator")(joblib.delayed(abs)(-i) for i in range(5))
        assert list(results) == [0, 1, 2, 3, 4]


def test_one_job_runs_in_this_process() -> None:
    with joblib.parallel_config(backend="ray", n_jobs=1):
        assert joblib.Parallel()([joblib.delayed(os.getpid)()]) == [os.getpid()]


def test_negative_jobs_count_from_the_cpus_of_the_cluster() -> None:
    backend = RayBackend()
    assert [backend.effective_n_jobs(jobs) for jobs in (-1, -2, None, 3)] == [4, 3, 1, 3]
    with pytest.raises(ValueError, match="n_jobs must not be 0"):
        backend.effective_n_jobs(0)


class Puts:
    """Counts what is put, to see what the backend stores."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.values: list[Any] = []
        put = shoal.put

        def remember(value: Any) -> Any:
            self.values.append(value)
            return put(value)

        monkeypatch.setattr(shoal, "put", remember)


def test_a_big_array_is_stored_once_for_all_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    puts = Puts(monkeypatch)
    big = np.arange(100_000)
    with joblib.parallel_config(backend="ray", n_jobs=2):
        sums = joblib.Parallel()(
            joblib.delayed(lambda a, b, i: int(a.sum()) + int(b.sum()) + i)(big, b=big, i=i) for i in range(6)
        )
    assert sums == [2 * int(big.sum()) + i for i in range(6)]
    assert [value is big for value in puts.values] == [True]


def test_changes_between_calls_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    big = np.zeros(100_000)
    with joblib.parallel_config(backend="ray", n_jobs=2), joblib.Parallel() as parallel:
        assert parallel(joblib.delayed(np.max)(big) for _ in range(2)) == [0, 0]
        big[:] = 1
        assert parallel(joblib.delayed(np.max)(big) for _ in range(2)) == [1, 1]


def test_references_as_arguments_stay_references() -> None:
    ref = shoal.put(5)
    with joblib.parallel_config(backend="ray", n_jobs=2):
        assert joblib.Parallel()(joblib.delayed(lambda r: shoal.get(r))(ref) for _ in range(2)) == [5, 5]


def test_remote_args_reach_the_actors() -> None:
    with joblib.parallel_config(backend="ray", n_jobs=2, ray_remote_args={"resources": {"special": 1}}):
        free = joblib.Parallel()(joblib.delayed(lambda: shoal.available_resources().get("special", 0))() for _ in range(2))
    assert all(amount < 4 for amount in free)


def test_inner_threads_are_limited() -> None:
    with joblib.parallel_config(backend="ray", n_jobs=2, inner_max_num_threads=3):
        limits = joblib.Parallel()(joblib.delayed(os.getenv)("OPENBLAS_NUM_THREADS") for _ in range(2))
    assert limits == ["3", "3"]


def test_scikit_learn_searches_with_it() -> None:
    from sklearn.datasets import load_iris
    from sklearn.model_selection import GridSearchCV, cross_val_score
    from sklearn.svm import SVC

    iris = load_iris()
    with joblib.parallel_config(backend="ray", n_jobs=2):
        scores = cross_val_score(SVC(kernel="linear"), iris.data, iris.target, cv=3)
        parallel = GridSearchCV(SVC(), {"C": [0.01, 1.0], "kernel": ["linear", "rbf"]}, cv=3).fit(iris.data, iris.target)
    assert min(scores) > 0.9
    alone = GridSearchCV(SVC(), {"C": [0.01, 1.0], "kernel": ["linear", "rbf"]}, cv=3).fit(iris.data, iris.target)
    assert parallel.best_params_ == alone.best_params_
    assert list(parallel.cv_results_["mean_test_score"]) == list(alone.cv_results_["mean_test_score"])
