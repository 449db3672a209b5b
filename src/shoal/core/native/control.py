"""A process's connection to its node daemon: blocking, thread-safe, opened when it is first needed.

Threads that wait for answers take turns reading, so there is no reading thread unless somebody wants notifications
(``watch``). Who dies, and what is true then: the daemon -> every waiting and later request raises LocalRayletDiedError,
``watch``'s ``on_death`` is called once; this process -> the daemon reads EOF."""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from shoal.core.native.daemon_log import last_words
from shoal.core.native.session_folder import socket_address
from shoal.exceptions import GetTimeoutError, LocalRayletDiedError, RaySystemError

if TYPE_CHECKING:
    from shoal.core.native.messages import Answer, Message

_facts: dict[str, Any] = {}


class RequestFailed(Exception):
    """The daemon refused a request. ``kind``: infeasible, unschedulable, name_taken, not_found, removed, invalid."""

    def __init__(self, kind: str, message: str, facts: dict[str, str], handle: bytes) -> None:
        super().__init__(message)
        self.kind = kind
        self.facts = facts
        self.handle = handle


def set_worker_facts(facts: dict[str, Any]) -> None:
    """What a zygote knows of the node; the workers it forks find it in ``worker_facts``."""
    _facts.update(facts)


def worker_facts() -> dict[str, Any]:
    """In a worker: session_folder, node_id, session_id, resources, labels, ... of its node."""
    return _facts


