"""One small cluster for each test file of collectives."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import shoal


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A local node with 4 CPUs, shared by the tests of a file."""
    shoal.init(num_cpus=4)
    yield
    shoal.shutdown()
