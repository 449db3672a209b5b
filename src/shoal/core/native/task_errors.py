"""Why tasks have failed, for the state API. The process that asks reads it from their records: errors are pickled objects, and
the daemon, which lists the tasks, unpickles nothing of the user's."""

from __future__ import annotations

from typing import Any

from shoal import _kernel, exceptions
from shoal.core.native.record_rows import SCAN_MAX, TASK_ID_BYTES

ERRORS_READ_MAX = 1000

_TYPES: tuple[tuple[type[BaseException], str], ...] = (
    (exceptions.TaskCancelledError, "TASK_CANCELLED"),
    (exceptions.ActorUnavailableError, "ACTOR_UNAVAILABLE"),
    (exceptions.RayActorError, "ACTOR_DIED"),
    (exceptions.WorkerCrashedError, "WORKER_DIED"),
    (exceptions.OutOfMemoryError, "OUT_OF_MEMORY"),
    (exceptions.RuntimeEnvSetupError, "RUNTIME_ENV_SETUP_FAILED"),
    (exceptions.TaskPlacementGroupRemoved, "TASK_PLACEMENT_GROUP_REMOVED"),
    (exceptions.ActorPlacementGroupRemoved, "ACTOR_PLACEMENT_GROUP_REMOVED"),
    (exceptions.TaskUnschedulableError, "TASK_UNSCHEDULABLE_ERROR"),
    (exceptions.ActorUnschedulableError, "ACTOR_UNSCHEDULABLE_ERROR"),
    (exceptions.OwnerDiedError, "OWNER_DIED"),
    (exceptions.ObjectFreedError, "OBJECT_FREED"),
    (exceptions.ObjectLostError, "OBJECT_LOST"),
    (exceptions.LocalRayletDiedError, "LOCAL_RAYLET_DIED"),
)
"""Ray's words, the more particular first. What is none of these was raised by the task."""


def add_errors(rows: list[dict[str, Any]]) -> None:
    """Adds type and message of the error to the rows of failed tasks to whose results somebody refers."""
    failed = [row for row in rows if row["state"] == "FAILED"][:ERRORS_READ_MAX]
    if not failed:
        return
    by_id = {(row["task_id"], row["attempt_number"]): row for row in failed}
    for item in _kernel.list_records(SCAN_MAX):
        row = by_id.get((item["ref"].binary()[:TASK_ID_BYTES].hex(), item["attempt"])) if item["is_error"] else None
        if row is not None:
            row["error_type"], row["error_message"] = _told(item["record"])


def _told(record: int) -> tuple[str, str]:
    try:
        error = _kernel.read_record(record)
    except Exception as unreadable:  # whatever a class of the user's raises when it is unpickled
        return "TASK_EXECUTION_EXCEPTION", f"the error can't be read here: {type(unreadable).__name__}: {unreadable}"
    cause = getattr(error, "cause", None) if isinstance(error, exceptions.RayTaskError) else error
    cancelled = isinstance(cause, exceptions.TaskCancelledError)
    known = error if not isinstance(error, exceptions.RayTaskError) or not cancelled else cause
    return next((word for kind, word in _TYPES if isinstance(known, kind)), "TASK_EXECUTION_EXCEPTION"), str(error)
