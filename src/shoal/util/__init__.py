"""Helpers on top of tasks, actors and objects. Submodules are loaded when their names are first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# Not with the others: the function has the name of its module, and importing the module would put it in the function's place.
from shoal.util.placement_group import (
    get_current_placement_group,
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)

# The future import has the name of a module of this package, and `from shoal.util import annotations` would give it.
del annotations

if TYPE_CHECKING:
    from shoal.util import accelerators, collective
    from shoal.util import debugpy as ray_debugpy
    from shoal.util import rpdb as pdb
    from shoal.util.actor_pool import ActorPool
    from shoal.util.check_serialize import inspect_serializability
    from shoal.util.completion import as_completed, map_unordered
    from shoal.util.debug import disable_log_once_globally, enable_periodic_logging, log_once
    from shoal.util.named_actors import list_named_actors
    from shoal.util.node_address import get_node_instance_id, get_node_ip_address
    from shoal.util.serialization import deregister_serializer, register_serializer

_HOME = {
    "ActorPool": "actor_pool",
    "as_completed": "completion",
    "deregister_serializer": "serialization",
    "disable_log_once_globally": "debug",
    "enable_periodic_logging": "debug",
    "get_node_instance_id": "node_address",
    "get_node_ip_address": "node_address",
    "inspect_serializability": "check_serialize",
    "list_named_actors": "named_actors",
    "log_once": "debug",
    "map_unordered": "completion",
    "register_serializer": "serialization",
}
_MODULES = {
    **{
        name: name
        for name in (
            "accelerators",
            "actor_pool",
            "annotations",
            "check_serialize",
            "collective",
            "debug",
            "debugpy",
            "helpers",
            "rpdb",
            "scheduling_strategies",
            "serialization",
        )
    },
    "pdb": "rpdb",
    "ray_debugpy": "debugpy",
}
"""Programs use these of Ray without importing them."""

__all__ = [
    "ActorPool",
    "accelerators",
    "as_completed",
    "collective",
    "deregister_serializer",
    "disable_log_once_globally",
    "enable_periodic_logging",
    "get_current_placement_group",
    "get_node_instance_id",
    "get_node_ip_address",
    "get_placement_group",
    "inspect_serializability",
    "list_named_actors",
    "log_once",
    "map_unordered",
    "pdb",
    "placement_group",
    "placement_group_table",
    "ray_debugpy",
    "register_serializer",
    "remove_placement_group",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        value: Any = importlib.import_module(f"{__name__}.{_MODULES[name]}")
    elif name in _HOME:
        value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value
