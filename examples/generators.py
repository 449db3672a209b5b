"""Streaming generators: a task that yields gives its results away one by one, while it goes on."""

from __future__ import annotations

from collections.abc import Iterator

import shoal


@shoal.remote
def blocks(number: int, size: int) -> Iterator[bytes]:
    for index in range(number):
        yield bytes([index]) * size


# At most two blocks wait for whoever reads them: memory stays small however long the stream is.
@shoal.remote(_generator_backpressure_num_objects=2)
def endless() -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1


@shoal.remote
def checksum(block: bytes) -> int:
    return sum(block)


def main() -> None:
    sums = [checksum.remote(block) for block in blocks.remote(5, 1_000)]
    print("sums of the blocks:", shoal.get(sums))

    stream = endless.remote()
    first = [shoal.get(next(stream)) for _ in range(5)]
    print("first of an endless stream:", first)
    shoal.cancel(stream)


if __name__ == "__main__":
    with shoal.init():
        main()
