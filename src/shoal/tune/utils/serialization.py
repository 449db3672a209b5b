"""Finding out whether a trainable can be sent and restored."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

from shoal.tune.registry import trainable_class_of
from shoal.tune.trainable.function_trainable import FunctionTrainable
from shoal.util import inspect_serializability


def diagnose_serialization(trainable: Callable[..., Any]) -> bool | set[Any]:
    """True when ``trainable`` can be pickled; else what in it cannot, with a report on stdout."""
    serializable, failures = inspect_serializability(trainable, name=getattr(trainable, "__name__", str(trainable)))
    return True if serializable else set(failures)


def validate_save_restore(trainable_cls: Any, config: dict[str, Any] | None = None, num_gpus: int = 0) -> bool:
    """True when a class trainable can be saved and restored in this process; raises whatever goes wrong.

    ``num_gpus`` must be 0: nothing is started elsewhere. Function trainables raise ValueError, they save when they run.
    """
    if num_gpus:
        raise ValueError(f"num_gpus must be 0: the trainable runs in this process, but got num_gpus={num_gpus}")
    found = trainable_class_of(trainable_cls)
    if issubclass(found, FunctionTrainable):
        raise ValueError(
            "validate_save_restore is for class trainables; a function saves with tune.report(..., checkpoint=...)"
        )
    first, second = found(config or {}), found(config or {})
    first.train()
    with tempfile.TemporaryDirectory() as folder:
        second.restore(first.save(folder))
    if second.training_iteration != first.training_iteration:
        raise RuntimeError(f"restored to iteration {second.training_iteration} instead of {first.training_iteration}")
    second.train()
    first.stop()
    second.stop()
    return True
