"""The control protocol: what one end writes the other reads, and bytes that are no frame are refused."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.native import messages as m
from shoal.node import zygote_messages as z


def body_of(frame: bytes) -> bytes:
    (body,) = m.FrameReader().feed(frame)
    return body


@pytest.mark.parametrize(
    "message",
    [
        m.Hello(1, 2, "ns", True),
        m.RegisterClass({"CPU": 1.0}, {"zone": "a"}),
        m.CreateActor(1, 2, b"id", 3, 4, [5, 6], b"spec", 7, name="n"),
        m.CreatePlacementGroup(b"g", [{"CPU": 1.0}]),
        m.KeyValuePut(b"n", b"k", b"v"),
        m.Shutdown(),
    ],
)
def test_requests_survive_the_wire(message: m.Message) -> None:
    assert m.decode_request(body_of(m.encode_frame(9, message))) == (9, message)


@pytest.mark.parametrize(
    "message",
    [
        m.Failure("kind", "text", {"a": "b"}, b"h"),
        m.Rows([{"a": 1, "b": 1.5, "c": "x", "d": {"CPU": 1.0}, "e": ["l"], "f": None, "g": True}], 1),
        m.LogLines(1, 2, "name", False, ["line"]),
        m.Value(None),
    ],
)
def test_answers_survive_the_wire(message: m.Message) -> None:
    assert m.decode_answer(body_of(m.encode_frame(9, message))) == (9, message)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_a_protocol_error(data: bytes) -> None:
    for decode in (m.decode_request, m.decode_answer, z.decode_to_zygote, z.decode_from_zygote):
        try:
            decode(data)
        except m.ProtocolError:
            continue


@given(st.recursive(st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text() | st.binary(), st.lists))
def test_any_values_are_a_message_or_a_protocol_error(value: object) -> None:
    data = msgspec.msgpack.encode([1, value])
    for decode in (m.decode_request, m.decode_answer):
        try:
            decode(data)
        except m.ProtocolError:
            continue


@given(st.lists(st.binary(max_size=50), max_size=5), st.integers(1, 7))
def test_frames_are_found_however_the_bytes_arrive(values: list[bytes], step: int) -> None:
    stream = b"".join(m.encode_frame(i, m.KeyValueGet(b"", value)) for i, value in enumerate(values))
    reader = m.FrameReader()
    bodies = [body for start in range(0, len(stream), step) for body in reader.feed(stream[start : start + step])]
    assert [m.decode_request(body) for body in bodies] == [(i, m.KeyValueGet(b"", value)) for i, value in enumerate(values)]
    assert not reader.incomplete


def test_a_frame_that_claims_too_much_is_refused_before_it_is_read() -> None:
    with pytest.raises(m.ProtocolError, match="at most"):
        m.FrameReader().feed(b"\xff\xff\xff\xff")
