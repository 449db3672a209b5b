"""What tests install: wheels made by hand, and a pip of our own that does only what it is told."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

NO_NETWORK = {"pip": {"pip_install_options": ["--no-index"]}, "uv": {"uv_pip_install_options": ["--no-index", "--offline"]}}

_PIP = """
import os, pathlib, sys, sysconfig, time

folder = pathlib.Path(os.environ["SHOAL_TEST_PIP"])
with open(folder / "runs", "a") as file:
    file.write("run\\n")
if not (folder / "go").exists():
    (folder / "waiting.new").write_text(str(os.getpid()))
    (folder / "waiting.new").rename(folder / "waiting")
    print("Collecting something big", flush=True)
while not (folder / "go").exists():
    time.sleep(0.01)  # for the test, which is another process
requirements = pathlib.Path(sys.argv[-1]).read_text()
if "missing" in requirements:
    sys.exit("ERROR: there is no package called missing")
pathlib.Path(sysconfig.get_paths()["purelib"], "shoal_test_installed.py").write_text("VALUE = 'installed'")
"""


def make_wheel(folder: Path, value: str, name: str = "shoal_test_package") -> Path:
    """A package with a module of its name, which has VALUE, and a program of its name, which prints it."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}.py", f"VALUE = {value!r}\n\ndef main():\n    print(VALUE)\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/entry_points.txt", f"[console_scripts]\n{name} = {name}:main\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


def environment(installer: str, *packages: object) -> dict[str, object]:
    return {installer: {"packages": [str(package) for package in packages], **NO_NETWORK[installer]}}


class OwnPip:
    """Found before the real pip by whatever has ``variables`` in its environment. It waits until ``let_go``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "pip_control"
        package = folder / "pip_path" / "pip"
        self._folder.mkdir()
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        (package / "__main__.py").write_text(_PIP)
        path = os.pathsep.join([str(package.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
        self.variables = {"PYTHONPATH": path, "SHOAL_TEST_PIP": str(self._folder)}

    def let_go(self) -> None:
        (self._folder / "go").touch()

    @property
    def runs(self) -> int:
        runs = self._folder / "runs"
        return len(runs.read_text().splitlines()) if runs.exists() else 0

    @property
    def pid(self) -> int:
        """Of the one that waits; 0: none has come so far."""
        waiting = self._folder / "waiting"
        return int(waiting.read_text()) if waiting.exists() else 0


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
