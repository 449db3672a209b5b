"""``session.report`` and its companions, as programs for Ray 2.0 to 2.6 call them."""

from __future__ import annotations

from typing import Any

from shoal.tune.trainable.session import get_checkpoint, get_context, report


def get_trial_id() -> str | None:
    return get_context().get_trial_id()


def get_trial_name() -> str | None:
    return get_context().get_trial_name()


def get_trial_dir() -> str | None:
    return get_context().get_trial_dir()


def get_trial_resources() -> Any:
    return get_context().get_trial_resources()


def get_experiment_name() -> str | None:
    return get_context().get_experiment_name()


def get_world_rank() -> int:
    return get_context().get_world_rank()


def get_world_size() -> int:
    return get_context().get_world_size()


__all__ = [
    "get_checkpoint",
    "get_experiment_name",
    "get_trial_dir",
    "get_trial_id",
    "get_trial_name",
    "get_trial_resources",
    "get_world_rank",
    "get_world_size",
    "report",
]
