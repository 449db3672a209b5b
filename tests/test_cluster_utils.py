from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

import shoal
from shoal.cluster_utils import Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster() as made:
        yield made
    shoal.shutdown()


def test_a_driver_joins_the_clusters_node(cluster: Cluster) -> None:
    node = cluster.add_node(num_cpus=2, resources={"disk": 3}, labels={"zone": "a"})
    cluster.connect(namespace="ns")
    resources = shoal.cluster_resources()
    assert resources["CPU"] == 2.0 and resources["disk"] == 3.0
    assert shoal.get(shoal.remote(resources={"disk": 1})(os.getppid).remote()) != os.getpid()
    assert shoal.get_runtime_context().namespace == "ns"
    cluster.shutdown()
    assert not shoal.is_initialized() and node.process.poll() is not None and not node.folder.exists()


def test_drivers_come_and_go(cluster: Cluster) -> None:
    cluster.add_node()
    for number in range(2):
        shoal.init(address=cluster.address)
        assert shoal.get(shoal.put(number)) == number
        shoal.shutdown()


def test_what_a_cluster_refuses(cluster: Cluster) -> None:
    with pytest.raises(RuntimeError, match="call add_node"):
        cluster.connect()
    with pytest.raises(NotImplementedError, match="dashboard_port=3"):
        cluster.add_node(dashboard_port=3)
    with pytest.raises(RuntimeError, match="connect=True needs initialize_head=True"):
        Cluster(connect=True)
    node = cluster.add_node()
    with pytest.raises(NotImplementedError, match="more than one node"):
        cluster.add_node()
    cluster.wait_for_nodes()
    assert cluster.list_all_nodes == [node]
    cluster.remove_node(node, allow_graceful=False)
    assert cluster.address is None
    with pytest.raises(ValueError, match="not of this cluster"):
        cluster.remove_node(node)


def test_a_node_that_cannot_start_says_why(cluster: Cluster) -> None:
    with pytest.raises(RuntimeError, match="the node did not start"):
        cluster.add_node(num_cpus="many")
