"""Drivers of their own that install: several at once, and one whose daemon dies."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .driver_process import DriverProcess, wait_until
from .installing import OwnPip, is_running

LIMIT_S = 40.0

INSTALL = """
    @shoal.remote(runtime_env={"pip": ["something"]})
    def value():
        import shoal_test_installed
        return shoal_test_installed.VALUE

    print(shoal.get(value.remote()), flush=True)
    time.sleep(1000)
"""


@pytest.fixture
def own_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OwnPip:
    pip = OwnPip(tmp_path)
    monkeypatch.setenv("SHOAL_CACHE", str(tmp_path / "cache"))
    for name, value in pip.variables.items():
        monkeypatch.setenv(name, value)
    return pip


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], DriverProcess]]:
    started: list[DriverProcess] = []

    def make() -> DriverProcess:
        started.append(DriverProcess(INSTALL, tmp_path))
        return started[-1]

    yield make
    for driver in started:
        driver.end()


@pytest.mark.fault
def test_no_pip_is_left_when_the_daemon_is_killed(own_pip: OwnPip, start: Callable[[], DriverProcess]) -> None:
    driver = start()
    wait_until(lambda: own_pip.pid != 0, LIMIT_S)
    os.kill(driver.daemon_pid, signal.SIGKILL)
    wait_until(lambda: not is_running(own_pip.pid), LIMIT_S)
    driver.process.kill()
    wait_until(lambda: not driver.alive(), LIMIT_S)
    own_pip.let_go()
    # What it left half-made is built anew.
    second = start()
    lines = [second.line() for _ in range(3)]
    assert lines[0].startswith("shoal: installing the pip environment") and lines[0].endswith("(something)")
    assert lines[1].startswith("shoal: the pip environment") and "is installed, after" in lines[1]
    assert lines[2] == "installed" and own_pip.runs == 2


def test_sessions_that_ask_at_once_build_once(own_pip: OwnPip, start: Callable[[], DriverProcess]) -> None:
    first = start()
    wait_until(lambda: own_pip.pid != 0, LIMIT_S)
    second = start()
    assert second.line().startswith("shoal: waiting for another session")
    own_pip.let_go()
    assert second.line() == "installed"
    assert [first.line() for _ in range(3)][-1] == "installed"
    assert own_pip.runs == 1


def test_a_failure_is_told_to_the_driver_as_it_happens(own_pip: OwnPip, tmp_path: Path) -> None:
    own_pip.let_go()
    code = """
        @shoal.remote(runtime_env={"pip": ["missing"]})
        def task(): ...

        shoal.wait([task.remote()])
        time.sleep(1000)
    """
    driver = DriverProcess(code, tmp_path)
    try:
        lines = [driver.line() for _ in range(3)]
        assert "could not be installed" in lines[-2] and "exit code 1" in lines[-2]
        assert lines[-1] == "ERROR: there is no package called missing"
    finally:
        driver.end()
