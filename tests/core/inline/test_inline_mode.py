"""What inline mode is for: everything runs here, where a debugger is."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

import shoal
from shoal import _kernel, exceptions
from shoal.core.native import long_waits


@pytest.fixture(autouse=True)
def _inline() -> Any:
    shoal.init(num_cpus=2, inline=True)
    yield
    shoal.shutdown()


@shoal.remote
def where() -> tuple[int, bool]:
    return os.getpid(), threading.current_thread() is threading.main_thread()


@shoal.remote
class Where:
    def where(self) -> tuple[int, bool]:
        return os.getpid(), threading.current_thread() is threading.main_thread()

    def again(self, handle: Any) -> Any:
        return handle.where.remote()


def test_tasks_and_actors_run_on_the_drivers_thread() -> None:
    assert shoal.get([where.remote(), Where.remote().where.remote()]) == [(os.getpid(), True)] * 2


def test_a_call_has_run_when_remote_returns() -> None:
    seen: list[str] = []
    shoal.remote(lambda: os.environ.__setitem__("SHOAL_TEST_ORDER", "task")).remote()
    seen.append(os.environ.pop("SHOAL_TEST_ORDER"))
    assert seen == ["task"]


def test_no_process_is_started() -> None:
    children = psutil.Process().children()
    shoal.get([where.remote() for _ in range(3)])
    assert psutil.Process().children() == children


def test_a_call_an_actor_makes_of_itself_runs_when_it_is_free() -> None:
    actor = Where.remote()
    inner = shoal.get(actor.again.remote(actor))
    assert shoal.get(inner) == (os.getpid(), True)


def test_a_breakpoint_in_a_task_is_an_ordinary_one(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import shoal\n"
        "shoal.init(inline=True)\n"
        "@shoal.remote\n"
        "def double(value):\n"
        "    result = value * 2\n"
        "    breakpoint()\n"
        "    return result\n"
        "print('got', shoal.get(double.remote(21)))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, str(program)],
        input="p result\nresult = 43\nc\n",
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        env=environment,
    )
    assert "double()" in done.stdout  # at the call itself or behind it: that depends on the version of Python
    assert "(Pdb) 42" in done.stdout
    assert "got 4" in done.stdout, done.stderr


def test_ctrl_c_in_a_task_reaches_the_driver() -> None:
    @shoal.remote
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted.remote()
    assert shoal.get(where.remote()) == (os.getpid(), True)


@pytest.mark.parametrize("options", [{"runtime_env": {"env_vars": {"A": "1"}}}])
def test_what_needs_a_process_is_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(NotImplementedError, match="runtime_env"):
        where.options(**options).remote()
    with pytest.raises(NotImplementedError, match="runtime_env"):
        Where.options(**options).remote()


def test_a_cancelled_call_on_a_thread_is_told_and_has_no_value() -> None:
    @shoal.remote(max_concurrency=2)
    class Pair:
        def wait(self) -> str:
            pause = threading.Event()
            while not shoal.get_runtime_context().is_canceled():
                pause.wait(0.01)
            return "told"

    pair = Pair.remote()
    waiting = pair.wait.remote()
    assert shoal.wait([waiting], timeout=0.05) == ([], [waiting])
    shoal.cancel(waiting)
    with pytest.raises(exceptions.TaskCancelledError):
        shoal.get(waiting)


def test_a_lost_value_is_computed_again() -> None:
    @shoal.remote
    def many(n: int) -> bytes:
        return b"x" * n

    ref = many.remote(100_000)
    _kernel.spill(2**40)
    path = next(path for path in Path(shoal.get_runtime_context().get_temp_dir()).rglob(f"{ref.hex()[:16]}") if path.is_file())
    path.unlink()
    assert shoal.get(ref) == b"x" * 100_000


def test_a_second_session_has_nothing_of_the_first() -> None:
    actor = Where.options(name="first").remote()
    ref = where.remote()
    shoal.shutdown()
    shoal.init(num_cpus=2, inline=True)
    assert shoal.util.list_named_actors() == []
    assert shoal.get(where.remote()) == (os.getpid(), True)
    with pytest.raises(exceptions.ActorHandleNotFoundError):
        actor.where.remote()
    del ref


def test_threads_of_actors_end_with_the_session() -> None:
    @shoal.remote
    class Waits:
        async def forever(self) -> None:
            import asyncio

            await asyncio.Event().wait()

    before = set(threading.enumerate())
    waits = Waits.remote()
    ref = waits.forever.remote()
    shoal.get(waits.__ray_ready__.remote())
    shoal.shutdown()
    assert [thread for thread in threading.enumerate() if thread not in before and thread.name != "shoal-watcher"] == []
    del ref


def test_local_mode_is_its_old_name() -> None:
    shoal.shutdown()
    with pytest.warns(DeprecationWarning, match="inline"):
        shoal.init(local_mode=True)
    assert shoal.get(where.remote()) == (os.getpid(), True)


def test_an_address_and_inline_do_not_go_together() -> None:
    shoal.shutdown()
    with pytest.raises(ValueError, match="inline"):
        shoal.init("auto", inline=True)


def test_a_long_wait_for_a_thread_of_an_actor_is_not_given_up() -> None:
    waiting = shoal.put(1)
    long_waits.tell([(waiting.record, waiting.uid)], 1)  # raised once, half a second into any wait
    assert shoal.get(waiting) == 1
