"""Session folders are private, and what a dead session left goes."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shoal.core.native import session_folder


def test_the_root_is_for_its_owner_alone(tmp_path: Path) -> None:
    root = Path(session_folder.root_of(str(tmp_path)))
    assert root.stat().st_mode & 0o777 == 0o700
    assert session_folder.root_of(str(tmp_path)) == str(root)


def test_a_root_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / f"shoal-{os.getuid()}").mkdir(mode=0o777)
    (tmp_path / f"shoal-{os.getuid()}").chmod(0o777)
    with pytest.raises(session_folder.UnsafeFolder, match="0700"):
        session_folder.root_of(str(tmp_path))


def test_a_link_in_place_of_the_root_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / f"shoal-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(session_folder.UnsafeFolder):
        session_folder.root_of(str(tmp_path))


def test_only_folders_of_dead_sessions_are_removed(tmp_path: Path) -> None:
    root = Path(session_folder.root_of(str(tmp_path)))
    ended, running = root / "session_1_2", root / "session_2_3"
    starting, killed_early = root / f"session_3_{os.getpid()}", root / "session_4_999999999"
    for folder in (ended, running, starting, killed_early):
        session_folder.make(str(folder))
    os.close(session_folder.lock(str(ended)))
    held = session_folder.lock(str(running))
    removed = session_folder.remove_stale(str(root))
    assert sorted(removed) == [ended.name, killed_early.name]
    assert sorted(path.name for path in root.iterdir()) == [running.name, starting.name]
    os.close(held)


@pytest.fixture
def abandoned(tmp_path: Path) -> tuple[str, str]:
    """The folder of a session whose daemon is gone, and its folder for values."""
    folder = str(tmp_path / "session_x")
    spill = session_folder.make(folder)
    os.close(session_folder.lock(folder))
    return folder, spill


@pytest.fixture
def zombie() -> Iterator[int]:
    program = subprocess.Popen(["true"])
    os.waitid(os.P_PID, program.pid, os.WEXITED | os.WNOWAIT)
    yield program.pid
    program.wait()


def test_who_outlives_driver_and_daemon_removes_the_folder(abandoned: tuple[str, str], zombie: int) -> None:
    folder, spill = abandoned
    assert session_folder.remove_abandoned(folder, [spill], zombie, patience_s=0)
    assert not os.path.exists(folder)


def test_the_folder_of_a_driver_that_was_reaped_is_abandoned_too(abandoned: tuple[str, str]) -> None:
    folder, spill = abandoned
    program = subprocess.Popen(["true"])
    program.wait()
    assert session_folder.remove_abandoned(folder, [spill], program.pid, patience_s=0)


def test_the_folder_of_a_daemon_that_died_while_it_started_is_abandoned_too(tmp_path: Path, zombie: int) -> None:
    folder = str(tmp_path / f"session_x_{zombie}")
    spill = session_folder.make(folder)
    assert session_folder.remove_abandoned(folder, [spill], zombie, patience_s=0)
    assert not os.path.exists(folder)


def test_the_folder_of_a_living_driver_stays(abandoned: tuple[str, str]) -> None:
    folder, spill = abandoned
    assert not session_folder.remove_abandoned(folder, [spill], os.getpid(), patience_s=0)
    assert os.path.isdir(folder)


def test_the_folder_of_a_living_daemon_stays(abandoned: tuple[str, str], zombie: int) -> None:
    folder, spill = abandoned
    held = session_folder.lock(folder)
    assert not session_folder.remove_abandoned(folder, [spill], zombie, patience_s=0)
    os.close(held)
    assert os.path.isdir(folder)


def test_an_abandoned_folder_that_is_no_sessions_stays(tmp_path: Path, zombie: int) -> None:
    os.close(session_folder.lock(str(tmp_path)))
    with pytest.raises(ValueError, match="no session's folder"):
        session_folder.remove_abandoned(str(tmp_path), [], zombie, patience_s=0)
    assert tmp_path.is_dir()


def test_the_end_removes_everything(tmp_path: Path) -> None:
    folder = tmp_path / "session_x"
    spill = session_folder.make(str(folder))
    (Path(spill) / "value").write_bytes(b"x")
    session_folder.remove(str(folder), [spill], keep_logs=False)
    assert not folder.exists()


def test_logs_can_be_kept(tmp_path: Path) -> None:
    folder = tmp_path / "session_x"
    spill = session_folder.make(str(folder))
    (folder / "logs" / "a.log").write_text("line")
    session_folder.remove(str(folder), [spill], keep_logs=True)
    assert [path.name for path in folder.iterdir()] == ["logs"]


@pytest.mark.parametrize("wrong", ["/somewhere/spill", ["/"], ["relative"], ["/home/somebody"], ["/x/shoal_spilled_objects_"]])
def test_nothing_but_a_sessions_own_folders_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: Any) -> None:
    removed: list[str] = []
    # Whatever is wrong with the check, this test removes nothing.
    monkeypatch.setattr(shutil, "rmtree", lambda path, **_: removed.append(path))
    folder = tmp_path / "session_x"
    session_folder.make(str(folder))
    with pytest.raises((TypeError, ValueError)):
        session_folder.remove(str(folder), wrong, keep_logs=False)
    assert removed == [] and folder.exists()


def test_who_connects_before_the_daemon_is_ready_waits_for_it(tmp_path: Path) -> None:
    with session_folder.listen(str(tmp_path)) as server:
        assert (tmp_path / session_folder.SOCKET_NAME).stat().st_mode & 0o777 == 0o600
        with socket.socket(socket.AF_UNIX) as early, session_folder.socket_address(str(tmp_path)) as address:
            early.connect(address)
            early.sendall(b"hello")
            accepted, _ = server.accept()
            with accepted:
                assert accepted.recv(5) == b"hello"
