"""Failures: the first error is the real one, tasks are retried, actors restart, and no wait goes on for ever."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

import shoal
from shoal.exceptions import GetTimeoutError, WorkerCrashedError


@shoal.remote
def divide(a: float, b: float) -> float:
    return a / b


@shoal.remote(max_retries=2)
def dies_the_first_time(marker: str) -> str:
    if not Path(marker).exists():
        Path(marker).touch()
        os._exit(1)
    return "the second attempt went well"


@shoal.remote(max_retries=0)
def dies_always() -> None:
    os._exit(3)


@shoal.remote(max_restarts=1, max_task_retries=1)
class Fragile:
    def __init__(self) -> None:
        self.calls = 0

    def call(self) -> int:
        self.calls += 1
        return self.calls

    def die(self, marker: str) -> str:
        if not Path(marker).exists():
            Path(marker).touch()
            os._exit(1)
        return "retried after the restart"


@shoal.remote
class Waiting:
    async def forever(self) -> None:
        await asyncio.Event().wait()


def main() -> None:
    try:
        shoal.get(divide.remote(1, 0))
    except ZeroDivisionError as error:
        print("the task's own exception:", str(error).splitlines()[-1])

    with tempfile.TemporaryDirectory() as folder:
        print("retry:", shoal.get(dies_the_first_time.remote(f"{folder}/task")))
        fragile = Fragile.remote()
        shoal.get([fragile.call.remote(), fragile.call.remote()])
        print("actor:", shoal.get(fragile.die.remote(f"{folder}/actor")))
        print("its state is new:", shoal.get(fragile.call.remote()) == 1)

    try:
        shoal.get(dies_always.remote())
    except WorkerCrashedError:
        print("a death without retries is an error with a cause")

    try:
        shoal.get(Waiting.remote().forever.remote(), timeout=0.2)
    except GetTimeoutError:
        print("get with a limit gives up")


if __name__ == "__main__":
    with shoal.init():
        main()
