"""A node that stands alone, and drivers that come and go."""

from __future__ import annotations

import subprocess
import sys

import psutil
from tests.faults.program import until

import shoal
from shoal import _kernel
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


@shoal.remote
def start_process() -> int:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]).pid


def test_workers_of_a_driver_end_with_it_and_so_does_what_they_have_started() -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    try:
        with shoal.init(cluster.address, log_to_driver=False):
            started = shoal.get([start_process.remote() for _ in range(3)], timeout=20)
        until(lambda: not any(psutil.pid_exists(pid) for pid in started))
        with shoal.init(cluster.address, log_to_driver=False):
            assert shoal.get(work.remote(), timeout=20)
    finally:
        cluster.shutdown()


@shoal.remote(num_cpus=0)
class Lasting:
    def number(self) -> int:
        return 7


def test_a_detached_actor_outlives_a_driver_that_leaves_before_it_started() -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        for number in range(10):
            with shoal.init(cluster.address, namespace="theirs", log_to_driver=False):
                Lasting.options(name=f"lasting-{number}", lifetime="detached").remote()
                Lasting.options(name=f"fleeting-{number}").remote()
        with shoal.init(cluster.address, namespace="theirs", log_to_driver=False):
            assert sorted(shoal.util.list_named_actors()) == sorted(f"lasting-{number}" for number in range(10))
            for number in range(10):
                lasting = shoal.get_actor(f"lasting-{number}")
                assert shoal.get(lasting.number.remote(), timeout=20) == 7
                shoal.kill(lasting)
    finally:
        cluster.shutdown()


def test_queues_of_drivers_that_left_are_given_back() -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        for _ in range(8):
            with shoal.init(cluster.address, log_to_driver=False):
                shoal.get(work.remote(), timeout=20)
        with shoal.init(cluster.address, log_to_driver=False):
            assert _kernel.memory_stats()["queues"] <= 3  # the control queue, and those of the last driver and this one
    finally:
        cluster.shutdown()
