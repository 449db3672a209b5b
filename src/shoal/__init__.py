"""Shoal runs Ray programs: tasks, actors and shared objects for Python. ``import shoal as ray``.

What a program names is loaded when it is first named, so that ``init`` can start the node before the rest is imported: what
``remote`` needs, and libraries (``shoal.util``, ``shoal.tune``, ...).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from shoal._kernel import get, put, wait
from shoal.core.binding import register_binder
from shoal.core.native import first_hooks
from shoal.core.session import init, is_initialized, shutdown

if TYPE_CHECKING:
    import logging

    from shoal.core.api import (
        available_resources,
        cancel,
        cluster_resources,
        get_actor,
        get_gpu_ids,
        kill,
        nodes,
        timeline,
    )
    from shoal.core.decorators import method, remote
    from shoal.core.generators import DynamicObjectRefGenerator, ObjectRefGenerator
    from shoal.core.ids import (
        ActorClassID,
        ActorID,
        ClusterID,
        FunctionID,
        JobID,
        NodeID,
        PlacementGroupID,
        TaskID,
        UniqueID,
        WorkerID,
    )
    from shoal.core.logging_config import LoggingConfig
    from shoal.core.object_ref import ObjectRef
    from shoal.core.runtime_context import get_runtime_context

    ObjectID = ObjectRef
    logger: logging.Logger

__version__ = "0.1.0"

first_hooks.install()


def _bind(what: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    # The graph library is loaded by the first .bind(), and then takes its place.
    return importlib.import_module("shoal.dag.binder").bind(what, args, kwargs)


register_binder(_bind)

_MODULES = frozenset(
    {
        "actor",
        "as_ray",
        "cloudpickle",
        "cluster_utils",
        "dag",
        "exceptions",
        "experimental",
        "job_config",
        "remote_function",
        "runtime_context",
        "runtime_env",
        "train",
        "tune",
        "types",
        "util",
    }
)
_HOMES = {
    "api": ("available_resources", "cancel", "cluster_resources", "get_actor", "get_gpu_ids", "kill", "nodes", "timeline"),
    "decorators": ("method", "remote"),
    "generators": ("DynamicObjectRefGenerator", "ObjectRefGenerator"),
    "ids": (
        "ActorClassID",
        "ActorID",
        "ClusterID",
        "FunctionID",
        "JobID",
        "NodeID",
        "PlacementGroupID",
        "TaskID",
        "UniqueID",
        "WorkerID",
    ),
    "logging_config": ("LoggingConfig",),
    "object_ref": ("ObjectRef",),
    "runtime_context": ("get_runtime_context",),
}
"""Where the names that are loaded late come from: modules of ``shoal.core``."""

__all__ = [
    "ActorClassID",
    "ActorID",
    "ClusterID",
    "DynamicObjectRefGenerator",
    "FunctionID",
    "JobID",
    "LoggingConfig",
    "NodeID",
    "ObjectID",
    "ObjectRef",
    "ObjectRefGenerator",
    "PlacementGroupID",
    "TaskID",
    "UniqueID",
    "WorkerID",
    "__version__",
    "available_resources",
    "cancel",
    "cluster_resources",
    "exceptions",
    "get",
    "get_actor",
    "get_gpu_ids",
    "get_runtime_context",
    "init",
    "is_initialized",
    "kill",
    "logger",
    "method",
    "nodes",
    "put",
    "remote",
    "shutdown",
    "timeline",
    "wait",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    found = _loaded(name)
    globals()[name] = found
    return found


def _loaded(name: str) -> Any:
    if name == "ObjectID":
        return _loaded("ObjectRef")
    if name == "logger":  # Shoal's own messages; programs add theirs to it
        return importlib.import_module("logging").getLogger("shoal")
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"shoal.core.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, *__all__})
