"""Actors as their callers see them: making them, calling them, passing handles on, finding them by name."""

from __future__ import annotations

import pickle
import struct
import threading
import weakref
from typing import TYPE_CHECKING, Any

from shoal import _kernel
from shoal.core import serialization
from shoal.core.actor_handle import ActorMethod
from shoal.core.native import calls, exports, messages
from shoal.core.native.classes import InfeasibleError, chosen_group
from shoal.core.native.control import RequestFailed
from shoal.core.native.streams import stream_of
from shoal.core.native.tasks import retried, submitter
from shoal.core.record import Record
from shoal.core.serialization import UnpicklableError
from shoal.core.session import current_session
from shoal.exceptions import ActorAlreadyExistsError, ActorDiedError, ActorHandleNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable

    from shoal._kernel import ObjectRef
    from shoal.core.descriptors import ClassSpec, MethodSpec
    from shoal.core.native.engine import NativeEngine
    from shoal.core.options import ActorOptions, CallOptions

DEFAULT_GROUP = ""


class Address(Record):
    """Where an actor's record is. Counts nothing: ``uid`` tells whether the record is still this actor's."""

    record: int
    uid: int


class Mailboxes:
    """The ways to one actor from this process. All its handles here share them: calls through any keep their order."""

    def __init__(self, address: Address, spec: ClassSpec, options: ActorOptions, queues: dict[str, int]) -> None:
        ordered = options.in_order(spec.is_async)
        self.of_group = {
            group: _kernel.Mailbox(queue, address.record, address.uid, ordered, options.pending_limit)
            for group, queue in queues.items()
        }


class NativeActorState:
    """What handles of one actor in this process share. Those that count have one, with ``ref``; weak ones have another."""

    def __init__(
        self,
        ref: ObjectRef | Address,
        actor_id: bytes,
        spec: ClassSpec,
        options: ActorOptions,
        queues: dict[str, int],
        mailboxes: Mailboxes | None = None,
    ) -> None:
        self.is_weak = isinstance(ref, Address)
        self.address = Address(ref.record, ref.uid)
        self.ref = None if isinstance(ref, Address) else ref
        self.actor_id = actor_id
        self.spec = spec
        self.options = options
        self.queues = queues
        self.mailboxes = mailboxes or Mailboxes(self.address, spec, options, queues)
        self.submitters: dict[Any, Callable[..., Any]] = {}


