"""A node that stands alone: ``python -m shoal.node --session-folder DIR``. Drivers come and go; SIGTERM ends it."""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

from shoal.core.native.daemon_process import NodeOptions, node_config


def configuration(arguments: list[str]) -> dict[str, Any]:
    """The daemon's configuration, from the command line. Ends the process with a message when it makes no sense."""
    parser = argparse.ArgumentParser(prog="python -m shoal.node", description=__doc__)
    parser.add_argument("--session-folder", required=True, help="made with mode 0700; holds daemon.sock and logs")
    parser.add_argument("--num-cpus", type=float, help="default: the cores of this machine")
    parser.add_argument("--num-gpus", type=float, help="default: the GPUs of this machine")
    parser.add_argument("--object-store-memory", type=int, metavar="BYTES", help="default: 30 %% of the memory")
    parser.add_argument("--memory", type=int, metavar="BYTES", help="default: what the machine has left")
    parser.add_argument("--resources", type=json.loads, default={}, metavar="JSON", help='custom ones, like {"disk": 2}')
    parser.add_argument("--labels", type=json.loads, default={}, metavar="JSON", help='like {"zone": "a"}')
    parser.add_argument(
        "--object-spilling-directory",
        action="append",
        default=[],
        metavar="DIR",
        help="where values go that memory has no room for; given several times, the folders share them",
    )
    parser.add_argument("--keep-logs", action="store_true", help="leave logs/ behind at the end")
    parser.add_argument("--worker-module", default="shoal.core.native.worker", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    node = NodeOptions(
        options.num_cpus,
        options.num_gpus,
        memory_bytes=options.memory,
        object_store_bytes=options.object_store_memory,
        resources=options.resources,
        labels=options.labels,
        spill_directories=tuple(os.path.abspath(each) for each in options.object_spilling_directory),
    )
    folder = os.path.abspath(options.session_folder)
    config = node_config(node, folder)
    config["keep_logs"] = options.keep_logs
    config["worker_module"] = options.worker_module
    del config["parent_pid"]
    return config
