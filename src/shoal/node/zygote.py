"""The process that forks every worker. It runs no threads, so that its forks are sound, and has imported what workers need.
Only the first workers are forked earlier, when it has what a plain task needs: the driver's first result waits for them.

The first zygote (the *root*) lives as long as the daemon. When the driver's imports are known, it forks a *successor* that
imports them too and then does the forking; later successors are forked from the root again. A module that starts threads when
it is imported is left out: the successor gives up and the daemon asks for another without it.

Who dies, and what is true then:
- a worker: it is reaped here, its process group and what it left behind are killed, the daemon is told;
- the daemon: SIGTERM from the kernel or EOF on the link: everything that was forked here is killed, and the session's folder is
  removed if the driver is gone too; then this process ends;
- this process, by SIGKILL: its workers get SIGKILL from the kernel, a successor gets SIGTERM; the daemon sees EOF, kills what
  is left by its tag, repairs the slots and starts another zygote."""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import sys
from collections import deque
from types import FrameType
from typing import Any, NoReturn

from shoal import _kernel
from shoal.core import native_threads
from shoal.core.accelerators import VISIBLE_DEVICES, visibility_variable
from shoal.core.birth_marks import mark_descendants, mark_process
from shoal.core.native import session_folder
from shoal.node import leftovers
from shoal.node.import_paths import worker_path
from shoal.node.process_control import become_subreaper, die_with_parent, name_process, thread_count