class Actors:
    """The actors this process has handles of."""

    state_class = NativeActorState

    def __init__(self, engine: NativeEngine) -> None:
        self._engine = engine
        self._lock = threading.RLock()
        # By id and whether they are those of weak handles.
        self._known: weakref.WeakValueDictionary[tuple[bytes, bool], NativeActorState] = weakref.WeakValueDictionary()
        self._class_records: weakref.WeakKeyDictionary[ClassSpec, ObjectRef] = weakref.WeakKeyDictionary()

    def create(self, spec: ClassSpec, args: tuple[Any, ...], kwargs: dict[str, Any], options: ActorOptions) -> NativeActorState:
        """Starts an actor, or returns the one that has the name already when ``get_if_exists``."""
        engine = self._engine
        namespace = options.namespace or engine.namespace
        if options.get_if_exists and options.name:
            found = self._named(options.name, namespace, is_weak=False)
            if found is not None:
                return found
        self._check_group(spec, options)
        groups = [DEFAULT_GROUP, *spec.concurrency_groups]
        queues = {group: _kernel.create_queue(_kernel.my_slot(), 0, True) for group in groups}
        try:
            ref = _kernel.create_actor_record(self._class_record(spec), args, kwargs, list(queues.values()))
        except UnpicklableError as error:
            if error.role == "value":
                raise error.named("argument", f" for a task or actor {exports.qualified_name(spec.cls)}.__init__") from None
            raise
        actor_id = struct.pack("<Q", ref.uid) + _kernel.session_id()[:4] + engine.job_id
        state = self.state_class(ref, actor_id, spec.without_class(), options, queues)
        try:
            message = self._creation(state, namespace)
        except InfeasibleError as failure:
            self._never(state, failure.error)
            return state
        try:
            engine.control.request(message) if options.name else engine.control.send(message)
        except RequestFailed as failure:
            self._never(state, failure)
            if failure.kind == "name_taken":
                if options.get_if_exists:
                    return self._import_named(failure.handle, is_weak=False)
                raise ActorAlreadyExistsError(
                    f"The name {options.name} (namespace={namespace}) is already taken. Please use a different name, "
                    f"or get that actor with get_actor({options.name!r}, namespace={namespace!r}), or pass get_if_exists=True."
                ) from None
            raise ValueError(str(failure)) from failure
        with self._lock:
            self._known[actor_id, False] = state
        _kernel.start_actor(ref)
        return state

    def method_submitter(self, state: NativeActorState, method: MethodSpec, options: CallOptions) -> Callable[..., Any]:
        """The kernel's callable for one method; one for all handles of the process."""
        key = (method.name, options) if _hashable(options) else None
        known = state.submitters.get(key) if key is not None else None
        if known is not None:
            return known
        group = options.concurrency_group or method.options.concurrency_group or DEFAULT_GROUP
        returns = options.returns(method.is_generator)
        backpressure = options.backpressure if options.backpressure > 0 else state.options.actor_backpressure
        call = calls.Call(
            kind=calls.METHOD,
            name=options.name or f"{state.spec.name}.{method.name}",
            code=None,
            method=method.name,
            task_name=options.name or f"{state.spec.name}.{method.name}",
            returns_dynamic=returns == "dynamic",
            retry_exceptions=retried(options.retried_exceptions),
            group=group,
            pauses=backpressure > 0,
            is_told=options.is_told(state.options),
        )
        retries = options.retry_limit(state.options)
        made = submitter(
            self._engine.exports.call(call),
            queue=0,
            mailbox=state.mailboxes.of_group[group],
            signature=method.signature,
            name=f"{state.spec.name}.{method.name}",
            subject=f"{state.spec.module}.{state.spec.name}.{method.name}",
            fallback=_fallback(state, method, options),
            retries=retries,
            retry_exceptions=bool(options.retried_exceptions) and retries != 0,
            returns=returns,
            backpressure=backpressure,
            actor=state.ref,
            gone=_gone(state, returns) if state.is_weak else None,
        )
        if key is not None:
            state.submitters[key] = made
        return made

    def named(self, name: str, namespace: str) -> NativeActorState:
        """For a weak handle, which does not keep the actor. Raises ValueError when no live actor has the name."""
        found = self._named(name, namespace, is_weak=True)
        if found is None:
            raise ValueError(
                f"Failed to look up actor with name '{name}'. This could because 1. You are trying to look up a named actor "
                f"you didn't create. 2. The named actor died. 3. You did not use a namespace matching the namespace of the "
                f"actor (here {namespace!r})."
            )
        return found

    def export(self, state: NativeActorState) -> tuple[Any, ...]:
        return state.ref or state.address, state.actor_id, state.spec, state.options, state.queues

    def restore(self, exported: tuple[Any, ...]) -> NativeActorState:
        """The state for a handle that arrived: the one this process has, if it has one."""
        ref, actor_id, spec, options, queues = exported
        is_weak = isinstance(ref, Address)
        with self._lock:
            known = self._known.get((actor_id, is_weak))
            if known is None:
                other = self._known.get((actor_id, not is_weak))
                mailboxes = None if other is None else other.mailboxes
                known = self.state_class(ref, actor_id, spec, options, queues, mailboxes)
                self._known[actor_id, is_weak] = known
            return known

    def restore_own(
        self, record: int, actor_id: bytes, spec: ClassSpec, options: ActorOptions, queues: dict[str, int]
    ) -> Callable[[], NativeActorState]:
        """For the actor's own process: how to make a handle of itself, a weak one: another would keep it alive."""
        own = Address(record, _kernel.record_uid(record)), actor_id, spec, options, queues
        return lambda: self.restore(own)

    def known_mailboxes(self) -> list[int]:
        """Of every actor that this process has a handle of."""
        with self._lock:
            return [queue for state in list(self._known.values()) for queue in state.queues.values()]

    def _named(self, name: str, namespace: str, is_weak: bool) -> NativeActorState | None:
        try:
            answer = self._engine.control.request(messages.NamedActor(name=name, namespace=namespace))
        except RequestFailed as failure:
            if failure.kind == "not_found":
                return None
            raise ValueError(str(failure)) from failure
        assert isinstance(answer, messages.ActorInfo)
        try:
            return self._import_named(answer.handle, is_weak)
        except ValueError:
            return None  # its last handle went at this moment

    def _import_named(self, handle: bytes, is_weak: bool) -> NativeActorState:
        record, uid, actor_id, spec, options, queues = pickle.loads(handle)
        ref = _kernel.hold(record)
        if ref.uid != uid:
            raise ValueError("the actor is gone")
        return self.restore((Address(record, uid) if is_weak else ref, actor_id, spec, options, queues))

    def _creation(self, state: NativeActorState, namespace: str) -> messages.CreateActor:
        options, spec, engine = state.options, state.spec, self._engine
        group = engine.captured_group()
        chosen = chosen_group(options.scheduling_strategy, group)
        classes = engine.classes
        handle = pickle.dumps((state.address.record, state.address.uid, state.actor_id, state.spec, options, state.queues))
        facts = (
            state.address.record,
            state.actor_id,
            state.spec,
            options,
            namespace,
            state.queues,
            engine.namespace,
            b"" if chosen is None else chosen.group_id,
        )
        return messages.CreateActor(
            record=state.address.record,
            uid=state.address.uid,
            actor_id=state.actor_id,
            creation_class_id=classes.actor_class(options.placement_request(), options, group),
            running_class_id=classes.actor_class(options.running_request(), options, group),
            mailboxes=list(state.queues.values()),
            spec=serialization.dumps(facts),
            owner_slot=_kernel.my_slot(),
            name=options.name or "",
            namespace=namespace,
            class_name=spec.name,
            detached=options.is_detached or (options.lifetime is None and engine.actors_are_detached),
            max_restarts=options.restart_limit,
            max_concurrency=options.concurrency(spec.is_async),
            handle=handle,
        )

    def _check_group(self, spec: ClassSpec, options: ActorOptions) -> None:
        """Raises ValueError when the actor fits no bundle of the placement group it is to run in."""
        chosen = chosen_group(options.scheduling_strategy, self._engine.captured_group())
        if chosen is not None:
            for request in (options.placement_request(), options.running_request()):
                chosen.check_fits(request, spec.cls.__qualname__ if spec.cls is not None else spec.name)

    def _class_record(self, spec: ClassSpec) -> ObjectRef:
        known = self._class_records.get(spec)
        if known is None:
            code = self._engine.exports.code(spec.cls, f"actor {spec.name}")
            call = calls.Call(kind=calls.CLASS, name=f"{spec.name}.__init__", code=code, method="__init__")
            known = self._class_records[spec] = self._engine.exports.call(call)
        return known

    def _never(self, state: NativeActorState, error: Exception) -> None:
        """The actor will not start: its calls fail with the error."""
        report = serialization.dumps_error(error)
        _kernel.end_actor(state.address.record)
        for queue in state.queues.values():
            _kernel.close_queue(queue, report)
        _kernel.fail_record(state.address.record, report)


