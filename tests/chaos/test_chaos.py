"""The short form of ``make chaos``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SECONDS = 8
HANG_S = 55


def test_mixed_work_survives_a_killer(tmp_path: Path) -> None:
    script = Path(__file__).with_name("chaos.py")
    done = subprocess.run(
        [sys.executable, str(script), "--seconds", str(SECONDS), "--seed", "1"],
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
        env={**os.environ, "RAY_TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing hung, nothing was wrong, nothing is left" in done.stdout
