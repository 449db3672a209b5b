"""A short-lived session in a folder of the test's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import shoal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    shoal.init(num_cpus=2, logging_level="ERROR", log_to_driver=False)
    yield
    shoal.shutdown()
