"""What a forked worker does: serve task queues, or live as one actor. Started by the zygote; neither returns normally."""

from __future__ import annotations

import atexit
import importlib
import os
import pickle
import signal
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any

from shoal import _kernel, exceptions
from shoal.core import native_threads, session
from shoal.core.actor_builtins import BUILT_INS
from shoal.core.actor_exit import ActorExit
from shoal.core.native import context, hooks, named_output
from shoal.core.native.control import worker_facts
from shoal.core.native.execution import LEFT_STATUS, Handlers, leave, stop, task_error
from shoal.core.native.process_title import show_title

CONSTRUCTOR_FAILED_STATUS = 78
SHUTDOWN_LIMIT_MS = 30_000
_REST = (
    "shoal.core.decorators",
    "shoal.core.logging_config",
    "shoal.core.native.engine",
    "shoal.core.native.environments",
    "shoal.core.native.local_files",
    "shoal.core.native.node",
    "shoal.core.native.threaded_actor",
    "shoal.core.runtime_context",
    "shoal.core.runtime_env",
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from shoal.core.native.calls import Call
    from shoal.core.native.engine import NativeEngine


def import_the_rest() -> None:
    """In the zygote, when the first workers are on their way: what they do without until they need it, the others have."""
    for name in _REST:
        importlib.import_module(name)


def main_worker(slot: int) -> None:
    """Executes tasks until the daemon ends it."""
    named_output.install()
    _become_worker(slot, namespace=None)
    show_title("ray::IDLE")
    signal.signal(signal.SIGINT, _interrupt_cancelled)
    _kernel.run(0, Handlers(function_of), False)
    leave(LEFT_STATUS)


def main_actor(slot: int, spec: bytes) -> None:
    """Constructs the actor and serves its mailboxes until it is to end."""
    record, actor_id, class_spec, options, _namespace, queues, job_namespace, group = pickle.loads(spec)
    process = context.process
    process.actor_id, process.actor_name = actor_id, options.name or ""
    process.restarts = int(_kernel.record_state(record) == _kernel.SEALED)
    process.placement_group = group or None
    engine = _become_worker(slot, namespace=job_namespace)()
    show_title(f"ray::{class_spec.name}.__init__")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    process.is_async_actor = class_spec.is_async
    process.class_path, process.describe = f"{class_spec.module}.{class_spec.name}", lambda: class_spec.name
    process.own_state = engine.actors.restore_own(record, actor_id, class_spec, options, queues)
    for queue in queues.values():
        _kernel.serve_mailbox(queue)

    def construct() -> Handlers:
        process.constructing = record
        _kernel.set_constructing(record)  # it lends its CPU when it waits
        instance = _construct(record, class_spec.name)
        process.constructing = 0
        show_title(f"ray::{class_spec.name}")
        if class_spec.is_async:
            process.method_path = lambda name: f"{class_spec.module}.{getattr(type(instance), name).__qualname__}"
        process.describe = lambda: repr(instance)
        _announce(instance)
        process.on_leave = lambda: _shut_down(instance)
        return Handlers(lambda call: bound_method(instance, call))

    if class_spec.is_async:
        from shoal.core.native import async_actor  # asyncio: only who needs it pays for it

        async_actor.serve(construct, queues, class_spec, options)
    else:
        from shoal.core.native import threaded_actor

        threaded_actor.serve(construct(), queues, class_spec, options)
    stop(LEFT_STATUS)  # its mailboxes are closed: the daemon has ended the actor and is about to kill this process


def _become_worker(slot: int, *, namespace: str | None) -> Callable[[], NativeEngine]:
    """``namespace`` None: that of the job. Returns what gives the engine: a plain task needs none."""
    facts = worker_facts()
    process = context.process
    process.is_worker = True
    hooks.install()
    atexit.unregister(session.shutdown)  # the zygote's; a worker's side of the session ends with its process
    job = _take_environment(process, str(facts.get("environment", "")))
    _settle_native_threads(process, facts)
    _extend_import_path(first=job.get("code_search_path", []), last=job.get("import_path", []))
    if os.environ.get("SHOAL_AS_RAY") == "1":
        from shoal import as_ray

        as_ray.install()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    job_number = int(job.get("id", facts.get("job_id", 1)))
    _kernel.set_slot_job(slot, job_number)
    if namespace is None:
        namespace = str(job.get("namespace", facts.get("namespace", "")))
    adopted = session.adopt(lambda: _engine(slot, job, job_number, namespace))
    if "logging" in job:
        from shoal.core.logging_config import LoggingConfig

        LoggingConfig.from_dict(job["logging"]).apply(lambda: session.log_facts(adopted.engine))
    if process.runtime_env:
        from shoal.core.native import environments

        environments.call_setup_hook(process.runtime_env)
    return lambda: adopted.engine  # type: ignore[return-value]


def _take_environment(process: context.Process, text: str) -> dict[str, Any]:
    """Notes the fields of the runtime environment; returns the facts of the job that came with them."""
    if not text:
        return {}
    from shoal.core.native import environments, local_files

    process.runtime_env = environments.decode(text)
    digests = process.runtime_env.pop(environments.LOCAL_FILES, {})
    local_files.inherit(process.runtime_env, digests)
    job: dict[str, Any] = process.runtime_env.pop(environments.JOB, None) or {}
    captured = process.runtime_env.pop(environments.CAPTURED_GROUP, None)
    if captured is not None:
        process.placement_group, process.captures_child_tasks = bytes.fromhex(captured), True
    return job


def _engine(slot: int, job: dict[str, Any], job_number: int, namespace: str) -> NativeEngine:
    from shoal.core.native.engine import NativeEngine
    from shoal.core.native.node import WorkerNode
    from shoal.core.runtime_env import RuntimeEnv

    node = WorkerNode(worker_facts(), slot)
    return NativeEngine(
        node.control,  # type: ignore[arg-type]
        node,
        namespace=namespace,
        job=job_number,
        job_env=RuntimeEnv(_validate=False, **context.process.runtime_env),  # what is started here inherits it
        actors_are_detached=bool(job.get("actors_are_detached")),
        job_facts=job,
    )


def _settle_native_threads(process: context.Process, facts: dict[str, Any]) -> None:
    """The libraries that the zygote has loaded began with one thread. An actor's CPUs, or the user, may have said otherwise."""
    of_user = {name for name in process.runtime_env.get("env_vars") or {} if name in native_threads.VARIABLES}
    if of_user and not facts.get("user_threads"):
        for name in native_threads.VARIABLES:
            if name not in of_user:
                os.environ.pop(name, None)  # ours: it would come before the user's
    process.sets_thread_variables = not facts.get("user_threads") and not of_user
    began_with = facts.get("thread_variables")
    process.has_own_threads = began_with is not None and began_with != native_threads.current_variables()
    if process.has_own_threads:
        native_threads.obey_variables()


def _extend_import_path(first: list[str], last: list[str]) -> None:
    known = {*sys.path, *first}
    sys.path[:] = [*first, *sys.path, *(folder for folder in last if folder not in known)]


def function_of(call: Call) -> Callable[..., Any]:
    """What a call record of a task calls."""
    function: Callable[..., Any] = _kernel.get(call.code)
    return function


def bound_method(instance: Any, call: Call) -> Callable[..., Any]:
    """What a call record of a method calls."""
    built_in = BUILT_INS.get(call.method)
    if built_in is not None:
        return lambda *args, **kwargs: built_in(instance, *args, **kwargs)
    # As the class has it: an attribute of the instance may have the same name.
    for owner in type(instance).__mro__:
        if call.method in vars(owner):
            found = vars(owner)[call.method]
            bound: Callable[..., Any] = found.__get__(instance, type(instance)) if hasattr(found, "__get__") else found
            return bound
    method: Callable[..., Any] = getattr(instance, call.method)
    return method


def _construct(record: int, name: str) -> Any:
    """The instance; seals the actor's record. A constructor that raises ends the actor for good."""
    try:
        call = _kernel.get(_kernel.function_ref(record))
        actor_class = _kernel.get(call.code)
        args = _kernel.actor_args(record)
        if not isinstance(args, tuple):
            _kernel.get(args)  # raises what the argument holds
        instance = actor_class(*args[0], **args[1])
    except ActorExit:
        error = exceptions.ActorDiedError("The actor exited in its constructor: exit_actor() was called.")
        _kernel.seal_actor(record, error, True)
        leave(LEFT_STATUS)
    except SystemExit as exit_request:
        _kernel.seal_actor(record, exceptions.ActorDiedError(f"The constructor called sys.exit({exit_request.code!r})."), True)
        leave(LEFT_STATUS)
    except BaseException as error:
        seal_failed(record, exceptions.ActorDiedError(task_error(error, f"{name}.__init__")))
        leave(CONSTRUCTOR_FAILED_STATUS)
    _kernel.set_constructing(0)
    _kernel.seal_actor(record, None, False)
    return instance


def _announce(instance: Any) -> None:
    """What an actor prints carries its repr, where its class has made one."""
    has_own_repr = any("__repr__" in vars(each) for each in type(instance).__mro__[:-1])
    if not has_own_repr:
        return
    try:
        named_output.announce(repr(instance))
    except Exception:  # of the user's; it shows again, with a traceback, wherever the repr is needed
        traceback.print_exc()


def seal_failed(record: int, error: exceptions.ActorDiedError) -> None:
    """The actor's constructor failed; when the error can't be pickled, its text says so."""
    try:
        _kernel.seal_actor(record, error, True)
    except Exception as unpicklable:
        _kernel.seal_actor(record, exceptions.ActorDiedError(f"{error}\n(the error itself can't be sent: {unpicklable})"), True)


def _shut_down(instance: Any) -> None:
    """Calls the actor's own hook, which may not take longer than RAY_actor_graceful_shutdown_timeout_ms (30000) says."""
    hook = getattr(instance, "__ray_shutdown__", None)
    if not callable(hook):
        return
    limit_ms = float(os.environ.get("RAY_actor_graceful_shutdown_timeout_ms", SHUTDOWN_LIMIT_MS))  # noqa: SIM112
    timer = threading.Timer(limit_ms / 1000, _give_up_hook, (type(instance).__name__, limit_ms))
    timer.daemon = True
    timer.start()
    try:
        hook()
    finally:
        timer.cancel()


def _give_up_hook(name: str, limit_ms: float) -> None:
    # Straight to the descriptor: the hook may hold whatever a print would need.
    os.write(2, f"__ray_shutdown__ of {name} has taken longer than {limit_ms:g} ms: the actor ends without it\n".encode())
    if context.process.ends_by:
        os.kill(os.getpid(), context.process.ends_by)
    os._exit(LEFT_STATUS)


def _interrupt_cancelled(number: int, frame: FrameType | None) -> None:
    """SIGINT: the running task was cancelled; when it has just ended, this is for nobody."""
    if _kernel.current_cancelled():
        raise KeyboardInterrupt
