"""Measures one engine in this interpreter: ``python measure.py shoal|ray|joblib GROUP``. ``compare.py`` runs it for each.

Both engines speak the same API, so each figure is one function. Rates are medians of three rounds after a warm-up.
The last line printed is ``FIGURES`` and a JSON object.
"""

from __future__ import annotations

import importlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil

Figures = dict[str, float]
BATCH = 1000


def rate(step: Callable[[], Any], per_step: float, seconds: float = 1.0, rounds: int = 3) -> float:
    """How much ``step`` does in a second, when one step does ``per_step``."""
    step()
    found = []
    for _ in range(rounds):
        done = 0.0
        started = time.perf_counter()
        while time.perf_counter() - started < seconds:
            step()
            done += per_step
        found.append(done / (time.perf_counter() - started))
    return statistics.median(found)


def seconds_of(step: Callable[[], Any]) -> float:
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


def family() -> list[psutil.Process]:
    """Every process of the session but the driver."""
    return psutil.Process().children(recursive=True)


def private_mb(processes: list[psutil.Process]) -> float:
    return sum(process.memory_full_info().uss for process in processes) / 1e6


def whole_mb() -> float:
    """Memory of driver and session together, with shared pages counted once."""
    return sum(process.memory_full_info().pss for process in [psutil.Process(), *family()]) / 1e6


def measure_start(ray: Any, figures: Figures) -> None:
    """The module was imported and the session started by `main`, which timed both."""

    @ray.remote
    def first() -> bytes:
        return b"ok"

    figures["first_result_s"] = seconds_of(lambda: ray.get(first.remote()))
    figures["import_init_first_s"] = figures["import_s"] + figures["init_s"] + figures["first_result_s"]
    time.sleep(3)  # until what starts in the background has settled
    processes = family()
    figures["idle_mb"] = private_mb(processes)
    figures["idle_processes"] = len(processes)
    before = sum(sum(process.cpu_times()[:2]) for process in processes)
    time.sleep(5)
    figures["idle_cpu_percent"] = (sum(sum(process.cpu_times()[:2]) for process in processes) - before) / 5 * 100


def measure_tasks(ray: Any, figures: Figures) -> None:
    @ray.remote
    def small(x: Any = None) -> bytes:
        return b"ok"

    @ray.remote
    def increment(x: int) -> int:
        return x + 1

    def chain() -> None:
        ref = increment.remote(0)
        for _ in range(499):
            ref = increment.remote(ref)
        assert ray.get(ref) == 500

    def drain() -> None:
        refs = [small.remote() for _ in range(BATCH)]
        while refs:
            _, refs = ray.wait(refs)

    kilobyte = b"x" * 1000
    figures["tasks_sync_per_s"] = rate(lambda: ray.get(small.remote()), 1)
    figures["tasks_async_per_s"] = rate(lambda: ray.get([small.remote() for _ in range(BATCH)]), BATCH)
    figures["tasks_1kb_argument_per_s"] = rate(lambda: ray.get([small.remote(kilobyte) for _ in range(BATCH)]), BATCH)
    figures["chain_of_500_s"] = seconds_of(chain)
    figures["wait_1000_one_by_one_per_s"] = rate(drain, BATCH, rounds=1)


def measure_actors(ray: Any, figures: Figures) -> None:
    @ray.remote(num_cpus=0)
    class Actor:
        def small(self) -> bytes:
            return b"ok"

        def pid(self) -> int:
            return os.getpid()

        def many(self, others: list[Any], calls: int) -> None:
            ray.get([other.small.remote() for _ in range(calls) for other in others])

    @ray.remote(num_cpus=0)
    class AsyncActor:
        async def small(self) -> bytes:
            return b"ok"

    for name, actor in (("actor", Actor.remote()), ("async_actor", AsyncActor.remote())):
        figures[f"{name}_sync_per_s"] = rate(lambda actor=actor: ray.get(actor.small.remote()), 1)
        figures[f"{name}_async_per_s"] = rate(lambda actor=actor: ray.get([actor.small.remote() for _ in range(BATCH)]), BATCH)
    servers = [Actor.remote() for _ in range(2)]
    clients = [Actor.remote() for _ in range(2)]
    figures["actors_n_to_n_per_s"] = rate(
        lambda: ray.get([client.many.remote(servers, 250) for client in clients]), 2 * 2 * 250
    )
    # The same number for both engines: rates of creation depend on it.
    number = int(os.environ.get("ACTORS", "20"))
    crowd: list[Any] = []

    def create() -> None:
        crowd.extend(Actor.remote() for _ in range(number))
        ray.get([actor.small.remote() for actor in crowd])

    figures["actors_created_per_s"] = number / seconds_of(create)
    pids = ray.get([actor.pid.remote() for actor in crowd])
    figures["actor_mb"] = statistics.median(private_mb([psutil.Process(pid)]) for pid in pids)


