"""The state API on a running node."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator

import pytest

import shoal
from shoal.util import state


@shoal.remote(num_cpus=0)
class Printer:
    def say(self, text: str) -> int:
        print(text)
        sys.stdout.flush()
        return os.getpid()


@shoal.remote
def work() -> int:
    return 1


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    shoal.init(num_cpus=2, log_to_driver=False)
    yield
    shoal.shutdown()


def test_living_actors_and_their_workers_are_listed() -> None:
    printer = Printer.options(name="printer").remote()
    pid = shoal.get(printer.say.remote("hello"))
    [row] = state.list_actors(filters=[("name", "=", "printer")])
    assert (row.class_name, row.state, row.pid) == ("Printer", "ALIVE", pid)
    found = state.get_actor(printer._actor_id.hex())
    assert found is not None and found.is_detached is False
    assert pid in [worker.pid for worker in state.list_workers()]
    assert state.summarize_actors()["cluster"]["summary"]["Printer"]["state_counts"]["ALIVE"] >= 1


def test_the_node_is_listed() -> None:
    [node] = state.list_nodes()
    assert node.node_id == shoal.get_runtime_context().get_node_id()
    assert (node.state, node.is_head_node) == ("ALIVE", True)
    assert node.node_ip == shoal.nodes()[0]["NodeManagerAddress"]


def test_tasks_and_objects_are_listed_while_their_references_live() -> None:
    refs = [work.remote() for _ in range(3)]
    shoal.get(refs)
    rows = state.list_tasks(filters=[("type", "=", "NORMAL_TASK"), ("state", "=", "FINISHED")])
    assert {ref.task_id().hex() for ref in refs} <= {row.task_id for row in rows}
    kept = shoal.put(b"x" * 500_000)
    [found] = state.get_objects(kept.hex())
    assert found.object_size >= 500_000


def test_what_an_actor_printed_is_in_its_log() -> None:
    printer = Printer.remote()
    pid = shoal.get(printer.say.remote("in the log"))
    following = state.get_log(filename=_log_of(pid), follow=True)
    assert next(following) == "in the log\n"
    assert "in the log\n" in list(state.get_log(pid=pid))
    assert "in the log\n" in list(state.get_log(actor_id=printer._actor_id.hex(), tail=5))


def _log_of(pid: int) -> str:
    deadline_s = time.monotonic() + 5
    while time.monotonic() < deadline_s:
        for names in state.list_logs(glob_filter=f"*-{pid}.log").values():
            return names[0]
        time.sleep(0.01)  # the node makes the file: no event reaches this process
    raise AssertionError(f"process {pid} has no log file")
