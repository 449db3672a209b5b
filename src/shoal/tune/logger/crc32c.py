"""The checksum of TensorBoard's records: CRC-32C (Castagnoli) as the TFRecord format masks it, over whole blocks at once.

A CRC is linear: the checksum of a block is the exclusive or of what each byte gives at its distance from the end. With these in
a table numpy looks up a whole block in one step, where a loop over bytes in Python takes 0.1 us a byte.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

_POLYNOMIAL = 0x82F63B78  # reflected
_ALL_ONES = 0xFFFFFFFF
_BLOCK_BYTES = 256
_SHORT_BYTES = 32  # up to here the loop over bytes is quicker


def masked_crc32c(data: bytes) -> int:
    """The checksum that stands beside ``data`` in a record file."""
    checksum = crc32c(data)
    return (((checksum >> 15) | (checksum << 17)) + 0xA282EAD8) & _ALL_ONES


def crc32c(data: bytes) -> int:
    state = _ALL_ONES
    for start in range(0, len(data), _BLOCK_BYTES):
        block = data[start : start + _BLOCK_BYTES]
        state = _step_bytes(state, block) if len(block) <= _SHORT_BYTES else _step_block(state, block)
    return state ^ _ALL_ONES


def _step_bytes(state: int, block: bytes) -> int:
    table = _byte_table()
    for byte in block:
        state = table[(state ^ byte) & 0xFF] ^ (state >> 8)
    return state


def _step_block(state: int, block: bytes) -> int:
    """The state after ``block``: the state before it counts as four bytes more at its beginning."""
    first = int.from_bytes(block[:4], "little") ^ state
    values = np.frombuffer(first.to_bytes(4, "little") + block[4:], np.uint8)
    table, distances = _block_table()
    return int(np.bitwise_xor.reduce(table[distances[-len(values) :], values]))


@cache
def _byte_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (_POLYNOMIAL if byte & 1 else 0)
        table.append(byte)
    return table


@cache
def _block_table() -> tuple[Any, Any]:
    """What a byte gives, by its distance from the end of the block and its value; and the distances from the longest to 0."""
    last = np.array(_byte_table(), np.uint32)
    rows = [last]
    for _ in range(_BLOCK_BYTES - 1):
        rows.append(last[rows[-1] & 0xFF] ^ (rows[-1] >> np.uint32(8)))
    return np.stack(rows), np.arange(_BLOCK_BYTES - 1, -1, -1)
