"""Damaged values: bytes in the arena and in files that are not what was written. Reading them raises, and does nothing else.

Pickles are programs: a damaged one may call what it likes, so the good ones name nothing that does harm, and what a damaged one
finds in the modules at hand is left to chance. numpy itself ends in SIGSEGV when the pickle of a dtype lacks a part: pickles
that name numpy stay whole in the arena, which nobody else can write to. In files they are damaged too: there a checksum keeps
what is not as written from being unpickled. Memory is limited, so that a length out of nowhere is a MemoryError."""

from __future__ import annotations

import gc
import mmap
import os
import random
import struct
from pathlib import Path
from typing import Any

import numpy
from tests.fuzz.mutations import mutated

from shoal import _kernel

MARK = b"a value that is to be found again"
STORE_BYTES = 32 << 20
ON_DISK = 2
BIG = 3000  # above it a buffer is a view into the arena
HEAD = struct.Struct("<IIQ")  # of a value with references or buffers: how many of each, and the bytes of the pickle


class Damaged:
    """A value in the arena whose bytes can be overwritten and put right again."""

    def __init__(self, value: Any, arena: mmap.mmap) -> None:
        self.ref = _kernel.put_value(value)
        self.good = _kernel.raw_value(self.ref)
        self._arena = arena
        # Blocks are at the end of the arena; what is before them is much, and looking at it would make its pages.
        self._at = arena.find(self.good, len(arena) - STORE_BYTES)
        assert self._at >= 0
        self._kept = pickle_place(self.good) if b"numpy" in self.good else slice(0, 0)

    def read_with(self, data: bytes) -> None:
        """Raises nothing, whatever the bytes are; the next reader finds the good ones."""
        data = data[: self._kept.start] + self.good[self._kept] + data[self._kept.stop :]
        self._arena[self._at : self._at + len(self.good)] = data
        try:
            _kernel.get(self.ref)
        except Exception:
            return
        finally:
            self._arena[self._at : self._at + len(self.good)] = self.good


def pickle_place(value: bytes) -> slice:
    references, buffers, pickle_bytes = HEAD.unpack_from(value)
    start = HEAD.size + (4 * references + 7) // 8 * 8 + 16 * buffers
    return slice(start, start + pickle_bytes)


def good_values() -> list[Any]:
    inner = [_kernel.put_value([number, MARK]) for number in range(30)]
    return [
        [MARK, {"a": (1, 2.5, None, True), "b": ["text" * 10, b"bytes" * 10, 2**100]}],
        MARK.decode() + " in a text of some length",
        MARK + bytes(range(256)),
        inner,
        tuple(inner),
        {"refs": inner[:5], "mark": MARK, "more": [inner[7]]},
        numpy.arange(BIG, dtype=numpy.uint8),
        [numpy.arange(10), numpy.ones(BIG), numpy.zeros((7, 3), dtype=numpy.int16), MARK],
        {"refs": inner[:3], "array": numpy.full(BIG, 7), "mark": MARK},
    ]


def batch(chance: random.Random, count: int, folder: Path) -> None:
    """In a process that has no arena yet."""
    descriptor = _kernel.create_arena(STORE_BYTES, str(folder / "spilled"), 2, os.urandom(8))
    with mmap.mmap(descriptor, 0) as arena:
        values = [Damaged(value, arena) for value in good_values()]
        for _ in range(count):
            value = chance.choice(values)
            value.read_with(mutated(chance, value.good, [value.good], same_length=True))
        for value in values:
            _kernel.get(value.ref)
    _damage_files(chance, count // 10, folder / "spilled")
    gc.collect()


def _damage_files(chance: random.Random, count: int, folder: Path) -> None:
    """Spilled values whose files were changed, cut short, or removed: what can be read is right, but for a buffer's bytes."""
    refs = [_kernel.put_value([numpy.arange(BIG * 8, dtype=numpy.uint8), MARK, number]) for number in range(4)]
    refs.append(_kernel.put_value([[float(number) for number in range(BIG)], MARK, 4]))
    refs.append(_kernel.put_value([[str(number) for number in range(BIG)], MARK, 5]))
    _kernel.spill(1 << 40)
    assert all(_kernel.record_where(ref.record) == ON_DISK for ref in refs)
    files = {path: path.read_bytes() for path in sorted(folder.iterdir())}
    for _ in range(count):
        path = chance.choice(list(files))
        change = chance.choice(("damage", "cut", "remove"))
        if change == "remove":
            path.unlink()
        else:
            path.write_bytes(mutated(chance, files[path], [files[path]], same_length=change == "damage"))
        for number, ref in enumerate(refs):
            try:
                value = _kernel.get(ref)
            except Exception:
                continue
            assert value[1:] == [MARK, number] and len(value[0]) in (BIG, BIG * 8), value
        path.write_bytes(files[path])
    assert [_kernel.get(ref)[2] for ref in refs] == list(range(6))
