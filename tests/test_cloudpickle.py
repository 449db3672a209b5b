from __future__ import annotations

import threading

import pytest

from shoal import cloudpickle


def test_dumps_debug_is_dumps_when_nothing_is_wrong() -> None:
    assert cloudpickle.loads(cloudpickle.dumps_debug([1])) == [1]


def test_dumps_debug_shows_what_cannot_be_pickled(capsys: pytest.CaptureFixture[str]) -> None:
    lock = threading.Lock()
    with pytest.raises(TypeError):
        cloudpickle.dumps_debug(lambda: lock)
    assert "lock" in capsys.readouterr().out
