"""Starting or joining a session."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from shoal import _kernel
from shoal.core.native.daemon_process import NodeOptions, import_path, start_embedded

if TYPE_CHECKING:
    from shoal.core.init_options import InitOptions
    from shoal.core.native.control import ControlClient
    from shoal.core.native.engine import NativeEngine
    from shoal.core.native.node import Node
    from shoal.core.runtime_env import RuntimeEnv

_REST = (
    "shoal.core.decorators",
    "shoal.core.native.engine",
    "shoal.core.native.hooks",
    "shoal.core.native.log_printer",
    "shoal.core.native.node_death",
    "shoal.core.session_context",
)


def start(options: InitOptions) -> NativeEngine:
    """The engine of a driver: a private node of its own, or a running one that listens on this machine.

    Raises RaySystemError when the node can't start, ConnectionError when there is nothing at the address."""
    if options.starts_cluster:
        return _start_private(options)
    return _join(options)


def _start_private(options: InitOptions) -> NativeEngine:
    namespace = options.effective_namespace or os.urandom(16).hex()
    started = start_embedded(
        NodeOptions.of(options),
        extra={"namespace": namespace},
        meanwhile=_import_the_rest,
    )
    from shoal.core.native import messages
    from shoal.core.native.control import ControlClient
    from shoal.core.native.node import EmbeddedNode

    _kernel.attach_arena(started.arena_fd)
    _kernel.adopt_slot(started.slot)
    control = ControlClient(started.link, started.daemon_pid, started.facts["session_folder"])
    node = EmbeddedNode(started.facts, started.slot, started.daemon_pid)
    engine = _engine(options, control, node, namespace, started.job_id)
    engine.classes.know_default(started.default_queue, started.default_class_id)
    control.send(messages.Subscribe(namespace=namespace, log_to_driver=options.log_to_driver))
    _watch(engine, control, started.daemon_pid, options)
    return engine


def _import_the_rest() -> None:
    """What the driver needs from now on: 40 ms, in which the daemon imports what it needs itself."""
    for name in _REST:
        importlib.import_module(name)


def _join(options: InitOptions) -> NativeEngine:
    from shoal.core.native.addresses import session_folder_of
    from shoal.core.native.control import ControlClient
    from shoal.core.native.node import Node

    namespace = options.effective_namespace or os.urandom(16).hex()
    folder = session_folder_of(options.address, options.temp_dir)
    control, welcome, fd = ControlClient.connect(folder, 0, namespace, options.log_to_driver)
    _kernel.attach_arena(fd)
    _kernel.adopt_slot(welcome.slot)
    facts: dict[str, Any] = {
        "session_folder": welcome.session_folder,
        "node_id": welcome.node_id,
        "labels": welcome.labels,
        "resources": welcome.resources,
    }
    engine = _engine(options, control, Node(facts, welcome.slot), namespace, welcome.job_id)
    _watch(engine, control, welcome.daemon_pid, options)
    return engine


def _watch(engine: NativeEngine, control: ControlClient, daemon_pid: int, options: InitOptions) -> None:
    """One thread that sleeps: it shows what workers print, and sees the daemon die.

    With a LoggingConfig each record says itself who wrote it."""
    from shoal.core.native.log_printer import LogPrinter
    from shoal.core.native.node_death import fail_everything

    folder = engine.node.session_folder
    printer = LogPrinter(plain=options.logging_config is not None)
    engine.on_shutdown = printer.flush
    control.watch(printer, lambda: fail_everything(daemon_pid, folder, engine.actors.known_mailboxes()))


def _job_facts(options: InitOptions, namespace: str, job: int) -> dict[str, Any]:
    """What workers must be told of this job: a node that was there before knows nothing of it."""
    facts: dict[str, Any] = {}
    if not options.starts_cluster:
        facts = {"namespace": namespace, "id": job, "import_path": import_path()}
    if options.code_search_path:
        facts["code_search_path"] = options.code_search_path
    if _actors_are_detached(options):
        facts["actors_are_detached"] = True
    if options.logging_config is not None:
        facts["logging"] = options.logging_config.to_dict()
    return facts


def _actors_are_detached(options: InitOptions) -> bool:
    """Those of the job that do not say what they are."""
    return options.job_config is not None and options.job_config.default_actor_lifetime == "detached"


def _engine(options: InitOptions, control: ControlClient, node: Node, namespace: str, job: int) -> NativeEngine:
    from shoal.core.native import hooks
    from shoal.core.native.engine import NativeEngine

    _kernel.set_slot_job(_kernel.my_slot(), job)
    engine = NativeEngine(
        control,
        node,
        namespace=namespace,
        job=job,
        job_env=options.effective_runtime_env,
        actors_are_detached=_actors_are_detached(options),
        job_facts=_job_facts(options, namespace, job),
    )
    hooks.install()
    engine.preload()
    if options.effective_runtime_env is not None:
        _prepare(engine, options.effective_runtime_env)
    return engine


def _prepare(engine: NativeEngine, job_env: RuntimeEnv) -> None:
    """Has what the job's environment installs made now, unless it asks to wait for the first task (``eager_install``)."""
    from shoal.core.native import environments, messages

    text = engine.classes.environment(None, None)
    if environments.needs_interpreter(text) and job_env.config()["eager_install"]:
        engine.control.send(messages.RegisterClass({"CPU": 1.0}, runtime_env=text))
