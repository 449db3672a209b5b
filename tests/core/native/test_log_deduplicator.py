from __future__ import annotations

import pytest

from shoal.core.native.log_deduplicator import HINT, Line, LogDeduplicator


def texts(lines: list[Line]) -> list[str]:
    return [line.text for line in lines]


def add(deduplicator: LogDeduplicator, text: str, source: int, now_s: float = 0.0) -> list[str]:
    return texts(deduplicator.add(Line(False, f"({source}) ", text), source, now_s))


def test_what_one_process_prints_again_and_again_is_always_shown() -> None:
    deduplicator = LogDeduplicator()
    assert [add(deduplicator, "step 1", 7) for _ in range(3)] == [["step 1"]] * 3
    assert not deduplicator.counts()


def test_what_several_processes_print_alike_but_for_numbers_is_shown_once_and_counted() -> None:
    deduplicator = LogDeduplicator()
    shown = [add(deduplicator, f"loaded {source} at 0x7f{source}", source) for source in range(4)]
    assert shown == [["loaded 0 at 0x7f0"], [], [], []]
    assert deduplicator.counts()
    assert deduplicator.due(4.9) == []
    assert deduplicator.due(5.0) == [Line(False, "(3) ", f"loaded 3 at 0x7f3 [repeated 3x across cluster]{HINT}")]
    assert deduplicator.due() == []


def test_counting_goes_on_while_the_lines_do_and_the_hint_comes_once() -> None:
    deduplicator = LogDeduplicator()
    for source in (1, 2, 3):
        add(deduplicator, "ready", source)
    deduplicator.due(5.0)
    assert [add(deduplicator, "ready", source, 6.0) for source in (1, 2)] == [[], []]
    assert texts(deduplicator.due()) == ["ready [repeated 2x across cluster]"]


def test_a_line_that_was_kept_back_once_is_shown_as_it_was() -> None:
    deduplicator = LogDeduplicator()
    add(deduplicator, "ready 1", 1)
    assert add(deduplicator, "ready 2", 2) == []
    assert add(deduplicator, "other", 1, 5.0) == ["ready 2", "other"]


def test_after_a_quiet_window_a_line_is_new_again() -> None:
    deduplicator = LogDeduplicator()
    add(deduplicator, "ready", 1)
    assert add(deduplicator, "ready", 2, 5.0) == ["ready"]


def test_lines_of_numbers_alone_are_always_shown() -> None:
    deduplicator = LogDeduplicator()
    assert [add(deduplicator, f"{source} 0x{source}", source) for source in (1, 2)] == [["1 0x1"], ["2 0x2"]]


def test_the_environment_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_DEDUP_LOGS_ALLOW_REGEX", "al+ow")
    monkeypatch.setenv("RAY_DEDUP_LOGS_SKIP_REGEX", "sk.p")
    monkeypatch.setenv("RAY_DEDUP_LOGS_AGG_WINDOW_S", "0.5")
    deduplicator = LogDeduplicator()
    assert [add(deduplicator, "we allow this", source) for source in (1, 2)] == [["we allow this"]] * 2
    assert add(deduplicator, "to skip", 1) == []
    for source in (1, 2, 3):
        add(deduplicator, "counted", source)
    assert len(deduplicator.due(0.5)) == 1
    monkeypatch.setenv("RAY_DEDUP_LOGS", "0")
    everything = LogDeduplicator()
    assert [add(everything, "to skip", source) for source in (1, 2)] == [["to skip"]] * 2
