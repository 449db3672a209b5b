"""Starting inline mode: an arena and a session folder, but no other process."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from shoal import _kernel
from shoal.core.inline.engine import InlineEngine
from shoal.core.inline.node import InlineNode
from shoal.core.native import hooks, spill_folders
from shoal.core.native.daemon_process import NodeOptions, node_config

if TYPE_CHECKING:
    from shoal.core.init_options import InitOptions

JOB = 1


def start(options: InitOptions) -> InlineEngine:
    """The engine of a driver in inline mode. Raises NotImplementedError for a ``runtime_env``: it needs processes."""
    env = options.effective_runtime_env
    if env:
        raise NotImplementedError(f"inline mode has no workers to set up a runtime_env for, but got runtime_env={dict(env)!r}")
    config = node_config(NodeOptions.of(options))
    # The arena is this process's alone: nobody is given its descriptor.
    os.set_inheritable(
        _kernel.create_arena(
            config["capacity_bytes"],
            spill_folders.joined(config["spill_folders"]),
            config["cores"],
            bytes.fromhex(config["session_id"]),
        ),
        False,
    )
    _kernel.set_slot_job(_kernel.my_slot(), JOB)
    hooks.install()
    lifetime = options.job_config.default_actor_lifetime if options.job_config else None
    return InlineEngine(
        InlineNode(config, _kernel.my_slot()),
        namespace=options.effective_namespace or os.urandom(16).hex(),
        job=JOB,
        actors_are_detached=lifetime == "detached",
    )
