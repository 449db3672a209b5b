from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

import shoal
from shoal.exceptions import ActorUnschedulableError, TaskUnschedulableError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module", autouse=True)
def node() -> Iterator[None]:
    """A node with GPUs, which exist in its books alone, and with a resource of its own."""
    shoal.init(num_cpus=4, num_gpus=2, resources={"license": 2, "neuron_cores": 4}, log_to_driver=False)
    yield
    shoal.shutdown()


@shoal.remote(num_cpus=0)
class Gauge:
    """How many are inside at once."""

    def __init__(self) -> None:
        self.now = 0
        self.most = 0

    def enter(self) -> int:
        self.now += 1
        self.most = max(self.most, self.now)
        return self.now

    def leave(self) -> None:
        self.now -= 1

    def read(self) -> int:
        return self.most


@shoal.remote
def visit(gauge: Any) -> None:
    shoal.get(gauge.enter.remote())
    sum(range(20_000))
    shoal.get(gauge.leave.remote())


@pytest.mark.parametrize(
    ("options", "most"), [({"num_cpus": 0, "resources": {"license": 1}}, 2), ({"num_gpus": 1, "num_cpus": 0}, 2)]
)
def test_no_more_tasks_run_at_once_than_the_resources_allow(options: dict[str, Any], most: int) -> None:
    gauge = Gauge.remote()
    shoal.get([visit.options(**options).remote(gauge) for _ in range(12)])
    assert 1 <= shoal.get(gauge.read.remote()) <= most


def test_every_family_of_accelerators_is_told_by_number() -> None:
    @shoal.remote(num_cpus=0, resources={"neuron_cores": 2})
    def ask() -> tuple[dict[str, list[str]], str | None]:
        return shoal.get_runtime_context().get_accelerator_ids(), os.environ.get("NEURON_RT_VISIBLE_CORES")

    ids, visible = shoal.get(ask.remote())
    assert visible == ",".join(ids["neuron_cores"]) and len(ids["neuron_cores"]) == 2
    assert ids["GPU"] == ids["TPU"] == []


def test_gpus_are_assigned_by_number_and_shown_to_libraries() -> None:
    @shoal.remote(num_gpus=1, num_cpus=0)
    class Gpu:
        def facts(self) -> tuple[list[Any], str | None]:
            import os

            return shoal.get_gpu_ids(), os.environ.get("CUDA_VISIBLE_DEVICES")

    @shoal.remote
    def without() -> tuple[list[Any], bool]:
        import os

        return shoal.get_gpu_ids(), os.environ.get("CUDA_VISIBLE_DEVICES") == ""

    assert shoal.get(without.remote()) == ([], False), "what is not assigned is not hidden, as in Ray"
    first, second = Gpu.remote(), Gpu.remote()
    facts = shoal.get([first.facts.remote(), second.facts.remote()])
    assert sorted(each[0] for each in facts) == [[0], [1]]
    assert all(visible == str(ids[0]) for ids, visible in facts)


def test_what_an_actor_holds_is_free_again_when_it_ends() -> None:
    @shoal.remote(num_cpus=0, resources={"license": 2})
    class Holder:
        def ready(self) -> bool:
            return True

    holder = Holder.remote()
    assert shoal.get(holder.ready.remote())
    assert "license" not in shoal.available_resources()
    waiting = Holder.remote().ready.remote()
    assert shoal.wait([waiting], timeout=0.05)[0] == []
    shoal.kill(holder)
    assert shoal.get(waiting, timeout=20) is True


def test_a_request_that_the_node_can_never_meet_fails_and_says_what_is_missing() -> None:
    @shoal.remote
    def run() -> None: ...

    @shoal.remote
    class Actor:
        def method(self) -> None: ...

    with pytest.raises(TaskUnschedulableError, match="nothing_like_it"):
        shoal.get(run.options(resources={"nothing_like_it": 1}).remote(), timeout=5)
    with pytest.raises(ActorUnschedulableError, match="CPU"):
        shoal.get(Actor.options(num_cpus=100).remote().method.remote(), timeout=5)


def test_the_cluster_shows_what_it_has() -> None:
    total = shoal.cluster_resources()
    assert (total["CPU"], total["GPU"], total["license"]) == (4, 2, 2)
    assert shoal.nodes()[0]["Alive"]


def test_a_task_that_waits_lends_its_cpus_but_not_its_other_resources() -> None:
    gate = threading.Event()
    assert not gate.is_set()

    @shoal.remote(num_cpus=4, resources={"license": 1})
    def outer() -> tuple[float, float]:
        return tuple(shoal.get(inner.remote()))  # type: ignore[return-value]

    @shoal.remote(num_cpus=4)
    def inner() -> tuple[float, float]:
        free = shoal.available_resources()
        return free.get("CPU", 0.0), free["license"]

    assert shoal.get(outer.remote(), timeout=20) == (0.0, 1.0)


def test_a_program_can_ask_that_what_is_not_assigned_is_hidden(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import os, shoal\n"
        "shoal.init(num_cpus=1)\n"
        "@shoal.remote\n"
        "def seen():\n"
        "    return os.environ.get('CUDA_VISIBLE_DEVICES')\n"
        "print('seen', repr(shoal.get(seen.remote())))\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    for variables, shown in (({}, "None"), ({"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1"}, "''")):
        done = subprocess.run(
            [sys.executable, str(program)],
            env={**environment, **variables},
            capture_output=True,
            text=True,
            timeout=50,
            check=True,
        )
        assert f"seen {shown}" in done.stdout
