"""A cluster for tests, in processes of this machine: ``Cluster``. It has a head node; further nodes are not supported yet."""

from __future__ import annotations

import atexit
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import shoal

__all__ = ["AutoscalingCluster", "Cluster", "ClusterNode", "cluster_not_supported"]

cluster_not_supported = False
"""Whether this system cannot have test clusters. Never: Shoal runs on Linux alone."""

START_LIMIT_S = 20.0
STOP_LIMIT_S = 10.0
DEFAULT_NUM_CPUS = 1
DEFAULT_OBJECT_STORE_MEMORY = 150 * 1024 * 1024

_logger = logging.getLogger(__name__)

# Asks for SIGTERM when this process dies, then becomes the node.
_LAUNCH = """
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
os.execv(sys.executable, [sys.executable, "-m", "shoal.node", *sys.argv[1:]])
"""


class AutoscalingCluster:
    """Ray's test cluster with an autoscaler. Shoal has no autoscaler: making one raises NotImplementedError."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError("AutoscalingCluster: the autoscaler is not supported")


class ClusterNode:
    """A node that a Cluster has started: a daemon of its own, which ends with this process at the latest."""

    def __init__(self, folder: Path, daemon: subprocess.Popen[bytes]) -> None:
        self.address = str(folder)
        self._folder = folder
        self._daemon = daemon
        self._node_id: str | None = None

    @property
    def node_id(self) -> str:
        """The node's id, hex, as in ``shoal.nodes()``."""
        if self._node_id is None:
            # A driver of its own asks, because this process may be connected elsewhere.
            program = (
                "import sys, shoal; shoal.init(address=sys.argv[1], log_to_driver=False); "
                "print(shoal.get_runtime_context().get_node_id())"
            )
            command = [sys.executable, "-c", program, self.address]
            done = subprocess.run(command, capture_output=True, text=True, timeout=START_LIMIT_S, check=True)
            self._node_id = done.stdout.strip()
        return self._node_id

    def is_alive(self) -> bool:
        return self._daemon.poll() is None

    def wait_ready(self, timeout_s: float = START_LIMIT_S) -> None:
        """Returns when drivers can join. Raises RuntimeError when the node ended, TimeoutError when time is up."""
        deadline_s = time.monotonic() + timeout_s
        while not (self._folder / "daemon.sock").exists():
            if not self.is_alive():
                raise RuntimeError(f"the node ended with status {self._daemon.returncode}:\n{self._log_tail()}")
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"the node was not ready within {timeout_s} s:\n{self._log_tail()}")
            time.sleep(0.01)

    def stop(self, graceful: bool = True) -> None:
        """Ends the node and everything that runs in it; removes its folder."""
        if self.is_alive():
            (self._daemon.terminate if graceful else self._daemon.kill)()
        try:
            self._daemon.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._daemon.kill()
            self._daemon.wait(STOP_LIMIT_S)
        shutil.rmtree(self._folder.parent, ignore_errors=True)

    def _log_tail(self) -> str:
        return (self._folder.parent / "node.log").read_text(errors="replace")[-2000:]


