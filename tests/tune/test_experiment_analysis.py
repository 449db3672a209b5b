"""Questions to the trials of one small run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shoal import tune


def train(config: dict[str, Any]) -> None:
    folder = Path("state")
    folder.mkdir()
    for step in range(config["net"]["steps"]):
        (folder / "step").write_text(str(step))
        tune.report({"score": -abs(step - 1), "deep": {"er": step}}, checkpoint=tune.Checkpoint.from_directory(folder))


@pytest.fixture(scope="module")
def analysis(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tune.ExperimentAnalysis]:
    folder = str(tmp_path_factory.mktemp("results"))
    yield tune.run(train, config={"net": {"steps": tune.grid_search([2, 4])}}, storage_path=folder, verbose=0)


def test_the_last_checkpoint_is_that_of_the_trial_that_got_furthest_unless_a_metric_says_otherwise(
    analysis: tune.ExperimentAnalysis,
) -> None:
    assert analysis.get_last_checkpoint() == analysis.trials[1].checkpoint
    assert analysis.get_last_checkpoint(metric="score", mode="max") == analysis.trials[0].checkpoint
    assert analysis.get_last_checkpoint(analysis.trials[0]) == analysis.trials[0].checkpoint


def test_configurations_are_given_nested_or_flat(analysis: tune.ExperimentAnalysis) -> None:
    first, second = analysis.trials
    assert analysis.get_all_configs() == {first.trial_id: {"net": {"steps": 2}}, second.trial_id: {"net": {"steps": 4}}}
    assert analysis.get_all_configs(prefix=True)[second.trial_id] == {"config/net/steps": 4}


def test_frames_are_indexed_by_trial_and_name_nested_values_with_the_delimiter_one_likes(
    analysis: tune.ExperimentAnalysis, monkeypatch: pytest.MonkeyPatch
) -> None:
    analysis.default_metric, analysis.default_mode = "score", "max"
    assert list(analysis.results_df.index) == [trial.trial_id for trial in analysis.trials]
    assert analysis.results_df["deep/er"].tolist() == [1, 3]
    monkeypatch.setenv("TUNE_RESULT_DELIM", ".")
    assert analysis.results_df["config.net.steps"].tolist() == [2, 4]
    assert analysis.best_result_df.loc[analysis.trials[0].trial_id, "deep.er"] == 1


def test_a_frame_of_the_best_results_needs_metric_and_mode(analysis: tune.ExperimentAnalysis) -> None:
    assert analysis.dataframe(metric="score", mode="max")["score"].tolist() == [0, 0]
    assert analysis.dataframe()["score"].tolist() == [0, -2]
    with pytest.raises(ValueError, match="a metric is needed with mode='max', but got metric=None"):
        analysis.dataframe(mode="max")
