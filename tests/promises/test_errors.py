"""Promises about errors: the first one is the real one, a death says its cause, and all is silent when all is well."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from tests.faults.program import Program

import shoal
from shoal.exceptions import ActorDiedError, LocalRayletDiedError, OutOfMemoryError, RayTaskError, WorkerCrashedError

pytestmark = pytest.mark.fault

LINES_PRINTED = 30
LINES_TOLD = 20
HELD_MB = 40
TRIES = 5


# ---------------------------------------------------------------- exceptions of user code


class Refusal(Exception):
    """One that can be sent."""


class Demanding(Exception):
    """One whose constructor pickle cannot call again."""

    def __init__(self, code: int, *, reason: str) -> None:
        super().__init__(f"code {code}: {reason}")


class Holding(Exception):
    """One that cannot be pickled: it holds an open file."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.file = open(os.devnull)  # noqa: SIM115


class Exploding(Exception):
    """One that can be pickled, but not unpickled."""

    def __reduce__(self) -> Any:
        return _explode, ()


def _explode() -> None:
    raise RuntimeError("unpickled")


@shoal.remote(max_retries=0)
def fail(kind: str) -> None:
    raise_deep_down(kind)


def raise_deep_down(kind: str) -> None:
    if kind == "demanding":
        raise Demanding(7, reason="no such thing")
    if kind == "holding":
        raise Holding("no such thing")
    if kind == "exploding":
        raise Exploding("no such thing")
    raise Refusal("no such thing")


@shoal.remote(num_cpus=0)
class Failing:
    def fail(self, kind: str) -> None:
        raise_deep_down(kind)

    async def fail_async(self, kind: str) -> None:
        raise_deep_down(kind)


@pytest.mark.usefixtures("session")
def test_exception_arrives_with_its_type_and_remote_traceback_first() -> None:
    with pytest.raises(Refusal, match="no such thing") as caught:
        shoal.get(fail.remote("refusal"), timeout=30)
    assert isinstance(caught.value, RayTaskError)
    text = str(caught.value)
    assert text.startswith("ray::fail()"), "the remote traceback is the beginning of the message"
    assert "in raise_deep_down" in text and 'raise Refusal("no such thing")' in text
    assert isinstance(caught.value.cause, Refusal) and caught.value.cause.args == ("no such thing",)


@pytest.mark.usefixtures("session")
@pytest.mark.parametrize("by", ["task", "method", "async method"])
@pytest.mark.parametrize(("kind", "name"), [("demanding", "Demanding"), ("holding", "Holding"), ("exploding", "Exploding")])
def test_exception_that_cannot_be_sent_arrives_as_name_text_and_traceback(by: str, kind: str, name: str) -> None:
    if by == "task":
        ref = fail.remote(kind)
    else:
        actor = Failing.remote()
        ref = (actor.fail if by == "method" else actor.fail_async).remote(kind)
    with pytest.raises(RayTaskError) as caught:
        shoal.get(ref, timeout=30)
    text = str(caught.value)
    assert name in text and "no such thing" in text
    assert "in raise_deep_down" in text
    assert "Failed to unpickle" not in text.partition("in raise_deep_down")[0], "the user's own error is the first that is told"


# ---------------------------------------------------------------- deaths


def die(how: str) -> None:
    """Uses memory that is to be told, prints lines of which the last are to be told, and ends the process."""
    held = bytearray(os.urandom(1) * (HELD_MB * 2**20))
    for number in range(LINES_PRINTED):
        print(f"line {number} of {len(held)}", flush=True)
    if how == "SIGKILL":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "SIGTERM":
        os.kill(os.getpid(), signal.SIGTERM)
    elif how == "SIGSEGV":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif how == "exit code 3":
        os._exit(3)
    elif how == "segmentation fault":
        ctypes.string_at(0)
    else:
        time.sleep(1000)


@shoal.remote(max_retries=0)
def die_in_task(how: str) -> None:
    die(how)


@shoal.remote(num_cpus=0)
class Mortal:
    def die(self, how: str) -> None:
        die(how)


@shoal.remote(num_cpus=0)
class AsyncMortal:
    async def die_async(self, how: str) -> None:
        die(how)


WAYS = {
    "SIGKILL": "SIGKILL",
    "SIGTERM": "SIGTERM",
    "segmentation fault": "SIGSEGV",
    "exit code 3": "exited with code 3",
}
DYING = {
    "task": (WorkerCrashedError, lambda how: die_in_task.remote(how)),
    "actor": (ActorDiedError, lambda how: Mortal.remote().die.remote(how)),
    "async actor": (ActorDiedError, lambda how: AsyncMortal.remote().die_async.remote(how)),
}


def check_report(text: str, cause: str) -> None:
    """The cause, the peak of memory, and the last lines."""
    assert cause in text
    peak = re.search(r"its memory peaked at (\d+) MiB", text)
    assert peak and HELD_MB <= int(peak[1]) < 10 * HELD_MB, text
    told = text.partition("its last output:\n")[2].splitlines()
    expected = [str(number) for number in range(LINES_PRINTED)[-LINES_TOLD:]]
    assert [line.split()[1] for line in told[:LINES_TOLD]] == expected, text
    if cause == "SIGSEGV":
        assert "Segmentation fault" in told[LINES_TOLD] and ", line " in text and " in die" in text, text


