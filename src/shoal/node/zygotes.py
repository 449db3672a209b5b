"""The daemon's side of its zygotes. There is a *line* of them for its own interpreter, and one for each environment that needs
another: the line's root, and the successor that has the driver's modules, which does the forking once it is there."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
from collections import deque
from typing import IO, TYPE_CHECKING, Any

from shoal.core.native.messages import Message
from shoal.node import leftovers
from shoal.node import zygote_messages as z
from shoal.node.boot import send_config
from shoal.node.connection import Connection
from shoal.node.events import ForkProcess

if TYPE_CHECKING:
    from shoal.node.daemon import Daemon
    from shoal.node.preparations import Interpreter

PRELOAD_DELAY_S = 0.2
SUCCESSOR_ATTEMPTS_MAX = 16
"""So many modules that start threads may be left out before the successor is given up."""
END_LIMIT_S = 2.0
REAP_DELAY_S = 1.0
UNUSED_S = 60.0
"""A line of an environment without workers for so long ends; it is started again when it is needed."""
LOG_TAIL_BYTES = 4000
FAILED_STARTS_MAX = 3
"""After so many zygotes in a row that end before they are ready the node ends: nothing would ever run, and everybody wait."""


class _Line:
    """The zygotes of one interpreter."""

    root: _Zygote
    current: _Zygote  # it forks

    def __init__(self, interpreter: Interpreter | None) -> None:
        self.interpreter = interpreter  # None: that of the daemon
        self.attempts = 0  # to make a successor
        self.used_s = 0.0


class _Zygote:
    def __init__(self, line: _Line, generation: int, pid: int) -> None:
        self.line = line
        self.generation = generation
        self.pid = pid
        self.child_pid = 0  # what we have started for it, when that is not itself but a program that runs it
        self.ready = False
        self.link: Connection
        self.expected: set[int] = set()  # slots it was asked to fork
        self.workers: dict[int, int] = {}  # slot -> pid


class Zygotes:
    def __init__(self, daemon: Daemon, arena_fd: int, link: socket.socket, pid: int) -> None:
        self._daemon = daemon
        self._arena_fd = arena_fd
        self._doomed: set[int] = set()
        self._generations = 0
        self._failed_starts = 0
        self._modules: list[str] = []
        self._excluded: set[str] = set()
        self._to_close: deque[tuple[_Zygote, list[int]]] = deque()
        self._preload_due = False
        self._ending = False
        self._all: dict[int, _Zygote] = {}
        self._main = _Line(None)
        self._main.root = self._main.current = self._add(self._main, 0, pid, link)
        self._lines: dict[str, _Line] = {}  # by the keys of their interpreters

    def pids(self) -> list[int]:
        return [pid for zygote in self._all.values() for pid in (zygote.pid, zygote.child_pid) if pid]

    def expect(self, slot: int) -> None:
        self._main.root.expected.add(slot)

    def fork(self, slot: int, is_actor: bool, instruction: ForkProcess, fds: list[int]) -> None:
        """The writing ends of the pipes are closed here once they were sent."""
        devices = tuple((name, list(indices)) for name, indices in instruction.devices)
        message = z.Fork(slot, is_actor, instruction.spec, instruction.environment, devices, instruction.cpus)
        try:
            line = self._line_for(instruction.environment)
        except OSError as error:  # the interpreter is not there any more
            print(f"no zygote for {instruction.environment}: {error}", file=sys.stderr, flush=True)
            for fd in fds:
                os.close(fd)
            self._daemon.loop.call_later(0, lambda: self._daemon.on_died(slot, 0, 1, 0))
            return
        line.used_s = self._daemon.loop.time()
        line.current.expected.add(slot)
        self._send(line.current, message, fds)

    def signal(self, pid: int, generation: int, number: int, group: bool = True) -> None:
        zygote = self._all.get(generation)
        if zygote is not None:
            zygote.link.send(z.Signal(pid, number, group))

    def kill_when_forked(self, slot: int) -> None:
        self._doomed.add(slot)

    def preload(self, modules: list[str]) -> None:
        """Has a successor made that imports the modules, unless one has them all. A moment later: the first tasks come
        first."""
        known = {*self._modules, *self._excluded}
        fresh = [name for name in modules if name not in known]
        if fresh:
            self._modules += fresh
            if not self._preload_due:
                self._preload_due = True
                self._daemon.loop.call_later(PRELOAD_DELAY_S, self._preload_now)

    def _preload_now(self) -> None:
        self._preload_due = False
        for line in (self._main, *self._lines.values()):
            self._preload_line(line)

    def end(self) -> None:
        """Ends all of them, and waits until they are gone (their workers are then)."""
        self._ending = True
        root = self._main.root
        if root.pid and not root.ready and not root.link.closed:
            os.kill(root.pid, signal.SIGTERM)  # it would read the message below only when it has imported everything
        for zygote in self._all.values():
            if not zygote.link.closed:
                zygote.link.send(z.Quit())
                zygote.link.flush(1.0)
        deadline_s = self._daemon.loop.time() + END_LIMIT_S
        for line in (self._main, *self._lines.values()):
            _wait_ended(line.root.child_pid or line.root.pid, max(0.0, deadline_s - self._daemon.loop.time()))
        for zygote in self._all.values():
            zygote.link.close()

    # ------------------------------------------------------------ interpreters

    def start_interpreter(self, interpreter: Interpreter) -> None:
        """Starts a zygote under another interpreter; ``preparations`` are told when it can fork. Raises OSError."""
        self._generations += 1
        ours, theirs = socket.socketpair()
        config = self._exec_config()
        config["interpreter_kind"] = interpreter.kind
        config["is_root"] = False
        config["log_name"] = f"zygote-{interpreter.key[:8]}.log"
        log_path = os.path.join(config["session_folder"], "logs", config["log_name"])
        variables = {**os.environ, **interpreter.variables}
        with open(log_path, "ab") as log:
            pid = self._spawn(list(interpreter.command), config, ours, theirs, log, variables, interpreter.cwd or None)
        line = self._lines[interpreter.key] = _Line(interpreter)
        line.root = line.current = self._add(line, self._generations, 0, ours)
        line.root.child_pid = pid

    def stop_interpreter(self, key: str) -> None:
        """Its zygotes, if any, end with all workers."""
        line = self._lines.pop(key, None)
        if line is not None:
            os.kill(line.root.child_pid, signal.SIGKILL)  # not reaped yet; its end is seen on the link

    def _line_for(self, environment: str) -> _Line:
        interpreter = self._daemon.interpreter_of(environment)
        if interpreter is None:
            return self._main
        if interpreter.key not in self._lines:  # it has died, or was not used for long
            self.start_interpreter(interpreter)
        return self._lines[interpreter.key]

    def _on_interpreter_lost(self, line: _Line, interpreter: Interpreter) -> None:
        _wait_ended(line.root.child_pid, 0)
        if self._lines.get(interpreter.key) is not line:
            return  # it was ended on purpose
        del self._lines[interpreter.key]
        path = os.path.join(self._daemon.config["session_folder"], "logs", f"zygote-{interpreter.key[:8]}.log")
        with open(path, "rb") as log:
            tail = log.read()[-LOG_TAIL_BYTES:].decode(errors="replace")
        self._daemon.preparations.zygote_lost(interpreter.key, tail)

    def _retire_line_if_unused(self, line: _Line) -> None:
        """Called some time after a worker of it has ended."""
        busy = any(zygote.workers or zygote.expected for zygote in self._all.values() if zygote.line is line)
        unused_s = self._daemon.loop.time() - line.used_s
        if line.interpreter is not None and self._lines.get(line.interpreter.key) is line and not busy and unused_s >= UNUSED_S:
            del self._lines[line.interpreter.key]
            line.root.link.send(z.Quit())

    # ------------------------------------------------------------ successors

    def _preload_line(self, line: _Line) -> None:
        line.attempts = 0
        if self._modules and not self._ending:
            self._start_successor(line)

    def _start_successor(self, line: _Line) -> None:
        if line.attempts > SUCCESSOR_ATTEMPTS_MAX or line.root.link.closed:
            return
        line.attempts += 1
        self._generations += 1
        ours, theirs = socket.socketpair()
        self._add(line, self._generations, 0, ours)
        names = [name for name in self._modules if name not in self._excluded]
        self._send(line.root, z.Preload(names, self._generations), [theirs.detach()])

    def _on_ready(self, zygote: _Zygote, pid: int) -> None:
        zygote.ready, zygote.pid = True, pid
        line = zygote.line
        if zygote.generation >= line.current.generation:
            former, line.current = line.current, zygote
            self._retire_if_unused(former)
        if zygote is line.root and line.interpreter is not None:
            self._daemon.preparations.zygote_ready(line.interpreter.key)
            self._daemon.loop.call_later(PRELOAD_DELAY_S, lambda: self._preload_line(line))

    def _retire_if_unused(self, zygote: _Zygote) -> None:
        """A former successor without workers is not needed; roots stay."""
        in_use = zygote in (zygote.line.root, zygote.line.current)
        if not in_use and zygote.ready and not zygote.workers and not zygote.expected:
            zygote.link.send(z.Quit())
        if zygote.line.interpreter is not None and not zygote.workers:
            self._daemon.loop.call_later(UNUSED_S, lambda: self._retire_line_if_unused(zygote.line))

    # ------------------------------------------------------------ messages

    def _add(self, line: _Line, generation: int, pid: int, link: socket.socket) -> _Zygote:
        zygote = _Zygote(line, generation, pid)
        zygote.link = Connection(
            self._daemon.loop, link, lambda body: self._on_message(zygote, body), lambda: self._on_lost(zygote)
        )
        self._all[generation] = zygote
        return zygote

    def _send(self, zygote: _Zygote, message: Message, fds: list[int]) -> None:
        zygote.link.send(message, 0, fds)
        self._to_close.append((zygote, fds))
        while self._to_close and (self._to_close[0][0].link.closed or self._to_close[0][0].link.sent_all()):
            for fd in self._to_close.popleft()[1]:
                os.close(fd)

    def _on_message(self, zygote: _Zygote, body: bytes) -> None:
        message = z.decode_from_zygote(body)
        if isinstance(message, z.Forked):
            zygote.expected.discard(message.slot)
            zygote.workers[message.slot] = message.pid
            self._daemon.on_forked(message.slot, message.pid, zygote.generation)
            if message.slot in self._doomed:
                self._doomed.discard(message.slot)
                self.signal(message.pid, zygote.generation, signal.SIGKILL)
        elif isinstance(message, z.Exited):
            zygote.workers.pop(message.slot, None)
            self._daemon.on_died(message.slot, message.pid, message.exit_code, message.peak_bytes)
            self._retire_if_unused(zygote)
        elif isinstance(message, z.ForkFailed):
            zygote.expected.discard(message.slot)
            self._daemon.on_died(message.slot, 0, 1, 0)
        elif isinstance(message, z.Ready):
            self._on_ready(zygote, message.pid)
        else:
            self._exclude(message.module)
            self._start_successor(zygote.line)

    def _exclude(self, module: str) -> None:
        """``module`` starts a thread when it is imported. When two of a package do, the package itself does, and all that is
        in it."""
        package = module.partition(".")[0]
        siblings = {name for name in self._modules if name.partition(".")[0] == package}
        self._excluded |= siblings if siblings & self._excluded else {module}

    def _on_lost(self, zygote: _Zygote) -> None:
        if self._ending:
            return
        self._all.pop(zygote.generation, None)
        dead = [*zygote.workers.items(), *((slot, 0) for slot in zygote.expected)]
        line = zygote.line
        if zygote is line.current:
            line.current = line.root
        if zygote is line.root and line.interpreter is not None:
            self._on_interpreter_lost(line, line.interpreter)
        if zygote is self._main.root:
            try:
                os.waitpid(zygote.pid, 0)
            except ChildProcessError:
                zygote.pid = 0
            self._failed_starts = 0 if zygote.ready else self._failed_starts + 1
            if self._failed_starts >= FAILED_STARTS_MAX:
                print("no zygote comes up, see zygote.log: the node ends", file=sys.stderr, flush=True)
                self._daemon.end(1)
                return
            self._restart_root()
        if dead:
            self._daemon.zygote_lost(dead)
        # Successors of a root that has gone end soon after it, as our children.
        self._daemon.loop.call_later(REAP_DELAY_S, lambda: leftovers.reap_orphans(self._daemon.child_pids()))

    def _restart_root(self) -> None:
        """By exec: this process has threads now. Its successors die with the old root by themselves."""
        ours, theirs = socket.socketpair()
        pid = self._spawn([sys.executable], self._exec_config(), ours, theirs)
        self._generations += 1
        self._main.root = self._main.current = self._add(self._main, self._generations, pid, ours)
        self._preload_line(self._main)

    def _exec_config(self) -> dict[str, Any]:
        return {**self._daemon.config, "arena_fd": self._arena_fd}

    def _spawn(
        self,
        interpreter: list[str],
        config: dict[str, Any],
        ours: socket.socket,
        theirs: socket.socket,
        output: IO[bytes] | None = None,
        variables: dict[str, str] | None = None,
        cwd: str | None = None,
    ) -> int:
        """Starts a zygote at the other end of ``ours``; its pid, or that of what runs it."""
        import subprocess

        main = os.path.join(config["package_folder"], "node", "__main__.py")
        send_config(ours, config)
        try:
            process = subprocess.Popen(
                [*interpreter, main, "--zygote", str(theirs.fileno())],
                pass_fds=[theirs.fileno(), self._arena_fd],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=variables,
                cwd=cwd,
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        process.returncode = 0  # reaped by its pid, not by subprocess
        return process.pid


def _wait_ended(pid: int, timeout_s: float) -> None:
    """Reaps our child; kills it when it does not end by itself."""
    fd = -1
    try:
        fd = os.pidfd_open(pid)
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        if not poll.poll(timeout_s * 1000):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        return
    finally:
        if fd >= 0:
            os.close(fd)
