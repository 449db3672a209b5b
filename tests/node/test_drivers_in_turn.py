"""A node that stands alone, and drivers that come and go."""

from __future__ import annotations

import shoal
from shoal.cluster_utils import Cluster


@shoal.remote
def work() -> str:
    return shoal.get_runtime_context().namespace


def test_every_driver_is_served_by_workers_of_its_own() -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        for number in range(30):
            with shoal.init(cluster.address, namespace=f"driver-{number}", log_to_driver=False):
                # Ending while the worker is still leased: its queue must not be given to the next driver.
                assert shoal.get(work.remote(), timeout=20) == f"driver-{number}"
    finally:
        cluster.shutdown()
