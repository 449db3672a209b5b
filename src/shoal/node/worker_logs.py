"""What workers print: read from their pipes, kept in bounded files, forwarded line by line, and remembered for death reports.

A line whose end does not come is forwarded as far as it is PART_WAIT_S after its beginning; the rest then is a line of its own.

A worker's file is ``logs/worker-SLOT-PID.log``; at FILE_BYTES_MAX it becomes ``....log.1`` (replacing the older one). When all
files together exceed TOTAL_BYTES_MAX the oldest files of ended workers go. Nothing here costs anything while nobody prints.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable

from shoal.core.native.named_output import MARK
from shoal.node.event_loop import EventLoop

FILE_BYTES_MAX = 10 * 2**20
TOTAL_BYTES_MAX = 2**30
TAIL_LINES = 20
CRASH_LINES = 20
"""Lines of the interpreter's own report of a crash, told besides the last lines: its first ones show where it happened."""
LINE_BYTES_MAX = 64 * 1024
READ_BYTES = 1 << 16
PART_WAIT_S = 0.4

_MARK = MARK.encode()
_CRASH = "Fatal Python error:"

OnLines = Callable[[int, bool, list[str], str], None]


class WorkerLogs:
    """``on_lines(slot, is_error, lines, name)`` for lines and parts of lines, in the order in which they came on each stream;
    ``name`` is what the worker said who prints them, "" when it did not."""

    def __init__(self, loop: EventLoop, folder: str, on_lines: OnLines) -> None:
        self._loop = loop
        self._folder = folder
        self._on_lines = on_lines
        self._logs: dict[int, _WorkerLog] = {}
        self._ended: deque[tuple[str, int]] = deque()
        self._total_bytes = 0

    def watch(self, slot: int, out_fd: int, err_fd: int) -> None:
        """Takes over the reading ends of a worker's pipes."""
        log = _WorkerLog(self, slot, out_fd, err_fd)
        self._logs[slot] = log
        for stream in log.streams:
            self._loop.add_reader(stream.fd, stream.read)

    def set_pid(self, slot: int, pid: int) -> None:
        if slot in self._logs:
            self._logs[slot].set_pid(pid)

    def finish(self, slot: int) -> str:
        """After the worker's death: reads what is left in its pipes, closes them, and returns its last lines."""
        log = self._logs.pop(slot, None)
        if log is None:
            return ""
        for stream in log.streams:
            stream.read_all()
            stream.close()
        if log.path and log.size:
            self._ended.append((log.path, log.size))
        log.close()
        return "\n".join([*log.tail, *log.crash])

    def drain(self) -> None:
        """Forwards what is in the pipes now."""
        for log in list(self._logs.values()):
            for stream in log.streams:
                stream.read_all()

    def wrote(self, count: int) -> None:
        self._total_bytes += count
        while self._total_bytes > TOTAL_BYTES_MAX and self._ended:
            path, size = self._ended.popleft()
            for name in (path, path + ".1"):
                try:
                    os.unlink(name)
                except FileNotFoundError:
                    continue
            self._total_bytes -= size


