"""Shoal runs Ray programs: tasks, actors and shared objects for Python. ``import shoal as ray``.

Libraries (``shoal.util``, ``shoal.tune``, ...) are imported when they are first named.
"""

from __future__ import annotations

import importlib
import logging
from typing import Any

from shoal import exceptions
from shoal._kernel import get, put, wait
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
from shoal.core.binding import register_binder
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
from shoal.core.native import hooks
from shoal.core.object_ref import ObjectRef
from shoal.core.runtime_context import get_runtime_context
from shoal.core.session import init, is_initialized, shutdown

__version__ = "0.1.0"

hooks.install()


def _bind(what: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    # The graph library is loaded by the first .bind(), and then takes its place.
    return importlib.import_module("shoal.dag.binder").bind(what, args, kwargs)


register_binder(_bind)

ObjectID = ObjectRef

_MODULES = frozenset(
    {
        "actor",
        "as_ray",
        "cloudpickle",
        "cluster_utils",
        "dag",
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

logger = logging.getLogger("shoal")
"""Shoal's own messages; programs add theirs to it."""


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
