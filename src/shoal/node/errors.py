"""The errors that the daemon seals records with, made from the brain's facts."""

from __future__ import annotations

from typing import Any

from shoal import _kernel
from shoal.node.events import ErrorFacts


def error_bytes(error: ErrorFacts) -> bytes:
    """The serialized exception."""
    from shoal.core.serialization import dumps_error

    data: bytes = dumps_error(make_error(error))
    return data


def make_error(error: ErrorFacts) -> BaseException:
    """The exception that the user will see."""
    from shoal import exceptions

    kind, text = error.kind, error.message
    if kind == "cancelled":
        return exceptions.TaskCancelledError()
    if kind == "owner_died":
        return exceptions.OwnerDiedError("", message=f"The task or object is lost: {text}.")
    if kind == "task_group_removed":
        return exceptions.TaskPlacementGroupRemoved()
    if kind == "actor_group_removed":
        return exceptions.ActorPlacementGroupRemoved()
    if kind == "infeasible":
        return exceptions.TaskUnschedulableError(text)
    if kind == "actor_infeasible":
        return exceptions.ActorUnschedulableError(text)
    if kind in ("out_of_memory", "actor_out_of_memory"):
        return exceptions.OutOfMemoryError(text)
    if kind == "environment_failed":
        return exceptions.RuntimeEnvSetupError(text)
    if kind == "actor_unavailable":
        return exceptions.ActorUnavailableError(text, error.actor_id)
    if kind.startswith("actor_"):
        return _actor_died(error)
    return exceptions.WorkerCrashedError(text)


def _actor_died(error: ErrorFacts) -> BaseException:
    from shoal import exceptions

    facts: dict[str, Any] = dict(error.facts)
    if error.cause_record and _kernel.record_is_error(error.cause_record):
        from shoal.core.native import hooks

        hooks.install()  # the daemon does not execute shoal/__init__, and the kernel unpickles through them
        cause = _kernel.read_record(error.cause_record)
        if isinstance(cause, exceptions.RayTaskError):
            return exceptions.ActorDiedError(cause, actor_id=error.actor_id.hex(), facts=facts)
        if isinstance(cause, exceptions.RayActorError):
            return cause
        return exceptions.ActorDiedError(str(cause), actor_id=error.actor_id.hex(), facts=facts)
    return exceptions.ActorDiedError(f"The actor is dead because {error.message}", actor_id=error.actor_id.hex(), facts=facts)
