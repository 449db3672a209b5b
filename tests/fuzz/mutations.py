"""Damaged copies of good bytes, drawn from a seed."""

from __future__ import annotations

import random

EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**63, 2**64 - 1)
CHANGES_MAX = 8


def mutated(chance: random.Random, data: bytes, others: list[bytes], same_length: bool = False) -> bytes:
    """A copy of ``data`` with a few changes: bits, numbers, and, unless ``same_length``, parts left out, repeated or taken from
    ``others``."""
    changed = bytearray(data)
    changes = [_flip_bit, _set_byte, _write_number, _copy_within]
    if not same_length:
        changes += [_cut, _insert, _truncate]
    for _ in range(chance.randint(1, CHANGES_MAX)):
        if not changed:
            break
        chance.choice(changes)(chance, changed)
    if not same_length and chance.random() < 0.1:
        changed += chance.choice(others)
    return bytes(changed)


def _place(chance: random.Random, data: bytearray) -> int:
    """Heads say how long everything else is: they are hit more often."""
    end = min(len(data), 32) if chance.random() < 0.5 else len(data)
    return chance.randrange(end)


def _flip_bit(chance: random.Random, data: bytearray) -> None:
    data[_place(chance, data)] ^= 1 << chance.randrange(8)


def _set_byte(chance: random.Random, data: bytearray) -> None:
    data[_place(chance, data)] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))


def _write_number(chance: random.Random, data: bytearray) -> None:
    size = chance.choice((1, 2, 4, 8))
    at = _place(chance, data)
    number = chance.choice(EDGES) % (1 << 8 * size)
    room = len(data) - at
    data[at : at + size] = number.to_bytes(size, chance.choice(("little", "big")))[:room]


def _copy_within(chance: random.Random, data: bytearray) -> None:
    size = chance.randint(1, 16)
    source, target = _place(chance, data), _place(chance, data)
    part = bytes(data[source : source + size])[: len(data) - target]
    data[target : target + len(part)] = part


def _cut(chance: random.Random, data: bytearray) -> None:
    at = _place(chance, data)
    del data[at : at + chance.randint(1, 16)]


def _insert(chance: random.Random, data: bytearray) -> None:
    at = _place(chance, data)
    data[at:at] = chance.randbytes(chance.randint(1, 16))


def _truncate(chance: random.Random, data: bytearray) -> None:
    del data[_place(chance, data) :]
