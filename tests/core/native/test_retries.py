from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import shoal
from shoal.exceptions import ActorDiedError, ActorUnavailableError, OwnerDiedError, RayActorError, WorkerCrashedError

pytestmark = pytest.mark.usefixtures("cluster")


def attempt(folder: Path) -> int:
    """Counts the attempts made with one folder, over all processes."""
    number = len(list(folder.iterdir()))
    (folder / f"{number}-{os.getpid()}").touch()
    return number


def test_a_task_whose_worker_dies_runs_again(tmp_path: Path) -> None:
    @shoal.remote(max_retries=2)
    def die_twice() -> int:
        number = attempt(tmp_path)
        if number < 2:
            os._exit(0 if number else 1)
        return number

    assert shoal.get(die_twice.remote(), timeout=30) == 2


def test_a_task_without_retries_fails_when_its_worker_dies() -> None:
    @shoal.remote(max_retries=0)
    def die() -> None:
        os._exit(9)

    with pytest.raises(WorkerCrashedError, match="9"):
        shoal.get(die.remote(), timeout=30)


def test_an_exception_is_retried_only_when_asked_for(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("plain", "any", "chosen", "other")]
    for folder in folders:
        folder.mkdir()

    @shoal.remote(max_retries=3)
    def fail_once(folder: Path) -> int:
        number = attempt(folder)
        if not number:
            raise KeyError("at first")
        return number

    with pytest.raises(KeyError):
        shoal.get(fail_once.remote(folders[0]))
    assert shoal.get(fail_once.options(retry_exceptions=True).remote(folders[1])) == 1
    assert shoal.get(fail_once.options(retry_exceptions=[KeyError]).remote(folders[2])) == 1
    with pytest.raises(KeyError):
        shoal.get(fail_once.options(retry_exceptions=[ValueError]).remote(folders[3]))


def test_retries_of_exceptions_are_counted(tmp_path: Path) -> None:
    @shoal.remote(max_retries=2, retry_exceptions=True)
    def fail() -> None:
        attempt(tmp_path)
        raise ValueError("always")

    with pytest.raises(ValueError, match="always"):
        shoal.get(fail.remote())
    assert len(list(tmp_path.iterdir())) == 3


def test_a_call_runs_again_after_its_actor_was_restarted(tmp_path: Path) -> None:
    @shoal.remote(num_cpus=0, max_restarts=1, max_task_retries=1)
    class Fragile:
        def die_once(self) -> int:
            number = attempt(tmp_path)
            if not number:
                os._exit(1)
            return number

    fragile = Fragile.remote()
    assert shoal.get(fragile.die_once.remote(), timeout=30) == 1


def test_a_call_without_retries_fails_and_later_ones_reach_the_restarted_actor() -> None:
    @shoal.remote(num_cpus=0, max_restarts=1)
    class Fragile:
        def die(self) -> None:
            os._exit(1)

        def pid(self) -> int:
            return os.getpid()

    fragile = Fragile.remote()
    first = shoal.get(fragile.pid.remote())
    with pytest.raises((ActorUnavailableError, ActorDiedError)):
        shoal.get(fragile.die.remote(), timeout=30)
    assert shoal.get(fragile.pid.remote(), timeout=30) != first
    with pytest.raises(RayActorError):
        shoal.get(fragile.die.remote(), timeout=30)
    with pytest.raises(ActorDiedError):
        shoal.get(fragile.pid.remote(), timeout=30)


def test_an_exception_of_a_method_is_retried_when_asked_for(tmp_path: Path) -> None:
    @shoal.remote(num_cpus=0)
    class Moody:
        def fail_once(self) -> int:
            number = attempt(tmp_path)
            if not number:
                raise KeyError("at first")
            return number

    moody = Moody.remote()
    assert shoal.get(moody.fail_once.options(max_task_retries=1, retry_exceptions=[KeyError]).remote()) == 1


def test_a_stream_that_is_retried_goes_on_where_its_reader_is(tmp_path: Path) -> None:
    @shoal.remote(max_retries=1)
    def items() -> Any:
        number = attempt(tmp_path)
        yield "first"
        if not number:
            os._exit(1)
        yield "second"

    assert [shoal.get(ref) for ref in items.remote()] == ["first", "second"]


def test_an_async_stream_is_retried_on_the_exceptions_asked_for(tmp_path: Path) -> None:
    @shoal.remote(num_cpus=0)
    class Source:
        async def items(self) -> Any:
            number = attempt(tmp_path)
            yield "first"
            if not number:
                raise KeyError("at first")
            yield "second"

    source = Source.remote()
    stream = source.items.options(max_task_retries=1, retry_exceptions=[KeyError]).remote()
    assert [shoal.get(ref) for ref in stream] == ["first", "second"]


def test_a_task_whose_worker_dies_as_its_owner_too_ends_with_an_error() -> None:
    @shoal.remote(num_cpus=4, max_retries=1)
    def nest(depth: int) -> Any:
        if not depth:
            os._exit(1)
        return nest.remote(depth - 1)

    found = nest.remote(3)
    with pytest.raises((OwnerDiedError, WorkerCrashedError)):
        while True:
            found = shoal.get(found, timeout=30)
