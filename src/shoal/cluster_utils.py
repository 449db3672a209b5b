"""Clusters for tests: a node that stands alone, which the test's driver joins.

A cluster has one node; adding a second raises NotImplementedError, since nodes of several machines are not supported.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import shoal

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

START_LIMIT_S = 20.0
STOP_LIMIT_S = 10.0
POLL_S = 0.005
SOCKET_NAME = "daemon.sock"
NODE_OPTIONS = ("num_cpus", "num_gpus", "memory", "object_store_memory", "resources", "labels")


class ClusterNode:
    """A node that stands alone: its process and the folder that is its address."""

    def __init__(self, **options: Any) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="shoal-node-", dir=os.environ.get("RAY_TMPDIR")))
        self.options = options
        command = [sys.executable, "-m", "shoal.node", "--session-folder", str(self.folder)]
        for name, value in options.items():
            command += [f"--{name.replace('_', '-')}", json.dumps(value)]
        with (self.folder / "start.log").open("wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        self._wait_until_ready()

    @property
    def address(self) -> str:
        return str(self.folder)

    def stop(self, *, kill: bool) -> None:
        """Ends the node, and waits until it has ended."""
        (self.process.kill if kill else self.process.terminate)()
        try:
            self.process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _wait_until_ready(self) -> None:
        limit = time.monotonic() + START_LIMIT_S
        while not (self.folder / SOCKET_NAME).exists():
            if self.process.poll() is not None or time.monotonic() > limit:
                log = (self.folder / "start.log").read_text(errors="replace")
                self.stop(kill=True)
                raise RuntimeError(f"the node did not start (exit status {self.process.returncode}): {log}")
            time.sleep(POLL_S)


class Cluster:
    """A cluster of one node. ``shoal.init(address=cluster.address)`` joins it, as does ``connect``.

    ``head_node_args`` are those of ``add_node``. With ``shutdown_at_exit`` it is shut down when this process ends."""

    def __init__(
        self,
        initialize_head: bool = False,
        connect: bool = False,
        head_node_args: dict[str, Any] | None = None,
        shutdown_at_exit: bool = True,
    ) -> None:
        self.head_node: ClusterNode | None = None
        self.connected = False
        if connect and not initialize_head:
            raise RuntimeError("Cannot connect to uninitialized cluster: connect=True needs initialize_head=True")
        if shutdown_at_exit:
            atexit.register(self.shutdown)
        if initialize_head:
            self.add_node(**(head_node_args or {}))
        if connect:
            self.connect()

    @property
    def address(self) -> str | None:
        """What ``shoal.init(address=...)`` joins; None before there is a node."""
        return None if self.head_node is None else self.head_node.address

    @property
    def gcs_address(self) -> str | None:
        return self.address

    def connect(self, namespace: str | None = None) -> None:
        """Joins the cluster with this process."""
        if self.address is None:
            raise RuntimeError("the cluster has no node to connect to: call add_node() first")
        shoal.init(address=self.address, namespace=namespace, ignore_reinit_error=True)
        self.connected = True

    def add_node(self, wait: bool = True, **node_args: Any) -> ClusterNode:
        """Starts the cluster's node, with 1 CPU and 150 MiB for objects unless told otherwise; it is ready when this returns.

        ``node_args``: num_cpus, num_gpus, memory, object_store_memory, resources, labels. Raises NotImplementedError for other
        arguments and for a second node."""
        if self.head_node is not None:
            raise NotImplementedError("a cluster with more than one node is not supported")
        unknown = [name for name, value in node_args.items() if name not in NODE_OPTIONS and value not in (None, False, {})]
        if unknown:
            raise NotImplementedError(
                f"add_node() does not support {unknown[0]}, but got {unknown[0]}={node_args[unknown[0]]!r}"
            )
        given = {name: node_args[name] for name in NODE_OPTIONS if node_args.get(name) is not None}
        self.head_node = ClusterNode(**{"num_cpus": 1, "object_store_memory": 150 * 1024 * 1024, **given})
        return self.head_node

    def remove_node(self, node: ClusterNode, allow_graceful: bool = True) -> None:
        """Ends a node; with ``allow_graceful=False`` by SIGKILL. Raises ValueError when it is not of this cluster."""
        if node is not self.head_node:
            raise ValueError(f"the node at {node.address} is not of this cluster")
        self.head_node = None
        node.stop(kill=not allow_graceful)

    def wait_for_nodes(self, timeout: float = 30) -> None:
        """Returns when all nodes are there: at once, since ``add_node`` waits. Raises TimeoutError when one has ended
        meanwhile."""
        if self.head_node is not None and self.head_node.process.poll() is not None:
            raise TimeoutError(f"the node has ended with exit status {self.head_node.process.returncode}")

    @property
    def list_all_nodes(self) -> list[ClusterNode]:
        return [] if self.head_node is None else [self.head_node]

    def shutdown(self) -> None:
        """Leaves the cluster, if this process is in it, and ends its node."""
        atexit.unregister(self.shutdown)
        if self.connected:
            shoal.shutdown()
            self.connected = False
        if self.head_node is not None:
            self.remove_node(self.head_node)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, exc_traceback: TracebackType | None
    ) -> None:
        self.shutdown()
