"""The inline engine: everything the native engine does, with this process in the place of daemon and workers.

Values, references, counts, queues and records are the kernel's, in an arena that only this process maps. So what a task gets is
a copy, numpy arrays are read-only, and streams, retries and errors are the cluster's own. What differs is who executes: a
call returns after ``Dispatcher.run_ready`` has run all that it made ready."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shoal.core.inline.actors import InlineActors, InlineActorState
from shoal.core.inline.control import InlineControl
from shoal.core.inline.dispatcher import Dispatcher
from shoal.core.inline.scheduling import InlineClasses
from shoal.core.native import context
from shoal.core.native.engine import NativeEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shoal._kernel import ObjectRef
    from shoal.core.descriptors import ClassSpec, FunctionSpec, MethodSpec
    from shoal.core.inline.node import InlineNode
    from shoal.core.native.actors import NativeActorState
    from shoal.core.options import ActorOptions, CallOptions, TaskOptions


class InlineEngine(NativeEngine):
    """The engine of a driver in inline mode."""

    def __init__(self, node: InlineNode, *, namespace: str, job: int, actors_are_detached: bool) -> None:
        self.dispatcher = Dispatcher(node)
        control: Any = InlineControl(self.dispatcher, node)
        super().__init__(control, node, namespace=namespace, job=job, actors_are_detached=actors_are_detached)
        self.dispatcher.engine = self
        self.classes = InlineClasses(control, self.dispatcher)
        self.actors = InlineActors(self)

    def preload(self) -> None:
        """Nothing is forked."""

    # -- work
    def task_submitter(self, function: FunctionSpec, options: TaskOptions) -> Callable[..., Any]:
        submitter = _TaskSubmitter(self, function, options)
        submitter.check()
        return submitter

    def create_actor(
        self, spec: ClassSpec, args: tuple[Any, ...], kwargs: dict[str, Any], options: ActorOptions
    ) -> NativeActorState:
        state = super().create_actor(spec, args, kwargs, options)
        self.dispatcher.run_ready()
        return state

    def method_submitter(self, actor: NativeActorState, method: MethodSpec, options: CallOptions) -> Callable[..., Any]:
        assert isinstance(actor, InlineActorState)
        return actor.call(super().method_submitter(actor, method, options))

    def submit_task(self, function: FunctionSpec, options: TaskOptions) -> Callable[..., Any]:
        """The kernel's callable, which only queues the task."""
        return super().task_submitter(function, options)

    # -- ending work
    def free(self, refs: Sequence[ObjectRef]) -> None:
        super().free(refs)
        self.dispatcher.run_ready()

    def cancel(self, ref: Any, force: bool, recursive: bool) -> None:
        super().cancel(ref, force, recursive)
        self.dispatcher.run_ready()

    def kill_actor(self, actor: NativeActorState, no_restart: bool) -> None:
        super().kill_actor(actor, no_restart)
        self.dispatcher.run_ready()

    def shutdown(self) -> None:
        super().shutdown()
        context.calls_by_function.clear()  # the numbers of call records begin anew in the next session


class _TaskSubmitter:
    """Submits a function's tasks and runs them. What code in a placement group starts may belong to the group, and all code
    shares this object: so there is one kernel submitter for each group."""

    def __init__(self, engine: InlineEngine, function: FunctionSpec, options: TaskOptions) -> None:
        self._engine = engine
        self._function = function
        self._options = options
        self._by_group: dict[bytes | None, Callable[..., Any]] = {}

    def check(self) -> None:
        """Raises what can be known before the first call."""
        self._submitter()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        result = self._submitter()(*args, **kwargs)
        self._engine.dispatcher.run_ready()
        return result

    def _submitter(self) -> Callable[..., Any]:
        group = self._engine.captured_group()
        known = self._by_group.get(group)
        if known is None:
            known = self._by_group[group] = self._engine.submit_task(self._function, self._options)
        return known
