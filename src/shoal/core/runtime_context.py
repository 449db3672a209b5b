"""What running code can learn about itself."""

from __future__ import annotations

import json
import warnings
from typing import Any

from shoal.core import session
from shoal.core.accelerators import FAMILIES
from shoal.core.actor_handle import ActorHandle
from shoal.core.ids import ActorID, JobID, NodeID, PlacementGroupID, TaskID
from shoal.core.runtime_env import RuntimeEnv


def get_runtime_context() -> RuntimeContext:
    """The context of the code that asks: a driver's, a task's or an actor's. Starts a session when there is none."""
    session.current_engine()
    return RuntimeContext()


class RuntimeContext:
    """Ids are hex strings; those of a task and an actor are None in a driver. Each question is answered for whoever asks."""

    def get(self) -> dict[str, Any]:
        """Ids by name. Deprecated: ask for each with its own method."""
        _warn_deprecated("get()", "the get_...() methods")
        found: dict[str, Any] = {"job_id": self.job_id, "node_id": self.node_id, "namespace": self.namespace}
        facts = self._facts()
        if facts.get("task_id") is not None:
            found["task_id"] = TaskID(facts["task_id"])
        if facts.get("actor_id") is not None:
            found["actor_id"] = ActorID(facts["actor_id"])
        return found

    @property
    def job_id(self) -> JobID:
        """Deprecated: use ``get_job_id()``."""
        _warn_deprecated("job_id", "get_job_id()")
        return JobID(self._required("job_id"))

    @property
    def node_id(self) -> NodeID:
        """Deprecated: use ``get_node_id()``."""
        _warn_deprecated("node_id", "get_node_id()")
        return NodeID(self._required("node_id"))

    @property
    def task_id(self) -> TaskID | None:
        """Deprecated: use ``get_task_id()``."""
        _warn_deprecated("task_id", "get_task_id()")
        value = self._facts().get("task_id")
        return None if value is None else TaskID(value)

    @property
    def actor_id(self) -> ActorID | None:
        """Deprecated: use ``get_actor_id()``."""
        _warn_deprecated("actor_id", "get_actor_id()")
        value = self._facts().get("actor_id")
        return None if value is None else ActorID(value)

    @property
    def current_placement_group_id(self) -> PlacementGroupID | None:
        """Deprecated: use ``get_placement_group_id()``."""
        _warn_deprecated("current_placement_group_id", "get_placement_group_id()")
        value = self._facts().get("placement_group_id")
        return None if value is None else PlacementGroupID(value)

    def get_job_id(self) -> str:
        return _hex(self._required("job_id"))

    def get_node_id(self) -> str:
        return _hex(self._required("node_id"))

    def get_worker_id(self) -> str:
        return _hex(self._required("worker_id"))

    def get_task_id(self) -> str | None:
        return _hex_or_none(self._facts().get("task_id"))

    def get_actor_id(self) -> str | None:
        return _hex_or_none(self._facts().get("actor_id"))

    def get_task_name(self) -> str | None:
        """The task's name: its option ``name``, else the function's. None in a driver."""
        return self._facts().get("task_name")

    def get_task_function_name(self) -> str | None:
        return self._facts().get("task_function_name")

    def get_actor_name(self) -> str | None:
        """The actor's name, "" when it has none; None outside of an actor."""
        facts = self._facts()
        return None if facts.get("actor_id") is None else facts.get("actor_name") or ""

    def get_placement_group_id(self) -> str | None:
        return _hex_or_none(self._facts().get("placement_group_id"))

    def get_assigned_resources(self) -> dict[str, float]:
        """What this task or actor holds; nothing in a driver."""
        return dict(assigned(self._facts()).get("assigned_resources") or {})

    def get_accelerator_ids(self) -> dict[str, list[str]]:
        """The ids of the accelerators assigned, by family: an empty list for each family of which there are none."""
        found = assigned(self._facts()).get("accelerator_ids") or {}
        return {name: [str(each) for each in found.get(name, ())] for name in dict.fromkeys((*FAMILIES, *found))}

    def get_resource_ids(self) -> dict[str, list[str]]:
        return self.get_accelerator_ids()

    def get_node_labels(self) -> dict[str, str]:
        return dict(self._facts().get("node_labels") or {})

    def get_session_name(self) -> str:
        return str(self._required("session_name"))

    def get_temp_dir(self) -> str:
        return str(self._required("temp_dir"))

    def get_runtime_env_string(self) -> str:
        """The runtime environment as JSON."""
        return json.dumps(self._facts().get("runtime_env") or {}, default=repr)

    @property
    def runtime_env(self) -> RuntimeEnv:
        return RuntimeEnv(_validate=False, **(self._facts().get("runtime_env") or {}))

    @property
    def namespace(self) -> str:
        return session.require_engine().namespace

    @property
    def gcs_address(self) -> str:
        return str(self._required("gcs_address"))

    @property
    def current_actor(self) -> ActorHandle:
        """The handle of the actor this runs in. Raises RuntimeError outside of one."""
        engine = session.require_engine()
        if engine.runtime_context().get("actor_id") is None:
            raise RuntimeError("This method is only available in an actor.")
        return ActorHandle(engine.request("current_actor"))

    @property
    def was_current_actor_reconstructed(self) -> bool:
        """Whether this actor has been restarted; False outside of an actor."""
        return bool(self._facts().get("was_reconstructed", False))

    @property
    def should_capture_child_tasks_in_placement_group(self) -> bool:
        """Whether tasks started here run in this code's placement group."""
        return bool(self._facts().get("captures_child_tasks", False))

    def is_canceled(self) -> bool:
        """Whether the running task or call was cancelled. Raises RuntimeError in a driver and in an async actor."""
        facts = self._facts()
        if facts.get("task_id") is None:
            raise RuntimeError("is_canceled() is only available in a task or an actor's method, not in a driver.")
        if facts.get("is_async_actor"):
            raise RuntimeError("This method is not supported in an async actor: asyncio cancels its calls.")
        return bool(facts.get("is_canceled", False))

    def _facts(self) -> dict[str, Any]:
        return session.require_engine().runtime_context()

    def _required(self, name: str) -> Any:
        value = self._facts().get(name)
        if value is None:
            raise RuntimeError(f"the engine of this session does not tell its {name}")
        return value


def assigned(facts: dict[str, Any]) -> dict[str, Any]:
    """``assigned_resources`` and ``accelerator_ids``, which an engine may give as one function, ``assigned``."""
    ask = facts.get("assigned")
    return facts if ask is None else dict(ask())


def _warn_deprecated(name: str, instead: str) -> None:
    warnings.warn(f"RuntimeContext.{name} is deprecated. Use {instead} instead", DeprecationWarning, stacklevel=3)


def _hex(value: Any) -> str:
    return value.hex() if hasattr(value, "hex") else str(value)


def _hex_or_none(value: Any) -> str | None:
    return None if value is None else _hex(value)
