"""The state API on a running node."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

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


def test_every_attempt_is_a_row_and_counted(tmp_path: Path) -> None:
    runs = tmp_path / "runs"

    @shoal.remote(max_retries=3, retry_exceptions=True)
    def comes_third() -> str:
        with runs.open("a") as file:
            file.write("x")
        if len(runs.read_text()) < 3:
            raise ValueError("not yet")
        return "there"

    ref = comes_third.remote()
    assert shoal.get(ref) == "there"
    rows = state.list_tasks(filters=[("func_or_class_name", "=", "comes_third")])
    assert sorted((row.attempt_number, row.state) for row in rows) == [(0, "FAILED"), (1, "FAILED"), (2, "FINISHED")]
    found = state.get_task(ref)
    assert isinstance(found, list) and {row.task_id for row in found} == {ref.task_id().hex()}
    counts = state.summarize_tasks()["cluster"]["summary"]["comes_third"]["state_counts"]
    assert counts == {"FAILED": 2, "FINISHED": 1}


def test_an_object_says_whether_a_driver_owns_it() -> None:
    kept = shoal.put("mine")
    [mine] = state.get_objects(kept.hex())
    assert (mine.type, mine.pid) == ("DRIVER", os.getpid())

    @shoal.remote
    def puts() -> list[shoal.ObjectRef]:
        return [shoal.put("the worker's")]

    [inner] = shoal.get(puts.remote())
    [of_worker] = state.get_objects(inner.hex())
    assert of_worker.type == "WORKER" and of_worker.pid != os.getpid()


def test_the_log_of_an_attempt_whose_process_is_not_known_is_an_error() -> None:
    ref = work.remote()
    shoal.get(ref)
    with pytest.raises(state.RayStateApiException, match="no process is known .* attempt_number=7"):
        list(state.get_log(task_id=ref.task_id().hex(), attempt_number=7))
    with pytest.raises(NotImplementedError, match="submitted jobs yet, but got submission_id='job'"):
        list(state.get_log(submission_id="job"))


def test_what_an_actor_printed_is_in_its_log() -> None:
    printer = Printer.remote()
    pid = shoal.get(printer.say.remote("in the log"))
    following = state.get_log(filename=_log_of(pid), follow=True)
    assert next(following) == "in the log\n"
    assert "in the log\n" in list(state.get_log(pid=pid))
    assert "in the log\n" in list(state.get_log(actor_id=printer._actor_id.hex(), tail=5))


def test_this_program_is_listed_as_a_job() -> None:
    [job] = state.list_jobs(detail=True)
    assert (job.job_id, job.status, job.type) == (shoal.get_runtime_context().get_job_id(), "RUNNING", "DRIVER")
    assert job.driver_info is not None and job.driver_info["pid"] == str(os.getpid())
    assert job.metadata == {"namespace": shoal.get_runtime_context().namespace}
    assert job.entrypoint and job.start_time and job.start_time <= time.time() * 1000 and job.end_time is None
    assert state.get_job(job.job_id) == job


def test_environments_in_use_are_listed_with_who_uses_them() -> None:
    printer = Printer.options(runtime_env={"env_vars": {"LISTED": "yes"}}).remote()
    shoal.get(printer.say.remote("I have an environment"))
    [row] = [row for row in state.list_runtime_envs(detail=True) if row.runtime_env == {"env_vars": {"LISTED": "yes"}}]
    assert (row.success, row.ref_cnt, row.error) == (True, 1, None)
    assert row.node_id == shoal.get_runtime_context().get_node_id()


def test_the_death_of_a_worker_is_an_event() -> None:
    @shoal.remote(num_cpus=0)
    class Fragile:
        def end(self) -> None:
            os._exit(3)

    fragile = Fragile.remote()
    with pytest.raises(shoal.exceptions.RayActorError):
        shoal.get(fragile.end.remote(), timeout=20)
    events = state.list_cluster_events(detail=True, filters=[("source_type", "=", "worker"), ("severity", "=", "ERROR")])
    [event] = [each for each in events if each.custom_fields == _facts_of(fragile, each)]
    assert "exited with code 3" in event.message and event.time.endswith("Z")


def _facts_of(actor: object, event: state.rows.ClusterEventState) -> dict[str, str]:
    return {"actor_id": actor._actor_id.hex(), "pid": (event.custom_fields or {}).get("pid", "")}  # type: ignore[attr-defined]


def test_a_mistake_of_the_daemon_is_an_event(capfd: pytest.CaptureFixture[str]) -> None:
    from shoal.core.native.messages import InterruptTask
    from shoal.core.session import current_engine

    with pytest.raises(shoal.exceptions.RaySystemError):
        current_engine().control.request(InterruptTask(record=-1, uid=0), 20)  # type: ignore[attr-defined]
    [event] = state.list_cluster_events(filters=[("source_type", "=", "DAEMON")])
    assert event.severity == "ERROR" and "InterruptTask" in event.message


def _log_of(pid: int) -> str:
    deadline_s = time.monotonic() + 5
    while time.monotonic() < deadline_s:
        for names in state.list_logs(glob_filter=f"*-{pid}.log").values():
            return names[0]
        time.sleep(0.01)  # the node makes the file: no event reaches this process
    raise AssertionError(f"process {pid} has no log file")
