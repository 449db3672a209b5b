from __future__ import annotations

import io
import os
import stat
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoal.util import rpdb


@pytest.fixture(autouse=True)
def in_worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    # Longer than a socket address may be.
    folder = tmp_path / ("long" * 30) / "breakpoints"
    monkeypatch.setattr(rpdb, "_in_worker", lambda: True)
    monkeypatch.setattr(rpdb, "_folder", lambda: folder)
    return folder


class Stopped:
    """Runs a function with a breakpoint in a thread, as a worker would."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self.result: Any = None
        self._thread = threading.Thread(target=self._run, args=(function,))
        self._thread.start()
        deadline_s = time.monotonic() + 10
        while not rpdb.open_breakpoints() and time.monotonic() < deadline_s:
            time.sleep(0.001)  # the thread is in another stack: there is no event to wait for
        [self.path] = rpdb.open_breakpoints()

    def _run(self, function: Callable[[], Any]) -> None:
        try:
            self.result = function()
        except BaseException as error:
            self.result = error

    def talk(self, commands: str) -> str:
        out = io.StringIO()
        rpdb.attach(self.path, io.StringIO(commands), out)
        self._thread.join(10)
        assert not self._thread.is_alive()
        return out.getvalue()


def stop_with_value() -> int:
    value = 41
    rpdb.set_trace()
    return value + 1


def test_values_can_be_looked_at_and_the_program_goes_on(capfd: pytest.CaptureFixture[str]) -> None:
    stopped = Stopped(stop_with_value)
    output = stopped.talk("p value\ncontinue\n")
    assert "41" in output
    assert "stop_with_value" in output
    assert stopped.result == 42
    message = capfd.readouterr().err
    assert f"breakpoint at {__file__}" in message
    assert str(stopped.path) in message


def test_hanging_up_lets_the_program_go_on() -> None:
    stopped = Stopped(stop_with_value)
    stopped.talk("")
    assert stopped.result == 42


def test_quitting_ends_the_program() -> None:
    stopped = Stopped(stop_with_value)
    stopped.talk("quit\n")
    assert type(stopped.result).__name__ == "BdbQuit"


def test_the_socket_is_private_and_goes_away(in_worker: Path) -> None:
    stopped = Stopped(stop_with_value)
    assert stat.S_IMODE(in_worker.stat().st_mode) == 0o700
    assert stat.S_IMODE(stopped.path.stat().st_mode) == 0o600
    stopped.talk("c\n")
    assert rpdb.open_breakpoints() == []


def test_the_stack_of_an_error_can_be_looked_at() -> None:
    def fail() -> str:
        try:
            value = 0
            return str(1 / value)
        except ZeroDivisionError:
            rpdb.post_mortem()
            return "handled"

    stopped = Stopped(fail)
    assert "(Pdb) 0\n" in stopped.talk("p value\nc\n")
    assert stopped.result == "handled"


def test_post_mortem_needs_an_exception() -> None:
    with pytest.raises(ValueError, match="needs an exception"):
        rpdb.post_mortem()
    with pytest.raises(ValueError, match="needs an exception"):
        rpdb.post_mortem(ValueError("never raised"))


def test_attaching_to_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConnectionError, match="no breakpoint waits at"):
        rpdb.attach(tmp_path / "missing.sock")


def test_breakpoint_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    hook = sys.breakpointhook
    Stopped(stop_with_value).talk("c\n")
    assert sys.breakpointhook is hook
    assert os.environ.get("PYTHONBREAKPOINT") is None


def test_the_driver_gets_plain_pdb(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(rpdb, "_in_worker", lambda: False)
    monkeypatch.setattr(sys, "stdin", io.StringIO("p value\nc\n"))
    assert stop_with_value() == 42
    assert "41" in capsys.readouterr().out


def test_breakpoints_of_rays_own_debugger_are_refused() -> None:
    with pytest.raises(NotImplementedError, match="set_trace.. does not support breakpoint_uuid, but got breakpoint_uuid='ab'"):
        rpdb.set_trace(breakpoint_uuid="ab")
