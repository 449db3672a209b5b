"""Mixed work while random workers are killed and the object store is too small: each result is checked against what it must be.

    python tests/chaos/chaos.py --seconds 600 --seed 1

Ends with exit code 0 when nothing hung, nothing was wrong and nothing was left. The seed repeats a run,
apart from how the system schedules it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

import shoal
from shoal import _kernel

HANG_S = 60.0
STORE_BYTES = 80 * 1024 * 1024
OPEN_WORK = 48
WORKER_NAMES = ("shoal-worker", "shoal-actor")

Check = Callable[[], None]


@shoal.remote(max_retries=-1)
def double(x: int) -> int:
    return 2 * x


@shoal.remote(max_retries=-1)
def slow_double(x: int, seconds: float) -> int:
    time.sleep(seconds)  # the work itself takes time
    return 2 * x


@shoal.remote(max_retries=-1)
def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@shoal.remote(max_retries=-1)
def tree(depth: int) -> int:
    return 1 if depth == 0 else sum(shoal.get([tree.remote(depth - 1) for _ in range(2)]))


@shoal.remote(max_retries=-1)
def count_up(n: int) -> Any:
    for i in range(n):
        time.sleep(0.001)  # the work itself takes time
        yield i


@shoal.remote(max_retries=-1)
def extended(data: bytes, by: int) -> bytes:
    return data + bytes([by]) * 40_000


@shoal.remote(max_restarts=-1, max_task_retries=-1, num_cpus=0)
class Squarer:
    def square(self, x: int) -> int:
        return x * x


@shoal.remote(max_restarts=-1, max_task_retries=-1, num_cpus=0)
class AsyncSquarer:
    async def square(self, x: int) -> int:
        return x * x


class Chaos:
    """Starts pieces of work; each returns a check to be made later."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.actors: list[Any] = [Squarer.remote(), Squarer.remote(), AsyncSquarer.remote()]
        self.done: Counter[str] = Counter()
        self.spilled = 0
        context = shoal.get_runtime_context()
        self.folder = Path(context.get_temp_dir()) / context.get_session_name()
        self.kinds = (
            self.task,
            self.chain,
            self.call,
            self.stream,
            self.object,
            self.nested,
            self.cancelled,
            self.new_actor,
            self.lost,
        )

    def start(self) -> Check:
        return self.random.choice(self.kinds)()

    def task(self) -> Check:
        x = self.random.randrange(1000)
        ref = slow_double.remote(x, self.random.random() * 0.02)
        return lambda: self._equal("task", shoal.get(ref, timeout=HANG_S), 2 * x)

    def chain(self) -> Check:
        length = self.random.randrange(2, 30)
        ref = double.remote(1)
        for _ in range(length - 1):
            ref = double.remote(ref)
        return lambda: self._equal("chain", shoal.get(ref, timeout=HANG_S), 2**length)

    def call(self) -> Check:
        actor = self.random.choice(self.actors)
        numbers = [self.random.randrange(1000) for _ in range(self.random.randrange(1, 20))]
        refs = [actor.square.remote(x) for x in numbers]
        return lambda: self._equal("call", shoal.get(refs, timeout=HANG_S), [x * x for x in numbers])

    def stream(self) -> Check:
        n = self.random.randrange(1, 30)
        stream = count_up.remote(n)
        return lambda: self._equal("stream", [shoal.get(ref, timeout=HANG_S) for ref in stream], list(range(n)))

    def object(self) -> Check:
        data = self.random.randbytes(self.random.choice((10, 1_000, 50_000, 500_000, 4_000_000, 24_000_000)))
        ref = shoal.put(data)
        remote = digest.remote(ref)
        self.spilled = max(self.spilled, _kernel.memory_stats()["spilled_objects"])

        def check() -> None:
            self._equal("object", shoal.get(ref, timeout=HANG_S), data)
            self._equal("digest", shoal.get(remote, timeout=HANG_S), hashlib.sha256(data).hexdigest())

        return check

    def lost(self) -> Check:
        """A value whose file is removed, of a chain of which nobody holds the other values."""
        numbers = [self.random.randrange(256) for _ in range(self.random.randrange(1, 8))]
        ref: Any = b""
        for number in numbers:
            ref = extended.remote(ref, number)

        def check() -> None:
            shoal.wait([ref], timeout=HANG_S)
            _kernel.spill(2**30)
            for path in self.folder.rglob(ref.hex()[:16]):
                path.unlink()
                self.done["files removed"] += 1
            self._equal("lost", shoal.get(ref, timeout=HANG_S), b"".join(bytes([number]) * 40_000 for number in numbers))

        return check

    def nested(self) -> Check:
        depth = self.random.randrange(1, 4)
        ref = tree.remote(depth)
        return lambda: self._equal("nested", shoal.get(ref, timeout=HANG_S), 2**depth)

    def cancelled(self) -> Check:
        x = self.random.randrange(1000)
        ref = slow_double.remote(x, 0.05)
        shoal.cancel(ref, force=self.random.random() < 0.3)

        def check() -> None:
            try:
                self._equal("cancelled, but done", shoal.get(ref, timeout=HANG_S), 2 * x)
            except shoal.exceptions.TaskCancelledError:
                self.done["cancelled"] += 1

        return check

    def new_actor(self) -> Check:
        place = self.random.randrange(len(self.actors))
        self.actors[place] = self.random.choice((Squarer, AsyncSquarer)).remote()
        ref = self.actors[place].square.remote(7)
        return lambda: self._equal("new actor", shoal.get(ref, timeout=HANG_S), 49)

    def _equal(self, kind: str, found: Any, wanted: Any) -> None:
        if found != wanted:
            raise AssertionError(f"{kind}: got {str(found)[:200]}, but it must be {str(wanted)[:200]}")
        self.done[kind] += 1


