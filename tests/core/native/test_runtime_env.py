"""Environments of jobs, tasks and actors, on a real session."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import shoal
from shoal.exceptions import RuntimeEnvSetupError

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def _job_with_environment() -> Iterator[None]:
    shoal.init(num_cpus=4, log_to_driver=False, runtime_env={"env_vars": {"SHOAL_A": "job", "SHOAL_B": "job"}})
    yield
    shoal.shutdown()


pytestmark = pytest.mark.usefixtures("_job_with_environment")


@shoal.remote
def variable(name: str) -> str | None:
    return os.environ.get(name)


@shoal.remote
def variable_of_child(name: str) -> str | None:
    child: str | None = shoal.get(variable.remote(name))
    return child


@shoal.remote
def read(path: str) -> str:
    return Path(path).read_text()


@shoal.remote
def folder() -> list[str]:
    return sorted(os.listdir())


@shoal.remote
def told() -> dict[str, Any]:
    return dict(shoal.get_runtime_context().runtime_env)


def test_tasks_run_in_the_environment_of_the_job() -> None:
    assert shoal.get(variable.remote("SHOAL_A")) == "job"


def test_a_tasks_own_variables_come_before_those_of_the_job() -> None:
    own = variable.options(runtime_env={"env_vars": {"SHOAL_A": "task"}})
    assert shoal.get([own.remote("SHOAL_A"), own.remote("SHOAL_B")]) == ["task", "job"]


def test_children_inherit_the_environment_of_their_parent() -> None:
    parent = variable_of_child.options(runtime_env={"env_vars": {"SHOAL_A": "parent"}})
    assert shoal.get([parent.remote("SHOAL_A"), parent.remote("SHOAL_B")]) == ["parent", "job"]


def test_an_actor_has_its_own_environment() -> None:
    @shoal.remote(runtime_env={"env_vars": {"SHOAL_A": "actor"}})
    class Holder:
        def variables(self) -> list[str | None]:
            return [os.environ.get("SHOAL_A"), os.environ.get("SHOAL_B")]

        def variable_of_child(self) -> str | None:
            child: str | None = shoal.get(variable.remote("SHOAL_A"))
            return child

    holder = Holder.remote()
    assert shoal.get(holder.variables.remote()) == ["actor", "job"]
    assert shoal.get(holder.variable_of_child.remote()) == "actor"


def test_running_code_is_told_its_environment() -> None:
    given = shoal.get(told.options(runtime_env={"env_vars": {"SHOAL_A": "task"}}).remote())
    assert given == {"env_vars": {"SHOAL_A": "task", "SHOAL_B": "job"}}


def test_a_setup_hook_runs_before_the_task() -> None:
    def hook() -> None:
        os.environ["SHOAL_HOOK"] = "ran"

    assert shoal.get(variable.options(runtime_env={"worker_process_setup_hook": hook}).remote("SHOAL_HOOK")) == "ran"


def test_a_setup_hook_that_raises_fails_the_task_with_its_error() -> None:
    def hook() -> None:
        raise OSError("the licence is used up")

    with pytest.raises(
        RuntimeEnvSetupError, match=r"\[Node 127.0.0.1\] worker_process_setup_hook failed(.|\n)*licence is used up"
    ):
        shoal.get(variable.options(runtime_env={"worker_process_setup_hook": hook}).remote("SHOAL_A"), timeout=20)


def test_what_is_not_supported_is_named() -> None:
    with pytest.raises(RuntimeEnvSetupError, match=r"the fields \['conda'\] of runtime_env are not supported"):
        shoal.get(variable.options(runtime_env={"conda": "base"}).remote("SHOAL_A"), timeout=20)
    with pytest.raises(RuntimeEnvSetupError, match=r"config\['log_files'\] of runtime_env is not supported"):
        shoal.get(variable.options(runtime_env={"config": {"log_files": ["setup.log"]}}).remote("SHOAL_A"), timeout=20)


def test_an_archive_becomes_the_working_folder(tmp_path: Path) -> None:
    archive = tmp_path / "project.zip"
    with zipfile.ZipFile(archive, "w") as writer:
        writer.writestr("project-main/data.txt", "from the archive")
        writer.writestr("project-main/shoal_module_in_archive.py", "VALUE = 7")

    @shoal.remote(runtime_env={"working_dir": f"file://{archive}"})
    def use() -> tuple[str, int]:
        import shoal_module_in_archive  # type: ignore[import-not-found]

        return Path("data.txt").read_text(), shoal_module_in_archive.VALUE

    assert shoal.get(use.remote()) == ("from the archive", 7)


def test_a_broken_archive_is_named(tmp_path: Path) -> None:
    archive = tmp_path / "broken.zip"
    archive.write_text("no archive")
    with pytest.raises(RuntimeEnvSetupError, match="broken.zip can't be unpacked"):
        shoal.get(folder.options(runtime_env={"working_dir": f"file://{archive}"}).remote(), timeout=20)


def test_a_setup_that_takes_too_long_fails() -> None:
    def hook() -> None:
        import threading

        threading.Event().wait(60)

    environment = {"worker_process_setup_hook": hook, "config": {"setup_timeout_seconds": 1}}
    with pytest.raises(RuntimeEnvSetupError, match="took longer than setup_timeout_seconds=1"):
        shoal.get(variable.options(runtime_env=environment).remote("SHOAL_A"), timeout=20)
