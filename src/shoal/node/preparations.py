"""The daemon's side of environments that need an interpreter of their own: the processes that prepare them, the locks on what
is in use, and the zygotes that run under them.

Nothing here blocks: what is installed already is found by a look into the cache folder; everything else happens in a process
beside the daemon (``preparation``), which is killed with the session or when it takes longer than ``setup_timeout_seconds``."""

from __future__ import annotations

import hashlib
import os
import shlex
import signal
import socket
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from shoal.core.native import environments, local_files
from shoal.core.native import messages as m
from shoal.node import import_paths
from shoal.node import preparation_messages as p
from shoal.node.boot import send_config
from shoal.node.connection import Connection
from shoal.node.environment_store import EnvironmentStore, Recipe, UnusableStore, recipe_of
from shoal.node.event_loop import Timer
from shoal.node.events import EnvironmentFailed, EnvironmentReady
from shoal.node.runtime_environment import FOLDER

if TYPE_CHECKING:
    from shoal.node.daemon import Daemon


@dataclass(frozen=True)
class Interpreter:
    """How a zygote of an environment is started. ``kind``: see ``import_paths``."""

    key: str
    command: tuple[str, ...]
    kind: str
    variables: dict[str, str]
    cwd: str = ""


@dataclass(eq=False)
class _Preparation:
    key: str
    fields: dict[str, Any]
    recipe: Recipe | None  # None: py_executable
    environments: set[str] = field(default_factory=set)
    roots: set[int] = field(default_factory=set)
    interpreter: Interpreter | None = None
    ready: bool = False
    lock: int = -1
    process: subprocess.Popen[bytes] | None = None
    link: Connection | None = None
    timer: Timer | None = None
    log: str = ""


