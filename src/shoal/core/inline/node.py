"""What inline code learns of its node, and where it seems to run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shoal import _kernel
from shoal.core.native import context, session_folder
from shoal.core.native.node import Node

if TYPE_CHECKING:
    from shoal.core.native.engine import NativeEngine


class Place(context.Process):
    """The process that a task or an actor would have to itself in a cluster."""

    def __init__(self, **facts: Any) -> None:
        super().__init__()
        self.resources: dict[str, float] = {}
        self.__dict__.update(facts)

    def changed(self, **facts: Any) -> Place:
        """Another one, with other values of these facts."""
        return Place(**{**self.__dict__, **facts})


class InlineNode(Node):
    """The driver's process as a node."""

    def __init__(self, facts: dict[str, Any], slot: int) -> None:
        super().__init__(facts, slot)
        self.address = f"inline:{self.session_folder}"

    def assigned(self) -> dict[str, Any]:
        """What the running task or actor asked for. GPUs are the first that this process sees: nothing else uses them."""
        place = context.here()
        resources = dict(place.resources) if isinstance(place, Place) else {}
        wanted = resources.get("GPU", 0)
        count = int(wanted) if wanted == int(wanted) else int(wanted) + 1
        return {"accelerator_ids": {"GPU": list(self.facts["devices"].get("GPU", ()))[:count]}, "assigned_resources": resources}

    def leave(self, engine: NativeEngine) -> None:
        engine.control.close()
        _kernel.detach_arena()
        session_folder.remove(self.session_folder, list(self.facts["spill_folders"]), keep_logs=False)