LOG_NAME = "zygote.log"
FIRST_FORKED = b"+"
"""The first byte on the link of a zygote that was given first workers; frames follow."""
DRIVER_END_S = 1.0
"""Who kills driver and daemon does not kill them in the same moment."""
THREADLESS_VARIABLES = {"JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""What keeps libraries from starting a thread when they are imported: pyarrow's allocator would, and pandas and scikit-learn
import it, so that none of them could be imported ahead."""


def run_zygote(
    link: socket.socket, config: dict[str, Any], parent_pid: int, first: list[tuple[int, int, int]], generation: int = 0
) -> NoReturn:
    """``first``: slots of workers to fork as soon as the imports are done, with the descriptors of their output and errors."""
    Zygote(link, config, parent_pid, generation).run(first)


class _PlainWorker:
    """The orders of a first worker, before ``zygote_messages`` is imported."""

    is_actor = False
    environment = ""
    devices = ()

    def __init__(self, slot: int) -> None:
        self.slot = slot


class Zygote:
    def __init__(self, link: socket.socket, config: dict[str, Any], parent_pid: int, generation: int) -> None:
        self._link = link
        self._config = config
        self._parent_pid = parent_pid
        self._generation = generation
        self._workers: dict[int, int] = {}  # pid -> slot
        self._successors: set[int] = set()
        self._unclaimed: set[int] = set()  # children of living workers that came to us
        self._fds: deque[int] = deque()
        self._ending = False
        signal.signal(signal.SIGTERM, self._on_sigterm)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, _nothing)
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        die_with_parent(signal.SIGTERM, parent_pid)
        become_subreaper()
        name_process("shoal-zygote")

    def run(self, first: list[tuple[int, int, int]]) -> NoReturn:
        gc.disable()  # what is imported is not garbage: looking for some takes a tenth of the time
        self._prepare()
        gc.freeze()
        self._fds += [fd for _, out, err in first for fd in (out, err)]
        begun = [(slot, self._forked(_PlainWorker(slot))) for slot, _, _ in first]
        if first:
            self._link.sendall(FIRST_FORKED)
        self._import_the_rest()
        from shoal.core.native.messages import FrameReader
        from shoal.node import zygote_messages as z

        self._z = z
        for slot, child in begun:
            self._tell_of_fork(slot, child)
        self._tell(z.Ready(self._generation, os.getpid()))
        reader = FrameReader()
        poll = select.poll()
        poll.register(self._link, select.POLLIN)
        poll.register(self._wake_read, select.POLLIN)
        while not self._ending:
            for fd, _ in poll.poll():
                if fd == self._wake_read:
                    os.read(self._wake_read, 4096)
                    self._reap()
                else:
                    self._receive(reader)
        self._end()

    # ------------------------------------------------------------ start

    def _prepare(self) -> None:
        """Output to the log, the driver's import path, and what a plain task needs."""
        log = os.open(
            os.path.join(self._config["session_folder"], "logs", self._config.get("log_name", LOG_NAME)),
            os.O_CREAT | os.O_WRONLY | os.O_APPEND,
            0o600,
        )
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        os.close(nothing)
        os.environ["SHOAL_SESSION"] = self._config["session_id"]
        if not self._config.get("user_threads"):
            native_threads.set_variables(1)  # before any library reads them: most work has one CPU
        self._config["thread_variables"] = native_threads.current_variables()
        for name, value in THREADLESS_VARIABLES.items():
            os.environ.setdefault(name, value)
        sys.path[:] = worker_path(self._config["sys_path"], sys.path[1:], self._config.get("interpreter_kind", ""))
        _execute_package("shoal", self._config["package_folder"])
        self._import_worker()

    def _import_worker(self) -> None:
        import importlib

        module = importlib.import_module(self._config["worker_module"])
        from shoal.core.native import control

        control.set_worker_facts(self._config)
        self._config["set_worker_facts"] = control.set_worker_facts
        self._config["main_worker"], self._config["main_actor"] = module.main_worker, module.main_actor
        self._config["import_the_rest"] = module.import_the_rest

    def _import_the_rest(self) -> None:
        """What all but the first workers find imported."""
        from shoal.node.runtime_environment import apply_environment

        self._config["import_the_rest"]()
        self._config["apply_environment"] = apply_environment
        for name in self._config.get("preload", ()):
            self._import_driver_module(name)
        gc.enable()
        gc.collect()
        gc.freeze()

    def _import_driver_module(self, name: str) -> None:
        """What cannot be imported here will fail where it is used; what starts threads ends this successor."""
        import importlib

        if name in sys.modules:
            return
        try:
            importlib.import_module(name)
        except BaseException as error:
            print(f"module {name} was not imported ahead: {error!r}", file=sys.stderr, flush=True)
        if thread_count() > 1:
            from shoal.node.zygote_messages import StartsThreads

            self._tell(StartsThreads(self._generation, name))
            os._exit(0)

    # ------------------------------------------------------------ commands

    def _receive(self, reader: Any) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(self._link, 1 << 18, 64)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data, fds = b"", []
        self._fds += fds
        if not data:
            self._ending = True  # the daemon is gone
            return
        z = self._z
        for body in reader.feed(data):
            message = z.decode_to_zygote(body)
            if isinstance(message, z.Fork):
                self._fork(message)
            elif isinstance(message, z.Signal):
                self._signal(message.pid, message.number, message.group)
            elif isinstance(message, z.Preload):
                self._fork_successor(message)
            else:
                self._ending = True

    def _fork(self, command: Any) -> None:
        self._tell_of_fork(command.slot, self._forked(command))

    def _forked(self, command: Any) -> int | OSError:
        """The pid of a new worker, whose output goes to the next two descriptors, or why there is none."""
        out, err = self._fds.popleft(), self._fds.popleft()
        try:
            pid = os.fork()
        except OSError as error:
            return error
        else:
            if pid == 0:
                _become_worker(self, command, out, err)
            self._workers[pid] = command.slot
            with contextlib.suppress(OSError):  # the child does it too, or has ended already: SIGCHLD tells
                os.setpgid(pid, pid)
            return pid
        finally:
            os.close(out)
            os.close(err)

    def _tell_of_fork(self, slot: int, child: int | OSError) -> None:
        if isinstance(child, OSError):
            self._tell(self._z.ForkFailed(slot, f"fork failed: {child.strerror}"))
        else:
            self._tell(self._z.Forked(slot, child))

    def _fork_successor(self, command: Any) -> None:
        fd = self._fds.popleft()
        if all(name in sys.modules for name in command.modules):
            os.close(fd)  # nothing to gain; the daemon sees EOF
            return
        parent = os.getpid()
        pid = os.fork()
        if pid:
            os.close(fd)
            self._successors.add(pid)
            return
        self._link.close()
        os.close(self._wake_read)
        os.close(self._wake_write)
        self._config["preload"] = command.modules
        self._config["is_root"] = False
        link = socket.socket(fileno=fd)
        successor = Zygote(link, self._config, parent, command.generation)
        successor.run([])

    def _signal(self, pid: int, number: int, group: bool) -> None:
        if pid in self._workers or pid in self._successors:
            try:
                os.killpg(pid, number) if group else os.kill(pid, number)
            except ProcessLookupError:
                return  # it is a zombie that is reaped next

    def _tell(self, message: Any) -> None:
        from shoal.core.native.messages import encode_frame

        try:
            self._link.sendall(encode_frame(0, message))
        except OSError:
            self._ending = True

    # ------------------------------------------------------------ ends

    def _reap(self) -> None:
        while True:
            try:
                info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if info is None:
                return
            pid = info.si_pid
            slot = self._workers.get(pid)
            if slot is not None:
                _kill_group(pid)  # while the zombie keeps the number from being used again
            _, status, usage = os.wait4(pid, 0)
            self._successors.discard(pid)
            self._unclaimed.discard(pid)
            if slot is not None:
                del self._workers[pid]
            if slot is not None or self._unclaimed or leftovers.has_strangers(self._known()):
                self._kill_leftovers()
            if slot is not None:
                self._tell(self._z.Exited(slot, pid, os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024))

    def _known(self) -> set[int]:
        return {*self._workers, *self._successors, *self._unclaimed}

    def _kill_leftovers(self) -> None:
        """Kills what dead workers left behind. A stranger that carries the tag of a living worker stays until that one dies."""
        alive = {f"{slot}:{pid}" for pid, slot in self._workers.items()}
        self._unclaimed = leftovers.kill_strangers({*self._workers, *self._successors}, alive)

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        self._end()

    def _end(self) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for pid in self._workers:
            _kill_group(pid)
        for pid in self._successors:
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                continue
        # The root ends with the session; another zygote may end alone.
        own = None if self._config.get("is_root", True) else {f"{slot}:{pid}" for pid, slot in self._workers.items()}
        leftovers.kill_session(self._config["session_id"], {os.getpid(), os.getppid()}, own)
        for pid in list(self._workers):
            try:
                os.waitpid(pid, 0)
            except ChildProcessError:
                continue
        leftovers.kill_strangers(set(self._successors), set())
        driver_pid = self._config.get("parent_pid")  # none: the node stands alone
        if driver_pid and self._config.get("is_root", True) and os.getppid() != self._parent_pid:
            folder, spill_folders = self._config["session_folder"], self._config["spill_folders"]
            session_folder.remove_abandoned(folder, spill_folders, driver_pid, DRIVER_END_S)
        os._exit(0)


def _become_worker(zygote: Zygote, command: Any, out: int, err: int) -> NoReturn:
    """In the child. Nothing is imported here: it would be paid for by every worker."""
    parent = os.getppid()
    code = 1
    gc.enable()
    try:
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        die_with_parent(signal.SIGKILL, parent)
        os.dup2(out, 1)
        os.dup2(err, 2)
        for fd in (out, err, zygote._wake_read, zygote._wake_write, *zygote._fds):
            os.close(fd)
        zygote._link.close()
        for fd in (1, 2):
            os.set_blocking(fd, True)
        os.environ["SHOAL_WORKER"] = f"{command.slot}:{os.getpid()}"
        mark_process(zygote._config["session_id"], os.environ["SHOAL_WORKER"])
        mark_descendants(command.slot, os.getpid())
        _offer_to_the_oom_killer()
        code = 79
        _apply_environment(command, zygote._config)
        code = 1
        _reseed()
        _kernel.adopt_slot(command.slot)
        if command.is_actor:
            name_process("shoal-actor")
            zygote._config["main_actor"](command.slot, command.spec)
        else:
            name_process("shoal-worker")
            zygote._config["main_worker"](command.slot)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


def _offer_to_the_oom_killer() -> None:
    """When the system ends processes for memory it takes a worker, which is replaced, rather than a driver or the daemon."""
    try:
        fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
    except OSError:  # a system without it, or that does not let us
        return
    try:
        os.write(fd, os.environ.get("RAY_worker_oom_score_adjustment", "1000").encode())  # noqa: SIM112
    except OSError:
        return
    finally:
        os.close(fd)


def _apply_environment(command: Any, config: dict[str, Any]) -> None:
    if command.is_actor and command.cpus >= 2 and not config["user_threads"]:  # tasks have it for each execution
        native_threads.set_variables(int(command.cpus))
    if os.environ.get("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO") == "1":
        os.environ.update(dict.fromkeys(VISIBLE_DEVICES.values(), ""))
    for name, indices in command.devices:
        visible = config["devices"].get(name) or []
        chosen = [visible[index] if index < len(visible) else str(index) for index in indices]
        os.environ[visibility_variable(name)] = ",".join(chosen)
    config["set_worker_facts"]({"environment": command.environment})
    if command.environment:
        config["apply_environment"](command.environment, config["session_folder"])


def _reseed() -> None:
    """Forks share the state of numpy's global generator; Python's own is reseeded by Python."""
    random = sys.modules.get("numpy.random")
    if random is not None:
        random.seed()


def _execute_package(name: str, folder: str) -> None:
    """Runs the package's ``__init__`` in the module object that the start put in its place."""
    module = sys.modules.get(name)
    if module is None or getattr(module, "__spec__", None) is not None:
        return
    import importlib.util

    spec = importlib.util.spec_from_file_location(
        name, os.path.join(folder, "__init__.py"), submodule_search_locations=[folder]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"there is no package in {folder}")
    module.__spec__, module.__file__, module.__loader__ = spec, spec.origin, spec.loader
    module.__package__ = name
    spec.loader.exec_module(module)


def _nothing(number: int, frame: FrameType | None) -> None:
    """SIGCHLD only has to wake the loop up, through the wake-up descriptor."""


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
