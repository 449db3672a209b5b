from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import shoal
from shoal.cluster_utils import Cluster


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    started = Cluster()
    yield started
    shoal.shutdown()
    started.shutdown()


def test_programs_join_the_head(cluster: Cluster) -> None:
    assert cluster.address is None
    node = cluster.add_node(num_cpus=2, resources={"special": 1})
    assert cluster.list_all_nodes() == [node]
    shoal.init(address=cluster.address)
    total = shoal.cluster_resources()
    assert (total["CPU"], total["special"]) == (2, 1)
    assert node.node_id == shoal.get_runtime_context().get_node_id()


def test_work_of_one_program_survives_in_a_detached_actor(cluster: Cluster) -> None:
    @shoal.remote(num_cpus=0)
    class Keeper:
        def value(self) -> int:
            return 7

    cluster.add_node()
    shoal.init(address=cluster.address, namespace="kept")
    keeper = Keeper.options(name="keeper", lifetime="detached").remote()
    assert shoal.get(keeper.value.remote()) == 7
    shoal.shutdown()
    shoal.init(address=cluster.address, namespace="kept")
    assert shoal.get(shoal.get_actor("keeper").value.remote()) == 7


def test_removing_the_head_leaves_nothing(cluster: Cluster) -> None:
    node = cluster.add_node()
    folder = Path(node.address).parent
    assert cluster.remaining_processes_alive()
    cluster.remove_node(node)
    assert not node.is_alive()
    assert not folder.exists()
    assert cluster.address is None


def test_the_cluster_can_start_and_connect_at_once() -> None:
    cluster = Cluster(initialize_head=True, connect=True, head_node_args={"num_cpus": 3})
    try:
        cluster.wait_for_nodes()
        assert cluster.connected
        assert shoal.cluster_resources()["CPU"] == 3
    finally:
        cluster.shutdown()
    assert not shoal.is_initialized()


def test_what_is_not_supported_is_named(cluster: Cluster) -> None:
    with pytest.raises(RuntimeError, match="connect=True needs initialize_head=True"):
        Cluster(connect=True)
    with pytest.raises(RuntimeError, match=r"call add_node\(\) first"):
        cluster.connect()
    with pytest.raises(TypeError, match="_system_config must be a dict, but got _system_config=1"):
        cluster.add_node(_system_config=1)  # type: ignore[arg-type]
    with pytest.raises(NotImplementedError, match=r"does not support \['node_ip_address'\]"):
        cluster.add_node(node_ip_address="127.0.0.1")
    cluster.add_node(_system_config={"only_tunes_ray": 1})
    with pytest.raises(NotImplementedError, match="a second node"):
        cluster.add_node()


def test_a_node_of_another_cluster_is_refused(cluster: Cluster) -> None:
    node = cluster.add_node()
    with pytest.raises(ValueError, match="must be a node of this cluster"):
        Cluster().remove_node(node)


def test_drivers_find_a_cluster_without_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(prefix="shoal-t-") as folder:  # short: the address of a socket is in it
        monkeypatch.setenv("RAY_TMPDIR", folder)
        cluster = Cluster()
        try:
            with pytest.warns(UserWarning, match="Shoal has no dashboard"):
                node = cluster.add_node(num_cpus=1, memory=2e9, include_dashboard=True)
            shoal.init(address="auto")
            assert shoal.get_runtime_context().get_node_id() == node.node_id
            assert shoal.cluster_resources()["memory"] == 2e9
        finally:
            shoal.shutdown()
            cluster.shutdown()
