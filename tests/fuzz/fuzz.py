"""Damaged input for the decoders and wrong calls of the kernel: ``make fuzz``.

``fuzz.py --seconds 60 --seed 1 [--targets messages values kernel]``. Work is done in batches, each in a process of its own: one
that is ended by a signal, hangs, grows, or raises, fails, and is told with the command that repeats it. A batch depends on the
seed and its number alone."""

from __future__ import annotations

import argparse
import os
import random
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

TARGETS = ("messages", "values", "kernel")
BATCH_SIZES = {"messages": 5000, "values": 1000, "kernel": 300}
BATCH_LIMIT_S = 30.0
MEMORY_BYTES = 1 << 30
"""Private memory that a batch may have: a length out of nowhere is a MemoryError. The arena does not count."""
TOLD_CALLS = 40


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=TARGETS)
    parser.add_argument("--batches", type=int, help="so many of each target, however long they take")
    parser.add_argument("--batch", type=int, help="only the batch with this number")
    options = parser.parse_args(arguments)
    count = fuzz(options.targets, options.seed, _numbers(options))
    print(f"{count} batches: nothing ended by a signal, nothing hung, nothing raised what it may not")
    return 0


def _numbers(options: argparse.Namespace) -> Iterator[int]:
    """Of the batches that are to be run."""
    if options.batch is not None:
        yield options.batch
        return
    end = time.monotonic() + options.seconds
    number = 0
    while number < options.batches if options.batches else not number or time.monotonic() < end:
        yield number
        number += 1


def fuzz(targets: list[str], seed: int, numbers: Iterator[int]) -> int:
    """How many batches there were. Raises SystemExit with what went wrong in the first one that failed."""
    import shoal.core.native.hooks  # so that no batch has to

    shoal.core.native.hooks.install()
    count = 0
    for number in numbers:
        for target in targets:
            wrong = run_batch(target, seed, number)
            if wrong:
                repeat = f"tests/fuzz/fuzz.py --targets {target} --seed {seed} --batch {number}"
                raise SystemExit(f"{target}, seed {seed}, batch {number}: {wrong}\nrepeat it with: {repeat}")
            count += 1
    return count


def run_batch(target: str, seed: int, number: int) -> str:
    """What went wrong in the batch, in a fork of this process; "" when nothing did."""
    from tests import temporary_folders

    folder = temporary_folders.make("shoal-fuzz-")
    try:
        return _run(target, seed, number, folder)
    finally:
        temporary_folders.remove(folder)


def _run(target: str, seed: int, number: int, folder: Path) -> str:
    pid = os.fork()
    if pid == 0:
        _be_the_batch(target, seed, number, folder)
    pidfd = os.pidfd_open(pid)
    ended = bool(select.select([pidfd], [], [], BATCH_LIMIT_S)[0])
    os.close(pidfd)
    if not ended:
        os.kill(pid, signal.SIGABRT)  # the fault handler shows where it is
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    said = (folder / "said").read_text(errors="replace") if (folder / "said").exists() else ""
    if not ended:
        return f"no end within {BATCH_LIMIT_S} s\n{_last(folder)}{said}"
    if status < 0:
        return f"ended by {signal.Signals(-status).name}\n{_last(folder)}{said}"
    if status:
        return f"{_last(folder)}{said}" or f"ended with {status}"
    return ""


def _last(folder: Path) -> str:
    calls = folder / "calls"
    if not calls.exists():
        return ""
    lines = calls.read_text(errors="replace").splitlines()[-TOLD_CALLS:]
    return "".join(f"  {line}\n" for line in lines)


def _be_the_batch(target: str, seed: int, number: int, folder: Path) -> None:
    import faulthandler

    said = os.open(folder / "said", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(said, 1)
    os.dup2(said, 2)
    status = 1
    try:
        faulthandler.enable()
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _batch_of(target)(random.Random(f"{target} {seed} {number}"), BATCH_SIZES[target], folder)
        status = 0
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    os._exit(status)


def _batch_of(target: str) -> Callable[[random.Random, int, Path], None]:
    from tests.fuzz import kernel_target, messages_target, values_target

    return {"messages": messages_target.batch, "values": values_target.batch, "kernel": kernel_target.batch}[target]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
