"""The last words of a daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from shoal.core.native.daemon_log import LAST_BYTES, last_words, log_path

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "logs").mkdir()
    return tmp_path


def test_a_daemon_that_wrote_nothing_has_no_last_words(folder: Path) -> None:
    assert last_words(str(folder)) == ""
    (folder / "logs" / "daemon.log").write_text("\n")
    assert last_words(str(folder)) == ""


@pytest.mark.parametrize("where", ["logs/daemon.log", "daemon.log"])
def test_the_log_is_found_where_either_kind_of_node_has_it(folder: Path, where: str) -> None:
    (folder / where).write_text("the reason\n")
    assert last_words(str(folder)) == " The end of its log:\nthe reason"


def test_only_the_end_of_a_long_log_is_told(folder: Path) -> None:
    with open(log_path(str(folder)), "w") as log:
        log.write("x" * 3 * LAST_BYTES + "\nthe reason\n")
    words = last_words(str(folder))
    assert words.endswith("xxx\nthe reason") and len(words) < LAST_BYTES + 100