def _fallback(state: NativeActorState, method: MethodSpec, options: CallOptions) -> Callable[..., Any]:
    """The slow way to call ``method``. It must not keep ``state``, which keeps the submitter: the actor would never end."""
    weak, made_in = weakref.ref(state), current_session()

    def call(*args: Any, **kwargs: Any) -> Any:
        living = weak()
        if living is None:
            raise ActorHandleNotFoundError(f"the actor whose method {method.name} is called has no handle left in this process")
        return ActorMethod(living, method, options, made_in).remote(*args, **kwargs)

    return call


def _gone(state: NativeActorState, returns: Any) -> Callable[[], Any]:
    """What calls through a weak handle return when the actor's record is gone. It must not keep ``state``, as ``_fallback``."""
    name, actor_id = state.spec.name, state.actor_id.hex()

    def results() -> Any:
        error = ActorDiedError(
            f"The actor is dead because all handles that count for it are gone. This handle of {name} was got by name, or from "
            "the actor itself: such handles do not keep an actor alive.",
            actor_id=actor_id,
            facts={"class_name": name, "actor_id": actor_id},
        )
        report = serialization.dumps_error(error)
        if isinstance(returns, int) and returns != 1:
            return [_failed(report) for _ in range(returns)] or None
        return stream_of(_failed(report)) if returns == "streaming" else _failed(report)

    return results


def _failed(report: bytes) -> ObjectRef:
    ref = _kernel.put_value(None)
    _kernel.replace_value(ref, report)
    return ref


def _hashable(options: CallOptions) -> bool:
    try:
        hash(options)
    except TypeError:
        return False
    return True
