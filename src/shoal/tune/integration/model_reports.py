"""What the callbacks of all libraries share: choosing metrics, and reporting them with a model."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from shoal.tune.checkpoint import Checkpoint
from shoal.tune.trainable.session import report

MetricNames = str | Sequence[str] | Mapping[str, str] | None
"""Which of a library's metrics are reported: one, several, ``{reported name: the library's name}``, or None for all."""


def names_of_metrics(metrics: Any) -> dict[str, str] | None:
    """``{reported name: the library's name}``; None for all. Raises TypeError for what is no `MetricNames`."""
    if metrics is None:
        return None
    if isinstance(metrics, str):
        return {metrics: metrics}
    if isinstance(metrics, Mapping):
        names = dict(metrics)
    elif isinstance(metrics, Sequence):
        names = dict(zip(metrics, metrics, strict=True))
    else:
        names = {"": metrics}
    if not all(isinstance(name, str) and isinstance(metric, str) for name, metric in names.items()):
        raise TypeError(f"metrics must be a name, a list of names, or a dictionary of names, but got metrics={metrics!r}")
    return names or None


def chosen_metrics(names: dict[str, str] | None, found: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics that ``names`` asks for; raises KeyError that says which ones there are when one is missing."""
    if names is None:
        return dict(found)
    for metric in names.values():
        if metric not in found:
            raise KeyError(f"metrics must name what the training reports, but got {metric!r}; reported are {sorted(found)}")
    return {name: found[metric] for name, metric in names.items()}


def report_with_model(metrics: dict[str, Any], save: Callable[[str], Any], filename: str) -> None:
    """Reports ``metrics`` with a checkpoint that holds what ``save(path)`` writes, as ``filename``."""
    with tempfile.TemporaryDirectory(prefix="tune-model-") as folder:
        save(os.path.join(folder, filename))
        report(metrics, checkpoint=Checkpoint.from_directory(folder))


def checked_filename(filename: Any) -> str:
    """``filename``; raises ValueError unless it is a plain name."""
    if not isinstance(filename, str) or not filename or os.path.basename(filename) != filename:
        raise ValueError(f"filename must be a name without folders, but got filename={filename!r}")
    return filename


def checked_events(argument: str, events: Any, known: Sequence[str]) -> list[str]:
    """``events``, one or several, as a list; raises ValueError for one that the library does not have."""
    chosen = [events] if isinstance(events, str) else list(events)
    for event in chosen:
        if event not in known:
            raise ValueError(f"{argument} must be among {sorted(known)}, but got {argument}={event!r}")
    return chosen
