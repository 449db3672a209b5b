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


def test_another_kind_of_storage_is_refused_by_name() -> None:
    config = json.dumps({"type": "smart_open", "params": {"uri": "s3://bucket"}})
    with pytest.raises(NotImplementedError, match="type='smart_open'"):
        shoal.init(num_cpus=1, _system_config={"object_spilling_config": config})
