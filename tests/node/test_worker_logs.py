"""What workers print."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shoal.node import worker_logs
from shoal.node.event_loop import EventLoop
from shoal.node.worker_logs import WorkerLogs


class Harness:
    def __init__(self, folder: Path) -> None:
        self.loop = EventLoop()
        self.lines: list[tuple[int, bool, str]] = []
        self.names: list[str] = []
        self.logs = WorkerLogs(self.loop, str(folder), lambda slot, err, lines, name: self._take(slot, err, lines, name))

    def _take(self, slot: int, is_error: bool, lines: list[str], name: str) -> None:
        self.lines.extend((slot, is_error, each) for each in lines)
        self.names.extend([name] * len(lines))

    def start(self, slot: int, is_known: bool = True) -> tuple[int, int]:
        out_read, out = os.pipe()
        err_read, err = os.pipe()
        self.logs.watch(slot, out_read, err_read)
        if is_known:
            self.logs.set_pid(slot, 100 + slot)
        return out, err


def test_lines_are_forwarded_whole_and_kept(tmp_path: Path) -> None:
    node = Harness(tmp_path)
    out, err = node.start(3)
    os.write(out, b"one\ntw")
    node.loop.run_once(1.0)
    assert node.lines == [(3, False, "one")]
    os.write(out, b"o\n")
    os.write(err, b"bad\n")
    node.loop.run_once(1.0)
    assert sorted(node.lines) == [(3, False, "one"), (3, False, "two"), (3, True, "bad")]
    os.write(out, b"no newline at the end")
    os.close(out)
    os.close(err)
    assert node.logs.finish(3).splitlines()[-1] == "no newline at the end"
    assert (tmp_path / "worker-3-103.log").read_bytes().startswith(b"one\ntw")


def test_what_came_before_the_number_of_its_process_is_kept_under_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_logs, "FILE_BYTES_MAX", 10)
    node = Harness(tmp_path)
    out, err = node.start(3, is_known=False)
    for line in (b"longer than ten\n", b"one\n"):
        os.write(out, line)
        node.loop.run_once(1.0)
    node.logs.set_pid(3, 103)
    os.write(out, b"two\n")
    os.close(out)
    os.close(err)
    node.logs.finish(3)
    texts = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert texts == {"worker-3-103.log.1": "longer than ten\n", "worker-3-103.log": "one\ntwo\n"}


def test_marks_name_who_prints_and_are_no_output(tmp_path: Path) -> None:
    node = Harness(tmp_path)
    out, err = node.start(2)
    for part in (b"before\n\x01shoal-ta", b"sk:f\nof f\nof f too\n\x01shoal-task:g\n", b"of g\n"):
        os.write(out, part)
        node.loop.run_once(1.0)
    os.close(out)
    os.close(err)
    assert node.logs.finish(2) == "before\nof f\nof f too\nof g"
    assert node.names == ["", "f", "f", "g"]
    assert (tmp_path / "worker-2-102.log").read_text() == "before\nof f\nof f too\nof g\n"


def test_only_the_last_lines_are_reported(tmp_path: Path) -> None:
    node = Harness(tmp_path)
    out, err = node.start(1)
    os.write(out, b"".join(b"%d\n" % i for i in range(100)))
    os.close(out)
    os.close(err)
    assert node.logs.finish(1).split("\n") == [str(i) for i in range(80, 100)]
    assert node.logs.finish(1) == "", "finished already"


def test_files_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_logs, "FILE_BYTES_MAX", 1000)
    monkeypatch.setattr(worker_logs, "TOTAL_BYTES_MAX", 5000)
    node = Harness(tmp_path)
    for slot in range(1, 30):
        out, err = node.start(slot)
        for _ in range(8):
            os.write(out, b"x" * 299 + b"\n")
            node.loop.run_once(1.0)
        os.close(out)
        os.close(err)
        node.logs.finish(slot)
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert max(sizes) <= 1300
    assert sum(sizes) <= 5000 + 2 * 1300


def test_bytes_that_are_no_text_do_not_stop_the_rest(tmp_path: Path) -> None:
    node = Harness(tmp_path)
    out, err = node.start(1)
    os.write(out, b"\xff\xfe\nfine\n")
    node.loop.run_once(1.0)
    assert [line for _, _, line in node.lines] == ["\ufffd\ufffd", "fine"]
    os.close(out)
    os.close(err)
    node.logs.finish(1)


def test_report_of_a_crash_is_told_from_its_beginning_after_the_last_lines(tmp_path: Path) -> None:
    node = Harness(tmp_path)
    out, err = node.start(4)
    for number in range(30):
        os.write(out, b"line %d\n" % number)
    os.close(out)
    node.loop.run_once(1.0)
    os.write(err, b"Fatal Python error: Segmentation fault\n")
    os.write(err, b"".join(b"frame %d\n" % number for number in range(100)))
    os.close(err)
    told = node.logs.finish(4).splitlines()
    assert told[0] == "line 10" and told[19:22] == ["line 29", "Fatal Python error: Segmentation fault", "frame 0"]
    assert len(told) == worker_logs.TAIL_LINES + worker_logs.CRASH_LINES


def test_lines_are_forwarded_although_no_file_can_be_made(tmp_path: Path) -> None:
    node = Harness(tmp_path / "missing")
    out, err = node.start(5)
    os.write(out, b"said\n")
    node.loop.run_once(1.0)
    os.close(out)
    os.close(err)
    assert node.logs.finish(5) == "said"
    assert node.lines == [(5, False, "said")]


def test_a_line_that_does_not_end_is_forwarded_as_far_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_logs, "PART_WAIT_S", 0.0)
    node = Harness(tmp_path)
    out, err = node.start(2)
    for part in (b"one\nstep 1 ", b"step 2 ", b"done\ntwo\n", b"three", b"\n", b"10 %\r20 %\r"):
        os.write(out, part)
        node.loop.run_once(1.0)
    assert [line for _, _, line in node.lines] == ["one", "step 1 ", "step 2 ", "done", "two", "three", "20 %"]
    os.close(out)
    os.close(err)
    assert node.logs.finish(2).split("\n") == ["one", "step 1 step 2 done", "two", "three", "10 %\r20 %"]
    assert (tmp_path / "worker-2-102.log").read_bytes() == b"one\nstep 1 step 2 done\ntwo\nthree\n10 %\r20 %\r\n"


def test_a_mark_and_a_line_that_ends_in_time_are_not_divided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    node = Harness(tmp_path)
    monkeypatch.setattr(node.loop, "time", lambda: clock[0])
    out, err = node.start(2)
    for part, clock[0] in (
        (b"fir", 0.0),
        (b"st\n\x01shoal-", 0.3),
        (b"task:f", 1.5),
        (b"\nsecond", 2.0),
        (b" line\nth", 2.3),
        (b"ird", 2.5),
    ):
        os.write(out, part)
        node.loop.run_once(1.0)
        node.loop.run_once(0.0)
    assert [line for _, _, line in node.lines] == ["first", "second line"]
    clock[0] = 2.3 + worker_logs.PART_WAIT_S
    node.loop.run_once(0.0)
    assert [line for _, _, line in node.lines] == ["first", "second line", "third"]
    os.close(out)
    os.close(err)
    node.logs.finish(2)
    assert node.names == ["", "f", "f"]


def test_no_timer_runs_when_every_line_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_logs, "PART_WAIT_S", 0.0)
    node = Harness(tmp_path)
    out, err = node.start(2)
    os.write(out, b"part")
    node.loop.run_once(1.0)
    node.loop.run_once(0.0)
    assert node.loop._until_next_timer() is None
    os.close(out)
    os.close(err)
    node.logs.finish(2)
