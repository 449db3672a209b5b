"""What a trial's process is told about its trial."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class TrialInformation:
    """Picklable facts about one trial."""

    trial_id: str | None = None
    trial_name: str | None = None
    experiment_name: str | None = None
    experiment_tag: str | None = None
    trial_dir: str | None = None
    resources: Any = None
    storage: Any = None
    config: dict[str, Any] = field(default_factory=dict)
    checkpoint: Any = None
    counters: dict[str, Any] | None = None
    next_checkpoint_index: int = 0
    lockstep: bool = True
    native_threads: int | None = None
    change_directory: bool = False
    original_directory: str | None = None  # the driver's, for TUNE_ORIG_WORKING_DIR
    log_files: tuple[str | None, str | None] = (None, None)
    environments: dict[str, Any] = field(default_factory=dict)
