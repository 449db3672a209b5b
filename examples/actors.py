"""Actors: an object that lives in a process of its own. Its methods run one after the other, in the order of the calls."""

from __future__ import annotations

import asyncio
from collections import Counter

import shoal


@shoal.remote
class WordCounter:
    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def read(self, text: str) -> int:
        self.counts.update(text.lower().split())
        return self.counts.total()

    def most_common(self, number: int) -> list[tuple[str, int]]:
        return self.counts.most_common(number)


@shoal.remote
class Greeter:
    """An actor with async methods answers many calls at a time."""

    def __init__(self) -> None:
        self.everybody_here = asyncio.Event()
        self.present = 0

    async def arrive(self, expected: int) -> str:
        self.present += 1
        if self.present == expected:
            self.everybody_here.set()
        await self.everybody_here.wait()
        return f"all {self.present} are here"


@shoal.remote
def read_through(counter: WordCounter, text: str) -> int:
    # A handle can be sent anywhere.
    return shoal.get(counter.read.remote(text))


def main() -> None:
    counter = WordCounter.options(name="words").remote()
    shoal.get([read_through.remote(counter, line) for line in ("the quick fox", "the lazy dog", "the end")])
    print("most common:", shoal.get(counter.most_common.remote(1)))
    # Whoever knows the name finds the actor.
    same = shoal.get_actor("words")
    print("words read:", shoal.get(same.read.remote("")))

    greeter = Greeter.remote()
    print(set(shoal.get([greeter.arrive.remote(5) for _ in range(5)])))


if __name__ == "__main__":
    with shoal.init():
        main()
