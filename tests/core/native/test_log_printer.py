from __future__ import annotations

import gc
import threading
import weakref

import pytest

from shoal.core.native.log_printer import LogPrinter
from shoal.core.native.messages import CollectGarbage, ErrorEvent, LogLines


def lines(pid: int, *texts: str, is_error: bool = False) -> LogLines:
    return LogLines(pid=pid, slot=1, name="work", is_error=is_error, lines=list(texts))


def test_lines_carry_who_printed_them_and_go_to_the_stream_they_came_from(capsys: pytest.CaptureFixture[str]) -> None:
    printer = LogPrinter()
    printer(lines(5, "one", "two"))
    printer(lines(5, "wrong", is_error=True))
    printer(ErrorEvent(kind="worker_died", message="a worker died"))
    shown = capsys.readouterr()
    assert shown.out == "(work pid=5) one\n(work pid=5) two\n"
    assert shown.err == "(work pid=5) wrong\nshoal: a worker died\n"


def test_lines_are_shown_as_they_are_when_they_say_themselves_who_wrote_them(capsys: pytest.CaptureFixture[str]) -> None:
    LogPrinter(plain=True)(lines(5, "one"))
    assert capsys.readouterr().out == "one\n"


def test_lines_that_are_counted_are_shown_at_the_end_at_the_latest(capsys: pytest.CaptureFixture[str]) -> None:
    printer = LogPrinter()
    for pid in (1, 2, 3):
        printer(lines(pid, "same"))
    assert capsys.readouterr().out == "(work pid=1) same\n"
    printer.flush()
    assert capsys.readouterr().out.startswith("(work pid=3) same [repeated 2x across cluster]")


def test_lines_that_are_counted_are_shown_in_time_though_nobody_prints_any_more(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_DEDUP_LOGS_AGG_WINDOW_S", "0.2")
    printer = LogPrinter()
    for pid in (1, 2, 3):
        printer(lines(pid, "same"))
    timer = printer._timer
    assert timer is not None
    timer.join(20)
    assert "[repeated 2x across cluster]" in capsys.readouterr().out


def test_garbage_is_collected_when_the_node_asks_for_it() -> None:
    class Circle:
        def __init__(self) -> None:
            self.itself = self

    gone = threading.Event()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        weakref.finalize(Circle(), gone.set)
        LogPrinter()(CollectGarbage())
        assert gone.wait(20)
    finally:
        if was_enabled:
            gc.enable()
