from __future__ import annotations

import pytest

from shoal.util import debug


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debug, "_logged", set())
    monkeypatch.setattr(debug, "_disabled", False)
    monkeypatch.setattr(debug, "_periodic", False)


def test_a_key_is_new_once() -> None:
    assert [debug.log_once("a"), debug.log_once("a"), debug.log_once("b")] == [True, False, True]


def test_forgotten_keys_are_new_again() -> None:
    debug.log_once("a")
    debug.log_once("b")
    debug.reset_log_once("a")
    assert [debug.log_once("a"), debug.log_once("b")] == [True, False]
    debug.reset_log_once()
    assert debug.log_once("b")


def test_disabled_keys_are_never_new() -> None:
    debug.disable_log_once_globally()
    assert not debug.log_once("a")


def test_periodic_keys_are_new_again_after_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [100.0]
    monkeypatch.setattr(debug.time, "monotonic", lambda: now_s[0])
    debug.enable_periodic_logging()
    assert [debug.log_once("a"), debug.log_once("a")] == [True, False]
    now_s[0] += 61
    assert debug.log_once("a")
