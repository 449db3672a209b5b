"""What a process knows of its node: ids, folders, labels, and how to leave it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from shoal import _kernel
from shoal.core.accelerators import visibility_variable
from shoal.core.native import messages

if TYPE_CHECKING:
    from shoal.core.native.control import ControlClient
    from shoal.core.native.engine import NativeEngine
    from shoal.core.native.messages import Message

LOOPBACK = "127.0.0.1"
ENDING_TIMEOUT_S = 10.0


def worker_id_of(slot: int, pid: int) -> bytes:
    """The id of a process of this session."""
    return _kernel.session_id() + slot.to_bytes(4, "big") + pid.to_bytes(4, "big") + bytes(12)


class Node:
    """Facts every process has. ``facts`` is the configuration that the daemon was started with."""

    def __init__(self, facts: dict[str, Any], slot: int) -> None:
        self.facts = facts
        self.session_folder = str(facts["session_folder"])
        self.session_name = os.path.basename(self.session_folder)
        self.temp_folder = os.path.dirname(self.session_folder)
        self.labels: dict[str, str] = dict(facts.get("labels") or {})
        self.node_id = bytes.fromhex(facts["node_id"])
        self.worker_id = worker_id_of(slot, os.getpid())
        self.address = f"unix:{self.session_folder}"

    def address_info(self) -> dict[str, Any]:
        return {
            "node_ip_address": LOOPBACK,
            "node_id": self.node_id.hex(),
            "session_dir": self.session_folder,
            "temp_dir": self.temp_folder,
            "address": self.address,
            "gcs_address": self.address,
            "object_store_address": self.address,
            "raylet_socket_name": os.path.join(self.session_folder, "daemon.sock"),
            "webui_url": "",
            "metrics_export_port": None,
        }

    def assigned(self) -> dict[str, Any]:
        """Resources and accelerators of the execution that asks; nothing in a driver. A worker asks the daemon."""
        return {"accelerator_ids": {"GPU": []}, "assigned_resources": {}}

    def leave(self, engine: NativeEngine) -> None:
        """This process hangs up."""
        engine.control.close()
        _kernel.detach_arena()


class EmbeddedNode(Node):
    """The node that this driver started: it ends with it."""

    def __init__(self, facts: dict[str, Any], slot: int, daemon_pid: int) -> None:
        super().__init__(facts, slot)
        self._daemon_pid = daemon_pid

    def leave(self, engine: NativeEngine) -> None:
        from shoal.core.native.daemon_process import wait_ended
        from shoal.core.native.session_folder import remove
        from shoal.exceptions import RayError

        try:
            engine.control.end_node(ENDING_TIMEOUT_S)
        except RayError as error:
            import logging

            logging.getLogger("shoal").debug("the node did not end in order: %s", error)
        super().leave(engine)
        wait_ended(self._daemon_pid, ENDING_TIMEOUT_S)
        if os.path.isdir(self.session_folder):  # the daemon was killed
            remove(self.session_folder, list(self.facts["spill_folders"]), keep_logs=False)


class WorkerNode(Node):
    """A worker's view of its node. The control connection is made when it is first needed."""

    def __init__(self, facts: dict[str, Any], slot: int) -> None:
        super().__init__(facts, slot)
        self.slot = slot
        self.control = LazyControl(self.session_folder, slot)

    def assigned(self) -> dict[str, Any]:
        row = self.control.request(messages.GetWorkerInfo(slot=self.slot))
        ids = {family: _visible(family) for family in {*row.devices, "GPU"}}
        return {"accelerator_ids": ids, "assigned_resources": dict(row.resources)}


def _visible(family: str) -> list[int | str]:
    """The devices of a family that this process may use: numbers, or the names that the vendor gives them."""
    visible = os.environ.get(visibility_variable(family), "")
    return [int(each) if each.isdigit() else each for each in visible.split(",") if each]


class LazyControl:
    """A ControlClient that connects at the first message."""

    def __init__(self, session_folder: str, slot: int) -> None:
        self._session_folder = session_folder
        self._slot = slot
        self._client: ControlClient | None = None

    def request(self, message: Message, timeout_s: float | None = None) -> Any:
        return self._connected().request(message, timeout_s)

    def send(self, message: Message) -> None:
        self._connected().send(message)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def _connected(self) -> ControlClient:
        if self._client is None:
            from shoal.core.native.control import ControlClient

            self._client, _welcome, _fd = ControlClient.connect(self._session_folder, self._slot)
        return self._client
