"""One small cluster for each test file of Tune that runs trials, and parts for those that run none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import shoal
from shoal.tune.execution.tune_controller import TuneController
from shoal.tune.experiment import Experiment


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A local node with 2 CPUs, shared by the tests of a file."""
    shoal.init(num_cpus=2)
    yield
    shoal.shutdown()


@pytest.fixture
def make_controller(tmp_path: Path) -> Iterator[Callable[..., TuneController]]:
    """Makes controllers over an experiment without processes; their state is validated after the test."""
    made: list[TuneController] = []

    def make(
        config: dict[str, Any], *, run: Any = None, cpus: float = 2, experiment: dict[str, Any] | None = None, **arguments: Any
    ):
        described = Experiment(
            "test", run or (lambda config: None), config=config, storage_path=str(tmp_path), **(experiment or {})
        )
        controller = TuneController(resources={"CPU": cpus}, **{"stopper": described.stopper, **arguments})
        controller.search_alg.add_configurations(described)
        made.append(controller)
        return controller

    yield make
    for controller in made:
        controller.validate_state()