class Killer(threading.Thread):
    """Ends a random worker of this process's session now and then."""

    def __init__(self, seed: int) -> None:
        super().__init__(daemon=True)
        self._random = random.Random(seed)
        self._stop_asked = threading.Event()
        self.kills = 0

    def run(self) -> None:
        me = psutil.Process()
        while not self._stop_asked.wait(self._random.uniform(0.05, 0.4)):
            workers = [child.pid for child in me.children(recursive=True) if _name_of(child) in WORKER_NAMES]
            if workers:
                self._kill(self._random.choice(workers))

    def stop(self) -> None:
        self._stop_asked.set()
        self.join()

    def _kill(self, pid: int) -> None:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return  # it ended by itself
        self.kills += 1


def run(seconds: float, seed: int) -> None:
    """Raises at the first wrong value, hang or leftover."""
    shoal.init(num_cpus=2, object_store_memory=STORE_BYTES, log_to_driver=False)
    before = _kernel.memory_stats()["records"]
    chaos, killer = Chaos(seed), Killer(seed)
    killer.start()
    end_s = time.monotonic() + seconds
    open_work: list[Check] = []
    while time.monotonic() < end_s:
        open_work.append(chaos.start())
        if len(open_work) >= OPEN_WORK:
            open_work.pop(chaos.random.randrange(OPEN_WORK))()
    while open_work:
        open_work.pop()()
    killer.stop()
    stats = _kernel.memory_stats()
    children = psutil.Process().children(recursive=True)
    folder = shoal.get_runtime_context().get_temp_dir()
    shoal.shutdown()
    _gone, left = psutil.wait_procs(children, timeout=5)
    spilled = max(chaos.spilled, stats["spilled_objects"])
    print(
        f"seed {seed}: {killer.kills} kills, {dict(chaos.done)}, records {before} -> {stats['records']}, most spilled {spilled}"
    )
    if left:
        raise AssertionError(f"processes are left: {left}")
    print(f"nothing hung, nothing was wrong, nothing is left (sessions under {folder})")


def _name_of(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.NoSuchProcess:
        return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    run(options.seconds, options.seed)


if __name__ == "__main__":
    sys.exit(main())
