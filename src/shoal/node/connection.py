"""A framed connection inside the daemon's loop: to a driver, a worker or a zygote."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable

from shoal.core.native.messages import FrameReader, Message, ProtocolError, encode_frame
from shoal.node.event_loop import EventLoop

READ_BYTES = 1 << 18


class Connection:
    """Never blocks. ``on_frame(body)`` for each frame; ``on_close()`` once, when the other end is gone or spoke nonsense."""

    def __init__(
        self, loop: EventLoop, link: socket.socket, on_frame: Callable[[bytes], None], on_close: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._socket = link
        self._on_frame = on_frame
        self._on_close = on_close
        self._reader = FrameReader()
        self._outgoing: deque[tuple[memoryview, list[int]]] = deque()
        self._writing = False
        self.closed = False
        link.setblocking(False)
        loop.add_reader(link.fileno(), self._read)

    def send(self, message: Message, request_id: int = 0, fds: list[int] | None = None) -> None:
        """Queues the message; descriptors must stay open until it was sent (``sent_all``). Nothing happens once closed."""
        if self.closed:
            return
        self._outgoing.append((memoryview(encode_frame(request_id, message)), fds or []))
        if not self._writing:
            self._write()

    def sent_all(self) -> bool:
        return not self._outgoing

    def close(self) -> None:
        """Does not call ``on_close``."""
        if not self.closed:
            self.closed = True
            self._loop.remove_reader(self._socket.fileno())
            self._loop.remove_writer(self._socket.fileno())
            self._socket.close()

    def flush(self, timeout_s: float) -> None:
        """Sends what is queued, blocking at most ``timeout_s``."""
        self._socket.settimeout(timeout_s)
        try:
            while self._outgoing and not self.closed:
                data, fds = self._outgoing.popleft()
                socket.send_fds(self._socket, [data[:1]], fds) if fds else self._socket.sendall(data[:1])
                self._socket.sendall(data[1:])
        except OSError:
            self._outgoing.clear()  # nobody is there to read it

    def _read(self) -> None:
        try:
            data = self._socket.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._lost()
            return
        try:
            for body in self._reader.feed(data):
                self._on_frame(body)
                if self.closed:
                    return
        except ProtocolError:
            self._lost()

    def _write(self) -> None:
        try:
            while self._outgoing:
                data, fds = self._outgoing[0]
                sent = socket.send_fds(self._socket, [data], fds) if fds else self._socket.send(data)
                if sent < len(data):
                    self._outgoing[0] = (data[sent:], [])
                else:
                    self._outgoing.popleft()
        except (BlockingIOError, InterruptedError):
            if not self._writing:
                self._writing = True
                self._loop.add_writer(self._socket.fileno(), self._write)
            return
        except OSError:
            self._outgoing.clear()  # the reader will see the end
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._socket.fileno())

    def _lost(self) -> None:
        if not self.closed:
            self.close()
            self._on_close()
