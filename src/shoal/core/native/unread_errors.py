"""Errors that nobody will ever read are logged where they were raised: their references were dropped before the task failed."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from shoal import _kernel

if TYPE_CHECKING:
    from shoal._kernel import Task

VARIABLE = "RAY_IGNORE_UNHANDLED_ERRORS"


def tell(task: Task, error: BaseException, own_references: int) -> None:
    """The task is about to fail with ``error``, which is its final one. ``own_references``: how many references to its result
    the caller holds. What a worker logs is shown by the driver."""
    # The execution counts as one. Results of a task with several count each other, so that nothing can be told of them.
    if task.num_returns != 1 or _kernel.record_count(task.record) > 1 + own_references:
        return
    if os.environ.get(VARIABLE) != "1":
        logging.getLogger("shoal").error(
            "Unhandled error: nobody refers to the result of %s any more (%s=1 suppresses this): %s", task.name, VARIABLE, error
        )
