"""Promises about installed environments: how much longer the first result takes with one. Best of several, since other work on
the machine only ever adds."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.node.installing import environment, make_wheel

import shoal

pytestmark = pytest.mark.usefixtures("no_session")

ROUNDS = 4
WARM_S = 0.3
COLD_S = 1.0
SLOWNESS = 1.5
"""A machine with other work needs more than the 0.15 s that a plain session takes; what is promised grows with that."""


@shoal.remote
def nothing() -> None:
    return None


def first_result_s(runtime_env: dict[str, Any] | None) -> float:
    """From the start of a session to the end of its first task."""
    began_s = time.perf_counter()
    shoal.init(num_cpus=2, log_to_driver=False, logging_level="ERROR")
    shoal.get(nothing.options(runtime_env=runtime_env).remote(), timeout=60)
    took_s = time.perf_counter() - began_s
    shoal.shutdown()
    return took_s


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHOAL_CACHE", str(tmp_path))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    return tmp_path


def test_an_environment_that_exists_costs_less_than_0_3_s(caches: Path) -> None:
    installed = environment("uv", make_wheel(caches, "warm"))
    first_result_s(installed)
    plain, warm = [], []
    for _ in range(ROUNDS):
        plain.append(first_result_s(None))
        warm.append(first_result_s(installed))
    assert min(warm) - min(plain) <= max(WARM_S, SLOWNESS * min(plain))


def test_a_new_environment_costs_at_most_1_s_more_than_uv_itself(caches: Path) -> None:
    wheel = make_wheel(caches, "cold")
    uv, plain, cold = [], [], []
    for round_ in range(ROUNDS):
        began_s = time.perf_counter()
        folder = str(caches / f"by_hand_{round_}")
        subprocess.run([sys.executable, "-m", "uv", "venv", "--quiet", folder], check=True)
        install = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-index", "--python", f"{folder}/bin/python"]
        subprocess.run([*install, str(wheel)], check=True)
        uv.append(time.perf_counter() - began_s)
        plain.append(first_result_s(None))
        # The variable makes it another environment each time.
        fresh = {**environment("uv", wheel), "env_vars": {"UV_SHOAL_TEST_ROUND": str(round_)}}
        cold.append(first_result_s(fresh))
    assert min(cold) - min(plain) <= min(uv) + max(COLD_S, 2 * SLOWNESS * min(plain))
