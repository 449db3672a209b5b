"""Where values go that memory has no room for, on sessions of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy
import pytest

import shoal

STORE_BYTES = 80 * 2**20
VALUE_BYTES = 16 * 2**20


@pytest.mark.parametrize("by", ["object_spilling_directory", "_system_config"])
def test_values_go_to_the_folder_that_was_asked_for_and_leave_nothing_there(tmp_path: Path, by: str) -> None:
    folder = tmp_path / "spilled"
    folder.mkdir()
    config = {"type": "filesystem", "params": {"directory_path": str(folder)}}
    asked: dict[str, Any] = {
        "object_spilling_directory": str(folder),
        "_system_config": {"object_spilling_config": json.dumps(config)},
    }
    shoal.init(num_cpus=1, object_store_memory=STORE_BYTES, log_to_driver=False, **{by: asked[by]})
    try:
        refs = [shoal.put(numpy.full(VALUE_BYTES, number, numpy.uint8)) for number in range(7)]
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert files and all(path.stat().st_size >= VALUE_BYTES for path in files)
        assert [int(shoal.get(ref)[-1]) for ref in refs] == list(range(7))
    finally:
        shoal.shutdown()
    assert list(folder.iterdir()) == []


def files_of(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("by", ["object_spilling_directory", "_system_config"])
def test_several_folders_share_the_values(tmp_path: Path, by: str) -> None:
    folders = [str(tmp_path / name) for name in ("first", "second")]
    config = {"object_spilling_config": {"type": "filesystem", "params": {"directory_path": folders}}}
    asked: dict[str, Any] = {"object_spilling_directory": folders, "_system_config": config}
    shoal.init(num_cpus=1, object_store_memory=STORE_BYTES, log_to_driver=False, **{by: asked[by]})
    try:
        refs = [shoal.put(numpy.full(VALUE_BYTES, number, numpy.uint8)) for number in range(16)]
        counts = [len(files_of(Path(folder))) for folder in folders]
        assert min(counts) >= 2
        assert [int(shoal.get(ref)[-1]) for ref in refs] == list(range(16))
        del refs
    finally:
        shoal.shutdown()
    assert files_of(tmp_path) == []


def test_a_folder_that_fails_is_left_out_with_a_warning(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folders = [tmp_path / "broken", tmp_path / "sound"]
    shoal.init(num_cpus=1, object_store_memory=STORE_BYTES, object_spilling_directory=[str(folder) for folder in folders])
    try:
        (inner,) = folders[0].iterdir()
        inner.rmdir()
        inner.write_text("a file in the place of the folder")
        refs = [shoal.put(numpy.full(VALUE_BYTES, number, numpy.uint8)) for number in range(12)]
        assert [int(shoal.get(ref)[-1]) for ref in refs] == list(range(12))
        assert len(files_of(folders[1])) >= 6
        shoal.get(shoal.remote(abs).remote(-1))
    finally:
        shoal.shutdown()
    assert f"The spill folder {inner} is left out" in capfd.readouterr().err


@pytest.mark.parametrize("folders", [[], ["/a", "/a"], ["relative"], ["/a\nb"]])
def test_folders_that_make_no_sense_are_refused(folders: list[str]) -> None:
    with pytest.raises(ValueError, match="object_spilling_directory"):
        shoal.init(object_spilling_directory=folders)


def test_another_kind_of_storage_is_refused_by_name() -> None:
    config = json.dumps({"type": "smart_open", "params": {"uri": "s3://bucket"}})
    with pytest.raises(NotImplementedError, match="type='smart_open'"):
        shoal.init(num_cpus=1, _system_config={"object_spilling_config": config})
