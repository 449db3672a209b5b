"""The check of ``conftest.py`` finds what a module leaves behind, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py")

LEAKS = {
    "process": ("subprocess.Popen(['sleep', '60'])", "process "),
    "orphan": ("subprocess.Popen(['sh', '-c', 'sleep 60 & exit'], start_new_session=True).wait()", "process "),
    "folder": ("os.makedirs(os.environ['RAY_TMPDIR'] + '/shoal-0/session_1')", "session folder shoal-0/session_1"),
    "descriptor": ("KEPT.append(os.pipe())", "descriptor "),
    "shared memory": ("open('shm/shoal-segment', 'w').close()", "shared memory shoal-segment"),
}


def run_module(folder: Path, body: str) -> subprocess.CompletedProcess[str]:
    # Nothing has to be waited for here, so the promised time is cut short; and what looks like shared memory is a folder of the
    # test's own, since modules that run beside this one look at the real one.
    (folder / "shm").mkdir()
    text = CONFTEST.read_text(encoding="utf-8")
    for old, new in (("GRACE_S = 5.0", "GRACE_S = 0.2"), ('Path("/dev/shm")', 'Path("shm").absolute()')):
        assert old in text
        text = text.replace(old, new)
    (folder / "conftest.py").write_text(text, encoding="utf-8")
    module = f"import os, subprocess\nKEPT = []\n\ndef test_it():\n    {body}\n"
    (folder / "test_module.py").write_text(textwrap.dedent(module), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "test_module.py"]
    environment = {**os.environ, "PYTHONPATH": str(CONFTEST.parent.parent)}  # conftest.py imports from its package
    return subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=50, check=False
    )


@pytest.mark.parametrize("kind", LEAKS)
def test_leak_fails_the_module_and_is_named(kind: str, tmp_path: Path) -> None:
    body, named = LEAKS[kind]
    done = run_module(tmp_path, body)
    assert done.returncode == 1
    assert "left behind" in done.stdout
    assert named in done.stdout


def test_clean_module_passes(tmp_path: Path) -> None:
    done = run_module(
        tmp_path, "subprocess.run(['true'], check=True); read, write = os.pipe(); os.close(read); os.close(write)"
    )
    assert done.returncode == 0, done.stdout


def test_processes_of_others_are_not_mistaken_for_leaks(tmp_path: Path) -> None:
    bystander = subprocess.Popen(["sleep", "60"], env={"PATH": os.environ["PATH"]})
    try:
        assert run_module(tmp_path, "pass").returncode == 0
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
