"""Starting a private node daemon as a child of this driver, and what is told to it: the node's size, folders, the import
path."""

from __future__ import annotations

import marshal
import os
import socket
import struct
import sys
import time
from typing import TYPE_CHECKING, Any

from shoal.core import native_threads
from shoal.core.birth_marks import PLACEHOLDERS
from shoal.core.native import session_folder
from shoal.core.native.daemon_log import last_words, log_path
from shoal.core.native.node_traits import gpu_type, node_labels
from shoal.core.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable

    from shoal.core.init_options import InitOptions

OBJECT_STORE_SHARE = 0.3
SHARE_VARIABLE = "RAY_DEFAULT_OBJECT_STORE_MEMORY_PROPORTION"
OBJECT_STORE_BYTES_MAX = 200 * 10**9
OBJECT_STORE_BYTES_MIN = 75 * 2**20
START_TIMEOUT_S = 30.0
DISK_LIMIT_VARIABLE = "RAY_local_fs_capacity_threshold"
END_TIMEOUT_S = 2.0  # of a daemon that could not start
_WELCOME = struct.Struct("<4sII")


class NodeOptions(Record):
    """What the user asked for; None: detected. ``resources`` are custom ones. ``temp_dir``: where the session folder goes."""

    num_cpus: float | None = None
    num_gpus: float | None = None
    memory_bytes: int | None = None
    object_store_bytes: int | None = None
    resources: dict[str, float] | None = None
    labels: dict[str, str] | None = None
    temp_dir: str | None = None
    node_name: str | None = None
    spill_directories: tuple[str, ...] = ()  # where folders for spilled values are made; none: in the session folder

    @classmethod
    def of(cls, options: InitOptions) -> NodeOptions:
        """What ``init`` says of the node."""
        return cls(
            num_cpus=options.num_cpus,
            num_gpus=options.num_gpus,
            memory_bytes=options.memory,
            object_store_bytes=options.object_store_memory,
            resources=options.resources,
            labels=options.labels,
            temp_dir=options.temp_dir,
            node_name=options.node_name,
            spill_directories=options.spill_directories,
        )


class EmbeddedNode(Record):
    """A daemon that was just started. ``facts`` is the configuration that was sent to it; see ``node_config``."""

    link: socket.socket
    daemon_pid: int
    arena_fd: int
    slot: int
    facts: dict[str, Any]
    default_class_id: int = 1
    default_queue: int = 0  # this driver's queue for tasks of {CPU: 1}; its workers are there already
    job_id: int = 1


def start_embedded(
    options: NodeOptions,
    initial_workers: int | None = None,
    extra: dict[str, Any] | None = None,
    meanwhile: Callable[[], object] = lambda: None,
) -> EmbeddedNode:
    """Starts a daemon that ends with this process. Raises RaySystemError when it cannot start.

    ``extra``: plain values for ``facts``, for the workers. ``meanwhile`` is called while the daemon starts."""
    config = node_config(options)
    config.update(extra or {})
    if initial_workers is not None:
        config["initial_workers"] = initial_workers
    ours, theirs = socket.socketpair()
    body = marshal.dumps(config)
    ours.sendall(struct.pack("<I", len(body)) + body)
    command = [sys.executable, os.path.join(config["package_folder"], "node", "__main__.py"), "--embedded"]
    pid = _spawn(command, theirs, config)
    theirs.close()
    meanwhile()
    from shoal.exceptions import RaySystemError

    try:
        arena_fd, slot, queue = _welcomed(ours)
    except RaySystemError as error:
        ours.close()
        wait_ended(pid, END_TIMEOUT_S)
        text = f"{error.client_exc}.{last_words(config['session_folder'])}"
        session_folder.remove(config["session_folder"], config["spill_folders"], keep_logs=False)
        raise RaySystemError(text) from None
    return EmbeddedNode(ours, pid, arena_fd, slot, config, default_queue=queue)


def _welcomed(link: socket.socket) -> tuple[int, int, int]:
    """Waits for the daemon's first words: descriptor of the arena, our slot, our queue. Raises RaySystemError."""
    from shoal.exceptions import RaySystemError

    link.settimeout(START_TIMEOUT_S)
    try:
        data, fds, _, _ = socket.recv_fds(link, _WELCOME.size, 1)
    except TimeoutError:
        raise RaySystemError(f"the node daemon did not answer in {START_TIMEOUT_S} s") from None
    except OSError:
        data, fds = b"", []  # reset: it ended without having read what we sent
    if len(data) < _WELCOME.size:
        raise RaySystemError("the node daemon ended before it was ready")
    magic, number, queue = _WELCOME.unpack(data)
    if magic != b"SHL1" or not fds:
        text = link.recv(min(number, 1 << 20)).decode(errors="replace")
        raise RaySystemError(f"the node daemon could not start: {text}")
    link.settimeout(None)
    return fds[0], number, queue


def wait_ended(daemon_pid: int, timeout_s: float) -> bool:
    """Waits until the daemon (our child) is gone, and reaps it; kills it after the timeout. True: it went by itself."""
    deadline_s = time.monotonic() + timeout_s
    try:
        fd = os.pidfd_open(daemon_pid)
    except ProcessLookupError:
        return True
    try:
        import select

        poll = select.poll()
        poll.register(fd, select.POLLIN)
        by_itself = bool(poll.poll(max(0.0, deadline_s - time.monotonic()) * 1000))
        if not by_itself:
            import signal

            os.kill(daemon_pid, signal.SIGKILL)
        os.waitpid(daemon_pid, 0)
        return by_itself
    except ChildProcessError:
        return True
    finally:
        os.close(fd)


