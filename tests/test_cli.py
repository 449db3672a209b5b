"""``python -m shoal``: starting, listing and ending a node that stands alone; what is refused by name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import shoal


def command(*arguments: str, temporary: Path | None = None) -> subprocess.CompletedProcess[str]:
    env = dict(os.environ) if temporary is None else {**os.environ, "RAY_TMPDIR": str(temporary)}
    return subprocess.run(
        [sys.executable, "-m", "shoal", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=40,
        env=env,
        check=False,
    )


@pytest.fixture
def temporary() -> Path:
    """Below this process's own temporary folder: the path of a socket is short, and nobody else's node is there."""
    folder = Path(os.environ["RAY_TMPDIR"]) / "cli"
    folder.mkdir(exist_ok=True)
    return folder


def test_version_is_said() -> None:
    assert command("--version").stdout == f"shoal, version {shoal.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["start"], "start needs --head: joining a cluster is not supported"),
        (["start", "--head", "--address", "a:1"], "--address belongs to clusters of several machines"),
        (["start", "--head", "--redis-password=x"], "--redis-password belongs to clusters of several machines"),
        (["start", "--head", "--port", "6379"], "--port must be 0: a local node opens no port, but got --port=6379"),
        (["start", "--head", "--num-cpus=-1"], "-1.0 is not in the range x>=0"),
        (["start", "--head", "--labels=zone"], "--labels takes pairs like zone=a,rack=7, but got 'zone'"),
        (["start", "--head", "--labels=ray.io/zone=a"], "cannot start with the prefix `ray.io/`"),
        (["start", "--head", "--labels-file", __file__], "--labels-file must have lines like 'zone: a'"),
        (["start", "--head", "--resources=[1]"], "--resources must be a JSON object, but got '[1]'"),
        (["status", "--address", "a:1"], "--address belongs to clusters of several machines"),
        (["up", "cluster.yaml"], "No such command 'up'"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(arguments: list[str], message: str, temporary: Path) -> None:
    done = command(*arguments, temporary=temporary)
    assert done.returncode == 2
    assert message in done.stderr


def test_list_says_that_there_is_no_node_and_what_filters_look_like(temporary: Path) -> None:
    nobody = command("list", "jobs", temporary=temporary)
    assert nobody.returncode == 1 and "Error" in nobody.stderr and "Traceback" not in nobody.stderr
    wrong = command("list", "jobs", "--filter", "RUNNING", temporary=temporary)
    assert wrong.returncode == 2 and "COLUMN=VALUE" in wrong.stderr


def test_without_a_node_status_and_stop_say_so(temporary: Path) -> None:
    assert command("status", temporary=temporary).stdout == "No session is running.\n"
    assert command("stop", temporary=temporary).stdout == "No node was running.\n"


@shoal.remote
def facts_of_job() -> tuple[str, str]:
    context = shoal.get_runtime_context()
    return context.namespace, context.get_job_id()


def test_node_is_started_joined_listed_and_stopped(temporary: Path) -> None:
    labels = temporary / "labels.yaml"
    labels.write_text("# of this machine\n\"zone\": b\nrack: '7'\n")
    size = ["--num-cpus=3", '--resources={"disk": 2}', "--labels=zone=a", f"--labels-file={labels}"]
    started = command("start", "--head", *size, "--port=0", temporary=temporary)
    try:
        assert started.returncode == 0, started.stderr
        address = started.stdout.partition("--address='")[2].partition("'")[0]
        with shoal.init(address=address):
            assert shoal.cluster_resources()["CPU"] == 3.0
            assert shoal.cluster_resources()["disk"] == 2.0
            assert shoal.nodes()[0]["Labels"].items() >= {"zone": "a", "rack": "7"}.items()
            assert shoal.get(shoal.remote(os.getppid).remote()) != os.getpid()
        for _ in range(2):
            with shoal.init(address=address, namespace="mine"):
                context = shoal.get_runtime_context()
                assert shoal.get(facts_of_job.remote()) == ("mine", context.get_job_id()), "workers know whose they are"
        again = command("start", "--head", temporary=temporary)
        assert again.returncode == 1 and "a node runs already" in again.stderr
        listed = command("status", temporary=temporary).stdout
        assert "stands alone" in listed
        assert Path(address).name in listed
        assert "CPU" in listed
        rows = json.loads(command("list", "jobs", "--detail", "--format=json", temporary=temporary).stdout)
        assert [row["status"] for row in rows] == ["SUCCEEDED"] * (len(rows)) and len(rows) >= 3
        assert rows[0]["driver_info"]["pid"] and rows[0]["end_time"] >= rows[0]["start_time"]
        table = command("list", "nodes", "--filter", "state=alive", temporary=temporary).stdout
        assert "node_id" in table and "ALIVE" in table
        wrong = command("list", "nodes", "--filter", "nothing=1", temporary=temporary)
        assert wrong.returncode == 1 and "can be filtered by" in wrong.stderr
    finally:
        stopped = command("stop", temporary=temporary)
    assert stopped.stdout == "Stopped 1 node.\n"
    assert not Path(address).exists()


def test_stop_leaves_the_sessions_of_running_programs_alone(temporary: Path) -> None:
    with shoal.init(num_cpus=1, _temp_dir=str(temporary)):
        assert "of a running program" in command("status", temporary=temporary).stdout
        assert command("stop", temporary=temporary).stdout == "No node was running.\n"
        assert shoal.get(shoal.remote(abs).remote(-7)) == 7


def test_who_asks_for_a_dashboard_is_told_that_there_is_none_and_gets_a_node(temporary: Path) -> None:
    asked = ["--include-dashboard=true", "--dashboard-host=0.0.0.0", "--dashboard-port=8265"]
    started = command("start", "--head", "--num-cpus=1", *asked, temporary=temporary)
    try:
        assert started.returncode == 0, started.stderr
        assert "Shoal has no dashboard, so --dashboard-port=8265 starts none" in started.stderr
        assert started.stderr.count("Shoal has no dashboard") == len(asked)
    finally:
        command("stop", temporary=temporary)
    quiet = command("status", "--include-dashboard=false", temporary=temporary)
    assert "dashboard" not in quiet.stderr
