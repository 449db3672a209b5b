"""The control connection: answers find their askers, and the daemon's death reaches everybody."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from shoal.core.native import messages as m
from shoal.core.native.control import ControlClient, RequestFailed
from shoal.exceptions import GetTimeoutError, LocalRayletDiedError, RaySystemError

PATIENCE_S = 10.0


class FakeDaemon:
    """The other end of a connection."""

    def __init__(self) -> None:
        self.link, theirs = socket.socketpair()
        self.client = ControlClient(theirs, 4711)
        self._reader = m.FrameReader()
        self._bodies: list[bytes] = []

    def receive(self) -> tuple[int, m.Request]:
        while not self._bodies:
            self._bodies += self._reader.feed(self.link.recv(1 << 16))
        return m.decode_request(self._bodies.pop(0))

    def answer(self, request_id: int, message: m.Message) -> None:
        self.link.sendall(m.encode_frame(request_id, message))


@pytest.fixture
def daemon() -> Iterator[FakeDaemon]:
    fake = FakeDaemon()
    yield fake
    fake.client.close()
    fake.link.close()


def test_answers_in_any_order_find_their_threads(daemon: FakeDaemon) -> None:
    found: dict[int, int] = {}

    def ask(number: int) -> None:
        key = str(number).encode()
        found[number] = daemon.client.request(m.KeyValueDelete(b"", key), PATIENCE_S).value

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    requests = [daemon.receive() for _ in threads]
    for request_id, message in reversed(requests):
        assert isinstance(message, m.KeyValueDelete)
        daemon.answer(request_id, m.Count(int(message.key) * 10))
    for thread in threads:
        thread.join(PATIENCE_S)
    assert found == {number: number * 10 for number in range(8)}


def test_a_refusal_is_raised_with_its_kind(daemon: FakeDaemon) -> None:
    daemon.answer(1, m.Failure("infeasible", "no", {"CPU": "2"}, b"h"))
    # Nobody waits for answer 1 yet when it is sent; the request gets that number.
    with pytest.raises(RequestFailed, match="no") as raised:
        daemon.client.request(m.Nodes(), PATIENCE_S)
    assert (raised.value.kind, raised.value.facts, raised.value.handle) == ("infeasible", {"CPU": "2"}, b"h")


def test_a_mistake_of_the_daemon_is_a_system_error(daemon: FakeDaemon) -> None:
    daemon.answer(1, m.Failure(m.INTERNAL, "the node daemon failed to carry out Nodes: KeyError: 1"))
    with pytest.raises(RaySystemError, match="failed to carry out Nodes"):
        daemon.client.request(m.Nodes(), PATIENCE_S)


def test_a_late_answer_is_dropped(daemon: FakeDaemon) -> None:
    with pytest.raises(GetTimeoutError):
        daemon.client.request(m.Nodes(), 0.01)
    late, _ = daemon.receive()
    daemon.answer(late, m.Count(1))
    daemon.answer(late + 1, m.Count(2))
    assert daemon.client.request(m.Nodes(), PATIENCE_S).value == 2


def test_the_daemons_death_ends_pending_and_later_requests(daemon: FakeDaemon) -> None:
    errors: list[BaseException] = []
    dead = threading.Event()

    def ask() -> None:
        try:
            daemon.client.request(m.Nodes())
        except LocalRayletDiedError as error:
            errors.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    daemon.receive()
    daemon.client.watch(lambda notification: None, dead.set)
    daemon.link.close()
    thread.join(PATIENCE_S)
    assert dead.wait(PATIENCE_S)
    assert "4711" in str(errors[0])
    with pytest.raises(LocalRayletDiedError):
        daemon.client.request(m.Nodes())
    with pytest.raises(LocalRayletDiedError):
        daemon.client.send(m.Nodes())


def test_bytes_that_are_no_answer_count_as_death(daemon: FakeDaemon) -> None:
    daemon.link.sendall(b"\x03\x00\x00\x00abc")
    with pytest.raises(LocalRayletDiedError):
        daemon.client.request(m.Nodes(), PATIENCE_S)


def test_notifications_arrive_between_answers(daemon: FakeDaemon) -> None:
    lines: list[object] = []
    arrived = threading.Event()

    def note(notification: object) -> None:
        lines.append(notification)
        arrived.set()

    daemon.client.watch(note)
    daemon.answer(0, m.LogLines(1, 2, "", False, ["hello"]))
    assert arrived.wait(PATIENCE_S)
    answering = threading.Thread(target=lambda: daemon.answer(daemon.receive()[0], m.Done()))
    answering.start()
    assert daemon.client.request(m.Nodes(), PATIENCE_S) == m.Done()
    answering.join(PATIENCE_S)
    assert lines == [m.LogLines(1, 2, "", False, ["hello"])]
    with pytest.raises(RaySystemError, match="watched already"):
        daemon.client.watch(note)


def test_what_is_told_before_an_answer_is_told_before_the_asker_goes_on(daemon: FakeDaemon) -> None:
    returned = threading.Event()
    told: list[bool] = []
    daemon.client.watch(lambda notification: told.append(returned.wait(0.2)))

    def ask() -> None:
        daemon.client.request(m.Nodes(), PATIENCE_S)
        returned.set()

    asker = threading.Thread(target=ask)
    asker.start()
    request_id, _ = daemon.receive()
    warning = m.encode_frame(0, m.ErrorEvent("daemon", "a warning"))
    daemon.link.sendall(warning + m.encode_frame(request_id, m.Done()))
    asker.join(PATIENCE_S)
    assert told == [False] and returned.is_set()


def test_a_closed_connection_says_that_the_session_has_ended(daemon: FakeDaemon) -> None:
    daemon.client.close()
    daemon.client.close()
    with pytest.raises(RaySystemError, match="ended"):
        daemon.client.request(m.Nodes())


def test_nothing_at_the_folder_is_a_connection_error(tmp_path: object) -> None:
    with pytest.raises(ConnectionError, match="no node daemon"):
        ControlClient.connect(str(tmp_path))