class _WorkerLog:
    def __init__(self, logs: WorkerLogs, slot: int, out_fd: int, err_fd: int) -> None:
        self.logs = logs
        self.slot = slot
        self.pid = 0
        self.path = ""
        self.size = 0
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self.crash: list[str] = []
        self._file = -1
        self._file_bytes = 0
        self.streams = [_Stream(self, out_fd, False), _Stream(self, err_fd, True)]

    def set_pid(self, pid: int) -> None:
        """What a first worker prints may come before its number does: then its files are named anew."""
        self.pid, before = pid, self.path
        if before:
            self.path = self._named()
            for ending in ("", ".1"):
                with contextlib.suppress(FileNotFoundError):
                    os.replace(before + ending, self.path + ending)

    def _named(self) -> str:
        return os.path.join(self.logs._folder, f"worker-{self.slot}-{self.pid}.log")

    def remember(self, lines: list[str]) -> None:
        """For the report of its death."""
        if not self.crash:
            start = next((index for index, line in enumerate(lines) if line.startswith(_CRASH)), len(lines))
            self.tail.extend(lines[:start])
            lines = lines[start:]
        self.crash.extend(lines[: CRASH_LINES - len(self.crash)])

    def write(self, data: bytes) -> None:
        try:
            if self._file < 0:
                self.path = self._named()
                self._file = os.open(self.path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
            os.write(self._file, data)
        except OSError:
            return  # a full disk must not end the node; the lines still go to the driver
        self._file_bytes += len(data)
        self.size += len(data)
        self.logs.wrote(len(data))
        if self._file_bytes > FILE_BYTES_MAX:
            os.replace(self.path, self.path + ".1")
            self.logs.wrote(self._file_bytes - self.size)
            self.size = self._file_bytes
            self.close()

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file, self._file_bytes = -1, 0


class _Stream:
    def __init__(self, log: _WorkerLog, fd: int, is_error: bool) -> None:
        self.fd = fd
        self._log = log
        self._is_error = is_error
        self._rest = b""
        self._rest_since_s = 0.0
        self._told = b""  # what was forwarded of the line that has not ended
        self._name = ""
        self._awaits_rest = False
        self._closed = False
        os.set_blocking(fd, False)

    def read(self) -> bool:
        """Reads once; False when there is nothing (more)."""
        if self._closed:
            return False
        try:
            data = os.read(self.fd, READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self.close()
            return False
        is_new = not self._rest or b"\n" in data
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LINE_BYTES_MAX:
            lines.append(self._rest)
            self._rest = b""
        self._forward(lines)
        if self._rest:
            self._await_rest(is_new)
        return True

    def read_all(self) -> None:
        while self.read():
            continue

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._log.logs._loop.remove_reader(self.fd)
        os.close(self.fd)
        if self._rest or self._told:
            rest, self._rest = self._rest, b""
            self._forward([rest])

    def _await_rest(self, is_new: bool) -> None:
        """One timer at a time, and none while nobody prints."""
        loop = self._log.logs._loop
        if is_new:
            self._rest_since_s = loop.time()
        if not self._awaits_rest:
            self._awaits_rest = True
            loop.call_at(self._rest_since_s + PART_WAIT_S, self._tell_rest)

    def _tell_rest(self) -> None:
        self._awaits_rest = False
        if not self._rest or self._rest.startswith(_MARK[:1]):  # a mark has no meaning before its end
            return
        if self._log.logs._loop.time() < self._rest_since_s + PART_WAIT_S:
            self._await_rest(False)  # another line has begun since
            return
        part, self._rest = self._rest, b""
        self._log.write(part)
        self._told += part
        self._tell([part.rstrip(b"\r").rpartition(b"\r")[2]])  # of a progress bar, where it stands now
        if len(self._told) > LINE_BYTES_MAX:
            self._log.remember([_text(self._told)])
            self._told = b""

    def _forward(self, lines: list[bytes]) -> None:
        if lines and self._told:
            self._end_told_line(lines[0])
            lines = lines[1:]
        start = 0
        for index, line in enumerate(lines):
            if line.startswith(_MARK):
                self._hand_out(lines[start:index])
                self._name = line[len(_MARK) :].decode("utf-8", "replace")
                start = index + 1
        self._hand_out(lines[start:])

    def _end_told_line(self, end: bytes) -> None:
        self._log.write(end + b"\n")
        self._log.remember([_text(self._told + end)])
        self._told = b""
        if end.strip():
            self._tell([end])

    def _hand_out(self, lines: list[bytes]) -> None:
        if lines:
            self._log.write(b"\n".join([*lines, b""]))
            self._log.remember([_text(line) for line in lines])
            self._tell(lines)

    def _tell(self, lines: list[bytes]) -> None:
        self._log.logs._on_lines(self._log.slot, self._is_error, [_text(line) for line in lines], self._name)


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip("\r")
