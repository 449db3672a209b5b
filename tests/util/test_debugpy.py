from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from shoal.util import debugpy


class FakeDebugpy:
    """Notes what is asked of debugpy, and changes the hook as it does."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def listen(self, endpoint: tuple[str, int]) -> tuple[str, int]:
        self.calls.append(("listen", endpoint[0]))
        sys.breakpointhook = self.breakpoint
        return "127.0.0.1", 4711

    def wait_for_client(self) -> None:
        self.calls.append("wait")

    def breakpoint(self) -> None:
        self.calls.append("stop")


@pytest.fixture(autouse=True)
def not_listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(debugpy, "_endpoint", None)
    hook = sys.breakpointhook
    yield
    assert sys.breakpointhook is hook


def test_the_process_listens_once_on_loopback_and_stops(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = FakeDebugpy()
    monkeypatch.setitem(sys.modules, "debugpy", fake)  # type: ignore[arg-type]
    debugpy.set_trace()
    debugpy.set_trace()
    assert fake.calls == [("listen", "127.0.0.1"), "wait", "stop", "wait", "stop"]
    assert "waits for a debugger at 127.0.0.1:4711" in capsys.readouterr().err


def test_without_debugpy_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "debugpy", None)
    with pytest.raises(ImportError, match="pip install debugpy"):
        debugpy.set_trace()


def test_breakpoints_of_rays_extension_are_refused() -> None:
    with pytest.raises(NotImplementedError, match="set_trace.. does not support breakpoint_uuid, but got breakpoint_uuid='ab'"):
        debugpy.set_trace("ab")