class Preparations:
    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._by_key: dict[str, _Preparation] = {}
        self._of_environment: dict[str, _Preparation] = {}
        self._store: EnvironmentStore | None = None

    def prepare(self, environment: str, root: int) -> None:
        """Answered by EnvironmentReady or EnvironmentFailed, perhaps at once."""
        known = self._of_environment.get(environment)
        if known is not None:
            known.roots.add(root)
            if known.ready:
                self._daemon.handle(EnvironmentReady(environment))
            return
        try:
            preparation = self._preparation(environments.decode(environment))
            self._of_environment[environment] = preparation
            preparation.environments.add(environment)
            preparation.roots.add(root)
            if preparation.ready:
                self._daemon.handle(EnvironmentReady(environment))
            elif preparation.key not in self._by_key:
                self._by_key[preparation.key] = preparation
                self._begin(preparation)
        except (OSError, ValueError, UnusableStore) as error:
            self._of_environment.pop(environment, None)
            self._daemon.handle(EnvironmentFailed(environment, f"{environments.failure_prefix()}{error}"))

    def interpreter_of(self, environment: str) -> Interpreter | None:
        """None: that of the daemon."""
        preparation = self._of_environment.get(environment)
        return None if preparation is None else preparation.interpreter

    def zygote_ready(self, key: str) -> None:
        preparation = self._by_key.get(key)
        if preparation is None or preparation.ready:
            return
        self._stop_timer(preparation)
        preparation.ready = True
        for environment in preparation.environments:
            self._daemon.handle(EnvironmentReady(environment))
        self._daemon.look()

    def zygote_lost(self, key: str, log_tail: str) -> None:
        """One that was ready is started again when it is needed."""
        preparation = self._by_key.get(key)
        if preparation is not None and not preparation.ready:
            self._fail(preparation, f"the interpreter ended before it could start workers:\n{log_tail}")

    def digest_of(self, environment: str) -> str | None:
        """In the cache of what was installed; None when the environment has nothing there."""
        preparation = self._of_environment.get(environment)
        return preparation.key if preparation is not None and preparation.recipe is not None else None

    def cached(self) -> dict[str, dict[str, Any]]:
        """What this user has installed, in any session: facts by digest."""
        try:
            return (self._store or EnvironmentStore.of_user()).facts()
        except (OSError, UnusableStore):
            return {}  # a cache that nothing can be installed into is told of when something is to be installed

    def pids(self) -> list[int]:
        return [each.process.pid for each in self._by_key.values() if each.process is not None]

    def end(self) -> None:
        """Kills what still installs, with everything it has started."""
        for preparation in self._by_key.values():
            self._stop_process(preparation)

    # ------------------------------------------------------------ steps

    def _preparation(self, fields: dict[str, Any]) -> _Preparation:
        command = fields.get("py_executable")
        installer = next((name for name in local_files.INSTALLERS if fields.get(name)), None)
        if command and installer:
            raise ValueError(
                f"runtime_env can't have both '{installer}' and 'py_executable': install into that interpreter instead"
            )
        if command:
            identity = [command, fields.get("working_dir") or "", *(fields.get("excludes") or [])]
            recipe, key = None, hashlib.sha256("\0".join(identity).encode()).hexdigest()
        else:
            recipe = recipe_of(fields, self._daemon.config["sys_path"])
            key = recipe.digest
        return self._by_key.get(key) or _Preparation(key, fields, recipe)

    def _begin(self, preparation: _Preparation) -> None:
        limit_s = environments.setup_limit_s(preparation.fields)
        if limit_s is not None:
            preparation.timer = self._daemon.loop.call_later(
                limit_s, lambda: self._fail(preparation, environments.too_slow(limit_s))
            )
        if preparation.recipe is None:
            self._start_process(preparation, self._executable_config(preparation))
            return
        if self._store is None:
            self._store = EnvironmentStore.of_user()
        preparation.lock = self._store.open_lock(preparation.key)
        if self._store.share(preparation.key, preparation.lock):
            self._start_zygote(preparation, "")
        else:
            config = {"recipe": asdict(preparation.recipe), "root": self._store.root, "lock": preparation.lock}
            self._start_process(preparation, config)

    def _executable_config(self, preparation: _Preparation) -> dict[str, Any]:
        fields = preparation.fields
        return {
            "command": fields["py_executable"],
            "working_dir": fields.get("working_dir") or "",
            "excludes": list(fields.get("excludes") or []),
            "packages_folder": os.path.join(self._daemon.config["session_folder"], FOLDER),
        }

    def _start_process(self, preparation: _Preparation, config: dict[str, Any]) -> None:
        daemon = self._daemon
        variables = {name: os.path.expandvars(value) for name, value in (preparation.fields.get("env_vars") or {}).items()}
        config["variables"] = variables
        preparation.log = os.path.join(
            daemon.config["session_folder"], "logs", f"runtime_env_setup-{len(self._by_key)}-{preparation.key[:8]}.log"
        )
        ours, theirs = socket.socketpair()
        send_config(ours, config)
        main = os.path.join(daemon.config["package_folder"], "node", "__main__.py")
        with open(preparation.log, "ab") as log:
            preparation.process = subprocess.Popen(
                [sys.executable, main, "--prepare", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=[theirs.fileno(), *([preparation.lock] if preparation.lock >= 0 else [])],
                env={**os.environ, "SHOAL_SESSION": daemon.config["session_id"]},
            )
        theirs.close()
        preparation.link = Connection(
            daemon.loop, ours, lambda body: self._on_message(preparation, body), lambda: self._on_lost(preparation)
        )

    def _on_message(self, preparation: _Preparation, body: bytes) -> None:
        message = p.decode_from_preparation(body)
        if isinstance(message, p.Progress):
            self._tell(preparation, message.text)
        elif isinstance(message, p.Prepared):
            self._stop_process(preparation)
            self._start_zygote(preparation, message.cwd)
        else:
            self._fail(preparation, message.reason)

    def _on_lost(self, preparation: _Preparation) -> None:
        self._fail(preparation, f"the process that prepared it has died; its log is {preparation.log}")

    def _start_zygote(self, preparation: _Preparation, cwd: str) -> None:
        if preparation.recipe is None:
            command = tuple(shlex.split(preparation.fields["py_executable"]))
            interpreter = Interpreter(preparation.key, command, import_paths.FOREIGN, {}, cwd)
        else:
            assert self._store is not None
            folder = self._store.folder(preparation.key)
            path = f"{folder}/bin{os.pathsep}{os.environ.get('PATH', os.defpath)}"
            variables = {"VIRTUAL_ENV": folder, "PATH": path}
            interpreter = Interpreter(preparation.key, (f"{folder}/bin/python",), import_paths.INSTALLED, variables)
        preparation.interpreter = interpreter
        try:
            self._daemon.zygotes.start_interpreter(interpreter)
        except OSError as error:
            self._fail(preparation, f"{shlex.join(interpreter.command)} can't be started: {error}")

    def _fail(self, preparation: _Preparation, reason: str) -> None:
        """Another environment that would be the same tries again; this one has failed for good."""
        self._stop_process(preparation)
        self._stop_timer(preparation)
        if preparation.interpreter is not None:
            self._daemon.zygotes.stop_interpreter(preparation.key)
        if preparation.lock >= 0:
            os.close(preparation.lock)
            preparation.lock = -1
        if self._by_key.get(preparation.key) is preparation:
            del self._by_key[preparation.key]
        self._tell(preparation, reason)
        self._daemon.journal.note("ERROR", "RUNTIME_ENV", reason)
        for environment in preparation.environments:
            self._of_environment.pop(environment, None)
            self._daemon.handle(EnvironmentFailed(environment, f"{environments.failure_prefix()}{reason}"))
        self._daemon.look()

    def _tell(self, preparation: _Preparation, text: str) -> None:
        for root in preparation.roots:
            self._daemon.clients.notify(root, m.ErrorEvent("runtime_env", text))

    def _stop_process(self, preparation: _Preparation) -> None:
        if preparation.link is not None:
            preparation.link.close()
            preparation.link = None
        process, preparation.process = preparation.process, None
        if process is not None:
            # Its group as long as its number is still its own.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _stop_timer(self, preparation: _Preparation) -> None:
        if preparation.timer is not None:
            preparation.timer.cancel()
            preparation.timer = None