def node_config(options: NodeOptions, folder: str | None = None) -> dict[str, Any]:
    """Makes the session folder (``folder``, by default a new one) and gathers what a daemon must know; plain values, for
    marshal."""
    _check_variables()
    share = _share(SHARE_VARIABLE, OBJECT_STORE_SHARE)  # refused before there is a folder
    session_id = os.urandom(8).hex()
    if folder is None:
        base = options.temp_dir or os.environ.get("RAY_TMPDIR") or _system_temp()
        root = session_folder.root_of(base)
        session_folder.remove_stale(root)
        folder = os.path.join(root, f"session_{time.strftime('%Y-%m-%d_%H-%M-%S')}_{session_id}_{os.getpid()}")
    spill_folders = [session_folder.make(folder)]
    if options.spill_directories:
        spill_folders = [session_folder.spill_folder_in(each, session_id) for each in options.spill_directories]
        for spill_folder in spill_folders:
            os.makedirs(spill_folder, mode=0o700)
    cores = detect_cores()
    memory = detect_memory_bytes()
    capacity = options.object_store_bytes or max(OBJECT_STORE_BYTES_MIN, min(int(memory * share), OBJECT_STORE_BYTES_MAX))
    cpus = float(cores) if options.num_cpus is None else float(options.num_cpus)
    gpus = detect_gpus()
    gpu_count = float(len(gpus)) if options.num_gpus is None else float(options.num_gpus)
    resources = {
        "CPU": cpus,
        "memory": float(options.memory_bytes or max(0, memory - capacity)),
        "object_store_memory": float(capacity),
    }
    resources.update({"node:127.0.0.1": 1.0, "node:__internal_head__": 1.0})
    type_of_gpus = gpu_type() if gpu_count else None
    if gpu_count:
        resources["GPU"] = gpu_count
    if type_of_gpus:
        resources[f"accelerator_type:{type_of_gpus}"] = 1.0
    resources.update(options.resources or {})
    node_id = os.urandom(28).hex()
    return {
        "session_id": session_id,
        "session_folder": folder,
        "spill_folders": spill_folders,
        "capacity_bytes": capacity,
        "cores": cores,
        "initial_workers": max(0, min(cores, 2, int(cpus))),
        "resources": {name: amount for name, amount in resources.items() if amount or name == "CPU"},
        "labels": node_labels(node_id, type_of_gpus, options.labels or {}),
        "node_id": node_id,
        "node_name": options.node_name or "127.0.0.1",
        "devices": {"GPU": gpus} if gpu_count else {},
        "sys_path": import_path(),
        "package_folder": os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))),
        "worker_module": "shoal.core.native.worker",
        "user_threads": any(name in os.environ for name in native_threads.VARIABLES),
        "preload": [],
        "parent_pid": os.getpid(),
    }


def detect_cores() -> int:
    """Cores this process may use, a control group's quota included."""
    cores = len(os.sched_getaffinity(0))
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:
            quota, period = file.read().split()
        if quota != "max":
            cores = min(cores, max(1, int(int(quota) / int(period))))
    except (OSError, ValueError):
        return cores
    return cores


def detect_memory_bytes() -> int:
    """Memory of the machine, or the limit of our control group."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        with open("/sys/fs/cgroup/memory.max") as file:
            limit = file.read().strip()
        return total if limit == "max" else min(total, int(limit))
    except (OSError, ValueError):
        return total


def _check_variables() -> None:
    """What kernel and memory guard read by themselves, where nobody could be told. Raises ValueError."""
    _share(DISK_LIMIT_VARIABLE, 0.95)
    _share("RAY_memory_usage_threshold", 0.95)
    _number_from("RAY_memory_monitor_refresh_ms", 0)
    _number_from("RAY_task_oom_retries", -1)


def _number_from(variable: str, least: int) -> None:
    text = os.environ.get(variable, str(least))
    try:
        fits = int(text) >= least
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"{variable} must be a whole number >= {least}, but got {text!r}")


def _share(variable: str, default: float) -> float:
    text = os.environ.get(variable, str(default))
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise ValueError(f"{variable} must be between 0 and 1, but got {text!r}")
    return share


def detect_gpus() -> list[str]:
    """Names of the GPUs for CUDA_VISIBLE_DEVICES: those the variable allows, else all that the NVIDIA driver shows."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip() and name.strip() not in ("-1", "NoDevFiles")]
    try:
        return [str(index) for index in range(len(os.listdir("/proc/driver/nvidia/gpus")))]
    except OSError:
        return []


def _spawn(command: list[str], link: socket.socket, config: dict[str, Any]) -> int:
    """posix_spawn: no fork handlers, no copy of this process. The daemon is in a session of its own: Ctrl-C does not reach
    it."""
    log = os.open(
        log_path(config["session_folder"]),
        os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC,
        0o600,
    )
    # Numbers in the child: above 2, so that no action overwrites the other's source.
    target = 3
    actions = [
        (os.POSIX_SPAWN_DUP2, log, 1),
        (os.POSIX_SPAWN_DUP2, log, 2),
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, link.fileno(), target),
    ]
    try:
        if link.fileno() == target:
            os.set_inheritable(target, True)
            actions.pop()
        environment = {**os.environ, **PLACEHOLDERS}
        return os.posix_spawn(
            command[0], [*command, str(target)], environment, file_actions=actions, setsid=True, setsigmask=[]
        )
    finally:
        os.close(log)


def _system_temp() -> str:
    for path in (os.environ.get("TMPDIR"), "/tmp", "/var/tmp"):
        if path and os.path.isdir(path) and os.access(path, os.W_OK):
            return path
    return os.getcwd()


def import_path() -> list[str]:
    """Where workers find modules: where this process does, and in the folder it was started in, as with ``python -m``."""
    path = [folder or os.getcwd() for folder in sys.path]
    return path if os.getcwd() in path else [*path, os.getcwd()]
