"""kill -9 of the processes of a session: typed errors, and nothing is left."""

from __future__ import annotations

import signal
from pathlib import Path

import psutil
import pytest

from .program import PROMISE_S, Program, children_named, until

pytestmark = pytest.mark.fault

WAITING_DRIVER = """
    import signal, subprocess, sys, time
    import shoal

    # Background jobs of a shell start with it ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)

    @shoal.remote
    def sleep_long():
        subprocess.Popen(["sleep", "1000"], start_new_session=True)
        print("sleeping", flush=True)
        time.sleep(1000)

    shoal.init(num_cpus=2)
    ref = sleep_long.remote()
    print("ready", flush=True)
    try:
        shoal.get(ref)
    except BaseException as error:
        print("ended with", type(error).__name__, flush=True)
    """


def started(folder: Path) -> Program:
    """A driver that waits for a task which has started a process in a session of its own."""
    program = Program(WAITING_DRIVER, folder)
    assert program.line() == "ready"
    until(lambda: any("sleep" in Path(f"/proc/{pid}/cmdline").read_text() for pid in _readable(program.living())))
    return program


def _readable(pids: list[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}/cmdline").exists()]


def test_a_driver_is_told_that_the_daemon_died(tmp_path: Path) -> None:
    program = started(tmp_path)
    driver = psutil.Process(program.process.pid)
    until(lambda: children_named("shoal-daemon", driver))  # the first task may run before the daemon has its name
    [daemon] = children_named("shoal-daemon", driver)
    daemon.kill()
    status, text = program.finish()
    assert status == 0 and "ended with" in text and "Error" in text
    until(program.nothing_is_left, PROMISE_S)


def test_control_c_ends_a_get_and_the_session(tmp_path: Path) -> None:
    program = started(tmp_path)
    program.process.send_signal(signal.SIGINT)
    status, text = program.finish()
    assert status == 0 and "ended with KeyboardInterrupt" in text
    until(program.nothing_is_left, PROMISE_S)


def test_work_goes_on_after_the_zygote_was_killed(tmp_path: Path) -> None:
    program = Program(
        """
        import os, sys
        import shoal

        @shoal.remote(max_retries=-1)
        def add(a, b):
            return a + b

        shoal.init(num_cpus=2)
        assert shoal.get(add.remote(1, 2)) == 3
        print("ready", flush=True)
        while not os.path.exists(os.environ["RAY_TMPDIR"] + "/killed"):
            assert shoal.get(add.remote(1, 2), timeout=60) == 3
        assert shoal.get([add.remote(n, n) for n in range(100)], timeout=60) == [2 * n for n in range(100)]
        shoal.shutdown()
        print("right", flush=True)
        """,
        tmp_path,
    )
    assert program.line() == "ready"
    for zygote in children_named("shoal-zygote", psutil.Process(program.process.pid)):
        zygote.kill()
    (tmp_path / "killed").touch()
    status, text = program.finish()
    assert status == 0 and "right" in text, text
    until(program.nothing_is_left, PROMISE_S)


def test_a_fork_of_the_driver_does_not_end_its_session(tmp_path: Path) -> None:
    program = Program(
        """
        import os
        import shoal

        @shoal.remote
        def one():
            return 1

        shoal.init(num_cpus=2)
        ref = one.remote()
        pid = os.fork()
        if pid == 0:
            del ref
            os._exit(0)
        os.waitpid(pid, 0)
        assert shoal.get(ref, timeout=60) == 1 and shoal.get(one.remote(), timeout=60) == 1
        print("right", flush=True)
        """,
        tmp_path,
    )
    status, text = program.finish()
    assert status == 0 and "right" in text, text
    until(program.nothing_is_left, PROMISE_S)
