"""``pip`` and ``uv`` in runtime environments, on real sessions. Nothing here needs a network."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import shoal
from shoal.core import session
from shoal.exceptions import ActorDiedError, RuntimeEnvSetupError, TaskCancelledError, WorkerCrashedError

from .driver_process import wait_until
from .installing import OwnPip, environment, is_running, make_wheel

LIMIT_S = 40


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Of this file's own: what is built by one test may be used by the next."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHOAL_CACHE", str(folder))
        patch.setenv("UV_CACHE_DIR", str(folder / "uv"))
        yield folder


@pytest.fixture(autouse=True)
def _session_ends() -> Iterator[None]:
    yield
    shoal.shutdown()


@pytest.fixture
def own_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OwnPip:
    """Of sessions that begin after this."""
    pip = OwnPip(tmp_path)
    for name, value in pip.variables.items():
        monkeypatch.setenv(name, value)
    return pip


def start(**options: Any) -> None:
    shoal.init(num_cpus=2, log_to_driver=False, **options)


@shoal.remote
def value(name: str = "shoal_test_package") -> str:
    import importlib

    found: str = importlib.import_module(name).VALUE
    return found


@shoal.remote
def prefix() -> str:
    return sys.prefix


@shoal.remote
def prefix_of_child_without(wheel: str) -> str:
    Path(wheel).unlink()
    child: str = shoal.get(prefix.remote())
    return child


@shoal.remote
def one() -> int:
    return 1


def installations() -> int:
    """How often something was installed, or tried to be, in this session."""
    logs = Path(session.current_engine().node.session_folder) / "logs"  # type: ignore[attr-defined]
    return len(list(logs.glob("runtime_env_setup-*")))


@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_a_task_finds_what_was_installed_for_it(installer: str, tmp_path: Path, _cache: Path) -> None:
    start()

    @shoal.remote(runtime_env=environment(installer, make_wheel(tmp_path, installer)))
    def look() -> dict[str, Any]:
        import shoal_test_package  # type: ignore[import-not-found]

        return {
            "value": shoal_test_package.VALUE,
            "program": subprocess.run(["shoal_test_package"], capture_output=True, text=True, check=True).stdout.strip(),
            "prefix": sys.prefix,
            "of the driver": pytest.__file__,
            "links": os.stat(shoal_test_package.__file__).st_nlink,
            "shoal": shoal.__file__,
        }

    seen = shoal.get(look.remote(), timeout=LIMIT_S)
    assert seen["value"] == seen["program"] == installer
    assert seen["prefix"].startswith(str(_cache / "environments"))
    assert seen["of the driver"] == pytest.__file__ and seen["shoal"] == shoal.__file__
    if installer == "uv":
        assert seen["links"] > 1  # to uv's own cache
    with pytest.raises(ModuleNotFoundError):
        shoal.get(value.remote(), timeout=LIMIT_S)


def test_a_job_and_its_actors_have_the_packages_of_a_requirements_file(tmp_path: Path) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(f"# ours\n--no-index\n\n{make_wheel(tmp_path, 'of the job')}\n")
    start(runtime_env={"uv": str(requirements), "env_vars": {"STAGE": "test"}})

    @shoal.remote
    class Holder:
        def value(self) -> tuple[str, str]:
            import shoal_test_package  # type: ignore[import-not-found]

            return shoal_test_package.VALUE, os.environ["STAGE"]

    assert shoal.get(Holder.remote().value.remote(), timeout=LIMIT_S) == ("of the job", "test")
    assert shoal.get(value.remote(), timeout=LIMIT_S) == "of the job"


def test_a_package_that_does_not_exist_is_named_by_the_error_of_tasks_and_actors() -> None:
    start()
    missing = environment("pip", "shoal-test-no-such-package")

    @shoal.remote(runtime_env=missing)
    class Holder:
        def method(self) -> None: ...

    for ref in (one.options(runtime_env=missing).remote(), Holder.remote().method.remote()):
        with pytest.raises(
            RuntimeEnvSetupError, match="pip install(.|\n)*No matching distribution.*shoal-test-no-such-package"
        ):
            shoal.get(ref, timeout=LIMIT_S)
    with pytest.raises(RuntimeEnvSetupError, match="no-such-package"):
        shoal.get(one.options(runtime_env=missing, num_cpus=2).remote(), timeout=LIMIT_S)
    assert installations() == 1
    assert shoal.get(one.remote(), timeout=LIMIT_S) == 1


def test_a_failing_uv_says_what_uv_said_and_leaves_nothing(_cache: Path) -> None:
    start()

    def folders() -> set[Path]:
        return {path for path in (_cache / "environments").glob("*") if path.is_dir()}

    before = folders()
    with pytest.raises(RuntimeEnvSetupError, match="uv pip install(.|\n)*shoal-test-no-such-package"):
        shoal.get(one.options(runtime_env=environment("uv", "shoal-test-no-such-package")).remote(), timeout=LIMIT_S)
    assert folders() <= before


def test_a_second_session_uses_what_the_first_has_built(tmp_path: Path, own_pip: OwnPip) -> None:
    own_pip.let_go()
    installed = value.options(runtime_env=environment("pip", "something"))
    for _ in range(2):
        start()
        assert shoal.get(installed.remote("shoal_test_installed"), timeout=LIMIT_S) == "installed"
        told = installations()
        shoal.shutdown()
    assert told == 0 and own_pip.runs == 1


def test_tasks_that_ask_at_once_are_installed_for_once(own_pip: OwnPip) -> None:
    start()
    environments = [{**environment("pip", "at once"), "env_vars": {"NUMBER": str(number)}} for number in range(3)]
    refs = [value.options(runtime_env=each).remote("shoal_test_installed") for each in environments]
    wait_until(lambda: own_pip.pid != 0, LIMIT_S)
    own_pip.let_go()
    assert shoal.get(refs, timeout=LIMIT_S) == ["installed"] * 3
    assert own_pip.runs == 1


def test_nothing_else_waits_while_something_is_installed(own_pip: OwnPip) -> None:
    start()
    waiting = value.options(runtime_env=environment("pip", "slow"), num_cpus=2).remote("shoal_test_installed")
    wait_until(lambda: own_pip.pid != 0, LIMIT_S)
    assert shoal.get([one.options(num_cpus=2).remote() for _ in range(20)], timeout=LIMIT_S) == [1] * 20
    wait_until(lambda: shoal.available_resources().get("CPU") == 2, LIMIT_S)  # a worker is busy a moment longer than its result
    assert shoal.wait([waiting], timeout=0) == ([], [waiting])
    own_pip.let_go()
    assert shoal.get(waiting, timeout=LIMIT_S) == "installed"


def test_the_end_of_the_session_ends_what_installs(own_pip: OwnPip) -> None:
    start(runtime_env=environment("pip", "never ready"))  # without any task: a job's environment is made at once
    wait_until(lambda: own_pip.pid != 0, LIMIT_S)
    shoal.shutdown()
    assert not is_running(own_pip.pid)


def test_installing_takes_no_longer_than_it_may(own_pip: OwnPip) -> None:
    start()
    limited = {**environment("pip", "too slow"), "config": {"setup_timeout_seconds": 1}}
    with pytest.raises(RuntimeEnvSetupError, match="longer than setup_timeout_seconds=1"):
        shoal.get(one.options(runtime_env=limited).remote(), timeout=LIMIT_S)
    assert own_pip.runs == 1 and not is_running(own_pip.pid)


def test_an_installer_that_is_killed_fails_who_waits_and_is_tried_again_by_the_next_session(own_pip: OwnPip) -> None:
    installed = value.options(runtime_env=environment("pip", "killed half-way"))
    start()
    ref = installed.remote("shoal_test_installed")
    wait_until(lambda: own_pip.pid != 0, LIMIT_S)
    os.kill(own_pip.pid, signal.SIGKILL)
    with pytest.raises(RuntimeEnvSetupError, match="ended by signal 9"):
        shoal.get(ref, timeout=LIMIT_S)
    shoal.shutdown()
    own_pip.let_go()
    start()
    assert shoal.get(installed.remote("shoal_test_installed"), timeout=LIMIT_S) == "installed"
    assert own_pip.runs == 2


def test_another_content_of_a_wheel_is_another_environment(tmp_path: Path) -> None:
    start()
    wheel = make_wheel(tmp_path, "first")
    installed = environment("uv", wheel)
    assert shoal.get(value.options(runtime_env=installed).remote(), timeout=LIMIT_S) == "first"
    old = prefix.options(runtime_env=installed)
    before = shoal.get(old.remote(), timeout=LIMIT_S)
    make_wheel(tmp_path, "second, and longer")
    assert shoal.get(value.options(runtime_env=installed).remote(), timeout=LIMIT_S) == "second, and longer"
    after = shoal.get(prefix.options(runtime_env=installed).remote(), timeout=LIMIT_S)
    assert before != after and shoal.get(old.remote(), timeout=LIMIT_S) == before


def test_children_run_in_the_environment_of_their_parent_even_when_its_wheel_is_gone(tmp_path: Path) -> None:
    start()
    wheel = make_wheel(tmp_path, "of the parent")
    own = prefix.options(runtime_env=environment("uv", wheel))
    expected = shoal.get(own.remote(), timeout=LIMIT_S)
    parent = prefix_of_child_without.options(runtime_env=environment("uv", wheel))
    assert shoal.get(parent.remote(str(wheel)), timeout=LIMIT_S) == expected


def test_a_zygote_of_an_environment_that_dies_is_replaced(tmp_path: Path) -> None:
    start()
    installed = environment("uv", make_wheel(tmp_path, "again"))

    @shoal.remote(runtime_env=installed, max_retries=1)
    def end_parent(mark: str) -> str:
        if not os.path.exists(mark):
            Path(mark).touch()
            os.kill(os.getppid(), signal.SIGKILL)
            signal.pause()
        return "survived"

    plain = one.remote()
    assert shoal.get(end_parent.remote(str(tmp_path / "mark")), timeout=LIMIT_S) == "survived"
    assert shoal.get([plain, one.remote()], timeout=LIMIT_S) == [1, 1]
    assert shoal.get(value.options(runtime_env=installed).remote(), timeout=LIMIT_S) == "again"


def test_an_interpreter_and_packages_exclude_each_other() -> None:
    start()
    both = {**environment("uv", "a"), "py_executable": sys.executable}
    with pytest.raises(RuntimeEnvSetupError, match="can't have both 'uv' and 'py_executable'"):
        shoal.get(one.options(runtime_env=both).remote(), timeout=LIMIT_S)


def test_a_cache_that_others_may_write_to_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "environments").mkdir()
    os.chmod(tmp_path / "environments", 0o777)
    monkeypatch.setenv("SHOAL_CACHE", str(tmp_path))
    start()
    with pytest.raises(RuntimeEnvSetupError, match="that nobody else writes to"):
        shoal.get(one.options(runtime_env=environment("uv", "a")).remote(), timeout=LIMIT_S)


def test_later_workers_have_the_modules_of_the_driver_already(tmp_path: Path) -> None:
    import numpy  # noqa: F401

    start()

    @shoal.remote(runtime_env=environment("uv", make_wheel(tmp_path, "with numpy")))
    class Fresh:
        def has_numpy(self) -> bool:
            return "numpy" in sys.modules and "shoal_test_package" not in sys.modules

    wait_until(lambda: bool(shoal.get(Fresh.remote().has_numpy.remote(), timeout=LIMIT_S)), LIMIT_S)


def test_work_that_waits_for_its_environment_can_be_cancelled_and_killed(own_pip: OwnPip) -> None:
    start()
    slow = environment("pip", "cancelled meanwhile")

    @shoal.remote(runtime_env=slow)
    class Holder:
        def method(self) -> None: ...

    task, holder = one.options(runtime_env=slow).remote(), Holder.remote()
    call = holder.method.remote()
    wait_until(lambda: own_pip.pid != 0, LIMIT_S)
    shoal.cancel(task)
    shoal.kill(holder)
    with pytest.raises(TaskCancelledError):
        shoal.get(task, timeout=LIMIT_S)
    with pytest.raises(ActorDiedError):
        shoal.get(call, timeout=LIMIT_S)


def test_an_environment_that_vanishes_fails_what_needs_new_workers(tmp_path: Path) -> None:
    start()
    installed = environment("uv", make_wheel(tmp_path, "vanishes"))

    @shoal.remote(runtime_env=installed, max_retries=0, num_cpus=0)
    def remove_and_end() -> None:
        assert Path(sys.prefix).is_relative_to(os.environ["SHOAL_CACHE"]), "it would remove somebody's Python"
        shutil.rmtree(sys.prefix)
        os.kill(os.getppid(), signal.SIGKILL)
        signal.pause()

    with pytest.raises(WorkerCrashedError):
        shoal.get(remove_and_end.remote(), timeout=LIMIT_S)
    with pytest.raises(WorkerCrashedError, match="could run anything"):
        shoal.get(value.options(runtime_env=installed).remote(), timeout=LIMIT_S)
    assert shoal.get(one.remote(), timeout=LIMIT_S) == 1
