"""Tasks: a function that runs somewhere else. Calling it returns at once, with a reference to the result that will be."""

from __future__ import annotations

import shoal


@shoal.remote
def count_primes(start: int, stop: int) -> int:
    return sum(all(n % d for d in range(2, int(n**0.5) + 1)) for n in range(max(start, 2), stop))


@shoal.remote
def add(*counts: int) -> int:
    return sum(counts)


@shoal.remote(num_returns=2)
def smallest_and_largest(*counts: int) -> tuple[int, int]:
    return min(counts), max(counts)


def main() -> None:
    parts = [count_primes.remote(start, start + 2_000) for start in range(0, 20_000, 2_000)]
    # References are arguments: `add` starts when all parts are there, and gets their values.
    total = add.remote(*parts)
    low, high = smallest_and_largest.remote(*parts)
    print("primes below 20000:", shoal.get(total))
    print("fewest and most in a part:", shoal.get([low, high]))

    # In the order in which they finish:
    slow_and_fast = [count_primes.remote(0, 60_000), count_primes.remote(0, 10)]
    done, rest = shoal.wait(slow_and_fast)
    print("first to finish:", shoal.get(done[0]), "- still running:", len(rest))


if __name__ == "__main__":
    with shoal.init():
        main()
