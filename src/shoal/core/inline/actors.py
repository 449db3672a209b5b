"""Actors in inline mode. An ordinary one runs on the thread that calls it, and has one call at a time as in a cluster; an async
one, or one with several threads, is served by threads of its own (``services``)."""

from __future__ import annotations

import functools
import os
import pickle
import threading
import traceback
from typing import TYPE_CHECKING, Any

from shoal import _kernel, exceptions
from shoal.core.actor_exit import ActorExit
from shoal.core.inline.handlers import InlineHandlers, running
from shoal.core.inline.node import Place
from shoal.core.inline.services import LoopService, ThreadService
from shoal.core.native import messages
from shoal.core.native.actors import DEFAULT_GROUP, Actors, NativeActorState
from shoal.core.native.execution import fail, fail_cancelled, left_error, task_error
from shoal.core.native.termination import send_terminate
from shoal.core.native.worker import bound_method, seal_failed
from shoal.core.serialization import dumps_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from shoal._kernel import Task
    from shoal.core.inline.dispatcher import Dispatcher
    from shoal.core.inline.engine import InlineEngine

NO_HANDLES = "all handles to it are gone"


class MethodSubmitter:
    """Submits a method's calls and runs them. Handles keep it, and it keeps a count of the actor until it is forgotten."""

    def __init__(self, submitter: Callable[..., Any], dispatcher: Dispatcher) -> None:
        self._submitter: Callable[..., Any] | None = submitter
        self._dispatcher = dispatcher

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        assert self._submitter is not None
        result = self._submitter(*args, **kwargs)
        self._dispatcher.run_ready()
        return result

    def forget(self) -> None:
        """The last handle is gone."""
        self._submitter = None


class InlineActorState(NativeActorState):
    """Handles of an actor share it. When the last is gone the actor is told at once: no daemon would tell it later."""

    dispatcher: Dispatcher

    def call(self, submitter: Callable[..., Any]) -> MethodSubmitter:
        """One for each of the kernel's."""
        calls: dict[Any, MethodSubmitter] = self.__dict__.setdefault("calls", {})
        return calls.setdefault(submitter, MethodSubmitter(submitter, self.dispatcher))

    def __del__(self) -> None:
        # What holds counts of the actor goes first.
        for call in self.__dict__.pop("calls", {}).values():
            call.forget()
        self.submitters.clear()
        self.__dict__.pop("ref", None)
        if _kernel.attached():
            self.dispatcher.run_ready()


class InlineActors(Actors):
    """The driver's handles."""

    def __init__(self, engine: InlineEngine) -> None:
        super().__init__(engine)
        # A class for each session: states outlive theirs, and must not run a later one's work.
        dispatcher_of_session = engine.dispatcher

        class OfSession(InlineActorState):
            dispatcher = dispatcher_of_session

        self.state_class = OfSession


