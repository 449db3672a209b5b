"""The libraries know nothing of inline mode, and work in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import joblib
import pytest

import shoal
from shoal import tune
from shoal.util import ActorPool
from shoal.util.joblib import register_ray
from shoal.util.multiprocessing import Pool
from shoal.util.queue import Empty, Queue

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module", autouse=True)
def engine() -> Iterator[None]:
    shoal.init(num_cpus=2, inline=True)
    yield
    shoal.shutdown()


@pytest.fixture(autouse=True)
def _no_session_before_or_after() -> None:
    """In the place of the fixture that ends the session after each test."""


@shoal.remote
class Doubler:
    def double(self, value: int) -> int:
        return 2 * value


def test_a_pool_of_actors_maps() -> None:
    pool = ActorPool([Doubler.remote(), Doubler.remote()])
    assert list(pool.map(lambda actor, value: actor.double.remote(value), [1, 2, 3])) == [2, 4, 6]


def test_a_queue_is_bounded_and_in_order() -> None:
    queue = Queue(maxsize=2)
    queue.put(1)
    queue.put(2)
    assert queue.full()
    assert [queue.get(), queue.get()] == [1, 2]
    with pytest.raises(Empty):
        queue.get_nowait()


def test_a_multiprocessing_pool_maps() -> None:
    with Pool(2) as pool:
        assert pool.map(abs, [-1, -2, 3]) == [1, 2, 3]
        assert pool.apply_async(pow, (2, 3)).get() == 8


def test_joblib_runs_on_it() -> None:
    register_ray()
    with joblib.parallel_backend("ray"):
        assert joblib.Parallel(n_jobs=2)(joblib.delayed(abs)(-number) for number in range(4)) == [0, 1, 2, 3]


def test_tune_finds_the_best_trial(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        for step in range(3):
            tune.report({"score": config["slope"] * step})

    tuner = tune.Tuner(
        train,
        param_space={"slope": tune.grid_search([1, 3, 2])},
        run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0),
    )
    results = tuner.fit()
    assert results.num_errors == 0
    assert results.get_best_result("score", "max").config == {"slope": 3}
