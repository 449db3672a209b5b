"""What killed runs of the tests leave is removed by the next run, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tests import temporary_folders


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_the_folder_of_a_killed_run_goes_with_the_next_one(place: Path) -> None:
    source = f"""
import os, sys, tempfile
sys.path.insert(0, {str(Path(__file__).resolve().parents[1])!r})
tempfile.tempdir = {str(place)!r}
from tests import temporary_folders
folder = temporary_folders.make("run-")
(folder / "left").write_text("behind")
print(folder, flush=True)
os.read(0, 1)
"""
    program = subprocess.Popen([sys.executable, "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    folder = Path(program.stdout.readline().strip())
    try:
        temporary_folders.remove(temporary_folders.make("run-"))
        assert (folder / "left").exists(), "it lives"
        program.kill()
        program.wait()
        temporary_folders.remove(temporary_folders.make("run-"))
        assert not folder.exists()
    finally:
        program.kill()
        program.communicate()


def test_only_abandoned_folders_of_the_same_kind_are_removed(place: Path) -> None:
    (place / "run-by-somebody-else").mkdir()
    (place / "other-x").mkdir()
    (place / "other-x" / temporary_folders.LOCK_NAME).touch()
    (place / "run-link").symlink_to(place / "other-x")
    mine = temporary_folders.make("run-")
    second = temporary_folders.make("run-")
    assert (
        mine.is_dir()
        and (place / "run-by-somebody-else").is_dir()
        and (place / "run-link" / temporary_folders.LOCK_NAME).exists()
    )
    for folder in (mine, second):
        temporary_folders.remove(folder)
    assert sorted(path.name for path in place.iterdir()) == ["other-x", "run-by-somebody-else", "run-link"]


def test_only_what_was_made_here_can_be_removed(place: Path) -> None:
    (place / "run-x").mkdir()
    with pytest.raises(KeyError):
        temporary_folders.remove(place / "run-x")
    assert (place / "run-x").is_dir()
