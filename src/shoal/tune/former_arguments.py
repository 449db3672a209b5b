"""Arguments of ``tune.run`` in earlier versions of Ray."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

from shoal.tune.run_config import CheckpointConfig

_TAKEN = {
    "keep_checkpoints_num": "num_to_keep",
    "checkpoint_score_attr": "checkpoint_score_attribute",
    "checkpoint_freq": "checkpoint_frequency",
    "checkpoint_at_end": "checkpoint_at_end",
}
"""Those that still count, and their names in CheckpointConfig."""

_GONE = {"local_dir": "storage_path", "chdir_to_trial_dir": "the environment variable RAY_CHDIR_TO_TRIAL_DIR=0"}
"""Those that do not, and what has their place."""


def with_former_arguments(checkpoint_config: CheckpointConfig | None, former: dict[str, Any]) -> CheckpointConfig | None:
    """``checkpoint_config`` with what ``former`` says of checkpoints, and a DeprecationWarning for each of them.

    Raises DeprecationWarning for arguments that mean nothing any more, TypeError for unknown ones.
    """
    changes: dict[str, Any] = {}
    for name, value in former.items():
        if name in _GONE:
            raise DeprecationWarning(f"tune.run takes no {name} any more: use {_GONE[name]}, but got {name}={value!r}")
        if name not in _TAKEN:
            raise TypeError(f"tune.run takes no argument {name!r}, but got {name}={value!r}")
        message = f"{name} of tune.run is deprecated: use checkpoint_config=CheckpointConfig({_TAKEN[name]}=...)"
        warnings.warn(message, DeprecationWarning, stacklevel=3)
        if name == "checkpoint_score_attr" and isinstance(value, str):
            is_lowest = value.startswith("min-")
            changes["checkpoint_score_order"] = "min" if is_lowest else "max"
            value = value.removeprefix("min-")
        changes[_TAKEN[name]] = value
    return dataclasses.replace(checkpoint_config or CheckpointConfig(), **changes) if changes else checkpoint_config
