"""Actors whose methods run on threads: one thread for an ordinary actor, a pool for max_concurrency > 1 and for each group."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from shoal import _kernel
from shoal.core.native.actors import DEFAULT_GROUP

if TYPE_CHECKING:
    from shoal.core.descriptors import ClassSpec
    from shoal.core.native.execution import Handlers
    from shoal.core.options import ActorOptions


def serve(queues: dict[str, int], spec: ClassSpec, options: ActorOptions, handlers: Handlers) -> None:
    """Serves every mailbox until it is closed; the default group on this thread."""
    limits = {DEFAULT_GROUP: options.concurrency(False), **spec.concurrency_groups}
    threads = []
    for group, queue in queues.items():
        extra = limits[group] - 1 if group == DEFAULT_GROUP else limits[group]
        threads += [threading.Thread(target=_serve_one, args=(queue, handlers), daemon=True) for _ in range(extra)]
    for thread in threads:
        thread.start()
    _kernel.run(queues[DEFAULT_GROUP], handlers, True)
    for thread in threads:
        thread.join()


def _serve_one(queue: int, handlers: Handlers) -> None:
    _kernel.activate()
    try:
        _kernel.run(queue, handlers, True)
    finally:
        _kernel.deactivate()
