"""Pictures of a search say what was found: their lines, ticks and bars are read back from matplotlib."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import pytest

from shoal import tune
from shoal.tune import plots

matplotlib.use("Agg")

pytestmark = pytest.mark.usefixtures("cluster")


@pytest.fixture(scope="module")
def grid(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> tune.ResultGrid:
    return tune.Tuner(
        lambda config: {"loss": abs(config["rate"] - 0.01) + (config["kind"] is None) * 0.001},
        param_space={
            "rate": tune.grid_search([0.0001, 0.001, 0.01, 1.0]),
            "kind": tune.grid_search(["a", None]),
            "net": {"width": tune.sample_from(lambda config: 3)},
            "constant": 5,
        },
        tune_config=tune.TuneConfig(metric="loss", mode="min"),
        run_config=tune.RunConfig(storage_path=str(tmp_path_factory.mktemp("plots")), verbose=0),
    ).fit()


@pytest.fixture(autouse=True)
def figures_are_closed() -> Iterator[None]:
    yield
    matplotlib.pyplot.close("all")


def texts(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_convergence_steps_down_to_the_best(grid: tune.ResultGrid, tmp_path: Path) -> None:
    axes = plots.plot_convergence(grid)
    (line,) = axes.lines
    heights = list(line.get_ydata())
    assert len(heights) == 8 and heights == sorted(heights, reverse=True) and heights[-1] == 0
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("trial", "loss")
    axes.figure.savefig(tmp_path / "convergence.png")
    assert (tmp_path / "convergence.png").stat().st_size > 5000


def test_parallel_coordinates_have_an_axis_for_each_that_varies_and_the_best_on_top(grid: tune.ResultGrid) -> None:
    axes = plots.plot_parallel_coordinates(grid)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["kind", "rate", "loss"]
    assert {"a", "None", "0.0001", "0.01", "1"} <= set(texts(axes))
    trials = [line for line in axes.lines if len(line.get_xdata()) == 3]
    assert len(trials) == 8
    best = trials[-1]
    assert best.get_label() == "best: loss = 0" and best.get_ydata()[2] == 0
    assert best.get_ydata()[1] == pytest.approx(0.5)  # 0.01 is half way from 0.0001 to 1 in powers of ten


def test_importance_is_a_share_for_each_that_varies(grid: tune.ResultGrid) -> None:
    importance = plots.parameter_importance(grid)
    assert list(importance) == ["rate", "kind"] and sum(importance.values()) == pytest.approx(1)
    axes = plots.plot_importance(grid)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["kind", "rate"]
    assert texts(axes)[1] == f"{100 * importance['rate']:.0f} %"


def test_what_cannot_be_drawn_is_refused(grid: tune.ResultGrid) -> None:
    with pytest.raises(ValueError, match="no trial has reported 'score' as a finite number; reported were .*'loss'"):
        plots.plot_convergence(grid, metric="score", mode="max")
    with pytest.raises(ValueError, match="mode must be 'min' or 'max', but got mode='best'"):
        plots.plot_convergence(grid, mode="best")