class InlineActor:
    """One actor, from its creation to its end: DEPENDENCIES_UNREADY -> PENDING_CREATION -> ALIVE -> DEAD."""

    def __init__(self, dispatcher: Dispatcher, request: messages.CreateActor) -> None:
        record, actor_id, spec, options, _namespace, queues, _job_namespace, _group = pickle.loads(request.spec)
        self.request = request
        self.spec = spec
        self.queues: dict[str, int] = queues
        self.limits = {DEFAULT_GROUP: options.concurrency(spec.is_async), **spec.concurrency_groups}
        self.state = "DEPENDENCIES_UNREADY"
        self.death: exceptions.RayError | None = None
        self.creation = dispatcher.scheduling.class_of(request.creation_class_id)
        self._running_class = dispatcher.scheduling.class_of(request.running_class_id)
        self._dispatcher = dispatcher
        self._instance: Any = None
        self._lock = threading.RLock()
        self._busy = threading.Lock()
        self._detached = request.detached and _kernel.keep(record)  # no handle is needed to keep it
        self._counted = False  # its last handle is gone: that count of the record is ours, to be given back at the end
        self._leaving = False
        self.place = dispatcher.place(
            Place(
                is_worker=True,
                actor_id=actor_id,
                actor_name=options.name or "",
                is_async_actor=spec.is_async,
                class_path=f"{spec.module}.{spec.name}",
                describe=lambda: str(spec.name),
                own_state=dispatcher.engine.actors.restore_own(record, actor_id, spec, options, queues),
            ),
            self._running_class,
        )
        self.handlers = _ActorHandlers(self, dispatcher)
        self._service = self._make_service()

    @property
    def instance(self) -> Any:
        return self._instance

    @property
    def class_held(self) -> messages.RegisterClass | None:
        """What it holds now."""
        return {"PENDING_CREATION": self.creation, "ALIVE": self._running_class}.get(self.state)

    def info(self) -> messages.ActorInfo:
        ask = self.request
        return messages.ActorInfo(
            ask.actor_id,
            ask.record,
            ask.uid,
            self.state,
            ask.name,
            ask.namespace,
            ask.class_name,
            os.getpid() if self.state == "ALIVE" else 0,
            self.place.restarts,
            ask.max_restarts,
            ask.detached,
            list(ask.mailboxes),
            ask.handle,
            str(self.death or ""),
        )

    # -- the beginning
    def start(self) -> None:
        """Its arguments are there: constructs it, on this thread unless it has an event loop."""
        if self.state != "DEPENDENCIES_UNREADY":
            return
        self.state = "PENDING_CREATION"
        if self._service is not None:
            self._service.start()
        else:
            self.construct()

    def construct(self) -> bool:
        """False: the constructor failed, and the actor has ended."""
        name, record = self.spec.name, self.request.record
        with running(self.place, None, None):
            try:
                actor_class = _kernel.get(_kernel.get(_kernel.function_ref(record)).code)
                args = _kernel.actor_args(record)
                if not isinstance(args, tuple):
                    _kernel.get(args)  # raises what the argument holds
                self._instance = instance = actor_class(*args[0], **args[1])
            except ActorExit:
                error = exceptions.ActorDiedError("The actor exited in its constructor: exit_actor() was called.")
                return self._construction_failed(error)
            except SystemExit as exit_request:
                error = exceptions.ActorDiedError(f"The constructor called sys.exit({exit_request.code!r}).")
                return self._construction_failed(error)
            except BaseException as cause:
                self._construction_failed(exceptions.ActorDiedError(task_error(cause, f"{name}.__init__")))
                if isinstance(cause, KeyboardInterrupt):
                    raise  # Ctrl-C is meant for the driver
                return False
        _kernel.seal_actor(record, None, False)
        self.place.describe = lambda: repr(instance)
        if self.spec.is_async:
            self.place.method_path = lambda name: f"{self.spec.module}.{getattr(type(instance), name).__qualname__}"
        self.state = "ALIVE"
        if self._counted:
            self._terminate()
        return True

    def _construction_failed(self, error: exceptions.ActorDiedError) -> bool:
        seal_failed(self.request.record, error)
        self.end(error)
        return False

    def _make_service(self) -> ThreadService | LoopService | None:
        if self.spec.is_async:
            return LoopService(self, self._dispatcher)
        return ThreadService(self, self._dispatcher) if self.limits != {DEFAULT_GROUP: 1} else None

    # -- calls of an ordinary actor
    def has_waiting(self) -> bool:
        """Whether ``run_waiting`` would find a call, unless another thread is in the actor."""
        return (
            self._service is None
            and self.state == "ALIVE"
            and not self._busy.locked()
            and _kernel.queue_length(self.queues[DEFAULT_GROUP]) > 0
        )

    def run_waiting(self) -> bool:
        """Runs the calls that wait, unless it is running one: whoever does goes on with them. Whether there were any."""
        if not self.has_waiting() or not self._busy.acquire(blocking=False):
            return False
        found = handed_over = False
        try:
            while self.state == "ALIVE" and (task := _kernel.take(self.queues[DEFAULT_GROUP])) is not None:
                found = True
                if self.handlers.call_of(task.function).pauses:
                    handed_over = True
                    self._dispatcher.start_thread(functools.partial(self._run_apart, task), "shoal-stream")
                    return True
                self.handlers.execute(task)
        finally:
            if not handed_over:
                self._busy.release()
        return found or self.has_waiting()

    def _run_apart(self, task: Task) -> None:
        """A call that waits for its reader, on a thread of its own: the actor is busy until it ends."""
        try:
            self.handlers.execute(task)
        finally:
            self._busy.release()
        self._dispatcher.run_elsewhere()

    # -- the end
    def unreferenced(self) -> None:
        """Its last handle is gone. It ends when the calls that wait are done; one count of its record is ours now."""
        self._counted = True
        if self.state == "ALIVE":
            self._terminate()
        elif self.state != "DEAD" and not any(map(_kernel.queue_length, self.queues.values())):
            self.end(self.died(NO_HANDLES))

    def kill(self, no_restart: bool) -> None:
        """What ``kill`` asks for. A call that runs on another thread can't be cut short; one of an event loop is cancelled."""
        if no_restart or not self._may_restart():
            self.end(self.died("it was killed by `ray.kill`"))
        elif self._service is not None:
            self._service.run(self._restart)
        else:
            self._restart()

    def leave(self, task: Task, error: ActorExit) -> None:
        """The call ends the actor."""
        if task.num_returns == 0:
            task.complete(None)
        else:
            fail(task, left_error(error))
        self.left()

    def left(self) -> None:
        """It ends by itself: its own hook is called."""
        instance = self._instance
        hook = getattr(instance, "__ray_shutdown__", None)
        if callable(hook) and self.state == "ALIVE":
            try:
                hook()
            except Exception:
                traceback.print_exc()
        text = NO_HANDLES if self._leaving else "it left by itself: exit_actor() or sys.exit(0) was called"
        self.end(self.died(text))

    def crash(self, task: Task, how: str) -> None:
        """The call has done what would end its process: the actor is restarted, or ends."""
        if not self._may_restart():
            error = self.died(how)
            fail(task, error)
            self.end(error)
            return
        if not task.retries_left:
            text = f"it is being restarted ({how})"
            fail(task, exceptions.ActorUnavailableError(text, self.request.actor_id))
        elif not task.retry():
            fail_cancelled(task)
        self._restart()

    def end(self, error: exceptions.RayError) -> None:
        """It is dead from now on: its calls fail, its name is free."""
        with self._lock:
            if self.state == "DEAD":
                return
            self.state, self.death = "DEAD", error
        report, record = dumps_error(error), self.request.record
        if self._service is not None:
            self._service.keep_record()
        _kernel.end_actor(record)
        for queue in self.queues.values():
            _kernel.close_queue(queue, report)
        if _kernel.record_state(record) != _kernel.SEALED:
            _kernel.fail_record(record, report)
        self._dispatcher.forget_actor(self)
        if self._service is not None:
            self._service.stop()
        self._instance = None
        self.place.describe = lambda: str(self.spec.name)
        self.handlers.forget_targets()
        for _ in range(self._counted + self._detached):
            _kernel.release(record)
        self._counted = self._detached = False

    def cancel_flagged(self) -> None:
        """Some running call was cancelled."""
        if self._service is not None:
            self._service.cancel_flagged()

    def died(self, why: str) -> exceptions.ActorDiedError:
        ask = self.request
        facts = {"class_name": ask.class_name, "actor_id": ask.actor_id.hex(), "pid": os.getpid()}
        facts.update({"name": ask.name, "namespace": ask.namespace} if ask.name else {})
        return exceptions.ActorDiedError(f"The actor is dead because {why}", actor_id=ask.actor_id.hex(), facts=facts)

    def _terminate(self) -> None:
        if not self._leaving:
            self._leaving = True
            send_terminate(self.queues[DEFAULT_GROUP])

    def _may_restart(self) -> bool:
        limit = self.request.max_restarts
        return self.state == "ALIVE" and (limit < 0 or self.place.restarts < limit)

    def _restart(self) -> None:
        """A new instance in the place of the old one. The calls that wait are its."""
        self.place.restarts += 1
        self.handlers.forget_targets()
        self.construct()
        if self._service is not None:
            self._service.forget_targets()


class _ActorHandlers(InlineHandlers):
    """Executes the calls of one actor."""

    def __init__(self, actor: InlineActor, dispatcher: Dispatcher) -> None:
        super().__init__(lambda call: bound_method(actor.instance, call), actor.place, dispatcher)
        self._actor = actor

    def execute(self, task: Task) -> None:
        super().execute(task)
        if self.place.should_exit:  # the method may have caught what exit_actor() raises
            self._actor.left()

    def leave_actor(self, task: Task, error: ActorExit) -> None:
        self._actor.leave(task, error)

    def exit_requested(self, task: Task, error: SystemExit) -> None:
        if error.code == 0:
            self._actor.leave(task, ActorExit("sys.exit(0) was called."))
        else:
            self._actor.crash(task, f"it called sys.exit({error.code!r})")
