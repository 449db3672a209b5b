"""Reports from Lightning to Tune. Importing this module needs lightning or pytorch-lightning."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence
from typing import Any

from shoal.tune.integration.model_reports import (
    MetricNames,
    checked_events,
    checked_filename,
    names_of_metrics,
    report_with_model,
)
from shoal.tune.search.extras import import_extra
from shoal.tune.trainable.session import report

logger = logging.getLogger(__name__)

_PACKAGE = "pytorch_lightning" if importlib.util.find_spec("lightning") is None else "lightning.pytorch"
_Callback = import_extra(_PACKAGE, "shoal.tune.integration.pytorch_lightning", package="lightning").Callback

# Not those around a checkpoint of Lightning's: reporting makes one.
EVENTS = tuple(
    name.removeprefix("on_")
    for name in dir(_Callback)
    if name.startswith("on_") and name not in ("on_save_checkpoint", "on_load_checkpoint")
)


class TuneCallback(_Callback):  # type: ignore[misc,valid-type]
    """Base class: calls ``_handle(trainer, module)`` at the events of ``on``, which are Lightning's hooks without ``on_``."""

    def __init__(self, on: str | Sequence[str] = "validation_end") -> None:
        super().__init__()
        for event in checked_events("on", on, EVENTS):
            setattr(self, f"on_{event}", self._on_event)

    def _on_event(self, trainer: Any, pl_module: Any = None, *arguments: Any, **more: Any) -> None:
        if not trainer.sanity_checking:  # the few batches before the training say nothing about it
            self._handle(trainer, pl_module)

    def _handle(self, trainer: Any, pl_module: Any) -> None:
        raise NotImplementedError(f"{type(self).__name__} must define _handle")


class TuneReportCheckpointCallback(TuneCallback):
    """For ``Trainer(callbacks=[...])``: at the events of ``on`` (Lightning's hooks without ``on_``, one or a list), reports the
    trainer's ``callback_metrics``; with a checkpoint of the trainer, as ``filename``, unless ``save_checkpoints`` is False.

    ``metrics``: one, a list, or ``{"loss": "val_loss"}`` to rename; None is all. One that is not logged yet is left out with a
    warning. Raises ValueError for an event that Lightning does not have.
    """

    CHECKPOINT_NAME = "checkpoint"

    def __init__(
        self,
        metrics: MetricNames = None,
        filename: str = CHECKPOINT_NAME,
        save_checkpoints: bool = True,
        on: str | Sequence[str] = "validation_end",
    ) -> None:
        super().__init__(on=on)
        self._names = names_of_metrics(metrics)
        self._filename = checked_filename(filename)
        self._save_checkpoints = save_checkpoints

    def _handle(self, trainer: Any, pl_module: Any) -> None:
        metrics = self._metrics_of(trainer.callback_metrics)
        if metrics and self._save_checkpoints:
            report_with_model(metrics, trainer.save_checkpoint, self._filename)
        elif metrics:
            report(metrics)

    def _metrics_of(self, logged: Any) -> dict[str, float]:
        names = self._names if self._names is not None else {name: name for name in logged}
        for metric in names.values():
            if metric not in logged:
                logger.warning("the metric %r is not among what the module has logged: %s", metric, sorted(logged))
        return {name: logged[metric].item() for name, metric in names.items() if metric in logged}


class TuneReportCallback(TuneReportCheckpointCallback):
    """Reports metrics only; the arguments are those of `TuneReportCheckpointCallback`."""

    def __init__(self, metrics: MetricNames = None, on: str | Sequence[str] = "validation_end") -> None:
        super().__init__(metrics, save_checkpoints=False, on=on)
