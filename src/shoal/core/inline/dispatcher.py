"""Who runs what in inline mode.

``run_ready`` runs, on the calling thread, everything that can run now: actors whose constructor arguments are there, tasks,
calls of ordinary actors. Whoever submits calls it, so work runs at once and in order. Async actors and actors with several
threads have threads of their own (``services``); what the end of one of their calls makes ready (a task that waits for its
result) runs on a thread made for it, since theirs must go on. So does a stream with backpressure: it waits for its reader."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from shoal import _kernel, exceptions
from shoal.core.inline.handlers import InlineHandlers
from shoal.core.inline.node import Place
from shoal.core.inline.scheduling import Scheduling, refused
from shoal.core.native import environments
from shoal.core.native.spill_folders import SpillFolders
from shoal.core.native.worker import function_of
from shoal.core.serialization import dumps_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from shoal._kernel import Task
    from shoal.core.inline.actors import InlineActor
    from shoal.core.inline.engine import InlineEngine
    from shoal.core.inline.node import InlineNode
    from shoal.core.native import messages

logger = logging.getLogger("shoal")

ENDING_TIMEOUT_S = 5.0
DEAD_KEPT = 1000


class Dispatcher:
    """All work of the session. Locks are held for bookkeeping only, never while user code runs."""

    engine: InlineEngine

    def __init__(self, node: InlineNode) -> None:
        self.scheduling = Scheduling(node.facts["resources"], node.labels, node.node_id.hex())
        self.running: list[messages.RegisterClass] = []
        self.dead: list[InlineActor] = []
        self._lock = threading.RLock()
        self._queues: dict[int, messages.RegisterClass] = {}
        self._actors: dict[int, InlineActor] = {}
        self._names: dict[tuple[str, str], InlineActor] = {}
        self._waiting: list[InlineActor] = []  # ready but for their placement group
        self._threads: list[threading.Thread] = []
        self._here = threading.local()
        self._ended = False
        self._spill_folders = SpillFolders(node.facts["spill_folders"])
        self._handlers = InlineHandlers(function_of, Place(is_worker=True), self)

    # -- work
    def serve(self, queue: int, request: messages.RegisterClass) -> None:
        """Tasks of ``queue`` run under ``request``."""
        self._queues[queue] = request

    def run_ready(self) -> None:
        """Runs what can run now, and what that makes ready."""
        outer = getattr(self._here, "running", False)
        self._here.running = True
        try:
            while not self._ended and self._step():
                continue
        finally:
            self._here.running = outer
        for text in () if self._ended else self._spill_folders.news():
            logger.warning("%s", text)

    def run_elsewhere(self) -> None:
        """The same, on a thread made for it, when there is something and this thread is not running what is ready anyhow."""
        if not getattr(self._here, "running", False) and self._has_ready():
            self.start_thread(self.run_ready, "shoal-inline")

    def start_thread(self, body: Callable[[], None], name: str) -> None:
        with self._lock:
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            thread = threading.Thread(target=body, name=name, daemon=True)
            self._threads.append(thread)
        thread.start()

    def _has_ready(self) -> bool:
        return not self._ended and (
            _kernel.queue_length(_kernel.CONTROL_QUEUE) > 0
            or any(_kernel.queue_length(queue) > 0 for queue in list(self._queues))
            or any(actor.has_waiting() for actor in list(self._actors.values()))
        )

    def _step(self) -> bool:
        found = self._take_actors()
        for queue, request in list(self._queues.items()):
            if self.scheduling.is_waiting(request.placement_group):
                continue
            while (task := _kernel.take(queue)) is not None:
                found = True
                self._run(task, request)
        for actor in list(self._actors.values()):
            found = actor.run_waiting() or found
        return found

    def _run(self, task: Task, request: messages.RegisterClass) -> None:
        if self._handlers.call_of(task.function).pauses:
            self.start_thread(lambda: self._execute(task, request), "shoal-stream")
        else:
            self._execute(task, request)

    def _execute(self, task: Task, request: messages.RegisterClass) -> None:
        self.running.append(request)
        try:
            self._handlers_of(request).execute(task)
        finally:
            self.running.remove(request)

    def _handlers_of(self, request: messages.RegisterClass) -> InlineHandlers:
        """They share what is loaded, and differ in what the code is told of its place."""
        place = self.place(Place(is_worker=True), request)
        return self._handlers.at(place)

    def place(self, place: Place, request: messages.RegisterClass) -> Place:
        """``place`` with what its class says."""
        captured = environments.decode(request.runtime_env).get(environments.CAPTURED_GROUP)
        group = request.placement_group or None
        return place.changed(
            resources=dict(request.resources), placement_group=group, captures_child_tasks=captured is not None
        )

    # -- actors
    def add_actor(self, actor: InlineActor) -> None:
        """Raises RequestFailed when the name is taken."""
        ask = actor.request
        with self._lock:
            holder = self._names.get((ask.namespace, ask.name)) if ask.name else None
            if holder is not None:
                failure = refused("name_taken", f"the name {ask.name!r} is taken")
                failure.handle = holder.request.handle
                raise failure
            if ask.name:
                self._names[ask.namespace, ask.name] = actor
            self._actors[ask.record] = actor

    def forget_actor(self, actor: InlineActor) -> None:
        """It is dead."""
        ask = actor.request
        with self._lock:
            if self._names.get((ask.namespace, ask.name)) is actor:
                del self._names[ask.namespace, ask.name]
            self._actors.pop(ask.record, None)
            self.dead = [*self.dead[-DEAD_KEPT + 1 :], actor]

    def actors(self) -> list[InlineActor]:
        return list(self._actors.values())

    def named_actor(self, name: str, namespace: str) -> InlineActor | None:
        return self._names.get((namespace, name))

    def names(self, namespace: str | None) -> list[tuple[str, str]]:
        return [key for key in list(self._names) if namespace is None or key[0] == namespace]

    def _take_actors(self) -> bool:
        """Actors that may start, and those whose last handle is gone."""
        found = False
        while True:
            record, ready, unreferenced = _kernel.pop_control()
            if not record:
                break
            found = True
            actor = self._actors.get(record)
            if actor is None:
                _kernel.release(record) if unreferenced else None
                continue
            if ready:
                self._waiting.append(actor)
            if unreferenced:
                actor.unreferenced()
        for actor in list(self._waiting):
            if not self.scheduling.is_waiting(actor.creation.placement_group):
                self._waiting.remove(actor)
                actor.start()
                found = True
        return found

    # -- placement groups
    def remove_group(self, group_id: bytes) -> None:
        """What waits for the group fails, its actors end."""
        if not self.scheduling.remove(group_id):
            return
        for queue, request in list(self._queues.items()):
            if request.placement_group == group_id:
                _kernel.close_queue(queue, dumps_error(exceptions.TaskPlacementGroupRemoved()))
        for actor in self.actors():
            if actor.creation.placement_group == group_id:
                text = "The actor is dead because its placement group was removed"
                died = exceptions.ActorDiedError(text, actor_id=actor.request.actor_id.hex())
                actor.end(died if actor.state == "ALIVE" else exceptions.ActorPlacementGroupRemoved())
        self.run_ready()

    # -- the end
    def shutdown(self) -> None:
        """Ends all actors and waits for the threads. One that does not come back from user code is left behind."""
        self._ended = True
        for actor in self.actors():
            actor.end(exceptions.ActorDiedError("The session has ended."))
        for queue in self._queues:
            _kernel.close_queue(queue, dumps_error(exceptions.WorkerCrashedError("The session has ended.")))
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(ENDING_TIMEOUT_S)