class ControlClient:
    """See the module. ``ControlClient(socket)`` for a driver that started its daemon; ``connect`` for everybody else."""

    def __init__(self, link: socket.socket, daemon_pid: int = 0, session_folder: str = "") -> None:
        self._socket = link
        self._pid = os.getpid()
        self._daemon_pid = daemon_pid
        self._session_folder = session_folder
        self._next_id = 1
        self._send_lock = threading.Lock()
        self._state = threading.Condition()
        self._reading = False
        self._answers: dict[int, Answer] = {}
        self._waiting: set[int] = set()
        self._dead: str | None = None
        self._closed = False
        self._ending = False
        self._reader: Any = None
        self._on_notification: Callable[[Answer], None] | None = None
        self._on_death: Callable[[], None] | None = None
        link.setblocking(True)

    @classmethod
    def connect(
        cls, session_folder: str, slot: int = 0, namespace: str = "", log_to_driver: bool = False
    ) -> tuple[ControlClient, Any, int]:
        """Connects to the daemon of a session folder: (client, Welcome, arena descriptor).

        ``slot`` is the caller's own in a worker (the descriptor is then -1), 0 in a driver. Raises ConnectionError."""
        from shoal.core.native import messages as m

        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            with socket_address(session_folder) as address:
                link.connect(address)
            link.sendall(m.encode_frame(1, m.Hello(os.getpid(), slot, namespace, log_to_driver)))
            data, fds, _, _ = socket.recv_fds(link, 1 << 16, 1)
            reader = m.FrameReader()
            bodies = reader.feed(data)
            while data and not bodies:
                data = link.recv(1 << 16)
                bodies = reader.feed(data)
        except OSError as error:
            link.close()
            raise ConnectionError(f"there is no node daemon at {session_folder}: {error}") from error
        if not bodies:
            link.close()
            raise ConnectionError(f"the node daemon at {session_folder} refused the connection")
        _, welcome = m.decode_answer(bodies[0])
        if not isinstance(welcome, m.Welcome):
            link.close()
            raise ConnectionError(f"the node daemon at {session_folder} answered {welcome}")
        return cls(link, welcome.daemon_pid, session_folder), welcome, fds[0] if fds else -1

    def request(self, message: Message, timeout_s: float | None = None) -> Any:
        """The answer. Raises RequestFailed when the daemon refuses, RaySystemError when it made a mistake, GetTimeoutError,
        LocalRayletDiedError."""
        from shoal.core.native.messages import INTERNAL, Failure, Shutdown

        with self._state:
            request_id = self._next_id
            self._next_id += 1
            self._waiting.add(request_id)
        try:
            self._send(request_id, message)
            answer = self._wait(request_id, None if timeout_s is None else time.monotonic() + timeout_s, message)
        finally:
            with self._state:
                self._waiting.discard(request_id)
                self._answers.pop(request_id, None)
        if isinstance(answer, Failure) and answer.kind == INTERNAL:
            raise RaySystemError(answer.message)
        if isinstance(answer, Failure):
            raise RequestFailed(answer.kind, answer.message, answer.facts, answer.handle)
        if isinstance(message, Shutdown):
            self.close()  # what follows is the end that was asked for
        return answer

    def send(self, message: Message) -> None:
        """One way. Raises LocalRayletDiedError when the daemon is known to be gone."""
        self._send(0, message)

    def watch(self, on_notification: Callable[[Answer], None], on_death: Callable[[], None] | None = None) -> None:
        """Starts the reading thread: ``on_notification`` for log lines and error events, ``on_death`` when the daemon dies."""
        with self._state:
            if self._on_notification is not None:
                raise RaySystemError("the control connection is watched already")
            self._on_notification, self._on_death = on_notification, on_death
        threading.Thread(target=self._watch, name="shoal-control", daemon=True).start()

    @property
    def alive(self) -> bool:
        return self._dead is None and not self._closed

    def fileno(self) -> int:
        return self._socket.fileno()

    def end_node(self, timeout_s: float) -> None:
        """Asks the daemon to end, and waits until its workers are gone and what they printed last has arrived.

        Raises what ``request`` raises. The daemon's end is no death that ``watch`` would report."""
        from shoal.core.native.messages import Shutdown

        self._ending = True
        self.request(Shutdown(), timeout_s)

    def close(self) -> None:
        """Hangs up: for an embedding driver, the end of the node."""
        with self._state:
            if self._closed:
                return
            self._closed = True
            self._state.notify_all()
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            self._dead = self._dead or "the connection was lost"
        if not self._reading:
            self._socket.close()

    # ------------------------------------------------------------ helpers

    def _send(self, request_id: int, message: Message) -> None:
        from shoal.core.native.messages import encode_frame

        self._check()
        frame = encode_frame(request_id, message)
        try:
            with self._send_lock:
                self._socket.sendall(frame)
        except OSError as error:
            self._lose(f"sending failed: {error.strerror}")
            self._check()

    def _check(self) -> None:
        if os.getpid() != self._pid:
            raise RaySystemError("a forked process cannot use the control connection of its parent")
        if self._closed:
            raise RaySystemError("the session has ended")
        if self._dead is not None:
            raise LocalRayletDiedError(f"The node daemon of this machine (pid {self._daemon_pid}) has died: {self._dead}")

    def _wait(self, request_id: int, deadline_s: float | None, message: Message) -> Answer:
        """Reads for everybody until our answer is there, or waits for whoever reads now."""
        while True:
            with self._state:
                while request_id not in self._answers and self._reading and self._dead is None and not self._closed:
                    if not self._state.wait(_left(deadline_s)) and _left(deadline_s) == 0:
                        raise _timed_out(message)
                if request_id in self._answers:
                    return self._answers.pop(request_id)
                self._check()
                self._reading = True
            try:
                readable = self._read(deadline_s)
            finally:
                with self._state:
                    self._reading = False
                    self._state.notify_all()
            if not readable and request_id not in self._answers and _left(deadline_s) == 0:
                raise _timed_out(message)

    def _watch(self) -> None:
        while True:
            with self._state:
                while self._reading and self._dead is None and not self._closed:
                    self._state.wait()
                if self._dead is not None or self._closed:
                    break
                self._reading = True
            try:
                self._read(None)
            finally:
                with self._state:
                    self._reading = False
                    self._state.notify_all()
        if self._closed:
            self._socket.close()
        elif self._on_death is not None and not self._ending:
            self._on_death()

    def _read(self, deadline_s: float | None) -> bool:
        """Reads once and hands out what came; False after a timeout. Only whoever set ``_reading`` may call it."""
        from shoal.core.native.messages import FrameReader, ProtocolError, decode_answer

        if self._reader is None:
            self._reader = FrameReader()
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        left_s = _left(deadline_s)
        if not poll.poll(None if left_s is None else left_s * 1000):
            return False
        try:
            data = self._socket.recv(1 << 18)
            bodies = [decode_answer(body) for body in self._reader.feed(data)]
        except (OSError, ProtocolError) as error:
            self._lose(str(error))
            return True
        if not data:
            self._lose("its connection was closed")
        # First what was told: a warning that was sent before an answer is shown when its asker goes on.
        if self._on_notification is not None:
            for request_id, notification in bodies:
                if request_id == 0:
                    self._on_notification(notification)
        with self._state:
            for request_id, answer in bodies:
                if request_id in self._waiting:
                    self._answers[request_id] = answer
            self._state.notify_all()
        return True

    def _lose(self, reason: str) -> None:
        with self._state:
            if self._dead is None:
                self._dead = f"{reason}.{last_words(self._session_folder)}"
            self._state.notify_all()


def _left(deadline_s: float | None) -> float | None:
    return None if deadline_s is None else max(0.0, deadline_s - time.monotonic())


def _timed_out(message: Message) -> GetTimeoutError:
    return GetTimeoutError(f"the node daemon did not answer {type(message).__name__} in time")
