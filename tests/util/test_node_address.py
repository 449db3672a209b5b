from __future__ import annotations

import socket
from typing import Any

import pytest

import shoal
from shoal.util import get_node_instance_id, get_node_ip_address


def test_without_session_the_interface_of_the_network_counts() -> None:
    assert len(get_node_ip_address().split(".")) == 4
    assert get_node_ip_address("127.0.0.1:53") == "127.0.0.1"
    with pytest.raises(RuntimeError, match="needs a session"):
        get_node_instance_id()


def test_without_network_it_is_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def __enter__(self) -> Broken:
            return self

        def __exit__(self, *exc_info: object) -> None: ...

        def connect(self, address: Any) -> None:
            raise OSError("no network")

    monkeypatch.setattr(socket, "socket", lambda *args: Broken())
    assert get_node_ip_address() == "127.0.0.1"


def test_in_a_session_it_is_what_the_cluster_knows(cluster: None) -> None:
    [node] = shoal.nodes()
    assert get_node_ip_address() == node["NodeManagerAddress"]
    assert get_node_instance_id() == node["NodeID"]


def test_the_instance_id_is_that_of_the_cloud_where_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_CLOUD_INSTANCE_ID", "i-0123")
    assert get_node_instance_id() == "i-0123"
