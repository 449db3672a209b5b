"""What the callbacks of XGBoost and LightGBM share: when a result takes a model along."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from shoal.tune.integration.model_reports import (
    MetricNames,
    checked_filename,
    chosen_metrics,
    names_of_metrics,
    report_with_model,
)
from shoal.tune.run_config import check_count
from shoal.tune.trainable.session import report

PostProcess = Callable[[dict[str, Any]], dict[str, Any]]


class BoostingReports:
    """Reports the metrics of each round; every ``frequency`` rounds (0: never) with the model."""

    def __init__(
        self,
        metrics: MetricNames,
        filename: str,
        frequency: int,
        checkpoint_at_end: bool,
        results_postprocessing_fn: PostProcess | None,
    ) -> None:
        check_count("frequency", frequency, 0)
        if results_postprocessing_fn is not None and not callable(results_postprocessing_fn):
            raise TypeError(
                "results_postprocessing_fn must be a function of the metrics, "
                f"but got results_postprocessing_fn={results_postprocessing_fn!r}"
            )
        self._names = names_of_metrics(metrics)
        self._filename = checked_filename(filename)
        self._frequency = frequency
        self._checkpoint_at_end = checkpoint_at_end
        self._postprocess = results_postprocessing_fn

    def is_model_due(self, round_index: int) -> bool:
        """Whether the model goes along with the result of the round that is counted from 0."""
        return self._frequency > 0 and (round_index + 1) % self._frequency == 0

    def report_round(self, found: Mapping[str, Any], model: Any = None) -> None:
        """Reports what is chosen of ``found``, with ``model`` unless that is None."""
        metrics = chosen_metrics(self._names, found)
        if self._postprocess is not None:
            metrics = self._postprocess(metrics)
        if model is None:
            report(metrics)
        elif hasattr(model, "save_model"):
            report_with_model(metrics, model.save_model, self._filename)
        else:
            raise TypeError(
                f"a model of type {type(model).__name__} (of a cross-validation) cannot be saved: "
                f"use frequency=0, checkpoint_at_end=False, but got frequency={self._frequency}, "
                f"checkpoint_at_end={self._checkpoint_at_end}"
            )
