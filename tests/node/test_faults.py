"""``kill -9`` of anything, under load: nothing is left, nobody waits for ever, and the rest of the session goes on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .driver_process import DriverProcess, children, wait_until

LEFT_S = 5.0

LOAD = """
    @shoal.remote
    def sleep(seconds):
        time.sleep(seconds)

    @shoal.remote
    def with_children():
        subprocess.Popen(["sleep", "1000"], start_new_session=True)
        if os.fork() == 0:
            os.setsid()
            time.sleep(1000)
        print("children", flush=True)
        time.sleep(1000)

    @shoal.remote
    class Sleeper:
        def sleep(self):
            time.sleep(1000)

    actor = Sleeper.remote()
    long = actor.sleep.remote()
    parent = with_children.options(num_cpus=0, max_retries=0).remote()
    short = [sleep.options(num_cpus=0.5, max_retries=-1).remote(0.01) for _ in range(2000)]
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], DriverProcess]]:
    started: list[DriverProcess] = []

    def begin(code: str) -> DriverProcess:
        started.append(DriverProcess(code, tmp_path))
        return started[-1]

    yield begin
    for driver in started:
        driver.end()


def wait_for_children(driver: DriverProcess) -> None:
    while "children" not in driver.line():
        continue


def test_nothing_is_left_of_a_killed_driver(start: Callable[[str], DriverProcess]) -> None:
    driver = start(LOAD + "    time.sleep(1000)\n")
    wait_for_children(driver)
    driver.process.kill()
    wait_until(lambda: not driver.alive(), LEFT_S)
    wait_until(lambda: not driver.folder.exists(), LEFT_S)


def test_a_killed_daemon_is_an_error_for_whoever_waits(start: Callable[[str], DriverProcess]) -> None:
    driver = start(
        LOAD
        + """
    value = shoal.put(b"x" * 100_000)
    for submit in (lambda: [long, *short], lambda: sleep.remote(0), lambda: actor.sleep.remote()):
        try:
            shoal.get(submit())
        except shoal.exceptions.LocalRayletDiedError as error:
            print("told", error, flush=True)
    print("still there", len(shoal.get(value)), flush=True)
    shoal.shutdown()
    print("shut down", flush=True)
    time.sleep(1000)
    """
    )
    wait_for_children(driver)
    os.kill(driver.daemon_pid, signal.SIGKILL)
    lines = [driver.line() for _ in range(5)]
    assert [line.split()[0] for line in lines] == ["told", "told", "told", "still", "shut"]
    assert f"pid {driver.daemon_pid}" in lines[0]
    assert lines[3] == "still there 100000"
    wait_until(lambda: driver.alive() == [driver.process.pid], LEFT_S)
    assert not driver.folder.exists()


def test_a_killed_zygote_is_replaced_and_retried_tasks_are_done(start: Callable[[str], DriverProcess]) -> None:
    driver = start(
        LOAD
        + """
    try:
        shoal.get(parent)
    except shoal.exceptions.WorkerCrashedError as error:
        print("crashed", "SIGKILL" in str(error), flush=True)
    try:
        shoal.get(long)
    except shoal.exceptions.ActorDiedError:
        print("actor died", flush=True)
    shoal.get(short)
    print("all done", flush=True)
    time.sleep(1000)
    """
    )
    wait_for_children(driver)
    zygote = driver.zygote_pid
    os.kill(zygote, signal.SIGKILL)
    assert [driver.line() for _ in range(3)] == ["crashed True", "actor died", "all done"]
    wait_until(lambda: children(driver.daemon_pid) not in ([], [zygote]), LEFT_S)
    sleeping = [pid for pid in driver.alive() if b"sleep\x001000" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert not sleeping, "what the dead workers had started is gone"


def test_killed_workers_cost_a_retry_and_leave_no_children(start: Callable[[str], DriverProcess]) -> None:
    driver = start(
        LOAD
        + """
    try:
        shoal.get(parent)
    except shoal.exceptions.WorkerCrashedError as error:
        print("crashed", "SIGKILL" in str(error), "children" in str(error), flush=True)
    shoal.get(short)
    print("all done", flush=True)
    time.sleep(1000)
    """
    )
    wait_for_children(driver)
    for pid in children(driver.zygote_pid):
        os.kill(pid, signal.SIGKILL)
    assert [driver.line() for _ in range(2)] == ["crashed True True", "all done"]
    known = {driver.process.pid, driver.daemon_pid, driver.zygote_pid}
    wait_until(lambda: not any(b"sleep\x001000" in cmdline(pid) for pid in driver.alive() if pid not in known), LEFT_S)


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_an_interrupt_of_the_terminal_reaches_the_driver_only(start: Callable[[str], DriverProcess]) -> None:
    driver = start("time.sleep(1000)")
    zygote_pid = driver.zygote_pid
    for pid in [driver.daemon_pid, *children(driver.daemon_pid), *children(zygote_pid)]:
        assert os.getsid(pid) != os.getsid(driver.process.pid)


def test_the_end_in_order_leaves_nothing(start: Callable[[str], DriverProcess]) -> None:
    driver = start(LOAD + "    shoal.shutdown()\n    print('shut down', flush=True)\n    time.sleep(1000)\n")
    while driver.line() != "shut down":
        continue
    assert driver.alive() == [driver.process.pid]
    assert not driver.folder.exists()


def test_a_module_that_starts_threads_is_not_imported_ahead(start: Callable[[str], DriverProcess], tmp_path: Path) -> None:
    (tmp_path / "threaded_module.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\n"
    )
    (tmp_path / "plain_module.py").write_text("value = 1\n")
    package = tmp_path / "threaded_package"
    package.mkdir()
    (package / "__init__.py").write_text("import threaded_module\n")
    for number in range(30):
        (package / f"part{number}.py").touch()
    driver = start(
        """
    from shoal.core.native import messages
    wanted = ["this_is_nowhere", "threaded_module", "plain_module"]
    parts = [f"threaded_package.part{number}" for number in range(30)]
    engine.control.request(messages.PreloadModules(modules=parts + wanted))

    @shoal.remote
    class Probe:
        def state(self):
            return [name in sys.modules for name in wanted], len(os.listdir("/proc/self/task"))

    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        state = shoal.get(Probe.remote().state.remote())
        if any(state[0]):
            break
    print(state, flush=True)
    time.sleep(1000)
    """
    )
    assert driver.line() == "([False, False, True], 1)"
