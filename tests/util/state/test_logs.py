from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shoal.util.state import _source, get_log, list_logs, logs
from shoal.util.state.exception import RayStateApiException


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(_source, "log_folder", lambda: tmp_path)
    (tmp_path / "worker-1-12.log").write_text("one\n\x1b[31mtwo\x1b[0m\nthree\n")
    (tmp_path / "worker-2-123.log").write_text("other\n")
    (tmp_path / "daemon.log").write_text("started\n")
    return tmp_path


def test_files_are_listed_by_kind() -> None:
    assert list_logs() == {"daemon": ["daemon.log"], "worker": ["worker-1-12.log", "worker-2-123.log"]}
    assert list_logs(glob_filter="*123*") == {"worker": ["worker-2-123.log"]}


def test_a_file_is_read_by_name() -> None:
    assert list(get_log(filename="daemon.log")) == ["started\n"]
    assert list(get_log(filename="daemon.log", encoding=None)) == [b"started\n"]


def test_a_file_is_read_by_process() -> None:
    assert list(get_log(pid=12, tail=1)) == ["three\n"]
    assert list(get_log(pid=12, filter_ansi_code=True))[1] == "two\n"


def test_a_file_is_read_by_actor(monkeypatch: pytest.MonkeyPatch) -> None:
    def rows(resource: str, timeout_s: float) -> tuple[list[dict[str, Any]], bool]:
        return [{"actor_id": "a1", "pid": 123}], False

    monkeypatch.setattr(_source, "rows", rows)
    assert list(get_log(actor_id="a1")) == ["other\n"]
    with pytest.raises(RayStateApiException, match="no process is known that ran actor_id='a2'"):
        get_log(actor_id="a2")


def test_following_gives_lines_as_they_come(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_instead_of_sleeping(_: float) -> None:
        with (folder / "daemon.log").open("a") as file:
            file.write("later\n")

    monkeypatch.setattr(logs.time, "sleep", write_instead_of_sleeping)
    lines = get_log(filename="daemon.log", follow=True)
    assert [next(lines), next(lines), next(lines)] == ["started\n", "later\n", "later\n"]


def test_following_waits_for_the_end_of_a_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "daemon.log").write_text("sta")
    rest = iter(["rted", "\n"])

    def write_instead_of_sleeping(_: float) -> None:
        with (folder / "daemon.log").open("a") as file:
            file.write(next(rest))

    monkeypatch.setattr(logs.time, "sleep", write_instead_of_sleeping)
    assert next(get_log(filename="daemon.log", follow=True)) == "started\n"


def test_files_outside_of_the_folder_cannot_be_read(tmp_path: Path) -> None:
    for filename in ("../secret", "missing.out", "/etc/hostname"):
        with pytest.raises(RayStateApiException, match="there is no log file"):
            get_log(filename=filename)
    with pytest.raises(RayStateApiException, match="process 99 has no log file"):
        get_log(pid=99)


def test_bad_choices_are_refused() -> None:
    with pytest.raises(ValueError, match="exactly one of filename"):
        get_log()
    with pytest.raises(ValueError, match="exactly one of filename"):
        get_log(filename="a", pid=1)
    with pytest.raises(ValueError, match="suffix must be one of"):
        get_log(pid=1, suffix="log")
    with pytest.raises(NotImplementedError, match="both streams to one file"):
        get_log(pid=1, suffix="err")
