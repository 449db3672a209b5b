"""Programs written for Ray run unmodified: the same modules under both names, in the driver and in its workers."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


def run(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name != "SHOAL_AS_RAY"} | environment
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=50, env=env, cwd=cwd, check=False
    )


def write(path: Path, source: str) -> Path:
    path.write_text(textwrap.dedent(source), encoding="utf-8")
    return path


def printed_by(path: Path, *arguments: str) -> str:
    done = run("-m", "shoal.as_ray", str(path), *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_modules_are_the_same_objects_under_both_names(tmp_path: Path) -> None:
    program = write(
        tmp_path / "program.py",
        """
        import ray
        import ray.util.queue
        from ray.exceptions import RayError
        from ray.util import ActorPool
        from ray.util.state.common import ActorState
        import shoal.util.queue
        import shoal.util
        import shoal.util.state.rows

        assert ray is shoal and ray.util.queue is shoal.util.queue and ray.util is shoal.util
        assert ActorState is shoal.util.state.rows.ActorState
        assert ActorPool is shoal.util.ActorPool and RayError is shoal.exceptions.RayError
        assert shoal.util.queue.__name__ == shoal.util.queue.__spec__.name == "shoal.util.queue"
        print("same")
        """,
    )
    assert printed_by(program) == "same\n"


def test_program_gets_its_arguments_its_folder_and_its_name(tmp_path: Path) -> None:
    write(tmp_path / "beside.py", "WORD = 'found beside the program'\n")
    program = write(
        tmp_path / "program.py",
        """
        import sys
        import beside
        print(__name__, sys.argv[1:], beside.WORD, __file__ == sys.argv[0], sys.modules["__main__"].__dict__ is globals())
        """,
    )
    assert printed_by(program, "-m", "--flag") == "__main__ ['-m', '--flag'] found beside the program True True\n"


def test_module_is_run_as_main_with_its_package(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    write(package / "__init__.py", "")
    write(package / "sibling.py", "import ray\nNAME = ray.__name__\n")
    write(package / "__main__.py", "import sys\nfrom .sibling import NAME\nprint(__name__, __package__, NAME, sys.argv[1:])\n")
    done = run("-m", "shoal.as_ray", "-m", "package", "x", cwd=tmp_path)
    assert done.stdout == "__main__ package shoal ['x']\n", done.stderr


def test_import_is_enough(tmp_path: Path) -> None:
    program = write(tmp_path / "program.py", "import shoal.as_ray\nimport ray.exceptions\nprint(ray.exceptions.__name__)\n")
    assert run(str(program)).stdout == "shoal.exceptions\n"


def test_pytest_plugin_serves_test_files(tmp_path: Path) -> None:
    write(
        tmp_path / "test_theirs.py",
        """
        import ray

        def test_task():
            with ray.init(num_cpus=1):
                assert ray.get(ray.remote(lambda: 6 * 7).remote()) == 42
        """,
    )
    done = run("-m", "pytest", "-p", "shoal.as_ray", "-p", "no:cacheprovider", "-q", "test_theirs.py", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_missing_module_is_named_under_both_names(tmp_path: Path) -> None:
    program = write(
        tmp_path / "program.py",
        """
        try:
            import ray.nowhere.at_all
        except ModuleNotFoundError as error:
            print(error.name, "|", error)
        """,
    )
    assert printed_by(program) == (
        "ray.nowhere | No module named 'ray.nowhere': it stands for 'shoal.nowhere', which shoal does not have\n"
    )


def test_real_ray_imported_before_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "ray.py", "REAL = True\n")
    program = write(tmp_path / "program.py", "import ray\nimport shoal.as_ray\n")
    done = run(str(program), cwd=tmp_path)
    assert "shoal.as_ray must come before the first import of ray" in done.stderr


def test_real_ray_beside_it_is_never_mixed_in(tmp_path: Path) -> None:
    real = tmp_path / "ray"
    real.mkdir()
    write(real / "__init__.py", "")
    write(real / "only_there.py", "")
    program = write(tmp_path / "program.py", "import ray\nprint(ray.__name__)\nimport ray.only_there\n")
    done = run("-m", "shoal.as_ray", str(program))
    assert done.stdout == "shoal\n"
    assert "No module named 'ray.only_there'" in done.stderr


def test_workers_import_ray_too(tmp_path: Path) -> None:
    """A module that a task imports, and classes of the program that travel in both directions."""
    write(tmp_path / "library.py", "import ray.util.queue\ndef name():\n    return ray.util.queue.Queue.__module__\n")
    program = write(
        tmp_path / "program.py",
        """
        import ray
        from ray.exceptions import RayTaskError

        class Point:
            def __init__(self, x):
                self.x = x

        @ray.remote
        class Holder:
            def __init__(self, point):
                self.point = point
            def move(self, by):
                import library
                return library.name(), Point(self.point.x + by)

        @ray.remote
        def fails():
            import ray.exceptions
            raise ray.exceptions.GetTimeoutError("own")

        ray.init(num_cpus=2)
        holder = Holder.remote(Point(1))
        name, point = ray.get(holder.move.remote(2))
        try:
            ray.get(fails.remote())
        except RayTaskError as error:
            print(isinstance(error, ray.exceptions.GetTimeoutError), isinstance(point, Point), point.x, name)
        """,
    )
    assert printed_by(program) == "True True 3 shoal.util.queue\n"


@pytest.mark.parametrize("arguments", [[], ["-m"], ["--help"]])
def test_usage_is_said_when_there_is_nothing_to_run(arguments: list[str]) -> None:
    done = run("-m", "shoal.as_ray", *arguments)
    assert done.returncode == 1
    assert done.stderr == "usage: python -m shoal.as_ray FILE [ARGS] | -m MODULE [ARGS]\n"


def test_file_and_module_that_do_not_exist_are_named() -> None:
    assert "cannot read 'nowhere.py': No such file or directory" in run("-m", "shoal.as_ray", "nowhere.py").stderr
    assert "there is no module 'nowhere' that can be run" in run("-m", "shoal.as_ray", "-m", "nowhere").stderr


def test_error_of_the_program_has_its_own_traceback(tmp_path: Path) -> None:
    program = write(tmp_path / "program.py", "def broken():\n    1 / 0\nbroken()\n")
    done = run("-m", "shoal.as_ray", str(program))
    assert done.returncode == 1
    assert f'File "{program}", line 2, in broken' in done.stderr
