from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from shoal.core.native.addresses import session_folder_of

if TYPE_CHECKING:
    from pathlib import Path


def test_a_folder_with_a_socket_is_an_address(tmp_path: Path) -> None:
    (tmp_path / "daemon.sock").touch()
    assert session_folder_of(str(tmp_path), None) == session_folder_of(f"unix:{tmp_path}", None) == str(tmp_path)


def test_a_folder_without_one_is_not(tmp_path: Path) -> None:
    with pytest.raises(ConnectionError, match=r"no daemon\.sock"):
        session_folder_of(str(tmp_path), None)


def test_auto_without_a_node_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(ConnectionError, match="python -m shoal start --head"):
        session_folder_of("auto", str(tmp_path))


@pytest.mark.parametrize("address", ["127.0.0.1:6379", "ray://host:10001", "host"])
def test_other_machines_are_not_supported(address: str) -> None:
    with pytest.raises(ConnectionError, match="clusters of several machines are not supported"):
        session_folder_of(address, None)
