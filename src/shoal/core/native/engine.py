"""The native engine: the API's calls on the kernel and the node daemon."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from shoal import _kernel, exceptions
from shoal.core import serialization, session
from shoal.core.generators import ObjectRefGenerator
from shoal.core.native import context, messages
from shoal.core.native.actors import Actors
from shoal.core.native.classes import SchedulingClasses
from shoal.core.native.control import RequestFailed
from shoal.core.native.exports import Exports
from shoal.core.native.imports import loaded_modules
from shoal.core.native.requests import REQUESTS
from shoal.core.native.tasks import task_submitter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shoal._kernel import ObjectRef
    from shoal.core.descriptors import ClassSpec, FunctionSpec, MethodSpec
    from shoal.core.native.actors import NativeActorState
    from shoal.core.native.control import ControlClient
    from shoal.core.native.node import Node
    from shoal.core.options import ActorOptions, CallOptions, TaskOptions
    from shoal.core.runtime_env import RuntimeEnv

FOREVER = -1.0
DRIVER_JOB = 1


class NativeEngine:
    """One process's side of a node: a driver's or a worker's."""

    def __init__(
        self,
        control: ControlClient,
        node: Node,
        *,
        namespace: str,
        job: int,
        job_env: RuntimeEnv | None = None,
        actors_are_detached: bool = False,
        job_facts: dict[str, Any] | None = None,
    ) -> None:
        self.control = control
        self.node = node
        self.namespace = namespace
        self.job_id = job.to_bytes(4, "big")
        self.job_env = job_env
        self.actors_are_detached = actors_are_detached
        self.exports = Exports()
        self.classes = SchedulingClasses(control, None if job_env is None else dict(job_env), job_facts)
        self.actors = Actors(self)
        self.on_shutdown: Callable[[], None] = lambda: None
        self._preloaded: list[str] = []
        self._modules_seen = 0

    def preload(self) -> None:
        """Has later workers forked from a process that has imported what this one has. Cheap when nothing is new."""
        modules = loaded_modules()
        if modules != self._preloaded:
            self._preloaded = modules
            self.control.send(messages.PreloadModules(modules=modules))

    # -- work
    def task_submitter(self, function: FunctionSpec, options: TaskOptions) -> Callable[..., Any]:
        return task_submitter(self, function, options)

    def create_actor(
        self, spec: ClassSpec, args: tuple[Any, ...], kwargs: dict[str, Any], options: ActorOptions
    ) -> NativeActorState:
        if len(sys.modules) != self._modules_seen:
            self._modules_seen = len(sys.modules)
            self.preload()
        return self.actors.create(spec, args, kwargs, options)

    def method_submitter(self, actor: NativeActorState, method: MethodSpec, options: CallOptions) -> Callable[..., Any]:
        return self.actors.method_submitter(actor, method, options)

    def captured_group(self) -> bytes | None:
        """The placement group that tasks started here inherit."""
        return context.captured_group()

    # -- objects
    def put(self, value: Any) -> ObjectRef:
        try:
            return _kernel.put_value(value)
        except serialization.UnpicklableError as error:
            raise error.named("put value") from None

    def get(self, refs: Sequence[ObjectRef], timeout_s: float | None) -> list[Any]:
        try:
            return _kernel.get_timed(list(refs), FOREVER if timeout_s is None else timeout_s)
        except TimeoutError as error:
            if type(error) is not TimeoutError:  # a task's own
                raise
            raise exceptions.GetTimeoutError(
                f"Get timed out: some object(s) not ready: waited {timeout_s} s for {len(refs)} object(s)."
            ) from None

    def wait(
        self, refs: Sequence[Any], num_returns: int, timeout_s: float | None, fetch_local: bool
    ) -> tuple[list[Any], list[Any]]:
        records = [each.completed() if isinstance(each, ObjectRefGenerator) else each for each in refs]
        return _kernel.wait_refs(list(refs), records, num_returns, FOREVER if timeout_s is None else timeout_s)

    def free(self, refs: Sequence[ObjectRef]) -> None:
        error = serialization.dumps_error(exceptions.ObjectFreedError(""))
        for ref in refs:
            _kernel.replace_value(ref, error)

    # -- ending work
    def cancel(self, ref: Any, force: bool, recursive: bool) -> None:
        if isinstance(ref, ObjectRefGenerator):
            ref = ref.completed()
        record, uid = _kernel.task_of_ref(ref)
        if force and _kernel.record_kind(record) in context.ACTOR_CALLS:
            raise ValueError("force=True is not supported for actor tasks: kill the actor instead, or cancel without force.")
        error = serialization.dumps_error(exceptions.TaskCancelledError(ref.task_id()))
        outcome = _kernel.cancel_record(record, uid, error)
        if outcome == context.CANCEL_FLAGGED:
            self._cancel_running(record, uid, force, recursive)

    def _cancel_running(self, record: int, uid: int, force: bool, recursive: bool) -> None:
        running = [(record, uid)]
        if recursive:  # before it notices: what it submits then is to clean up
            running += _kernel.cancel_children(uid, serialization.dumps_error(exceptions.TaskCancelledError()))
        for record, uid in running:
            if force and _kernel.record_kind(record) not in context.ACTOR_CALLS:
                self.control.request(messages.KillWorkerRunning(record=record, uid=uid))
            else:
                self.control.request(messages.InterruptTask(record=record, uid=uid))

    def kill_actor(self, actor: NativeActorState, no_restart: bool) -> None:
        try:
            self.control.request(messages.KillActor(actor_id=actor.actor_id, no_restart=no_restart))
        except RequestFailed as failure:
            if failure.kind != "not_found":  # dead already, or it was never to start
                raise

    # -- actors by name
    def named_actor(self, name: str, namespace: str | None) -> NativeActorState:
        return self.actors.named(name, namespace or self.namespace)

    def list_named_actors(self, all_namespaces: bool) -> list[Any]:
        answer = self.control.request(messages.ListNamedActors(namespace=None if all_namespaces else self.namespace))
        assert isinstance(answer, messages.ActorNames)
        if all_namespaces:
            return [{"name": name, "namespace": namespace} for namespace, name in answer.names]
        return [name for _namespace, name in answer.names]

    def export_actor(self, actor: NativeActorState) -> tuple[Any, ...]:
        return self.actors.export(actor)

    def import_actor(self, exported: tuple[Any, ...]) -> NativeActorState:
        return self.actors.restore(exported)

    # -- the cluster as the user sees it
    def request(self, kind: str, /, **fields: Any) -> Any:
        handler = REQUESTS.get(kind)
        if handler is None:
            raise NotImplementedError(f"the native engine does not know the request {kind!r}")
        return handler(self, **fields)

    def runtime_context(self) -> dict[str, Any]:
        return context.facts(self)

    def shutdown(self) -> None:
        self.node.leave(self)
        self.on_shutdown()


def current_native_engine() -> NativeEngine:
    """The engine of this process, which must be a native one."""
    engine = session.require_engine()
    assert isinstance(engine, NativeEngine)
    return engine