@pytest.mark.usefixtures("session")
@pytest.mark.parametrize(
    ("who", "how"),
    [(who, how) for who in DYING for how in WAYS if (who, how) != ("async actor", "SIGTERM")],  # which lets the call finish
)
def test_death_is_told_with_signal_peak_memory_and_last_lines(who: str, how: str) -> None:
    expected, start = DYING[who]
    with pytest.raises(expected) as caught:
        shoal.get(start(how), timeout=30)
    check_report(str(caught.value), WAYS[how])


@pytest.mark.usefixtures("session")
def test_every_one_of_forty_deaths_is_told_right() -> None:
    ways = [list(WAYS)[number % len(WAYS)] for number in range(40)]
    refs = [die_in_task.options(num_cpus=0.25).remote(how) for how in ways]
    for how, ref in zip(ways, refs, strict=True):
        with pytest.raises(WorkerCrashedError, match=WAYS[how]):
            shoal.get(ref, timeout=60)


def test_death_for_want_of_memory_is_told_with_who_used_it(
    no_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine's memory is not used up: the threshold is. After each death the guard rests long enough for the next one to
    print its lines, unless the machine is very busy: then it is tried again."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.0001")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "1000")
    shoal.init(num_cpus=1, logging_level="ERROR", log_to_driver=False)
    with pytest.raises(OutOfMemoryError):
        shoal.get(die_in_task.remote("not by itself"), timeout=30)
    for _, start in DYING.values():
        for _ in range(TRIES):
            with pytest.raises(OutOfMemoryError) as caught:
                shoal.get(start("not by itself"), timeout=30)
            text = str(caught.value)
            if f"line {LINES_PRINTED - 1} " in text:
                break
        assert "more than the threshold" in text and "The biggest processes" in text
        check_report(text, "out of memory")


@pytest.mark.usefixtures("session")
def test_calls_of_an_actor_that_comes_back_are_told_why_it_went(tmp_path: Path) -> None:
    mortal = Mortal.options(max_restarts=1).remote()
    with pytest.raises(shoal.exceptions.RayActorError) as caught:
        shoal.get(mortal.die.remote("SIGKILL"), timeout=30)
    check_report(str(caught.value), "SIGKILL")


@pytest.mark.usefixtures("session")
def test_constructor_that_kills_its_process_is_told_by_every_call() -> None:
    @shoal.remote(num_cpus=0)
    class Stillborn:
        def __init__(self) -> None:
            os._exit(9)

        def call(self) -> None: ...

    stillborn = Stillborn.remote()
    for _ in range(2):
        with pytest.raises(ActorDiedError, match="exited with code 9"):
            shoal.get(stillborn.call.remote(), timeout=30)


def test_death_of_the_node_daemon_is_told_to_whoever_waits(
    no_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    context = shoal.init(num_cpus=2, logging_level="ERROR", log_to_driver=False)

    @shoal.remote(max_retries=0)
    def end_the_daemon(folder: str) -> None:
        Path(folder, "running").touch()
        time.sleep(1000)

    ref = end_the_daemon.remote(str(tmp_path))
    while not (tmp_path / "running").exists():
        time.sleep(0.005)  # it happens in another process
    daemon = _daemon_of(os.getpid())
    os.kill(daemon, signal.SIGKILL)
    with pytest.raises(LocalRayletDiedError, match=rf"pid {daemon}\b"):
        shoal.get(ref, timeout=30)
    with pytest.raises(LocalRayletDiedError):
        shoal.get(end_the_daemon.remote(str(tmp_path)), timeout=30)
    assert context is not None


def _daemon_of(pid: int) -> int:
    for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if b"shoal-daemon" in Path(f"/proc/{word}/comm").read_bytes():
            return int(word)
    raise AssertionError("no daemon")


# ---------------------------------------------------------------- silence, and the driver's own debugger


HELLO = """
    import sys
    import shoal

    @shoal.remote
    def hello(name):
        return f"Hello, {name}"

    @shoal.remote
    class Greeter:
        def greet(self, name):
            return f"Hello, {name}"

    START
    greeter = Greeter.remote()
    print(shoal.get(hello.remote("task")), shoal.get(greeter.greet.remote("actor")), len(shoal.get(shoal.put(b"x" * 10**6))))
    """


@pytest.mark.parametrize("start", ["shoal.init()", ""], ids=["init", "no init"])
def test_hello_world_prints_nothing_on_stderr(start: str, tmp_path: Path) -> None:
    program = Program(HELLO.replace("START", start), tmp_path)  # both of its streams are one pipe
    assert program.finish() == (0, "Hello, task Hello, actor 1000000\n")


def test_breakpoint_in_the_driver_is_the_drivers_own(tmp_path: Path) -> None:
    program = Program(
        """
        import shoal

        @shoal.remote
        def two():
            return 2

        shoal.init(num_cpus=1)
        mine = shoal.get(two.remote())
        breakpoint()
        print("went on with", mine)
        """,
        tmp_path,
        keyboard="p mine + 40\nc\n",
    )
    status, text = program.finish()
    assert status == 0 and "(Pdb) 42" in text and "went on with 2" in text, text
