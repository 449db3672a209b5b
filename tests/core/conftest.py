from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from typing import TYPE_CHECKING

from fake_engine import FakeEngine

import shoal
from shoal.core import session

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _no_session_before_or_after(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("RAY_ADDRESS", "RAY_ENABLE_AUTO_CONNECT", "RAY_LOG_TO_DRIVER", "RAY_TMPDIR", "RAY_OVERRIDE_RESOURCES"):
        monkeypatch.delenv(name, raising=False)
    shoal.shutdown()
    yield
    shoal.shutdown()


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[FakeEngine]:
    """Makes ``init()`` start fake engines; the list holds them as they are started."""
    started: list[FakeEngine] = []

    def start(options: object) -> FakeEngine:
        started.append(FakeEngine(options))
        return started[-1]

    monkeypatch.setattr(session, "_start_engine", start)
    return started


@pytest.fixture
def engine(engines: list[FakeEngine]) -> FakeEngine:
    """A running session's fake engine."""
    shoal.init()
    return engines[-1]


@pytest.fixture
def module(request: pytest.FixtureRequest) -> Iterator[types.ModuleType]:
    """An importable module of this test's own."""
    made = types.ModuleType(f"module_of_{request.node.name.partition('[')[0]}")
    sys.modules[made.__name__] = made
    yield made
    del sys.modules[made.__name__]
