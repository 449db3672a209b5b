"""Breakpoints in tasks and actors: ``shoal.util.pdb.set_trace()`` stops there and says how to attach to it.

The debugger listens on a unix socket in the session's folder, which only the user can open. In the driver it is plain pdb.
"""

from __future__ import annotations

import contextlib
import os
import pdb  # noqa: T100  what this module offers
import socket
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import shoal

__all__ = ["attach", "open_breakpoints", "post_mortem", "set_trace"]

_FOLDER_NAME = "breakpoints"


def set_trace(breakpoint_uuid: str | None = None) -> None:
    """Stops here. In a task or actor waits until a debugger attaches; in the driver opens pdb in this terminal.

    ``breakpoint()`` of the standard library is left as it is, in the driver and in workers. Raises NotImplementedError for
    ``breakpoint_uuid``, by which Ray's own debugger goes from task to task.
    """
    if breakpoint_uuid is not None:
        raise NotImplementedError(f"set_trace() does not support breakpoint_uuid, but got breakpoint_uuid={breakpoint_uuid!r}")
    frame = sys._getframe().f_back
    assert frame is not None
    if not _in_worker():
        pdb.Pdb(nosigint=True).set_trace(frame)
        return
    _RemotePdb(_connection_at(f"{frame.f_code.co_filename}:{frame.f_lineno}")).set_trace(frame)


def post_mortem(error: BaseException | None = None) -> None:
    """Looks at the stack of ``error`` (None: the exception that is being handled), as ``set_trace`` does.

    Raises ValueError when there is no exception."""
    caught = error if error is not None else sys.exc_info()[1]
    if caught is None or caught.__traceback__ is None:
        raise ValueError("post_mortem() needs an exception with a traceback, but there is none")
    trace = caught.__traceback__
    if not _in_worker():
        pdb.post_mortem(trace)
        return
    debugger = _RemotePdb(_connection_at(traceback.format_exception_only(type(caught), caught)[-1].strip()))
    debugger.reset()
    debugger.interaction(None, trace)


def open_breakpoints() -> list[Path]:
    """The sockets of the breakpoints that wait in this session, the oldest first."""
    folder = _folder()
    return sorted(folder.glob("*.sock"), key=lambda path: path.stat().st_mtime) if folder.is_dir() else []


def attach(path: str | os.PathLike[str], commands: IO[str] | None = None, output: IO[str] | None = None) -> None:
    """Connects this terminal to the breakpoint at ``path``, until it goes on. Raises ConnectionError when nothing waits there.

    ``commands`` and ``output`` replace standard input and output."""
    source, target = commands or sys.stdin, output or sys.stdout
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            with _short(Path(path)) as short_path:
                connection.connect(short_path)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise ConnectionError(f"no breakpoint waits at {os.fspath(path)}") from error
        _talk(connection, source, target)


class _RemotePdb(pdb.Pdb):
    """pdb over a connection, which is closed when the program goes on."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._stream = connection.makefile("rw", encoding="utf-8", errors="replace")
        super().__init__(stdin=self._stream, stdout=self._stream, nosigint=True, readrc=False)
        self.use_rawinput = False

    def do_continue(self, arg: str) -> bool | None:
        going_on = super().do_continue(arg)
        self._close()
        return going_on

    do_c = do_cont = do_continue

    def do_quit(self, arg: str) -> bool | None:
        quitting = super().do_quit(arg)
        self._close()
        return quitting

    do_q = do_exit = do_quit

    def do_EOF(self, arg: str) -> bool | None:  # noqa: N802  the name that pdb looks for
        # The debugger hung up: the program goes on as if there had been no breakpoint.
        return self.do_continue(arg)

    def _close(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.close()
        self._connection.close()


def _connection_at(place: str) -> socket.socket:
    """Waits until somebody attaches."""
    with _listening() as (listener, path):
        command = f'{sys.executable} -c "from shoal.util.rpdb import attach; attach({str(path)!r})"'
        print(f"breakpoint at {place} in process {os.getpid()}. Attach with:\n  {command}", file=sys.stderr, flush=True)
        connection, _ = listener.accept()
        return connection


@contextlib.contextmanager
def _listening() -> Iterator[tuple[socket.socket, Path]]:
    folder = _folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{os.getpid()}-{os.urandom(4).hex()}.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        with _short(path) as short_path:
            listener.bind(short_path)
        try:
            path.chmod(0o600)
            listener.listen(1)
            yield listener, path
        finally:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """The path by way of its folder's descriptor: a socket address has room for about 100 bytes only."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _talk(connection: socket.socket, source: IO[str], target: IO[str]) -> None:
    stream = connection.makefile("rw", encoding="utf-8", errors="replace")
    while True:
        prompt = _until_prompt(stream)
        target.write(prompt)
        target.flush()
        if not prompt.endswith(_PROMPT):
            return
        line = source.readline()
        if not line:
            return
        stream.write(line if line.endswith("\n") else line + "\n")
        stream.flush()


_PROMPT = "(Pdb) "


def _until_prompt(stream: IO[str]) -> str:
    text = ""
    while not text.endswith(_PROMPT):
        character = stream.read(1)
        if not character:
            break
        text += character
    return text


def _in_worker() -> bool:
    return shoal.is_initialized() and shoal.get_runtime_context().get_task_id() is not None


def _folder() -> Path:
    context = shoal.get_runtime_context()
    base = Path(context.get_temp_dir() or tempfile.gettempdir()) / context.get_session_name()
    return base / _FOLDER_NAME
