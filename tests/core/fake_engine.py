"""An engine that runs everything in this process: tasks when they are submitted, or when the test says so."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from typing import Any

from shoal import exceptions
from shoal.core.actor_builtins import BUILT_INS
from shoal.core.descriptors import ClassSpec, FunctionSpec, MethodSpec
from shoal.core.generators import ObjectRefGenerator
from shoal.core.object_ref import register_ref_type
from shoal.core.options import ActorOptions, CallOptions, TaskOptions

JOB_ID = b"\0\0\0\1"


class FakeRef:
    """A reference with a list of callbacks; its value is in it."""

    numbers = itertools.count(1)

    def __init__(self) -> None:
        self._binary = next(self.numbers).to_bytes(8, "big") + b"\xff" * 12 + JOB_ID + b"\0\0\0\1"
        self.outcome: tuple[Any, BaseException | None] | None = None
        self.callbacks: list[Callable[[], None]] = []

    def seal(self, value: Any = None, error: BaseException | None = None) -> None:
        self.outcome = (value, error)
        for callback in self.callbacks:
            callback()

    def value(self) -> Any:
        if self.outcome is None:
            raise exceptions.GetTimeoutError("not ready")
        value, error = self.outcome
        if error is not None:
            raise error.as_instanceof_cause() if isinstance(error, exceptions.RayTaskError) else error
        return value

    def on_sealed(self, callback: Callable[[], None]) -> None:
        if self.outcome is None:
            self.callbacks.append(callback)
        else:
            callback()

    def binary(self) -> bytes:
        return self._binary

    def hex(self) -> str:
        return self._binary.hex()


register_ref_type(FakeRef, FakeRef.on_sealed)


class FakeStream:
    def __init__(self, items: list[Any]) -> None:
        self.items = items
        self.is_finished = False
        self.completion = FakeRef()
        self.waiting: list[Callable[[], None]] = []

    def next_ref(self, timeout_s: float | None) -> Any:
        if self.items:
            return self.items.pop(0)
        self.is_finished = True
        return None

    def next_ready(self) -> bool:
        return bool(self.items)

    def finished(self) -> bool:
        return self.is_finished

    def completion_ref(self) -> Any:
        return self.completion

    def on_item(self, callback: Callable[[], None]) -> None:
        self.waiting.append(callback)

    def arrive(self, *items: Any) -> None:
        self.items.extend(items)
        waiting, self.waiting = self.waiting, []
        for callback in waiting:
            callback()


class FakeActor:
    def __init__(self, actor_id: bytes, spec: ClassSpec, options: ActorOptions, instance: Any) -> None:
        self.actor_id = actor_id
        self.spec = spec
        self.options = options
        self.instance = instance


class FakeEngine:
    """Counts what it was asked for in ``calls``. With ``deferred`` tasks wait until ``run_pending()``."""

    def __init__(self, options: Any = None, *, deferred: bool = False) -> None:
        self.options = options
        self.namespace = "fake"
        self.job_id = JOB_ID
        self.deferred = deferred
        self.pending: list[Callable[[], None]] = []
        self.calls: list[str] = []
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, Any] = {"address_info": {"address": "local", "node_id": "ab", "session_dir": "/nowhere"}}
        self.facts: dict[str, Any] = {"job_id": JOB_ID, "node_id": b"n" * 28, "worker_id": b"w" * 28}
        self.actors: dict[bytes, FakeActor] = {}
        self.names: dict[str, FakeActor] = {}
        self.cancelled: list[tuple[Any, bool, bool]] = []
        self.killed: list[tuple[FakeActor, bool]] = []
        self.waited: list[tuple[Any, ...]] = []
        self.is_shut_down = False

    # -- work

    def task_submitter(self, function: FunctionSpec, options: TaskOptions) -> Callable[..., Any]:
        self.calls.append("task_submitter")
        returns = options.returns(function.is_generator)

        def submit(*args: Any, **kwargs: Any) -> Any:
            function.signature.check(function.name, args, kwargs)
            return self._start(function.function, function.name, args, kwargs, returns)

        return submit

    def create_actor(self, spec: ClassSpec, args: tuple[Any, ...], kwargs: dict[str, Any], options: ActorOptions) -> FakeActor:
        assert spec.cls is not None
        if options.name in self.names:
            if options.get_if_exists:
                return self.names[options.name]
            raise exceptions.ActorAlreadyExistsError(f"The name {options.name} is already taken.")
        actor = FakeActor(os.urandom(12) + JOB_ID, spec, options, spec.cls(*args, **kwargs))
        self.actors[actor.actor_id] = actor
        if options.name:
            self.names[options.name] = actor
        return actor

    def method_submitter(self, actor: Any, method: MethodSpec, options: CallOptions) -> Callable[..., Any]:
        self.calls.append("method_submitter")
        builtin = BUILT_INS.get(method.name)

        def submit(*args: Any, **kwargs: Any) -> Any:
            method.signature.check(method.name, args, kwargs)
            if builtin is not None:
                return self._start(builtin, method.name, (actor.instance, *args), kwargs, 1)
            function = getattr(actor.instance, method.name)
            return self._start(function, method.name, args, kwargs, options.returns(method.is_generator))

        return submit

    def _start(
        self, function: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any], returns: Any
    ) -> Any:
        if returns == "streaming":
            return ObjectRefGenerator(FakeStream([self.put(item) for item in function(*args, **kwargs)]))
        refs = [FakeRef() for _ in range(returns)]

        def run() -> None:
            try:
                values = [arg.value() if isinstance(arg, FakeRef) else arg for arg in args]
                result = function(*values, **kwargs)
            except BaseException as error:
                for ref in refs:
                    ref.seal(error=exceptions.RayTaskError.from_exception(name, error))
            else:
                for ref, value in zip(refs, result if returns > 1 else [result], strict=False):
                    ref.seal(value)

        if self.deferred:
            self.pending.append(run)
        else:
            run()
        return None if returns == 0 else refs[0] if returns == 1 else refs

    def run_pending(self) -> None:
        pending, self.pending = self.pending, []
        for run in pending:
            run()

    # -- objects

    def put(self, value: Any) -> Any:
        ref = FakeRef()
        ref.seal(value)
        return ref

    def get(self, refs: Sequence[Any], timeout_s: float | None) -> list[Any]:
        self.calls.append(f"get {timeout_s}")
        return [ref.value() for ref in refs]

    def wait(
        self, refs: Sequence[Any], num_returns: int, timeout_s: float | None, fetch_local: bool
    ) -> tuple[list[Any], list[Any]]:
        self.waited.append((list(refs), num_returns, timeout_s, fetch_local))
        return list(refs[:num_returns]), list(refs[num_returns:])

    def free(self, refs: Sequence[Any]) -> None:
        self.calls.append("free")

    # -- ending work

    def cancel(self, ref: Any, force: bool, recursive: bool) -> None:
        self.cancelled.append((ref, force, recursive))

    def kill_actor(self, actor: Any, no_restart: bool) -> None:
        self.killed.append((actor, no_restart))

    # -- names and handles

    def named_actor(self, name: str, namespace: str | None) -> Any:
        if name not in self.names:
            raise ValueError(f"Failed to look up actor with name '{name}'.")
        return self.names[name]

    def list_named_actors(self, all_namespaces: bool) -> list[Any]:
        return list(self.names)

    def export_actor(self, actor: Any) -> tuple[Any, ...]:
        return actor.actor_id, actor.spec, actor.options

    def import_actor(self, exported: tuple[Any, ...]) -> Any:
        actor_id, spec, options = exported
        return FakeActor(actor_id, spec, options, self.actors[actor_id].instance)

    # -- the rest

    def request(self, kind: str, /, **fields: Any) -> Any:
        self.requests.append((kind, fields))
        answer = self.answers[kind]
        return answer(**fields) if callable(answer) else answer

    def runtime_context(self) -> dict[str, Any]:
        return self.facts

    def shutdown(self) -> None:
        self.is_shut_down = True
