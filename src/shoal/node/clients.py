"""Who is connected to the daemon: the embedding driver, drivers that come and go, workers with a question."""

from __future__ import annotations

import os
import shlex
import socket
import struct
from typing import TYPE_CHECKING

from shoal import _kernel
from shoal.core.native import messages as m
from shoal.node.connection import Connection
from shoal.node.events import DriverConnected

if TYPE_CHECKING:
    from shoal.node.daemon import Daemon

_CREDENTIALS = struct.Struct("iII")


class _Client:
    def __init__(self, number: int, slot: int = 0, is_driver: bool = False) -> None:
        self.number = number
        self.slot = slot
        self.is_driver = is_driver
        self.greeted = is_driver
        self.wants_logs = False
        self.pid = 0
        self.link: Connection


class Clients:
    def __init__(self, daemon: Daemon, arena_fd: int, driver: socket.socket | None, driver_slot: int) -> None:
        self._daemon = daemon
        self._arena_fd = arena_fd
        self._clients: dict[int, _Client] = {}
        self._next = 1
        self._jobs = 1
        self._server: socket.socket | None = None
        self.embedded_client = 0
        if driver is not None:
            self.embedded_client = self._add(driver, driver_slot, True).number
            pid, namespace = daemon.config.get("parent_pid", 0), daemon.config.get("namespace", "")
            daemon.journal.job_began(self._jobs, driver_slot, pid, _entrypoint(pid), namespace)

    def serve(self, server: socket.socket) -> None:
        """Answers who has connected to the listening ``server`` and who will. Peers are checked."""
        server.setblocking(False)
        self._server = server
        self._daemon.loop.add_reader(server.fileno(), self._accept)

    def reply(self, number: int, request_id: int, message: m.Answer) -> None:
        client = self._clients.get(number)
        if client is not None and request_id:
            client.link.send(message, request_id)

    def notify(self, root: int, message: m.Answer) -> None:
        """To the driver with the slot ``root``, or to all drivers when no driver has it."""
        drivers = [client for client in self._clients.values() if client.is_driver]
        chosen = [client for client in drivers if client.slot == root] or drivers
        for client in chosen:
            if client.wants_logs or not isinstance(message, m.LogLines):
                client.link.send(message)

    def driver_slots(self) -> list[int]:
        return [client.slot for client in self._clients.values() if client.is_driver]

    def close(self) -> None:
        """Sends what is queued and hangs up."""
        if self._server is not None:
            self._daemon.loop.remove_reader(self._server.fileno())
            self._server.close()
        for client in self._clients.values():
            if not client.link.closed:
                client.link.flush(0.5)
                client.link.close()

    def _accept(self) -> None:
        assert self._server is not None
        try:
            link, _ = self._server.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        pid, uid, _ = _CREDENTIALS.unpack(link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        if uid != os.getuid():
            link.close()
            return
        self._add(link).pid = pid

    def _add(self, link: socket.socket, slot: int = 0, is_driver: bool = False) -> _Client:
        client = _Client(self._next, slot, is_driver)
        self._next += 1
        client.link = Connection(
            self._daemon.loop, link, lambda body: self._on_frame(client, body), lambda: self._on_close(client)
        )
        self._clients[client.number] = client
        return client

    def _on_frame(self, client: _Client, body: bytes) -> None:
        request_id, message = m.decode_request(body)
        if isinstance(message, m.Hello):
            self._check_slot(client, message.slot)
        elif not client.greeted:
            raise m.ProtocolError("the first message must be Hello")
        try:
            self._answer(client, request_id, message)
        except Exception as error:
            self._daemon.request_failed(client.number, client.slot, request_id, message, error)

    def _check_slot(self, client: _Client, slot: int) -> None:
        """Nobody speaks for another."""
        process = self._daemon.brain.processes.at(slot)
        if slot and (process is None or (process.pid and process.pid != client.pid)):
            raise m.ProtocolError(f"process {client.pid} does not have slot {slot}")

    def _answer(self, client: _Client, request_id: int, message: m.Request) -> None:
        if isinstance(message, m.Hello):
            self._greet(client, request_id, message)
        elif isinstance(message, m.Subscribe):
            client.wants_logs = message.log_to_driver
            self.reply(client.number, request_id, m.Done())
        else:
            self._daemon.on_request(client.number, client.slot, request_id, message)

    def _greet(self, client: _Client, request_id: int, hello: m.Hello) -> None:
        daemon = self._daemon
        fds: list[int] = []
        if hello.slot:
            client.slot = hello.slot
        elif not client.greeted:
            client.slot = _kernel.reserve_slot(_kernel.ROLE_DRIVER)
            _kernel.set_slot_pid(client.slot, client.pid)
            client.is_driver, client.wants_logs = True, hello.log_to_driver
            self._jobs += 1
            fds = [self._arena_fd]
            daemon.journal.job_began(self._jobs, client.slot, client.pid, _entrypoint(client.pid), hello.namespace)
            daemon.handle(DriverConnected(client.number, client.slot, hello.namespace))
        client.greeted = True
        config = daemon.config
        welcome = m.Welcome(
            client.slot,
            os.getpid(),
            config["node_id"],
            config["session_folder"],
            self._jobs,
            daemon.brain.default_class_id,
            config["resources"],
            config["labels"],
        )
        client.link.send(welcome, request_id, fds)

    def _on_close(self, client: _Client) -> None:
        self._clients.pop(client.number, None)
        if client.is_driver:
            self._daemon.on_driver_gone(client.number, client.slot)


def _entrypoint(pid: int) -> str:
    """The command line of the process; "" when it is gone already."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return shlex.join(file.read().decode(errors="replace").rstrip("\0").split("\0"))
    except OSError:
        return ""
