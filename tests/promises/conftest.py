"""Sessions for the promises: one for each file, or one of a test's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import shoal

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def session() -> Iterator[None]:
    """A node with two CPUs, shared by the tests of a file."""
    shoal.init(num_cpus=2, logging_level="ERROR", log_to_driver=False)
    yield
    shoal.shutdown()


@pytest.fixture
def no_session() -> Iterator[None]:
    """The test starts its own; whatever happens, it is ended."""
    shoal.shutdown()
    yield
    shoal.shutdown()
