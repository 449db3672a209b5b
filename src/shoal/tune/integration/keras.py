"""Reports from Keras to Tune. Importing this module needs keras."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from typing import Any

from shoal.tune.checkpoint import Checkpoint
from shoal.tune.integration.model_reports import (
    MetricNames,
    checked_events,
    chosen_metrics,
    names_of_metrics,
    report_with_model,
)
from shoal.tune.search.extras import import_extra
from shoal.tune.trainable.session import report

_keras = import_extra("keras", "shoal.tune.integration.keras")

MODEL_FILE = "model.keras"
EVENTS = tuple(
    f"{event}_{edge}"
    for event in ("epoch", "train_batch", "test_batch", "predict_batch", "train", "test", "predict")
    for edge in ("begin", "end")
)


class TuneReportCheckpointCallback(_keras.callbacks.Callback):  # type: ignore[misc,name-defined]
    """For ``model.fit(..., callbacks=[...])``: reports Keras's logs at the events of ``report_metrics_on``, and also with the
    model, in the file ``model.keras`` of the checkpoint, at those of ``checkpoint_on``.

    Events are Keras's hooks without ``on_``, one or a list. ``metrics``: one, a list, or ``{"loss": "val_loss"}`` to rename;
    None is all. Raises ValueError for an event that Keras does not have.
    """

    CHECKPOINT_NAME = MODEL_FILE

    def __init__(
        self,
        checkpoint_on: str | Sequence[str] = "epoch_end",
        report_metrics_on: str | Sequence[str] = "epoch_end",
        metrics: MetricNames = None,
    ) -> None:
        super().__init__()
        self._checkpoint_on = checked_events("checkpoint_on", checkpoint_on, EVENTS)
        self._names = names_of_metrics(metrics)
        # Only the hooks that are asked for: Keras waits for the device in order to call a hook of a batch.
        for event in {*self._checkpoint_on, *checked_events("report_metrics_on", report_metrics_on, EVENTS)}:
            setattr(self, f"on_{event}", functools.partial(self._report, event))

    @classmethod
    def get_model(cls, checkpoint: Checkpoint, filename: str = MODEL_FILE) -> Any:
        """The Keras model of a checkpoint that this callback has reported."""
        with checkpoint.as_directory() as folder:
            return _keras.models.load_model(os.path.join(folder, filename))

    def _report(self, event: str, *index_and_logs: Any, logs: Any = None) -> None:
        """Keras calls hooks with (index, logs) or (logs), the logs also by name."""
        if logs is None and index_and_logs and not isinstance(index_and_logs[-1], int):
            logs = index_and_logs[-1]
        metrics = chosen_metrics(self._names, logs or {})
        if event in self._checkpoint_on:
            report_with_model(metrics, self.model.save, MODEL_FILE)
        else:
            report(metrics)


class TuneReportCallback(TuneReportCheckpointCallback):
    """Reports metrics only, at the events of ``on``."""

    def __init__(self, metrics: MetricNames = None, on: str | Sequence[str] = "epoch_end") -> None:
        super().__init__(checkpoint_on=(), report_metrics_on=checked_events("on", on, EVENTS), metrics=metrics)
