"""Promises about leaks, hangs and leftovers: nothing waits in silence, and nothing is left of what died."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.faults.program import PROMISE_S, Program, children_named, until

import shoal
from shoal.core import session as sessions
from shoal.exceptions import (
    ActorUnschedulableError,
    DeadlockError,
    GetTimeoutError,
    ObjectFreedError,
    ObjectLostError,
    OwnerDiedError,
    TaskCancelledError,
    TaskUnschedulableError,
)
from shoal.node.worker_logs import FILE_BYTES_MAX
from shoal.util import placement_group
from shoal.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

pytestmark = pytest.mark.fault

INFEASIBLE_S = 5.0


# ---------------------------------------------------------------- leftovers

DRIVER = """
    import os, subprocess, sys, time
    import shoal

    FOLDER = os.environ["RAY_TMPDIR"]

    def start_processes(name):
        \"\"\"A child, a child in a session of its own, an orphan that has forked twice, and one without our environment.\"\"\"
        pids = [subprocess.Popen(["sleep", "1000"]).pid]
        pids.append(subprocess.Popen(["sleep", "1000"], start_new_session=True).pid)
        read, write = os.pipe()
        if os.fork() == 0:
            os.setsid()
            if (orphan := os.fork()) == 0:
                os.close(read)
                os.close(write)
                os.execvp("sleep", ["sleep", "1000"])
            os.write(write, str(orphan).encode())
            os._exit(0)
        os.wait()
        pids.append(int(os.read(read, 20)))
        command = "sleep 1000 & echo $!"
        shell = subprocess.Popen(["sh", "-c", command], env={}, stdout=subprocess.PIPE, start_new_session=True)
        pids.append(int(shell.stdout.readline()))
        shell.wait()
        with open(f"{FOLDER}/{name}.new", "w") as file:
            print(os.getpid(), *pids, file=file)
        os.rename(f"{FOLDER}/{name}.new", f"{FOLDER}/{name}.pids")

    @shoal.remote(max_retries=0)
    def task():
        start_processes("task")
        time.sleep(1000)

    @shoal.remote(num_cpus=0)
    class Actor:
        def call(self):
            start_processes("actor")
            time.sleep(1000)

    shoal.init(num_cpus=2, log_to_driver=False)
    actor = Actor.remote()
    running = [task.remote(), actor.call.remote()]
    print("ready", flush=True)
    for ref in running:
        try:
            shoal.get(ref)
        except shoal.exceptions.RayError as error:
            print(type(error).__name__, flush=True)
    print("told", flush=True)
    sys.stdin.read()
    time.sleep(1000)
    """


class Victims:
    """A driver with a task and an actor that have each started processes in four ways."""

    def __init__(self, folder: Path) -> None:
        self.program = Program(DRIVER, folder)
        assert self.program.line() == "ready"
        until(lambda: (folder / "task.pids").exists() and (folder / "actor.pids").exists())
        task = [int(word) for word in (folder / "task.pids").read_text().split()]
        actor = [int(word) for word in (folder / "actor.pids").read_text().split()]
        self.worker, self.actor = task[0], actor[0]
        self.of_worker = [psutil.Process(pid) for pid in task]
        self.of_actor = [psutil.Process(pid) for pid in actor]
        driver = psutil.Process(self.program.process.pid)
        [self.daemon] = children_named("shoal-daemon", driver)
        self.zygotes = children_named("shoal-zygote", driver)

    def end(self) -> None:
        self.program.process.kill()
        self.program.process.communicate(timeout=30)
        until(lambda: not self.program.living() and not living(self.of_worker + self.of_actor), PROMISE_S)


def living(processes: list[psutil.Process]) -> list[psutil.Process]:
    """psutil compares the time of birth too: a number that was given to another process is not mistaken for it."""
    found = []
    for process in processes:
        try:
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def shared_memory_files() -> set[str]:
    """Other programs use /dev/shm, too."""
    return {name for name in os.listdir("/dev/shm") if "shoal" in name}


@pytest.fixture
def victims(tmp_path: Path) -> Any:
    made = Victims(tmp_path)
    yield made
    made.end()


@pytest.mark.parametrize("whom", ["driver", "daemon", "driver and daemon"])
def test_nothing_is_left_of_a_session_whose_driver_or_daemon_was_killed(whom: str, victims: Victims) -> None:
    assert len(living(victims.of_worker + victims.of_actor)) == 10
    shared_memory = shared_memory_files()
    if "daemon" in whom:
        victims.daemon.kill()
    if "driver" in whom:
        victims.program.process.kill()
        victims.program.process.communicate(timeout=30)
    until(lambda: not living(victims.of_worker + victims.of_actor), PROMISE_S)
    until(lambda: not victims.program.living(), PROMISE_S)
    assert shared_memory_files() <= shared_memory
    if "driver" in whom:
        until(lambda: not victims.program.sessions(), PROMISE_S)


def test_folder_of_a_session_that_nobody_could_clean_up_goes_with_the_next_start(tmp_path: Path) -> None:
    """Driver, daemon and zygotes are killed in one moment: the workers die with them, and nobody is left to remove it."""
    source = "import shoal\nshoal.init(num_cpus=1)\nprint('started', flush=True)\n"
    program = Program(source + "import time\ntime.sleep(1000)", tmp_path)
    assert program.line() == "started"
    [left] = program.sessions()
    driver = psutil.Process(program.process.pid)
    for process in (*children_named("shoal-zygote", driver), *children_named("shoal-daemon", driver), driver):
        process.kill()
    program.process.communicate(timeout=30)
    until(lambda: not program.living(), PROMISE_S)
    assert left.exists()
    assert Program(source, tmp_path).finish() == (0, "started\n")
    assert not left.exists()


def test_nothing_is_left_of_a_killed_worker(victims: Victims) -> None:
    os.kill(victims.worker, signal.SIGKILL)
    assert victims.program.line() == "WorkerCrashedError"
    until(lambda: not living(victims.of_worker), PROMISE_S)
    assert len(living(victims.of_actor)) == 5, "what others have started goes on"


def test_nothing_is_left_of_a_killed_actor(victims: Victims) -> None:
    os.kill(victims.actor, signal.SIGKILL)
    until(lambda: not living(victims.of_actor), PROMISE_S)
    assert len(living(victims.of_worker)) == 5, "what others have started goes on"


def test_nothing_is_left_of_a_killed_zygote_and_its_workers(victims: Victims) -> None:
    for zygote in victims.zygotes:
        zygote.kill()
    assert [victims.program.line() for _ in range(3)] == ["WorkerCrashedError", "ActorDiedError", "told"]
    until(lambda: not living(victims.of_worker + victims.of_actor), PROMISE_S)


# ---------------------------------------------------------------- logs and temporary files


def test_output_is_kept_in_files_of_bounded_size(no_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    shoal.init(num_cpus=1, logging_level="ERROR", log_to_driver=False)
    line = "x" * 1023

    @shoal.remote
    def print_much(megabytes: int) -> None:
        for _ in range(megabytes * 1024):
            print(line)

    shoal.get(print_much.remote(4 * FILE_BYTES_MAX // 2**20), timeout=50)
    [folder] = [path for path in tmp_path.rglob("session_*") if path.is_dir() and not path.is_symlink()]
    total = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    assert FILE_BYTES_MAX / 2 < total < 2.5 * FILE_BYTES_MAX


# ---------------------------------------------------------------- waits that can never end


@shoal.remote
def one() -> int:
    return 1


@shoal.remote
class Greedy:
    def one(self) -> int:
        return 1


NOWHERE = NodeAffinitySchedulingStrategy("ab" * 28, soft=False)
IMPOSSIBLE: dict[str, Callable[[], Any]] = {
    "too many CPUs": lambda: one.options(num_cpus=1000).remote(),
    "no GPU": lambda: one.options(num_gpus=1).remote(),
    "too much memory": lambda: one.options(memory=2**60).remote(),
    "unknown resource": lambda: one.options(resources={"unobtainium": 1}).remote(),
    "unknown label": lambda: one.options(label_selector={"zone": "moon"}).remote(),
    "unknown node": lambda: one.options(scheduling_strategy=NOWHERE).remote(),
    "actor": lambda: Greedy.options(num_cpus=1000).remote().one.remote(),
    "placement group": lambda: placement_group([{"CPU": 1000}]).ready(),
    "group of two nodes": lambda: placement_group([{"CPU": 1}] * 2, strategy="STRICT_SPREAD").ready(),
    "actor in a group": lambda: (
        Greedy.options(scheduling_strategy=PlacementGroupSchedulingStrategy(placement_group([{"CPU": 1}, {"CPU": 1000}]), 0))
        .remote()
        .one.remote()
    ),
}


@pytest.mark.usefixtures("session")
@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_impossible_request_fails_within_five_seconds(what: str) -> None:
    begun = time.monotonic()
    with pytest.raises((TaskUnschedulableError, ActorUnschedulableError)):
        shoal.get(IMPOSSIBLE[what](), timeout=INFEASIBLE_S)
    assert time.monotonic() - begun < INFEASIBLE_S


@pytest.mark.usefixtures("session")
def test_get_of_a_freed_object_ends_with_a_typed_error() -> None:
    ref = shoal.put([1, 2])
    sessions.current_engine().free([ref])
    for _ in range(2):
        with pytest.raises(ObjectFreedError):
            shoal.get(ref, timeout=30)
    with pytest.raises(ObjectFreedError):
        shoal.get(_length.remote(ref), timeout=30)


@shoal.remote
def _length(value: list[int]) -> int:
    return len(value)


@pytest.mark.usefixtures("session")
def test_get_of_an_object_out_of_scope_ends_with_a_typed_error() -> None:
    ref = shoal.put(list(range(1000)))
    name = ref.binary()
    assert shoal.get(shoal.ObjectRef(name), timeout=30) == list(range(1000))
    del ref
    with pytest.raises(ObjectLostError):
        shoal.get(shoal.ObjectRef(name), timeout=30)


@pytest.mark.usefixtures("session")
def test_get_of_what_a_dead_process_was_to_make_ends_with_a_typed_error() -> None:
    @shoal.remote(num_cpus=0)
    class Owner:
        def start(self) -> Any:
            self.ref = _sleep_long.options(num_cpus=0).remote()
            return [self.ref], os.getpid()

    owner = Owner.remote()
    [ref], pid = shoal.get(owner.start.remote(), timeout=30)
    with pytest.raises(GetTimeoutError):
        shoal.get(ref, timeout=0.1)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(OwnerDiedError):
        shoal.get(ref, timeout=30)


@shoal.remote
def _sleep_long() -> None:
    while True:
        time.sleep(0.05)  # it is to be interrupted between two


@pytest.mark.usefixtures("session")
def test_cancel_never_blocks() -> None:
    """Of what runs, waits, has ended, is another's, or is the canceller itself."""
    running = _sleep_long.options(num_cpus=0).remote()
    waiting = one.options(num_cpus=2).remote()
    for ref in (running, waiting, running):
        shoal.cancel(ref)
    ended = one.remote()
    shoal.get(ended, timeout=30)
    shoal.cancel(ended)
    assert shoal.get(ended, timeout=30) == 1
    with pytest.raises(TaskCancelledError):
        shoal.get(running, timeout=30)

    @shoal.remote(num_cpus=0)
    def cancel_other(refs: list[Any]) -> str:
        shoal.cancel(refs[0])
        return "cancelled"

    others = _sleep_long.options(num_cpus=0).remote()
    assert shoal.get(cancel_other.remote([others]), timeout=30) == "cancelled"
    with pytest.raises(TaskCancelledError):
        shoal.get(others, timeout=30)


