"""Which node this process is on."""

from __future__ import annotations

import os
import socket
from typing import Any

import shoal

_ANY_OUTSIDE_ADDRESS = "8.8.8.8:53"


def get_node_ip_address(address: str = _ANY_OUTSIDE_ADDRESS) -> str:
    """The address under which the cluster knows this node; without a session, that of the interface that leads to ``address``.

    Nothing is sent to ``address``. Falls back to 127.0.0.1 when there is no network.
    """
    if shoal.is_initialized():
        return str(_own_node()["NodeManagerAddress"])
    host, _, port = address.rpartition(":")
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            # Connecting a datagram socket only chooses the interface.
            probe.connect((host, int(port)))
            return str(probe.getsockname()[0])
    except OSError:
        return "127.0.0.1"


def get_node_instance_id() -> str:
    """The machine's id at its cloud provider, if ``RAY_CLOUD_INSTANCE_ID`` gives it; else the id of this node, hex.

    Raises RuntimeError when there is neither: shoal is not initialized."""
    from_cloud = os.environ.get("RAY_CLOUD_INSTANCE_ID")
    if from_cloud:
        return from_cloud
    if not shoal.is_initialized():
        raise RuntimeError("get_node_instance_id() needs a session: call shoal.init() first")
    return str(_own_node()["NodeID"])


def _own_node() -> dict[str, Any]:
    own_id = shoal.get_runtime_context().get_node_id()
    found: dict[str, Any] | None = next((node for node in shoal.nodes() if node["NodeID"] == own_id), None)
    if found is None:
        raise RuntimeError(f"node {own_id}, on which this process runs, is not in shoal.nodes()")
    return found
