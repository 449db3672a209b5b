"""Damaged control messages: the decoder answers with ProtocolError or a message, and with nothing else."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
from tests.fuzz.mutations import mutated

from shoal.core.native import messages as m
from shoal.node import zygote_messages as z

CHUNK_MAX = 300


def seeds() -> list[bytes]:
    """One frame of each kind of message, with something in every field."""
    kinds = [kind for module in (m, z) for kind in vars(module).values() if _is_message(kind)]
    return [m.encode_frame(number, _example(kind)) for number, kind in enumerate(kinds)]


def one_input(data: bytes) -> None:
    """Raises what a decoder may not raise."""
    reader = m.FrameReader()
    try:
        for start in range(0, len(data), CHUNK_MAX):
            for body in reader.feed(data[start : start + CHUNK_MAX]):
                _decode(body)
    except m.ProtocolError:
        return
    _decode(data[4:])


def batch(chance: random.Random, count: int, folder: Path) -> None:
    good = seeds()
    for data in good:
        one_input(data)
    for _ in range(count):
        one_input(mutated(chance, chance.choice(good), good))


def _decode(body: bytes) -> None:
    for decode in (m.decode_request, m.decode_answer, z.decode_to_zygote, z.decode_from_zygote):
        try:
            decode(body)
        except m.ProtocolError:
            continue


def _is_message(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, m.Message) and kind is not m.Message


def _example(kind: type[m.Message]) -> m.Message:
    """Values of the fields' types: an empty container would leave its items out of the game."""
    return kind(*(_value(field.type) for field in msgspec.structs.fields(kind)))


def _value(kind: object) -> object:
    info = msgspec.inspect.type_info(kind)
    return _of_info(info)


def _of_info(info: msgspec.inspect.Type) -> object:
    inspect = msgspec.inspect
    if isinstance(info, inspect.UnionType):
        return _of_info(info.types[0])
    if isinstance(info, (inspect.ListType, inspect.VarTupleType)):
        return [_of_info(info.item_type)]
    if isinstance(info, inspect.TupleType):
        return tuple(_of_info(item) for item in info.item_types)
    if isinstance(info, inspect.DictType):
        return {_of_info(info.key_type): _of_info(info.value_type)}
    if isinstance(info, inspect.StructType):
        return _example(info.cls)
    plain: dict[type, object] = {
        inspect.IntType: 3,
        inspect.FloatType: 1.5,
        inspect.BoolType: True,
        inspect.StrType: "text",
        inspect.BytesType: b"bytes",
        inspect.NoneType: None,
    }
    return plain[type(info)]
