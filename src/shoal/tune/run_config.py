"""How a run is configured: four frozen records, checked once."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from shoal.tune.mode import check_mode


def check_count(name: str, value: Any, lowest: int, none_allowed: bool = False) -> None:
    """Raises ValueError unless ``value`` is an integer >= ``lowest``."""
    if value is None and none_allowed:
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < lowest:
        raise ValueError(f"{name} must be an integer >= {lowest}, but got {name}={value!r}")


@dataclass
class FailureConfig:
    """``max_failures``: how often a trial is tried again (-1: without end). ``fail_fast`` stops everything at the first
    failure; "raise" also raises its error; both need ``max_failures`` 0."""

    max_failures: int = 0
    fail_fast: bool | str = False

    def __post_init__(self) -> None:
        check_count("max_failures", self.max_failures, -1)
        if not (isinstance(self.fail_fast, bool) or self.fail_fast == "raise"):
            raise ValueError(f"fail_fast must be True, False or 'raise', but got fail_fast={self.fail_fast!r}")
        if self.fail_fast and self.max_failures != 0:
            raise ValueError(
                f"max_failures must be 0 with fail_fast={self.fail_fast!r}, but got max_failures={self.max_failures}"
            )


@dataclass
class CheckpointConfig:
    """Which checkpoints of a trial are kept: the ``num_to_keep`` best by ``checkpoint_score_attribute``, or the newest.

    ``checkpoint_frequency`` (in iterations, 0: never) and ``checkpoint_at_end`` are for class trainables.
    """

    num_to_keep: int | None = None
    checkpoint_score_attribute: str | None = None
    checkpoint_score_order: str | None = "max"
    checkpoint_frequency: int | None = 0
    checkpoint_at_end: bool | None = None

    def __post_init__(self) -> None:
        check_count("num_to_keep", self.num_to_keep, 1, none_allowed=True)
        check_count("checkpoint_frequency", self.checkpoint_frequency, 0, none_allowed=True)
        if self.checkpoint_score_order not in ("min", "max", None):
            raise ValueError(
                f"checkpoint_score_order must be 'min' or 'max', but got checkpoint_score_order={self.checkpoint_score_order!r}"
            )


@dataclass
class SyncConfig:
    """How remote storage is kept up to date. ``sync_period``: the least seconds between two uploads of the experiment's
    state. ``sync_timeout``: the longest that one upload may take. ``sync_artifacts``: upload also the files that trials
    themselves make, at their end and, with ``sync_artifacts_on_checkpoint``, with each checkpoint."""

    sync_period: float = 300
    sync_timeout: float = 1800
    sync_artifacts: bool = False
    sync_artifacts_on_checkpoint: bool = True

    def __post_init__(self) -> None:
        for name in ("sync_period", "sync_timeout"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be >= 0, but got {name}={getattr(self, name)}")


@dataclass
class RunConfig:
    """Name, place and policies of a run. ``storage_path`` is a folder or a URL that fsspec knows; default ~/ray_results."""

    name: str | None = None
    storage_path: str | None = None
    storage_filesystem: Any = None
    failure_config: FailureConfig = field(default_factory=FailureConfig)
    checkpoint_config: CheckpointConfig = field(default_factory=CheckpointConfig)
    sync_config: SyncConfig = field(default_factory=SyncConfig)
    verbose: int | None = None
    stop: Any = None
    callbacks: Sequence[Any] | None = None
    progress_reporter: Any = None
    log_to_file: bool | str | tuple[str, str] = False
    worker_runtime_env: dict[str, Any] | None = None
    local_dir: str | None = None

    def __post_init__(self) -> None:
        if self.local_dir is not None:
            raise DeprecationWarning(f"local_dir is gone: use storage_path={self.local_dir!r}")
        for name, default in (
            ("failure_config", FailureConfig),
            ("checkpoint_config", CheckpointConfig),
            ("sync_config", SyncConfig),
        ):
            if getattr(self, name) is None:
                setattr(self, name, default())
        if self.storage_path is not None:
            self.storage_path = str(self.storage_path)
        if self.verbose is not None:
            check_count("verbose", int(self.verbose), 0)


@dataclass
class TuneConfig:
    """What is searched for and how.

    ``metric`` and ``mode`` ("min" or "max") are also given to scheduler and searcher when they have none. ``num_samples``: how
    often the space is sampled (-1: until stopped). ``max_concurrent_trials`` None is as many as fit. ``reuse_actors``: True
    keeps processes for the next trial (class trainables must define ``reset_config``), False never does, None does for
    functions that have left nothing behind in their process (threads, children, memory; environment variables and random seeds
    are renewed).
    """

    metric: str | None = None
    mode: str | None = None
    search_alg: Any = None
    scheduler: Any = None
    num_samples: int = 1
    max_concurrent_trials: int | None = None
    time_budget_s: int | float | datetime.timedelta | None = None
    reuse_actors: bool | None = None
    trial_name_creator: Callable[[Any], str] | None = None
    trial_dirname_creator: Callable[[Any], str] | None = None
    chdir_to_trial_dir: bool | None = None

    def __post_init__(self) -> None:
        check_mode(self.mode)
        check_num_samples(self.num_samples)
        check_count("max_concurrent_trials", self.max_concurrent_trials, 0, none_allowed=True)


def check_num_samples(num_samples: Any) -> int:
    """``num_samples`` itself; raises ValueError unless it is a positive integer or -1."""
    if not isinstance(num_samples, int) or isinstance(num_samples, bool) or num_samples < -1 or num_samples == 0:
        raise ValueError(f"num_samples must be an integer >= 1, or -1 for no limit, but got num_samples={num_samples!r}")
    return num_samples


@dataclass(frozen=True)
class ResumeConfig:
    """What becomes of the trials of a run that is resumed: each kind is resumed, restarted or skipped."""

    class ResumeType:
        RESUME = "resume"
        RESTART = "restart"
        SKIP = "skip"

    finished: str = "skip"
    unfinished: str = "resume"
    errored: str = "skip"

    def __post_init__(self) -> None:
        for name in ("finished", "unfinished", "errored"):
            if getattr(self, name) not in ("resume", "restart", "skip"):
                raise ValueError(f"{name} must be 'resume', 'restart' or 'skip', but got {name}={getattr(self, name)!r}")
