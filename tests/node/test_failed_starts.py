"""A node whose workers cannot start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import shoal


def test_a_node_whose_zygotes_never_come_up_ends(tmp_path: Path) -> None:
    folder = tmp_path / "session"
    environment = {**os.environ, "PYTHONPATH": str(Path(shoal.__file__).parents[1])}
    command = [sys.executable, "-m", "shoal.node", "--session-folder", str(folder), "--keep-logs"]
    done = subprocess.run(
        [*command, "--worker-module", "no_such_module"],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
        check=False,
    )
    assert done.returncode == 1
    assert "no zygote comes up" in done.stderr
    assert "No module named 'no_such_module'" in (folder / "logs" / "zygote.log").read_text()