def measure_objects(ray: Any, figures: Figures) -> None:
    figures["put_small_per_s"] = rate(lambda: [ray.put(0) for _ in range(100)], 100)
    small = ray.put(0)
    figures["get_small_per_s"] = rate(lambda: [ray.get(small) for _ in range(100)], 100)
    block = np.ones(100 * 1024 * 1024 // 8)
    target = np.empty_like(block)
    figures["put_100mb_gb_per_s"] = rate(lambda: ray.put(block), block.nbytes / 1e9, seconds=2)
    figures["memcpy_gb_per_s"] = rate(lambda: np.copyto(target, block), block.nbytes / 1e9, seconds=0.5)
    figures["put_100mb_percent_of_memcpy"] = figures["put_100mb_gb_per_s"] / figures["memcpy_gb_per_s"] * 100
    big = ray.put(block)
    assert not ray.get(big).flags.writeable
    figures["get_100mb_us"] = 1e6 / rate(lambda: ray.get(big), 1, seconds=0.5)

    @ray.remote
    def holder() -> list[Any]:
        return [ray.put(1) for _ in range(10_000)]

    many = holder.remote()
    ray.get(many)
    figures["get_10000_refs_per_s"] = rate(lambda: ray.get(many), 1, seconds=2, rounds=1)


def measure_scale(ray: Any, figures: Figures) -> None:
    @ray.remote
    def number_of(*arguments: Any) -> int:
        return len(arguments)

    @ray.remote(num_returns=3000)
    def three_thousand() -> tuple[int, ...]:
        return tuple(range(3000))

    ray.get(number_of.remote())
    arguments = [ray.put(index) for index in range(10_000)]
    figures["arguments_10000_s"] = seconds_of(lambda: ray.get(number_of.remote(*arguments)))
    figures["returns_3000_s"] = seconds_of(lambda: ray.get(three_thousand.remote()))
    figures["get_10000_objects_s"] = seconds_of(lambda: ray.get(arguments))


def measure_calls(ray: Any, figures: Figures) -> None:
    """10,000 tiny calls whose results are collected: what joblib is measured with, too."""

    @ray.remote
    def square(x: int) -> int:
        return x * x

    ray.get(square.remote(0))
    figures["calls_10000_s"] = min(seconds_of(lambda: ray.get([square.remote(x) for x in range(10_000)])) for _ in range(3))


def measure_limits(ray: Any, figures: Figures) -> None:
    """What takes another engine minutes: by default only measured on Shoal."""

    @ray.remote
    def nothing() -> None:
        return None

    @ray.remote
    def increment(x: int) -> int:
        return x + 1

    @ray.remote(num_cpus=0)
    class Actor:
        def small(self) -> bytes:
            return b"ok"

    ray.get([nothing.remote() for _ in range(1000)])
    figures["memory_before_mb"] = whole_mb()
    figures["million_tasks_s"] = seconds_of(lambda: ray.get([nothing.remote() for _ in range(1_000_000)]))
    figures["memory_given_back_after_s"], figures["memory_after_mb"] = settled_memory(1.5 * figures["memory_before_mb"])

    ref = increment.remote(0)
    for _ in range(999):
        ref = increment.remote(ref)
    until = time.perf_counter() + 3
    while time.perf_counter() < until:
        hash(until)  # the driver is deep in Python and does not help
    figures["chain_of_1000_left_after_3s_loop_s"] = seconds_of(lambda: ray.get(ref))

    actors: list[Any] = []
    figures["live_actors_1000_s"] = seconds_of(
        lambda: (actors.extend(Actor.remote() for _ in range(1000)), ray.get([a.small.remote() for a in actors]))
    )
    figures["live_actors_1000_called_again_s"] = seconds_of(lambda: ray.get([a.small.remote() for a in actors]))


def settled_memory(wanted_mb: float, limit_s: float = 30.0) -> tuple[float, float]:
    """(seconds until memory was at most ``wanted_mb``, or the limit; what it was then)."""
    started = time.perf_counter()
    while True:
        now_mb = whole_mb()
        waited_s = time.perf_counter() - started
        if now_mb <= wanted_mb or waited_s > limit_s:
            return waited_s, now_mb
        time.sleep(0.25)


def measure_joblib(figures: Figures) -> None:
    from joblib import Parallel, delayed

    with Parallel(n_jobs=2) as parallel:
        parallel(delayed(pow)(x, 2) for x in range(10))
        figures["calls_10000_s"] = min(
            seconds_of(lambda: parallel(delayed(pow)(x, 2) for x in range(10_000))) for _ in range(3)
        )


GROUPS: dict[str, Callable[[Any, Figures], None]] = {
    "start": measure_start,
    "tasks": measure_tasks,
    "actors": measure_actors,
    "objects": measure_objects,
    "scale": measure_scale,
    "calls": measure_calls,
    "limits": measure_limits,
}


def main(engine: str, group: str) -> None:
    figures: Figures = {}
    if engine == "joblib":
        measure_joblib(figures)
    else:
        started = time.perf_counter()
        ray = importlib.import_module(engine)
        figures["import_s"] = time.perf_counter() - started
        figures["init_s"] = seconds_of(lambda: ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR"))
        GROUPS[group](ray, figures)
        figures["shutdown_s"] = seconds_of(ray.shutdown)
    print("FIGURES " + json.dumps({name: float(f"{value:.4g}") for name, value in figures.items()}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
