"""The first milliseconds of a node: arena, zygote, welcome. Imports as little as it can; the daemon's own imports come when
the zygote has forked the first workers.

Who dies, and what is true then: this process before the welcome -> the driver reads EOF and raises; the zygote gets SIGTERM
from the kernel. The driver -> its socket closes, the daemon (``shoal.node.daemon``) ends everything."""

from __future__ import annotations

import marshal
import os
import socket
import struct
import sys
from typing import Any

from shoal import _kernel
from shoal.core.native import session_folder, spill_folders

WELCOME = struct.Struct("<4sII")
WELCOME_MAGIC = b"SHL1"
FAILED_MAGIC = b"SHLX"
DEFAULT_CLASS_ID = 1
_LENGTH = struct.Struct("<I")


def main(arguments: list[str]) -> None:
    """Never returns."""
    try:
        if arguments[:1] == ["--embedded"]:
            _embedded(socket.socket(fileno=int(arguments[1])))
        elif arguments[:1] == ["--zygote"]:
            _zygote(socket.socket(fileno=int(arguments[1])))
        elif arguments[:1] == ["--prepare"]:
            _prepare(socket.socket(fileno=int(arguments[1])))
        else:
            from shoal.node.standalone import configuration

            _run(configuration(arguments), None)
    except KeyboardInterrupt:
        os._exit(130)


def send_config(link: socket.socket, config: dict[str, Any]) -> None:
    """Configuration for a process started with one of these options; marshal, since both ends are one version of Python."""
    body = marshal.dumps(config)
    link.sendall(_LENGTH.pack(len(body)) + body)


def _receive_config(link: socket.socket) -> dict[str, Any]:
    (length,) = _LENGTH.unpack(_receive_exactly(link, _LENGTH.size))
    config: dict[str, Any] = marshal.loads(_receive_exactly(link, length))
    return config


def _receive_exactly(link: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = link.recv(size - len(data))
        if not part:
            os._exit(1)  # whoever started us is gone
        data += part
    return data


def _embedded(link: socket.socket) -> None:
    _run(_receive_config(link), link)


def _run(config: dict[str, Any], driver: socket.socket | None) -> None:
    try:
        arena_fd = _kernel.create_arena(
            config["capacity_bytes"],
            spill_folders.joined(config["spill_folders"]),
            config["cores"],
            bytes.fromhex(config["session_id"]),
        )
        driver_slot = _kernel.reserve_slot(_kernel.ROLE_DRIVER) if driver is not None else 0
        slots = [_kernel.reserve_slot(_kernel.ROLE_WORKER) for _ in range(config["initial_workers"])]
        queue = _default_queue(driver_slot, slots) if driver is not None else 0
    except Exception as error:
        if driver is None:
            raise
        text = str(error).encode()
        driver.sendall(WELCOME.pack(FAILED_MAGIC, len(text), 0) + text)
        os._exit(1)
    if driver is not None:
        socket.send_fds(driver, [WELCOME.pack(WELCOME_MAGIC, driver_slot, queue)], [arena_fd])
    # Before the first worker runs: its first task may submit others, while the daemon still makes itself ready.
    server = session_folder.listen(config["session_folder"])
    link, zygote_end = socket.socketpair()
    pipes = [(*_pipe(), *_pipe()) for _ in slots]
    daemon_pid = os.getpid()
    zygote_pid = os.fork()
    if zygote_pid == 0:
        link.close()
        server.close()
        if driver is not None:
            driver.close()
        for out, _, err, _ in pipes:
            os.close(out)
            os.close(err)
        from shoal.node.zygote import run_zygote

        config["arena_fd"] = arena_fd
        run_zygote(zygote_end, config, daemon_pid, [(slot, pipe[1], pipe[3]) for slot, pipe in zip(slots, pipes, strict=True)])
    with open("/proc/self/comm", "w", encoding="ascii") as name:  # what ps and top show: now, and not when all is imported
        name.write("shoal-daemon")
    zygote_end.close()
    for _, out, _, err in pipes:
        os.close(out)
        os.close(err)
    if slots:
        link.recv(1)  # the first workers are forked, or the zygote is dead: until now our imports would have delayed it
    from shoal.node.daemon import Daemon

    first = [(slot, pipe[0], pipe[2]) for slot, pipe in zip(slots, pipes, strict=True)]
    status = Daemon(config, arena_fd, link, zygote_pid, driver, driver_slot, server, first, queue).run()
    sys.stdout.flush()
    os._exit(status)


def _default_queue(driver_slot: int, slots: list[int]) -> int:
    """The driver's queue for tasks of the default class. The first workers are leased to it from the start, so that the first
    task waits for no decision of the daemon; the brain is told of these leases when it exists."""
    queue: int = _kernel.create_queue(driver_slot, DEFAULT_CLASS_ID, False)
    for slot in slots:
        _kernel.assign(slot, queue)
    return queue


def _zygote(link: socket.socket) -> None:
    from shoal.node.zygote import run_zygote

    config = _receive_config(link)
    _kernel.attach_arena(config["arena_fd"])
    run_zygote(link, config, os.getppid(), [])


def _prepare(link: socket.socket) -> None:
    from shoal.node.preparation import run_preparation

    run_preparation(link, _receive_config(link), os.getppid())


def _pipe() -> tuple[int, int]:
    return os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
