"""Tests of the native engine run on a real session: one for each file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import shoal

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _no_session_before_or_after() -> None:
    """In the place of the fixture that ends the session after each test."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A local node with 4 CPUs, shared by the tests of a file."""
    shoal.init(num_cpus=4, log_to_driver=False)
    yield
    shoal.shutdown()