@pytest.mark.usefixtures("session")
def test_task_that_waits_lends_its_cpus_to_what_it_waits_for() -> None:
    @shoal.remote(num_cpus=2)
    def nested(depth: int) -> int:
        return 1 + shoal.get(nested.remote(depth - 1)) if depth else 0

    assert shoal.get(nested.remote(6), timeout=50) == 6


@shoal.remote(num_cpus=0)
class Waiter:
    """Waits for what it is told to wait for."""

    def __init__(self) -> None:
        self.own: Any = None
        self.other: Any = None

    def meet(self, own: Any, other: Any) -> None:
        self.own, self.other = own, other

    def nothing(self) -> str:
        return "nothing"

    def wait_for_itself(self) -> str:
        answer: str = shoal.get(self.own.nothing.remote())
        return answer

    def wait_for_other(self) -> str:
        answer: str = shoal.get(self.other.call_back.remote())
        return answer

    def call_back(self) -> list[str]:
        answers: list[str] = shoal.get([self.other.nothing.remote()])
        return answers

    def sleep(self, seconds: float) -> str:
        time.sleep(seconds)  # it stands for work
        return "worked"

    def wait_long(self, seconds: float) -> str:
        answer: str = shoal.get(self.other.sleep.remote(seconds))
        return answer


WAIT_CYCLE_S = 10.0


@pytest.mark.usefixtures("session")
@pytest.mark.parametrize("how", ["wait_for_itself", "wait_for_other"])
def test_actors_that_wait_for_each_other_are_told_within_ten_seconds(how: str) -> None:
    first, second = Waiter.remote(), Waiter.remote()
    shoal.get([first.meet.remote(first, second), second.meet.remote(second, first)], timeout=30)
    begun = time.monotonic()
    with pytest.raises(DeadlockError, match=r"can never end.*Waiter.* waits for .*Waiter"):
        shoal.get(getattr(first, how).remote(), timeout=WAIT_CYCLE_S)
    assert time.monotonic() - begun < WAIT_CYCLE_S
    assert shoal.get([first.nothing.remote(), second.nothing.remote()], timeout=30) == ["nothing"] * 2, "both go on"


@pytest.mark.usefixtures("session")
def test_actor_that_waits_long_for_one_at_work_is_left_alone() -> None:
    first, second = Waiter.remote(), Waiter.remote()
    shoal.get([first.meet.remote(first, second), second.meet.remote(second, first)], timeout=30)
    assert shoal.get(first.wait_long.remote(6.5), timeout=40) == "worked"