class Cluster:
    """Starts and ends nodes; programs join with ``shoal.init(address=cluster.address)``.

    ``initialize_head`` starts the head at once, with ``head_node_args`` for ``add_node``; ``connect`` joins it too.
    ``shutdown_at_exit`` ends it in order when this process ends.
    """

    def __init__(
        self,
        initialize_head: bool = False,
        connect: bool = False,
        head_node_args: dict[str, Any] | None = None,
        shutdown_at_exit: bool = True,
    ) -> None:
        if connect and not initialize_head:
            raise RuntimeError("connect=True needs initialize_head=True: there is no node to connect to")
        if shutdown_at_exit:
            atexit.register(self.shutdown)
        self.head_node: ClusterNode | None = None
        self.connected = False
        if initialize_head:
            self.add_node(**(head_node_args or {}))
        if connect:
            self.connect()

    @property
    def address(self) -> str | None:
        """What ``shoal.init(address=...)`` takes; None before the first node."""
        return None if self.head_node is None else self.head_node.address

    @property
    def gcs_address(self) -> str | None:
        """The same as ``address``."""
        return self.address

    def connect(self, namespace: str | None = None) -> None:
        """Joins this process. Raises RuntimeError when there is no node."""
        if self.address is None:
            raise RuntimeError("connect() needs a node, but the cluster has none: call add_node() first")
        shoal.init(address=self.address, namespace=namespace, ignore_reinit_error=True)
        self.connected = True

    def add_node(
        self,
        wait: bool = True,
        num_cpus: float = DEFAULT_NUM_CPUS,
        num_gpus: float = 0,
        memory: float | None = None,
        object_store_memory: float = DEFAULT_OBJECT_STORE_MEMORY,
        resources: dict[str, float] | None = None,
        labels: dict[str, str] | None = None,
        _system_config: dict[str, Any] | None = None,
        **others: Any,
    ) -> ClusterNode:
        """Starts the head node; with ``wait`` returns when it is ready.

        ``_system_config`` is accepted for compatibility, as by ``shoal.init``: its settings tune parts that only Ray has.
        Raises NotImplementedError for a second node, and for other arguments that Ray's nodes take.
        """
        unknown = {name: value for name, value in others.items() if value not in (None, False)}
        if unknown.pop("include_dashboard", False):
            warnings.warn("Shoal has no dashboard, so include_dashboard=True starts none", UserWarning, stacklevel=2)
        if unknown:
            raise NotImplementedError(f"add_node() does not support {sorted(unknown)}, but got {unknown!r}")
        if self.head_node is not None:
            raise NotImplementedError("a second node: nodes that join a head belong to the cluster work, which is not done yet")
        if not isinstance(_system_config or {}, dict):
            raise TypeError(f"_system_config must be a dict, but got _system_config={_system_config!r}")
        if _system_config:
            _logger.debug("_system_config is accepted for compatibility: %s", sorted(_system_config))
        sizes = {
            "num-cpus": num_cpus,
            "num-gpus": num_gpus,
            "memory": None if memory is None else int(memory),
            "object-store-memory": int(object_store_memory),
        }
        self.head_node = _start(sizes, resources or {}, labels or {})
        if wait:
            try:
                self.head_node.wait_ready()
            except BaseException:
                self.remove_node(self.head_node, allow_graceful=False)
                raise
        return self.head_node

    def remove_node(self, node: ClusterNode, allow_graceful: bool = True) -> None:
        """Ends a node; this process leaves it first when it is connected. Raises ValueError for a node of another cluster."""
        if node is not self.head_node:
            raise ValueError(f"node must be a node of this cluster, but got node={node!r}")
        if self.connected:
            shoal.shutdown()
            self.connected = False
        node.stop(allow_graceful)
        self.head_node = None

    def list_all_nodes(self) -> list[ClusterNode]:
        return [] if self.head_node is None else [self.head_node]

    def wait_for_nodes(self, timeout: float = 30) -> None:
        """Returns when every node that was added is ready. Raises TimeoutError after ``timeout`` seconds."""
        for node in self.list_all_nodes():
            node.wait_ready(timeout)

    def remaining_processes_alive(self) -> bool:
        """Whether the daemons of all nodes that were not removed live."""
        return all(node.is_alive() for node in self.list_all_nodes())

    def shutdown(self) -> None:
        """Ends all nodes. Calling it again does nothing."""
        atexit.unregister(self.shutdown)
        for node in self.list_all_nodes():
            self.remove_node(node)


def _start(sizes: dict[str, float | None], resources: dict[str, float], labels: dict[str, str]) -> ClusterNode:
    # Short, because the socket in it must fit an address of about 100 bytes.
    folder = Path(tempfile.mkdtemp(prefix="shoal-cluster-", dir=os.environ.get("RAY_TMPDIR")))
    session = folder / "session"
    command = [sys.executable, "-c", _LAUNCH, "--session-folder", str(session)]
    for name, value in sizes.items():
        if value is not None:
            command += [f"--{name}", str(value)]
    command += ["--resources", json.dumps(resources), "--labels", json.dumps(labels)]
    with (folder / "node.log").open("wb") as log:
        daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    return ClusterNode(session, daemon)
