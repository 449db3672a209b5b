"""A daemon that cannot start says why, in the driver's error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import shoal
from shoal.core.native import daemon_process
from shoal.exceptions import LocalRayletDiedError, RaySystemError

if TYPE_CHECKING:
    from pathlib import Path

REASON = "not on this machine"


@pytest.fixture
def broken_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Modules in this folder are found first by processes that start now; session folders go beside it."""
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    return folder


def test_a_daemon_that_ends_before_it_is_ready_says_why(broken_modules: Path) -> None:
    (broken_modules / "struct.py").write_text(f"raise ImportError({REASON!r})\n")
    with pytest.raises(RaySystemError) as caught:
        shoal.init(num_cpus=1)
    text = str(caught.value)
    assert "the node daemon ended before it was ready. The end of its log:\nTraceback" in text
    assert text.endswith(f"ImportError: {REASON}") and text.count("System error") == 1
    assert not shoal.is_initialized() and not list(broken_modules.parent.rglob("session_*"))


def test_a_daemon_that_cannot_be_constructed_says_why(broken_modules: Path) -> None:
    (broken_modules / "signal.py").write_text(f"raise ImportError({REASON!r})\n")
    try:
        with pytest.raises(LocalRayletDiedError) as caught:  # by init, or by what needs the daemon first
            shoal.init(num_cpus=1)
            shoal.nodes()
    finally:
        shoal.shutdown()
    assert "has died" in str(caught.value) and str(caught.value).endswith(f"ImportError: {REASON}")


def test_a_session_starts_after_one_that_could_not(broken_modules: Path) -> None:
    module = broken_modules / "struct.py"
    module.write_text(f"raise ImportError({REASON!r})\n")
    with pytest.raises(RaySystemError):
        shoal.init(num_cpus=1)
    module.unlink()
    shoal.init(num_cpus=1, log_to_driver=False)
    try:
        assert shoal.get(shoal.remote(abs).remote(-3)) == 3
    finally:
        shoal.shutdown()
    assert not list(broken_modules.parent.rglob("session_*"))


@pytest.mark.parametrize("variable", [daemon_process.DISK_LIMIT_VARIABLE, daemon_process.SHARE_VARIABLE])
@pytest.mark.parametrize("text", ["1.5", "-0.1", "half", "nan"])
def test_a_share_of_the_disk_or_the_memory_that_is_none_is_refused(
    text: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(ValueError, match=rf"{variable} must be between 0 and 1, but got '{text}'"):
        shoal.init(num_cpus=1)


def test_a_variable_says_how_much_of_the_memory_is_the_object_stores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    memory_bytes = 40 * 2**30
    monkeypatch.setattr(daemon_process, "detect_memory_bytes", lambda: memory_bytes)
    for text, share in (("0.05", 0.05), ("0.3", 0.3)):
        monkeypatch.setenv(daemon_process.SHARE_VARIABLE, text)
        config = daemon_process.node_config(daemon_process.NodeOptions(), str(tmp_path / text))
        assert config["capacity_bytes"] == int(memory_bytes * share)


def test_the_type_of_the_gpus_is_a_resource_and_a_label(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(daemon_process, "gpu_type", lambda: "A100")
    with_gpus = daemon_process.node_config(daemon_process.NodeOptions(num_gpus=2), str(tmp_path / "with"))
    assert with_gpus["resources"]["accelerator_type:A100"] == 1
    assert with_gpus["labels"]["ray.io/accelerator-type"] == "A100"
    without = daemon_process.node_config(daemon_process.NodeOptions(num_gpus=0), str(tmp_path / "without"))
    assert not [name for name in (*without["resources"], *without["labels"]) if "accelerator" in name]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("RAY_memory_usage_threshold", "95"),
        ("RAY_memory_monitor_refresh_ms", "often"),
        ("RAY_task_oom_retries", "-2"),
        ("RAY_local_fs_capacity_threshold", "most"),
    ],
)
def test_a_variable_that_the_daemon_could_not_read_is_told_by_init(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValueError, match=f"{variable} must be .* but got '{value}'"):
        shoal.init(num_cpus=1)
    assert not shoal.is_initialized()
